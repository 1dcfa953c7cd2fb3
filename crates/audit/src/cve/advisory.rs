//! What databases say of components, before it is put together.

use serde::Serialize;

use super::Severity;

/// What the database says is being done about a vulnerability. Where several databases say something, the first of
/// these counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A version without it can be had for this release, or of this module.
    Fixed,
    /// There is none, and Debian will make no security update of its own for it.
    NoDsa,
    /// Debian has not found out whether this version has it. It counts, as it does for debsecan.
    Undetermined,
    /// There is none.
    Open,
    /// Debian calls it unimportant: there is no way to do harm with it. It does not count.
    Unimportant,
    /// The release or package is supported no longer, and no database says more. It does not count.
    EndOfLife,
}

impl State {
    /// Whether it counts. debsecan leaves the others out too.
    #[must_use]
    pub fn counts(self) -> bool {
        !matches!(self, Self::Unimportant | Self::EndOfLife)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Fixed => "fixed",
            Self::Open => "open",
            Self::NoDsa => "no-dsa",
            Self::Undetermined => "undetermined",
            Self::Unimportant => "unimportant",
            Self::EndOfLife => "end-of-life",
        })
    }
}

/// A record of a database that is about a component of the image, in the version that it has.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Match {
    /// Index of the component.
    pub(crate) component: usize,
    /// Names of the vulnerability: that of the record first.
    pub(crate) ids: Vec<String>,
    pub(crate) state: State,
    /// First version without it, for [`State::Fixed`].
    pub(crate) fixed: Option<String>,
    pub(crate) severity: Severity,
    /// CVSS base score, where there is one.
    pub(crate) score: Option<f64>,
    pub(crate) summary: String,
    /// What Debian says about a missing update: `postponed`.
    pub(crate) note: String,
}
