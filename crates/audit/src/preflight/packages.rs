//! Which Debian package has a shared library.

use crate::OsRelease;

/// Soname, package in bookworm, package in trixie.
const SONAMES: &str = include_str!("sonames.txt");

/// A release of Debian, as far as package names differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Release {
    /// The release of an image, from its `os-release`; `None` for others and for other distributions.
    #[must_use]
    pub fn of_os_release(text: &str) -> Option<Self> {
        let release = OsRelease::parse(text);
        match (release.id.as_str(), release.version_id.as_str()) {
            ("debian", "12") => Some(Self::Bookworm),
            ("debian", "13") => Some(Self::Trixie),
            _ => None,
        }
    }
}

/// The package of `release` that has the library `soname`, for a few hundred well-known ones. Without a release the
/// newest that has it.
#[must_use]
pub fn package_of(soname: &str, release: Option<Release>) -> Option<&'static str> {
    let known = |name: &'static str| (name != "-").then_some(name);
    let lines = SONAMES.lines().filter(|line| !line.starts_with('#'));
    let mut words = lines.map(str::split_whitespace);
    let (bookworm, trixie) = words.find_map(|mut words| {
        (words.next()? == soname).then_some(())?;
        Some((words.next()?, words.next()?))
    })?;
    match release {
        Some(Release::Bookworm) => known(bookworm),
        Some(Release::Trixie) => known(trixie),
        None => known(trixie).or(known(bookworm)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_both_releases() {
        let (bookworm, trixie) = (Some(Release::Bookworm), Some(Release::Trixie));
        assert_eq!(package_of("libssl.so.3", bookworm), Some("libssl3"));
        assert_eq!(package_of("libssl.so.3", trixie), Some("libssl3t64"));
        assert_eq!(package_of("libavcodec.so.59", trixie), None);
        assert_eq!(package_of("libavcodec.so.59", None), Some("libavcodec59"));
        assert_eq!(package_of("libnobody.so.1", None), None);
    }

    #[test]
    fn every_line_has_three_words() {
        for line in SONAMES.lines().filter(|line| !line.starts_with('#')) {
            assert_eq!(line.split_whitespace().count(), 3, "{line}");
        }
    }

    #[test]
    fn releases() {
        let text = "PRETTY_NAME=\"Distroless\"\nID=\"debian\"\nVERSION_ID=\"13\"\n";
        assert_eq!(Release::of_os_release(text), Some(Release::Trixie));
        assert_eq!(
            Release::of_os_release("ID=debian\nVERSION_ID=12"),
            Some(Release::Bookworm)
        );
        assert_eq!(Release::of_os_release("ID=alpine\nVERSION_ID=3.20"), None);
    }
}
