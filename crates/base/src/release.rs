//! Releases of Debian and its names of architectures.

use distil_oci::Platform;
use serde::Serialize;

/// A release of Debian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DebianRelease {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl DebianRelease {
    /// `bookworm`, as archives name it.
    #[must_use]
    pub fn codename(self) -> &'static str {
        match self {
            DebianRelease::Bookworm => "bookworm",
            DebianRelease::Trixie => "trixie",
        }
    }

    /// `12`.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            DebianRelease::Bookworm => "12",
            DebianRelease::Trixie => "13",
        }
    }

    /// The oldest first.
    pub const ALL: [DebianRelease; 2] = [DebianRelease::Bookworm, DebianRelease::Trixie];

    /// The release of a codename (`trixie`) or a number (`13`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<DebianRelease> {
        DebianRelease::ALL
            .into_iter()
            .find(|one| one.codename() == name || one.number() == name)
    }
}

/// Debian's name for an architecture that both releases have and recipes cover.
/// Whether the host can run its programs is the caller's to check.
#[must_use]
pub fn debian_architecture(platform: &Platform) -> Option<&'static str> {
    let platform = platform.normalized();
    match (platform.os.as_str(), platform.architecture.as_str()) {
        ("linux", "amd64") => Some("amd64"),
        ("linux", "arm64") => Some("arm64"),
        _ => None,
    }
}
