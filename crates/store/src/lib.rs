//! The local store: content-addressed blobs, layer directories, images, the build cache's keys
//! and records, leases and garbage collection.
//!
//! One [`Store`] is one directory, shared by any number of processes without a daemon. Metadata
//! is in SQLite; blobs and layers are files that appear by a rename once they are complete. What
//! a live process uses is protected by its [`Lease`]; what nothing reaches is deleted by
//! [`Store::collect`].
//!
//! ```
//! use std::io::Write;
//! use distil_store::{Prune, Store};
//!
//! # let directory = tempfile::tempdir()?;
//! let store = Store::open(&directory.path().join("store"))?;
//! let mut writer = store.blobs().writer()?;
//! writer.write_all(b"{}")?;
//! let digest = writer.commit(None)?;
//! assert!(store.blobs().contains(&digest)?);
//!
//! // This handle's lease holds the blob; nothing else names it.
//! store.collect(Prune::Nothing)?;
//! assert!(store.blobs().contains(&digest)?);
//! let other = store.with_new_lease();
//! drop(store);
//! other.collect(Prune::Nothing)?;
//! assert!(!other.blobs().contains(&digest)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blob;
mod cache;
mod cache_mount;
mod db;
mod downloads;
mod error;
mod gc;
mod id;
mod image;
mod layers;
mod layout;
mod lease;
mod lock;
mod netfs;
mod origins;
mod remove;
mod schema;
mod store;
mod usage;
mod volumes;

pub use blob::{BlobProducer, BlobStore, BlobWriter};
pub use cache::{BuildCache, CacheGraph, CacheLink, CacheRecord, NewRecord, RecordKind};
pub use cache_mount::{CacheMount, CacheMountTurn, Sharing, Taken};
pub use db::MetadataDb;
pub use error::StoreError;
pub use gc::{GcReport, Prune, default_size_limit};
pub use id::{LayerId, RecordId, Timestamp};
pub use image::{ImageInfo, ImageStore, NewImage, Removed};
pub use layers::{LayerBlob, LayerInfo, Layers, base_of};
pub use layout::FORMAT_VERSION;
pub use lease::{Lease, Resource};
pub use lock::{FileLock, LockMode};
pub use remove::remove_tree;
pub use store::{OpenOptions, Store};
pub use usage::{RecordUsage, Usage};
pub use volumes::{VolumeInfo, VolumeUse, Volumes, is_volume_name};
