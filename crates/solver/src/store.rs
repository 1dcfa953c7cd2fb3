//! What a cache must be able to do.

use std::sync::Arc;

use distil_oci::Digest;

use crate::error::StoreError;
use crate::key::CacheKey;
use crate::op::ResultHandle;

/// A key as a store knows it: more than 0 and never used again for another key, also when this one is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub i64);

/// Where a link starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// At a key found before in the same store.
    Node(NodeId),
    /// At the root with this record digest, if the store has it.
    Root(Digest),
}

/// One name of an input in a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QueryKey {
    /// The key of what is used.
    pub source: Source,
    /// Which part of it.
    pub selector: Option<Digest>,
}

/// A result that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The store's own id of it.
    pub id: i64,
    /// Nanoseconds since 1970.
    pub created_at: i64,
}

/// What is to be saved for one output.
#[derive(Debug, Clone)]
pub struct SaveEntry {
    /// The name of the vertex, for people.
    pub name: String,
    /// The keys that name it; at least one.
    pub keys: Vec<Arc<CacheKey>>,
    /// The result; without one only missing links are added.
    pub result: Option<ResultHandle>,
}

/// A graph of keys with results. Shared by threads and usually by processes.
///
/// The keys are nodes; a link leads from the key of an input, by (number of the input, record digest, selector), to
/// the key of a result. Look-ups run on the scheduling thread and have to be quick.
pub trait CacheStore: Send + Sync {
    /// The root with this record digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn root(&self, record: &Digest) -> Result<Option<NodeId>, StoreError>;

    /// Whether any key with this record digest is there. A wrong `true` costs time, a wrong `false` a cache hit.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn knows(&self, record: &Digest) -> Result<bool, StoreError>;

    /// Follows links to keys with digest `record`. The answer has, for each input and each of its keys, the nodes that
    /// the key leads to.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn query(&self, record: &Digest, inputs: &[Vec<QueryKey>]) -> Result<Vec<Vec<Vec<NodeId>>>, StoreError>;

    /// The results that any of `nodes` has, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn records(&self, nodes: &[NodeId]) -> Result<Vec<Record>, StoreError>;

    /// Loads a result and keeps it from being deleted while the handle lives; `None` when it is gone, which the store
    /// should then forget. Runs on a worker thread.
    ///
    /// # Errors
    /// When the store cannot be read. As with `None`, the next record is tried.
    fn load(&self, record: &Record) -> Result<Option<ResultHandle>, StoreError>;

    /// Saves keys and results, all or nothing, and gives the node of each key of each entry. Runs on a worker thread.
    /// [`crate::save_entry`] is the part of it that all stores have in common.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn save(&self, entries: &[SaveEntry]) -> Result<Vec<Vec<NodeId>>, StoreError>;
}
