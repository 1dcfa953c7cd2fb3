//! From a fresh process 1 to the running program: `/proc`, streams, limits, privileges, exec.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::Mode;
use rustix::mount::MountAttrFlags;

use super::mounts::{self, hide, protect};
use super::users::User;
use super::{Step, exec};
use crate::capability;
use crate::error::StartError;
use crate::spec::{DEFAULT_PATH, ProcessSpec, Security};
use crate::sys;
use crate::wire::Report;

/// Docker's read-only paths.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Docker's masked paths below `/proc`; those below `/sys` are masked with `/sys`.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
];

/// Everything that the child needs, made before the fork.
pub(super) struct Program<'a> {
    spec: &'a ProcessSpec,
    filter: &'a [u8],
    user: User,
    streams: Vec<OwnedFd>,
    terminal: Option<OwnedFd>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    search_path: OsString,
}

impl<'a> Program<'a> {
    pub(super) fn new(
        spec: &'a ProcessSpec,
        filter: &'a [u8],
        user: User,
        streams: Vec<OwnedFd>,
        terminal: Option<OwnedFd>,
    ) -> Result<Program<'a>, Report> {
        if spec.args.is_empty() {
            return Err(Report::Start(StartError::NoCommand));
        }
        let environment = environment(&spec.env, &user);
        let search_path = search_path(&environment);
        Ok(Program {
            arguments: c_strings(&spec.args)?,
            environment: c_strings(&environment)?,
            search_path,
            spec,
            filter,
            user,
            streams,
            terminal,
        })
    }

    /// In the child: turns it into the program. A failure goes into `failure` as a report.
    pub(super) fn become_it(&self, old_root: &OwnedFd, failure: &OwnedFd) -> ! {
        let Err(report) = self.try_become(old_root, failure);
        let mut message: &[u8] = &report.encode();
        while !message.is_empty() {
            match rustix::io::write(failure, message) {
                Ok(count) => message = &message[count..],
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        // SAFETY: ends the process without running the exit handlers of its parent's copy.
        unsafe { libc::_exit(1) }
    }

    fn try_become(&self, old_root: &OwnedFd, failure: &OwnedFd) -> Result<Infallible, Report> {
        self.mount_proc()?;
        mounts::leave_old_root(old_root).step(|| "leave the old root".to_owned())?;
        self.take_streams()
            .step(|| "connect the standard streams".to_owned())?;
        self.limit()?;
        rustix::process::umask(Mode::from_raw_mode(0o022));
        let cwd = &self.spec.cwd;
        rustix::process::chdir(cwd).step(|| format!("enter the work directory `{}`", cwd.display()))?;
        self.drop_privileges()?;
        die_with_the_helper(failure);
        reset_signals();
        if self.spec.init {
            super::init::stay_as_init().step(|| "start the program below init".to_owned())?;
        }
        self.lead_session().step(|| "take the terminal".to_owned())?;
        // SAFETY: only sets the close-on-exec flag of this process's descriptors.
        let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
        sys::check(result).step(|| "close descriptors".to_owned())?;
        let error = exec::execute(&self.arguments, &self.environment, &self.search_path);
        Err(Report::Start(error))
    }

    fn mount_proc(&self) -> Result<(), Report> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let tree = mounts::new_mount("proc", &[], attributes).step(|| "make `/proc`".to_owned())?;
        mounts::put(&tree, Path::new("/proc"))?;
        if mounts::exists("/proc/kcore") {
            // A convention of container runtimes.
            let _ = std::os::unix::fs::symlink("/proc/kcore", "/dev/core");
        }
        if self.spec.security == Security::Sandbox {
            READ_ONLY.into_iter().try_for_each(protect)?;
            MASKED.into_iter().try_for_each(hide)?;
        }
        Ok(())
    }

    /// Makes the streams 0, 1 and 2. Pipes become the user's own, so that it can open
    /// `/dev/stdout` again.
    fn take_streams(&self) -> io::Result<()> {
        if let Some(terminal) = &self.terminal {
            return (0..3).try_for_each(|number| install(terminal, number));
        }
        for (stream, number) in self.streams.iter().zip(0..) {
            let metadata = rustix::fs::fstat(stream)?;
            if self.user.uid != 0 && metadata.st_mode & libc::S_IFMT == libc::S_IFIFO {
                // Fails where the pipe belongs to somebody outside; it is usable all the same.
                let _ = std::os::unix::fs::fchown(stream, Some(self.user.uid), None);
            }
            install(stream, number)?;
        }
        Ok(())
    }

    /// Begins a session, with the terminal as its own. From then on Ctrl-C ends the process, so
    /// this comes after the fork from init: process 1 would take the key and ignore it.
    fn lead_session(&self) -> io::Result<()> {
        // Fails only for a leader of a session, which a fresh child is not.
        let _ = rustix::process::setsid();
        match &self.terminal {
            Some(terminal) => Ok(rustix::process::ioctl_tiocsctty(terminal)?),
            None => Ok(()),
        }
    }

    fn limit(&self) -> Result<(), Report> {
        for limit in &self.spec.rlimits {
            let value = libc::rlimit64 {
                rlim_cur: limit.soft,
                rlim_max: limit.hard,
            };
            // SAFETY: reads `value`, which lives through the call; writes nothing.
            let result = unsafe {
                libc::syscall(
                    libc::SYS_prlimit64,
                    0,
                    limit.resource,
                    &raw const value,
                    std::ptr::null_mut::<libc::rlimit64>(),
                )
            };
            sys::check(result).step(|| {
                let (soft, hard) = (limit.soft, limit.hard);
                format!("set resource limit {} to {soft}:{hard}", limit.resource)
            })?;
        }
        Ok(())
    }

    /// Bounding set, then the filter (which needs CAP_SYS_ADMIN as no_new_privs stays off), then
    /// the ids, then the remaining sets.
    fn drop_privileges(&self) -> Result<(), Report> {
        let sandboxed = self.spec.security == Security::Sandbox;
        if sandboxed {
            capability::limit_bounding_set(capability::DOCKER_DEFAULT)
                .step(|| "drop capabilities".to_owned())?;
        }
        if !self.filter.is_empty() {
            crate::seccomp::install(self.filter).step(|| "install the seccomp filter".to_owned())?;
        }
        let User { uid, gid, .. } = self.user;
        set_ids(&self.user).step(|| format!("become user {uid}:{gid} (are these ids mapped here?)"))?;
        if sandboxed {
            capability::limit_sets(capability::DOCKER_DEFAULT, uid == 0)
                .step(|| "drop capabilities".to_owned())?;
        }
        Ok(())
    }
}

fn c_strings(values: &[OsString]) -> Result<Vec<CString>, Report> {
    let convert = |value: &OsString| {
        CString::new(value.as_bytes()).map_err(|_| Report::Setup {
            step: format!("pass `{}` (it contains a NUL byte)", value.display()),
            errno: libc::EINVAL,
        })
    };
    values.iter().map(convert).collect()
}

/// The environment in order: of equal names the first place and the last value; `HOME` last when
/// it is absent.
fn environment(given: &[OsString], user: &User) -> Vec<OsString> {
    let mut result: Vec<OsString> = Vec::with_capacity(given.len() + 1);
    for entry in given {
        match result.iter_mut().find(|old| name_of(old) == name_of(entry)) {
            Some(old) => old.clone_from(entry),
            None => result.push(entry.clone()),
        }
    }
    let mut home = b"HOME=".to_vec();
    home.extend_from_slice(&user.home);
    let home = OsString::from_vec(home);
    match result.iter_mut().find(|entry| name_of(entry) == b"HOME") {
        Some(entry) if entry.as_bytes() == b"HOME=" => *entry = home,
        Some(_) => {}
        None => result.push(home),
    }
    result
}

fn name_of(entry: &OsStr) -> &[u8] {
    entry
        .as_bytes()
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default()
}

fn search_path(environment: &[OsString]) -> OsString {
    let path = environment
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="));
    match path {
        Some(path) => OsStr::from_bytes(path).to_owned(),
        None => OsString::from(DEFAULT_PATH),
    }
}

/// Makes `fd` the descriptor `number`, not closed on exec.
fn install(fd: &OwnedFd, number: i32) -> io::Result<()> {
    // SAFETY: both are plain numbers; what `number` was is not owned by anything in this process
    // that is used again.
    sys::check(unsafe { libc::dup2(fd.as_raw_fd(), number) }.into())
}

fn set_ids(user: &User) -> io::Result<()> {
    // SAFETY: the pointer and length are those of one slice; plain system calls otherwise.
    unsafe {
        sys::check(libc::syscall(
            libc::SYS_setgroups,
            user.groups.len(),
            user.groups.as_ptr(),
        ))?;
        sys::check(libc::syscall(libc::SYS_setresgid, user.gid, user.gid, user.gid))?;
        sys::check(libc::syscall(libc::SYS_setresuid, user.uid, user.uid, user.uid))
    }
}

/// Has the kernel kill this process when the helper dies. The ids are set before: changing them
/// would clear it again.
fn die_with_the_helper(failure: &OwnedFd) {
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // It may have died before: then nobody holds the other end of the pipe.
    let mut fds = [rustix::event::PollFd::new(
        failure,
        rustix::event::PollFlags::empty(),
    )];
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let polled = rustix::event::poll(&mut fds, Some(&now));
    if polled.is_ok() && fds[0].revents().contains(rustix::event::PollFlags::ERR) {
        // SAFETY: ends the process without running the exit handlers of its parent's copy.
        unsafe { libc::_exit(1) }
    }
}

/// Default action and no mask for every signal: the runtime of this program ignores SIGPIPE, and
/// ignored signals stay ignored over exec.
fn reset_signals() {
    // SAFETY: SIG_DFL is valid for every signal; for those that cannot be set the call fails
    // without effect. The set is initialised by sigemptyset.
    unsafe {
        for signal in 1..=libc::SIGRTMAX() {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}
