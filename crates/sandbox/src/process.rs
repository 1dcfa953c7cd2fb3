//! Starting a process and waiting for it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};

use crate::error::SandboxError;
use crate::exit::ExitStatus;
use crate::helper;
use crate::seccomp;
use crate::spec::{ProcessSpec, Security, TerminalSize};
use crate::startup;
use crate::sys;
use crate::wire::{Plan, Report};

/// Where a process reads its standard input from.
#[derive(Debug, Default)]
pub enum Input {
    /// A pipe that ends at once, as BuildKit gives it to `RUN`.
    #[default]
    Empty,
    /// The caller's standard input.
    Inherit,
    /// This descriptor.
    From(OwnedFd),
}

/// Where a process writes.
#[derive(Debug, Default)]
pub enum Output {
    /// A pipe that [`Process::take_stdout`] and the like give out.
    #[default]
    Pipe,
    /// The caller's stream of the same number.
    Inherit,
    /// This descriptor.
    To(OwnedFd),
}

/// The three standard streams; not used when the process gets a terminal.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input.
    pub stdin: Input,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

impl Stdio {
    /// Empty input, both outputs captured: what a `RUN` step has.
    pub fn captured() -> Stdio {
        Stdio::default()
    }

    /// All three streams are those of the caller.
    pub fn inherited() -> Stdio {
        Stdio {
            stdin: Input::Inherit,
            stdout: Output::Inherit,
            stderr: Output::Inherit,
        }
    }
}

/// Which stream captured bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Captured {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Starts processes in namespaces of their own.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

impl Sandbox {
    /// Starts the program of `spec`. Returns before the program runs: errors of setting up come
    /// from [`Process::wait`]. The files of `spec.root` must not be changed by others until the
    /// process has been waited for.
    ///
    /// The calling program must dispatch [`crate::init_entry`] in `main`.
    pub fn spawn(spec: &ProcessSpec, stdio: Stdio) -> Result<Process, SandboxError> {
        let (control, theirs) = UnixStream::pair().map_err(SandboxError::Helper)?;
        let streams = match spec.terminal {
            Some(_) => Streams::default(),
            None => Streams::open(stdio).map_err(SandboxError::Helper)?,
        };
        let child = helper::start(theirs).map_err(SandboxError::Helper)?;
        let mut process = Process {
            control: Arc::new(control),
            child: Some(child),
            stdout: streams.stdout,
            stderr: streams.stderr,
            terminal: None,
            report: None,
        };
        let filter: &[u8] = match spec.security {
            Security::Sandbox => seccomp::docker_default(),
            Security::Insecure => &[],
        };
        let plan = Plan::encode(&startup::with_original_limit(spec), filter);
        let descriptors: Vec<BorrowedFd<'_>> = streams.child.iter().map(AsFd::as_fd).collect();
        match sys::send_with_descriptors(&process.control, &plan, &descriptors) {
            Ok(()) => Ok(process),
            Err(source) => match process.wait() {
                Err(error) => Err(error),
                Ok(_) => Err(SandboxError::Helper(source)),
            },
        }
    }
}

/// The descriptors of the three streams: the program's ends and ours.
#[derive(Default)]
struct Streams {
    child: Vec<OwnedFd>,
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Streams {
    fn open(stdio: Stdio) -> io::Result<Streams> {
        let stdin = match stdio.stdin {
            Input::Empty => sys::pipe()?.0,
            Input::Inherit => sys::duplicate(rustix::stdio::stdin())?,
            Input::From(fd) => fd,
        };
        let (stdout_child, stdout) = Streams::output(stdio.stdout, rustix::stdio::stdout())?;
        let (stderr_child, stderr) = Streams::output(stdio.stderr, rustix::stdio::stderr())?;
        Ok(Streams {
            child: vec![stdin, stdout_child, stderr_child],
            stdout,
            stderr,
        })
    }

    fn output(output: Output, own: BorrowedFd<'_>) -> io::Result<(OwnedFd, Option<File>)> {
        match output {
            Output::Pipe => {
                let (read, write) = sys::pipe()?;
                Ok((write, Some(File::from(read))))
            }
            Output::Inherit => Ok((sys::duplicate(own)?, None)),
            Output::To(fd) => Ok((fd, None)),
        }
    }
}

/// A handle that ends or signals a process from any thread.
#[derive(Clone, Debug)]
pub struct Signaller {
    control: Arc<UnixStream>,
}

impl Signaller {
    /// Kills every process of the sandbox. [`Process::wait`] then gives
    /// [`ExitStatus::Signal`]`(9)`. Does nothing when it has already ended.
    pub fn kill(&self) {
        // The helper takes the end of this direction for the caller's death. It fails only when
        // the helper is gone already.
        let _ = self.control.shutdown(std::net::Shutdown::Write);
    }

    /// Sends `signal` to the program. As process 1 of its namespace it ignores signals that it has
    /// no handler for.
    pub fn signal(&self, signal: i32) {
        if let Ok(signal) = u8::try_from(signal) {
            // A helper that is gone has nobody left to signal.
            let _ = (&*self.control).write_all(&[signal]);
        }
    }
}

/// A started process. Dropping it kills everything in the sandbox and waits for its end.
#[derive(Debug)]
pub struct Process {
    control: Arc<UnixStream>,
    child: Option<Child>,
    stdout: Option<File>,
    stderr: Option<File>,
    terminal: Option<OwnedFd>,
    report: Option<Report>,
}

impl Process {
    /// A handle for other threads.
    pub fn signaller(&self) -> Signaller {
        Signaller {
            control: Arc::clone(&self.control),
        }
    }

    /// Kills every process of the sandbox; see [`Signaller::kill`].
    pub fn kill(&self) {
        self.signaller().kill();
    }

    /// The captured standard output, once.
    pub fn take_stdout(&mut self) -> Option<File> {
        self.stdout.take()
    }

    /// The captured standard error, once.
    pub fn take_stderr(&mut self) -> Option<File> {
        self.stderr.take()
    }

    /// Our end of the process's pseudo-terminal; waits until the sandbox is set up. An error means
    /// that setting up failed, or that [`ProcessSpec::terminal`] was not set.
    pub fn terminal(&mut self) -> Result<BorrowedFd<'_>, SandboxError> {
        while self.terminal.is_none() && self.report.is_none() {
            self.receive()?;
        }
        if self.terminal.is_none() {
            return Err(self.finish().err().unwrap_or(SandboxError::Protocol));
        }
        let terminal = self.terminal.as_ref().map(AsFd::as_fd);
        terminal.ok_or(SandboxError::Protocol)
    }

    /// The connection to the helper: readable once there is something to wait for.
    pub(crate) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Changes the size of the process's terminal, which tells it by SIGWINCH.
    pub fn resize(&mut self, size: TerminalSize) -> Result<(), SandboxError> {
        let terminal = self.terminal()?;
        crate::terminal::set_size(terminal, size).map_err(|source| SandboxError::Setup {
            step: "resize the terminal".to_owned(),
            source,
        })
    }

    /// Waits until the program has ended, and with it every process of the sandbox and every
    /// mount. Captured streams that were not taken are thrown away. Calling it again gives
    /// [`SandboxError::HelperLost`].
    pub fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        if self.stdout.is_some() || self.stderr.is_some() {
            return self.wait_with_output(|_, _| {});
        }
        while self.report.is_none() {
            self.receive()?;
        }
        self.finish()
    }

    /// Waits like [`Process::wait`] and hands over what the program writes, in order of arrival,
    /// in pieces of at most 64 KiB that end anywhere.
    pub fn wait_with_output(
        &mut self,
        mut sink: impl FnMut(Captured, &[u8]),
    ) -> Result<ExitStatus, SandboxError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut streams = [
            (Captured::Stdout, self.stdout.take()),
            (Captured::Stderr, self.stderr.take()),
        ];
        while streams.iter().any(|(_, file)| file.is_some()) {
            for (stream, slot) in ready(&mut streams)? {
                let length = match slot.as_ref().map(|mut file| file.read(&mut buffer)) {
                    Some(Err(error)) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Some(Ok(length)) => length,
                    Some(Err(_)) | None => 0,
                };
                match length {
                    0 => *slot = None,
                    length => sink(*stream, &buffer[..length]),
                }
            }
        }
        self.wait()
    }

    /// Takes one message of the helper; its end without a final report counts as one.
    fn receive(&mut self) -> Result<(), SandboxError> {
        match Report::receive(&self.control) {
            Ok((Report::Terminal, Some(terminal))) => self.terminal = Some(terminal),
            Ok((Report::Terminal, None)) => return Err(SandboxError::Protocol),
            Ok((report, _)) => self.report = Some(report),
            Err(_) => self.report = Some(Report::Lost),
        }
        Ok(())
    }

    /// Reaps the helper and turns its report into the outcome.
    fn finish(&mut self) -> Result<ExitStatus, SandboxError> {
        self.reap();
        self.report.take().unwrap_or(Report::Lost).into_outcome()
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only when another part of the program reaped it.
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
            self.reap();
        }
    }
}

type Slot = (Captured, Option<File>);

/// Waits until at least one stream has bytes or has ended, and gives those.
fn ready(streams: &mut [Slot; 2]) -> Result<Vec<(&Captured, &mut Option<File>)>, SandboxError> {
    let flags: Vec<bool> = {
        let mut polled: Vec<PollFd<'_>> = Vec::with_capacity(2);
        for (_, file) in streams.iter() {
            if let Some(file) = file {
                polled.push(PollFd::new(file, PollFlags::IN));
            }
        }
        sys::poll(&mut polled).map_err(|source| SandboxError::Setup {
            step: "wait for output".to_owned(),
            source,
        })?;
        let mut results = polled.iter().map(|fd| !fd.revents().is_empty());
        streams
            .iter()
            .map(|(_, file)| file.is_some() && results.next().unwrap_or(false))
            .collect()
    };
    Ok(streams
        .iter_mut()
        .zip(flags)
        .filter(|(_, ready)| *ready)
        .map(|((stream, file), _)| (&*stream, file))
        .collect())
}
