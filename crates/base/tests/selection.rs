//! What is chosen from the real archive: the closure must be what apt would
//! install, and the built-in recipes must name packages that exist. Skipped
//! without apt or when the archive cannot be reached.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it skips"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use distil_base::DebianRelease;
use distil_base::recipe::{ImageSpec, RecipeChain, Request, Resolve, Variant, builtin_chains};
use distil_base::selection::{Reason, SelectError, select};
use distil_debian::{
    Archive, ArchiveError, ArchiveSources, DownloadCache, FetchError, Indexes, Keyring, Source,
};
use distil_fetch::{Client, ClientConfig};
use distil_oci::Platform;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sets that exercise alternatives, virtual packages, Pre-Depends, Breaks and
/// multi-arch qualifiers. The first few are always tried, the others with
/// `DISTIL_TEST_ALL`: apt reads its lists anew for each.
const SETS: [&[&str]; 11] = [
    &["libpq5", "tzdata"],
    &["python3"],
    &["nodejs"],
    &["default-mta"],
    &["default-jre-headless"],
    &["ca-certificates", "curl", "git"],
    &["perl", "libwww-perl"],
    &["nginx-light"],
    &["python3-numpy", "python3-lxml"],
    &["systemd-sysv", "dbus"],
    &["exim4-daemon-light", "bsd-mailx", "cron"],
];

/// How many of the sets are always tried.
const FEW: usize = 4;

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

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The indexes of a release; `None` when the archive cannot be reached.
fn indexes(release: DebianRelease, architecture: &str) -> Outcome<Option<(Indexes, ArchiveSources)>> {
    let sources = ArchiveSources::for_release(release.codename(), None, &host_sources());
    let cache = DownloadCache::open(&scratch("debian-cache"))?;
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
    match archive.update(architecture, now) {
        Ok(indexes) => Ok(Some((indexes, sources))),
        Err(ArchiveError::Fetch(error @ FetchError::Unreachable { .. })) => {
            println!("skipped: {error}");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn spec(release: DebianRelease, packages: &[&str]) -> ImageSpec {
    let request = Request {
        release: Some(release),
        architecture: "amd64",
        variant: Variant::default(),
    };
    let mut spec = RecipeChain::builtin("static").unwrap().compose(&request).unwrap();
    spec.packages = packages.iter().map(|name| (*name).to_owned()).collect();
    spec.resolve = Resolve::Closure;
    spec.derived.clear();
    spec
}

/// apt with a state of its own in which nothing is installed.
struct Apt {
    root: PathBuf,
}

impl Apt {
    /// `None` without apt, or when it cannot read the archive.
    fn new(root: PathBuf, sources: &ArchiveSources) -> Outcome<Option<Apt>> {
        let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        if !keyring.exists() {
            return Ok(None);
        }
        for directory in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(directory))?;
        }
        fs::write(root.join("status"), "")?;
        let lines: String = sources
            .sources
            .iter()
            .map(|one| {
                let components = one.components.join(" ");
                format!(
                    "deb [signed-by={}] {} {} {components}\n",
                    keyring.display(),
                    one.url,
                    one.suite
                )
            })
            .collect();
        fs::write(root.join("sources.list"), lines)?;
        let apt = Apt { root };
        match apt.command(&["-qq", "update"]).output() {
            Ok(output) if output.status.success() => Ok(Some(apt)),
            _ => Ok(None),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        for (option, path) in [
            ("Dir::State", "state"),
            ("Dir::Cache", "cache"),
            ("Dir::State::status", "status"),
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "cache/archives/partial"),
            ("Dir::Etc::preferencesparts", "cache/archives/partial"),
        ] {
            command.arg(format!("-o{option}={}", self.root.join(path).display()));
        }
        command.args(["-oAPT::Architecture=amd64", "-oAPT::Architectures=amd64"]);
        command.args(["-oAPT::Sandbox::User=root", "-oAcquire::Languages=none"]);
        command.args(args);
        command
    }

    /// Names with versions that apt would install.
    fn install(&self, packages: &[&str]) -> Outcome<BTreeSet<(String, String)>> {
        let args = ["-s", "-y", "--no-install-recommends", "install"];
        let output = self.command(&[&args[..], packages].concat()).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        let text = String::from_utf8(output.stdout)?;
        let lines = text.lines().filter_map(|line| line.strip_prefix("Inst "));
        let parts = lines.filter_map(|line| {
            let (name, rest) = line.split_once(" (")?;
            Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
        });
        Ok(parts.collect())
    }
}

#[test]
fn a_closure_is_what_apt_installs() -> Outcome<()> {
    let platform = Platform::new("linux", "amd64", "");
    for release in DebianRelease::ALL {
        let Some((indexes, sources)) = indexes(release, "amd64")? else {
            return Ok(());
        };
        let root = scratch(&format!("apt-{}", release.codename()));
        let Some(apt) = Apt::new(root, &sources)? else {
            println!("skipped: no apt that can read the archive");
            return Ok(());
        };
        let mut differences = Vec::new();
        let tried = if std::env::var_os("DISTIL_TEST_ALL").is_some() {
            SETS.len()
        } else {
            FEW
        };
        for packages in &SETS[..tried] {
            let selection = select(&spec(release, packages), &platform, &indexes)?;
            let ours: BTreeSet<(String, String)> = selection
                .packages
                .iter()
                .map(|one| (one.name.clone(), one.version.clone()))
                .collect();
            let apt = apt.install(packages)?;
            if ours != apt {
                let alone =
                    |a: &BTreeSet<_>, b: &BTreeSet<_>| format!("{:?}", a.difference(b).collect::<Vec<_>>());
                differences.push(format!(
                    "{} {packages:?}: ours {}, apt's {}",
                    release.codename(),
                    alone(&ours, &apt),
                    alone(&apt, &ours)
                ));
            }
            assert!(selection.packages.iter().all(|one| one.omitted.is_empty()));
        }
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
    Ok(())
}

#[test]
fn built_in_recipes_can_be_selected() -> Outcome<()> {
    for release in DebianRelease::ALL {
        for architecture in ["amd64", "arm64"] {
            let platform = Platform::new("linux", architecture, "").normalized();
            let Some((indexes, _)) = indexes(release, architecture)? else {
                return Ok(());
            };
            for (_, chain) in builtin_chains().filter(|(_, chain)| chain.releases().contains(&release)) {
                let debug = Variant::from_tag("debug").unwrap();
                let request = Request {
                    release: Some(release),
                    architecture,
                    variant: debug,
                };
                let spec = chain.compose(&request)?;
                let selection = select(&spec, &platform, &indexes)?;
                assert_eq!(selection.packages.len(), spec.needed_packages().len());
                let busybox = selection.package("busybox-static").unwrap();
                assert_eq!((&busybox.reason, busybox.omitted.len()), (&Reason::Data, 0));
                assert!(
                    selection
                        .package("base-files")
                        .unwrap()
                        .omitted
                        .contains(&"awk".to_owned())
                );
                check_versions(&selection.spec.run.annotations, |value| selection.expand(value));
            }
        }
    }
    Ok(())
}

/// Whatever refers to a package's version must find it.
fn check_versions(pairs: &[(String, String)], expand: impl Fn(&str) -> String) {
    for (name, value) in pairs.iter().filter(|(_, value)| value.contains("${version:")) {
        let version = expand(value);
        assert!(
            version.starts_with(|c: char| c.is_ascii_digit()),
            "{name}={version}"
        );
    }
}

#[test]
fn a_slip_in_a_name_is_told() -> Outcome<()> {
    let Some((indexes, _)) = indexes(DebianRelease::Bookworm, "amd64")? else {
        return Ok(());
    };
    let platform = Platform::new("linux", "amd64", "");
    let mut wrong = spec(DebianRelease::Bookworm, &["libsl3"]);
    for resolve in [Resolve::Closure, Resolve::Listed] {
        wrong.resolve = resolve;
        let error = select(&wrong, &platform, &indexes).unwrap_err();
        assert!(
            matches!(&error, SelectError::Missing { nearest: Some(near), .. } if near == "libssl3"),
            "{error}"
        );
    }
    let arm = Platform::new("linux", "arm64", "");
    assert!(matches!(
        select(&spec(DebianRelease::Bookworm, &["libc6"]), &arm, &indexes),
        Err(SelectError::Platform { .. })
    ));
    Ok(())
}
