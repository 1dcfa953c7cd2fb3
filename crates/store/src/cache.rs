//! The build cache: a graph of keys, and the results that they name.
//!
//! The store knows only the shape. A *node* is a key with its record digest; a *link* leads
//! from the key of an input, by (number of the input, record digest, selector), to the key of a
//! result; a *record* is a result: layers, blobs and the engine's own bytes. What digests and
//! selectors mean is the solver's matter.

use distil_oci::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StoreError;
use crate::lease::{self, Resource};
use crate::{LayerId, RecordId, Store, Timestamp};

/// What a record holds, with BuildKit's words for `du` and `prune`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Result of a step.
    Regular,
    /// Needed by the builder itself; spared by a prune without `all`.
    Internal,
    /// Image of a frontend; spared by a prune without `all`.
    Frontend,
    /// Copy of a local build context.
    SourceLocal,
    /// Checkout of a git repository.
    SourceGitCheckout,
    /// Directory of a `RUN --mount=type=cache`.
    ExecCacheMount,
}

const KINDS: &[(RecordKind, &str)] = &[
    (RecordKind::Regular, "regular"),
    (RecordKind::Internal, "internal"),
    (RecordKind::Frontend, "frontend"),
    (RecordKind::SourceLocal, "source.local"),
    (RecordKind::SourceGitCheckout, "source.git.checkout"),
    (RecordKind::ExecCacheMount, "exec.cachemount"),
];

impl RecordKind {
    /// BuildKit's word, such as `exec.cachemount`.
    pub fn as_str(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("regular", |(_, name)| name)
    }

    /// The kind that BuildKit's word `name` means.
    pub fn named(name: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(kind, _)| *kind)
    }

    pub(crate) fn parse(name: &str) -> Result<Self, StoreError> {
        Self::named(name).ok_or_else(|| StoreError::BadValue {
            field: "the kind of a record",
            value: name.to_owned(),
        })
    }
}

/// A result that is to be remembered.
#[derive(Debug, Clone)]
pub struct NewRecord {
    /// What it is.
    pub kind: RecordKind,
    /// For people, such as the step's name.
    pub description: String,
    /// Layers of the result, lowest first.
    pub layers: Vec<LayerId>,
    /// Blobs that the result needs.
    pub blobs: Vec<Digest>,
    /// What the engine needs to make the result again.
    pub payload: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
}

/// A remembered result.
#[derive(Debug, Clone)]
pub struct CacheRecord {
    /// The record.
    pub id: RecordId,
    /// What it is.
    pub kind: RecordKind,
    /// For people.
    pub description: String,
    /// Layers of the result, lowest first.
    pub layers: Vec<LayerId>,
    /// Blobs that the result needs.
    pub blobs: Vec<Digest>,
    /// The engine's own.
    pub payload: Vec<u8>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last held.
    pub last_used: Timestamp,
    /// How often it was held.
    pub uses: u64,
}

/// What a link says beside where it starts and ends.
#[derive(Debug, Clone, Copy)]
pub struct CacheLink<'a> {
    /// Which input of the target it is.
    pub input: u32,
    /// The target's record digest.
    pub record: &'a Digest,
    /// Which part of the input is used.
    pub selector: Option<&'a Digest>,
}

/// The build cache of a store; see [`Store::cache`].
#[derive(Debug, Clone, Copy)]
pub struct BuildCache<'s> {
    store: &'s Store,
}

impl<'s> BuildCache<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// Reads the graph in one transaction.
    pub fn read<T>(
        &self,
        action: impl FnOnce(&CacheGraph<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.store.db().with_read(|tx| {
            action(&CacheGraph {
                connection: tx,
                lease: None,
            })
        })
    }

    /// Changes the graph in one transaction, all or nothing. New records are held by the
    /// handle's lease.
    pub fn write<T>(
        &self,
        action: impl FnOnce(&CacheGraph<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let lease = self.store.lease()?.id();
        self.store.db().with_write(|tx| {
            action(&CacheGraph {
                connection: tx,
                lease: Some(lease),
            })
        })
    }

    /// Loads a record, holds it under the handle's lease and notes the use.
    ///
    /// `None` when it is gone, or when one of its layers or blobs is: the record is forgotten
    /// then.
    pub fn hold(&self, id: RecordId, now: Timestamp) -> Result<Option<CacheRecord>, StoreError> {
        let lease = self.store.lease()?.id();
        let record = self.store.db().with_write(|tx| {
            let Some(record) = read_record(tx, id)? else {
                return Ok(None);
            };
            tx.prepare_cached("UPDATE records SET last_used = ?2, uses = uses + 1 WHERE id = ?1")?
                .execute(params![id.0, now.0])?;
            lease::hold(tx, lease, &Resource::Record(id))?;
            Ok(Some(record))
        })?;
        let Some(record) = record else {
            return Ok(None);
        };
        if self.is_whole(&record)? {
            return Ok(Some(record));
        }
        self.remove(id)?;
        Ok(None)
    }

    /// A record, without holding it.
    pub fn get(&self, id: RecordId) -> Result<Option<CacheRecord>, StoreError> {
        self.store.db().with_read(|tx| read_record(tx, id))
    }

    /// Forgets a record. Its layers and blobs go with the next collection.
    pub fn remove(&self, id: RecordId) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| delete_record(tx, id))
    }

    fn is_whole(&self, record: &CacheRecord) -> Result<bool, StoreError> {
        for layer in &record.layers {
            if self.store.layers().get(*layer)?.is_none() {
                return Ok(false);
            }
        }
        for blob in &record.blobs {
            if !self.store.blobs().contains(blob)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The graph of keys within one transaction. Nodes are row numbers: above 0, never used again.
#[derive(Debug)]
pub struct CacheGraph<'t> {
    connection: &'t Connection,
    /// Of the handle; only in a transaction that writes.
    lease: Option<&'t str>,
}

impl CacheGraph<'_> {
    /// The root with this record digest.
    pub fn root(&self, record: &Digest) -> Result<Option<i64>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT id FROM cache_nodes WHERE digest = ?1 AND root")?;
        Ok(select
            .query_row([record.as_bytes()], |row| row.get(0))
            .optional()?)
    }

    /// Whether any node has this record digest.
    pub fn knows(&self, record: &Digest) -> Result<bool, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT 1 FROM cache_nodes WHERE digest = ?1")?;
        Ok(select.exists([record.as_bytes()])?)
    }

    /// Whether `node` is still there and has this record digest.
    pub fn exists(&self, node: i64, record: &Digest) -> Result<bool, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT 1 FROM cache_nodes WHERE id = ?1 AND digest = ?2")?;
        Ok(select.exists(params![node, record.as_bytes()])?)
    }

    /// Nodes that a link leads to from `source`, oldest first.
    pub fn targets(&self, source: i64, link: &CacheLink<'_>) -> Result<Vec<i64>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT target FROM cache_links
             WHERE source = ?1 AND input = ?2 AND digest = ?3 AND selector = ?4 ORDER BY target",
        )?;
        let rows = select.query_map(
            params![source, link.input, link.record.as_bytes(), selector_bytes(link)],
            |row| row.get(0),
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The records of a node with their times of creation, newest first.
    pub fn records(&self, node: i64) -> Result<Vec<(RecordId, Timestamp)>, StoreError> {
        let mut select = self.connection.prepare_cached(
            "SELECT records.id, records.created FROM cache_results
             JOIN records ON records.id = cache_results.record
             WHERE cache_results.node = ?1 ORDER BY records.created DESC, records.id DESC",
        )?;
        let rows = select.query_map([node], |row| Ok((RecordId(row.get(0)?), Timestamp(row.get(1)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The root with this record digest, made when there is none.
    pub fn make_root(&self, record: &Digest) -> Result<i64, StoreError> {
        match self.root(record)? {
            Some(node) => Ok(node),
            None => self.insert_node(record, true),
        }
    }

    /// Makes a node that is no root.
    pub fn make_node(&self, record: &Digest) -> Result<i64, StoreError> {
        self.insert_node(record, false)
    }

    fn insert_node(&self, record: &Digest, root: bool) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached("INSERT INTO cache_nodes(digest, root) VALUES (?1, ?2)")?
            .execute(params![record.as_bytes(), root])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Adds a link unless it is there.
    pub fn link(&self, source: i64, link: &CacheLink<'_>, target: i64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO cache_links VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                source,
                link.input,
                link.record.as_bytes(),
                selector_bytes(link),
                target
            ])?;
        Ok(())
    }

    /// Remembers a result. It survives collections once [`CacheGraph::name_record`] gave it a
    /// key, and before that as long as the lease of the writing handle.
    pub fn add_record(&self, record: &NewRecord) -> Result<RecordId, StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO records(kind, description, payload, created, last_used, uses, pending)
                 VALUES (?1, ?2, ?3, ?4, ?4, 1, (SELECT epoch FROM state))",
            )?
            .execute(params![
                record.kind.as_str(),
                record.description,
                record.payload,
                record.created.0
            ])?;
        let id = RecordId(self.connection.last_insert_rowid());
        let mut insert = self
            .connection
            .prepare_cached("INSERT INTO record_layers VALUES (?1, ?2, ?3)")?;
        for (position, layer) in (0i64..).zip(&record.layers) {
            insert.execute(params![id.0, position, layer.row()])?;
        }
        let mut insert = self
            .connection
            .prepare_cached("INSERT OR IGNORE INTO record_blobs VALUES (?1, ?2)")?;
        for blob in &record.blobs {
            insert.execute(params![id.0, blob.as_bytes()])?;
        }
        if let Some(lease) = self.lease {
            lease::hold(self.connection, lease, &Resource::Record(id))?;
        }
        Ok(id)
    }

    /// Lets `node` name a record, which may have several names.
    pub fn name_record(&self, node: i64, record: RecordId) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO cache_results VALUES (?1, ?2)")?
            .execute(params![node, record.0])?;
        Ok(())
    }

    /// All nodes that name a record.
    pub fn names(&self, record: RecordId) -> Result<Vec<i64>, StoreError> {
        let mut select = self
            .connection
            .prepare_cached("SELECT node FROM cache_results WHERE record = ?1 ORDER BY node")?;
        let rows = select.query_map([record.0], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn selector_bytes<'a>(link: &CacheLink<'a>) -> &'a [u8] {
    link.selector
        .map_or(&[], |selector| selector.as_bytes().as_slice())
}

pub(crate) fn read_record(connection: &Connection, id: RecordId) -> Result<Option<CacheRecord>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT kind, description, payload, created, last_used, uses FROM records WHERE id = ?1",
    )?;
    let Some((kind, mut record)) = select.query_row([id.0], |row| read_row(id, row)).optional()? else {
        return Ok(None);
    };
    record.kind = RecordKind::parse(&kind)?;
    let mut select =
        connection.prepare_cached("SELECT layer FROM record_layers WHERE record = ?1 ORDER BY position")?;
    for layer in select.query_map([id.0], |row| row.get(0))? {
        record.layers.push(LayerId::from_row(layer?));
    }
    let mut select = connection.prepare_cached("SELECT digest FROM record_blobs WHERE record = ?1")?;
    for digest in select.query_map([id.0], |row| row.get(0))? {
        record.blobs.push(Digest::from_bytes(digest?));
    }
    Ok(Some(record))
}

fn read_row(id: RecordId, row: &Row<'_>) -> rusqlite::Result<(String, CacheRecord)> {
    let record = CacheRecord {
        id,
        kind: RecordKind::Regular,
        description: row.get(1)?,
        layers: Vec::new(),
        blobs: Vec::new(),
        payload: row.get(2)?,
        created: Timestamp(row.get(3)?),
        last_used: Timestamp(row.get(4)?),
        uses: row.get::<_, i64>(5)?.unsigned_abs(),
    };
    Ok((row.get(0)?, record))
}

pub(crate) fn delete_record(connection: &Connection, id: RecordId) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM records WHERE id = ?1",
        "DELETE FROM record_layers WHERE record = ?1",
        "DELETE FROM record_blobs WHERE record = ?1",
        "DELETE FROM cache_results WHERE record = ?1",
        "DELETE FROM held_records WHERE record = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id.0])?;
    }
    Ok(())
}
