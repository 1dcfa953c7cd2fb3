//! Why a process did not run.

use std::io;
use std::path::PathBuf;

/// Why [`crate::Sandbox::spawn`] or [`crate::Process::wait`] failed. A program that ran and failed
/// is no error but an [`crate::exit::ExitStatus`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The helper process could not be started.
    #[error("cannot start the sandbox helper (`/proc/self/exe`): {0}")]
    Helper(#[source] io::Error),
    /// The helper ended without an answer, for instance killed from outside.
    #[error("the sandbox helper ended unexpectedly")]
    HelperLost,
    /// The helper and the caller did not understand each other.
    #[error("the sandbox helper sent an unreadable message")]
    Protocol,
    /// A step of setting up the namespaces or mounts failed.
    #[error("cannot set up the sandbox: {step}: {source}")]
    Setup {
        /// What was tried, with its path.
        step: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The user does not exist in the root.
    #[error(transparent)]
    User(#[from] UserError),
    /// The program could not be started. `RUN` reports exit code 1, `run` 126 or 127
    /// ([`crate::exit::code_of_start_error`]).
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Why `USER` could not be resolved inside the root.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// Neither a number nor a name of `/etc/passwd`.
    #[error("unable to find user `{0}`: no matching entries in the image's /etc/passwd")]
    UnknownUser(String),
    /// Neither a number nor a name of `/etc/group`.
    #[error("unable to find group `{0}`: no matching entries in the image's /etc/group")]
    UnknownGroup(String),
    /// A number outside 0..=2147483647.
    #[error("id `{0}` is out of range (0 to 2147483647)")]
    OutOfRange(String),
    /// The file is larger than 10 MiB or cannot be read.
    #[error("cannot read `{path}` of the image: {reason}")]
    Unreadable {
        /// Path inside the root.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Why the program itself could not be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// There are no arguments.
    #[error("no command specified")]
    NoCommand,
    /// No such file, or none on `PATH`.
    #[error("exec: `{program}`: {detail}")]
    NotFound {
        /// The program as given.
        program: String,
        /// Which path or search path was looked at.
        detail: String,
    },
    /// The file exists but may not be executed, or is a directory.
    #[error("exec: `{program}`: {detail}")]
    PermissionDenied {
        /// The program as given.
        program: String,
        /// Why.
        detail: String,
    },
    /// The file is there but its interpreter (`#!` line or ELF loader) is not.
    #[error("exec: `{program}`: its interpreter `{interpreter}` is missing in the image")]
    MissingInterpreter {
        /// The program as given.
        program: String,
        /// The interpreter's path.
        interpreter: String,
    },
    /// The kernel does not know the format: another architecture, or a script without `#!`.
    #[error("exec: `{program}`: exec format error: {detail}")]
    Format {
        /// The program as given.
        program: String,
        /// What it is.
        detail: String,
    },
    /// Any other refusal of `execve(2)`.
    #[error("exec: `{program}`: {detail}")]
    Refused {
        /// The program as given.
        program: String,
        /// The system's reason.
        detail: String,
    },
}
