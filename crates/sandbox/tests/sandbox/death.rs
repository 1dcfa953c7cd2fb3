//! Nothing outlives the caller, however it dies.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{Root, TestUser};
use crate::{Case, own_program};

pub(crate) const CASES: &[Case] = &[
    ("killed_caller", killed_caller),
    ("killed_helper", killed_helper),
    ("kill_ends_all", kill_ends_all),
    ("dropped_process", dropped_process),
];

const LIMIT: Duration = Duration::from_secs(1);

/// A script that wants to stay, with a mark in its command lines.
fn stubborn(mark: &str) -> String {
    let stay = format!("trap \"\" INT TERM HUP; while :; do sleep 1; done # {mark}");
    format!("trap '' INT TERM HUP; (setsid sh -c '{stay}' &); echo ready; while :; do sleep 1; done # {mark}")
}

/// Processes whose command line has the mark, zombies among them.
fn marked(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        .filter(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(mark)
        })
        .collect()
}

fn mounted(path: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(path)
}

#[track_caller]
fn assert_gone(mark: &str, since: Instant) {
    while !marked(mark).is_empty() {
        assert!(since.elapsed() < LIMIT, "left over: {:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The holder; killed when a test fails.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the holder; gives it and the directory of its root.
fn hold(mark: &str) -> (Holder, String) {
    start_holder(own_program(&["hold", &stubborn(mark)]), mark)
}

fn start_holder(mut command: Command, mark: &str) -> (Holder, String) {
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut holder = Holder(child);
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    let directory = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    std::thread::spawn(move || lines.count());
    // The holder, the program, and the one that went away.
    let deadline = Instant::now() + LIMIT;
    while marked(mark).len() < 3 {
        assert!(Instant::now() < deadline, "{:?}", marked(mark));
        std::thread::sleep(Duration::from_millis(5));
    }
    (holder, directory)
}

fn killed_caller() {
    let mark = format!("mark-caller-{}", std::process::id());
    let (mut holder, directory) = hold(&mark);
    let start = Instant::now();
    holder.0.kill().unwrap();
    holder.0.wait().unwrap();
    assert_gone(&mark, start);
    assert!(!mounted(&directory));
    fs::remove_dir_all(directory.trim_end_matches('/')).unwrap();
}

/// The helper's pid: a child of `parent` with the helper's name.
fn helper_of(parent: u32) -> i32 {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
    children.split_whitespace().next().unwrap().parse().unwrap()
}

fn killed_helper() {
    let mark = format!("mark-helper-{}", std::process::id());
    let (mut holder, directory) = hold(&mark);
    let start = Instant::now();
    // SAFETY: a plain system call on the id of a process that is a child of our child.
    assert_eq!(unsafe { libc::kill(helper_of(holder.0.id()), libc::SIGKILL) }, 0);
    holder.0.wait().unwrap();
    assert_gone(&mark, start);
    assert!(!mounted(&directory));
}

fn kill_ends_all() {
    let mark = format!("mark-kill-{}", std::process::id());
    let root = Root::new();
    let mut process =
        distil_sandbox::Sandbox::spawn(&root.shell(&stubborn(&mark)), Default::default()).unwrap();
    let mut output = BufReader::new(process.take_stdout().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let signaller = process.signaller();
    let start = Instant::now();
    std::thread::spawn(move || signaller.kill());
    assert_eq!(process.wait().unwrap().code(), 137);
    assert!(start.elapsed() < LIMIT);
    assert_gone(&mark, start);
}

fn dropped_process() {
    let mark = format!("mark-drop-{}", std::process::id());
    let root = Root::new();
    let mut process =
        distil_sandbox::Sandbox::spawn(&root.shell(&stubborn(&mark)), Default::default()).unwrap();
    let mut line = String::new();
    BufReader::new(process.take_stdout().unwrap())
        .read_line(&mut line)
        .unwrap();
    let start = Instant::now();
    drop(process);
    assert_gone(&mark, start);
    let own = std::process::id();
    let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    assert_eq!(children, "", "no zombie is left");
}

/// What the outer process of a user namespace does: it passes on the exit code, signals, and its
/// own death, and starts quickly.
pub(crate) fn outer_process(user: &TestUser) -> bool {
    std::panic::catch_unwind(|| {
        let mut times: Vec<u128> = (0..15)
            .map(|_| {
                let start = Instant::now();
                let status = user.command(&["program", "exit", "42"]).status().unwrap();
                assert_eq!(status.code(), Some(42));
                start.elapsed().as_micros()
            })
            .collect();
        times.sort_unstable();
        println!("    entering a user namespace, with setpriv: p50 {} us", times[7]);

        let mut waiting = user
            .command(&["program", "die-of-signal"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 6];
        waiting.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        // SAFETY: a plain system call on the id of our child.
        unsafe { libc::kill(waiting.id() as i32, libc::SIGTERM) };
        assert_eq!(waiting.wait().unwrap().signal(), Some(libc::SIGTERM));

        let mark = format!("mark-outer-{}", std::process::id());
        let (mut holder, _) = start_holder(user.command(&["program", "hold", &stubborn(&mark)]), &mark);
        let start = Instant::now();
        holder.0.kill().unwrap();
        holder.0.wait().unwrap();
        assert_gone(&mark, start);
        println!(
            "test user::outer_process ... ok ({} ms until all was gone)",
            start.elapsed().as_millis()
        );
    })
    .is_ok()
}
