//! One directory of the writable layer, copied up only when something is written to it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use super::{OpaqueXattr, UpperError, UpperOptions};
use crate::node::{FileKind, Node, Owner, Timestamp, Xattrs};
use crate::sys;
use crate::tree::{Dir, MergedDir, MergedTree, TreeError};

/// A directory of the merged view that may be written to.
pub(crate) struct WriteDir {
    path: PathBuf,
    options: UpperOptions,
    parent: Option<(Arc<WriteDir>, OsString)>,
    /// The directory in the layer, once it is there.
    fd: Mutex<Option<Arc<OwnedFd>>>,
    /// What lower layers have here; `None` when they have nothing or are hidden.
    lower: Option<MergedDir>,
    /// Made by this operation: nothing is in it that the operation did not put there.
    fresh: bool,
    /// Files made in it inherit its group.
    setgid: bool,
    /// Given back when the operation is done, so that adding a name to a directory of a
    /// lower layer does not date it.
    mtime: Option<Timestamp>,
}

/// What a name is at present.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Existing {
    pub(crate) node: Node,
    /// Whether the layer itself has it (else a lower one).
    pub(crate) in_upper: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl WriteDir {
    /// The root of a layer.
    pub(crate) fn root(
        fd: Arc<OwnedFd>,
        lower: &MergedTree,
        options: &UpperOptions,
    ) -> Result<WriteDir, UpperError> {
        let path = PathBuf::from("/");
        let node = sys::stat_fd(&*fd).map_err(|err| TreeError::io("stat", &path, err))?;
        Ok(WriteDir {
            path,
            options: options.clone(),
            parent: None,
            fd: Mutex::new(Some(fd)),
            lower: lower.root_dir()?,
            fresh: false,
            setgid: node.mode & libc::S_ISGID != 0,
            mtime: Some(node.mtime),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing but what this operation wrote can be in it.
    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    pub(crate) fn error(&self, action: &'static str, name: &OsStr, err: impl Into<io::Error>) -> UpperError {
        UpperError::Io {
            action,
            path: self.path.join(name),
            source: err.into(),
        }
    }

    /// The directories from below the root to this one.
    pub(crate) fn from_root(self: &Arc<Self>) -> Vec<Arc<WriteDir>> {
        let mut dirs = Vec::new();
        let mut dir = self;
        while let Some((parent, _)) = &dir.parent {
            dirs.push(Arc::clone(dir));
            dir = parent;
        }
        dirs.reverse();
        dirs
    }

    /// Metadata and attributes that the directory has in the layer, into which it is brought if need be.
    pub(crate) fn in_layer(&self) -> Result<(Node, Xattrs), UpperError> {
        let fd = self.ensure()?;
        let error = |err| self.error("stat", OsStr::new(""), err);
        let node = sys::stat_fd(&*fd).map_err(error)?;
        Ok((node, sys::xattrs_fd(&*fd).map_err(error)?))
    }

    fn upper_fd(&self) -> Option<Arc<OwnedFd>> {
        lock(&self.fd).clone()
    }

    /// What `name` is now.
    pub(crate) fn existing(&self, name: &OsStr) -> Result<Option<Existing>, UpperError> {
        if let Some(fd) = self.upper_fd() {
            let found = sys::stat_at(&*fd, name).map_err(|err| self.error("stat", name, err))?;
            match found {
                Some(node) if node.is_whiteout() => return Ok(None),
                Some(node) => {
                    return Ok(Some(Existing { node, in_upper: true }));
                }
                None => {}
            }
        }
        let node = self.in_lower(name)?;
        Ok(node.map(|node| Existing {
            node,
            in_upper: false,
        }))
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> Result<bool, UpperError> {
        if self.fresh {
            return Ok(true);
        }
        if let Some(fd) = self.upper_fd()
            && !sys::names(&*fd)
                .map_err(|err| TreeError::io("list", &self.path, err))?
                .is_empty()
        {
            return Ok(false);
        }
        Ok(match &self.lower {
            Some(lower) => lower.entries()?.is_empty(),
            None => true,
        })
    }

    /// Metadata and attributes that the directory has in the layers below.
    pub(crate) fn in_lower_layers(&self) -> Result<(Node, Xattrs), UpperError> {
        match &self.lower {
            Some(lower) => Ok((lower.node(), lower.own_xattrs()?)),
            None => Err(self.not_below(OsStr::new(""))),
        }
    }

    /// Target and attributes of a link of the layers below.
    pub(crate) fn lower_link(&self, name: &OsStr) -> Result<(OsString, Xattrs), UpperError> {
        match &self.lower {
            Some(lower) => Ok((lower.read_link(name)?, lower.xattrs(name)?)),
            None => Err(self.not_below(name)),
        }
    }

    pub(crate) fn not_below(&self, name: &OsStr) -> UpperError {
        let path = self.path.join(name);
        UpperError::NotBelow { path }
    }

    fn in_lower(&self, name: &OsStr) -> Result<Option<Node>, UpperError> {
        match &self.lower {
            Some(lower) => Ok(lower.lookup(name)?),
            None => Ok(None),
        }
    }

    /// Opens an existing directory below this one.
    pub(crate) fn child(self: &Arc<Self>, name: &OsStr) -> Result<Arc<WriteDir>, UpperError> {
        let mut fd = None;
        if let Some(upper) = self.upper_fd() {
            match sys::open_dir_at(&*upper, name) {
                Ok(found) => fd = Some(found),
                Err(Errno::NOENT) => {}
                Err(err) => return Err(TreeError::io("open", &self.path.join(name), err).into()),
            }
        }
        let hidden = fd.as_ref().is_some_and(sys::is_opaque);
        let lower = match &self.lower {
            Some(lower) if !hidden => match lower.descend(name) {
                Ok(dir) => Some(dir),
                Err(err) if err.is_not_found() => None,
                Err(err) => return Err(err.into()),
            },
            _ => None,
        };
        let path = self.path.join(name);
        let node = match (&fd, &lower) {
            (Some(fd), _) => sys::stat_fd(fd).map_err(|err| TreeError::io("stat", &path, err))?,
            (None, Some(lower)) => lower.node(),
            (None, None) => return Err(TreeError::NotFound { path }.into()),
        };
        Ok(Arc::new(WriteDir {
            path,
            options: self.options.clone(),
            parent: Some((Arc::clone(self), name.to_owned())),
            fd: Mutex::new(fd.map(Arc::new)),
            lower,
            fresh: false,
            setgid: node.mode & libc::S_ISGID != 0,
            mtime: Some(node.mtime),
        }))
    }

    /// The directory in the layer; copied up with its metadata when it is not there yet.
    pub(crate) fn ensure(&self) -> Result<Arc<OwnedFd>, UpperError> {
        let mut slot = lock(&self.fd);
        if let Some(fd) = &*slot {
            return Ok(Arc::clone(fd));
        }
        let (Some((parent, name)), Some(lower)) = (&self.parent, &self.lower) else {
            // A root always has its descriptor, and without one there is a lower directory.
            let path = self.path.clone();
            return Err(TreeError::NotFound { path }.into());
        };
        let parent_fd = parent.ensure()?;
        let fd = make_dir(&parent_fd, name).map_err(|err| parent.error("create", name, err))?;
        let node = lower.node();
        let meta = Metadata {
            owner: node.owner(),
            mode: Some(node.mode),
            mtime: None,
        };
        parent.set_metadata(name, &meta)?;
        parent.set_xattrs(name, &lower.own_xattrs()?)?;
        let fd = Arc::new(fd);
        *slot = Some(Arc::clone(&fd));
        Ok(fd)
    }

    /// Gives the directory the modification time that it had before this operation, if the
    /// layer has it.
    pub(crate) fn restore_mtime(&self) -> Result<(), UpperError> {
        self.mtime.map_or(Ok(()), |mtime| self.date_if_written(mtime))
    }

    /// Sets the modification time of the directory if the layer has it.
    pub(crate) fn date_if_written(&self, mtime: Timestamp) -> Result<(), UpperError> {
        match self.upper_fd() {
            Some(fd) => {
                set_own_mtime(&fd, mtime).map_err(|err| self.error("set times of", OsStr::new(""), err))
            }
            None => Ok(()),
        }
    }

    /// Sets the modification time of the directory itself.
    pub(crate) fn set_mtime(&self, mtime: Timestamp) -> Result<(), UpperError> {
        let fd = self.ensure()?;
        set_own_mtime(&fd, mtime).map_err(|err| self.error("set times of", OsStr::new(""), err))
    }

    /// Makes a directory where nothing is visible. Its owner is the process's and its mode
    /// 0700 until [`WriteDir::set_metadata`].
    pub(crate) fn create_dir(self: &Arc<Self>, name: &OsStr) -> Result<Arc<WriteDir>, UpperError> {
        let parent = self.ensure()?;
        if !self.fresh {
            self.unlink_whiteout(&parent, name)?;
        }
        let fd = make_dir(&parent, name).map_err(|err| self.error("create", name, err))?;
        if self.in_lower(name)?.is_some() {
            let attr = match self.options.opaque {
                OpaqueXattr::Trusted => c"trusted.overlay.opaque",
                OpaqueXattr::User => c"user.overlay.opaque",
            };
            rustix::fs::fsetxattr(&fd, attr, b"y", XattrFlags::empty())
                .map_err(|err| self.error("mark as opaque", name, err))?;
        }
        Ok(Arc::new(WriteDir {
            path: self.path.join(name),
            options: self.options.clone(),
            parent: Some((Arc::clone(self), name.to_owned())),
            fd: Mutex::new(Some(Arc::new(fd))),
            lower: None,
            fresh: true,
            setgid: false,
            mtime: None,
        }))
    }

    /// Makes `name` free for a file to be created, hiding whatever it was, and returns the
    /// directory. Directories must have been removed before.
    pub(crate) fn clear_slot(&self, name: &OsStr) -> Result<Arc<OwnedFd>, UpperError> {
        let fd = self.ensure()?;
        if !self.fresh {
            match rustix::fs::unlinkat(&*fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(err) => return Err(self.error("replace", name, err)),
            }
        }
        Ok(fd)
    }

    /// Brings a file of a lower layer into this one as it is, so that it can be linked.
    /// `merged` is this directory as it is read.
    pub(crate) fn copy_up(&self, name: &OsStr, merged: &dyn Dir) -> Result<(), UpperError> {
        let Some(node) = merged.lookup(name)? else {
            let path = self.path.join(name);
            return Err(TreeError::NotFound { path }.into());
        };
        let xattrs = merged.xattrs(name)?;
        let fd = self.ensure()?;
        let created = match node.kind {
            FileKind::File => {
                let mut from = merged.open_file(name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let to = rustix::fs::openat(&*fd, name, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(|err| self.error("copy up", name, err))?;
                io::copy(&mut from, &mut File::from(to)).map_err(|err| self.error("copy up", name, err))?;
                Ok(())
            }
            FileKind::Symlink => rustix::fs::symlinkat(merged.read_link(name)?, &*fd, name),
            kind => {
                let ownership = &self.options.ownership;
                ownership.mknod(fd.as_fd(), name, kind, node.mode, node.rdev)
            }
        };
        created.map_err(|err| self.error("copy up", name, err))?;
        let meta = Metadata {
            owner: node.owner(),
            mode: (!node.kind.is_symlink()).then_some(node.mode),
            mtime: Some(node.mtime),
        };
        self.set_metadata(name, &meta)?;
        self.set_xattrs(name, &xattrs)
    }

    fn unlink_whiteout(&self, fd: &OwnedFd, name: &OsStr) -> Result<(), UpperError> {
        let found = sys::stat_at(fd, name).map_err(|err| self.error("stat", name, err))?;
        if found.is_some_and(|node| node.is_whiteout()) {
            rustix::fs::unlinkat(fd, name, AtFlags::empty())
                .map_err(|err| self.error("replace", name, err))?;
        }
        Ok(())
    }

    /// Removes a name and all below it; a whiteout stays when a lower layer has it.
    pub(crate) fn remove(&self, name: &OsStr) -> Result<(), UpperError> {
        let in_lower = self.in_lower(name)?.is_some();
        if let Some(fd) = self.upper_fd() {
            remove_all(&fd, name).map_err(|err| self.error("remove", name, err))?;
        }
        if in_lower {
            let fd = self.ensure()?;
            self.options
                .ownership
                .mknod(fd.as_fd(), name, FileKind::CharDevice, 0, 0)
                .map_err(|err| self.error("hide", name, err))?;
        }
        Ok(())
    }

    /// Owner, then mode, then times of a name that this operation made or copied up.
    pub(crate) fn set_metadata(&self, name: &OsStr, meta: &Metadata) -> Result<(), UpperError> {
        let fd = self.ensure()?;
        let ownership = &self.options.ownership;
        let dir: BorrowedFd<'_> = fd.as_fd();
        ownership.chown(dir, name, meta.owner).map_err(|err| match err {
            // What the kernel says of ids outside the map of the user namespace.
            Errno::INVAL => UpperError::NoSuchId {
                path: self.path.join(name),
                owner: meta.owner,
            },
            err => self.error("change the owner of", name, err),
        })?;
        if let Some(mode) = meta.mode {
            ownership
                .chmod(dir, name, mode)
                .map_err(|err| self.error("change the mode of", name, err))?;
        }
        if let Some(mtime) = meta.mtime {
            self.set_times(dir, name, mtime)?;
        }
        Ok(())
    }

    fn set_times(&self, dir: BorrowedFd<'_>, name: &OsStr, mtime: Timestamp) -> Result<(), UpperError> {
        rustix::fs::utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|err| self.error("set times of", name, err))
    }

    /// Whether a new regular file already has this owner.
    pub(crate) fn creates_with(&self, owner: Owner) -> bool {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        !self.setgid && owner == Owner { uid, gid }
    }

    pub(crate) fn options(&self) -> &UpperOptions {
        &self.options
    }

    /// [`WriteDir::set_metadata`] of the directory itself. A root keeps its metadata.
    pub(crate) fn set_own_metadata(&self, meta: &Metadata) -> Result<(), UpperError> {
        self.ensure()?;
        match &self.parent {
            Some((parent, name)) => parent.set_metadata(name, meta),
            None => Ok(()),
        }
    }

    /// Changes only the mode of the directory itself.
    pub(crate) fn set_own_mode(&self, mode: u32) -> Result<(), UpperError> {
        self.ensure()?;
        let Some((parent, name)) = &self.parent else {
            return Ok(());
        };
        let dir = parent.ensure()?;
        self.options
            .ownership
            .chmod(dir.as_fd(), name, mode)
            .map_err(|err| parent.error("change the mode of", name, err))
    }

    /// [`WriteDir::set_xattrs`] of the directory itself.
    pub(crate) fn set_own_xattrs(&self, xattrs: &Xattrs) -> Result<(), UpperError> {
        match &self.parent {
            Some((parent, name)) if !xattrs.is_empty() => {
                self.ensure()?;
                parent.set_xattrs(name, xattrs)
            }
            _ => Ok(()),
        }
    }

    /// Sets attributes. What the file system or the privileges do not allow is left out, as
    /// in BuildKit; `security.*` other than capabilities belongs to the host.
    pub(crate) fn set_xattrs(&self, name: &OsStr, xattrs: &Xattrs) -> Result<(), UpperError> {
        if xattrs.is_empty() {
            return Ok(());
        }
        let fd = self.ensure()?;
        let path = sys::proc_path(fd.as_fd(), name);
        for (attr, value) in xattrs {
            if !is_portable(attr) {
                continue;
            }
            match rustix::fs::lsetxattr(path.as_slice(), attr, value, XattrFlags::empty()) {
                Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) => {}
                Err(err) => return Err(self.error("set attributes of", name, err)),
            }
        }
        Ok(())
    }
}

/// Whether an attribute is copied between files.
pub(crate) fn is_portable(attr: &OsStr) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let attr = attr.as_bytes();
    attr == b"security.capability" || !attr.starts_with(b"security.")
}

/// Owner, mode and time of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metadata {
    pub(crate) owner: Owner,
    /// Mode bits (07777); `None` for symbolic links.
    pub(crate) mode: Option<u32>,
    /// Left as it is when `None`.
    pub(crate) mtime: Option<Timestamp>,
}

/// Access and modification time alike, so that equal inputs give equal inodes.
pub(crate) fn times(mtime: Timestamp) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime.secs,
        // Below 1e9 by the type's contract.
        tv_nsec: mtime.nanos as _,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn set_own_mtime(fd: &OwnedFd, mtime: Timestamp) -> Result<(), Errno> {
    let mut times = times(mtime);
    times.last_access.tv_nsec = UTIME_OMIT;
    rustix::fs::futimens(fd, &times)
}

fn make_dir(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
    sys::open_dir_at(parent, name)
}

/// Removes a name and everything below it; a missing one is fine. Depth is bounded by the
/// descriptors that are open at once, not by the call stack.
pub(crate) fn remove_all(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(err) => return Err(err),
    }
    let mut stack = vec![(sys::open_dir_at(dir, name)?, name.to_owned())];
    while let Some((fd, own_name)) = stack.pop() {
        let mut below = None;
        for (child, _) in sys::names(&fd)? {
            match rustix::fs::unlinkat(&fd, &child, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR | Errno::PERM) => {
                    match rustix::fs::unlinkat(&fd, &child, AtFlags::REMOVEDIR) {
                        Ok(()) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST) => {
                            below = Some((sys::open_dir_at(&fd, &child)?, child));
                            break;
                        }
                        Err(err) => return Err(err),
                    }
                }
                Err(err) => return Err(err),
            }
        }
        match below {
            Some(below) => {
                stack.push((fd, own_name));
                stack.push(below);
            }
            None => {
                drop(fd);
                let parent = stack.last().map_or(dir, |(fd, _)| fd);
                rustix::fs::unlinkat(parent, &own_name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}
