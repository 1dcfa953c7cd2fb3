//! `distil run -it` and the live progress, in a pseudo-terminal.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use crate::world::{DISTIL, World};

/// A command whose controlling terminal is a pseudo-terminal of ours.
pub(crate) struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    pub(crate) fn start(world: &World, arguments: &[&str], rows: u16, columns: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(name.as_c_str(), flags, rustix::fs::Mode::empty()).unwrap();
        resize(&master, rows, columns);
        // It makes standard input the controlling terminal of a new session.
        let mut command = Command::new("setsid");
        world.settle(&mut command);
        let child = command
            .env("TERM", "xterm")
            .args(["--ctty", DISTIL])
            .args(arguments)
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .expect("setsid is installed");
        let (sender, output) = channel();
        let mut reader = File::from(master.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Terminal {
            master: File::from(master),
            slave,
            child,
            output,
            seen: String::new(),
        }
    }

    /// Waits until `text` has been shown, and forgets everything up to it.
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen.find(text) {
                let before = self.seen[..at].to_owned();
                self.seen.drain(..at + text.len());
                return before;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("`{text}` was not shown; there is {:?}", self.seen),
            }
        }
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code.
    pub(crate) fn end(mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mode = tcgetattr(&self.slave).unwrap().local_modes;
                let cooked = rustix::termios::LocalModes::ECHO | rustix::termios::LocalModes::ICANON;
                assert!(mode.contains(cooked), "the terminal is as it was");
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        panic!("it did not end; there is {:?}", self.seen);
    }
}

fn resize(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

fn world() -> Option<World> {
    let world = World::new()?;
    world.build("FROM busybox\nCMD [\"sh\"]\n", "-q -t app");
    Some(world)
}

#[test]
fn size_of_the_terminal_and_its_changes_reach_the_program() {
    let Some(world) = world() else { return };
    let mut terminal = Terminal::start(
        &world,
        &["run", "-it", "app", "sh", "-c", "stty size; read x; stty size"],
        33,
        101,
    );
    terminal.expect("33 101");
    resize(&terminal.master, 50, 120);
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("\r");
    terminal.expect("50 120");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn control_c_ends_cat_with_130() {
    let Some(world) = world() else { return };
    let mut terminal = Terminal::start(&world, &["run", "-it", "--rm", "app", "cat"], 24, 80);
    terminal.type_in("hello\r");
    terminal.expect("hello\r\nhello");
    terminal.type_in("\x03");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn control_d_ends_the_input() {
    let Some(world) = world() else { return };
    let mut terminal = Terminal::start(&world, &["run", "-it", "app", "cat"], 24, 80);
    terminal.type_in("bye\r");
    terminal.expect("bye\r\nbye");
    terminal.type_in("\x04");
    assert_eq!(terminal.end(), 0);
    let mut terminal = Terminal::start(&world, &["run", "-it", "app"], 24, 80);
    terminal.expect("# ");
    terminal.type_in("tty; exit 5\r");
    terminal.expect("/dev/pts/0");
    assert_eq!(terminal.end(), 5);
}

#[test]
fn progress_is_drawn_within_the_terminal() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox\nRUN for i in 1 2 3 4 5 6 7 8 9; do echo line $i of a text that is longer than the terminal is wide; done; sleep 0.5\n",
    );
    let mut terminal = Terminal::start(&world, &["build", "-t", "app", "context"], 6, 40);
    let running = terminal.expect("FINISHED");
    let control = regex::Regex::new("\x1b\\[[0-9;?]*[A-Za-z]").unwrap();
    for line in running.split(['\r', '\n']) {
        let plain = control.replace_all(line, "");
        assert!(plain.chars().count() <= 40, "{plain:?}");
    }
    for lines in running.split("\x1b[?25l") {
        assert!(lines.matches('\n').count() <= 5, "{lines:?}");
    }
    terminal.expect("naming to docker.io/library/app");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn control_c_stops_a_build_and_gives_the_cursor_back() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox\nRUN trap '' INT TERM; echo running; sleep 30\n",
    );
    let mut terminal = Terminal::start(&world, &["build", "context"], 24, 80);
    terminal.expect("running");
    let begun = Instant::now();
    terminal.type_in("\x03");
    let mut rest = terminal.expect("CANCELED");
    rest.push_str(&terminal.expect("the build was cancelled"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(rest.rfind("\x1b[?25h") > rest.rfind("\x1b[?25l"), "{rest:?}");
    assert_eq!(terminal.end(), 130);
}

#[test]
fn prune_asks_on_a_terminal() {
    let Some(world) = world() else { return };
    let mut terminal = Terminal::start(&world, &["prune", "--all"], 24, 80);
    terminal.expect("[y/N] ");
    terminal.type_in("n\r");
    assert_eq!(terminal.end(), 0);
    let mut terminal = Terminal::start(&world, &["prune", "--all"], 24, 80);
    terminal.expect("[y/N] ");
    terminal.type_in("y\r");
    terminal.expect("Total reclaimed space:");
    assert_eq!(terminal.end(), 0);
}
