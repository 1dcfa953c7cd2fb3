//! What a layer's regular files were when the layer was made.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::node::{Owner, Timestamp};

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
const VERSION: u8 = 1;
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

/// Path (no leading `/`) to file, for the regular files of a layer made by copies. Files
/// that are hard links of each other are left out, so that linking from the layer never joins
/// files that were apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerManifest {
    /// Sorted by path.
    files: Vec<(OsString, ManifestEntry)>,
}

impl LayerManifest {
    /// The file at `path`.
    pub fn get(&self, path: &Path) -> Option<&ManifestEntry> {
        let at = self
            .files
            .binary_search_by(|(name, _)| name.as_os_str().cmp(path.as_os_str()))
            .ok()?;
        self.files.get(at).map(|(_, entry)| entry)
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Adds files; a path that is there already is replaced.
    pub fn extend(&mut self, files: impl IntoIterator<Item = (OsString, ManifestEntry)>) {
        let before = self.files.len();
        self.files.extend(files);
        if self.files.len() == before {
            return;
        }
        // Stable, so that of equal paths the one added last is last.
        self.files.sort_by(|a, b| a.0.cmp(&b.0));
        self.files.reverse();
        self.files.dedup_by(|a, b| a.0 == b.0);
        self.files.reverse();
    }

    /// Removes a path and all below it.
    pub fn remove(&mut self, path: &Path) {
        self.files.retain(|(name, _)| !Path::new(name).starts_with(path));
    }

    /// Binary form, with a version and a checksum. Equal manifests have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.files.len() * 80 + 64);
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        put_number(&mut out, self.files.len() as u64);
        let mut last: &[u8] = b"";
        for (path, entry) in &self.files {
            let path = path.as_bytes();
            let shared = last.iter().zip(path).take_while(|(a, b)| a == b).count();
            put_number(&mut out, shared as u64);
            put_number(&mut out, (path.len() - shared) as u64);
            out.extend_from_slice(&path[shared..]);
            put_number(&mut out, entry.size);
            put_number(&mut out, u64::from(entry.mode));
            put_number(&mut out, u64::from(entry.owner.uid));
            put_number(&mut out, u64::from(entry.owner.gid));
            out.extend_from_slice(&entry.mtime.secs.to_le_bytes());
            out.extend_from_slice(&entry.mtime.nanos.to_le_bytes());
            out.extend_from_slice(&entry.digest);
            last = path;
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

    fn manifest(&mut self) -> Option<LayerManifest> {
        let count = self.number()?;
        let mut files = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for _ in 0..count {
            let shared = usize::try_from(self.number()?).ok()?;
            let rest = usize::try_from(self.number()?).ok()?;
            let mut path = last.get(..shared)?.to_vec();
            path.extend_from_slice(self.take(rest)?);
            let entry = ManifestEntry {
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
            };
            files.push((OsString::from_vec(path.clone()), entry));
            last = path;
        }
        (self.at == self.bytes.len()).then_some(LayerManifest { files })
    }
}
