//! What ends a program of `distil run`, with and without a terminal: signals and keys.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::terminal::Terminal;
use crate::world::World;

fn world() -> Option<World> {
    let world = World::new()?;
    world.build("FROM busybox\nCMD [\"sh\"]\n", "-q -t app");
    Some(world)
}

/// Well-behaved ones end so fast.
const FAST: Duration = Duration::from_secs(1);

/// A number of seconds that names the processes of one test.
fn token(number: u32) -> String {
    (100_000 + std::process::id() * 10 + number).to_string()
}

/// Processes whose command line has this word.
fn processes(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let word = word.as_bytes();
    // `distil` itself has it in the script that is its argument.
    lines
        .filter(|line| line.starts_with(b"sleep\0") && line.split(|byte| *byte == 0).any(|part| part == word))
        .count()
}

fn nothing_left(word: &str) {
    let begun = Instant::now();
    while processes(word) > 0 {
        assert!(begun.elapsed() < FAST, "processes with `{word}` are left");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a script that says `up` when it is ready, and waits for that.
fn start(world: &World, flags: &[&str], script: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = world.command();
    let mut child = command
        .arg("run")
        .args(flags)
        .args(["app", "sh", "-c", script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    (child, output)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code and how long it took from now.
fn end(mut child: Child) -> (Option<i32>, Duration) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    panic!("it did not end");
}

#[test]
fn a_signal_ends_a_program_with_all_that_it_started() {
    let Some(world) = world() else { return };
    let token = token(1);
    for (signal, script, code) in [
        (Signal::TERM, format!("echo up; exec sleep {token}"), 143),
        (Signal::INT, format!("echo up; exec sleep {token}"), 130),
        (Signal::HUP, format!("echo up; exec sleep {token}"), 129),
        // One that waits for its children, one that leaves them behind, one that has a session of its own.
        (
            Signal::TERM,
            format!("trap 'exit 3' TERM; sleep {token} & echo up; wait"),
            3,
        ),
        (
            Signal::INT,
            format!("trap 'exit 4' INT; sleep {token} & sleep {token} & echo up; wait"),
            4,
        ),
        (
            Signal::TERM,
            format!("setsid sleep {token} & trap 'exit 0' TERM; echo up; wait"),
            0,
        ),
    ] {
        for flags in [&[][..], &["--init"], &["--rm", "--read-only"]] {
            let (child, _output) = start(&world, flags, &script);
            send(&child, signal);
            let (ended, time) = end(child);
            assert_eq!(ended, Some(code), "{script} {flags:?}");
            assert!(time < FAST, "{script} {flags:?}: {time:?}");
            nothing_left(&token);
        }
    }
}

#[test]
fn the_second_wish_kills_what_goes_on() {
    let Some(world) = world() else { return };
    let token = token(2);
    let script =
        format!("trap 'echo no' INT TERM; sleep {token} & echo up; while :; do wait; sleep {token}; done");
    for (first, second) in [(Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)] {
        let (child, _output) = start(&world, &[], &script);
        // timeout(1) and others send theirs twice at once: that is one.
        send(&child, first);
        send(&child, first);
        std::thread::sleep(Duration::from_millis(600));
        assert!(processes(&token) > 0, "it ended at the first wish");
        send(&child, second);
        let (ended, time) = end(child);
        assert_eq!(ended, Some(137));
        assert!(time < FAST, "{time:?}");
        nothing_left(&token);
    }
}

#[test]
fn control_c_in_a_terminal_without_t() {
    let Some(world) = world() else { return };
    let token = token(3);
    let script = format!("sleep {token} & echo up; wait");
    let mut terminal = Terminal::start(&world, &["run", "app", "sh", "-c", &script], 24, 80);
    terminal.expect("up");
    let begun = Instant::now();
    terminal.type_in("\x03");
    assert_eq!(terminal.end(), 130);
    assert!(begun.elapsed() < FAST, "{:?}", begun.elapsed());
    nothing_left(&token);

    let script = format!("trap '' INT; echo up; sleep {token}");
    let mut terminal = Terminal::start(&world, &["run", "app", "sh", "-c", &script], 24, 80);
    terminal.expect("up");
    terminal.type_in("\x03");
    terminal.expect("Ctrl-C once more kills it");
    let begun = Instant::now();
    terminal.type_in("\x03");
    assert_eq!(terminal.end(), 137);
    assert!(begun.elapsed() < FAST, "{:?}", begun.elapsed());
    nothing_left(&token);
}

#[test]
fn with_a_terminal_keys_are_the_programs() {
    let Some(world) = world() else { return };
    let token = token(4);
    for flags in [&["-it"][..], &["-it", "--init"]] {
        let script = format!(
            "n=0; trap 'n=$((n+1)); echo number $n' INT; echo up; while [ $n -lt 3 ]; do sleep {token}; done; exit 6"
        );
        let arguments = [&["run"], flags, &["app", "sh", "-c", &script]].concat();
        let mut terminal = Terminal::start(&world, &arguments, 24, 80);
        terminal.expect("up");
        // A program of its own terminal may take any number of them.
        for number in 1..=3 {
            std::thread::sleep(Duration::from_millis(300));
            terminal.type_in("\x03");
            terminal.expect(&format!("number {number}"));
        }
        assert_eq!(terminal.end(), 6);
        nothing_left(&token);

        let script = format!("sleep {token} & echo up; wait");
        let arguments = [&["run"], flags, &["app", "sh", "-c", &script]].concat();
        let mut terminal = Terminal::start(&world, &arguments, 24, 80);
        terminal.expect("up");
        let begun = Instant::now();
        terminal.type_in("\x03");
        assert_eq!(terminal.end(), 130);
        assert!(begun.elapsed() < FAST, "{:?}", begun.elapsed());
        nothing_left(&token);
    }
}
