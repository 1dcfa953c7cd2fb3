//! A full copy of a merged tree, for kernels that mount no overlay.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use distil_rootfs::{Dir, Entry, FileKind, Node, Ownership, Tree, Xattrs};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{at, chown_at, io_at};
use crate::settle::MAX_DEPTH;
use crate::{LayerError, LinkGroups};

/// Copies all of `tree` into the empty directory `target`: contents (shared where the
/// filesystem can), owners, modes, times, attributes, devices and the hard links in `links`.
pub fn copy_tree(
    tree: &dyn Tree,
    links: &LinkGroups,
    target: &Path,
    ownership: &dyn Ownership,
) -> Result<(), LayerError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(target, flags, Mode::empty()).map_err(at("open", target))?;
    let source = tree.root()?;
    let mut copy = Copy {
        ownership,
        numbers: links.numbers(),
        linked: HashMap::new(),
        root: target.to_path_buf(),
        path: PathBuf::new(),
    };
    copy.directory(&*source, &fd, 0)?;
    let node = source.node();
    ownership
        .chown(CWD, target.as_os_str(), node.owner())
        .map_err(chown_at(node.owner(), target))?;
    ownership
        .chmod(CWD, target.as_os_str(), node.mode)
        .map_err(at("chmod", target))?;
    set_xattrs(&fd, &source.own_xattrs()?);
    rustix::fs::futimens(&fd, &times(&node)).map_err(at("set the time of", target))
}

struct Copy<'c> {
    ownership: &'c dyn Ownership,
    numbers: HashMap<&'c Path, usize>,
    /// First copy of a link group: (group, inode) to path, since a group's names may have been
    /// replaced one by one in upper layers.
    linked: HashMap<(usize, u64, u64), PathBuf>,
    root: PathBuf,
    path: PathBuf,
}

impl Copy<'_> {
    fn directory(&mut self, source: &dyn Dir, target: &OwnedFd, depth: usize) -> Result<(), LayerError> {
        if depth > MAX_DEPTH {
            return Err(LayerError::TooDeep {
                path: self.path.clone(),
                limit: MAX_DEPTH,
            });
        }
        for entry in source.entries()? {
            self.path.push(&entry.name);
            self.entry(source, target, &entry, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(
        &mut self,
        source: &dyn Dir,
        target: &OwnedFd,
        entry: &Entry,
        depth: usize,
    ) -> Result<(), LayerError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        match node.kind {
            FileKind::Dir => return self.subdirectory(source, target, entry, depth),
            FileKind::File => {
                if self.link(target, name, node)? {
                    return Ok(());
                }
                let file = self.file(source, target, name)?;
                self.owner_and_mode(target, name, node)?;
                set_xattrs(&file, &source.xattrs(name)?);
                return rustix::fs::futimens(&file, &times(node)).map_err(at("set the time of", &self.path));
            }
            FileKind::Symlink => {
                let link = source.read_link(name)?;
                rustix::fs::symlinkat(link.as_os_str(), target, name).map_err(at("create", &self.path))?;
                self.ownership
                    .chown(target.as_fd(), name, node.owner())
                    .map_err(chown_at(node.owner(), &self.path))?;
            }
            kind => {
                self.ownership
                    .mknod(target.as_fd(), name, kind, node.mode, node.rdev)
                    .map_err(at("create", &self.path))?;
                self.owner_and_mode(target, name, node)?;
            }
        }
        rustix::fs::utimensat(target, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(at("set the time of", &self.path))
    }

    fn subdirectory(
        &mut self,
        source: &dyn Dir,
        target: &OwnedFd,
        entry: &Entry,
        depth: usize,
    ) -> Result<(), LayerError> {
        let name = entry.name.as_os_str();
        rustix::fs::mkdirat(target, name, Mode::RWXU).map_err(at("create", &self.path))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(target, name, flags, Mode::empty()).map_err(at("open", &self.path))?;
        let child = source.open_dir(name)?;
        self.directory(&*child, &fd, depth + 1)?;
        self.owner_and_mode(target, name, &entry.node)?;
        set_xattrs(&fd, &child.own_xattrs()?);
        rustix::fs::futimens(&fd, &times(&entry.node)).map_err(at("set the time of", &self.path))
    }

    /// Links a name to the copy of another one of its group; false for the first.
    fn link(&mut self, target: &OwnedFd, name: &OsStr, node: &Node) -> Result<bool, LayerError> {
        let Some(number) = self.numbers.get(self.path.as_path()) else {
            return Ok(false);
        };
        let key = (*number, node.dev, node.ino);
        let Some(first) = self.linked.get(&key) else {
            self.linked.insert(key, self.path.clone());
            return Ok(false);
        };
        // Everything below the root is this copy's own: no name on the way can be a link.
        rustix::fs::linkat(CWD, self.root.join(first), target, name, AtFlags::empty())
            .map_err(at("link", &self.path))?;
        Ok(true)
    }

    fn file(&self, source: &dyn Dir, target: &OwnedFd, name: &OsStr) -> Result<File, LayerError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(at("create", &self.path))?;
        let (mut from, mut to) = (source.open_file(name)?, File::from(fd));
        if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
            std::io::copy(&mut from, &mut to).map_err(io_at("copy", &self.path))?;
        }
        Ok(to)
    }

    fn owner_and_mode(&self, target: &OwnedFd, name: &OsStr, node: &Node) -> Result<(), LayerError> {
        self.ownership
            .chown(target.as_fd(), name, node.owner())
            .map_err(chown_at(node.owner(), &self.path))?;
        self.ownership
            .chmod(target.as_fd(), name, node.mode)
            .map_err(at("chmod", &self.path))
    }
}

/// Sets attributes where the filesystem takes them; a refusal is no error, as in BuildKit.
pub(crate) fn set_xattrs(fd: impl AsFd, xattrs: &Xattrs) {
    for (name, value) in xattrs {
        let _: Result<(), Errno> =
            rustix::fs::fsetxattr(&fd, name.as_os_str(), value, rustix::fs::XattrFlags::empty());
    }
}

/// The modification time, for access time too.
pub(crate) fn times(node: &Node) -> Timestamps {
    let time = Timespec {
        tv_sec: node.mtime.secs,
        tv_nsec: node.mtime.nanos.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
