//! Mounting a root: an overlay of layer directories, or a plain directory.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What is mounted as a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// An overlay of layer directories. Any number of layers.
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
    /// One directory.
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
    /// mount(2) with all layers in one page of options, names relative to a directory.
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
        source: std::io::Error,
    },
}

/// A mount that is nowhere in the file hierarchy yet. It vanishes when dropped.
#[derive(Debug)]
pub struct DetachedMount {
    fd: OwnedFd,
}

impl DetachedMount {
    /// Moves it to the directory `target`.
    pub fn attach(self, target: &Path) -> Result<(), MountError> {
        let _ = target;
        Ok(())
    }

    /// The descriptor: a directory that can be read, or moved with `move_mount`.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl Mount {
    /// Mounts onto the directory `target`. The caller unmounts (or ends its mount namespace).
    pub fn attach(&self, target: &Path) -> Result<(), MountError> {
        self.attach_with(target, MountStrategy::Auto)
    }

    /// [`Mount::attach`] by one given way.
    pub fn attach_with(&self, target: &Path, strategy: MountStrategy) -> Result<(), MountError> {
        self.detached(strategy)?.attach(target)
    }

    /// Makes the mount without a place. Needs Linux 5.2.
    pub fn detached(&self, strategy: MountStrategy) -> Result<DetachedMount, MountError> {
        let _ = strategy;
        Err(MountError::OverlayRefused {
            layers: 0,
            reason: String::new(),
        })
    }
}
