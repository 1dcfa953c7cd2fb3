//! Flags of buildx that distil does not have are refused by name, not as unknown words.

use std::io::Write;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Flags of `docker buildx build` that `distil build` does not have.
const BUILDX: &[&str] = &[
    "--allow",
    "--annotation",
    "--attest",
    "--builder",
    "--cache-from",
    "--cache-to",
    "--call",
    "--cgroup-parent",
    "--check",
    "--cpu-period",
    "--cpu-quota",
    "--cpu-shares",
    "--cpuset-cpus",
    "--cpuset-mems",
    "--force-rm",
    "--memory",
    "--memory-swap",
    "--policy",
    "--print",
    "--provenance",
    "--push",
    "--resource",
    "--rm",
    "--sbom",
    "--secret",
    "--security-opt",
    "--shm-size",
    "--squash",
    "--ssh",
    "--ulimit",
];

/// Prints what clap says of wrong arguments; help and version are no error.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
    {
        let name = argument.split('=').next().unwrap_or(argument);
        if BUILDX.contains(&name) {
            let _ = writeln!(
                std::io::stderr(),
                "ERROR: `{name}` is a flag of buildx that distil does not have yet\nhint: `distil build --help` lists what there is"
            );
            return ExitCode::from(2);
        }
    }
    // A closed pipe is no reason to complain about help.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}
