//! Real sandboxes: every test runs as root, and again as an ordinary user made for it.
//!
//! No libtest here: the test program is also the sandbox's helper, the program inside it, and the
//! victim that is killed, so it needs a `main` of its own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test program; clippy knows only libtest's"
)]

mod cases;
mod confinement;
mod death;
mod fixture;
mod programs;
mod speed;
mod terminal;

use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};

use distil_sandbox::userns;

/// A named test.
pub(crate) type Case = (&'static str, fn());

fn all() -> Vec<Case> {
    [
        cases::CASES,
        confinement::CASES,
        death::CASES,
        speed::CASES,
        terminal::CASES,
    ]
    .concat()
}

fn main() -> ExitCode {
    distil_sandbox::init_entry();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["program", rest @ ..] => programs::run(rest),
        ["as-user", "program", rest @ ..] => as_user(|| programs::run(rest)),
        ["as-user", filter @ ..] => as_user(|| verdict(run_all("user", filter))),
        _ => as_root(&words),
    }
}

fn as_root(words: &[&str]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: the sandbox tests need root");
        return ExitCode::SUCCESS;
    }
    if fixture::busybox().is_none() {
        println!("skipped: no static busybox (package busybox-static)");
        return ExitCode::SUCCESS;
    }
    let filter: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let root = run_all("root", &filter);
    let user = match fixture::TestUser::new() {
        Some(user) => {
            let outer = filter.is_empty() || filter.contains(&"outer");
            user.run_tests(&filter) && (!outer || death::outer_process(&user))
        }
        None => {
            println!("skipped as a user: no useradd, newuidmap or setpriv");
            true
        }
    };
    if root && user {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Something inside a user namespace.
fn as_user(inside: impl FnOnce() -> ExitCode) -> ExitCode {
    if userns::needed() {
        match userns::enter() {
            Err(error) => println!("cannot enter a user namespace: {error}"),
        }
        return ExitCode::FAILURE;
    }
    assert!(userns::inside());
    inside()
}

fn verdict(passed: bool) -> ExitCode {
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_all(who: &str, filter: &[&str]) -> bool {
    let mut failed = 0;
    let mut passed = 0;
    for (name, test) in all() {
        if !filter.is_empty() && !filter.iter().any(|word| name.contains(word)) {
            continue;
        }
        let start = std::time::Instant::now();
        let ok = catch_unwind(AssertUnwindSafe(test)).is_ok();
        let verdict = if ok { "ok" } else { "FAILED" };
        println!(
            "test {who}::{name} ... {verdict} ({} ms)",
            start.elapsed().as_millis()
        );
        if ok {
            passed += 1;
        } else {
            failed += 1;
        }
    }
    println!("{who}: {passed} passed, {failed} failed");
    failed == 0
}

/// This program as a command with the role `program`.
pub(crate) fn own_program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg0("sandbox-test").arg("program").args(arguments);
    command
}
