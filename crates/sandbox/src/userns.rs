//! Running as an ordinary user: the whole program again inside a user namespace with subordinate
//! ids, where it is root over its own files.

use std::convert::Infallible;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::sys::{self, Forked};
use signals::ForwardedSignals;

mod signals;

/// So many ids beside one's own are mapped, no more: 1..=65536.
pub const WANTED_IDS: u32 = 65_536;

/// Where `newuidmap` and `newgidmap` are looked for.
const TOOL_DIRECTORIES: [&str; 6] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/run/wrappers/bin",
    "/usr/sbin",
    "/sbin",
];

/// Something that is needed for a user namespace with subordinate ids and is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// A setting forbids user namespaces.
    #[error("user namespaces are switched off: `{setting}` is {value}")]
    Disabled {
        /// Name of the sysctl.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// AppArmor takes the capabilities away inside.
    #[error(
        "AppArmor restricts unprivileged user namespaces \
         (`kernel.apparmor_restrict_unprivileged_userns` is 1)"
    )]
    AppArmor,
    /// The kernel refused a user namespace for another reason.
    #[error("the kernel refuses a user namespace: {reason}")]
    Refused {
        /// The system's reason.
        reason: String,
    },
    /// `newuidmap` or `newgidmap` is not installed.
    #[error("`{tool}` is not installed")]
    Tool {
        /// Its name.
        tool: &'static str,
    },
    /// It is installed without the rights that it needs.
    #[error("`{}` is neither setuid root nor has the file capability", path.display())]
    ToolWithoutRights {
        /// Where it is.
        path: PathBuf,
    },
    /// No ids are set aside for the user.
    #[error("`{file}` has no entry with enough ids for `{user}` ({count} of {WANTED_IDS})")]
    Ids {
        /// `/etc/subuid` or `/etc/subgid`.
        file: &'static str,
        /// The user, by name where there is one.
        user: String,
        /// How many ids there are.
        count: u64,
    },
}

impl Missing {
    /// A command that mends it, to be run as root.
    pub fn fix(&self) -> String {
        match self {
            Missing::Disabled { setting, .. } => {
                let value = if setting.ends_with("max_user_namespaces") {
                    "28633"
                } else {
                    "1"
                };
                format!("sysctl -w {setting}={value}")
            }
            Missing::AppArmor => "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned(),
            Missing::Refused { .. } => {
                "allow user namespaces (CONFIG_USER_NS, container or LSM policy)".to_owned()
            }
            Missing::Tool { .. } => "apt-get install uidmap   # or: dnf install shadow-utils".to_owned(),
            Missing::ToolWithoutRights { path } => format!("chmod u+s {}", path.display()),
            Missing::Ids { file, user, .. } => {
                let option = if file.ends_with("subuid") {
                    "--add-subuids"
                } else {
                    "--add-subgids"
                };
                format!("usermod {option} 100000-165535 {user}")
            }
        }
    }
}

/// Why the user namespace was not entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Needs are not met.
    #[error("cannot run as an ordinary user: {}", describe(.0))]
    Missing(Vec<Missing>),
    /// A system call failed.
    #[error("cannot enter a user namespace: {step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// `newuidmap` or `newgidmap` refused.
    #[error("`{tool}` failed: {message}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// What it wrote.
        message: String,
    },
}

fn describe(missing: &[Missing]) -> String {
    let line = |missing: &Missing| format!("{missing}; fix: `{}`", missing.fix());
    missing.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Whether this process lacks the right to mount (CAP_SYS_ADMIN in its user namespace), so that
/// [`enter`] is needed before a sandbox or a layer with foreign owners can be made.
pub fn needed() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    effective_capabilities() & CAP_SYS_ADMIN == 0
}

fn effective_capabilities() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether this process is in a user namespace other than the machine's first: there overlay needs
/// `userxattr`, and device nodes cannot be made.
pub fn inside() -> bool {
    is_inside(&uid_map())
}

fn is_inside(map: &[(u32, u32, u32)]) -> bool {
    !matches!(map, [] | [(0, 0, u32::MAX)])
}

/// The id that user 0 of this user namespace has outside: who really runs the program. Decides
/// defaults that differ between root and others. None outside of a user namespace.
pub fn outer_uid() -> Option<u32> {
    let map = uid_map();
    let own = map.iter().find(|(inside, _, _)| *inside == 0);
    is_inside(&map)
        .then(|| own.map(|(_, outside, _)| *outside))
        .flatten()
}

fn uid_map() -> Vec<(u32, u32, u32)> {
    let text = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let line = |line: &str| {
        let mut numbers = line.split_whitespace().map(|word| word.parse().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    };
    text.lines().filter_map(line).collect()
}

/// One range of subordinate ids outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id.
    pub start: u32,
    /// How many.
    pub count: u32,
}

/// What [`enter`] will use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Ranges of user ids, mapped from 1 on in this order, together at most [`WANTED_IDS`].
    pub uids: Vec<IdRange>,
    /// The same for group ids.
    pub gids: Vec<IdRange>,
    newuidmap: PathBuf,
    newgidmap: PathBuf,
}

impl Mapping {
    /// The maps of user and group ids that [`enter`] makes for the calling user, as `/proc/PID/uid_map` shows
    /// them inside: first id inside, first id outside, how many.
    pub fn maps(&self) -> (Vec<MapLine>, Vec<MapLine>) {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        (map_lines(uid, &self.uids), map_lines(gid, &self.gids))
    }
}

/// First id inside, first id outside, how many.
pub type MapLine = (u32, u32, u32);

fn map_lines(own: u32, ranges: &[IdRange]) -> Vec<MapLine> {
    let mut lines = vec![(0, own, 1)];
    let mut inside = 1;
    for range in ranges {
        lines.push((inside, range.start, range.count));
        inside += range.count;
    }
    lines
}

/// Finds all that [`enter`] needs for the calling user, or everything that is missing. Does not
/// try to make a namespace (see [`crate::doctor`] for that).
pub fn probe() -> Result<Mapping, Vec<Missing>> {
    let mut missing = disabled_by_setting();
    let mut collect = |result: Result<PathBuf, Missing>| match result {
        Ok(path) => path,
        Err(error) => {
            missing.push(error);
            PathBuf::new()
        }
    };
    let newuidmap = collect(find_tool("newuidmap"));
    let newgidmap = collect(find_tool("newgidmap"));
    let mut ids = |file: &'static str| match subordinate_ids(file) {
        Ok(ranges) => ranges,
        Err(error) => {
            missing.push(error);
            Vec::new()
        }
    };
    let mapping = Mapping {
        uids: ids("/etc/subuid"),
        gids: ids("/etc/subgid"),
        newuidmap,
        newgidmap,
    };
    match missing.is_empty() {
        true => Ok(mapping),
        false => Err(missing),
    }
}

fn sysctl(path: &str) -> Option<String> {
    let value = std::fs::read_to_string(Path::new("/proc/sys").join(path)).ok()?;
    Some(value.trim().to_owned())
}

fn disabled_by_setting() -> Vec<Missing> {
    let mut missing = Vec::new();
    for (path, setting) in [
        ("user/max_user_namespaces", "user.max_user_namespaces"),
        (
            "kernel/unprivileged_userns_clone",
            "kernel.unprivileged_userns_clone",
        ),
    ] {
        if let Some(value) = sysctl(path).filter(|value| value == "0") {
            missing.push(Missing::Disabled { setting, value });
        }
    }
    let restricted = sysctl("kernel/apparmor_restrict_unprivileged_userns");
    // A profile of its own that grants `userns` lifts the restriction.
    let profile = std::fs::read_to_string("/proc/self/attr/apparmor/current");
    let unconfined = profile.map_or(true, |profile| profile.trim_end() == "unconfined");
    if restricted.as_deref() == Some("1") && unconfined {
        missing.push(Missing::AppArmor);
    }
    missing
}

fn find_tool(tool: &'static str) -> Result<PathBuf, Missing> {
    let path = TOOL_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(tool))
        .find(|path| path.is_file())
        .ok_or(Missing::Tool { tool })?;
    let is_setuid = std::fs::metadata(&path)
        .is_ok_and(|metadata| metadata.uid() == 0 && metadata.permissions().mode() & 0o4000 != 0);
    let mut value = [0; 64];
    let has_capability = rustix::fs::getxattr(&path, "security.capability", &mut value[..]).is_ok();
    match is_setuid || has_capability {
        true => Ok(path),
        false => Err(Missing::ToolWithoutRights { path }),
    }
}

/// The name of the user `uid` in `/etc/passwd`.
fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn subordinate_ids(file: &'static str) -> Result<Vec<IdRange>, Missing> {
    let uid = rustix::process::getuid().as_raw();
    let name = user_name(uid);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let ranges = ranges_of(&text, name.as_deref(), uid);
    let count = ranges.iter().map(|range| u64::from(range.count)).sum();
    if count < u64::from(WANTED_IDS) {
        return Err(Missing::Ids {
            file,
            user: name.unwrap_or_else(|| uid.to_string()),
            count,
        });
    }
    Ok(ranges)
}

/// The ranges of a user in the text of `/etc/subuid`, in order, cut at [`WANTED_IDS`] in total.
fn ranges_of(text: &str, name: Option<&str>, uid: u32) -> Vec<IdRange> {
    let uid = uid.to_string();
    let mut left = WANTED_IDS;
    let mut ranges = Vec::new();
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let owner = fields.next();
        if owner.is_none() || (owner != name && owner != Some(&uid)) {
            continue;
        }
        let mut number = || fields.next().and_then(|field| field.parse::<u32>().ok());
        let (Some(start), Some(count)) = (number(), number()) else {
            continue;
        };
        let count = count.min(left);
        if count > 0 {
            ranges.push(IdRange { start, count });
            left -= count;
        }
    }
    ranges
}

/// Runs this program again as root of a new user and mount namespace, with the same arguments and
/// environment, and exits with its exit code or signal: it returns only with an error. Own id to 0,
/// subordinate ids from 1 on.
///
/// Until then this process only passes signals on. When it dies, the inner program is killed.
/// To be called from the main thread; other threads of this process end with it.
pub fn enter() -> Result<Infallible, EnterError> {
    let mapping = probe().map_err(EnterError::Missing)?;
    let system = |step| move |source| EnterError::System { step, source };
    let (ready_read, ready_write) = sys::pipe().map_err(system("make a pipe"))?;
    let (go_read, go_write) = sys::pipe().map_err(system("make a pipe"))?;
    let launch = Launch::new();
    crate::startup::restore_descriptor_limit();
    let signals = ForwardedSignals::block();
    // SAFETY: the child makes only system calls on what was prepared before.
    let pid = match unsafe { sys::fork() }.map_err(system("fork"))? {
        Forked::Child => launch.run(&ready_write, &go_read, &go_write, &signals),
        Forked::Parent(pid) => pid,
    };
    drop((ready_write, go_read));
    let inner = Inner(pid);
    await_namespace(&ready_read)?;
    map_ids(&mapping, pid)?;
    rustix::io::write(&go_write, b"!")
        .map_err(io::Error::from)
        .map_err(system("start the inner program"))?;
    drop(go_write);
    let raw = inner.0;
    std::mem::forget(inner);
    signals.supervise(raw)
}

/// The inner process until it is on its own: killed when something fails before.
struct Inner(rustix::process::Pid);

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::KILL);
        let _ = rustix::process::waitpid(Some(self.0), rustix::process::WaitOptions::empty());
    }
}

/// Waits until the child is in its namespace, or says why it is not.
fn await_namespace(ready: &OwnedFd) -> Result<(), EnterError> {
    let mut errno = [0; 4];
    let count = loop {
        match rustix::io::read(ready, &mut errno) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.unwrap_or(0),
        }
    };
    let errno = if count == 4 {
        i32::from_ne_bytes(errno)
    } else {
        libc::ECHILD
    };
    if errno == 0 {
        return Ok(());
    }
    let reason = io::Error::from_raw_os_error(errno).to_string();
    Err(EnterError::Missing(vec![Missing::Refused { reason }]))
}

/// Both tools at once.
fn map_ids(mapping: &Mapping, pid: rustix::process::Pid) -> Result<(), EnterError> {
    let uid = rustix::process::getuid().as_raw();
    let gid = rustix::process::getgid().as_raw();
    let tools = [
        ("newuidmap", &mapping.newuidmap, uid, &mapping.uids),
        ("newgidmap", &mapping.newgidmap, gid, &mapping.gids),
    ];
    let mut running = Vec::new();
    for (tool, path, own, ranges) in tools {
        let child = Command::new(path)
            .args(map_arguments(pid, own, ranges))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .map_err(|error| EnterError::Tool {
                tool,
                message: error.to_string(),
            })?;
        running.push((tool, child));
    }
    for (tool, child) in running {
        let output = child.wait_with_output().map_err(|error| EnterError::Tool {
            tool,
            message: error.to_string(),
        })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(EnterError::Tool { tool, message });
        }
    }
    Ok(())
}

fn map_arguments(pid: rustix::process::Pid, own: u32, ranges: &[IdRange]) -> Vec<String> {
    let mut arguments = vec![pid.as_raw_nonzero().to_string()];
    for (inside, outside, count) in map_lines(own, ranges) {
        arguments.extend([inside, outside, count].map(|number| number.to_string()));
    }
    arguments
}

/// What the child needs, made before the fork: it must not allocate.
struct Launch {
    arguments: Vec<CString>,
    argv: Vec<*const libc::c_char>,
}

impl Launch {
    fn new() -> Launch {
        let arguments: Vec<CString> = std::env::args_os()
            // The kernel gave them, so they have no NUL inside.
            .filter_map(|argument| CString::new(argument.as_bytes()).ok())
            .collect();
        let mut argv: Vec<*const libc::c_char> = arguments.iter().map(|argument| argument.as_ptr()).collect();
        argv.push(std::ptr::null());
        Launch { arguments, argv }
    }

    /// In the child.
    fn run(&self, ready: &OwnedFd, go: &OwnedFd, go_write: &OwnedFd, signals: &ForwardedSignals) -> ! {
        debug_assert_eq!(self.arguments.len() + 1, self.argv.len());
        // SAFETY: system calls only, on descriptors and memory of before the fork; every pointer
        // is to an object that lives on.
        unsafe {
            libc::close(go_write.as_raw_fd());
            let result = libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
            let errno = if result == 0 { 0 } else { *libc::__errno_location() };
            libc::write(ready.as_raw_fd(), (&raw const errno).cast(), 4);
            let mut byte = 0_u8;
            let mapped = libc::read(go.as_raw_fd(), (&raw mut byte).cast(), 1) == 1;
            if errno != 0 || !mapped {
                libc::_exit(1);
            }
            if libc::syscall(libc::SYS_setresgid, 0, 0, 0) != 0
                || libc::syscall(libc::SYS_setresuid, 0, 0, 0) != 0
            {
                libc::_exit(1);
            }
            // After the ids: changing them clears it.
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::getppid() == 1 {
                libc::_exit(1);
            }
            libc::sigprocmask(libc::SIG_SETMASK, &raw const signals.before, std::ptr::null_mut());
            libc::execv(c"/proc/self/exe".as_ptr(), self.argv.as_ptr());
            libc::_exit(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number_and_cut() {
        let text = "# c\napp:100000:1000\nother:1:5\n1000:200000:65536\napp:x:y\n";
        let range = |start, count| IdRange { start, count };
        assert_eq!(
            ranges_of(text, Some("app"), 1000),
            [range(100_000, 1000), range(200_000, 64_536)]
        );
        assert_eq!(ranges_of(text, None, 7), []);
    }

    #[test]
    fn every_need_has_a_fix() {
        let missing = Missing::Ids {
            file: "/etc/subgid",
            user: "app".into(),
            count: 0,
        };
        assert_eq!(missing.fix(), "usermod --add-subgids 100000-165535 app");
        assert!(
            EnterError::Missing(vec![missing])
                .to_string()
                .contains("/etc/subgid")
        );
    }
}
