//! What can go wrong with writing or reading images.

use std::io;

use distil_layer::LayerError;
use distil_oci::{Digest, LayoutError};
use distil_rootfs::TreeError;
use distil_snapshot::SnapshotError;
use distil_store::StoreError;

/// Why an image cannot be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer cannot be read or unpacked.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The hard links of a layer cannot be read.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An OCI layout cannot be read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A text in a config is no RFC 3339 time, or a time is beyond the year 9999.
    #[error("`{0}` is not a time that an image can carry")]
    Time(String),
    /// The config lacks something that every image has.
    #[error("the image config has no `{0}`")]
    Incomplete(&'static str),
    /// A config or manifest in the store is damaged.
    #[error("`{digest}` in the store is not what it should be: {source}")]
    Stored {
        /// The blob.
        digest: Digest,
        /// The cause.
        source: serde_json::Error,
    },
    /// Writing the result failed.
    #[error("cannot write {what}: {source}")]
    Write {
        /// The archive, or a file of the tree.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// Reading an archive failed.
    #[error("cannot read {what}: {source}")]
    Read {
        /// The archive, or a file of it.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The input holds no image that can be loaded.
    #[error("this is not an image archive: {0}")]
    NotAnArchive(&'static str),
    /// A file of an archive is not what the archive says.
    #[error("the archive is damaged: `{path}` {reason}")]
    Damaged {
        /// Path in the archive.
        path: String,
        /// What is wrong.
        reason: String,
    },
}

/// An error of writing `what`.
pub(crate) fn write_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ExportError {
    let what = what.into();
    move |source| ExportError::Write { what, source }
}

/// An error of reading `what`.
pub(crate) fn read_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> ExportError {
    let what = what.into();
    move |source| ExportError::Read { what, source }
}
