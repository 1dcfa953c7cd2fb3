//! What can go wrong with vulnerability databases and the files beside them.

use std::io;
use std::path::PathBuf;

use distil_fetch::FetchError;

use crate::{AuditError, printable_path, printable_text};

/// Vulnerabilities could not be looked up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CveError {
    /// A file of the image cannot be read.
    #[error(transparent)]
    Image(#[from] AuditError),
    /// A database, or a file that was given, cannot be read.
    #[error("cannot read `{}`: {source}", printable_path(path))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is neither OSV nor tracker JSON.
    #[error(
        "`{}` is no vulnerability database: {}; give OSV records (JSON, or a zip of them) or the JSON of \
         Debian's security tracker",
        printable_path(path),
        printable_text(reason)
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// What it is instead.
        reason: String,
    },
    /// A database ends early or is not what it began as.
    #[error(
        "the vulnerability database `{}` is damaged: {}; fetch it again",
        printable_path(path),
        printable_text(reason)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place.
        reason: String,
    },
    /// Debian packages are in the image, but nothing tells of which release.
    #[error(
        "the image has {packages} Debian packages, but {reason}; name the release with `--release bookworm`"
    )]
    NoRelease {
        /// How many.
        packages: usize,
        /// What was looked at.
        reason: String,
    },
    /// The tracker's data do not cover the release of the image.
    #[error(
        "`{}` knows nothing of the Debian release `{}`; it has {known}",
        printable_path(path),
        printable_text(release)
    )]
    UnknownRelease {
        /// The database.
        path: PathBuf,
        /// The release of the image.
        release: String,
        /// Those that it has.
        known: String,
    },
    /// The ignore file is wrong.
    #[error("`{}` line {line}: {}", printable_path(path), printable_text(reason))]
    IgnoreFile {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file that was given as OpenVEX is none.
    #[error(
        "`{}` is no OpenVEX document: {}",
        printable_path(path),
        printable_text(reason)
    )]
    Vex {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A database cannot be downloaded.
    #[error("cannot fetch `{name}`; the databases stay as they were")]
    Fetch {
        /// Which one.
        name: String,
        /// Why.
        source: FetchError,
    },
    /// The folder of downloaded databases cannot be written.
    #[error("cannot write `{}`: {source}", printable_path(path))]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
