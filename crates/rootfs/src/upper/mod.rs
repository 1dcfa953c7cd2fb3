//! The writable top layer, without a mount.

mod parent_times;
mod specs;
#[cfg(test)]
mod tests;
mod write_dir;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::copy::{ChangeStream, CopyReport, CopySpec, resolve_wildcards};
use crate::node::{Owner, Xattrs};
use crate::ownership::{NativeOwnership, Ownership};
use crate::sys;
use crate::tree::{Dir, MergedTree, Tree, TreeError, clean_absolute};

pub(crate) use parent_times::ParentTimes;
pub use specs::{MkdirSpec, MkfileSpec, RmSpec, SymlinkSpec};
pub(crate) use write_dir::{Metadata, WriteDir, is_portable, remove_all, times};

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpperError {
    /// Reading the source or the tree below failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory is in the way of a file.
    #[error("cannot replace directory `{}` with a file", path.display())]
    ReplaceDirectory {
        /// Path in the destination.
        path: PathBuf,
    },
    /// A file is in the way of a directory.
    #[error("a directory is needed at `{}`, where something else is", path.display())]
    NotADirectory {
        /// Path in the destination.
        path: PathBuf,
    },
    /// A name exists already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// Path in the destination.
        path: PathBuf,
    },
    /// The root itself cannot be removed or replaced.
    #[error("`/` cannot be removed")]
    Root,
    /// No source path matched.
    #[error("`{source_path}` not found")]
    NoMatch {
        /// The pattern or path.
        source_path: String,
    },
    /// A source file changed while it was read.
    #[error("`{}` changed while it was copied: build again when nothing writes to it", path.display())]
    Changed {
        /// Path in the source.
        path: PathBuf,
    },
    /// An archive is damaged.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// The sink refused.
    #[error("cannot hash the layer: {0}")]
    Sink(#[source] io::Error),
    /// With [`crate::LinkSource::below`]: a name is of another kind now, or of one that only a copy of its own
    /// makes. The caller copies without it.
    #[error("`{}` cannot be added to the earlier layer", path.display())]
    NotBelow {
        /// Path in the destination.
        path: PathBuf,
    },
    /// [`CopySpec::cancel`] became true.
    #[error("cancelled")]
    Cancelled,
    /// The user namespace has no such id.
    #[error(
        "`{}` cannot belong to {}:{}: this user has no such id; widen its ranges in `/etc/subuid` and `/etc/subgid`, or build as root",
        path.display(), owner.uid, owner.gid
    )]
    NoSuchId {
        /// Path in the destination.
        path: PathBuf,
        /// Who it should belong to.
        owner: Owner,
    },
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path in the destination.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Which attribute marks a directory as opaque.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpaqueXattr {
    /// `trusted.overlay.opaque`: real root.
    #[default]
    Trusted,
    /// `user.overlay.opaque`: inside a user namespace (mount option `userxattr`).
    User,
}

/// How an [`Upper`] writes.
#[derive(Clone)]
pub struct UpperOptions {
    /// Attribute for opaque directories.
    pub opaque: OpaqueXattr,
    /// How owners and devices are written.
    pub ownership: Arc<dyn Ownership>,
}

impl Default for UpperOptions {
    fn default() -> Self {
        UpperOptions {
            opaque: OpaqueXattr::default(),
            ownership: Arc::new(NativeOwnership),
        }
    }
}

/// A writable layer directory on top of a [`MergedTree`]. What it writes is what overlayfs
/// would write for the same changes, so the layer is the directory. Times of directories
/// that only gain or lose names stay as they were.
///
/// As a [`Tree`] it shows lower layers and changes merged.
pub struct Upper {
    lower: MergedTree,
    merged: MergedTree,
    fd: Arc<OwnedFd>,
    dir: PathBuf,
    options: UpperOptions,
}

impl Upper {
    /// Opens the layer directory `dir` (may be filled already) on top of `lower`. The
    /// directory itself is the root of the image: an empty one takes mode, owner, times and
    /// attributes of the lower root, 0755 0:0 without one.
    pub fn open(lower: &MergedTree, dir: &Path, options: UpperOptions) -> Result<Upper, UpperError> {
        let fd = sys::open_host_dir(dir).map_err(|err| TreeError::io("open", dir, err))?;
        let fd = Arc::new(fd);
        let upper = Upper {
            lower: lower.clone(),
            merged: lower.with_top(dir, Arc::clone(&fd)),
            fd,
            dir: dir.to_owned(),
            options,
        };
        let names = sys::names(&*upper.fd).map_err(|err| TreeError::io("list", dir, err))?;
        if names.is_empty() {
            upper.adopt_root()?;
        }
        Ok(upper)
    }

    fn adopt_root(&self) -> Result<(), UpperError> {
        let error = |err: Errno| UpperError::Io {
            action: "prepare",
            path: self.dir.clone(),
            source: err.into(),
        };
        let root = self.lower.root_dir()?;
        let (owner, mode) = root.as_ref().map_or((Owner::default(), 0o755), |root| {
            (root.node().owner(), root.node().mode)
        });
        let ownership = &self.options.ownership;
        let here = OsStr::new(".");
        ownership.chown(self.fd.as_fd(), here, owner).map_err(error)?;
        ownership.chmod(self.fd.as_fd(), here, mode).map_err(error)?;
        if let Some(root) = root {
            let write = self.write_root()?;
            write.set_xattrs(here, &root.own_xattrs()?)?;
            write.set_mtime(root.node().mtime)?;
        }
        Ok(())
    }

    /// The layer directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tree as it is now, changes included.
    pub fn tree(&self) -> &MergedTree {
        &self.merged
    }

    /// The tree below the layer.
    pub fn lower(&self) -> &MergedTree {
        &self.lower
    }

    pub(crate) fn root_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn write_root(&self) -> Result<WriteDir, UpperError> {
        WriteDir::root(Arc::clone(&self.fd), &self.lower, &self.options)
    }

    /// Opens the existing directory `path`, in which no component is a link.
    pub(crate) fn write_dir(&self, path: &Path) -> Result<Arc<WriteDir>, UpperError> {
        let mut dir = Arc::new(self.write_root()?);
        for name in path.iter().skip(1) {
            dir = dir.child(name)?;
        }
        Ok(dir)
    }

    /// Opens `path`, in which no component is a link, and makes what is missing of it with
    /// `mode` and `owner` (else 0:0). Gives what it made, outermost first.
    pub(crate) fn make_dirs(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<(Arc<WriteDir>, Vec<Arc<WriteDir>>), UpperError> {
        let mut dir = Arc::new(self.write_root()?);
        let mut created = Vec::new();
        for name in path.iter().skip(1) {
            let existing = if dir.is_fresh() { None } else { dir.existing(name)? };
            dir = match existing {
                Some(existing) if existing.node.kind.is_dir() => dir.child(name)?,
                Some(_) => {
                    let path = dir.path().join(name);
                    return Err(UpperError::NotADirectory { path });
                }
                None => {
                    let made = dir.create_dir(name)?;
                    let meta = Metadata {
                        owner: owner.unwrap_or_default(),
                        mode: Some(mode & 0o777),
                        mtime: None,
                    };
                    dir.set_metadata(name, &meta)?;
                    created.push(Arc::clone(&made));
                    made
                }
            };
        }
        Ok((dir, created))
    }

    /// Makes a directory. One that exists already is left as it is.
    pub fn mkdir(&self, spec: &MkdirSpec) -> Result<(), UpperError> {
        let path = self.merged.resolve(&spec.path)?;
        let mut times = ParentTimes::default();
        times.record(self, &path)?;
        let created = if spec.make_parents {
            self.make_dirs(&path, spec.mode, spec.owner)?.1
        } else {
            if self.merged.lookup(&path)?.is_some() {
                return Ok(());
            }
            if let Some(parent) = path.parent() {
                self.write_dir(parent)?;
            }
            self.make_dirs(&path, spec.mode, spec.owner)?.1
        };
        if let Some(timestamp) = spec.timestamp {
            for dir in created.iter().rev() {
                dir.set_mtime(timestamp)?;
            }
        }
        times.restore(self, Path::new(""))
    }

    /// Splits a resolved path into its directory, which must exist, and the name in it.
    fn parent_of<'p>(&self, path: &'p Path) -> Result<(Arc<WriteDir>, &'p OsStr), UpperError> {
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.write_dir(parent)?, name)),
            _ => Err(UpperError::ReplaceDirectory {
                path: path.to_owned(),
            }),
        }
    }

    /// Writes a file, replacing the contents of an existing one.
    pub fn mkfile(&self, spec: &MkfileSpec) -> Result<(), UpperError> {
        let path = self.merged.resolve(&spec.path)?;
        let mut times = ParentTimes::default();
        times.record(self, &path)?;
        let (dir, name) = self.parent_of(&path)?;
        let old = dir.existing(name)?.map(|existing| existing.node);
        let (mut owner, mut mode) = (Owner::default(), spec.mode & 0o777);
        let mut xattrs = Xattrs::new();
        match old {
            Some(node) if node.kind.is_file() => {
                (owner, mode) = (node.owner(), node.mode);
                xattrs = self.merged.xattrs(&path)?;
                // Writing to a file drops its capabilities.
                xattrs.retain(|(attr, _)| attr != "security.capability");
            }
            Some(node) if node.kind.is_dir() => {
                return Err(UpperError::ReplaceDirectory { path });
            }
            // A device or pipe is replaced, never written to.
            _ => {}
        }
        // A new inode: the old one may be shared with another layer.
        let fd = dir.clear_slot(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*fd, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|err| dir.error("create", name, err))?;
        File::from(file)
            .write_all(&spec.data)
            .map_err(|err| dir.error("write", name, err))?;
        dir.set_xattrs(name, &xattrs)?;
        let meta = Metadata {
            owner: spec.owner.unwrap_or(owner),
            mode: Some(mode),
            mtime: spec.timestamp,
        };
        dir.set_metadata(name, &meta)?;
        times.restore(self, Path::new(""))
    }

    /// Removes a path and all below it.
    pub fn rm(&self, spec: &RmSpec) -> Result<(), UpperError> {
        let paths = if spec.allow_wildcard {
            resolve_wildcards(&self.merged, &spec.path, false)?
        } else {
            vec![clean_absolute(Path::new(&spec.path))]
        };
        for path in paths {
            self.rm_path(&path, spec.allow_not_found)?;
        }
        Ok(())
    }

    fn rm_path(&self, path: &Path, allow_not_found: bool) -> Result<(), UpperError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(UpperError::Root);
        };
        let parent = self.merged.resolve(parent)?;
        let target = parent.join(name);
        if self.merged.lookup(&target)?.is_none() {
            if allow_not_found {
                return Ok(());
            }
            return Err(TreeError::NotFound { path: target }.into());
        }
        let mut times = ParentTimes::default();
        times.record(self, &parent)?;
        self.write_dir(&parent)?.remove(name)?;
        times.restore(self, Path::new(""))
    }

    /// Makes a symbolic link; the name must be free.
    pub fn symlink(&self, spec: &SymlinkSpec) -> Result<(), UpperError> {
        let path = self.merged.resolve(&spec.path)?;
        let mut times = ParentTimes::default();
        times.record(self, &path)?;
        let (dir, name) = match self.parent_of(&path) {
            Err(UpperError::ReplaceDirectory { path }) => return Err(UpperError::Exists { path }),
            other => other?,
        };
        if dir.existing(name)?.is_some() {
            return Err(UpperError::Exists { path });
        }
        let fd = dir.clear_slot(name)?;
        rustix::fs::symlinkat(&spec.target, &*fd, name).map_err(|err| dir.error("create link", name, err))?;
        let meta = Metadata {
            owner: spec.owner.unwrap_or_default(),
            mode: None,
            mtime: spec.timestamp,
        };
        dir.set_metadata(name, &meta)?;
        times.restore(self, Path::new(""))
    }

    /// Copies from `source`, adding to `report`.
    pub fn copy(
        &self,
        source: &dyn Tree,
        spec: &CopySpec,
        report: &mut CopyReport,
    ) -> Result<(), UpperError> {
        crate::copy::copy(self, source, spec, report, None)
    }

    /// [`Upper::copy`] that tells `stream` what it writes, each byte as it is copied. [`CopyReport::told`] says
    /// whether it could tell everything; where it could not, the stream is given up and the copy is the same.
    ///
    /// It can for one source path without patterns, where nothing of what is copied was there before, and nothing
    /// of it is a device, pipe or socket, has several names or extended attributes, or comes from an earlier
    /// layer. The directories above are told too: the layer must be empty before.
    ///
    /// # Errors
    /// Those of the copy; telling fails none.
    pub fn copy_told(
        &self,
        source: &dyn Tree,
        spec: &CopySpec,
        report: &mut CopyReport,
        stream: &dyn ChangeStream,
    ) -> Result<(), UpperError> {
        crate::copy::copy(self, source, spec, report, Some(stream))
    }
}

impl Tree for Upper {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        self.merged.root()
    }
}
