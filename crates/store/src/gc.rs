//! Garbage collection: whatever no named record and no live lease reaches is deleted.
//!
//! *Named* are images, and records of the build cache that a key names. They reach their layers
//! and blobs; a layer reaches its compressed forms. Rows go first, then the files that have no
//! row any more are moved away under the write lock, so that a process which makes the same blob
//! at the same moment is not disturbed, and then deleted outside of it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use distil_oci::Digest;
use rusqlite::Connection;

use crate::cache::{RecordKind, delete_record};
use crate::error::{StoreError, io_error};
use crate::layout::Layout;
use crate::lease;
use crate::lock::{LockMode, flock, is_current};
use crate::remove::remove_tree;
use crate::usage::{self, RecordUsage};
use crate::{LayerId, RecordId, Store, Timestamp};

/// Which records of the build cache a collection gives up. What a live lease holds is always
/// spared, whatever is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune<'a> {
    /// None: only what is unreachable anyway goes.
    Nothing,
    /// Records that were last used before this moment.
    Unused {
        /// Also those that the builder itself needs, and those whose layers an image has too,
        /// which frees no space.
        all: bool,
        /// `None` for any age.
        before: Option<Timestamp>,
    },
    /// These, whatever they are.
    These(&'a [RecordId]),
    /// Least recently used ones, until layers and blobs that no image has take at most this many
    /// bytes. Records whose layers an image has too are spared: they free no space.
    ToSize(u64),
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default)]
pub struct GcReport {
    /// Records of the build cache given up, least recently used first.
    pub records: Vec<RecordUsage>,
    /// Number of layer directories deleted.
    pub layers: usize,
    /// Number of blobs deleted.
    pub blobs: usize,
    /// Bytes of deleted layers (file contents) and blobs.
    pub bytes: u64,
}

/// Default size limit of a store on a filesystem of this many bytes: a tenth of it, but at
/// least 2 and at most 20 GiB.
pub fn default_size_limit(filesystem: u64) -> u64 {
    const GIB: u64 = 1 << 30;
    (filesystem / 10).clamp(2 * GIB, 20 * GIB)
}

impl Store {
    /// Deletes what is unreachable, after giving up records as `prune` says. Other processes
    /// may build meanwhile.
    pub fn collect(&self, prune: Prune<'_>) -> Result<GcReport, StoreError> {
        let layout = &self.shared().layout;
        // Listed before the transaction: a directory that had a row then and has none in it is
        // somebody's refuse, never something new.
        let present = Present::list(layout)?;
        let trash = self.temporary()?;
        fs::create_dir(&trash).map_err(io_error("create", &trash))?;
        let report = self.db().with_write(|tx| {
            forget_dead_leases(tx, layout)?;
            forget(tx, prune)
        })?;
        // A second transaction, which changes no row: killed in it, nothing refers to what was
        // moved. It keeps writers out while it looks which files have rows.
        self.db()
            .with_write(|tx| move_away(tx, layout, &present, &trash))?;
        remove_tree(&trash).map_err(io_error("delete", &trash))?;
        clear_abandoned(layout, &present)?;
        Ok(report)
    }

    /// Collects when the store takes more than `limit` bytes beside its images; the automatic
    /// collection, to be called at the end of a build.
    pub fn collect_above(&self, limit: u64) -> Result<Option<GcReport>, StoreError> {
        if !self.is_above(limit)? {
            return Ok(None);
        }
        self.collect(Prune::ToSize(limit)).map(Some)
    }

    /// What [`Store::collect`] would do now.
    pub fn collect_dry_run(&self, prune: Prune<'_>) -> Result<GcReport, StoreError> {
        let layout = &self.shared().layout;
        let mut report = GcReport::default();
        let undone = self.db().with_write(|tx| -> Result<(), StoreError> {
            forget_dead_leases(tx, layout)?;
            report = forget(tx, prune)?;
            Err(StoreError::Sqlite(rusqlite::Error::ExecuteReturnedResults))
        });
        match undone {
            // The error above, which undoes everything.
            Err(StoreError::Database {
                source: rusqlite::Error::ExecuteReturnedResults,
                ..
            }) => Ok(report),
            Err(error) => Err(error),
            Ok(()) => Ok(report),
        }
    }

    /// Size limit of this store where none is set: [`default_size_limit`] of its filesystem.
    pub fn default_size_limit(&self) -> Result<u64, StoreError> {
        let root = self.root();
        let stat = rustix::fs::statvfs(root).map_err(|errno| io_error("examine", root)(errno.into()))?;
        Ok(default_size_limit(stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}

/// Files found before a collection.
struct Present {
    snapshots: Vec<String>,
    blobs: Vec<String>,
    sessions: Vec<String>,
}

impl Present {
    fn list(layout: &Layout) -> Result<Self, StoreError> {
        Ok(Self {
            snapshots: names(&layout.snapshots())?,
            blobs: names(&layout.blobs())?,
            sessions: names(&layout.tmp())?,
        })
    }
}

fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = fs::read_dir(dir).map_err(io_error("read", dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io_error("read", dir))?.file_name();
        names.extend(name.into_string().ok());
    }
    Ok(names)
}

pub(crate) fn forget_dead_leases(connection: &Connection, layout: &Layout) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached("SELECT id FROM leases")?;
    let ids = select
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    for id in ids.iter().filter(|id| !lease::is_alive(layout, id)) {
        lease::forget(connection, id)?;
    }
    Ok(())
}

/// Deletes all rows that are to go.
fn forget(connection: &Connection, prune: Prune<'_>) -> Result<GcReport, StoreError> {
    let mut summary = GcReport::default();
    delete_nameless_records(connection)?;
    for record in choose(connection, prune)? {
        delete_record(connection, record.id)?;
        summary.records.push(record);
    }
    if !summary.records.is_empty() {
        delete_dead_keys(connection)?;
    }
    let (layers, bytes) = count(connection, "layers", DEAD_LAYERS)?;
    (summary.layers, summary.bytes) = (layers, bytes);
    connection.execute(&format!("DELETE FROM layers WHERE {DEAD_LAYERS}"), [])?;
    connection.execute(
        "DELETE FROM clamped_layers WHERE layer NOT IN (SELECT id FROM layers)",
        [],
    )?;
    crate::origins::forget_dead(connection)?;
    connection.execute(
        "DELETE FROM layer_blobs WHERE diff_id NOT IN (
             SELECT diff_id FROM layers WHERE diff_id IS NOT NULL
             UNION ALL SELECT diff_id FROM clamped_layers)",
        [],
    )?;
    let (blobs, bytes) = count(connection, "blobs", DEAD_BLOBS)?;
    summary.blobs = blobs;
    summary.bytes = summary.bytes.saturating_add(bytes);
    connection.execute(&format!("DELETE FROM blobs WHERE {DEAD_BLOBS}"), [])?;
    Ok(summary)
}

/// A layer that is extended lives as long as those that add to it.
const DEAD_LAYERS: &str = "id NOT IN (
    WITH used(layer) AS (SELECT layer FROM record_layers UNION SELECT layer FROM image_layers
        UNION SELECT layer FROM held_layers)
    SELECT layer FROM used
    UNION ALL SELECT extends FROM layers JOIN used ON layers.id = used.layer WHERE extends IS NOT NULL)";

/// To be asked once the dead layers are gone.
const DEAD_BLOBS: &str = "digest NOT IN (
    SELECT digest FROM record_blobs UNION ALL SELECT digest FROM image_blobs
    UNION ALL SELECT digest FROM held_blobs UNION ALL SELECT digest FROM layer_blobs)";

fn count(connection: &Connection, table: &str, condition: &str) -> Result<(usize, u64), StoreError> {
    let sql = format!("SELECT count(*), coalesce(sum(size), 0) FROM {table} WHERE {condition}");
    let (number, bytes): (i64, i64) = connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((usize::try_from(number).unwrap_or(0), bytes.unsigned_abs()))
}

/// A record that no key names, and no live lease holds, can never be found again.
fn delete_nameless_records(connection: &Connection) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT id FROM records WHERE id NOT IN (SELECT record FROM cache_results)
         AND id NOT IN (SELECT record FROM held_records)",
    )?;
    let ids = select
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<i64>, _>>()?;
    for id in ids {
        delete_record(connection, RecordId(id))?;
    }
    // Rows of records that another boot dropped.
    for table in ["record_layers", "record_blobs", "cache_results", "held_records"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE record NOT IN (SELECT id FROM records)"),
            [],
        )?;
    }
    for table in ["image_layers", "image_blobs", "tags", "repo_digests"] {
        connection.execute(
            &format!("DELETE FROM {table} WHERE image NOT IN (SELECT id FROM images)"),
            [],
        )?;
    }
    Ok(())
}

/// Deletes keys that lead to no record.
fn delete_dead_keys(connection: &Connection) -> Result<(), StoreError> {
    connection.execute_batch(
        "CREATE TEMP TABLE live_nodes(id INTEGER PRIMARY KEY);
         INSERT INTO live_nodes
             WITH RECURSIVE live(id) AS (
                 SELECT node FROM cache_results
                 UNION SELECT cache_links.source FROM cache_links JOIN live ON cache_links.target = live.id)
             SELECT id FROM live;
         DELETE FROM cache_links WHERE target NOT IN (SELECT id FROM live_nodes);
         DELETE FROM cache_nodes WHERE id NOT IN (SELECT id FROM live_nodes);
         DROP TABLE live_nodes;",
    )?;
    Ok(())
}

/// The records to give up, least recently used first.
fn choose(connection: &Connection, prune: Prune<'_>) -> Result<Vec<RecordUsage>, StoreError> {
    if prune == Prune::Nothing {
        return Ok(Vec::new());
    }
    let mut candidates = usage::records(connection)?;
    candidates.retain(|record| !record.in_use);
    candidates.sort_by_key(|record| (record.last_used, record.id));
    match prune {
        Prune::Nothing => Ok(Vec::new()),
        Prune::Unused { all, before } => {
            candidates.retain(|record| {
                let spared = matches!(record.kind, RecordKind::Internal | RecordKind::Frontend);
                let fits = all || !(spared || record.shared);
                fits && before.is_none_or(|before| record.last_used < before)
            });
            Ok(candidates)
        }
        Prune::These(chosen) => {
            let chosen: HashSet<&RecordId> = chosen.iter().collect();
            candidates.retain(|record| chosen.contains(&record.id));
            Ok(candidates)
        }
        Prune::ToSize(limit) => until_below(connection, candidates, limit),
    }
}

/// Takes candidates, oldest first, until what is left beside the images takes at most `limit` bytes.
fn until_below(
    connection: &Connection,
    candidates: Vec<RecordUsage>,
    limit: u64,
) -> Result<Vec<RecordUsage>, StoreError> {
    let mut weights = Weights::read(connection)?;
    let mut chosen = Vec::new();
    for record in candidates.into_iter().filter(|record| !record.shared) {
        if weights.total <= limit {
            break;
        }
        weights.release(connection, record.id)?;
        chosen.push(record);
    }
    Ok(chosen)
}

/// How many records and leases use each layer and blob that no image has, and what these weigh.
struct Weights {
    users: HashMap<Item, (u64, u64)>,
    /// The layers that layers add to, which use them as long as they are used.
    extends: HashMap<LayerId, LayerId>,
    total: u64,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
enum Item {
    Layer(LayerId),
    Blob(Digest),
}

impl Weights {
    fn read(connection: &Connection) -> Result<Self, StoreError> {
        let mut weights = Self {
            users: HashMap::new(),
            extends: HashMap::new(),
            total: 0,
        };
        let mut select = connection.prepare("SELECT id, extends FROM layers WHERE extends IS NOT NULL")?;
        let rows = select.query_map([], |row| {
            Ok((LayerId::from_row(row.get(0)?), LayerId::from_row(row.get(1)?)))
        })?;
        weights.extends = rows.collect::<Result<_, _>>()?;
        let mut select = connection.prepare(&format!(
            "WITH named(layer) AS (SELECT layer FROM record_layers UNION ALL SELECT layer FROM held_layers)
             SELECT used.layer, layers.size, count(*) FROM
                 (SELECT layer FROM named UNION ALL
                  SELECT extends FROM layers WHERE id IN (SELECT layer FROM named) AND extends IS NOT NULL) AS used
             JOIN layers ON layers.id = used.layer
             WHERE used.layer NOT IN ({IMAGE_LAYERS}) GROUP BY used.layer",
            IMAGE_LAYERS = usage::IMAGE_LAYERS,
        ))?;
        let rows = select.query_map([], |row| {
            let layer = Item::Layer(LayerId::from_row(row.get(0)?));
            Ok((layer, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        for row in rows {
            weights.add(row?);
        }
        let mut select = connection.prepare(&format!(
            "SELECT used.digest, blobs.size, count(*) FROM
                 (SELECT digest FROM record_blobs UNION ALL SELECT digest FROM held_blobs) AS used
             JOIN blobs ON blobs.digest = used.digest
             WHERE used.digest NOT IN ({IMAGE_BLOBS}) GROUP BY used.digest",
            IMAGE_BLOBS = usage::image_blobs(),
        ))?;
        let rows = select.query_map([], |row| {
            let blob = Item::Blob(Digest::from_bytes(row.get(0)?));
            Ok((blob, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        for row in rows {
            weights.add(row?);
        }
        Ok(weights)
    }

    fn add(&mut self, (item, size, users): (Item, i64, i64)) {
        let size = size.unsigned_abs();
        self.total = self.total.saturating_add(size);
        self.users.insert(item, (users.unsigned_abs(), size));
    }

    fn release(&mut self, connection: &Connection, record: RecordId) -> Result<(), StoreError> {
        let Some(record) = crate::cache::read_record(connection, record)? else {
            return Ok(());
        };
        let layers = record.layers.into_iter().map(Item::Layer);
        for item in layers.chain(record.blobs.into_iter().map(Item::Blob)) {
            self.release_one(item);
        }
        Ok(())
    }

    fn release_one(&mut self, item: Item) {
        let Some((users, size)) = self.users.get_mut(&item) else {
            return;
        };
        *users = users.saturating_sub(1);
        if *users > 0 {
            return;
        }
        self.total = self.total.saturating_sub(*size);
        if let Item::Layer(layer) = item
            && let Some(extended) = self.extends.get(&layer)
        {
            self.release_one(Item::Layer(*extended));
        }
    }
}

/// Moves files that have no row any more into `trash`.
fn move_away(
    connection: &Connection,
    layout: &Layout,
    present: &Present,
    trash: &Path,
) -> Result<(), StoreError> {
    let layers: HashSet<String> = column(connection, "SELECT CAST(id AS TEXT) FROM layers")?;
    let blobs: HashSet<String> = column(connection, "SELECT lower(hex(digest)) FROM blobs")?;
    let refuse = |names: &[String], known: &HashSet<String>, dir: PathBuf| -> Vec<PathBuf> {
        names
            .iter()
            .filter(|name| !known.contains(*name))
            .map(|name| dir.join(name))
            .collect()
    };
    let mut moved = refuse(&present.snapshots, &layers, layout.snapshots());
    moved.extend(refuse(&present.blobs, &blobs, layout.blobs()));
    for (number, path) in moved.iter().enumerate() {
        match fs::rename(path, trash.join(number.to_string())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("move", path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn column(connection: &Connection, sql: &str) -> Result<HashSet<String>, StoreError> {
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Removes scratch directories and files of leases and locks whose processes are gone.
fn clear_abandoned(layout: &Layout, present: &Present) -> Result<(), StoreError> {
    for session in &present.sessions {
        if !lease::is_alive(layout, session) {
            let path = layout.tmp().join(session);
            remove_tree(&path).map_err(io_error("delete", &path))?;
        }
    }
    for name in names(&layout.leases())? {
        // Asking removes the file of a dead one.
        lease::is_alive(layout, &name);
    }
    for name in names(&layout.locks())? {
        let path = layout.locks().join(name);
        if let Ok(file) = fs::File::open(&path)
            && flock(&file, LockMode::Exclusive, true).is_ok()
            && is_current(&file, &path)
        {
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}
