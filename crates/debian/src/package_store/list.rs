//! The file `list` of a package in the store.
//!
//! ```text
//! "distil-package 4\n"
//! control time (i64), control, 1 and md5sums or 0
//! number of entries (u32), then of each:
//!   mode, uid, gid (u32), time (i64), path
//!   0                        a directory
//!   1, size (u64), sha256    a file
//!   2, target                a symbolic link
//!   3, entry number (u32)    a hard link
//! sha256 of all before it
//! ```
//! Numbers are little-endian; texts have their length (u32) before them.

use distil_oci::Digest;

use super::{PackageEntry, PackageEntryKind};

const MAGIC: &[u8] = b"distil-package 4\n";

/// Bytes of a directory with an empty path.
const SHORTEST_ENTRY: usize = 25;

/// What the store knows of a package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) control: Vec<u8>,
    pub(super) control_mtime: i64,
    pub(super) md5sums: Option<Vec<u8>>,
    pub(super) entries: Vec<PackageEntry>,
}

impl List {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.control_mtime.to_le_bytes());
        text(&mut out, &self.control);
        out.push(u8::from(self.md5sums.is_some()));
        if let Some(md5sums) = &self.md5sums {
            text(&mut out, md5sums);
        }
        out.extend_from_slice(&count(self.entries.len()));
        for entry in &self.entries {
            encode_entry(&mut out, entry);
        }
        let digest = Digest::sha256(&out);
        out.extend_from_slice(digest.as_bytes());
        out
    }

    /// `None` when the bytes are damaged or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<List> {
        let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
        if Digest::sha256(body).as_bytes() != digest {
            return None;
        }
        let mut input = Input(body.strip_prefix(MAGIC)?);
        let control_mtime = i64::from_le_bytes(input.array()?);
        let control = input.text()?;
        let md5sums = match input.byte()? {
            0 => None,
            _ => Some(input.text()?),
        };
        let count = input.count()?;
        let mut entries = Vec::with_capacity(count.min(input.0.len() / SHORTEST_ENTRY));
        for number in 0..count {
            let entry = decode_entry(&mut input)?;
            if matches!(entry.kind, PackageEntryKind::HardLink { file } if file >= number) {
                return None;
            }
            entries.push(entry);
        }
        input.0.is_empty().then_some(List {
            control,
            control_mtime,
            md5sums,
            entries,
        })
    }
}

/// A length; a package's limits keep it far below 32 bits.
fn count(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&count(bytes.len()));
    out.extend_from_slice(bytes);
}

fn encode_entry(out: &mut Vec<u8>, entry: &PackageEntry) {
    for number in [entry.mode, entry.uid, entry.gid] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&entry.mtime.to_le_bytes());
    text(out, &entry.path);
    match &entry.kind {
        PackageEntryKind::Directory => out.push(0),
        PackageEntryKind::File { size, sha256 } => {
            out.push(1);
            out.extend_from_slice(&size.to_le_bytes());
            out.extend_from_slice(sha256.as_bytes());
        }
        PackageEntryKind::Symlink { target } => {
            out.push(2);
            text(out, target);
        }
        PackageEntryKind::HardLink { file } => {
            out.push(3);
            out.extend_from_slice(&count(*file));
        }
    }
}

fn decode_entry(input: &mut Input<'_>) -> Option<PackageEntry> {
    let mut number = || Some(u32::from_le_bytes(input.array()?));
    let (mode, uid, gid) = (number()?, number()?, number()?);
    let mtime = i64::from_le_bytes(input.array()?);
    let path = input.text()?;
    let kind = match input.byte()? {
        0 => PackageEntryKind::Directory,
        1 => PackageEntryKind::File {
            size: u64::from_le_bytes(input.array()?),
            sha256: Digest::from_bytes(input.array()?),
        },
        2 => PackageEntryKind::Symlink {
            target: input.text()?,
        },
        3 => PackageEntryKind::HardLink { file: input.count()? },
        _ => return None,
    };
    Some(PackageEntry {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime,
    })
}

/// Bytes that are still to be read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn count(&mut self) -> Option<usize> {
        usize::try_from(u32::from_le_bytes(self.array()?)).ok()
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let length = self.count()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text.to_vec())
    }
}
