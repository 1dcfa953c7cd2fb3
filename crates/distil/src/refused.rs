//! Flags of docker that distil does not have are refused by name, not as unknown words.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of `docker buildx build` and of the older `docker build` that `distil build` does not have.
const BUILD: &[&str] = &[
    "--allow",
    "--annotation",
    "--attest",
    "--builder",
    "--cache-from",
    "--cache-to",
    "--cgroup-parent",
    "--compress",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--disable-content-trust",
    "--force-rm",
    "--isolation",
    "--memory",
    "--memory-swap",
    "--policy",
    "--print",
    "--provenance",
    "--push",
    "--resource",
    "--rm",
    "--sbom",
    "--security-opt",
    "--shm-size",
    "--squash",
    "--stream",
    "--ulimit",
    "-c",
    "-m",
];

/// Flags of `docker run` that `distil run` does not have.
const RUN: &[&str] = &[
    "--annotation",
    "--attach",
    "--blkio-weight",
    "--blkio-weight-device",
    "--cap-add",
    "--cap-drop",
    "--cgroup-parent",
    "--cgroupns",
    "--cidfile",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-rt-period",
    "--cpu-rt-runtime",
    "--cpu-shares",
    "--cpus",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--detach",
    "--detach-keys",
    "--device",
    "--device-cgroup-rule",
    "--device-read-bps",
    "--device-read-iops",
    "--device-write-bps",
    "--device-write-iops",
    "--disable-content-trust",
    "--dns",
    "--dns-option",
    "--dns-search",
    "--domainname",
    "--expose",
    "--gpus",
    "--group-add",
    "--health-cmd",
    "--health-interval",
    "--health-retries",
    "--health-start-interval",
    "--health-start-period",
    "--health-timeout",
    "--ip",
    "--ip6",
    "--ipc",
    "--isolation",
    "--kernel-memory",
    "--label",
    "--label-file",
    "--link",
    "--link-local-ip",
    "--log-driver",
    "--log-opt",
    "--mac-address",
    "--memory",
    "--memory-reservation",
    "--memory-swap",
    "--memory-swappiness",
    "--mount",
    "--network-alias",
    "--no-healthcheck",
    "--oom-kill-disable",
    "--oom-score-adj",
    "--pid",
    "--pids-limit",
    "--platform",
    "--privileged",
    "--publish-all",
    "--pull",
    "--restart",
    "--runtime",
    "--security-opt",
    "--sig-proxy",
    "--stop-signal",
    "--stop-timeout",
    "--storage-opt",
    "--sysctl",
    "--ulimit",
    "--use-api-socket",
    "--userns",
    "--uts",
    "--volume-driver",
    "--volumes-from",
    "-P",
    "-a",
    "-c",
    "-d",
    "-l",
    "-m",
];

/// Global options whose value is an argument of its own.
const WITH_VALUE: [&str; 2] = ["--root", "--snapshotter"];

/// Prints what clap says of wrong arguments; help and version are no error.
pub(crate) fn usage(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let commands = commands(arguments);
    // A command that could not run its program never ends with a code that the program could have given.
    let wrong = if commands.first().is_some_and(|name| name == "run") {
        distil_sandbox::exit::CODE_SANDBOX_FAILED
    } else {
        2
    };
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && let Some((name, of, command)) = refused(argument, &commands)
    {
        let way_out = (command == "run").then(|| instead(name)).flatten();
        let _ = writeln!(
            std::io::stderr(),
            "ERROR: `{name}` is a flag of {of} that distil does not have{}\n\
             hint: {}`distil {command} --help` lists what there is",
            if way_out.is_some() { "" } else { " yet" },
            way_out.map(|text| format!("{text}; ")).unwrap_or_default()
        );
        return ExitCode::from(wrong);
    }
    // A closed pipe is no reason to complain about help.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { wrong } else { 0 })
}

/// The flag's name, docker's command that has it, and ours.
fn refused<'a>(argument: &'a str, commands: &[String]) -> Option<(&'a str, &'static str, &'static str)> {
    let name = argument.split('=').next().unwrap_or(argument);
    let words: Vec<&str> = commands.iter().map(String::as_str).collect();
    let (flags, of, command) = match words.as_slice() {
        ["run", ..] => (RUN, "`docker run`", "run"),
        ["build" | "dump-llb", ..] | ["image" | "builder" | "buildx", "build" | "b", ..] => {
            (BUILD, "buildx", "build")
        }
        _ => return None,
    };
    flags.contains(&name).then_some((name, of, command))
}

/// Why `distil run` does without a flag, and what does it.
fn instead(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "-d" | "--detach" | "--detach-keys" | "--restart" | "--cidfile" => {
            "it starts one program and ends with it, no container goes on without it: `&`, systemd-run(1) or a \
             service file put it in the background"
        }
        "-P" | "--publish-all" | "--expose" | "--link" | "--network-alias" | "--ip" | "--ip6"
        | "--mac-address" => "the program has the network of this machine, and its ports are the machine's",
        "--mount" => "`-v SOURCE:TARGET[:ro]` and `--tmpfs TARGET` mount",
        "--privileged" | "--cap-add" | "--device" | "--security-opt" | "--pid" | "--ipc" | "--uts"
        | "--userns" => "programs are confined as docker confines them by default, never less",
        "-m" | "--memory" | "--memory-swap" | "--cpus" | "-c" | "--cpu-shares" | "--pids-limit" => {
            "systemd-run(1) limits it: `systemd-run --user --scope -p MemoryMax=512M distil run ...`"
        }
        "--platform" => "an image runs as it was built: `distil build --platform` says for what",
        "--pull" => {
            "an image of the store is run as it is, another one is fetched: `distil rmi` before it fetches anew"
        }
        "-l" | "--label" | "--label-file" => "nothing of a container is kept that could have labels",
        _ => return None,
    })
}

/// The first two words that are no options: the command, and its own command where it has some.
fn commands(arguments: impl Iterator<Item = OsString>) -> Vec<String> {
    let mut words = Vec::new();
    let mut skip = false;
    for argument in arguments.skip(1) {
        let text = argument.to_string_lossy();
        if std::mem::take(&mut skip) {
            continue;
        }
        if text.starts_with('-') {
            skip = WITH_VALUE.contains(&text.as_ref());
        } else {
            words.push(text.into_owned());
        }
        if words.len() == 2 {
            break;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        commands(line.split(' ').map(OsString::from))
    }

    #[test]
    fn commands_are_found_behind_options() {
        for (line, found) in [
            ("distil build .", "build ."),
            ("distil --root x -D run --privileged y", "run y"),
            ("distil --root=x image ls", "image ls"),
            ("distil --help", ""),
        ] {
            assert_eq!(words(line).join(" "), found, "{line}");
        }
    }

    #[test]
    fn flags_are_refused_for_the_command_that_docker_has_them_for() {
        for (line, argument, of) in [
            ("distil build .", "--sbom", Some("buildx")),
            ("distil buildx build .", "--cache-to=type=inline", Some("buildx")),
            ("distil run x", "--privileged", Some("`docker run`")),
            ("distil build .", "--privileged", None),
            ("distil images x", "--push", None),
        ] {
            assert_eq!(refused(argument, &words(line)).map(|found| found.1), of, "{line}");
        }
    }

    #[test]
    fn what_does_it_instead_is_told_of_flags_that_are_refused() {
        for flag in ["-d", "--mount", "-m", "--privileged", "-P", "--pull"] {
            assert!(RUN.contains(&flag) && instead(flag).is_some(), "{flag}");
        }
        assert_eq!(instead("--gpus"), None);
    }

    #[test]
    fn what_is_refused_does_not_exist() {
        let command = crate::arguments::all_commands();
        for (name, flags) in [("build", BUILD), ("run", RUN)] {
            let command = command.find_subcommand(name).expect("the command exists");
            for arg in command.get_arguments() {
                let long = arg.get_long().map(|long| format!("--{long}"));
                let short = arg.get_short().map(|short| format!("-{short}"));
                for flag in [long, short].into_iter().flatten() {
                    assert!(!flags.contains(&flag.as_str()), "{name} {flag}");
                }
            }
        }
    }
}
