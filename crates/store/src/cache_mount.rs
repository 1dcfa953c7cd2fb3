//! Directories of `RUN --mount=type=cache`: records of the build cache whose one layer stays writable.
//!
//! All cache mounts of one id (and id map) are results of one key. Which of them a process gets is decided under
//! a lock of that id, a [`CacheMountTurn`]; that it has it is a lock of the record, shared or exclusive, which
//! ends with the process.

use distil_oci::Digest;

use crate::cache::{NewRecord, RecordKind};
use crate::error::StoreError;
use crate::lease::Resource;
use crate::lock::{FileLock, LockMode};
use crate::{LayerId, RecordId, Store, Timestamp};

/// Who may use a cache mount at the same time (`sharing=` of `RUN --mount=type=cache`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Any number of processes use the same directory.
    Shared,
    /// Each has one of its own: a free one, or a new one.
    Private,
    /// One after the other uses the same directory.
    Locked,
}

impl Sharing {
    fn lock_mode(self) -> LockMode {
        match self {
            Self::Shared => LockMode::Shared,
            Self::Private | Self::Locked => LockMode::Exclusive,
        }
    }
}

/// A cache mount in use. Its record and layer are held by the handle's lease; dropping it lets others have it.
#[derive(Debug)]
pub struct CacheMount {
    /// Its record.
    pub record: RecordId,
    /// Its directory.
    pub layer: LayerId,
    _lock: FileLock,
}

/// What [`CacheMountTurn::take`] found.
#[derive(Debug)]
pub enum Taken {
    /// This one, from now on.
    Mount(CacheMount),
    /// Another process has it, and there is to be no second one: ask again.
    Busy,
    /// None that is free: make one and [`CacheMountTurn::add`] it.
    Missing,
}

/// The right to decide who gets which cache mount of one id; released when dropped.
#[derive(Debug)]
pub struct CacheMountTurn<'s> {
    store: &'s Store,
    key: Digest,
    _lock: FileLock,
}

impl Store {
    /// The turn for the cache mounts of `id` that were written under `id_map`; `None` while another process has
    /// it.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn cache_mount_turn(&self, id: &str, id_map: &str) -> Result<Option<CacheMountTurn<'_>>, StoreError> {
        let key = Digest::sha256(format!("distil cache mount\0{id_map}\0{id}").as_bytes());
        let lock = self.try_lock(&format!("cache mounts {key}"), LockMode::Exclusive)?;
        Ok(lock.map(|lock| CacheMountTurn {
            store: self,
            key,
            _lock: lock,
        }))
    }
}

impl CacheMountTurn<'_> {
    /// Takes a cache mount that started with the content named `origin` (empty for an empty directory).
    ///
    /// # Errors
    /// When the database or a lock fails.
    pub fn take(&self, origin: &str, sharing: Sharing, now: Timestamp) -> Result<Taken, StoreError> {
        let mut busy = false;
        // The oldest first: of private ones it is used most and so has most in it.
        for (id, _) in self.records()?.into_iter().rev() {
            let record = self.store.cache().get(id)?;
            let Some(record) = record.filter(|record| record.payload == origin.as_bytes()) else {
                continue;
            };
            let Some(lock) = self.store.try_lock(&lock_name(id), sharing.lock_mode())? else {
                busy = true;
                continue;
            };
            let Some(&layer) = record.layers.first() else {
                continue;
            };
            // The layer by itself too: the record may be forgotten while the mount is in use.
            let there = self.store.cache().hold(id, now)?.is_some();
            if there && self.store.hold(&[Resource::Layer(layer)])? {
                self.expect_changes(id)?;
                return Ok(Taken::Mount(CacheMount {
                    record: id,
                    layer,
                    _lock: lock,
                }));
            }
        }
        Ok(match busy && sharing == Sharing::Locked {
            true => Taken::Busy,
            false => Taken::Missing,
        })
    }

    /// Makes the directory of a committed layer, which nothing else uses, a cache mount, and takes it.
    ///
    /// # Errors
    /// When the database or a lock fails.
    pub fn add(
        &self,
        origin: &str,
        sharing: Sharing,
        layer: LayerId,
        description: String,
        now: Timestamp,
    ) -> Result<CacheMount, StoreError> {
        let record = self.store.cache().write(|graph| {
            let record = graph.add_record(&NewRecord {
                kind: RecordKind::ExecCacheMount,
                description,
                layers: vec![layer],
                blobs: Vec::new(),
                payload: origin.as_bytes().to_vec(),
                created: now,
            })?;
            graph.name_record(graph.make_root(&self.key)?, record)?;
            Ok(record)
        })?;
        // Nobody can have it: who looks for it needs this turn.
        let lock = self.store.lock(&lock_name(record), sharing.lock_mode())?;
        Ok(CacheMount {
            record,
            layer,
            _lock: lock,
        })
    }

    /// Forgets all cache mounts of the id. Who uses one keeps it until then; the next one starts anew.
    ///
    /// # Errors
    /// When the database fails.
    pub fn forget(&self) -> Result<(), StoreError> {
        for (record, _) in self.records()? {
            self.store.cache().remove(record)?;
        }
        Ok(())
    }

    /// What is written to it from now on is on the disk after the next sync alone: another boot before that finds
    /// the record gone.
    fn expect_changes(&self, record: RecordId) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached("UPDATE records SET pending = (SELECT epoch FROM state) WHERE id = ?1")?
                .execute([record.0])?;
            Ok(())
        })
    }

    fn records(&self) -> Result<Vec<(RecordId, Timestamp)>, StoreError> {
        self.store.cache().read(|graph| match graph.root(&self.key)? {
            Some(node) => graph.records(node),
            None => Ok(Vec::new()),
        })
    }
}

fn lock_name(record: RecordId) -> String {
    format!("cache mount {}", record.0)
}
