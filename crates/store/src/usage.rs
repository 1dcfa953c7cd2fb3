//! What takes how much space.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use crate::cache::RecordKind;
use crate::error::StoreError;
use crate::{LayerId, RecordId, Store, Timestamp, gc};

/// A record of the build cache, with its share of the space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordUsage {
    /// The record.
    pub id: RecordId,
    /// What it is.
    pub kind: RecordKind,
    /// For people.
    pub description: String,
    /// Bytes of layers (file contents) and blobs that this record was the first to use: every
    /// byte counts for one record.
    pub size: u64,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub last_used: Timestamp,
    /// How often it was used.
    pub uses: u64,
    /// A live process holds it.
    pub in_use: bool,
    /// All its layers belong to stored images too, so that pruning it frees nothing.
    pub shared: bool,
}

/// What a store takes.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Records of the build cache, most recently used first.
    pub records: Vec<RecordUsage>,
    /// Bytes of all layers (file contents) and blobs.
    pub total: u64,
    /// Bytes that images need, counted once.
    pub images: u64,
    /// Bytes that pruning the build cache with `all` would free now, and other refuse.
    pub reclaimable: u64,
}

impl Usage {
    /// Bytes beside the images: what a size limit is compared with, as [`Store::cache_size`].
    pub fn cache(&self) -> u64 {
        self.total.saturating_sub(self.images)
    }
}

impl Store {
    /// What the store takes, for `du`.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let everything = gc::Prune::Unused {
            all: true,
            before: None,
        };
        let reclaimable = self.collect_dry_run(everything)?.bytes;
        self.db().with_read(|tx| {
            let mut records = records(tx)?;
            records.sort_by_key(|record| (std::cmp::Reverse(record.last_used), record.id));
            Ok(Usage {
                records,
                total: total(tx)?,
                images: image_bytes(tx)?,
                reclaimable,
            })
        })
    }

    /// Bytes of all layers (file contents) and blobs.
    pub fn total_size(&self) -> Result<u64, StoreError> {
        self.db().with_read(|tx| total(tx))
    }

    /// Bytes of the layers and blobs that no image has, which is what a size limit is compared
    /// with: images are deleted by name alone, so that they may not cost the build cache its place.
    pub fn cache_size(&self) -> Result<u64, StoreError> {
        self.db()
            .with_read(|tx| Ok(total(tx)?.saturating_sub(image_bytes(tx)?)))
    }

    /// Whether [`Store::cache_size`] is above `limit`. The end of every build asks: the images are looked at only
    /// where everything together is above it.
    pub(crate) fn is_above(&self, limit: u64) -> Result<bool, StoreError> {
        Ok(self.total_size()? > limit && self.cache_size()? > limit)
    }
}

/// The layers that images need, those that they add to included.
pub(crate) const IMAGE_LAYERS: &str = "SELECT layer FROM image_layers
    UNION SELECT extends FROM layers WHERE extends IS NOT NULL AND id IN (SELECT layer FROM image_layers)";

/// The blobs that images need, or that are compressed forms of their layers.
pub(crate) fn image_blobs() -> String {
    format!(
        "SELECT digest FROM image_blobs UNION SELECT digest FROM layer_blobs WHERE diff_id IN (
             SELECT diff_id FROM layers WHERE diff_id IS NOT NULL AND id IN ({IMAGE_LAYERS})
             UNION SELECT diff_id FROM clamped_layers WHERE layer IN ({IMAGE_LAYERS}))"
    )
}

fn total(connection: &Connection) -> Result<u64, StoreError> {
    sum(
        connection,
        "SELECT coalesce((SELECT sum(size) FROM layers), 0) + coalesce((SELECT sum(size) FROM blobs), 0)",
    )
}

fn image_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let image_blobs = image_blobs();
    sum(
        connection,
        &format!(
            "SELECT coalesce((SELECT sum(size) FROM layers WHERE id IN ({IMAGE_LAYERS})), 0)
             + coalesce((SELECT sum(size) FROM blobs WHERE digest IN ({image_blobs})), 0)"
        ),
    )
}

fn sum(connection: &Connection, sql: &str) -> Result<u64, StoreError> {
    Ok(connection
        .query_row(sql, [], |row| row.get::<_, i64>(0))?
        .unsigned_abs())
}

/// All records of the build cache, oldest first.
pub(crate) fn records(connection: &Connection) -> Result<Vec<RecordUsage>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT id, kind, description, created, last_used, uses,
             EXISTS (SELECT 1 FROM held_records WHERE held_records.record = records.id)
         FROM records ORDER BY id",
    )?;
    let rows = select.query_map([], |row| {
        Ok((
            row.get::<_, String>(1)?,
            RecordUsage {
                id: RecordId(row.get(0)?),
                kind: RecordKind::Regular,
                description: row.get(2)?,
                size: 0,
                created: Timestamp(row.get(3)?),
                last_used: Timestamp(row.get(4)?),
                uses: row.get::<_, i64>(5)?.unsigned_abs(),
                in_use: row.get(6)?,
                shared: false,
            },
        ))
    })?;
    let mut records = Vec::new();
    for row in rows {
        let (kind, mut record) = row?;
        record.kind = RecordKind::parse(&kind)?;
        records.push(record);
    }
    attribute(connection, &mut records)?;
    Ok(records)
}

/// Sets `size` and `shared` from the records' layers and blobs.
fn attribute(connection: &Connection, records: &mut [RecordUsage]) -> Result<(), StoreError> {
    let places: HashMap<RecordId, usize> = records
        .iter()
        .enumerate()
        .map(|(place, record)| (record.id, place))
        .collect();
    let mut select = connection.prepare_cached(
        "SELECT record, layer, layers.size,
             EXISTS (SELECT 1 FROM image_layers WHERE image_layers.layer = record_layers.layer)
         FROM record_layers JOIN layers ON layers.id = layer ORDER BY record, position",
    )?;
    let rows = select.query_map([], |row| {
        let layer = LayerId::from_row(row.get(1)?);
        Ok((
            RecordId(row.get(0)?),
            layer,
            row.get::<_, i64>(2)?,
            row.get::<_, bool>(3)?,
        ))
    })?;
    let mut counted = HashSet::new();
    let mut own_layers: HashSet<RecordId> = HashSet::new();
    let mut with_layers: HashSet<RecordId> = HashSet::new();
    for row in rows {
        let (id, layer, size, in_image) = row?;
        with_layers.insert(id);
        if !in_image {
            own_layers.insert(id);
        }
        if let Some(place) = places.get(&id).filter(|_| counted.insert(layer)) {
            records[*place].size += size.unsigned_abs();
        }
    }
    for record in records.iter_mut() {
        record.shared = with_layers.contains(&record.id) && !own_layers.contains(&record.id);
    }
    let mut select = connection.prepare_cached(
        "SELECT min(record), blobs.size FROM record_blobs
         JOIN blobs ON blobs.digest = record_blobs.digest GROUP BY blobs.digest",
    )?;
    let rows = select.query_map([], |row| Ok((RecordId(row.get(0)?), row.get::<_, i64>(1)?)))?;
    for row in rows {
        let (id, size) = row?;
        if let Some(place) = places.get(&id) {
            records[*place].size += size.unsigned_abs();
        }
    }
    Ok(())
}
