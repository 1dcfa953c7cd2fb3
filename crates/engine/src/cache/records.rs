//! Keys and records in the metadata database.

use std::sync::Arc;

use distil_oci::Digest;
use distil_solver::{
    CacheStore, KeyWriter, Link, NodeId, QueryKey, Record, ResultHandle, SaveEntry, Source, StoreError,
    save_entry,
};
use distil_store::{CacheGraph, CacheLink, CacheRecord, NewRecord, RecordId, RecordKind, Store, Timestamp};

use super::ResultCodec;

/// The first of a solver's cache stores.
pub(crate) struct StoreCache {
    store: Arc<Store>,
    codec: Box<dyn ResultCodec>,
    id_map: String,
    now: Timestamp,
}

impl StoreCache {
    /// The cache of `store`.
    pub(crate) fn new(store: Arc<Store>, codec: Box<dyn ResultCodec>, id_map: &str, now: Timestamp) -> Self {
        let id_map = id_map.to_owned();
        Self {
            store,
            codec,
            id_map,
            now,
        }
    }

    /// Whether the layers of a record can be used under this user namespace. All of them were once used
    /// together, so that the last one speaks for the others.
    fn is_usable(&self, record: &CacheRecord) -> Result<bool, distil_store::StoreError> {
        let Some(last) = record.layers.last() else {
            return Ok(true);
        };
        let layer = self.store.layers().get(*last)?;
        Ok(layer.is_some_and(|layer| layer.id_map == self.id_map))
    }

    fn save_all(&self, graph: &CacheGraph<'_>, entries: &[SaveEntry]) -> Result<Vec<Vec<NodeId>>, Failure> {
        let mut saved = Vec::with_capacity(entries.len());
        for entry in entries {
            let keys = entry.keys.iter();
            let nodes = keys
                .map(|key| save_entry(&mut Writer(graph), key))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(stored) = entry.result.as_ref().and_then(|result| self.codec.encode(result)) {
                let record = graph.add_record(&NewRecord {
                    kind: RecordKind::Regular,
                    description: entry.name.clone(),
                    layers: stored.layers,
                    blobs: stored.blobs,
                    payload: stored.payload,
                    created: self.now,
                })?;
                for node in &nodes {
                    graph.name_record(node.0, record)?;
                }
            }
            saved.push(nodes);
        }
        Ok(saved)
    }
}

impl CacheStore for StoreCache {
    fn root(&self, record: &Digest) -> Result<Option<NodeId>, StoreError> {
        let node = self.store.cache().read(|graph| graph.root(record));
        Ok(node.map_err(StoreError::new)?.map(NodeId))
    }

    fn knows(&self, record: &Digest) -> Result<bool, StoreError> {
        self.store
            .cache()
            .read(|graph| graph.knows(record))
            .map_err(StoreError::new)
    }

    fn query(&self, record: &Digest, inputs: &[Vec<QueryKey>]) -> Result<Vec<Vec<Vec<NodeId>>>, StoreError> {
        let follow = |graph: &CacheGraph<'_>, input: u32, key: &QueryKey| {
            let source = match key.source {
                Source::Node(node) => Some(node.0),
                Source::Root(root) => graph.root(&root)?,
            };
            let Some(source) = source else {
                return Ok(Vec::new());
            };
            let link = CacheLink {
                input,
                record,
                selector: key.selector.as_ref(),
            };
            Ok(graph.targets(source, &link)?.into_iter().map(NodeId).collect())
        };
        let answer = self.store.cache().read(|graph| {
            let of_input = |(input, keys): (u32, &Vec<QueryKey>)| {
                keys.iter()
                    .map(|key| follow(graph, input, key))
                    .collect::<Result<Vec<_>, _>>()
            };
            (0..).zip(inputs).map(of_input).collect::<Result<Vec<_>, _>>()
        });
        answer.map_err(StoreError::new)
    }

    fn records(&self, nodes: &[NodeId]) -> Result<Vec<Record>, StoreError> {
        let found = self.store.cache().read(|graph| {
            let mut found = Vec::new();
            for node in nodes {
                found.extend(graph.records(node.0)?);
            }
            Ok(found)
        });
        let found = found.map_err(StoreError::new)?.into_iter();
        let mut records: Vec<_> = found
            .map(|(id, created)| Record {
                id: id.0,
                created_at: created.0,
            })
            .collect();
        records.sort_by_key(|record| std::cmp::Reverse((record.created_at, record.id)));
        records.dedup();
        Ok(records)
    }

    fn load(&self, record: &Record) -> Result<Option<ResultHandle>, StoreError> {
        let held = self
            .store
            .cache()
            .hold(RecordId(record.id), self.now)
            .map_err(StoreError::new)?;
        match held {
            Some(record) if self.is_usable(&record).map_err(StoreError::new)? => {
                Ok(self.codec.decode(record))
            }
            _ => Ok(None),
        }
    }

    fn save(&self, entries: &[SaveEntry]) -> Result<Vec<Vec<NodeId>>, StoreError> {
        let mut failed = None;
        let saved = self
            .store
            .cache()
            .write(|graph| match self.save_all(graph, entries) {
                Ok(saved) => Ok(saved),
                Err(Failure::Store(error)) => Err(error),
                Err(Failure::Solver(error)) => {
                    failed = Some(error);
                    // Undoes the transaction; the error that counts is the one kept above.
                    Err(distil_store::StoreError::BadValue {
                        field: "a key",
                        value: String::new(),
                    })
                }
            });
        saved.map_err(|error| failed.unwrap_or_else(|| StoreError::new(error)))
    }
}

/// An error of either crate, inside a transaction.
enum Failure {
    Store(distil_store::StoreError),
    Solver(StoreError),
}

impl From<distil_store::StoreError> for Failure {
    fn from(error: distil_store::StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Solver(error)
    }
}

/// Saves keys within a transaction.
struct Writer<'a, 't>(&'a CacheGraph<'t>);

fn cache_link<'a>(link: &Link<'a>) -> CacheLink<'a> {
    CacheLink {
        input: link.input,
        record: link.record,
        selector: link.selector,
    }
}

impl KeyWriter for Writer<'_, '_> {
    fn exists(&mut self, node: NodeId, record: &Digest) -> Result<bool, StoreError> {
        self.0.exists(node.0, record).map_err(StoreError::new)
    }

    fn root(&mut self, record: &Digest) -> Result<NodeId, StoreError> {
        self.0.make_root(record).map(NodeId).map_err(StoreError::new)
    }

    fn create(&mut self, record: &Digest) -> Result<NodeId, StoreError> {
        self.0.make_node(record).map(NodeId).map_err(StoreError::new)
    }

    fn targets(&mut self, source: NodeId, link: &Link<'_>) -> Result<Vec<NodeId>, StoreError> {
        let nodes = self
            .0
            .targets(source.0, &cache_link(link))
            .map_err(StoreError::new)?;
        Ok(nodes.into_iter().map(NodeId).collect())
    }

    fn link(&mut self, source: NodeId, link: &Link<'_>, target: NodeId) -> Result<(), StoreError> {
        self.0
            .link(source.0, &cache_link(link), target.0)
            .map_err(StoreError::new)
    }
}
