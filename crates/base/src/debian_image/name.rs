//! Names of images that can be assembled.

use distil_oci::Reference;

use crate::release::DebianRelease;

/// An image of Docker's `debian` repository that a recipe covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DebianImage {
    /// The release.
    pub release: DebianRelease,
    /// Whether documentation, manuals and translations are left out.
    pub slim: bool,
}

impl DebianImage {
    /// The image that `reference` names, when it is one of `debian:bookworm`,
    /// `12`, `oldstable`, `trixie`, `13`, `stable`, `latest` (or no tag), each
    /// also as `-slim` save `latest`. Point releases (`12.5`), dated tags and
    /// digests are fixed contents that cannot be assembled: `None`.
    #[must_use]
    pub fn from_reference(reference: &Reference) -> Option<DebianImage> {
        let is_debian = reference.domain() == "docker.io" && reference.repository() == "library/debian";
        if !is_debian || reference.digest().is_some() {
            return None;
        }
        let tag = reference.tag().unwrap_or("latest");
        if tag == "latest" {
            return Some(DebianImage {
                release: DebianRelease::Trixie,
                slim: false,
            });
        }
        let (name, slim) = match tag.strip_suffix("-slim") {
            Some(name) => (name, true),
            None => (tag, false),
        };
        let release = match name {
            "bookworm" | "12" | "oldstable" => DebianRelease::Bookworm,
            "trixie" | "13" | "stable" => DebianRelease::Trixie,
            _ => return None,
        };
        Some(DebianImage { release, slim })
    }

    /// The short canonical name: `debian:bookworm-slim`.
    #[must_use]
    pub fn name(&self) -> String {
        let suffix = if self.slim { "-slim" } else { "" };
        format!("debian:{}{suffix}", self.release.codename())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<String> {
        let reference: Reference = text.parse().unwrap();
        DebianImage::from_reference(&reference).map(|image| image.name())
    }

    #[test]
    fn names() {
        for (text, expected) in [
            ("debian", Some("debian:trixie")),
            ("debian:latest", Some("debian:trixie")),
            ("debian:12", Some("debian:bookworm")),
            ("debian:stable-slim", Some("debian:trixie-slim")),
            (
                "docker.io/library/debian:bookworm-slim",
                Some("debian:bookworm-slim"),
            ),
            ("library/debian:13", Some("debian:trixie")),
            ("debian:latest-slim", None),
            ("debian:11", None),
            ("debian:12.5", None),
            ("debian:sid", None),
            ("someone/debian:12", None),
            ("registry.example/library/debian:12", None),
            ("ubuntu", None),
        ] {
            assert_eq!(named(text).as_deref(), expected, "{text}");
        }
        let digest = format!("debian:12@sha256:{}", "0".repeat(64));
        assert_eq!(named(&digest), None);
    }
}
