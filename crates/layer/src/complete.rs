//! Second half of unpacking: what depends on the layers below.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use distil_rootfs::{FileKind, Ownership, Tree};
use rustix::fs::{AtFlags, Mode, OFlags};

use crate::copy::{set_xattrs, times};
use crate::error::{at, chown_at, io_at};
use crate::target::Target;
use crate::unpack::{UnpackOptions, Unpacked};
use crate::{LayerError, LinkGroups};

/// Fits an unpacked layer onto the layers below, where [`Unpacked::needs_lower`] says so:
///
/// * a directory without an entry takes owner, mode, time and attributes of the one below;
/// * where a link is below, its contents move to where the link leads, as they would have been
///   written on a mounted image;
/// * hard links to files below become copies of them, linked to each other.
pub fn complete(
    dir: &Path,
    mut unpacked: Unpacked,
    lower: &dyn Tree,
    options: &UnpackOptions,
) -> Result<Unpacked, LayerError> {
    let mut job = Complete {
        target: Target::open(dir, options.opaque)?,
        lower,
        ownership: &*options.ownership,
        copies: Vec::new(),
    };
    let implied: Vec<PathBuf> = unpacked.implied.iter().cloned().collect();
    for path in implied {
        // Inside a directory that has moved: its contents were met there.
        if let Some(moved) = job.directory(&path)? {
            rename_prefix(&mut unpacked, &path, &moved);
        }
    }
    for (path, target) in std::mem::take(&mut unpacked.foreign_links) {
        job.foreign_link(&path, &target)?;
    }
    let copies = job.copies.into_iter().map(|(_, names)| names);
    unpacked.links = LinkGroups::new(unpacked.links.groups().iter().cloned().chain(copies));
    (unpacked.size, unpacked.inodes) = job.target.count()?;
    unpacked.implied.clear();
    Ok(unpacked)
}

struct Complete<'c> {
    target: Target,
    lower: &'c dyn Tree,
    ownership: &'c dyn Ownership,
    /// Files below that links led to, with the names that they have now in this layer.
    copies: Vec<(PathBuf, Vec<PathBuf>)>,
}

impl Complete<'_> {
    /// Handles a directory without an entry; the path that it moved to, if it did.
    fn directory(&mut self, path: &Path) -> Result<Option<PathBuf>, LayerError> {
        let absolute = Path::new("/").join(path);
        let Some(node) = self.lower.lookup(&absolute)? else {
            return Ok(None);
        };
        match node.kind {
            FileKind::Dir => {
                let xattrs = self.lower.xattrs(&absolute)?;
                self.target.set_directory(path, &node, &xattrs, self.ownership)?;
                Ok(None)
            }
            FileKind::Symlink => {
                let real = self.lower.resolve(&absolute)?;
                let real = real.strip_prefix("/").unwrap_or(&real).to_path_buf();
                if real.starts_with(path) || self.target.find_dir(path)?.is_none() {
                    return Ok(None);
                }
                self.move_contents(path, &real)?;
                Ok(Some(real))
            }
            _ => Ok(None),
        }
    }

    /// Moves what is in one directory of the layer into another, and removes it.
    fn move_contents(&mut self, from: &Path, to: &Path) -> Result<(), LayerError> {
        let below = Path::new("/").join(to);
        let existed = self.target.find_dir(to)?.is_some();
        let Some((target, _)) = self.target.make_dir_all(to)? else {
            return Err(LayerError::BadEntry {
                path: from.to_path_buf(),
                reason: "the link below it leads to something that is no directory",
            });
        };
        let Some((source, _)) = self.target.find_dir(from)? else {
            return Ok(());
        };
        for name in crate::target::child_names(source.as_fd()).map_err(at("read", from))? {
            let (old, new) = (from.join(&name), to.join(&name));
            match rustix::fs::renameat(&source, &*name, &target, &*name) {
                Ok(()) => {}
                // Both are directories.
                Err(rustix::io::Errno::NOTEMPTY | rustix::io::Errno::EXIST) => {
                    self.move_contents(&old, &new)?;
                }
                Err(errno) => return Err(at("move", &old)(errno)),
            }
        }
        self.target.remove_empty(from)?;
        if !existed && let Some(node) = self.lower.lookup(&below)?.filter(|node| node.kind.is_dir()) {
            let xattrs = self.lower.xattrs(&below)?;
            self.target.set_directory(to, &node, &xattrs, self.ownership)?;
        }
        Ok(())
    }

    fn foreign_link(&mut self, path: &Path, target: &Path) -> Result<(), LayerError> {
        let missing = || LayerError::BadEntry {
            path: path.to_path_buf(),
            reason: "it is a hard link to a file that does not exist",
        };
        let (parent, name) = self.target.parent_of(path)?;
        let path = parent.join(&name);
        let known = self.copies.iter().position(|(from, _)| from == target);
        if let Some(known) = known {
            let first = self.copies[known].1[0].clone();
            let found = self.target.find(&first)?.ok_or_else(missing)?;
            rustix::fs::linkat(
                &found.0,
                &found.1,
                self.target.parent_fd(),
                &*name,
                AtFlags::empty(),
            )
            .map_err(at("link", &path))?;
            self.copies[known].1.push(path);
            return Ok(());
        }
        self.copy(&Path::new("/").join(target), &path, &name, missing)?;
        self.copies.push((target.to_path_buf(), vec![path]));
        Ok(())
    }

    fn copy(
        &mut self,
        from: &Path,
        path: &Path,
        name: &OsString,
        missing: impl Fn() -> LayerError,
    ) -> Result<(), LayerError> {
        let from = self.lower.resolve_parent(from)?;
        let node = self.lower.lookup(&from)?.ok_or_else(&missing)?;
        let parent = self.target.parent_fd();
        match node.kind {
            FileKind::File => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(parent, &**name, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(at("create", path))?;
                let (mut source, mut file) = (self.lower.open(&from)?, File::from(fd));
                io::copy(&mut source, &mut file).map_err(io_at("copy", path))?;
                self.ownership
                    .chown(parent, name, node.owner())
                    .map_err(chown_at(node.owner(), path))?;
                self.ownership
                    .chmod(parent, name, node.mode)
                    .map_err(at("chmod", path))?;
                set_xattrs(&file, &self.lower.xattrs(&from)?);
                rustix::fs::futimens(&file, &times(&node)).map_err(at("set the time of", path))
            }
            FileKind::Symlink => {
                let link = self.lower.read_link(&from)?;
                rustix::fs::symlinkat(link.as_os_str(), parent, &**name).map_err(at("create", path))?;
                self.ownership
                    .chown(parent, OsStr::new(name), node.owner())
                    .map_err(chown_at(node.owner(), path))
            }
            _ => Err(missing()),
        }
    }
}

/// Puts recorded paths below `from` where they have moved.
fn rename_prefix(unpacked: &mut Unpacked, from: &Path, to: &Path) {
    let moved = |path: &Path| match path.strip_prefix(from) {
        Ok(rest) => to.join(rest),
        Err(_) => path.to_path_buf(),
    };
    let groups = unpacked.links.groups();
    unpacked.links = LinkGroups::new(
        groups
            .iter()
            .map(|group| group.iter().map(|path| moved(path)).collect()),
    );
    for (path, _) in &mut unpacked.foreign_links {
        *path = moved(path);
    }
}
