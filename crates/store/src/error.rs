//! What can go wrong with the store, each with its cause and the way out.

use std::io;
use std::path::{Path, PathBuf};

use distil_oci::Digest;

use crate::LayerId;

/// An operation on the store failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was written by a newer distil. It was not changed.
    #[error(
        "store `{root}` has format {found}, but this distil knows formats up to {supported}; \
         use a newer distil, or another store with --root"
    )]
    NewerFormat {
        /// Store directory.
        root: PathBuf,
        /// Format version of the store.
        found: u32,
        /// Newest format version that this build can open.
        supported: u32,
    },
    /// A migration has to wait until other processes let go of the store.
    #[error(
        "store `{root}` must be migrated from format {from}, but another distil is using it; \
         try again when it has ended"
    )]
    MigrationBlocked {
        /// Store directory.
        root: PathBuf,
        /// Format version found.
        from: u32,
    },
    /// The directory has files, but is not a store.
    #[error("`{root}` is not empty and not a distil store; choose another directory with --root")]
    NotAStore {
        /// The directory asked for.
        root: PathBuf,
    },
    /// The root is on a filesystem that is shared over a network.
    #[error(
        "store `{root}` is on a network filesystem ({kind}), where file locks and snapshots are \
         not safe; choose a directory on a local disk with --root or DISTIL_ROOT"
    )]
    NetworkFilesystem {
        /// Store directory.
        root: PathBuf,
        /// Name of the filesystem.
        kind: String,
    },
    /// Another process uses the store.
    #[error("store `{root}` is in use by another distil process; try again when it has ended")]
    InUse {
        /// Store directory.
        root: PathBuf,
    },
    /// There is no volume of this name.
    #[error("there is no volume `{name}`; `distil volume ls` lists them")]
    VolumeMissing {
        /// Its name.
        name: String,
    },
    /// A program uses the volume.
    #[error("volume `{name}` is in use; end the programs that were started with it first")]
    VolumeInUse {
        /// Its name.
        name: String,
    },
    /// A volume cannot have this name.
    #[error(
        "`{name}` is no name of a volume: a letter or digit comes first, then at least one letter, digit, `_`, `.` \
         or `-`; a path begins with `/` or `.`"
    )]
    VolumeName {
        /// The name.
        name: String,
    },
    /// The volume was made by a user whose ids are others.
    #[error(
        "volume `{name}` was made under other user ids; use it as the user who made it, or take another name"
    )]
    VolumeForeign {
        /// Its name.
        name: String,
    },
    /// The filesystem is mounted read-only.
    #[error("cannot write `{path}`: the filesystem is read-only; choose another store with --root")]
    ReadOnly {
        /// What was to be written.
        path: PathBuf,
    },
    /// The disk, or the user's quota, is full.
    #[error(
        "no space left while writing `{path}`; free some with `distil prune`, or choose another \
         store with --root"
    )]
    NoSpace {
        /// What was to be written.
        path: PathBuf,
    },
    /// Permission was refused.
    #[error("permission denied: cannot {action} `{path}`; is it another user's store?")]
    Denied {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
    },
    /// Another input or output error.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The metadata database is damaged.
    #[error("metadata database `{path}` is damaged ({detail}); `distil reset` starts afresh")]
    Corrupt {
        /// Database file.
        path: PathBuf,
        /// SQLite's message.
        detail: String,
    },
    /// Other processes held the write lock of the database for too long.
    #[error("metadata database `{path}` stayed locked by other processes; try again")]
    Busy {
        /// Database file.
        path: PathBuf,
    },
    /// Another error of the metadata database.
    #[error("metadata database `{path}`: {source}")]
    Database {
        /// Database file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// An SQLite error on its way to one of the variants above; callers of the public
    /// functions never see it.
    #[error("metadata database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Content does not have the digest that it should have. Nothing was stored.
    #[error("content has digest `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// The digest asked for.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// A blob that is needed is not in the store, and nothing can make it.
    #[error("blob `{digest}` is not in the store")]
    BlobMissing {
        /// Digest of the blob.
        digest: Digest,
    },
    /// A layer that is needed is not in the store any more.
    #[error("layer `{id}` is not in the store")]
    LayerMissing {
        /// The layer.
        id: LayerId,
    },
    /// No image has this name or ID.
    #[error("no such image: `{query}`")]
    ImageMissing {
        /// What was asked for.
        query: String,
    },
    /// An ID prefix fits several images.
    #[error("image ID `{prefix}` is ambiguous: it fits {count} images; give more digits")]
    ImageAmbiguous {
        /// The prefix asked for.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// An image with several names is to be removed by ID.
    #[error("image `{id}` has {count} names; remove it by name, or all of them with --force")]
    ImageHasNames {
        /// Image ID.
        id: Digest,
        /// Number of its names.
        count: usize,
    },
    /// A value in the database is not what this program writes.
    #[error("metadata database has a bad value `{value}` for {field}; `distil reset` starts afresh")]
    BadValue {
        /// Which value.
        field: &'static str,
        /// Its text.
        value: String,
    },
}

/// Gives an I/O error its place, and common causes their own variant.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { path },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace { path },
        io::ErrorKind::PermissionDenied => StoreError::Denied { action, path },
        _ => StoreError::Io { action, path, source },
    }
}
