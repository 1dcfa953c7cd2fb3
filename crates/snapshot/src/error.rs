//! What can go wrong with a snapshot.

use std::io;
use std::path::{Path, PathBuf};

use distil_layer::LayerError;
use distil_oci::DiffId;
use distil_rootfs::{MountError, TreeError, UpperError};
use distil_store::{LayerId, StoreError};

/// An operation on a snapshot failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer could not be read or written.
    #[error("layer `{id}`: {source}")]
    Layer {
        /// The layer.
        id: LayerId,
        /// The reason.
        source: LayerError,
    },
    /// A tree could not be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The top layer could not be opened.
    #[error(transparent)]
    Upper(#[from] UpperError),
    /// Looking for overlay failed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The layer was written under another user namespace map, where its files have other
    /// owners.
    #[error(
        "layer `{id}` was written under id map `{found}`, but this process has `{own}`; \
         use another store with --root, or the user and subordinate ids that wrote it"
    )]
    OtherIdMap {
        /// The layer.
        id: LayerId,
        /// Its map.
        found: String,
        /// This process's map.
        own: String,
    },
    /// A layer adds to one that adds to another itself.
    #[error("layer `{id}` adds to another one: nothing can be added to it")]
    TwiceExtended {
        /// The layer that was to be extended.
        id: LayerId,
    },
    /// The files of layers belong to a user namespace that this process is not in.
    #[error("files of layers can be read and written only inside their user namespace")]
    OutsideNamespace,
    /// An imported layer is not the one that was asked for. Nothing was stored.
    #[error("layer has diff ID `{actual}`, expected `{expected}`")]
    DiffIdMismatch {
        /// What the image config says.
        expected: DiffId,
        /// What the bytes have.
        actual: DiffId,
    },
    /// No layer with this diff ID is in the store.
    #[error("no layer with diff ID `{diff_id}` is in the store")]
    DiffIdMissing {
        /// The diff ID.
        diff_id: DiffId,
    },
    /// A file of a snapshot directory could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_path_buf();
    move |source| SnapshotError::Io { action, path, source }
}

pub(crate) fn in_layer(id: LayerId) -> impl Fn(LayerError) -> SnapshotError {
    move |source| SnapshotError::Layer { id, source }
}
