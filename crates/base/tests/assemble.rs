//! `debian:bookworm-slim` from the real archive, as root and in a user namespace:
//! the trees must be equal and apt must work in them. Skipped without root, without
//! `unshare`, or when the archive cannot be reached.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it skips"
)]

use std::error::Error;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use distil_base::debian_image::{ConfigureStep, DebianImage, DebianRecipe, Plan, normalise, plan, unpack};
use distil_debian::{Archive, ArchiveError, ArchiveSources, DownloadCache, FetchError, Keyring, Source};
use distil_fetch::{Client, ClientConfig};
use distil_oci::{Digester, Reference};

const NAME: &str = "debian:bookworm-slim";
/// Set in the process that assembles inside the user namespace.
const WORKER: &str = "DISTIL_ASSEMBLE_INTO";
/// Its downloads, of which the namespace has a copy.
const WORKER_CACHE: &str = "DISTIL_ASSEMBLE_CACHE";

/// Sets up `/dev` in a mount namespace of its own and runs the step in the tree,
/// or in an overlay whose upper directory it is: both must give the same.
const CONFIGURE: &str = r#"root=$1 how=$2; shift 2
if [ "$how" = overlay ]; then
  mkdir -p "$root.overlay/lower" "$root.overlay/work" "$root.overlay/merged"
  rm -rf "$root.overlay/work/work/incompat"
  mount -t overlay -o "volatile,lowerdir=$root.overlay/lower,upperdir=$root,workdir=$root.overlay/work" \
    overlay "$root.overlay/merged"
  root="$root.overlay/merged"
fi
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir -m 1777 "$root/dev/shm"
: > "$root/dev/null"
mount --bind /dev/null "$root/dev/null"
exec chroot "$root" "$@""#;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The host's own apt sources, as the engine passes them.
fn host_sources() -> Vec<Source> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let read = |path: &PathBuf| Some((path.display().to_string(), fs::read_to_string(path).ok()?));
    let texts = files.iter().filter_map(read);
    texts
        .flat_map(|(name, text)| distil_debian::parse_apt_sources(&name, &text))
        .collect()
}

fn cache_directory() -> PathBuf {
    match std::env::var_os(WORKER_CACHE) {
        Some(copy) => copy.into(),
        None => Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-cache"),
    }
}

/// Plans and unpacks; `None` when the archive cannot be reached.
fn prepare(target: &Path) -> Outcome<Option<(Plan, Vec<String>)>> {
    let image = DebianImage::from_reference(&NAME.parse::<Reference>()?).ok_or("no recipe")?;
    let recipe = DebianRecipe::debian(&image);
    let sources = ArchiveSources::for_release(recipe.codename, None, &host_sources());
    let cache = DownloadCache::open(&cache_directory())?;
    let client = Client::new(ClientConfig::default());
    let (keyring, cancel) = (Keyring::debian(), AtomicBool::new(false));
    let archive = Archive {
        sources: &sources,
        cache: &cache,
        fetcher: &client,
        keyring: &keyring,
        cancel: &cancel,
    };
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let indexes = match archive.update("amd64", now) {
        Ok(indexes) => indexes,
        Err(ArchiveError::Fetch(error @ FetchError::Unreachable { .. })) => {
            println!("skipped: {error}");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let plan = plan(&recipe, &"linux/amd64".parse()?, &indexes, None)?;
    let debs = archive.download(&indexes, &plan.package_ids(), &|_, _| {})?;
    let preinst = unpack(&plan, &debs, target, 2, &cancel)?;
    Ok(Some((plan, preinst)))
}

/// Assembles the image in `target`; `false` when the archive cannot be reached.
fn assemble(target: &Path) -> Outcome<bool> {
    let Some((plan, preinst)) = prepare(target)? else {
        return Ok(false);
    };
    let step = ConfigureStep::new(&plan, &preinst);
    run_in(target, &step.args, &step.env)?;
    normalise(&plan, target)?;
    Ok(true)
}

fn run_in(root: &Path, args: &[String], env: &[String]) -> Outcome<String> {
    let how = if std::env::var_os(WORKER).is_some() {
        "plain"
    } else {
        "overlay"
    };
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-ec", CONFIGURE, "sh"])
        .args([root.as_os_str(), how.as_ref()])
        .args(args);
    command
        .env_clear()
        .envs(env.iter().filter_map(|pair| pair.split_once('=')));
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(format!(
            "{}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    Ok(text)
}

/// One line for each entry, sorted: all that an image layer holds of it.
fn listing(root: &Path) -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path)?;
        let content = if meta.is_dir() {
            pending.extend(
                fs::read_dir(&path)?
                    .map(|entry| Ok(entry?.path()))
                    .collect::<io::Result<Vec<_>>>()?,
            );
            String::new()
        } else if meta.is_symlink() {
            fs::read_link(&path)?.display().to_string()
        } else {
            let mut digester = Digester::new();
            io::copy(&mut fs::File::open(&path)?, &mut digester)?;
            format!("{} links {}", digester.finish(), meta.nlink())
        };
        let name = path.strip_prefix(root).unwrap_or(&path).display();
        lines.push(format!(
            "/{name} {:o} {}:{} {}.{} {content}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        ));
    }
    lines.sort();
    Ok(lines)
}

/// Runs in the user namespace, started by [`in_namespace`]; nothing otherwise.
#[test]
fn worker() {
    let Some(target) = std::env::var_os(WORKER) else {
        return;
    };
    let target = PathBuf::from(target);
    assert!(assemble(&target).unwrap());
    fs::write(
        target.with_extension("list"),
        listing(&target).unwrap().join("\n"),
    )
    .unwrap();
}

/// Assembles in a new user namespace whose ids are 100000 and up outside.
fn in_namespace(target: &Path) -> Outcome<Vec<String>> {
    let list = target.with_extension("list");
    fs::write(&list, "")?;
    // Where this program and its cache lie, others may not look: root's home is closed on Debian.
    let program = target.with_extension("program");
    fs::copy(std::env::current_exe()?, &program)?;
    let cache = target.with_extension("cache");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(cache_directory())
        .arg(&cache)
        .status()?;
    assert!(copied.success());
    for path in [target, &list] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000))?;
    }
    chown_tree(&cache)?;
    // `cat` holds the namespace until its input is closed.
    let mut holder = Command::new("unshare");
    let mut holder = holder.args(["--user", "cat"]).stdin(Stdio::piped()).spawn()?;
    let process = format!("/proc/{}", holder.id());
    while fs::read_to_string(format!("{process}/comm"))?.trim() != "cat" {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("{process}/{map}"), "0 100000 65536")?;
    }
    let output = Command::new("nsenter")
        .args(["--user", "--target", &holder.id().to_string()])
        .arg(&program)
        .args(["--exact", "worker", "--nocapture"])
        .env(WORKER, target)
        .env(WORKER_CACHE, &cache)
        .output()?;
    drop(holder.stdin.take());
    holder.wait()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(fs::read_to_string(list)?.lines().map(str::to_owned).collect())
}

/// In the namespace only its root may write.
fn chown_tree(path: &Path) -> io::Result<()> {
    std::os::unix::fs::chown(path, Some(100_000), Some(100_000))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_tree(&entry?.path())?;
        }
    }
    Ok(())
}

fn directory(parent: &Path, name: &str) -> io::Result<PathBuf> {
    let path = parent.join(name);
    fs::create_dir(&path)?;
    Ok(path)
}

#[test]
fn the_same_tree_as_root_and_in_a_user_namespace() {
    if std::env::var_os(WORKER).is_some() {
        return;
    }
    let has_unshare = Command::new("unshare")
        .args(["--user", "true"])
        .status()
        .is_ok_and(|s| s.success());
    if !rustix::process::geteuid().is_root() || !has_unshare || !cfg!(target_arch = "x86_64") {
        println!("skipped: needs root, `unshare` and amd64");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let first = directory(place.path(), "first").unwrap();
    if !assemble(&first).unwrap() {
        return;
    }
    let expected = listing(&first).unwrap();
    let second = in_namespace(&directory(place.path(), "second").unwrap()).unwrap();
    let differing: Vec<_> = expected
        .iter()
        .zip(&second)
        .filter(|(a, b)| a != b)
        .take(5)
        .collect();
    assert!(expected == second, "{differing:#?}");
    check_contents(&first);
}

/// dpkg is content, nothing is left of the making, and apt knows its packages.
fn check_contents(root: &Path) {
    let env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin".to_owned()];
    // base-files makes these in its postinst, so overlayfs marks them.
    let mut marks = [0_u8; 256];
    let length = rustix::fs::llistxattr(root.join("media"), &mut marks[..]).unwrap();
    assert!(!String::from_utf8_lossy(&marks[..length]).contains("overlay"));
    let run = |script: &str| {
        let args = ["sh", "-ec", script].map(str::to_owned);
        run_in(root, &args, &env).unwrap()
    };
    assert_eq!(run("dpkg --audit"), "");
    assert_eq!(run("dpkg-query -W -f '${db:Status-Abbrev}\n' | sort -u"), "ii \n");
    assert_eq!(
        run("apt-mark showmanual; apt-get -s autoremove | grep ^Remv || true"),
        ""
    );
    assert_eq!(run("dpkg -V | grep -v /usr/share || true"), "");
    for gone in [
        "etc/machine-id",
        "etc/resolv.conf",
        "var/log/dpkg.log",
        "var/lib/dpkg/status-old",
    ] {
        assert!(!root.join(gone).exists(), "{gone}");
    }
    let updates = fs::symlink_metadata(root.join("var/lib/dpkg/updates")).unwrap();
    assert!(updates.is_dir());
    let is_copyright = |path: &Path| path.file_name() == Some(OsStr::from_bytes(b"copyright"));
    for entry in fs::read_dir(root.join("usr/share/doc/dpkg")).unwrap() {
        assert!(is_copyright(&entry.unwrap().path()));
    }
}
