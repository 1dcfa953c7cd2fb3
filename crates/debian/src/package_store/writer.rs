//! One package into a directory of the store.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use distil_oci::Digester;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::list::List;
use super::partial::Partial;
use super::{PackageEntry, PackageEntryKind, PackageStoreError};
use crate::deb::{Content, DataEntry, DebFile, EntryType, Meta, PackageIdentity};

/// Unpacks `deb`, which the index says to be `identity`.
pub(super) fn unpack(
    deb: &DebFile,
    identity: &PackageIdentity,
    partial: &Partial,
    threads: usize,
    cancel: &AtomicBool,
) -> Result<List, PackageStoreError> {
    let mut control = deb.control_of(identity)?;
    let mut writer = Writer {
        deb,
        partial,
        owner: (rustix::process::geteuid(), rustix::process::getegid()),
        known: HashMap::new(),
        entries: Vec::new(),
    };
    deb.each_entry(threads, |entry, content| {
        if cancel.load(Ordering::Relaxed) {
            return Err(PackageStoreError::Cancelled);
        }
        writer.entry(entry, content)
    })?;
    Ok(List {
        control: control.files.remove("control").unwrap_or_default(),
        control_mtime: control.mtime,
        md5sums: control.files.remove("md5sums"),
        entries: writer.entries,
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
    partial: &'a Partial,
    /// Whom new files belong to.
    owner: (Uid, Gid),
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
                self.symlink(number, &entry)?;
                let target = entry.link.clone();
                (Known::Symlink, PackageEntryKind::Symlink { target })
            }
            EntryType::File => {
                self.check_new(&entry)?;
                (Known::File(number), self.file(number, &entry, content)?)
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

    fn file(
        &self,
        number: usize,
        entry: &DataEntry,
        content: &mut Content<'_>,
    ) -> Result<PackageEntryKind, PackageStoreError> {
        let name = number.to_string();
        let failed = |source: io::Error| self.failed(entry, &name, source);
        let mut file = create(self.partial.directory(), OsStr::new(&name)).map_err(failed)?;
        let mut digester = Digester::new();
        content.each_piece(|bytes| {
            digester.update(bytes);
            file.write_all(bytes).map_err(failed)
        })?;
        let meta = &entry.meta;
        finish(&file, self.other_owner(meta), meta.mode, meta.mtime).map_err(failed)?;
        let (size, sha256) = (digester.length(), digester.finish());
        Ok(PackageEntryKind::File { size, sha256 })
    }

    /// Makes a link, which images share as they do files.
    fn symlink(&self, number: usize, entry: &DataEntry) -> Result<(), PackageStoreError> {
        let name = number.to_string();
        let make = || -> rustix::io::Result<()> {
            let directory = self.partial.directory();
            rustix::fs::symlinkat(entry.link.as_slice(), directory, &name)?;
            if let Some((uid, gid)) = self.other_owner(&entry.meta) {
                rustix::fs::chownat(directory, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            let times = times(entry.meta.mtime);
            rustix::fs::utimensat(directory, &name, &times, AtFlags::SYMLINK_NOFOLLOW)
        };
        make().map_err(|error| self.failed(entry, &name, error.into()))
    }

    /// The owner that an entry gets, when it is another than that of new files.
    fn other_owner(&self, meta: &Meta) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        (owner != self.owner).then_some(owner)
    }

    fn failed(&self, entry: &DataEntry, name: &str, source: io::Error) -> PackageStoreError {
        PackageStoreError::Unpack {
            package: self.deb.label().to_owned(),
            entry: String::from_utf8_lossy(&entry.path).into_owned(),
            path: self.partial.path().join(name),
            source,
        }
    }
}

const TWICE: &str = "the package has it twice";
const BELOW: &str = "it lies below a file or a link of the same package";

fn create(directory: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600))?;
    Ok(File::from(fd))
}

/// Owner, mode and time, in the order that keeps set-id bits.
fn finish(file: &File, owner: Option<(Uid, Gid)>, mode: u32, mtime: i64) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::futimens(file, &times(mtime))?)
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// A hard link to the file or symbolic link `path`, or a copy where there can be none.
pub(super) fn link_or_copy(path: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::linkat(CWD, path, parent, name, AtFlags::empty()) {
        // Too many links, another filesystem, or one without hard links.
        Err(Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => copy(path, parent, name),
        other => Ok(other?),
    }
}

fn copy(path: &Path, parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    let (uid, gid) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    if meta.is_symlink() {
        rustix::fs::symlinkat(std::fs::read_link(path)?, parent, name)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
        return Ok(rustix::fs::utimensat(parent, name, &times(meta.mtime()), flags)?);
    }
    let (mut from, mut to) = (File::open(path)?, create(parent, name)?);
    io::copy(&mut from, &mut to)?;
    finish(&to, Some((uid, gid)), meta.mode() & 0o7777, meta.mtime())
}
