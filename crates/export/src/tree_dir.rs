//! A merged file tree as a directory of the user (`-o type=local`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use distil_layer::LinkGroups;
use distil_rootfs::{Dir, Entry, FileKind, Node, Timestamp, Tree, Xattrs, copy_with_holes};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::ExportError;
use crate::error::write_error;
use crate::tree_tar::LinkTargets;

/// How a tree is written out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// Keep owners, set-user-id bits and devices. Without it all files are the user's, and those bits go: they
    /// would let others act as that user.
    pub keep_owners: bool,
    /// Every time becomes this, in seconds since 1970.
    pub epoch: Option<i64>,
}

/// What could not be kept. Paths have no leading `/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectoryReport {
    /// Files and directories that were written.
    pub files: u64,
    /// How many of them have another owner than in the image.
    pub other_owner: u64,
    /// Devices that were left out.
    pub skipped_devices: Vec<PathBuf>,
}

/// Writes a tree into a directory, which is made if it is not there. What is there under the same names is replaced,
/// everything else stays. No symbolic link is followed.
///
/// # Errors
/// When the tree cannot be read or something cannot be written; what was written until then stays.
pub fn write_directory(
    tree: &dyn Tree,
    links: &LinkGroups,
    options: DirectoryOptions,
    target: &Path,
) -> Result<DirectoryReport, ExportError> {
    fs::create_dir_all(target).map_err(write_error(target.display().to_string()))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(target, flags, Mode::empty())
        .map_err(|errno| write_error(target.display().to_string())(errno.into()))?;
    let mut job = Job {
        root: target,
        options,
        links: LinkTargets::new(links),
        report: DirectoryReport::default(),
        path: PathBuf::new(),
    };
    job.directory(&*tree.root()?, &root)?;
    Ok(job.report)
}

struct Job<'j> {
    root: &'j Path,
    options: DirectoryOptions,
    links: LinkTargets<'j>,
    report: DirectoryReport,
    path: PathBuf,
}

impl Job<'_> {
    fn failed<E: Into<io::Error>>(&self) -> impl FnOnce(E) -> ExportError + use<E> {
        let what = self.root.join(&self.path).display().to_string();
        move |error| ExportError::Write {
            what,
            source: error.into(),
        }
    }

    fn directory(&mut self, source: &dyn Dir, target: &OwnedFd) -> Result<(), ExportError> {
        for mut entry in source.entries()? {
            if let Some(epoch) = self.options.epoch {
                entry.node.mtime = Timestamp {
                    secs: epoch,
                    nanos: 0,
                };
            }
            self.path.push(&entry.name);
            self.entry(source, target, &entry)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, source: &dyn Dir, target: &OwnedFd, entry: &Entry) -> Result<(), ExportError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        match node.kind {
            FileKind::Dir => self.subdirectory(source, target, entry)?,
            FileKind::File => {
                self.clear(target, name)?;
                if let Some(first) = self.links.target(&self.path, entry) {
                    // Made by this very job: no name on the way is a link.
                    let first = self.root.join(first);
                    rustix::fs::linkat(CWD, first, target, name, AtFlags::empty()).map_err(self.failed())?;
                    return Ok(());
                }
                self.file(source, target, entry)?;
            }
            FileKind::Symlink => {
                self.clear(target, name)?;
                let link = source.read_link(name)?;
                rustix::fs::symlinkat(link.as_os_str(), target, name).map_err(self.failed())?;
                self.owner(target, name, node)?;
                self.time(target, name, node)?;
            }
            FileKind::Socket => return Ok(()),
            FileKind::CharDevice | FileKind::BlockDevice if !self.options.keep_owners => {
                self.report.skipped_devices.push(self.path.clone());
                return Ok(());
            }
            kind => self.special(target, name, node, kind)?,
        }
        self.report.files += 1;
        Ok(())
    }

    fn special(
        &mut self,
        target: &OwnedFd,
        name: &OsStr,
        node: &Node,
        kind: FileKind,
    ) -> Result<(), ExportError> {
        self.clear(target, name)?;
        let file_type = match kind {
            FileKind::CharDevice => FileType::CharacterDevice,
            FileKind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        rustix::fs::mknodat(target, name, file_type, Mode::RUSR | Mode::WUSR, node.rdev)
            .map_err(self.failed())?;
        self.owner(target, name, node)?;
        rustix::fs::chmodat(target, name, self.mode(node), AtFlags::empty()).map_err(self.failed())?;
        self.time(target, name, node)
    }

    fn subdirectory(&mut self, source: &dyn Dir, target: &OwnedFd, entry: &Entry) -> Result<(), ExportError> {
        let name = entry.name.as_os_str();
        let child = source.open_dir(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(target, name, flags, Mode::empty());
        let fd = match rustix::fs::mkdirat(target, name, Mode::RWXU) {
            Ok(()) => open().map_err(self.failed())?,
            Err(Errno::EXIST) => match open() {
                Ok(fd) => fd,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    self.clear(target, name)?;
                    rustix::fs::mkdirat(target, name, Mode::RWXU).map_err(self.failed())?;
                    open().map_err(self.failed())?
                }
                Err(errno) => return Err(self.failed()(errno)),
            },
            Err(errno) => return Err(self.failed()(errno)),
        };
        // A directory that was there, or is meant to be read-only, must take its files first.
        rustix::fs::fchmod(&fd, Mode::RWXU).map_err(self.failed())?;
        self.directory(&*child, &fd)?;
        self.owner(target, name, &entry.node)?;
        rustix::fs::fchmod(&fd, self.mode(&entry.node)).map_err(self.failed())?;
        set_xattrs(&fd, &child.own_xattrs()?);
        rustix::fs::futimens(&fd, &times(&entry.node)).map_err(self.failed())
    }

    fn file(&mut self, source: &dyn Dir, target: &OwnedFd, entry: &Entry) -> Result<(), ExportError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.failed())?;
        let (from, to) = (source.open_file(name)?, File::from(fd));
        if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
            copy_with_holes(&from, &to).map_err(self.failed())?;
        }
        self.owner(target, name, node)?;
        rustix::fs::fchmod(&to, self.mode(node)).map_err(self.failed())?;
        set_xattrs(&to, &source.xattrs(name)?);
        rustix::fs::futimens(&to, &times(node)).map_err(self.failed())
    }

    /// Takes away what is there under a name.
    fn clear(&self, target: &OwnedFd, name: &OsStr) -> Result<(), ExportError> {
        match rustix::fs::unlinkat(target, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // Does not follow links either.
            Err(Errno::ISDIR) => fs::remove_dir_all(self.root.join(&self.path)).map_err(self.failed()),
            Err(errno) => Err(self.failed()(errno)),
        }
    }

    fn owner(&mut self, target: &OwnedFd, name: &OsStr, node: &Node) -> Result<(), ExportError> {
        if !self.options.keep_owners {
            self.report.other_owner += u64::from(node.uid != 0 || node.gid != 0);
            return Ok(());
        }
        let (uid, gid) = (
            rustix::fs::Uid::from_raw(node.uid),
            rustix::fs::Gid::from_raw(node.gid),
        );
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(target, name, Some(uid), Some(gid), flags).map_err(self.failed())
    }

    fn mode(&self, node: &Node) -> Mode {
        let mode = Mode::from_raw_mode(node.mode & 0o7777);
        let acts_as_owner = !node.kind.is_dir() && !self.options.keep_owners;
        if acts_as_owner {
            mode - Mode::SUID - Mode::SGID
        } else {
            mode
        }
    }

    fn time(&self, target: &OwnedFd, name: &OsStr, node: &Node) -> Result<(), ExportError> {
        rustix::fs::utimensat(target, name, &times(node), AtFlags::SYMLINK_NOFOLLOW).map_err(self.failed())
    }
}

/// A file system that does not take an attribute loses it, as in BuildKit.
fn set_xattrs(fd: impl AsFd, xattrs: &Xattrs) {
    for (name, value) in xattrs {
        let _: Result<(), Errno> = rustix::fs::fsetxattr(&fd, name.as_os_str(), value, XattrFlags::empty());
    }
}

fn times(node: &Node) -> Timestamps {
    let time = Timespec {
        tv_sec: node.mtime.secs,
        tv_nsec: node.mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
