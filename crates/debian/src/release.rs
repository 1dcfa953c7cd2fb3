//! Release files: what a suite holds and from when it is.

use std::collections::BTreeMap;

use distil_oci::Digest;
use thiserror::Error;

use crate::deb822;
use crate::keyring::VerifiedText;
use crate::time::{UnixTime, format_time, parse_date};

/// Release files this much newer than the clock are still accepted.
const CLOCK_SLACK: UnixTime = 24 * 3_600;

/// A Release file that is not accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// A field that every Release file needs is missing or cannot be read.
    #[error("its field `{field}` is missing or cannot be read")]
    Field {
        /// Name of the field.
        field: &'static str,
    },
    /// It is that of another suite.
    #[error("it is that of suite `{found}`, not of `{wanted}`")]
    OtherSuite {
        /// The suite asked for.
        wanted: String,
        /// Codename and suite in the file.
        found: String,
    },
    /// It says itself that it is too old.
    #[error("it expired at {}; the mirror is not kept up to date, or the clock is wrong", format_time(*.valid_until))]
    Expired {
        /// End of validity.
        valid_until: UnixTime,
    },
    /// It was made after now.
    #[error("its date {} is in the future; the clock may be wrong", format_time(*.date))]
    FromTheFuture {
        /// Its date.
        date: UnixTime,
    },
    /// An earlier run has seen a newer one.
    #[error("its date {} is older than {}, which was accepted before; the mirror has gone back in time", format_time(*.date), format_time(*.known))]
    WentBack {
        /// Its date.
        date: UnixTime,
        /// The date known.
        known: UnixTime,
    },
}

/// Size and hash of a file that a Release names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexFile {
    /// Size in bytes.
    pub size: u64,
    /// sha256 of the file as it lies on the mirror.
    pub sha256: Digest,
}

/// A Release file.
#[derive(Debug, Clone)]
pub struct Release {
    /// `bookworm`, `bookworm-security`.
    pub codename: String,
    /// `oldstable`, `stable-updates`; empty when not given.
    pub suite: String,
    /// `12.12`; empty where the suite has no versions.
    pub version: String,
    /// When it was made.
    pub date: UnixTime,
    /// Until when it may be used, where it says so.
    pub valid_until: Option<UnixTime>,
    /// Whether files are also found under the name of their hash.
    pub by_hash: bool,
    /// Components, without the `updates/` that the security archive writes.
    pub components: Vec<String>,
    /// Architectures, `all` included where it is listed.
    pub architectures: Vec<String>,
    files: BTreeMap<String, IndexFile>,
}

impl Release {
    /// Reads the fields of a Release file whose signature was checked.
    ///
    /// # Errors
    /// When a needed field is missing or cannot be read.
    pub fn parse(signed: &VerifiedText) -> Result<Release, ReleaseError> {
        let field = |field| ReleaseError::Field { field };
        let paragraph = deb822::paragraphs(&signed.text).next().ok_or(field("Codename"))?;
        let words = |name: &str| -> Vec<String> {
            let value = paragraph.get(name).unwrap_or("");
            value.split_ascii_whitespace().map(str::to_owned).collect()
        };
        let date = paragraph.get("Date").and_then(parse_date).ok_or(field("Date"))?;
        let valid_until = match paragraph.get("Valid-Until") {
            None => None,
            Some(text) => Some(parse_date(text).ok_or(field("Valid-Until"))?),
        };
        let list = paragraph.get("SHA256").ok_or(field("SHA256"))?;
        let files: Option<BTreeMap<_, _>> = list.lines().map(parse_file_line).collect();
        let codename = paragraph.get("Codename").or(paragraph.get("Suite"));
        Ok(Release {
            codename: codename.ok_or(field("Codename"))?.to_owned(),
            suite: paragraph.get("Suite").unwrap_or("").to_owned(),
            version: paragraph.get("Version").unwrap_or("").to_owned(),
            date,
            valid_until,
            by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
            components: words("Components")
                .into_iter()
                .map(|name| name.strip_prefix("updates/").map_or(name.clone(), str::to_owned))
                .collect(),
            architectures: words("Architectures"),
            files: files.ok_or(field("SHA256"))?,
        })
    }

    /// Checks that it is that of `suite`, and that of now.
    ///
    /// # Errors
    /// When it belongs to another suite, has expired, or comes from the future.
    pub fn check(&self, suite: &str, now: UnixTime) -> Result<(), ReleaseError> {
        if suite != self.codename && suite != self.suite {
            return Err(ReleaseError::OtherSuite {
                wanted: suite.to_owned(),
                found: self.codename.clone(),
            });
        }
        if self.date > now + CLOCK_SLACK {
            return Err(ReleaseError::FromTheFuture { date: self.date });
        }
        match self.valid_until {
            Some(valid_until) if valid_until < now => Err(ReleaseError::Expired { valid_until }),
            _ => Ok(()),
        }
    }

    /// Checks that it is not older than one that was accepted at `known`.
    ///
    /// # Errors
    /// When it is.
    pub fn check_not_before(&self, known: UnixTime) -> Result<(), ReleaseError> {
        if self.date < known {
            return Err(ReleaseError::WentBack {
                date: self.date,
                known,
            });
        }
        Ok(())
    }

    /// The file at `path`, relative to the directory of the Release file.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&IndexFile> {
        self.files.get(path)
    }
}

fn parse_file_line(line: &str) -> Option<(String, IndexFile)> {
    let mut words = line.split_ascii_whitespace();
    let sha256 = Digest::from_hex(words.next()?).ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?.to_owned();
    words
        .next()
        .is_none()
        .then_some((path, IndexFile { size, sha256 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(extra: &str) -> Result<Release, ReleaseError> {
        let hex = "0".repeat(64);
        Release::parse(&VerifiedText {
            text: format!(
                "Suite: stable\nCodename: trixie\nDate: Sat, 06 Sep 2025 09:57:03 UTC\nComponents: updates/main contrib\n{extra}SHA256:\n {hex} 12 main/binary-amd64/Packages.xz\n"
            ),
            signers: Vec::new(),
        })
    }

    #[test]
    fn reads_and_checks() {
        let read = release("Valid-Until: Sat, 13 Sep 2025 09:57:03 UTC\n").unwrap();
        assert_eq!(read.components, ["main", "contrib"]);
        assert_eq!(
            read.file("main/binary-amd64/Packages.xz").map(|f| f.size),
            Some(12)
        );
        let day = 86_400;
        assert_eq!(read.check("trixie", read.date + day), Ok(()));
        assert_eq!(read.check("stable", read.date - day / 2), Ok(()));
        assert!(matches!(
            read.check("bookworm", read.date),
            Err(ReleaseError::OtherSuite { .. })
        ));
        assert!(matches!(
            read.check("trixie", read.date + 8 * day),
            Err(ReleaseError::Expired { .. })
        ));
        assert!(matches!(
            read.check("trixie", read.date - 2 * day),
            Err(ReleaseError::FromTheFuture { .. })
        ));
        assert_eq!(read.check_not_before(read.date), Ok(()));
        assert!(read.check_not_before(read.date + 1).is_err());
    }

    #[test]
    fn refuses_unreadable_fields() {
        assert_eq!(
            release("Valid-Until: soon\n").unwrap_err(),
            ReleaseError::Field { field: "Valid-Until" }
        );
    }
}
