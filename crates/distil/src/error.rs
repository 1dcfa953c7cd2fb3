//! Errors at the edge: what the user reads, and the exit code.

use std::fmt;

/// What went wrong, as far as the exit code is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The command or the build failed: exit code 1.
    Failed,
    /// Wrong arguments or a wrong config file: exit code 2.
    Usage,
    /// Standard output was closed: nothing is said, exit code 0.
    ClosedPipe,
    /// Stopped by a signal: 128 and its number.
    Stopped(u8),
    /// Everything was said already: only the exit code counts.
    Silent(u8),
}

/// An error as it is printed.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hints: Vec<String>,
}

impl CliError {
    /// The command failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Failed,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The arguments are wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: Kind::Usage,
            message: message.into(),
            hints: Vec::new(),
        }
    }

    /// The config file is wrong.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self::usage(message)
    }

    /// Ends the program with `code` without another word.
    pub(crate) fn silent(code: u8) -> Self {
        Self {
            kind: Kind::Silent(code),
            message: String::new(),
            hints: Vec::new(),
        }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.kind = Kind::Stopped(code);
        self
    }

    /// Adds a way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::ClosedPipe => 0,
            Kind::Silent(code) | Kind::Stopped(code) => code,
        }
    }

    /// Whether there is something to print.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Silent(_) | Kind::ClosedPipe)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        for hint in &self.hints {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// An error of writing an archive. A closed pipe is known to the user: nothing is said, but the archive is not
/// whole, so the exit code is 1.
pub(crate) fn archive_error(error: &(dyn std::error::Error + 'static)) -> CliError {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return CliError::silent(1);
        }
        cause = error.source();
    }
    CliError::failed(chain(error))
}

/// The message of an error and of its causes, without repeating a cause that is already in the text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        source = cause.source();
    }
    text
}

impl From<distil_store::StoreError> for CliError {
    fn from(error: distil_store::StoreError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self {
                kind: Kind::ClosedPipe,
                message: String::new(),
                hints: Vec::new(),
            };
        }
        Self::failed(error.to_string())
    }
}
