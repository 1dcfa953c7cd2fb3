//! The helper: this program executed again with one thread, between the caller and the program.
//!
//! It makes the namespaces, attaches the root and all mounts in its own mount namespace, starts
//! the program as process 1 of the pid namespace, and watches its socket to the caller. When that
//! closes it kills process 1, and the kernel then kills the rest. When the program has ended it
//! takes the mount stubs away again, reports, and exits; its mount namespace dies with it.

mod devices;
mod exec;
mod init;
mod mounts;
mod program;
mod stubs;
mod users;

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{PidfdFlags, Signal, WaitId, WaitIdOptions};
use rustix::thread::UnshareFlags;

use crate::doctor;
use crate::exit::ExitStatus;
use crate::spec::{Network, ProcessSpec};
use crate::sys::{self, Forked};
use crate::wire::{Plan, Report};

/// `argv[0]` that turns this program into a helper.
const HELPER_NAME: &str = "distil-sandbox-helper";

/// Turns the process into a sandbox helper when it was started as one, and then never returns.
/// A program that uses [`crate::Sandbox`] calls it first thing in `main`.
pub fn init_entry() {
    let Some(name) = std::env::args_os().next() else {
        return;
    };
    if name == HELPER_NAME {
        std::process::exit(run());
    }
    if name == doctor::PROBE_NAME {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let (code, reason) = doctor::run_probe(&arguments);
        let _ = rustix::io::write(rustix::stdio::stdout(), reason.as_bytes());
        std::process::exit(code);
    }
}

/// Starts a helper that talks over `control`.
pub(crate) fn start(control: UnixStream) -> io::Result<Child> {
    // Without hooks and with a path as program the standard library uses posix_spawn, which does
    // not copy the caller's page tables.
    Command::new("/proc/self/exe")
        .arg0(HELPER_NAME)
        .env_clear()
        .stdin(OwnedFd::from(control))
        .stdout(std::process::Stdio::null())
        .spawn()
}

/// Adds to an error what was tried.
trait Step<T> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Report>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: impl FnOnce() -> String) -> Result<T, Report> {
        self.map_err(|error| Report::Setup {
            step: what(),
            errno: error.into().raw_os_error().unwrap_or(libc::EIO),
        })
    }
}

fn run() -> i32 {
    let Ok(control) = sys::duplicate(rustix::stdio::stdin()) else {
        return 1;
    };
    let control = UnixStream::from(control);
    // Away from the caller's terminal: its Ctrl-C is the caller's business.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let report = match Plan::receive(&control) {
        Ok(plan) => supervise(&control, plan),
        // The caller is gone before it said anything.
        Err(_) => return 1,
    };
    // Fails only when the caller is gone.
    let _ = sys::send_with_descriptors(&control, &report.encode(), &[]);
    0
}

fn supervise(control: &UnixStream, plan: Plan) -> Report {
    match prepare_and_run(control, plan) {
        Ok(report) | Err(report) => report,
    }
}

fn prepare_and_run(control: &UnixStream, plan: Plan) -> Result<Report, Report> {
    let Plan {
        spec,
        filter,
        streams,
    } = plan;
    isolate(&spec)?;
    let mut layout = mounts::attach(&spec)?;
    let outcome = run_program(control, &spec, &filter, streams, &mut layout);
    layout.take_away();
    outcome
}

/// New namespaces for this process; the pid namespace begins with its next child.
fn isolate(spec: &ProcessSpec) -> Result<(), Report> {
    let mut flags =
        UnshareFlags::NEWIPC | UnshareFlags::NEWUTS | UnshareFlags::NEWPID | UnshareFlags::NEWCGROUP;
    if spec.network == Network::None {
        flags |= UnshareFlags::NEWNET;
    }
    // SAFETY: UnshareFlags::FILES, whose effects the function warns of, is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }
        .step(|| "make namespaces (pid, ipc, uts, cgroup, net)".to_owned())?;
    if spec.network == Network::None {
        devices::raise_loopback().step(|| "bring up `lo`".to_owned())?;
    }
    rustix::system::sethostname(spec.hostname.as_bytes())
        .step(|| format!("set the hostname to `{}`", spec.hostname))
}

fn run_program(
    control: &UnixStream,
    spec: &ProcessSpec,
    filter: &[u8],
    mut streams: Vec<OwnedFd>,
    layout: &mut mounts::Layout,
) -> Result<Report, Report> {
    let user = users::resolve(&spec.user).map_err(Report::User)?;
    mounts::make_work_directory(&spec.cwd, &user)?;
    let terminal = match spec.terminal {
        Some(size) => {
            let (master, slave) = devices::open_terminal(size, &user)?;
            sys::send_with_descriptors(control, &Report::Terminal.encode(), &[master.as_fd()])
                .step(|| "hand over the terminal".to_owned())?;
            streams = Vec::new();
            Some(slave)
        }
        None => None,
    };
    if spec.read_only {
        layout.make_read_only()?;
    }
    let program = program::Program::new(spec, filter, user, streams, terminal)?;
    let (failure, failure_write) = sys::pipe().step(|| "make a pipe".to_owned())?;
    // SAFETY: the helper has one thread.
    let pid = match unsafe { sys::fork() }.step(|| "fork".to_owned())? {
        Forked::Child => program.become_it(&layout.old_root, &failure_write),
        Forked::Parent(pid) => pid,
    };
    // The program alone holds its streams now, so that their readers see its end.
    drop((program, failure_write));
    let init =
        rustix::process::pidfd_open(pid, PidfdFlags::empty()).step(|| "watch the program".to_owned())?;
    let status = watch(control, &init)?;
    let mut message = Vec::new();
    // The pipe is empty when the program was started.
    let _ = std::fs::File::from(failure).read_to_end(&mut message);
    match message.get(8..).map(Report::decode) {
        Some(Ok(report)) => Ok(report),
        _ => Ok(Report::Ended(status)),
    }
}

/// Waits for the program's end. Every byte from the caller is a signal to send; the end of the
/// connection kills.
fn watch(control: &UnixStream, init: &OwnedFd) -> Result<ExitStatus, Report> {
    let mut connected = true;
    loop {
        let mut fds = vec![PollFd::new(init, PollFlags::IN)];
        if connected {
            fds.push(PollFd::new(control, PollFlags::IN));
        }
        sys::poll(&mut fds).step(|| "wait for the program".to_owned())?;
        if !fds[0].revents().is_empty() {
            return reap(init);
        }
        connected = connected && relay_signals(control, init);
    }
}

/// Sends the signals that the caller asks for; false when it is gone and all was killed.
fn relay_signals(mut control: &UnixStream, init: &OwnedFd) -> bool {
    let mut signals = [0; 16];
    match control.read(&mut signals) {
        Ok(count) if count > 0 => {
            for &signal in &signals[..count] {
                if let Some(signal) = Signal::from_named_raw(i32::from(signal)) {
                    // Fails only when the program has just ended.
                    let _ = rustix::process::pidfd_send_signal(init, signal);
                }
            }
            true
        }
        Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
        _ => {
            let _ = rustix::process::pidfd_send_signal(init, Signal::KILL);
            false
        }
    }
}

fn reap(init: &OwnedFd) -> Result<ExitStatus, Report> {
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result.step(|| "reap the program".to_owned())?,
        }
    };
    let status = match status {
        Some(status) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Code(u8::MAX),
        },
        None => ExitStatus::Code(u8::MAX),
    };
    Ok(status)
}
