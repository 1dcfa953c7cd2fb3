//! A small process 1 for interactive use: without one a program ignores Ctrl-C unless it handles
//! it, as the kernel protects process 1 from signals.

use std::io;

use crate::sys::{self, Forked};

/// Forks. Returns in the child, which goes on to be the program; the parent stays as process 1,
/// hands signals on, reaps what ends, and exits like the child.
pub(super) fn stay_as_init() -> io::Result<()> {
    let all = all_signals();
    // SAFETY: the set is initialised.
    sys::check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut()) }.into())?;
    // SAFETY: the process has one thread.
    match unsafe { sys::fork() }? {
        Forked::Child => {
            // SAFETY: the set is initialised.
            let result =
                unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const all, std::ptr::null_mut()) };
            sys::check(result.into())
        }
        Forked::Parent(pid) => {
            // What `ps` shows; nothing depends on it.
            let _ = rustix::thread::set_name(c"init");
            serve(pid.as_raw_nonzero().get(), &all)
        }
    }
}

fn all_signals() -> libc::sigset_t {
    // SAFETY: sigfillset initialises the set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        set
    }
}

fn serve(program: libc::pid_t, signals: &libc::sigset_t) -> ! {
    // The program alone holds its streams and the pipe for failures.
    // SAFETY: nothing in this process uses a descriptor again.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    loop {
        // SAFETY: the structure is only written, and read after success.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigwaitinfo(signals, &raw mut info), info)
        };
        if signal == libc::SIGCHLD {
            reap(program);
        } else if signal > 0 && info.si_code <= 0 {
            // Signals of processes alone (a positive code is the kernel's); the terminal sends its own
            // to the program's session.
            // SAFETY: a plain system call.
            unsafe { libc::kill(program, signal) };
        }
    }
}

/// Reaps all that has ended; leaves when the program has.
fn reap(program: libc::pid_t) {
    loop {
        let mut status = 0;
        // SAFETY: writes one int.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid <= 0 {
            return;
        }
        if pid == program {
            let code = match libc::WIFSIGNALED(status) {
                true => 128 + libc::WTERMSIG(status),
                false => libc::WEXITSTATUS(status),
            };
            // SAFETY: ends the process without running the exit handlers of its parent's copy.
            unsafe { libc::_exit(code) }
        }
    }
}
