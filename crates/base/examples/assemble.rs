//! Assembles `debian:*` by hand, as root, with chroot for the configure step:
//! `assemble NAME MIRROR CACHE TARGET`. It shows how the parts fit together; the
//! engine does the same with its sandbox.
#![allow(clippy::print_stderr, reason = "an example tells what it does")]

use std::error::Error;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use distil_base::{ConfigureStep, DebianImage, Recipe, image_config, normalise, plan, unpack};
use distil_debian::{Archive, ArchiveSources, DownloadCache, Keyring};
use distil_fetch::{Client, ClientConfig};
use distil_oci::{Platform, Reference};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, mirror, cache, target] = &args[..] else {
        return Err("usage: assemble NAME MIRROR CACHE TARGET".into());
    };
    let image = DebianImage::from_reference(&name.parse::<Reference>()?).ok_or("no recipe")?;
    let recipe = Recipe::debian(&image);
    let sources = ArchiveSources::for_release(recipe.codename, Some(mirror), &[]);
    let cache = DownloadCache::open(Path::new(cache))?;
    let client = Client::new(ClientConfig::default());
    let (keyring, cancel) = (Keyring::debian()?, AtomicBool::new(false));
    let archive = Archive {
        sources: &sources,
        cache: &cache,
        fetcher: &client,
        keyring: &keyring,
        cancel: &cancel,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let start = Instant::now();
    let tell = |what: &str| eprintln!("{:6.3} {what}", start.elapsed().as_secs_f64());
    let indexes = archive.update("amd64", now)?;
    tell("indexes");
    let plan = plan(&recipe, &"linux/amd64".parse::<Platform>()?, &indexes, None)?;
    tell(&format!(
        "plan of {} packages, key {}",
        plan.packages.len(),
        plan.key()
    ));
    let debs = archive.download(&indexes, &plan.package_ids(), &|_, _| {})?;
    drop(indexes);
    tell("downloads");
    let target = Path::new(target);
    std::fs::create_dir(target)?;
    let threads = std::thread::available_parallelism()?.get();
    let preinst = unpack(&plan, &debs, target, threads, &cancel)?;
    tell("unpacked");
    if std::env::var_os("STOP").is_some() {
        eprintln!("PREINST={preinst:?}");
        return Ok(());
    }
    configure(&ConfigureStep::new(&plan, &preinst), target)?;
    tell("configured");
    normalise(&plan, target)?;
    tell("normalised");
    eprintln!("{}", String::from_utf8(image_config(&plan).to_json())?);
    Ok(())
}

fn configure(step: &ConfigureStep, target: &Path) -> Result<(), Box<dyn Error>> {
    let root = target.to_owned();
    let mut command = Command::new(&step.args[0]);
    command.args(&step.args[1..]).env_clear().stdin(Stdio::null());
    command.envs(step.env.iter().filter_map(|pair| pair.split_once('=')));
    let dev = root.join("dev");
    Command::new("mount")
        .args(["-t", "tmpfs", "dev"])
        .arg(&dev)
        .status()?;
    std::fs::create_dir(dev.join("shm"))?;
    Command::new("mknod")
        .arg(dev.join("null"))
        .args(["c", "1", "3"])
        .status()?;
    // SAFETY: between fork and exec only chroot and chdir are called.
    unsafe {
        command.pre_exec(move || {
            chroot(&root)?;
            std::env::set_current_dir("/")
        });
    }
    let output = command.output()?;
    Command::new("umount").arg(&dev).status()?;
    if !output.status.success() || std::env::var_os("VERBOSE").is_some() {
        eprintln!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    if !output.status.success() {
        return Err(format!("configuring failed: {}", output.status).into());
    }
    Ok(())
}
