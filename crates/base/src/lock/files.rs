//! A lockfile and its folder on disk.
//!
//! ```text
//! my.lock                                  the lockfile
//! my.lock.d/SUITE.HASH.InRelease           signed Release file of a suite
//! my.lock.d/SUITE.HASH.Packages.xz         an index, where the user wants it kept
//! ```
//!
//! `HASH` is the start of the file's sha256: a new file never overwrites one that
//! the present lockfile needs, so a lockfile that was interrupted while it was
//! written is still whole.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use distil_oci::Digest;
use thiserror::Error;

use super::{LockedIndex, LockedSuite, Lockfile, ParseError};

/// Hexadecimal digits of a hash in a file name.
const SHOWN: usize = 12;
/// A lockfile of hundreds of images has some megabytes.
const MAX_SIZE: u64 = 64 << 20;

/// A lockfile that cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// There is none.
    #[error("there is no lockfile `{}`; `distil base lock` makes one", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It, or its folder, cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is no lockfile.
    #[error("`{}` is not a lockfile", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: ParseError,
    },
    /// It is too large.
    #[error("`{}` is not a lockfile: it has more than {MAX_SIZE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FileError + '_ {
    move |source| FileError::Io {
        path: path.to_owned(),
        source,
    }
}

/// The folder beside the lockfile `path`: its name with `.d` at the end.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".d");
    PathBuf::from(name)
}

/// Name in the folder of a file of a suite; of `path` only the last part is shown.
#[must_use]
pub fn file_name(suite: &str, digest: &Digest, path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let plain = |text: &str| -> String { text.chars().map(|c| if is_plain(c) { c } else { '_' }).collect() };
    let end = path.rsplit('/').next().unwrap_or(path);
    format!("{}.{}.{}", plain(suite), &digest.hex()[..SHOWN], plain(end))
}

impl LockedSuite {
    /// Name of its InRelease file in the folder.
    #[must_use]
    pub fn file_name(&self) -> String {
        file_name(&self.name, &self.in_release, "InRelease")
    }

    /// Name of one of its indexes in the folder, where it is kept.
    #[must_use]
    pub fn index_file_name(&self, index: &LockedIndex) -> String {
        file_name(&self.name, &index.sha256, &index.path)
    }
}

impl Lockfile {
    /// Reads the lockfile `path`.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is no lockfile.
    pub fn load(path: &Path) -> Result<Lockfile, FileError> {
        let size = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FileError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(path)(error)),
        };
        if size > MAX_SIZE {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
            });
        }
        let text = fs::read_to_string(path).map_err(failed(path))?;
        Lockfile::parse(&text).map_err(|source| FileError::Parse {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the lockfile `path` and its folder. `files` are names and contents for
    /// the folder; files of the present lockfile may be left out of it. What belongs
    /// to no suite of this lockfile is deleted from the folder afterwards.
    ///
    /// # Errors
    /// When something cannot be written; the lockfile is then the old one.
    pub fn save(&self, path: &Path, files: &[(String, &[u8])]) -> Result<(), FileError> {
        let folder = folder_of(path);
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        for (name, bytes) in files {
            let target = folder.join(name);
            let present = fs::read(&target).is_ok_and(|present| present == *bytes);
            if !present {
                write_whole(&target, bytes).map_err(failed(&target))?;
            }
        }
        write_whole(path, self.to_text().as_bytes()).map_err(failed(path))?;
        self.remove_others(&folder).map_err(failed(&folder))
    }

    /// Whether indexes lie in the folder beside the lockfile `path`, as the user once wanted.
    #[must_use]
    pub fn keeps_indexes(&self, path: &Path) -> bool {
        let folder = folder_of(path);
        let kept = |suite: &LockedSuite| {
            let mut indexes = suite.indexes.iter();
            indexes.any(|index| folder.join(suite.index_file_name(index)).is_file())
        };
        self.suites.iter().any(kept)
    }

    /// Deletes what no suite needs; files that do not look like ours stay.
    fn remove_others(&self, folder: &Path) -> io::Result<()> {
        let mut needed: BTreeSet<String> = self.suites.iter().map(LockedSuite::file_name).collect();
        for suite in &self.suites {
            needed.extend(suite.indexes.iter().map(|index| suite.index_file_name(index)));
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let ours = name.ends_with(".InRelease")
                || name.ends_with(".Packages.xz")
                || name.ends_with(".Packages.gz");
            if ours && !needed.contains(name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Writes a file under a temporary name and renames it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // The error that counts is the one of writing.
        let _ = fs::remove_file(&temporary);
    })
}
