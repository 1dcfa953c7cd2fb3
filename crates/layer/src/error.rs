//! What can go wrong with a layer.

use std::io;
use std::path::{Path, PathBuf};

use distil_rootfs::Owner;

/// An operation on a layer failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A tree could not be read.
    #[error(transparent)]
    Tree(#[from] distil_rootfs::TreeError),
    /// Reading or writing a file of a layer failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path inside the layer.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Reading or writing the tar stream failed.
    #[error("cannot {action} the layer's tar: {source}")]
    Stream {
        /// What was tried.
        action: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// A name in the image starts with `.wh.`, which in a layer means a deletion.
    #[error("`{}` cannot be in an image: names that start with `.wh.` mean deletions in layers", path.display())]
    ReservedName {
        /// Path inside the layer.
        path: PathBuf,
    },
    /// Directories are nested deeper than any tool unpacks.
    #[error("`{}` is nested too deeply: more than {limit} directories", path.display())]
    TooDeep {
        /// Path inside the layer.
        path: PathBuf,
        /// How many levels there may be.
        limit: usize,
    },
    /// The directory was written by an overlay with options that spread a file over layers.
    #[error("`{}` has overlay attribute `{attribute}`: it was not written by this program's mounts", path.display())]
    ForeignOverlay {
        /// Path inside the layer.
        path: PathBuf,
        /// The attribute.
        attribute: &'static str,
    },
    /// The archive has an entry that no layer may have.
    #[error("entry `{}` of the layer is not acceptable: {reason}", path.display())]
    BadEntry {
        /// Path as it stands in the archive.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The owner of a file does not exist in this user namespace.
    #[error(
        "`{}` belongs to {uid}:{gid}, which is outside of this user's subordinate ids; \
         give the user more of them in /etc/subuid and /etc/subgid, or run as root",
        path.display()
    )]
    UnmappedOwner {
        /// Path inside the layer.
        path: PathBuf,
        /// User id in the image.
        uid: u32,
        /// Group id in the image.
        gid: u32,
    },
    /// Recorded link groups cannot be read.
    #[error("recorded link groups of a layer are damaged; `distil prune --all` removes the layer")]
    DamagedLinks,
}

/// Gives an I/O error its place.
pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> LayerError {
    let path = path.to_path_buf();
    move |errno| LayerError::Io {
        action,
        path,
        source: errno.into(),
    }
}

/// As [`at`], for errors of the standard library.
pub(crate) fn io_at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayerError {
    let path = path.to_path_buf();
    move |source| LayerError::Io { action, path, source }
}

/// Tells an owner that cannot be given because of the user namespace.
pub(crate) fn chown_at(owner: Owner, path: &Path) -> impl FnOnce(rustix::io::Errno) -> LayerError {
    let path = path.to_path_buf();
    move |errno| match errno {
        rustix::io::Errno::INVAL => LayerError::UnmappedOwner {
            path,
            uid: owner.uid,
            gid: owner.gid,
        },
        _ => at("chown", &path)(errno),
    }
}
