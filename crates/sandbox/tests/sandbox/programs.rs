//! What this test program does when a test starts it again.

use std::io::Write;
use std::process::ExitCode;

use distil_sandbox::{Sandbox, Stdio};

use crate::fixture::Root;

pub(crate) fn run(words: &[&str]) -> ExitCode {
    match words {
        ["syscalls"] => syscalls(),
        ["hold", script] => hold(script),
        ["terminal", script] => terminal(script),
        ["forward", script] => return forward(script),
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["die-of-signal"] => {
            println!("ready");
            std::thread::sleep(std::time::Duration::from_secs(30));
        }
        _ => return ExitCode::from(99),
    }
    ExitCode::SUCCESS
}

/// Calls what Docker's profile refuses and prints the error numbers.
fn syscalls() {
    let calls = [
        ("keyctl", libc::SYS_keyctl, 0),
        ("unshare", libc::SYS_unshare, libc::CLONE_NEWNS),
        ("mount", libc::SYS_mount, 0),
        ("bpf", libc::SYS_bpf, 0),
        ("clone3", libc::SYS_clone3, 0),
        ("newuser", libc::SYS_unshare, libc::CLONE_NEWUSER),
    ];
    for (name, number, argument) in calls {
        // SAFETY: none of the calls touches memory of this process with these arguments.
        let result = unsafe { libc::syscall(number, argument, 0, 0, 0, 0) };
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        println!("{name} {result} {errno}");
    }
}

/// Runs a script in a sandbox until it is killed.
fn hold(script: &str) {
    let root = Root::new();
    let mut process = Sandbox::spawn(&root.shell(script), Stdio::captured()).unwrap();
    println!("{}", root.path("").display());
    std::io::stdout().flush().unwrap();
    let _ = process.wait_with_output(|_, bytes| {
        let _ = std::io::stdout().write_all(bytes);
    });
}

/// Runs a script with a terminal, connected to this program's own.
fn terminal(script: &str) {
    let root = Root::new();
    let mut spec = root.shell(script);
    spec.terminal = Some(distil_sandbox::terminal::size(std::io::stdin()).unwrap_or_default());
    spec.init = true;
    let mut process = Sandbox::spawn(&spec, Stdio::captured()).unwrap();
    let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
    let status = distil_sandbox::terminal::relay(&mut process, input, output).unwrap();
    println!("code {}", status.code());
}

/// Runs a script without a terminal and passes signals on.
fn forward(script: &str) -> ExitCode {
    let root = Root::new();
    let mut process = Sandbox::spawn(&root.shell(script), Stdio::inherited()).unwrap();
    let status = distil_sandbox::terminal::wait_forwarding_signals(&mut process, || {}).unwrap();
    ExitCode::from(status.code())
}
