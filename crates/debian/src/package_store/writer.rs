//! One package into a directory of the store.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use distil_oci::Digest;
use rustix::fs::{AtFlags, Gid, Uid};
use rustix::io::Errno;

use super::contents::{self, Contents, Written, create, finish, times};
use super::list::List;
use super::partial::Partial;
use super::{PackageEntry, PackageEntryKind, PackageStoreError, Threads};
use crate::deb::{Content, DataEntry, DebFile, EntryType, Meta, PackageIdentity};

/// Unpacks `deb`, which the index says to be `identity`.
pub(super) fn unpack(
    deb: &DebFile,
    identity: &PackageIdentity,
    partial: &Partial,
    threads: Threads,
    cancel: &AtomicBool,
) -> Result<List, PackageStoreError> {
    let mut control = deb.control_of(identity)?;
    let written = Mutex::new(Written::default());
    // All threads have ended when the scope does.
    let mut entries = std::thread::scope(|scope| {
        let mut writer = Writer {
            deb,
            contents: Contents::start(scope, deb, partial, &written, threads.making),
            known: HashMap::new(),
            entries: Vec::new(),
        };
        deb.each_entry(threads.making > 1, threads.decoding, |entry, content| {
            if cancel.load(Ordering::Relaxed) {
                return Err(PackageStoreError::Cancelled);
            }
            writer.entry(entry, content)
        })?;
        writer.contents.finish()?;
        Ok::<_, PackageStoreError>(writer.entries)
    })?;
    let digests = contents::digests(written)?;
    for (number, entry) in entries.iter_mut().enumerate() {
        if let (PackageEntryKind::File { sha256, .. }, Some(digest)) = (&mut entry.kind, digests.get(&number))
        {
            *sha256 = *digest;
        }
    }
    Ok(List {
        control: control.files.remove("control").unwrap_or_default(),
        control_mtime: control.mtime,
        md5sums: control.files.remove("md5sums"),
        entries,
    })
}

/// What a path of the package is.
#[derive(Debug, Clone, Copy)]
enum Known {
    /// Perhaps only because something lies below it.
    Directory {
        listed: bool,
    },
    /// With the number of its entry.
    File(usize),
    Symlink,
}

struct Writer<'a> {
    deb: &'a DebFile,
    contents: Contents<'a>,
    known: HashMap<Vec<u8>, Known>,
    entries: Vec<PackageEntry>,
}

impl Writer<'_> {
    fn entry(&mut self, entry: DataEntry, content: &mut Content<'_>) -> Result<(), PackageStoreError> {
        self.check_parents(&entry)?;
        let number = self.entries.len();
        let mut meta = entry.meta;
        let (known, kind) = match entry.kind {
            EntryType::Directory => (Known::Directory { listed: true }, PackageEntryKind::Directory),
            EntryType::Symlink => {
                self.check_new(&entry)?;
                self.contents.symlink(number, &entry)?;
                let target = entry.link.clone();
                (Known::Symlink, PackageEntryKind::Symlink { target })
            }
            EntryType::File => {
                self.check_new(&entry)?;
                self.contents.file(number, &entry, content)?;
                let kind = PackageEntryKind::File {
                    size: entry.size,
                    // Known when all threads have ended.
                    sha256: Digest::from_bytes([0; 32]),
                };
                (Known::File(number), kind)
            }
            EntryType::HardLink => {
                let file = self.linked(&entry)?;
                if let Some(first) = self.entries.get(file) {
                    meta = Meta {
                        mode: first.mode,
                        uid: first.uid,
                        gid: first.gid,
                        mtime: first.mtime,
                    };
                }
                (Known::File(file), PackageEntryKind::HardLink { file })
            }
        };
        match (self.known.get(&entry.path), known) {
            // Of a directory that comes twice the first counts.
            (Some(Known::Directory { listed: true }), Known::Directory { .. }) => return Ok(()),
            (None, _) | (Some(Known::Directory { .. }), Known::Directory { .. }) => {}
            _ => return Err(self.refuse(&entry.path, TWICE)),
        }
        self.known.insert(entry.path.clone(), known);
        self.entries.push(PackageEntry {
            path: entry.path,
            kind,
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
        });
        Ok(())
    }

    fn refuse(&self, path: &[u8], reason: &'static str) -> PackageStoreError {
        PackageStoreError::Deb(self.deb.refused(path, reason))
    }

    fn check_new(&self, entry: &DataEntry) -> Result<(), PackageStoreError> {
        match self.known.get(&entry.path) {
            None => Ok(()),
            Some(_) => Err(self.refuse(&entry.path, TWICE)),
        }
    }

    /// Everything above an entry is a directory.
    fn check_parents(&mut self, entry: &DataEntry) -> Result<(), PackageStoreError> {
        let mut path = entry.path.as_slice();
        while let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            path = path.get(..slash).unwrap_or_default();
            match self.known.get(path) {
                // So is everything above it.
                Some(Known::Directory { .. }) => return Ok(()),
                Some(_) => return Err(self.refuse(&entry.path, BELOW)),
                None => self
                    .known
                    .insert(path.to_vec(), Known::Directory { listed: false }),
            };
        }
        Ok(())
    }

    /// Number of the file that a hard link names.
    fn linked(&self, entry: &DataEntry) -> Result<usize, PackageStoreError> {
        match self.known.get(&entry.link) {
            Some(Known::File(number)) => Ok(*number),
            _ => Err(self.refuse(&entry.path, "it is a hard link to no earlier file of the package")),
        }
    }
}

const TWICE: &str = "the package has it twice";
const BELOW: &str = "it lies below a file or a link of the same package";

/// Makes a hard link to the file or symbolic link `path` below `root`, or says that there can be none.
pub(super) fn link(root: &File, path: &str, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::linkat(root, path, parent, name, AtFlags::empty()) {
        // Too many links, another filesystem, or one without hard links.
        Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(true),
    }
}

/// Makes a copy of the file or symbolic link `path`.
pub(super) fn copy(path: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    if meta.is_symlink() {
        rustix::fs::symlinkat(std::fs::read_link(path)?, parent, name)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
        return Ok(rustix::fs::utimensat(parent, name, &times(meta.mtime()), flags)?);
    }
    let (mut from, mut to) = (File::open(path)?, create(parent, name, meta.mode())?);
    io::copy(&mut from, &mut to)?;
    finish(&to, Some((uid, gid)), meta.mode() & 0o7777, meta.mtime())
}
