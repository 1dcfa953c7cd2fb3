//! The outer process: signals go to the inner program, and its end is this process's end.

use std::convert::Infallible;

use super::EnterError;

/// Signals that the outer process waits for instead of obeying.
pub(super) struct ForwardedSignals {
    set: libc::sigset_t,
    /// The mask from before, for the inner program.
    pub(super) before: libc::sigset_t,
}

impl ForwardedSignals {
    pub(super) fn block() -> ForwardedSignals {
        // SAFETY: sigemptyset and sigprocmask initialise the sets before they are read.
        unsafe {
            let mut set = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            for signal in [
                libc::SIGINT,
                libc::SIGTERM,
                libc::SIGHUP,
                libc::SIGQUIT,
                libc::SIGUSR1,
                libc::SIGUSR2,
                libc::SIGWINCH,
                libc::SIGTSTP,
                libc::SIGCHLD,
            ] {
                libc::sigaddset(&raw mut set, signal);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            ForwardedSignals { set, before }
        }
    }

    /// Waits for the inner program and leaves as it did.
    ///
    /// It looks after the program also without a signal: another thread of this process may have
    /// swallowed the one that told of its end.
    pub(super) fn supervise(&self, pid: rustix::process::Pid) -> Result<Infallible, EnterError> {
        let pid = pid.as_raw_nonzero().get();
        let patience = libc::timespec {
            tv_sec: 0,
            tv_nsec: 200_000_000,
        };
        loop {
            // SAFETY: the structure is only written, and read after success.
            let (signal, info) = unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                let signal = libc::sigtimedwait(&raw const self.set, &raw mut info, &raw const patience);
                (signal, info)
            };
            if signal <= 0 || signal == libc::SIGCHLD {
                self.reap(pid);
            } else if signal > 0 && info.si_code <= 0 {
                // What a terminal sends (a positive code) reaches the inner program by itself.
                // SAFETY: a plain system call; the process is not reaped yet, so the id is its.
                unsafe { libc::kill(pid, signal) };
            }
        }
    }

    fn reap(&self, pid: libc::pid_t) {
        loop {
            let mut status = 0;
            let flags = libc::WNOHANG | libc::WUNTRACED;
            // SAFETY: writes one int.
            let waited = unsafe { libc::waitpid(pid, &raw mut status, flags) };
            if waited != pid {
                return;
            }
            if libc::WIFEXITED(status) {
                std::process::exit(libc::WEXITSTATUS(status));
            } else if libc::WIFSIGNALED(status) {
                self.die_of(libc::WTERMSIG(status));
            } else if libc::WIFSTOPPED(status) {
                // SAFETY: stops this process as its program is, and wakes that up with it.
                unsafe {
                    libc::kill(libc::getpid(), libc::SIGSTOP);
                    libc::kill(pid, libc::SIGCONT);
                }
            }
        }
    }

    /// Ends this process by the same signal, without a core file of its own.
    fn die_of(&self, signal: i32) -> ! {
        // SAFETY: plain system calls; the limit lives through the call.
        unsafe {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
            libc::signal(signal, libc::SIG_DFL);
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, signal);
            libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
            libc::raise(signal);
        }
        std::process::exit(128 + signal)
    }
}
