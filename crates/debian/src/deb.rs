//! Reading `.deb` files.
//!
//! Format: deb(5). An `ar` archive of `debian-binary`, `control.tar[.gz|.xz|.zst]`
//! and `data.tar[.gz|.xz|.zst]`, in this order; further members may stand
//! between when their name starts with `_`.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::deb822;

mod ahead;
mod ar;
mod decode;
mod entries;

use ar::Member;
use decode::Decoder;
pub(crate) use entries::{Content, DataEntry, EntryType, Meta};

/// Control files of real packages are far smaller together.
const MAX_CONTROL: u64 = 64 << 20;

/// A `.deb` that cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// It cannot be opened or read.
    #[error("package file `{}` cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It does not have the structure of a package.
    #[error("`{package}` is not a Debian package: {reason}")]
    Invalid {
        /// The package.
        package: String,
        /// What is wrong.
        reason: String,
    },
    /// A member's compression or tar is damaged.
    #[error("`{member}` of package `{package}` is damaged")]
    Damaged {
        /// The package.
        package: String,
        /// Name of the member.
        member: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It holds an entry that packages must not hold.
    #[error("`{path}` in package `{package}` is refused: {reason}")]
    Refused {
        /// The package.
        package: String,
        /// Path in the package.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// It is another package than the index says.
    #[error(
        "package `{package}` says `{field}: {found}` of itself, but the archive's index says `{expected}`"
    )]
    Mismatch {
        /// The package.
        package: String,
        /// Name of the control field.
        field: &'static str,
        /// What its control file says.
        found: String,
        /// What the index says.
        expected: String,
    },
}

/// What the archive's index says that a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its own architecture, which may be `all`.
    pub architecture: String,
}

impl std::fmt::Display for PackageIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}_{}", self.name, self.version, self.architecture)
    }
}

/// A `.deb` whose outer structure was read.
#[derive(Debug)]
pub struct DebFile {
    path: PathBuf,
    /// What errors call it.
    label: String,
    control: Member,
    data: Member,
}

/// The files of the control archive.
#[derive(Debug, Clone, Default)]
pub struct ControlFiles {
    /// By name, without `./`; `control` is among them.
    pub files: BTreeMap<String, Vec<u8>>,
    /// When `control` was made, in seconds since 1970.
    pub mtime: i64,
}

impl ControlFiles {
    /// The text of one of the files, empty when it is not there.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        let bytes = self.files.get(name).map_or(&[][..], Vec::as_slice);
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// A field of `control`, empty when it is not there.
    #[must_use]
    pub fn field(&self, name: &str) -> String {
        let text = self.text("control");
        let paragraph = deb822::paragraphs(&text).next();
        paragraph.and_then(|one| one.get(name)).unwrap_or("").to_owned()
    }

    /// Absolute paths of the conffiles.
    #[must_use]
    pub fn conffiles(&self) -> Vec<String> {
        let text = self.text("conffiles");
        // A line may say `remove-on-upgrade PATH`, which is no file of this package.
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with('/'));
        lines.map(str::to_owned).collect()
    }
}

impl DebFile {
    /// Reads the outer structure of the file at `path`; errors call it by its path.
    ///
    /// # Errors
    /// When it cannot be read or is no package.
    pub fn open(path: &Path) -> Result<DebFile, DebError> {
        DebFile::open_as(path, &path.display().to_string())
    }

    /// Reads the outer structure of the file at `path`; errors call it `label`.
    ///
    /// # Errors
    /// When it cannot be read or is no package.
    pub fn open_as(path: &Path, label: &str) -> Result<DebFile, DebError> {
        let io = |source| DebError::Io {
            path: path.to_owned(),
            source,
        };
        let invalid = |reason: String| DebError::Invalid {
            package: label.to_owned(),
            reason,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let members = ar::read_members(&mut file, length).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => invalid(error.to_string()),
            io::ErrorKind::UnexpectedEof => invalid("it is cut off".to_owned()),
            _ => io(error),
        })?;
        let (format, control, data) = choose(members).map_err(&invalid)?;
        let mut version = [0; 2];
        file.seek(SeekFrom::Start(format.offset)).map_err(io)?;
        let read = file.read_exact(&mut version);
        if format.size < 2 || read.is_err() || &version != b"2." {
            return Err(invalid("its format version is not 2".to_owned()));
        }
        Ok(DebFile {
            path: path.to_owned(),
            label: label.to_owned(),
            control,
            data,
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the packed contents in bytes.
    #[must_use]
    pub fn packed_size(&self) -> u64 {
        self.data.size
    }

    /// Reads the control archive.
    ///
    /// # Errors
    /// When it is damaged or has no `control` with a package name.
    pub fn control(&self) -> Result<ControlFiles, DebError> {
        let damaged = |source| self.damaged_member(&self.control, source);
        let decoder = self.decode(&self.control, 1)?;
        let mut archive = tar::Archive::new(decoder.take(MAX_CONTROL));
        let mut control = ControlFiles::default();
        for entry in archive.entries().map_err(damaged)?.raw(true) {
            let mut entry = entry.map_err(damaged)?;
            if entry.header().entry_type().is_dir() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let plain = entry.header().entry_type().is_file();
            if !plain || name.is_empty() || name.contains('/') || name.starts_with('.') {
                return Err(self.invalid(format!("`{name}` in its control archive is no control file")));
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(damaged)?;
            if content.len() as u64 != entry.size() {
                return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
            }
            if name == "control" {
                control.mtime = entry.header().mtime().map_or(0, u64::cast_signed).max(0);
            }
            match control.files.entry(name) {
                btree_map::Entry::Vacant(place) => place.insert(content),
                btree_map::Entry::Occupied(place) => {
                    let name = place.key();
                    return Err(self.invalid(format!("its control archive has two files `{name}`")));
                }
            };
        }
        if !is_package_name(&control.field("Package")) {
            return Err(self.invalid("its control file names no package".to_owned()));
        }
        Ok(control)
    }

    /// Reads the control archive and compares it with what the index says.
    ///
    /// # Errors
    /// As [`DebFile::control`], and when it is another package, version or architecture.
    pub fn control_of(&self, identity: &PackageIdentity) -> Result<ControlFiles, DebError> {
        let control = self.control()?;
        let expectations = [
            ("Package", &identity.name),
            ("Version", &identity.version),
            ("Architecture", &identity.architecture),
        ];
        for (field, expected) in expectations {
            let found = control.field(field);
            if found != *expected {
                return Err(DebError::Mismatch {
                    package: self.label.clone(),
                    field,
                    found,
                    expected: expected.clone(),
                });
            }
        }
        Ok(control)
    }

    /// The tar stream of the contents, decoded with up to `threads` threads.
    fn data(&self, threads: usize) -> Result<Decoder, DebError> {
        self.decode(&self.data, threads)
    }

    fn invalid(&self, reason: String) -> DebError {
        DebError::Invalid {
            package: self.label.clone(),
            reason,
        }
    }

    /// What errors call it.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// An entry that packages must not hold.
    pub(crate) fn refused(&self, path: &[u8], reason: &'static str) -> DebError {
        DebError::Refused {
            package: self.label.clone(),
            path: String::from_utf8_lossy(path).into_owned(),
            reason,
        }
    }

    /// What reading the contents ran into.
    fn damaged(&self, source: io::Error) -> DebError {
        self.damaged_member(&self.data, source)
    }

    fn damaged_member(&self, member: &Member, source: io::Error) -> DebError {
        DebError::Damaged {
            package: self.label.clone(),
            member: member.name.clone(),
            source,
        }
    }

    fn decode(&self, member: &Member, threads: usize) -> Result<Decoder, DebError> {
        let io = |source| DebError::Io {
            path: self.path.clone(),
            source,
        };
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(member.offset)).map_err(io)?;
        let packed = BufReader::with_capacity(64 << 10, file.take(member.size));
        let suffix = member.name.rsplit_once(".tar").map_or("", |(_, suffix)| suffix);
        let decoder = Decoder::new(suffix, packed, member.size, threads);
        let decoder = decoder.map_err(|error| self.damaged_member(member, error))?;
        decoder.ok_or_else(|| {
            self.invalid(format!(
                "the compression of its member `{}` is not supported",
                member.name
            ))
        })
    }
}

/// The three members of a package. Others may stand between them when their names start with
/// `_`, and behind them; none may come twice, for readers would differ in which one they take.
fn choose(members: Vec<Member>) -> Result<(Member, Member, Member), String> {
    for prefix in ["debian-binary", "control.tar", "data.tar"] {
        if members
            .iter()
            .filter(|member| member.name.starts_with(prefix))
            .count()
            > 1
        {
            return Err(format!("it has two members `{prefix}`"));
        }
    }
    let mut named = members.into_iter().filter(|member| !member.name.starts_with('_'));
    let mut next = |prefix: &str| {
        let member = named.next().filter(|member| member.name.starts_with(prefix));
        member.ok_or_else(|| format!("member `{prefix}` is missing or out of order"))
    };
    Ok((next("debian-binary")?, next("control.tar")?, next("data.tar")?))
}

/// A name by Policy 5.6.7; it becomes a file name, so nothing else may pass.
fn is_package_name(name: &str) -> bool {
    name.len() > 1
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}
