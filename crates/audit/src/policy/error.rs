//! What is wrong with a policy.

use std::fmt;

/// A policy that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A mistake in a file.
    #[error("{place}: {message}{excerpt}")]
    File {
        /// File, line and column.
        place: Place,
        /// What is wrong, and what was perhaps meant.
        message: String,
        /// The line, with a mark under the mistake.
        excerpt: Excerpt,
    },
    /// No built-in policy has the name, and there is no such file.
    #[error("there is no policy `{name}`{} (`distroless` is built in, others are files)", meant(nearest.as_deref()))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The name that was perhaps meant.
        nearest: Option<String>,
    },
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One line of a file with a mark under a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// From 1.
    pub line: usize,
    /// The line, safe to print.
    pub text: String,
    /// Characters before the mark.
    pub start: usize,
    /// Characters that are marked, at least one.
    pub length: usize,
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let (gap, before) = (" ".repeat(number.len()), " ".repeat(self.start));
        let mark = "^".repeat(self.length);
        write!(
            formatter,
            "\n {gap} |\n {number} | {}\n {gap} | {before}{mark}",
            self.text
        )
    }
}

/// `, did you mean ...?`
pub(super) fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}
