//! Reading `.deb` files.
//!
//! Format: deb(5). An `ar` archive of `debian-binary`, `control.tar[.gz|.xz|.zst]`
//! and `data.tar[.gz|.xz|.zst]`, in this order; further members may stand
//! between when their name starts with `_`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::deb822;

/// Control files of real packages are far smaller together.
const MAX_CONTROL: u64 = 64 << 20;

/// A `.deb` that cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// It cannot be opened or read, or its compression is damaged.
    #[error("package file `{}` cannot be read", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It does not have the structure of a package.
    #[error("`{}` is not a Debian package: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Debug, Clone)]
struct Member {
    name: String,
    offset: u64,
    size: u64,
}

/// A `.deb` whose outer structure was read.
#[derive(Debug)]
pub struct DebFile {
    path: PathBuf,
    control: Member,
    data: Member,
}

/// The files of the control archive.
#[derive(Debug, Clone, Default)]
pub struct ControlFiles {
    /// By name, without `./`; `control` is among them.
    pub files: BTreeMap<String, Vec<u8>>,
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
    /// Reads the outer structure of the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or is no package.
    pub fn open(path: &Path) -> Result<DebFile, DebError> {
        let io = |source| DebError::Io {
            path: path.to_owned(),
            source,
        };
        let invalid = |reason: String| DebError::Invalid {
            path: path.to_owned(),
            reason,
        };
        let mut file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let members = read_members(&mut file, length).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => invalid(error.to_string()),
            io::ErrorKind::UnexpectedEof => invalid("it is cut off".to_owned()),
            _ => io(error),
        })?;
        let mut named = members.into_iter().filter(|member| !member.name.starts_with('_'));
        let mut next = |prefix: &str| {
            let member = named.next().filter(|member| member.name.starts_with(prefix));
            member.ok_or_else(|| invalid(format!("member `{prefix}` is missing or out of order")))
        };
        let format = next("debian-binary")?;
        let mut version = [0; 2];
        file.seek(SeekFrom::Start(format.offset)).map_err(io)?;
        file.read_exact(&mut version).map_err(io)?;
        if &version != b"2." {
            return Err(invalid("its format version is not 2".to_owned()));
        }
        let (control, data) = (next("control.tar")?, next("data.tar")?);
        Ok(DebFile {
            path: path.to_owned(),
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
        let io = |source| DebError::Io {
            path: self.path.clone(),
            source,
        };
        let mut archive = tar::Archive::new(self.decode(&self.control)?.take(MAX_CONTROL));
        let mut control = ControlFiles::default();
        for entry in archive.entries().map_err(io)? {
            let mut entry = entry.map_err(io)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./").to_owned();
            if name.is_empty() || name.contains('/') || name.starts_with('.') {
                return Err(self.invalid(format!("`{name}` in its control archive is no control file")));
            }
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(io)?;
            control.files.insert(name, content);
        }
        if !is_package_name(&control.field("Package")) {
            return Err(self.invalid("its control file names no package".to_owned()));
        }
        Ok(control)
    }

    /// The tar stream of the contents, decoded.
    ///
    /// # Errors
    /// When it cannot be opened or its compression is not known.
    pub fn data(&self) -> Result<Box<dyn Read + Send>, DebError> {
        self.decode(&self.data)
    }

    fn invalid(&self, reason: String) -> DebError {
        DebError::Invalid {
            path: self.path.clone(),
            reason,
        }
    }

    fn decode(&self, member: &Member) -> Result<Box<dyn Read + Send>, DebError> {
        let io = |source| DebError::Io {
            path: self.path.clone(),
            source,
        };
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(member.offset)).map_err(io)?;
        let packed = BufReader::with_capacity(64 << 10, file.take(member.size));
        let suffix = member.name.rsplit_once(".tar").map_or("", |(_, suffix)| suffix);
        Ok(match suffix {
            "" => Box::new(packed),
            ".xz" => Box::new(lzma_rust2::XzReader::new(packed, true)),
            ".gz" => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
            ".zst" => Box::new(zstd::stream::read::Decoder::with_buffer(packed).map_err(io)?),
            other => {
                return Err(self.invalid(format!("its compression `{other}` is not supported")));
            }
        })
    }
}

/// A name by Policy 5.6.7; it becomes a file name, so nothing else may pass.
fn is_package_name(name: &str) -> bool {
    name.len() > 1
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

fn read_members(file: &mut File, length: u64) -> io::Result<Vec<Member>> {
    let wrong = |reason: &str| io::Error::new(io::ErrorKind::InvalidData, reason.to_owned());
    let mut magic = [0; 8];
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(wrong("it is no ar archive"));
    }
    let mut members = Vec::new();
    let mut offset = 8;
    while offset < length {
        file.seek(SeekFrom::Start(offset))?;
        let mut header = [0; 60];
        file.read_exact(&mut header)?;
        let text = |range: std::ops::Range<usize>| std::str::from_utf8(&header[range]).unwrap_or("").trim();
        let size: Option<u64> = text(48..58).parse().ok();
        let (true, Some(size)) = (&header[58..60] == b"`\n", size) else {
            return Err(wrong("its ar header is damaged"));
        };
        let name = text(0..16).trim_end_matches('/').to_owned();
        let start = offset + 60;
        if size > length - start.min(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        members.push(Member {
            name,
            offset: start,
            size,
        });
        offset = start + size + size % 2;
    }
    Ok(members)
}
