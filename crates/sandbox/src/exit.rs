//! Exit statuses and the codes that `docker run` makes of them.

use crate::error::{SandboxError, StartError};

/// `docker run`: the container could not be created at all.
pub const CODE_SANDBOX_FAILED: u8 = 125;
/// `docker run`: the program exists but cannot be executed.
pub const CODE_NOT_EXECUTABLE: u8 = 126;
/// `docker run`: there is no such program.
pub const CODE_NOT_FOUND: u8 = 127;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// It was ended by this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited with 0.
    pub fn success(self) -> bool {
        self == ExitStatus::Code(0)
    }

    /// The exit code of a shell: the program's own, or 128 + the signal.
    pub fn code(self) -> u8 {
        match self {
            ExitStatus::Code(code) => code,
            // Signals are 1..=64.
            ExitStatus::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// What `docker run` exits with when the program could not be started: 127 when it is missing
/// (also its directory or interpreter), 126 otherwise.
pub fn code_of_start_error(error: &StartError) -> u8 {
    match error {
        StartError::NotFound { .. } | StartError::MissingInterpreter { .. } => CODE_NOT_FOUND,
        StartError::NoCommand => CODE_SANDBOX_FAILED,
        StartError::PermissionDenied { .. } | StartError::Format { .. } | StartError::Refused { .. } => {
            CODE_NOT_EXECUTABLE
        }
    }
}

/// The exit code of `distil run` for the outcome of [`crate::Process::wait`].
pub fn run_code(outcome: &Result<ExitStatus, SandboxError>) -> u8 {
    match outcome {
        Ok(status) => status.code(),
        Err(SandboxError::Start(error)) => code_of_start_error(error),
        Err(_) => CODE_SANDBOX_FAILED,
    }
}
