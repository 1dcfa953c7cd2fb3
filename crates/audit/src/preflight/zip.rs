//! As much of the ZIP format as class files in archives need (PKWARE's APPNOTE 6.3.10): the central directory, and
//! the start of an entry.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use flate2::read::DeflateDecoder;

/// The end record with the longest comment.
const MAX_END: u64 = 22 + 65_535;
/// Central directories are smaller: 100,000 entries take some 10 MB.
const MAX_DIRECTORY: u64 = 64 << 20;
const MAX_ENTRIES: usize = 200_000;
/// Compressed bytes that are read for the start of an entry.
const WINDOW: u64 = 512;

/// An archive, or an uncompressed one within another.
pub(super) struct Archive {
    file: Arc<File>,
    start: u64,
    length: u64,
}

/// An entry of the central directory.
pub(super) struct Entry {
    /// Its name; bytes that are no UTF-8 are replaced.
    pub(super) name: String,
    method: u16,
    compressed: u64,
    header: u64,
}

impl Archive {
    pub(super) fn of_file(file: File) -> Self {
        let length = file.metadata().map_or(0, |facts| facts.len());
        Self {
            file: Arc::new(file),
            start: 0,
            length,
        }
    }

    /// The entries; `None` when this is no archive or a damaged one. Archives over 4 GB are not read.
    pub(super) fn entries(&self) -> Option<Vec<Entry>> {
        let from = self.length.saturating_sub(MAX_END);
        let tail = self.bytes(from, self.length - from)?;
        let end = (0..tail.len().saturating_sub(21))
            .rev()
            .find(|at| tail[*at..].starts_with(b"PK\x05\x06"))?;
        let end = &tail[end..];
        let (size, offset) = (u64::from(u32_at(end, 12)?), u64::from(u32_at(end, 16)?));
        if size > MAX_DIRECTORY {
            return None;
        }
        let directory = self.bytes(offset, size)?;
        let mut entries = Vec::new();
        let mut rest = directory.as_slice();
        while rest.starts_with(b"PK\x01\x02") && entries.len() < MAX_ENTRIES {
            let lengths = [28, 30, 32].map(|at| u16_at(rest, at).map_or(0, usize::from));
            let name = rest.get(46..46 + lengths[0])?;
            entries.push(Entry {
                name: String::from_utf8_lossy(name).into_owned(),
                method: u16_at(rest, 10)?,
                compressed: u64::from(u32_at(rest, 20)?),
                header: u64::from(u32_at(rest, 42)?),
            });
            rest = rest.get(46 + lengths.iter().sum::<usize>()..)?;
        }
        Some(entries)
    }

    /// Up to `length` bytes from the start of an entry.
    pub(super) fn start(&self, entry: &Entry, length: usize) -> Option<Vec<u8>> {
        let data = self.data(entry)?;
        let window = self.bytes(data, entry.compressed.min(WINDOW))?;
        match entry.method {
            0 => Some(window.into_iter().take(length).collect()),
            8 => {
                let mut out = vec![0; length];
                let mut decoder = DeflateDecoder::new(window.as_slice());
                // The window may end in the middle of a block: what came before is there.
                let mut filled = 0;
                while filled < length {
                    match decoder.read(&mut out[filled..]) {
                        Ok(0) | Err(_) => break,
                        Ok(count) => filled += count,
                    }
                }
                out.truncate(filled);
                Some(out)
            }
            _ => None,
        }
    }

    /// An entry that is an archive and is stored as it is.
    pub(super) fn nested(&self, entry: &Entry) -> Option<Archive> {
        let data = self.data(entry)?;
        (entry.method == 0).then(|| Archive {
            file: Arc::clone(&self.file),
            start: self.start + data,
            length: entry.compressed.min(self.length.saturating_sub(data)),
        })
    }

    /// Where the bytes of an entry begin.
    fn data(&self, entry: &Entry) -> Option<u64> {
        let header = self.bytes(entry.header, 30)?;
        if !header.starts_with(b"PK\x03\x04") {
            return None;
        }
        let (name, extra) = (u16_at(&header, 26)?, u16_at(&header, 28)?);
        Some(entry.header + 30 + u64::from(name) + u64::from(extra))
    }

    /// Bytes of the archive; `None` when they are not all there.
    fn bytes(&self, offset: u64, length: u64) -> Option<Vec<u8>> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        self.file.read_exact_at(&mut bytes, self.start + offset).ok()?;
        Some(bytes)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn archive(bytes: &[u8]) -> Archive {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Archive::of_file(file)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_without_harm(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            size in 0u32..200,
            offset in 0u32..200,
        ) {
            bytes.extend(b"PK\x01\x02");
            bytes.extend([0; 42]);
            let mut end = b"PK\x05\x06".to_vec();
            end.resize(12, 0);
            end.extend(size.to_le_bytes());
            end.extend(offset.to_le_bytes());
            end.extend([0; 2]);
            bytes.extend(end);
            let archive = archive(&bytes);
            for entry in archive.entries().unwrap_or_default() {
                let _ = archive.start(&entry, 8);
                let _ = archive.nested(&entry).map(|inner| inner.entries().map(|all| all.len()));
            }
        }
    }
}
