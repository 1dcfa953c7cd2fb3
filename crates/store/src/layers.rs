//! Rows of the layer directories. The directories themselves are the `snapshot` crate's.

use std::fs;
use std::io;
use std::path::PathBuf;

use distil_oci::{DiffId, Digest};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{StoreError, io_error};
use crate::lease::{self, Resource};
use crate::remove::remove_tree;
use crate::{LayerId, Store};

/// What the store knows about a layer directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// The layer.
    pub id: LayerId,
    /// Digest of its uncompressed tar, once computed.
    pub diff_id: Option<DiffId>,
    /// Bytes of its uncompressed tar, once computed.
    pub tar_size: Option<u64>,
    /// Bytes of the contents of its regular files; hard links count once.
    pub size: u64,
    /// Number of files and directories, the root not included.
    pub inodes: u64,
    /// The user namespace map that the directory was written under. A directory must never be
    /// used under another one: its files would have other owners.
    pub id_map: String,
    /// The layers below, where the directory depends on them (see [`base_of`]); else it fits
    /// onto any.
    pub base: Option<String>,
    /// A layer that this one adds to: the layer is the directory of that one with its own directory on
    /// top. That one extends none, and lives as long as this one.
    pub extends: Option<LayerId>,
}

/// Names a list of layers, for [`LayerInfo::base`].
pub fn base_of(layers: &[LayerId]) -> String {
    let ids: Vec<String> = layers.iter().map(LayerId::to_string).collect();
    ids.join(",")
}

/// A stored or known compressed form of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// How it was made: format, level, implementation; or `original` for one that was pulled.
    pub form: String,
    /// Digest of the compressed bytes.
    pub digest: Digest,
    /// Size of the compressed bytes.
    pub size: u64,
    /// Media type for a descriptor.
    pub media_type: String,
}

/// The layer rows of a store; see [`Store::layers`].
#[derive(Debug, Clone, Copy)]
pub struct Layers<'s> {
    store: &'s Store,
}

const COLUMNS: &str = "id, diff_id, tar_size, size, inodes, id_map, base, extends";

impl<'s> Layers<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// Directory of a layer: `fs` in it is the layer itself, in overlayfs format.
    pub fn path(&self, id: LayerId) -> PathBuf {
        self.store.snapshots_dir().join(id.to_string())
    }

    /// Makes a new, uncommitted layer with an empty directory, held by the handle's lease.
    pub fn create(&self, id_map: &str) -> Result<LayerId, StoreError> {
        let lease = self.store.lease()?.id();
        let id = self.store.db().with_write(|tx| {
            tx.prepare_cached(
                "INSERT INTO layers(committed, size, inodes, id_map, pending)
                 VALUES (0, 0, 0, ?1, (SELECT epoch FROM state))",
            )?
            .execute([id_map])?;
            let id = LayerId::from_row(tx.last_insert_rowid());
            lease::hold(tx, lease, &Resource::Layer(id))?;
            Ok(id)
        })?;
        let path = self.path(id);
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A power failure took back the row of an earlier layer with this number.
                remove_tree(&path).map_err(io_error("delete", &path))?;
                fs::create_dir(&path).map_err(io_error("create", &path))?;
            }
            other => other.map_err(io_error("create", &path))?,
        }
        Ok(id)
    }

    /// Declares a layer complete. From now on its directory never changes.
    pub fn commit(&self, info: &LayerInfo) -> Result<(), StoreError> {
        let changed = self.store.db().with_write(|tx| {
            let mut update = tx.prepare_cached(
                "UPDATE layers SET committed = 1, diff_id = ?2, tar_size = ?3, size = ?4,
                 inodes = ?5, base = ?6, extends = ?7, pending = (SELECT epoch FROM state) WHERE id = ?1",
            )?;
            Ok(update.execute(params![
                info.id.row(),
                info.diff_id.as_ref().map(|diff_id| diff_id.0.as_bytes()),
                info.tar_size.map(count),
                count(info.size),
                count(info.inodes),
                info.base,
                info.extends.map(LayerId::row),
            ])?)
        })?;
        if changed == 1 {
            Ok(())
        } else {
            Err(StoreError::LayerMissing { id: info.id })
        }
    }

    /// Remembers the diff ID of a committed layer and the size of its tar.
    pub fn set_diff_id(&self, id: LayerId, diff_id: DiffId, tar_size: u64) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached("UPDATE layers SET diff_id = ?2, tar_size = ?3 WHERE id = ?1")?
                .execute(params![id.row(), diff_id.0.as_bytes(), count(tar_size)])?;
            Ok(())
        })
    }

    /// Corrects size and inode count of a directory that stays writable, such as a cache mount.
    pub fn set_size(&self, id: LayerId, size: u64, inodes: u64) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached("UPDATE layers SET size = ?2, inodes = ?3 WHERE id = ?1")?
                .execute(params![id.row(), count(size), count(inodes)])?;
            Ok(())
        })
    }

    /// A committed layer whose directory exists.
    pub fn get(&self, id: LayerId) -> Result<Option<LayerInfo>, StoreError> {
        let info = self.store.db().with_read(|tx| {
            let sql = format!("SELECT {COLUMNS} FROM layers WHERE id = ?1 AND committed");
            let mut select = tx.prepare_cached(&sql)?;
            Ok(select.query_row([id.row()], read_info).optional()?)
        })?;
        Ok(info.filter(|info| self.path(info.id).is_dir()))
    }

    /// A committed layer with this diff ID, written under this id map, that fits onto `lower`;
    /// held by the handle's lease.
    pub fn find_by_diff_id(
        &self,
        diff_id: DiffId,
        id_map: &str,
        lower: &[LayerId],
    ) -> Result<Option<LayerInfo>, StoreError> {
        let found = self
            .store
            .db()
            .with_read(|tx| with_diff_id(tx, diff_id, Some(id_map)))?;
        let base = base_of(lower);
        for info in found {
            let fits = info.base.as_ref().is_none_or(|needed| *needed == base);
            if fits && self.path(info.id).is_dir() && self.store.hold(&[Resource::Layer(info.id)])? {
                return Ok(Some(info));
            }
        }
        Ok(None)
    }

    /// Remembers the tar that a layer has with times cut off at `latest_mtime`.
    pub fn set_clamped(
        &self,
        id: LayerId,
        latest_mtime: i64,
        diff_id: DiffId,
        tar_size: u64,
    ) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO clamped_layers
                 VALUES (?1, ?2, ?3, ?4, (SELECT epoch FROM state))",
            )?
            .execute(params![
                id.row(),
                latest_mtime,
                diff_id.0.as_bytes(),
                count(tar_size)
            ])?;
            Ok(())
        })
    }

    /// Diff ID and size of the tar that a layer has with times cut off at `latest_mtime`.
    pub fn clamped(&self, id: LayerId, latest_mtime: i64) -> Result<Option<(DiffId, u64)>, StoreError> {
        self.store.db().with_read(|tx| {
            let mut select = tx.prepare_cached(
                "SELECT diff_id, tar_size FROM clamped_layers WHERE layer = ?1 AND latest_mtime = ?2",
            )?;
            let row = select.query_row(params![id.row(), latest_mtime], |row| {
                let diff_id = DiffId(Digest::from_bytes(row.get(0)?));
                Ok((diff_id, row.get::<_, i64>(1)?.unsigned_abs()))
            });
            Ok(row.optional()?)
        })
    }

    /// Layers whose tar has this diff ID with times cut off: layer, the latest time, tar size.
    pub fn clamped_with_diff_id(&self, diff_id: DiffId) -> Result<Vec<(LayerId, i64, u64)>, StoreError> {
        self.store.db().with_read(|tx| {
            let mut select = tx.prepare_cached(
                "SELECT layer, latest_mtime, tar_size FROM clamped_layers WHERE diff_id = ?1 ORDER BY layer",
            )?;
            let rows = select.query_map([diff_id.0.as_bytes()], |row| {
                let layer = LayerId::from_row(row.get(0)?);
                Ok((layer, row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs()))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Committed layers with this diff ID, whatever their id map.
    pub fn all_with_diff_id(&self, diff_id: DiffId) -> Result<Vec<LayerInfo>, StoreError> {
        self.store.db().with_read(|tx| with_diff_id(tx, diff_id, None))
    }

    /// Forgets an uncommitted layer. The caller has removed its directory, or leaves that to
    /// garbage collection.
    pub fn discard(&self, id: LayerId) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached("DELETE FROM held_layers WHERE layer = ?1")?
                .execute([id.row()])?;
            tx.prepare_cached("DELETE FROM layers WHERE id = ?1 AND NOT committed")?
                .execute([id.row()])?;
            Ok(())
        })
    }

    /// Remembers a compressed form of a layer. The blob, if it is stored, lives as long as a
    /// layer with this diff ID.
    pub fn add_blob(&self, diff_id: DiffId, blob: &LayerBlob) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO layer_blobs
                 VALUES (?1, ?2, ?3, ?4, ?5, (SELECT epoch FROM state))",
            )?
            .execute(params![
                diff_id.0.as_bytes(),
                blob.form,
                blob.digest.as_bytes(),
                count(blob.size),
                blob.media_type,
            ])?;
            Ok(())
        })
    }

    /// Known compressed forms of a layer. Their bytes need not be stored any more.
    pub fn blobs(&self, diff_id: DiffId) -> Result<Vec<LayerBlob>, StoreError> {
        self.store.db().with_read(|tx| {
            let mut select = tx.prepare_cached(
                "SELECT form, digest, size, media_type FROM layer_blobs
                 WHERE diff_id = ?1 ORDER BY form",
            )?;
            let rows = select.query_map([diff_id.0.as_bytes()], |row| {
                Ok(LayerBlob {
                    form: row.get(0)?,
                    digest: Digest::from_bytes(row.get(1)?),
                    size: row.get::<_, i64>(2)?.unsigned_abs(),
                    media_type: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The diff ID whose compressed form has this digest.
    pub fn diff_id_of_blob(&self, digest: &Digest) -> Result<Option<DiffId>, StoreError> {
        self.store.db().with_read(|tx| {
            let mut select =
                tx.prepare_cached("SELECT diff_id FROM layer_blobs WHERE digest = ?1 LIMIT 1")?;
            let bytes = select
                .query_row([digest.as_bytes()], |row| row.get(0))
                .optional()?;
            Ok(bytes.map(|bytes| DiffId(Digest::from_bytes(bytes))))
        })
    }
}

fn with_diff_id(
    connection: &Connection,
    diff_id: DiffId,
    id_map: Option<&str>,
) -> Result<Vec<LayerInfo>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM layers WHERE diff_id = ?1 AND committed
         AND (?2 IS NULL OR id_map = ?2) ORDER BY id"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params![diff_id.0.as_bytes(), id_map], read_info)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn read_info(row: &Row<'_>) -> rusqlite::Result<LayerInfo> {
    Ok(LayerInfo {
        id: LayerId::from_row(row.get(0)?),
        diff_id: row
            .get::<_, Option<[u8; 32]>>(1)?
            .map(|bytes| DiffId(Digest::from_bytes(bytes))),
        tar_size: row.get::<_, Option<i64>>(2)?.map(i64::unsigned_abs),
        size: row.get::<_, i64>(3)?.unsigned_abs(),
        inodes: row.get::<_, i64>(4)?.unsigned_abs(),
        id_map: row.get(5)?,
        base: row.get(6)?,
        extends: row.get::<_, Option<i64>>(7)?.map(LayerId::from_row),
    })
}

/// A number as SQLite stores it.
pub(crate) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
