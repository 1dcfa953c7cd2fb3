//! Version numbers as advisories compare them.

mod maven;
mod pep440;
mod semver;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use distil_debian::version::compare;

/// Whose rules a version is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Debian Policy 5.6.12.
    Debian,
    /// Semantic Versioning 2.0.0, with a leading `v` and missing parts allowed: npm and Go.
    Semver,
    /// PEP 440.
    Pep440,
    /// Maven's order (`ComparableVersion`).
    Maven,
}

/// A version that was read; only those of one scheme are compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    Debian(DebianText),
    Semver(semver::Version),
    Pep440(pep440::Version),
    Maven(maven::Version),
}

impl Version {
    /// None for a text that the scheme cannot order. Debian and Maven order any text.
    pub(crate) fn parse(scheme: Scheme, text: &str) -> Option<Self> {
        match scheme {
            Scheme::Debian => Some(Self::Debian(DebianText(text.into()))),
            Scheme::Semver => semver::Version::parse(text).map(Self::Semver),
            Scheme::Pep440 => pep440::Version::parse(text).map(Self::Pep440),
            Scheme::Maven => Some(Self::Maven(maven::Version::parse(text))),
        }
    }
}

/// A text in the order of Debian's versions, whether it is a valid one or not, as apt takes it.
#[derive(Debug, Clone)]
pub(crate) struct DebianText(Box<str>);

impl PartialEq for DebianText {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for DebianText {}

impl PartialOrd for DebianText {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DebianText {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}
