//! What the machine must offer, checked one by one. Data only: the caller renders it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use std::os::unix::process::CommandExt;

use crate::binfmt::{self, ElfArchitecture, Execution};
use crate::userns;

/// Oldest kernel: `mount_setattr` came with 5.12.
const MINIMUM_KERNEL: (u32, u32) = (5, 12);
/// Less free space than this is reported as missing.
const MINIMUM_SPACE: u64 = 1 << 30;

/// `argv[0]` that turns this program into a test mount.
pub(crate) const PROBE_NAME: &str = "distil-overlay-probe";

/// What [`checks`] needs to know.
#[derive(Clone, Debug)]
pub struct DoctorInput {
    /// The root of the store; it need not exist yet.
    pub store_root: PathBuf,
}

/// Result of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There.
    Ok,
    /// Not there, and needed.
    Missing,
    /// Not there, or not looked for, because this user does not need it.
    NotNeeded,
}

/// One need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Short name, such as `overlay`.
    pub name: &'static str,
    /// Whether it is met.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// The command that mends it, to be run as root unless it says otherwise.
    pub fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Check {
        Check {
            name,
            state: State::Ok,
            detail: detail.into(),
            fix: None,
        }
    }
    fn not_needed(name: &'static str, detail: impl Into<String>) -> Check {
        Check {
            state: State::NotNeeded,
            ..Check::ok(name, detail)
        }
    }
    fn missing(name: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Check {
        Check {
            state: State::Missing,
            fix: Some(fix.into()),
            ..Check::ok(name, detail)
        }
    }
}

/// All checks, in the order in which they matter.
pub fn checks(input: &DoctorInput) -> Vec<Check> {
    let mut checks = vec![kernel(), namespaces(), seccomp()];
    checks.extend(user_namespaces());
    checks.push(overlay(&input.store_root));
    checks.push(disk(&input.store_root));
    checks.push(emulators());
    checks
}

fn kernel() -> Check {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let (major, minor) = MINIMUM_KERNEL;
    if version(&release) >= MINIMUM_KERNEL {
        return Check::ok("kernel", release);
    }
    let detail = format!("{release}; at least {major}.{minor} is needed");
    Check::missing(
        "kernel",
        detail,
        "install a newer kernel of your distribution and reboot",
    )
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn namespaces() -> Check {
    let kinds = ["mnt", "pid", "ipc", "uts", "cgroup", "net", "user"];
    let absent: Vec<&str> = kinds
        .into_iter()
        .filter(|kind| !Path::new("/proc/self/ns").join(kind).exists())
        .collect();
    match absent.is_empty() {
        true => Check::ok("namespaces", kinds.join(", ")),
        false => Check::missing(
            "namespaces",
            format!("the kernel lacks: {}", absent.join(", ")),
            "mount -t proc proc /proc   # or use a kernel with these namespaces",
        ),
    }
}

fn seccomp() -> Check {
    match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => {
            Check::ok("seccomp", "filters with errno")
        }
        _ => Check::missing(
            "seccomp",
            "the kernel has no seccomp filters",
            "use a kernel with CONFIG_SECCOMP_FILTER=y",
        ),
    }
}

/// User namespaces, their settings, the tools and the ids.
fn user_namespaces() -> Vec<Check> {
    const NAMES: [&str; 4] = ["user namespaces", "uidmap", "subuid", "subgid"];
    if !userns::needed() {
        let why = match userns::outer_uid() {
            Some(uid) if uid != 0 => "inside a user namespace already",
            _ => "running as root",
        };
        return NAMES.map(|name| Check::not_needed(name, why)).into();
    }
    let missing = userns::probe().err().unwrap_or_default();
    NAMES.map(|name| user_namespace_check(name, &missing)).into()
}

fn user_namespace_check(name: &'static str, missing: &[userns::Missing]) -> Check {
    use userns::Missing;
    let found = missing.iter().find(|missing| match missing {
        Missing::Disabled { .. } | Missing::AppArmor | Missing::Refused { .. } => name == "user namespaces",
        Missing::Tool { .. } | Missing::ToolWithoutRights { .. } => name == "uidmap",
        Missing::Ids { file, .. } => file.ends_with(name),
    });
    match found {
        Some(missing) => Check::missing(name, missing.to_string(), missing.fix()),
        None if name == "user namespaces" => try_user_namespace(),
        None => Check::ok(name, ""),
    }
}

fn try_user_namespace() -> Check {
    match probe_child(&["user"]) {
        Ok(()) => Check::ok("user namespaces", "one was made"),
        Err(reason) => {
            let missing = userns::Missing::Refused { reason };
            Check::missing("user namespaces", missing.to_string(), missing.fix())
        }
    }
}

/// Mounts an overlay where the store is, as this user.
fn overlay(store_root: &Path) -> Check {
    let name = "overlay";
    let place = existing_ancestor(store_root);
    let directory = place.join(format!(".distil-overlay-probe-{}", std::process::id()));
    let made = std::fs::create_dir(&directory).and_then(|()| {
        ["lower", "upper", "work", "merged"]
            .iter()
            .try_for_each(|name| std::fs::create_dir(directory.join(name)))
    });
    let result = match made {
        Ok(()) => probe_child(&["overlay", &directory.to_string_lossy()]),
        Err(error) => Err(format!("cannot write to `{}`: {error}", place.display())),
    };
    remove_probe_directory(&directory);
    match result {
        Ok(()) => Check::ok(name, format!("mounted on `{}`", place.display())),
        Err(reason) => Check::missing(
            name,
            format!("{reason}; layers are copied instead, which is slower"),
            "modprobe overlay   # and put the store on ext4, xfs or btrfs (--root)",
        ),
    }
}

fn remove_probe_directory(directory: &Path) {
    // overlayfs leaves `work/work` without permissions.
    let work = directory.join("work/work");
    if work.exists() {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        let _ = std::fs::set_permissions(&work, permissions);
    }
    let _ = std::fs::remove_dir_all(directory);
}

fn existing_ancestor(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|ancestor| ancestor.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Tries something in a process of its own.
fn probe_child(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("/proc/self/exe")
        .arg0(PROBE_NAME)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot start a test process: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
    }
}

/// The test process; gives its exit code and what it found wrong.
pub(crate) fn run_probe(arguments: &[String]) -> (i32, String) {
    let result = match arguments {
        [kind] if kind == "user" => enter_one_id_namespace(),
        [kind, directory] if kind == "overlay" => probe_overlay(Path::new(directory)),
        _ => Err("unknown test".to_owned()),
    };
    match result {
        Ok(()) => (0, String::new()),
        Err(reason) => (1, reason),
    }
}

fn enter_one_id_namespace() -> Result<(), String> {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let flags = rustix::thread::UnshareFlags::NEWUSER | rustix::thread::UnshareFlags::NEWNS;
    // SAFETY: UnshareFlags::FILES, whose effects the function warns of, is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(|error| error.to_string())?;
    for (file, content) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {} 1", uid.as_raw())),
        ("gid_map", format!("0 {} 1", gid.as_raw())),
    ] {
        std::fs::write(format!("/proc/self/{file}"), content)
            .map_err(|error| format!("cannot map ids: {error}"))?;
    }
    Ok(())
}

fn probe_overlay(directory: &Path) -> Result<(), String> {
    let in_namespace = userns::needed();
    if in_namespace {
        enter_one_id_namespace()?;
    } else {
        // SAFETY: as above.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }
            .map_err(|error| error.to_string())?;
    }
    let private = rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(|error| error.to_string())?;
    let mount = distil_rootfs::Mount::Overlay {
        lower: vec![directory.join("lower")],
        upper: Some(directory.join("upper")),
        work: Some(directory.join("work")),
        userxattr: in_namespace || userns::inside(),
    };
    mount
        .attach(&directory.join("merged"))
        .map_err(|error| error.to_string())
}

fn disk(store_root: &Path) -> Check {
    let place = existing_ancestor(store_root);
    match rustix::fs::statvfs(&place) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} MiB free at `{}`", free >> 20, place.display());
            match free >= MINIMUM_SPACE {
                true => Check::ok("disk", detail),
                false => Check::missing("disk", detail, "distil prune --all   # as yourself"),
            }
        }
        Err(error) => Check::missing(
            "disk",
            format!("cannot read `{}`: {error}", place.display()),
            "choose another store with --root",
        ),
    }
}

/// Emulators for other architectures; nobody needs them for the machine's own.
fn emulators() -> Check {
    let registry = Path::new(binfmt::REGISTRY);
    let found: Vec<&str> = ["amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x"]
        .into_iter()
        .filter(|name| {
            ElfArchitecture::of_platform(name).is_some_and(|architecture| {
                let execution = binfmt::can_execute(architecture, registry);
                matches!(execution, Execution::Emulated { .. })
            })
        })
        .collect();
    match found.is_empty() {
        false => Check::ok("emulators", found.join(", ")),
        true => Check {
            fix: Some("apt-get install qemu-user-static binfmt-support".to_owned()),
            ..Check::not_needed("emulators", "none; only for other architectures")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kernel_versions() {
        assert_eq!(version("6.1.0-18-amd64"), (6, 1));
        assert_eq!(version("5.14.0-427.el9"), (5, 14));
        assert_eq!(version(""), (0, 0));
        assert!(version("6.1") > MINIMUM_KERNEL);
    }
}
