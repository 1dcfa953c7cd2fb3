//! Which Debian release an image is of.

use crate::{AuditError, ImageView, OsRelease, Package, printable_text};

/// A Debian release by both of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianRelease {
    /// As the tracker names it: `bookworm`.
    pub codename: String,
    /// As OSV names it (`12`); none for `sid`.
    pub number: Option<String>,
}

/// Releases whose number and name are known here; others are known by the name alone.
const RELEASES: [(&str, &str); 6] = [
    ("10", "buster"),
    ("11", "bullseye"),
    ("12", "bookworm"),
    ("13", "trixie"),
    ("14", "forky"),
    ("15", "duke"),
];

impl DebianRelease {
    /// A release by its name or number.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let known = RELEASES
            .iter()
            .find(|(number, codename)| name == *number || name == *codename);
        match known {
            Some((number, codename)) => Self {
                codename: (*codename).to_owned(),
                number: Some((*number).to_owned()),
            },
            None => Self {
                codename: name.to_ascii_lowercase(),
                number: None,
            },
        }
    }

    /// What os-release says, or else the versions of the packages (`+deb12u1`), where all that tell agree.
    ///
    /// # Errors
    /// The inner error tells what was looked at when neither says it.
    pub(crate) fn of(view: &ImageView, debs: &[&Package]) -> Result<Result<Self, String>, AuditError> {
        Ok(match OsRelease::read(view)? {
            Some(release) => Self::of_os_release(&release),
            None => {
                let reason = "it has no os-release that tells their release";
                Self::of_versions(debs).ok_or_else(|| reason.to_owned())
            }
        })
    }

    fn of_os_release(release: &OsRelease) -> Result<Self, String> {
        if release.id != "debian" {
            return Err(format!("its os-release says `{}`", printable_text(&release.id)));
        }
        // Images of distroless have no codename of their own, sid has no number.
        let names = [&release.version_id, &release.codename];
        match names.into_iter().find(|name| !name.is_empty()) {
            Some(name) => Ok(Self::named(name)),
            None => Err("its os-release names no version".to_owned()),
        }
    }

    /// The release that updates of packages carry in their version.
    fn of_versions(debs: &[&Package]) -> Option<Self> {
        let mut numbers: Vec<&str> = debs
            .iter()
            .filter_map(|package| update_of(&package.version))
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        match numbers.as_slice() {
            [number] => Some(Self::named(number)),
            _ => None,
        }
    }
}

/// `12` of `3.0.11-1~deb12u2`.
fn update_of(version: &str) -> Option<&str> {
    let (_, rest) = version.rsplit_once("deb")?;
    let (number, update) = rest.split_once('u')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let update = update.split(['+', '~', '.']).next().unwrap_or_default();
    (digits(number) && digits(update)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_os_release() {
        let read = |text: &str| {
            DebianRelease::of_os_release(&OsRelease::parse(text)).map(|release| release.codename)
        };
        let distroless = "PRETTY_NAME=\"Distroless\"\nID=\"debian\"\nVERSION_ID=\"12\"\n";
        assert_eq!(read(distroless).unwrap(), "bookworm");
        assert_eq!(read("ID=debian\nVERSION_CODENAME=trixie\n").unwrap(), "trixie");
        assert_eq!(read("ID=debian\nVERSION_ID='13'\n").unwrap(), "trixie");
        assert_eq!(read("ID=debian\nVERSION_ID=99\n").unwrap(), "99");
        for bad in [
            "",
            "ID=ubuntu\nVERSION_ID=24.04\n",
            "ID=debian\nVERSION_ID=\n",
            "ID",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(DebianRelease::named("13"), DebianRelease::named("trixie"));
    }

    #[test]
    fn updates_carry_the_release() {
        for (version, number) in [
            ("3.0.11-1~deb12u2", Some("12")),
            ("2.36-9+deb12u3+b1", Some("12")),
            ("1.2.3-1", None),
            ("1.0debug", None),
            ("1:9.2~deb13u", None),
        ] {
            assert_eq!(update_of(version), number, "{version}");
        }
    }
}
