//! The entries of one package, written one after the other.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use distil_rootfs::RootDir;
use md5::{Digest as _, Md5};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::{DirectoryEntry, Outcome, UnpackError, UnpackOptions};
use crate::deb::{Content, DataEntry, DebFile, EntryType, Meta};

/// Owner, mode and time, in the order that keeps set-id bits. `fd` may be `O_PATH`.
pub(super) fn apply_meta(fd: &OwnedFd, meta: &Meta) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
    rustix::fs::chownat(fd, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    // fchmod(2) refuses O_PATH; the descriptor's link in /proc leads to the same inode.
    let link = rustix::path::DecInt::from_fd(fd);
    let mut path = b"/proc/self/fd/".to_vec();
    path.extend_from_slice(link.as_bytes());
    rustix::fs::chmod(path.as_slice(), Mode::from_raw_mode(meta.mode))?;
    rustix::fs::utimensat(fd, "", &times(meta.mtime), AtFlags::EMPTY_PATH)
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

/// The place of one entry: its directory, opened, and its name in it.
struct Place {
    parent: Arc<OwnedFd>,
    name: OsString,
}

pub(super) struct Unpacker<'a> {
    root: &'a RootDir,
    options: &'a UnpackOptions<'a>,
    name: String,
    last_parent: Option<(PathBuf, Arc<OwnedFd>)>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(root: &'a RootDir, options: &'a UnpackOptions<'a>) -> Self {
        Unpacker {
            root,
            options,
            name: String::new(),
            last_parent: None,
        }
    }

    /// Unpacks a package; with `only`, nothing but that path, over what is there.
    pub(super) fn package(mut self, deb: &DebFile, only: Option<&Path>) -> Result<Outcome, UnpackError> {
        let control = deb.control()?;
        let mut outcome = Outcome::default();
        outcome.package.name = control.field("Package");
        self.name.clone_from(&outcome.package.name);
        let conffiles: BTreeSet<String> = control.conffiles().into_iter().collect();
        outcome.package.control = control;
        deb.each_entry(
            self.options.threads > 1,
            self.options.threads,
            |entry, content| {
                if self.options.cancel.load(Ordering::Relaxed) {
                    return Err(UnpackError::Cancelled);
                }
                self.entry(&entry, content, &conffiles, only, &mut outcome)
            },
        )?;
        Ok(outcome)
    }

    fn entry(
        &mut self,
        entry: &DataEntry,
        content: &mut Content<'_>,
        conffiles: &BTreeSet<String>,
        only: Option<&Path>,
        outcome: &mut Outcome,
    ) -> Result<(), UnpackError> {
        let path = absolute(&entry.path);
        outcome.package.list.push(listed(&path));
        let is_parent = matches!(entry.kind, EntryType::Directory | EntryType::Symlink);
        if self.options.filter.skips(path.as_os_str().as_bytes(), is_parent) {
            return Ok(());
        }
        let actual = self.merged(&path);
        match only {
            Some(only) if only != actual => return Ok(()),
            Some(_) => self.remove(&actual)?,
            None => {}
        }
        let meta = entry.meta;
        match entry.kind {
            EntryType::Directory => {
                if self.directory(&actual, &path)? {
                    outcome.directories.push(DirectoryEntry { path: actual, meta });
                }
            }
            EntryType::File => {
                let key = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
                let mut md5 = conffiles.contains(&key).then(Md5::new);
                let created = self.file(content, &actual, &meta, md5.as_mut())?;
                if let Some(md5) = md5 {
                    outcome.package.conffiles.insert(key, hex(&md5.finalize()));
                }
                record(outcome, actual, created);
            }
            EntryType::Symlink => {
                let target = PathBuf::from(OsString::from_vec(entry.link.clone()));
                let created = self.symlink(&target, &actual, &meta)?;
                record(outcome, actual, created);
            }
            EntryType::HardLink => {
                let created = self.hard_link(&absolute(&entry.link), &actual, &path)?;
                record(outcome, actual, created);
            }
        }
        Ok(())
    }

    fn refuse(&self, path: &Path, reason: &'static str) -> UnpackError {
        UnpackError::Refused {
            package: self.name.clone(),
            path: path.display().to_string(),
            reason,
        }
    }

    fn failed(&self, path: &Path, source: impl Into<io::Error>) -> UnpackError {
        UnpackError::Io {
            package: self.name.clone(),
            path: path.display().to_string(),
            source: source.into(),
        }
    }

    /// The path with a merged top directory replaced by where it leads.
    fn merged(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let top = relative.components().next().map(|one| one.as_os_str());
        let is_merged = self
            .options
            .merged_usr
            .iter()
            .any(|name| top == Some(OsStr::new(name)));
        if is_merged && relative.components().count() > 1 {
            Path::new("/usr").join(relative)
        } else {
            path.to_owned()
        }
    }

    /// Opens the directory of `path`, made with mode 0755 where it is missing.
    fn place(&mut self, path: &Path) -> Result<Place, UnpackError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(self.refuse(path, "the root is no file"));
        };
        let name = name.to_owned();
        if let Some((known, fd)) = &self.last_parent
            && known == parent
        {
            let parent = Arc::clone(fd);
            return Ok(Place { parent, name });
        }
        let fd = match self.root.open_path(parent) {
            Ok(fd) => fd,
            Err(error) if error.is_not_found() => {
                self.directory(parent, parent)?;
                self.root.open_path(parent)?
            }
            Err(error) => return Err(error.into()),
        };
        let fd = Arc::new(fd);
        self.last_parent = Some((parent.to_owned(), Arc::clone(&fd)));
        Ok(Place { parent: fd, name })
    }

    /// Makes a directory; `false` when a link stands in its place, which is kept.
    fn directory(&mut self, path: &Path, shown: &Path) -> Result<bool, UnpackError> {
        if path == Path::new("/") {
            return Ok(true);
        }
        let place = self.place(path)?;
        match rustix::fs::mkdirat(&place.parent, &place.name, Mode::from_raw_mode(0o755)) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => match self.root.lookup(path)? {
                Some(node) if node.kind.is_dir() => Ok(true),
                Some(node) if node.kind.is_symlink() => Ok(false),
                _ => Err(self.refuse(shown, "a file of another package stands in its place")),
            },
            Err(error) => Err(self.failed(shown, error)),
        }
    }

    fn remove(&mut self, path: &Path) -> Result<(), UnpackError> {
        let place = self.place(path)?;
        rustix::fs::unlinkat(&place.parent, &place.name, AtFlags::empty())
            .map_err(|error| self.failed(path, error))
    }

    /// Writes a file; `false` when there is one already.
    fn file(
        &mut self,
        content: &mut Content<'_>,
        path: &Path,
        meta: &Meta,
        mut md5: Option<&mut Md5>,
    ) -> Result<bool, UnpackError> {
        let place = self.place(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o600);
        let fd = match rustix::fs::openat(&place.parent, &place.name, flags, mode) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(error) => return Err(self.failed(path, error)),
        };
        let mut file = std::fs::File::from(fd);
        content.each_piece(|bytes| {
            if let Some(md5) = md5.as_deref_mut() {
                md5.update(bytes);
            }
            file.write_all(bytes).map_err(|error| self.failed(path, error))
        })?;
        let finish = || -> rustix::io::Result<()> {
            rustix::fs::fchown(
                &file,
                Some(Uid::from_raw(meta.uid)),
                Some(Gid::from_raw(meta.gid)),
            )?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(meta.mode))?;
            rustix::fs::futimens(&file, &times(meta.mtime))
        };
        finish().map_err(|error| self.failed(path, error))?;
        Ok(true)
    }

    fn symlink(&mut self, target: &Path, path: &Path, meta: &Meta) -> Result<bool, UnpackError> {
        let place = self.place(path)?;
        match rustix::fs::symlinkat(target.as_os_str(), &place.parent, &place.name) {
            Ok(()) => {}
            // A package may bring a link that was made for the merged tree.
            Err(rustix::io::Errno::EXIST) if self.is_merged_link(path, target) => {}
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            Err(error) => return Err(self.failed(path, error)),
        }
        let finish = || -> rustix::io::Result<()> {
            let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(&place.parent, &place.name, Some(uid), Some(gid), flags)?;
            rustix::fs::utimensat(&place.parent, &place.name, &times(meta.mtime), flags)
        };
        finish().map_err(|error| self.failed(path, error))?;
        Ok(true)
    }

    fn is_merged_link(&self, path: &Path, target: &Path) -> bool {
        let merged = |name: &&str| path == Path::new("/").join(name) && target == Path::new("usr").join(name);
        self.options.merged_usr.iter().any(merged)
    }

    fn hard_link(&mut self, target: &Path, path: &Path, shown: &Path) -> Result<bool, UnpackError> {
        if self.options.filter.skips(target.as_os_str().as_bytes(), false) {
            return Err(self.refuse(shown, "it is a hard link to a file that is excluded"));
        }
        let target = self.merged(target);
        let from = self.place(&target)?;
        let to = self.place(path)?;
        let flags = AtFlags::empty();
        match rustix::fs::linkat(&from.parent, &from.name, &to.parent, &to.name, flags) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed(shown, error)),
        }
    }
}

/// The path of an entry in the file tree of an image.
fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

fn record(outcome: &mut Outcome, path: PathBuf, created: bool) {
    if created {
        outcome.created.push(path);
    } else {
        outcome.collisions.push(path);
    }
}

/// A path as dpkg lists it: the root is `/.`.
fn listed(path: &Path) -> Vec<u8> {
    if path == Path::new("/") {
        return b"/.".to_vec();
    }
    path.as_os_str().as_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
