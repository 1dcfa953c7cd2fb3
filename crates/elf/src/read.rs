//! Bounded reading of a file whose every number may be a lie.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::ElfError;

/// Bytes at offsets: an open file, or a slice in tests.
pub trait ReadAt {
    /// Reads from `offset` on, as many bytes as there are and `buffer` takes.
    fn read_some_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_some_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            // The system takes these for negative and calls them invalid; no file is that long.
            if i64::try_from(offset.saturating_add(done as u64)).is_err() {
                break;
            }
            match self.read_at(&mut buffer[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

impl ReadAt for [u8] {
    fn read_some_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        let count = buffer.len().min(self.len() - start);
        buffer[..count].copy_from_slice(&self[start..start + count]);
        Ok(count)
    }
}

/// Up to `length` bytes from `offset` on; fewer at the end of the file.
pub(crate) fn some(file: &(impl ReadAt + ?Sized), offset: u64, length: usize) -> Result<Vec<u8>, ElfError> {
    // Grown piece by piece, so that a lie about the length costs no memory.
    let mut bytes = Vec::new();
    while bytes.len() < length {
        let start = bytes.len();
        let piece = (length - start).min(1 << 20);
        bytes.resize(start + piece, 0);
        let count = file.read_some_at(offset.saturating_add(start as u64), &mut bytes[start..])?;
        bytes.truncate(start + count);
        if count < piece {
            break;
        }
    }
    Ok(bytes)
}

/// The byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

/// Numbers inside bytes, in one byte order. A number that is not wholly there is `None`.
#[derive(Clone, Copy)]
pub(crate) struct Numbers<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) endian: Endian,
}

impl Numbers<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let end = at.checked_add(N)?;
        let mut array: [u8; N] = self.bytes.get(at..end)?.try_into().ok()?;
        if self.endian == Endian::Big {
            array.reverse();
        }
        Some(array)
    }

    pub(crate) fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// An address or offset: 8 bytes wide when `wide`, else 4.
    pub(crate) fn word(self, at: usize, wide: bool) -> Option<u64> {
        if wide {
            self.u64(at)
        } else {
            self.u32(at).map(u64::from)
        }
    }
}

/// The bytes up to the next NUL; `None` when there is no NUL or `at` lies outside.
pub(crate) fn c_string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(&rest[..end])
}
