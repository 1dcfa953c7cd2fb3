//! A process with a terminal, driven through a pseudo-terminal of the test's own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Child;
use std::time::{Duration, Instant};

use distil_sandbox::TerminalSize;
use rustix::pty::OpenptFlags;

use crate::{Case, own_program};

pub(crate) const CASES: &[Case] = &[
    ("interrupt_key", interrupt_key),
    ("interrupt_key_at_once", interrupt_key_at_once),
    ("end_of_input_key", end_of_input_key),
    ("resize", resize),
    ("console", console),
    ("settings_come_back", settings_come_back),
    ("signals_without_a_terminal", signals_without_a_terminal),
];

/// The test's end of a terminal and the program that has the other one.
struct Session {
    master: File,
    slave: OwnedFd,
    child: Child,
    seen: String,
}

impl Session {
    fn start(script: &str) -> Session {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let size = TerminalSize {
            rows: 30,
            columns: 100,
        };
        distil_sandbox::terminal::set_size(&master, size).unwrap();
        let mut command = own_program(&["terminal", script]);
        for stream in 0..3 {
            let copy = slave.try_clone().unwrap();
            match stream {
                0 => command.stdin(copy),
                1 => command.stdout(copy),
                _ => command.stderr(copy),
            };
        }
        // SAFETY: two plain system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK).unwrap();
        Session {
            master: File::from(master),
            slave,
            child,
            seen: String::new(),
        }
    }

    fn key(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    /// Reads until `text` has been seen.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline, "no `{text}` in {:?}", self.seen);
            let mut bytes = [0; 4096];
            match self.master.read(&mut bytes) {
                Ok(count) => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interrupt_key() {
    let mut session = Session::start("echo start; exec cat");
    session.expect("start");
    session.key(b"hello\r");
    session.expect("hello\r\nhello\r\n");
    session.key(b"\x03");
    session.expect("code 130");
}

/// A key that is struck before the program runs is for the program, not for init.
fn interrupt_key_at_once() {
    for _ in 0..20 {
        let mut session = Session::start("exec cat");
        while rustix::termios::tcgetattr(&session.slave)
            .unwrap()
            .local_modes
            .contains(rustix::termios::LocalModes::ISIG)
        {
            std::thread::sleep(Duration::from_micros(200));
        }
        session.key(b"\x03");
        session.expect("code 130");
    }
}

fn end_of_input_key() {
    let mut session = Session::start("echo start; exec cat");
    session.expect("start");
    session.key(b"\x04");
    session.expect("code 0");
}

fn resize() {
    let mut session =
        Session::start("trap 'stty size; exit 4' WINCH; stty size; while :; do sleep 0.05; done");
    session.expect("30 100");
    let size = TerminalSize {
        rows: 41,
        columns: 133,
    };
    distil_sandbox::terminal::set_size(&session.master, size).unwrap();
    session.expect("41 133");
    session.expect("code 4");
}

fn console() {
    let mut session =
        Session::start("tty; test -c /dev/console && echo console > /dev/console; readlink /proc/self/fd/0");
    session.expect("/dev/pts/0");
    session.expect("console");
    session.expect("code 0");
}

fn settings_come_back() {
    let mut session = Session::start("echo start; sleep 0.2; exit 3");
    session.expect("start");
    let during = rustix::termios::tcgetattr(&session.slave).unwrap();
    assert!(!during.local_modes.contains(rustix::termios::LocalModes::ICANON));
    session.expect("code 3");
    let after = rustix::termios::tcgetattr(&session.slave).unwrap();
    assert!(after.local_modes.contains(rustix::termios::LocalModes::ICANON));
}

fn signals_without_a_terminal() {
    for (script, signals, code) in [
        (
            "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done",
            1,
            5,
        ),
        ("trap '' TERM; echo ready; while :; do sleep 0.05; done", 3, 137),
    ] {
        let mut child = own_program(&["forward", script])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        for _ in 0..signals {
            // The script may be ready before its starter catches signals, and two that come within
            // 250 ms count as one.
            std::thread::sleep(Duration::from_millis(300));
            // SAFETY: a plain system call on the id of our child.
            unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        }
        assert_eq!(child.wait().unwrap().code(), Some(code), "{script}");
    }
}
