//! What can go wrong while an image is read.

use std::io;
use std::path::PathBuf;

use distil_oci::Digest;
use distil_rootfs::TreeError;
use distil_snapshot::SnapshotError;
use distil_store::StoreError;

/// An image could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The store failed, or does not have the image or a blob of it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer is missing, or belongs to another user namespace.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Files of a layer cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The image config is no JSON, or not that of an image.
    #[error("the config of image `{id}` cannot be read: {reason}; build or load the image again")]
    Config {
        /// Image ID.
        id: Digest,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that was to be read whole is larger than the caller takes.
    #[error(
        "`{}` has {size} bytes, more than the {limit} that are read",
        crate::printable_path(path)
    )]
    TooLarge {
        /// Path in the image.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// Reading a file failed.
    #[error("cannot read `{}`: {source}", crate::printable_path(path))]
    Read {
        /// Path in the image.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
