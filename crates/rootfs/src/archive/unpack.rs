//! Unpacking an archive into a writable layer, with the destination as its root.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::{ArchiveError, decoder, detect};
use crate::copy::{CopyReport, CopySpec};
use crate::node::{FileKind, Owner, Timestamp, Xattrs};
use crate::tree::{Dir, Tree, clean_absolute, resolve_below};
use crate::upper::{Metadata, ParentTimes, Upper, UpperError, WriteDir};

/// Unpacks the file `path` of `source` when it is an archive; says whether it was, in `report` too.
pub(crate) fn unpack_path(
    upper: &Upper,
    source: &dyn Tree,
    path: &Path,
    spec: &CopySpec,
    report: &mut CopyReport,
) -> Result<bool, UpperError> {
    let real = source.resolve(path)?;
    if !source.lookup(&real)?.is_some_and(|node| node.kind.is_file()) {
        return Ok(false);
    }
    let mut file = source.open(&real)?;
    let damaged = |source: io::Error| ArchiveError::Damaged {
        archive: real.clone(),
        source,
    };
    let Some(compression) = detect(&mut file).map_err(damaged)? else {
        return Ok(false);
    };
    let destination = upper.tree().resolve(Path::new(&spec.destination))?;
    let mut times = ParentTimes::default();
    times.record(upper, &destination)?;
    let created = upper.make_dirs(&destination, 0o755, spec.owner)?.1;
    let mut unpack = Unpack {
        upper,
        spec,
        archive: &real,
        root: &destination,
        last: None,
        dirs: Vec::new(),
        left_out: Vec::new(),
    };
    let reader = decoder(file, compression).map_err(damaged)?;
    unpack.run(&mut tar::Archive::new(reader))?;
    report.unpacked = true;
    report.left_out.append(&mut unpack.left_out);
    times.restore(upper, Path::new(""))?;
    if let Some(timestamp) = spec.timestamp {
        for dir in created.iter().rev() {
            dir.set_mtime(timestamp)?;
        }
    }
    Ok(true)
}

struct Unpack<'a> {
    upper: &'a Upper,
    spec: &'a CopySpec,
    archive: &'a Path,
    root: &'a Path,
    /// The directory that the last entry went to.
    last: Option<Arc<WriteDir>>,
    /// Directories of the archive and their times, set last.
    dirs: Vec<(PathBuf, Timestamp)>,
    /// Devices that nobody may make here.
    left_out: Vec<PathBuf>,
}

/// What a header says.
struct Header {
    name: PathBuf,
    kind: EntryType,
    link: OsString,
    mode: u32,
    owner: Owner,
    mtime: Timestamp,
    rdev: u64,
    xattrs: Xattrs,
}

impl Unpack<'_> {
    fn damaged(&self, source: io::Error) -> UpperError {
        ArchiveError::Damaged {
            archive: self.archive.to_owned(),
            source,
        }
        .into()
    }

    fn run<R: Read>(&mut self, archive: &mut tar::Archive<R>) -> Result<(), UpperError> {
        let entries = archive.entries().map_err(|err| self.damaged(err))?;
        for entry in entries {
            if let Some(cancel) = &self.spec.cancel
                && cancel.load(Ordering::Relaxed)
            {
                return Err(UpperError::Cancelled);
            }
            let mut entry = entry.map_err(|err| self.damaged(err))?;
            if entry.header().entry_type().is_pax_global_extensions() {
                continue;
            }
            let header = read_header(&mut entry).map_err(|err| self.damaged(err))?;
            self.entry(&header, &mut entry)?;
        }
        for (path, mtime) in std::mem::take(&mut self.dirs) {
            // A later entry may have replaced it.
            let node = self.upper.tree().lookup(&path)?;
            if node.is_some_and(|node| node.kind.is_dir()) {
                self.upper.write_dir(&path)?.set_mtime(mtime)?;
            }
        }
        Ok(())
    }

    /// A path of the archive in the image; the last component is not followed.
    fn locate(&self, name: &Path) -> Result<PathBuf, UpperError> {
        let root: Box<dyn Dir> = self.upper.tree().open_dir(self.root)?;
        Ok(resolve_below(root, &clean_absolute(name), false)?)
    }

    fn entry(&mut self, header: &Header, data: &mut dyn Read) -> Result<(), UpperError> {
        if header.name == Path::new("/") {
            return Ok(());
        }
        let path = self.locate(&header.name)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(());
        };
        let dir = self.open_parent(parent, &header.name)?;
        let existing = dir.existing(name)?.map(|existing| existing.node.kind);
        let is_dir = header.kind.is_dir();
        match existing {
            Some(FileKind::Dir) if is_dir => {}
            // A hard link onto itself must not remove what it links to.
            Some(_) => {
                if header.kind.is_hard_link() && self.locate(Path::new(&header.link))? == path {
                    return self.finish(header, &dir, name, &path);
                }
                dir.remove(name)?;
            }
            None => {}
        }
        match self.create(header, data, &dir, name, existing == Some(FileKind::Dir)) {
            // In a user namespace nobody can make devices: they are left out, as in Docker.
            Err(UpperError::Io { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied && is_device(header) =>
            {
                self.left_out.push(path);
                Ok(())
            }
            Err(error) => Err(error),
            Ok(()) => self.finish(header, &dir, name, &path),
        }
    }

    /// Opens the directory of the entry `name`, making what is missing of it.
    fn open_parent(&mut self, parent: &Path, name: &Path) -> Result<Arc<WriteDir>, UpperError> {
        if let Some(last) = &self.last
            && last.path() == parent
        {
            return Ok(Arc::clone(last));
        }
        if self.upper.tree().lookup(parent)?.is_none() {
            self.check_links(name)?;
        }
        let dir = self.upper.make_dirs(parent, 0o755, None)?.0;
        self.last = Some(Arc::clone(&dir));
        Ok(dir)
    }

    /// Refuses an entry below a link that leads nowhere: no directory is made through it.
    fn check_links(&self, name: &Path) -> Result<(), UpperError> {
        for link in name.ancestors().skip(1) {
            let here = self.locate(link)?;
            let node = self.upper.tree().lookup(&here)?;
            if !node.is_some_and(|node| node.kind.is_symlink()) {
                continue;
            }
            let root: Box<dyn Dir> = self.upper.tree().open_dir(self.root)?;
            let target = resolve_below(root, &clean_absolute(link), true)?;
            if self.upper.tree().lookup(&target)?.is_none() {
                return Err(ArchiveError::DanglingParent {
                    archive: self.archive.to_owned(),
                    name: name.to_owned(),
                    link: link.to_owned(),
                }
                .into());
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        header: &Header,
        data: &mut dyn Read,
        dir: &Arc<WriteDir>,
        name: &OsStr,
        dir_exists: bool,
    ) -> Result<(), UpperError> {
        match header.kind {
            EntryType::Directory => {
                // What was below may have been opened for writing.
                self.last = Some(Arc::clone(dir));
                if !dir_exists {
                    dir.create_dir(name)?;
                } else {
                    dir.child(name)?.ensure()?;
                }
                Ok(())
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.write_file(data, dir, name)
            }
            EntryType::Symlink => {
                let fd = dir.clear_slot(name)?;
                rustix::fs::symlinkat(&header.link, &*fd, name)
                    .map_err(|err| dir.error("create link", name, err))
            }
            EntryType::Link => self.hard_link(header, dir, name),
            EntryType::Char => make_node(header, dir, name, FileKind::CharDevice),
            EntryType::Block => make_node(header, dir, name, FileKind::BlockDevice),
            EntryType::Fifo => make_node(header, dir, name, FileKind::Fifo),
            other => {
                let text = format!("unknown entry type {:#04x}", other.as_byte());
                Err(self.damaged(io::Error::new(io::ErrorKind::InvalidData, text)))
            }
        }
    }

    fn write_file(&self, data: &mut dyn Read, dir: &WriteDir, name: &OsStr) -> Result<(), UpperError> {
        let fd = dir.clear_slot(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|err| dir.error("create", name, err))?;
        let mut file = File::from(file);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = data.read(&mut buffer).map_err(|err| self.damaged(err))?;
            if read == 0 {
                return Ok(());
            }
            file.write_all(&buffer[..read])
                .map_err(|err| dir.error("write", name, err))?;
        }
    }

    fn hard_link(&mut self, header: &Header, dir: &WriteDir, name: &OsStr) -> Result<(), UpperError> {
        let target = self.locate(Path::new(&header.link))?;
        let missing = || ArchiveError::MissingLinkTarget {
            archive: self.archive.to_owned(),
            name: header.name.clone(),
            target: PathBuf::from(&header.link),
        };
        let (Some(parent), Some(target_name)) = (target.parent(), target.file_name()) else {
            return Err(missing().into());
        };
        let from = match self.upper.write_dir(parent) {
            Ok(from) => from,
            Err(UpperError::Tree(err)) if err.is_not_found() => return Err(missing().into()),
            Err(err) => return Err(err),
        };
        match from.existing(target_name)? {
            None => return Err(missing().into()),
            Some(existing) if existing.node.kind.is_dir() => return Err(missing().into()),
            Some(existing) if !existing.in_upper => {
                let merged = self.upper.tree().open_dir(parent)?;
                from.copy_up(target_name, merged.as_ref())?;
            }
            Some(_) => {}
        }
        let from_fd = from.ensure()?;
        let to_fd = dir.clear_slot(name)?;
        rustix::fs::linkat(&*from_fd, target_name, &*to_fd, name, AtFlags::empty())
            .map_err(|err| dir.error("link", name, err))
    }

    /// Owner, attributes, mode and times.
    fn finish(
        &mut self,
        header: &Header,
        dir: &Arc<WriteDir>,
        name: &OsStr,
        path: &Path,
    ) -> Result<(), UpperError> {
        let node = dir.existing(name)?.map(|existing| existing.node);
        let is_symlink = node.is_some_and(|node| node.kind.is_symlink());
        let mut meta = Metadata {
            owner: self.spec.owner.unwrap_or(header.owner),
            mode: (!is_symlink).then_some(header.mode),
            mtime: Some(header.mtime),
        };
        if header.kind.is_dir() {
            self.dirs.push((path.to_owned(), header.mtime));
            meta.mtime = None;
        }
        dir.set_metadata(name, &meta)?;
        dir.set_xattrs(name, &header.xattrs)?;
        Ok(())
    }
}

/// Whether an entry is a device that a user namespace refuses to everybody; 0:0 is one that overlayfs refuses.
fn is_device(header: &Header) -> bool {
    matches!(header.kind, EntryType::Char | EntryType::Block) && header.rdev != 0
}

fn make_node(header: &Header, dir: &WriteDir, name: &OsStr, kind: FileKind) -> Result<(), UpperError> {
    if kind == FileKind::CharDevice && header.rdev == 0 {
        // A whiteout in the layer; overlayfs refuses it too.
        return Err(dir.error("create device", name, Errno::PERM));
    }
    let fd = dir.clear_slot(name)?;
    dir.options()
        .ownership
        .mknod(fd.as_fd(), name, kind, header.mode, header.rdev)
        .map_err(|err| dir.error("create device", name, err))
}

fn read_header<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Header> {
    let raw = entry.path_bytes().into_owned();
    let link = entry.link_name_bytes().map(|link| link.into_owned());
    let head = entry.header();
    let mut kind = head.entry_type();
    if kind.is_file() && raw.ends_with(b"/") {
        // The oldest format has no type for directories.
        kind = EntryType::Directory;
    }
    let id = |id: u64| u32::try_from(id).map_err(io::Error::other);
    let major = head.device_major().ok().flatten().unwrap_or(0);
    let minor = head.device_minor().ok().flatten().unwrap_or(0);
    let device = matches!(kind, EntryType::Char | EntryType::Block);
    let mut header = Header {
        name: clean_absolute(Path::new(OsStr::from_bytes(&raw))),
        kind,
        link: OsString::from_vec(link.unwrap_or_default()),
        mode: head.mode()? & 0o7777,
        owner: Owner {
            uid: id(head.uid()?)?,
            gid: id(head.gid()?)?,
        },
        mtime: Timestamp {
            // What does not fit counts as 1970, as do times before it.
            secs: i64::try_from(head.mtime()?).unwrap_or(0),
            nanos: 0,
        },
        rdev: if device {
            rustix::fs::makedev(major, minor)
        } else {
            0
        },
        xattrs: Xattrs::new(),
    };
    if let Some(records) = entry.pax_extensions()? {
        for record in records {
            let record = record?;
            let value = record.value_bytes();
            match record.key_bytes() {
                b"uid" => header.owner.uid = number(value, header.owner.uid),
                b"gid" => header.owner.gid = number(value, header.owner.gid),
                b"mtime" => header.mtime = pax_time(value).unwrap_or(header.mtime),
                key => {
                    if let Some(attr) = key.strip_prefix(b"SCHILY.xattr.") {
                        let attr = OsStr::from_bytes(attr).to_owned();
                        header.xattrs.push((attr, value.to_vec()));
                    }
                }
            }
        }
    }
    Ok(header)
}

fn number(value: &[u8], default: u32) -> u32 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// A PAX time: decimal seconds with a fraction of any length.
fn pax_time(value: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if secs < 0 || whole.starts_with('-') {
        return Some(Timestamp::default());
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(Timestamp {
        secs,
        nanos: digits.parse().ok()?,
    })
}
