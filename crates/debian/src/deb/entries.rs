//! The files of a package, one after the other.
//!
//! `data.tar` may be a v7, ustar or GNU tar (deb(5)); of GNU's extensions long names are read,
//! as dpkg does. Everything that a file tree must not get from a package is refused here.

use std::io::Read;

use super::ahead::Ahead;
use super::{DebError, DebFile};

/// `PATH_MAX` of Linux without its NUL.
const MAX_PATH: usize = 4095;
/// `NAME_MAX` of Linux.
const MAX_NAME: usize = 255;
/// Bytes that one package may unpack to. The largest of Debian stay below 8 GiB.
const MAX_CONTENTS: u64 = 16 << 30;
/// Entries of one package. The largest of Debian have some 100,000.
const MAX_ENTRIES: usize = 2_000_000;
const CHUNK: usize = 128 << 10;
/// Fewer packed bytes than this are decoded sooner than a thread starts.
const WORTH_A_THREAD: u64 = 16 << 10;

/// Mode, owner and time as the package gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryType {
    Directory,
    File,
    Symlink,
    HardLink,
}

/// One entry, checked.
#[derive(Debug, Clone)]
pub(crate) struct DataEntry {
    /// Without `./` or `/` before it; empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryType,
    /// Target of a symbolic link as it stands there; path of the other name, like `path`, of a hard link.
    pub(crate) link: Vec<u8>,
    pub(crate) meta: Meta,
    /// Bytes of a file.
    pub(crate) size: u64,
}

/// The bytes of the file that an entry brings.
pub(crate) struct Content<'a> {
    deb: &'a DebFile,
    reader: &'a mut dyn Read,
    size: u64,
    buffer: &'a mut Vec<u8>,
}

impl Content<'_> {
    /// Gives all bytes to `take`, in pieces.
    pub(crate) fn each_piece<E: From<DebError>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = self.size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = self.buffer.get_mut(..want).unwrap_or_default();
            let count = self.reader.read(piece).map_err(|error| self.deb.damaged(error))?;
            if count == 0 {
                return Err(self.deb.damaged(std::io::ErrorKind::UnexpectedEof.into()).into());
            }
            take(piece.get(..count).unwrap_or_default())?;
            left = left.saturating_sub(count as u64);
        }
        Ok(())
    }
}

/// Reads one `data.tar`.
struct Reading<'a> {
    deb: &'a DebFile,
    /// From the entries before the one that they are for.
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    entries: usize,
    contents: u64,
}

impl DebFile {
    /// Hands all entries of the package to `visit` in their order, and checks the compressed data
    /// to its end. With `ahead`, decoding goes on meanwhile, in a thread of its own; blocks of large
    /// packages are decoded by `threads` threads.
    pub(crate) fn each_entry<E: From<DebError>>(
        &self,
        ahead: bool,
        threads: usize,
        visit: impl FnMut(DataEntry, &mut Content<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let decoder = self.data(threads)?;
        if !ahead || self.packed_size() < WORTH_A_THREAD {
            return self.read_entries(decoder, visit);
        }
        std::thread::scope(|scope| self.read_entries(Ahead::start(scope, decoder), visit))
    }

    fn read_entries<E: From<DebError>>(
        &self,
        decoded: impl Read,
        mut visit: impl FnMut(DataEntry, &mut Content<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut archive = tar::Archive::new(decoded);
        let mut reading = Reading {
            deb: self,
            long_name: None,
            long_link: None,
            entries: 0,
            contents: 0,
        };
        let mut buffer = vec![0; CHUNK];
        for entry in archive.entries().map_err(|error| self.damaged(error))?.raw(true) {
            let mut entry = entry.map_err(|error| self.damaged(error))?;
            let Some(found) = reading.entry(&mut entry)? else {
                continue;
            };
            let mut content = Content {
                deb: self,
                size: found.size,
                reader: &mut entry,
                buffer: &mut buffer,
            };
            visit(found, &mut content)?;
        }
        Ok(self.finish(archive.into_inner(), &mut buffer)?)
    }

    /// Reads what follows the tar, so that checksums at the end are checked.
    fn finish(&self, mut decoded: impl Read, buffer: &mut [u8]) -> Result<(), DebError> {
        let mut rest = 0;
        loop {
            match decoded.read(buffer).map_err(|error| self.damaged(error))? {
                0 => return Ok(()),
                count => rest += count as u64,
            }
            if rest > MAX_CONTENTS {
                return Err(self.invalid("its data unpacks to too many bytes".to_owned()));
            }
        }
    }
}

impl Reading<'_> {
    /// `None` for an entry that only belongs to the next one.
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<Option<DataEntry>, DebError> {
        let kind = entry.header().entry_type();
        if kind.is_gnu_longname() {
            self.long_name = Some(self.long(entry)?);
            return Ok(None);
        }
        if kind.is_gnu_longlink() {
            self.long_link = Some(self.long(entry)?);
            return Ok(None);
        }
        let header = entry.header();
        let raw = match self.long_name.take() {
            Some(name) => name,
            None => header.path_bytes().into_owned(),
        };
        let link = match self.long_link.take() {
            Some(link) => link,
            None => header.link_name_bytes().unwrap_or_default().into_owned(),
        };
        let path = self.path(&raw, &raw)?;
        let kind = self.kind(kind, &raw)?;
        let link = match kind {
            EntryType::Symlink => self.target(link, &raw)?,
            EntryType::HardLink => self.path(&link, &raw)?,
            EntryType::Directory | EntryType::File => Vec::new(),
        };
        if path.is_empty() && kind != EntryType::Directory {
            return Err(self.refuse(&raw, "the root is no file"));
        }
        let meta =
            meta(header).ok_or_else(|| self.refuse(&raw, "its owner, mode or time is out of range"))?;
        let size = self.count(kind, entry.size(), &raw)?;
        Ok(Some(DataEntry {
            path,
            kind,
            link,
            meta,
            size,
        }))
    }

    /// Size of an entry's content, within the limits of the package.
    fn count(&mut self, kind: EntryType, size: u64, raw: &[u8]) -> Result<u64, DebError> {
        let size = if kind == EntryType::File { size } else { 0 };
        self.entries += 1;
        self.contents = self.contents.saturating_add(size);
        if self.contents > MAX_CONTENTS {
            return Err(self.refuse(raw, "with it the package has more than 16 GiB"));
        }
        if self.entries > MAX_ENTRIES {
            return Err(self.refuse(raw, "the package has too many entries before it"));
        }
        Ok(size)
    }

    /// The content of an entry that holds a long name.
    fn long<R: Read>(&self, entry: &mut tar::Entry<'_, R>) -> Result<Vec<u8>, DebError> {
        let mut name = Vec::new();
        let mut limited = entry.by_ref().take(MAX_PATH as u64 + 2);
        limited
            .read_to_end(&mut name)
            .map_err(|error| self.deb.damaged(error))?;
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name.truncate(end);
        if name.is_empty() || name.len() > MAX_PATH {
            return Err(self.refuse(&name, "its long name is empty or too long"));
        }
        Ok(name)
    }

    /// The path without leading `./` and `/`, `.` and double slashes; one that leads upwards is refused.
    fn path(&self, path: &[u8], shown: &[u8]) -> Result<Vec<u8>, DebError> {
        let mut clean = Vec::with_capacity(path.len());
        for name in path.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err(self.refuse(shown, "its path leads upwards")),
                _ if name.len() > MAX_NAME => return Err(self.refuse(shown, "its name is too long")),
                _ if name.starts_with(b".wh.") => {
                    return Err(self.refuse(shown, "names that start with `.wh.` mean deletions in layers"));
                }
                _ => {}
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(name);
        }
        match clean.len() > MAX_PATH || clean.contains(&0) {
            true => Err(self.refuse(shown, "its path is too long or holds a NUL")),
            false => Ok(clean),
        }
    }

    fn target(&self, target: Vec<u8>, shown: &[u8]) -> Result<Vec<u8>, DebError> {
        if target.is_empty() || target.len() > MAX_PATH || target.contains(&0) {
            return Err(self.refuse(shown, "it is a link to nowhere"));
        }
        Ok(target)
    }

    fn kind(&self, kind: tar::EntryType, raw: &[u8]) -> Result<EntryType, DebError> {
        match kind {
            tar::EntryType::Directory => Ok(EntryType::Directory),
            // The oldest tars have no type for directories.
            tar::EntryType::Regular if raw.ends_with(b"/") => Ok(EntryType::Directory),
            tar::EntryType::Regular | tar::EntryType::Continuous => Ok(EntryType::File),
            tar::EntryType::Symlink => Ok(EntryType::Symlink),
            tar::EntryType::Link => Ok(EntryType::HardLink),
            tar::EntryType::Char | tar::EntryType::Block => Err(self.refuse(raw, "it is a device")),
            tar::EntryType::Fifo => Err(self.refuse(raw, "it is a named pipe")),
            tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => {
                Err(self.refuse(raw, "packages must not have pax headers"))
            }
            _ => Err(self.refuse(raw, "it is neither a file, a directory nor a link")),
        }
    }

    fn refuse(&self, path: &[u8], reason: &'static str) -> DebError {
        self.deb.refused(path, reason)
    }
}

fn meta(header: &tar::Header) -> Option<Meta> {
    Some(Meta {
        mode: header.mode().ok()? & 0o7777,
        // The highest id means "unchanged" to the kernel.
        uid: u32::try_from(header.uid().ok()?)
            .ok()
            .filter(|id| *id < u32::MAX)?,
        gid: u32::try_from(header.gid().ok()?)
            .ok()
            .filter(|id| *id < u32::MAX)?,
        mtime: i64::try_from(header.mtime().ok()?).ok()?,
    })
}
