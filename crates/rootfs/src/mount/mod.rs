//! Mounting a root: an overlay of layer directories, or a plain directory.

mod option_string;
mod overlay;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

/// What is mounted as a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// An overlay of layer directories, mounted with `volatile`: nothing is synced when it
    /// is unmounted. Without lower layers it is `upper` itself, with one and no `upper` that
    /// layer read-only.
    Overlay {
        /// Layer directories, lowest first.
        lower: Vec<PathBuf>,
        /// Where changes go; read-only without.
        upper: Option<PathBuf>,
        /// overlayfs' work directory, on the file system of `upper`; needed with `upper`.
        work: Option<PathBuf>,
        /// Use `user.overlay.*` attributes: needed inside a user namespace.
        userxattr: bool,
    },
    /// One directory, with all that is mounted in it.
    Bind {
        /// The directory.
        path: PathBuf,
        /// Refuse writes.
        readonly: bool,
    },
}

/// Which system calls make an overlay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountStrategy {
    /// The first that works: layer by layer, then one option string.
    #[default]
    Auto,
    /// `fsopen` and one `lowerdir+` a layer (Linux 6.5 and later).
    LayerByLayer,
    /// All layers in one option string, with short names.
    OptionString,
}

/// Mounting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The kernel has no overlay for us here; a copy of the layers works instead.
    #[error("the kernel refuses an overlay mount of {layers} layers: {reason}")]
    OverlayRefused {
        /// How many lower layers.
        layers: usize,
        /// What it said to each attempt.
        reason: String,
    },
    /// A system call failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path of the host.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl MountError {
    fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> MountError {
        MountError::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// A mount that is nowhere in the file hierarchy yet. It vanishes when dropped.
#[derive(Debug)]
pub struct DetachedMount {
    fd: OwnedFd,
}

impl DetachedMount {
    /// Moves it to the directory `target`.
    pub fn attach(self, target: &Path) -> Result<(), MountError> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&self.fd, "", CWD, target, flags)
            .map_err(|err| MountError::io("mount onto", target, err))
    }

    /// The descriptor: a directory that can be read, or moved with `move_mount`.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Mount {
    /// Mounts onto the directory `target`. The caller unmounts (or ends its mount namespace).
    pub fn attach(&self, target: &Path) -> Result<(), MountError> {
        self.attach_with(target, MountStrategy::Auto)
    }

    /// [`Mount::attach`] by one given way.
    pub fn attach_with(&self, target: &Path, strategy: MountStrategy) -> Result<(), MountError> {
        let Some(overlay) = self.overlay() else {
            return self.detached(strategy)?.attach(target);
        };
        let mut reasons = Vec::new();
        if strategy != MountStrategy::OptionString {
            match overlay.attach_by_layer(target) {
                Ok(()) => return Ok(()),
                Err(err) => reasons.push(format!("layer by layer: {err}")),
            }
        }
        if strategy != MountStrategy::LayerByLayer {
            match option_string::attach(&overlay, target) {
                Ok(()) => return Ok(()),
                Err(err) => reasons.push(format!("option string: {err}")),
            }
        }
        Err(MountError::OverlayRefused {
            layers: overlay.lower.len(),
            reason: reasons.join("; "),
        })
    }

    /// Makes the mount without a place. Needs Linux 5.2; on a kernel without `lowerdir+`
    /// only about a dozen layers fit, [`Mount::attach`] has no such limit.
    pub fn detached(&self, strategy: MountStrategy) -> Result<DetachedMount, MountError> {
        if let Some(overlay) = self.overlay() {
            return overlay.detached(strategy);
        }
        match self {
            Mount::Bind { path, readonly } => bind(path, *readonly),
            Mount::Overlay {
                upper: Some(path), ..
            } => bind(path, false),
            Mount::Overlay { lower, .. } => match &lower[..] {
                [only] => bind(only, true),
                _ => empty(),
            },
        }
    }

    /// The parts, when a real overlay is needed.
    fn overlay(&self) -> Option<overlay::Overlay<'_>> {
        match self {
            Mount::Overlay {
                lower,
                upper,
                work,
                userxattr,
            } if lower.len() > 1 || (upper.is_some() && !lower.is_empty()) => Some(overlay::Overlay {
                lower,
                upper: upper.as_deref(),
                work: work.as_deref(),
                userxattr: *userxattr,
            }),
            _ => None,
        }
    }
}

/// A recursive bind mount of `path`.
fn bind(path: &Path, readonly: bool) -> Result<DetachedMount, MountError> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let fd = rustix::mount::open_tree(CWD, path, flags).map_err(|err| MountError::io("bind", path, err))?;
    if readonly {
        set_readonly(&fd).map_err(|err| MountError::io("make read-only", path, err))?;
    }
    Ok(DetachedMount { fd })
}

/// An empty read-only root.
fn empty() -> Result<DetachedMount, MountError> {
    let error = |err: rustix::io::Errno| MountError::io("mount", Path::new("tmpfs"), err);
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(error)?;
    rustix::mount::fsconfig_set_string(&context, "mode", "755").map_err(error)?;
    rustix::mount::fsconfig_create(&context).map_err(error)?;
    let flags = FsMountFlags::FSMOUNT_CLOEXEC;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    let fd = rustix::mount::fsmount(&context, flags, attributes).map_err(error)?;
    Ok(DetachedMount { fd })
}

/// Makes a mount and all below it read-only (Linux 5.12).
fn set_readonly(fd: &OwnedFd) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the descriptor is open, the path is an empty C string, and `attributes` lives
    // through the call, which reads the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Unmounts what is on `target`, at the latest when nobody uses it any more.
fn unmount(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::DETACH)?)
}
