//! The contents of a package's smallest files in one file.
//!
//! Who hashes an image reads all of them. Opening each costs more than reading it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use distil_oci::Digest;
use rustix::fs::{Mode, OFlags};

use super::{PackageEntry, PackageEntryKind, StoredPackage};

/// Name of the file in a package's directory. It is not there when no file is small.
pub(super) const NAME: &str = "small";
/// Files up to this many bytes are in it.
pub(super) const SMALLEST: u64 = 16 << 10;
/// Bytes that are read at once, at most.
const WINDOW: u64 = 32 << 10;

/// The length of an entry's content when it is in the file.
fn length(entry: &PackageEntry) -> Option<usize> {
    match entry.kind {
        PackageEntryKind::File { size, .. } if size <= SMALLEST => usize::try_from(size).ok(),
        _ => None,
    }
}

/// Reads the contents of a package's smallest files, many of them at once. Fast when they are asked
/// for in about the order of the list, right in any.
#[derive(Debug)]
pub struct SmallContents {
    file: Option<File>,
    /// Where the content of each entry begins.
    starts: Vec<u64>,
    window: Vec<u8>,
    /// Where the window begins in the file.
    at: u64,
    /// Bytes of the file.
    end: u64,
}

impl StoredPackage {
    /// Opens the contents of the smallest files.
    ///
    /// # Errors
    /// When they cannot be opened.
    pub fn small_contents(&self) -> io::Result<SmallContents> {
        let mut end = 0;
        let starts = self.entries().iter().map(|entry| {
            let start = end;
            end += length(entry).unwrap_or(0) as u64;
            start
        });
        let starts: Vec<u64> = starts.collect();
        let mut file = None;
        if end > 0 {
            let path = format!("{}/{NAME}", self.sha256().hex());
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            file = Some(File::from(rustix::fs::openat(
                &self.root,
                path,
                flags,
                Mode::empty(),
            )?));
        }
        Ok(SmallContents {
            file,
            starts,
            window: Vec::new(),
            at: 0,
            end,
        })
    }
}

impl SmallContents {
    /// The content of entry `number` of `package`, whose contents these are, or of the file that it
    /// is a hard link to; `None` when it has none, or a larger one.
    ///
    /// # Errors
    /// When it cannot be read; `UnexpectedEof` when it is not there.
    pub fn get(&mut self, package: &StoredPackage, number: usize) -> io::Result<Option<&[u8]>> {
        let Some(number) = package.content_entry(number) else {
            return Ok(None);
        };
        let entry = package.entries().get(number).and_then(length);
        let (Some(length), Some(start)) = (entry, self.starts.get(number)) else {
            return Ok(None);
        };
        let inside = |start: u64, at: u64| usize::try_from(start.checked_sub(at)?).ok();
        let known = inside(*start, self.at).filter(|from| from + length <= self.window.len());
        let from = match known {
            Some(from) => from,
            None => {
                self.read(*start)?;
                0
            }
        };
        let content = self.window.get(from..from + length);
        content
            .map(Some)
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Moves the window.
    fn read(&mut self, start: u64) -> io::Result<()> {
        let size = self.end.saturating_sub(start).min(WINDOW);
        self.window.resize(usize::try_from(size).unwrap_or(0), 0);
        self.at = start;
        let mut filled = 0;
        while let (Some(file), Some(rest @ [_, ..])) = (&self.file, self.window.get_mut(filled..)) {
            match file.read_at(rest, start + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.window.clear();
                    return Err(error);
                }
            }
        }
        self.window.truncate(filled);
        Ok(())
    }
}

/// Whether all of it is what the list says.
pub(super) fn is_whole(package: &StoredPackage) -> io::Result<bool> {
    let mut contents = package.small_contents()?;
    for (number, entry) in package.entries().iter().enumerate() {
        if let PackageEntryKind::File { sha256, .. } = &entry.kind
            && let Some(bytes) = contents.get(package, number)?
            && Digest::sha256(bytes) != *sha256
        {
            return Ok(false);
        }
    }
    Ok(true)
}
