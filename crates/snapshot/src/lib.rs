//! Immutable filesystem snapshots.
//!
//! A snapshot is an ordered list of layers, lowest first, as `[LayerId]`. Each layer is a
//! directory in overlayfs format that never changes once committed, so that merging, cutting and
//! stacking snapshots are operations on lists. New layers are written in an [`ActiveSnapshot`],
//! through [`distil_rootfs::Upper`] without any mount or through a mount for a process, and
//! become a layer with [`ActiveSnapshot::commit`].
//!
//! No tar of a layer is kept. Its diff ID is computed when first asked for and remembered, and
//! its tar is made again on demand ([`Snapshotter::register_producer`]).

mod active;
mod error;
mod import;
mod snapshotter;
mod tar;

pub use active::{ActiveSnapshot, CommitOptions, ReadonlyMount};
pub use error::SnapshotError;
pub use import::ImportedLayer;
pub use snapshotter::{SnapshotMode, SnapshotOptions, Snapshotter, describe_id_maps};

pub use distil_store::{LayerId, LayerInfo};
