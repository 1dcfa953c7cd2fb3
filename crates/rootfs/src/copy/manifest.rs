//! What a layer's regular files were when the layer was made.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::by_name::ByName;
use crate::node::{FileKind, Node, Owner, Timestamp};

/// A recorded manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are no manifest, or are cut off or altered.
    #[error("layer manifest is damaged at byte {offset}: remove it and files are copied again")]
    Damaged {
        /// Where reading stopped.
        offset: usize,
    },
    /// Written by a newer version.
    #[error("layer manifest has version {version}, this program knows {VERSION}")]
    Version {
        /// The version found.
        version: u8,
    },
}

const MAGIC: &[u8; 7] = b"dstlman";
const VERSION: u8 = 2;
const CHECKSUM: usize = 32;

/// One regular file of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Size in bytes.
    pub size: u64,
    /// Mode bits (07777) in the layer.
    pub mode: u32,
    /// Owner in the layer.
    pub owner: Owner,
    /// Modification time in the layer.
    pub mtime: Timestamp,
    /// Content digest of the file it was copied from: metadata there, attributes and bytes.
    pub digest: [u8; 32],
}

impl ManifestEntry {
    /// Its metadata in the layer, as a file of one name; device and inode are not known.
    pub(crate) fn node(&self) -> Node {
        Node {
            kind: FileKind::File,
            mode: self.mode,
            uid: self.owner.uid,
            gid: self.owner.gid,
            size: self.size,
            mtime: self.mtime,
            rdev: 0,
            nlink: 1,
            dev: 0,
            ino: 0,
        }
    }
}

/// Directory (no leading `/`) to its regular files, of a layer made by copies. Files that are hard
/// links of each other are left out, so that linking from the layer never joins files that were
/// apart, and every file in it has one name in the layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerManifest {
    /// None is empty.
    dirs: BTreeMap<PathBuf, ByName<ManifestEntry>>,
}

impl LayerManifest {
    /// The files in the directory `path` (no leading `/`, empty for the root), if there are any.
    pub fn dir(&self, path: &Path) -> Option<&ByName<ManifestEntry>> {
        self.dirs.get(path)
    }

    /// The file at `path`.
    pub fn get(&self, path: &Path) -> Option<&ManifestEntry> {
        self.dir(path.parent()?)?.get(path.file_name()?)
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.dirs.values().map(ByName::len).sum()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Adds files of the directory `path`; a name that is there already is replaced.
    pub fn extend(&mut self, path: &Path, files: Vec<(OsString, ManifestEntry)>) {
        if files.is_empty() {
            return;
        }
        match self.dirs.get_mut(path) {
            Some(dir) => dir.extend(files),
            None => self.dirs.entry(path.to_owned()).or_default().extend(files),
        }
    }

    /// Removes a path and all below it.
    pub fn remove(&mut self, path: &Path) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Some(dir) = self.dirs.get_mut(parent)
        {
            dir.remove(name);
            if dir.is_empty() {
                self.dirs.remove(parent);
            }
        }
        let below = self.dirs.range(path.to_owned()..).map(|(dir, _)| dir);
        let below: Vec<PathBuf> = below.take_while(|dir| dir.starts_with(path)).cloned().collect();
        for dir in below {
            self.dirs.remove(&dir);
        }
    }

    /// Binary form, with a version and a checksum. Equal manifests have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len() * 80 + 64);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_number(&mut out, self.dirs.len() as u64);
        for (path, dir) in &self.dirs {
            put_bytes(&mut out, path.as_os_str().as_bytes());
            put_number(&mut out, dir.len() as u64);
            for (name, entry) in dir.iter() {
                put_bytes(&mut out, name.as_bytes());
                put_number(&mut out, entry.size);
                put_number(&mut out, u64::from(entry.mode));
                put_number(&mut out, u64::from(entry.owner.uid));
                put_number(&mut out, u64::from(entry.owner.gid));
                out.extend_from_slice(&entry.mtime.secs.to_le_bytes());
                out.extend_from_slice(&entry.mtime.nanos.to_le_bytes());
                out.extend_from_slice(&entry.digest);
            }
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum);
        out
    }

    /// Reads what [`LayerManifest::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<LayerManifest, ManifestError> {
        if let (Some(MAGIC), Some(version)) = (bytes.first_chunk(), bytes.get(MAGIC.len()))
            && *version != VERSION
        {
            return Err(ManifestError::Version { version: *version });
        }
        let body = bytes.len().saturating_sub(CHECKSUM);
        let (body, checksum) = bytes.split_at(body);
        if checksum != Sha256::digest(body).as_slice() || !body.starts_with(MAGIC) {
            return Err(ManifestError::Damaged { offset: bytes.len() });
        }
        let mut reader = Reader {
            bytes: body,
            at: MAGIC.len() + 1,
        };
        reader
            .manifest()
            .ok_or(ManifestError::Damaged { offset: reader.at })
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<OsString> {
        let length = usize::try_from(self.number()?).ok()?;
        Some(OsString::from_vec(self.take(length)?.to_vec()))
    }

    fn manifest(&mut self) -> Option<LayerManifest> {
        let mut dirs = BTreeMap::new();
        for _ in 0..self.number()? {
            let path = PathBuf::from(self.bytes()?);
            let count = self.number()?;
            let mut files = Vec::new();
            for _ in 0..count {
                files.push((self.bytes()?, self.entry()?));
            }
            let mut dir = ByName::default();
            dir.extend(files);
            dirs.insert(path, dir);
        }
        (self.at == self.bytes.len()).then_some(LayerManifest { dirs })
    }

    fn entry(&mut self) -> Option<ManifestEntry> {
        Some(ManifestEntry {
            size: self.number()?,
            mode: self.small()?,
            owner: Owner {
                uid: self.small()?,
                gid: self.small()?,
            },
            mtime: Timestamp {
                secs: i64::from_le_bytes(self.array()?),
                nanos: u32::from_le_bytes(self.array()?),
            },
            digest: self.array()?,
        })
    }
}
