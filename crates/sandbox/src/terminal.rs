//! The caller's side of a process with a terminal, or of one that gets the caller's signals.
//!
//! All descriptors come from the caller: this module looks for no terminal by itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{OptionalActions, Termios, Winsize};

use crate::error::SandboxError;
use crate::exit::ExitStatus;
use crate::process::Process;
use crate::spec::TerminalSize;
use crate::sys;

/// The size of a terminal, none when `fd` is none or does not know its size.
pub fn size(fd: impl AsFd) -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(TerminalSize {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Sets the size of a terminal; its foreground processes get SIGWINCH.
pub fn set_size(fd: impl AsFd, size: TerminalSize) -> io::Result<()> {
    let size = Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// Whether `fd` is a terminal.
pub fn is_terminal(fd: impl AsFd) -> bool {
    rustix::termios::isatty(fd)
}

/// A terminal that hands every key on unchanged. Dropping it restores the settings from before.
#[derive(Debug)]
pub struct RawMode<'fd> {
    terminal: BorrowedFd<'fd>,
    before: Termios,
}

impl<'fd> RawMode<'fd> {
    /// Switches a terminal to raw mode.
    pub fn enter(terminal: BorrowedFd<'fd>) -> io::Result<RawMode<'fd>> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(RawMode { terminal, before })
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        // Fails only when the terminal is gone.
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}

/// The write end of the current [`SignalPipe`], -1 for none.
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signals of this process turned into bytes of a pipe, from whichever thread gets them. One can
/// exist at a time; dropping it restores the earlier actions.
#[derive(Debug)]
struct SignalPipe {
    read: OwnedFd,
    write: OwnedFd,
    before: Vec<(libc::c_int, libc::sighandler_t)>,
}

extern "C" fn write_to_pipe(signal: libc::c_int) {
    let byte = [signal as u8];
    // SAFETY: write and the errno location are async-signal-safe; the descriptor stays open while
    // the handler is installed, and -1 makes the call fail.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), byte.as_ptr().cast(), 1);
        *libc::__errno_location() = errno;
    }
}

impl SignalPipe {
    fn install(signals: &[libc::c_int]) -> io::Result<SignalPipe> {
        let (read, write) = sys::pipe()?;
        rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK)?;
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&write);
        if SIGNAL_PIPE
            .compare_exchange(-1, number, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            return Err(io::Error::from(Errno::BUSY));
        }
        let mut before = Vec::new();
        for &signal in signals {
            let handler: extern "C" fn(libc::c_int) = write_to_pipe;
            // SAFETY: the handler does async-signal-safe things only and lives as long as the
            // program.
            let old = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
            before.push((signal, old));
        }
        Ok(SignalPipe { read, write, before })
    }

    /// The signals that have come since.
    fn take(&self) -> Vec<i32> {
        let mut bytes = [0; 64];
        match rustix::io::read(&self.read, &mut bytes) {
            Ok(count) => bytes[..count].iter().map(|&byte| i32::from(byte)).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl Drop for SignalPipe {
    fn drop(&mut self) {
        for (signal, handler) in &self.before {
            // SAFETY: restores an action that was in force before.
            unsafe { libc::signal(*signal, *handler) };
        }
        SIGNAL_PIPE.store(-1, Ordering::SeqCst);
        let _ = &self.write;
    }
}

/// Signals that `run` passes on.
const FORWARDED: [libc::c_int; 6] = [
    libc::SIGINT,
    libc::SIGTERM,
    libc::SIGHUP,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// SIGINT or SIGTERM that come closer to the one before are the same wish to end: timeout(1) and programs that pass
/// a terminal's Ctrl-C on send theirs twice.
const ONE_WISH: Duration = Duration::from_millis(250);

/// Passes signals on and notices the impatient ones.
struct Forwarder {
    pipe: SignalPipe,
    /// When the last SIGINT or SIGTERM came.
    asked: Option<Instant>,
}

impl Forwarder {
    fn new(window: bool) -> Result<Forwarder, SandboxError> {
        let mut signals = FORWARDED.to_vec();
        if window {
            signals.push(libc::SIGWINCH);
        }
        let pipe = SignalPipe::install(&signals).map_err(failed("catch signals"))?;
        Ok(Forwarder { pipe, asked: None })
    }

    /// Forwards what has come; whether the window changed its size.
    fn forward(&mut self, process: &Process) -> bool {
        let mut resized = false;
        for signal in self.pipe.take() {
            if signal == libc::SIGWINCH {
                resized = true;
                continue;
            }
            let is_wish = signal == libc::SIGINT || signal == libc::SIGTERM;
            let before = match is_wish {
                true => self.asked.replace(Instant::now()),
                false => None,
            };
            match before.is_some_and(|before| before.elapsed() > ONE_WISH) {
                true => process.kill(),
                false => process.signaller().signal(signal),
            }
        }
        resized
    }
}

fn failed(step: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Setup {
        step: step.to_owned(),
        source,
    }
}

/// A program that goes on so long after it was asked to end is told of.
const LONG: Duration = Duration::from_secs(1);

/// Waits for a process without a terminal and passes this process's signals on to it; the second SIGINT or SIGTERM
/// kills it with all that it started. `goes_on` is called once when the program is still there a second after the first.
pub fn wait_forwarding_signals(
    process: &mut Process,
    goes_on: impl FnOnce(),
) -> Result<ExitStatus, SandboxError> {
    let mut forwarder = Forwarder::new(false)?;
    let mut goes_on = Some(goes_on);
    loop {
        let ended = {
            let mut fds = [
                PollFd::new(&forwarder.pipe.read, PollFlags::IN),
                PollFd::from_borrowed_fd(process.control(), PollFlags::IN),
            ];
            match (forwarder.asked, &goes_on) {
                (Some(asked), Some(_)) => sys::poll_for(&mut fds, LONG.saturating_sub(asked.elapsed())),
                _ => sys::poll(&mut fds),
            }
            .map_err(failed("wait for the program"))?;
            !fds[1].revents().is_empty()
        };
        if ended {
            return process.wait();
        }
        forwarder.forward(process);
        if forwarder.asked.is_some_and(|asked| asked.elapsed() >= LONG)
            && let Some(tell) = goes_on.take()
        {
            tell();
        }
    }
}

/// How often it is looked whether the program has taken its terminal.
const START_INTERVAL: Duration = Duration::from_millis(2);

/// Bytes from the keyboard that the process has not taken stop further reading here.
const MAX_PENDING: usize = 64 * 1024;

/// Connects a process that has a terminal with the caller's: `input` goes to raw mode for the
/// time being, keys (Ctrl-C and Ctrl-D among them) reach the process, its output goes to `output`,
/// a new size of `output` is passed on, other signals are forwarded. Returns when the process has
/// ended.
pub fn relay(
    process: &mut Process,
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
) -> Result<ExitStatus, SandboxError> {
    let master = sys::duplicate(process.terminal()?).map_err(failed("open the terminal"))?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK)
        .map_err(io::Error::from)
        .map_err(failed("open the terminal"))?;
    let mut forwarder = Forwarder::new(true)?;
    if let Some(size) = size(output) {
        // The size may have changed since the process was described.
        let _ = set_size(&master, size);
    }
    let raw = match is_terminal(input) {
        true => Some(RawMode::enter(input).map_err(failed("switch the terminal to raw mode"))?),
        false => None,
    };
    let mut relay = Relay {
        master,
        input: Some(input),
        output,
        pending: Vec::new(),
        started: false,
    };
    while relay
        .step(&mut forwarder, process)
        .map_err(failed("pass on the terminal"))?
    {}
    let status = process.wait();
    drop(raw);
    status
}

struct Relay<'fd> {
    master: OwnedFd,
    input: Option<BorrowedFd<'fd>>,
    output: BorrowedFd<'fd>,
    pending: Vec<u8>,
    /// The program has taken the terminal. A Ctrl-C before that would reach nobody.
    started: bool,
}

impl Relay<'_> {
    /// Waits for something to do and does it; false when the process's end is closed.
    fn step(&mut self, forwarder: &mut Forwarder, process: &Process) -> io::Result<bool> {
        // Nothing tells that the program has taken the terminal: it is asked for.
        self.started = self.started || rustix::termios::tcgetpgrp(&self.master).is_ok();
        let (signals, master, input) = self.wait(&forwarder.pipe.read)?;
        if signals
            && forwarder.forward(process)
            && let Some(size) = size(self.output)
        {
            set_size(&self.master, size)?;
        }
        if input {
            self.read_input();
        }
        self.write_pending()?;
        match master {
            true => self.copy_output(),
            false => Ok(true),
        }
    }

    fn wait(&self, signals: &OwnedFd) -> io::Result<(bool, bool, bool)> {
        let mut master = PollFlags::IN;
        if !self.pending.is_empty() {
            master |= PollFlags::OUT;
        }
        let mut fds = vec![
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&self.master, master),
        ];
        if let Some(input) = self
            .input
            .filter(|_| self.started && self.pending.len() < MAX_PENDING)
        {
            fds.push(PollFd::from_borrowed_fd(input, PollFlags::IN));
        }
        match self.started {
            true => sys::poll(&mut fds)?,
            false => sys::poll_for(&mut fds, START_INTERVAL)?,
        }
        let is_ready = |index: usize| {
            fds.get(index)
                .is_some_and(|fd: &PollFd<'_>| !fd.revents().is_empty())
        };
        Ok((is_ready(0), is_ready(1), is_ready(2)))
    }

    fn read_input(&mut self) {
        let Some(input) = self.input else { return };
        let mut bytes = [0; 4096];
        match rustix::io::read(input, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.input = None,
            Ok(count) => self.pending.extend_from_slice(&bytes[..count]),
        }
    }

    fn write_pending(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match rustix::io::write(&self.master, &self.pending) {
                Ok(count) => drop(self.pending.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody will read it.
                Err(Errno::IO) => self.pending.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn copy_output(&self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        let count = match rustix::io::read(&self.master, &mut bytes) {
            Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
            // The last process that had the terminal open is gone.
            Ok(0) | Err(Errno::IO) => return Ok(false),
            result => result?,
        };
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            match rustix::io::write(self.output, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut fds = [PollFd::from_borrowed_fd(self.output, PollFlags::OUT)];
                    sys::poll(&mut fds)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
