//! `/etc/ld.so.cache`: names of libraries and where they are.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::read::{self, Endian, Numbers};

const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;

/// One line of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Name as it is needed.
    pub name: OsString,
    /// Absolute path of the file.
    pub path: PathBuf,
}

/// The entries in the order in which the loader meets them. A damaged cache gives what could be read of it, as a
/// loader that cannot read it searches directories. The format of glibc before 2.2 is not read; files that hold both
/// are.
pub fn parse(bytes: &[u8]) -> Vec<CacheEntry> {
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else {
        return Vec::new();
    };
    let bytes = &bytes[start..];
    // Offset 28 says the byte order since glibc 2.33: 2 little, 3 big; before, it is the builder's own.
    let endian = if bytes.get(28) == Some(&3) {
        Endian::Big
    } else {
        Endian::Little
    };
    let numbers = Numbers { bytes, endian };
    let count = numbers.u32(20).unwrap_or(0);
    let text = |at: usize| {
        let offset = numbers.u32(at)?;
        read::c_string(bytes, offset as usize)
    };
    let mut entries = Vec::new();
    for index in 0..count as usize {
        let at = HEADER + index * ENTRY;
        let (Some(name), Some(path)) = (text(at + 4), text(at + 8)) else {
            break;
        };
        if path.starts_with(b"/") {
            entries.push(CacheEntry {
                name: OsString::from_vec(name.to_vec()),
                path: OsString::from_vec(path.to_vec()).into(),
            });
        }
    }
    entries
}
