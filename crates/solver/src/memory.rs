//! A cache that lives as long as its process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use distil_oci::Digest;

use crate::error::StoreError;
use crate::op::ResultHandle;
use crate::save::{KeyWriter, Link, save_entry};
use crate::store::{CacheStore, NodeId, QueryKey, Record, SaveEntry, Source};

#[derive(PartialEq, Eq, Hash)]
struct LinkKey {
    source: NodeId,
    input: u32,
    record: Digest,
    selector: Option<Digest>,
}

impl LinkKey {
    fn new(source: NodeId, link: &Link<'_>) -> Self {
        Self {
            source,
            input: link.input,
            record: *link.record,
            selector: link.selector.copied(),
        }
    }
}

#[derive(Default)]
struct State {
    last: i64,
    nodes: HashMap<NodeId, Digest>,
    by_record: HashMap<Digest, u32>,
    roots: HashMap<Digest, NodeId>,
    links: HashMap<LinkKey, Vec<NodeId>>,
    of_node: HashMap<NodeId, Vec<i64>>,
    results: BTreeMap<i64, ResultHandle>,
}

impl State {
    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }
}

/// A [`CacheStore`] in memory. It keeps every result; a record's time is the order in which it came.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all results and keeps the keys, as if everything had been pruned behind the solver's back.
    pub fn forget_results(&self) {
        self.state().results.clear();
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().nodes.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyWriter for State {
    fn exists(&mut self, node: NodeId, record: &Digest) -> Result<bool, StoreError> {
        Ok(self.nodes.get(&node) == Some(record))
    }

    fn root(&mut self, record: &Digest) -> Result<NodeId, StoreError> {
        if let Some(&node) = self.roots.get(record) {
            return Ok(node);
        }
        let node = self.create(record)?;
        self.roots.insert(*record, node);
        Ok(node)
    }

    fn create(&mut self, record: &Digest) -> Result<NodeId, StoreError> {
        let node = NodeId(self.next());
        self.nodes.insert(node, *record);
        *self.by_record.entry(*record).or_default() += 1;
        Ok(node)
    }

    fn targets(&mut self, source: NodeId, link: &Link<'_>) -> Result<Vec<NodeId>, StoreError> {
        Ok(self
            .links
            .get(&LinkKey::new(source, link))
            .cloned()
            .unwrap_or_default())
    }

    fn link(&mut self, source: NodeId, link: &Link<'_>, target: NodeId) -> Result<(), StoreError> {
        self.links
            .entry(LinkKey::new(source, link))
            .or_default()
            .push(target);
        Ok(())
    }
}

impl CacheStore for MemoryStore {
    fn root(&self, record: &Digest) -> Result<Option<NodeId>, StoreError> {
        Ok(self.state().roots.get(record).copied())
    }

    fn knows(&self, record: &Digest) -> Result<bool, StoreError> {
        Ok(self.state().by_record.contains_key(record))
    }

    fn query(&self, record: &Digest, inputs: &[Vec<QueryKey>]) -> Result<Vec<Vec<Vec<NodeId>>>, StoreError> {
        let mut state = self.state();
        let mut follow = |input: u32, key: &QueryKey| {
            let source = match key.source {
                Source::Node(node) => node,
                Source::Root(root) => match state.roots.get(&root) {
                    Some(&node) => node,
                    None => return Ok(Vec::new()),
                },
            };
            state.targets(
                source,
                &Link {
                    input,
                    record,
                    selector: key.selector.as_ref(),
                },
            )
        };
        (0..)
            .zip(inputs)
            .map(|(input, keys)| keys.iter().map(|key| follow(input, key)).collect())
            .collect()
    }

    fn records(&self, nodes: &[NodeId]) -> Result<Vec<Record>, StoreError> {
        let state = self.state();
        let ids = nodes.iter().filter_map(|node| state.of_node.get(node)).flatten();
        let mut records: Vec<_> = ids.map(|&id| Record { id, created_at: id }).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.created_at));
        records.dedup();
        Ok(records)
    }

    fn load(&self, record: &Record) -> Result<Option<ResultHandle>, StoreError> {
        Ok(self.state().results.get(&record.id).cloned())
    }

    fn save(&self, entries: &[SaveEntry]) -> Result<Vec<Vec<NodeId>>, StoreError> {
        let mut state = self.state();
        let mut saved = Vec::with_capacity(entries.len());
        for entry in entries {
            let nodes = entry
                .keys
                .iter()
                .map(|key| save_entry(&mut *state, key))
                .collect::<Result<Vec<_>, _>>()?;
            if let Some(result) = &entry.result {
                let id = state.next();
                state.results.insert(id, result.clone());
                for node in &nodes {
                    state.of_node.entry(*node).or_default().push(id);
                }
            }
            saved.push(nodes);
        }
        Ok(saved)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::key::{CacheKey, KeyLink};

    fn key(links: &[(&str, bool)]) -> Arc<CacheKey> {
        let link = |&(text, content): &(&str, bool)| {
            let key = Arc::new(CacheKey::new(Digest::sha256(text.as_bytes()), vec![]));
            KeyLink {
                key,
                selector: None,
                content,
            }
        };
        let links = links.iter().map(link).collect();
        Arc::new(CacheKey::new(Digest::sha256(b"step"), vec![links]))
    }

    #[test]
    fn content_decides_which_keys_are_equal() {
        const STAGE: (&str, bool) = ("stage", false);
        const OTHER: (&str, bool) = ("other stage", false);
        const X: (&str, bool) = ("x", true);
        const Y: (&str, bool) = ("y", true);
        let store = MemoryStore::new();
        let save = |links: &[(&str, bool)]| {
            store
                .save(&[SaveEntry {
                    name: String::new(),
                    keys: vec![key(links)],
                    result: None,
                }])
                .unwrap()[0][0]
        };
        let x = save(&[STAGE, X]);
        assert_eq!(save(&[STAGE, X]), x);
        assert_eq!(save(&[X]), x);
        assert_eq!(save(&[OTHER, X]), x, "another way to the same content");
        let y = save(&[STAGE, Y]);
        assert_ne!(y, x, "the stage gave something else when it ran anew");
        assert_eq!(save(&[Y]), y);
        assert_eq!(save(&[OTHER]), x, "a definition alone leads where it led before");
        assert_eq!(save(&[("manifest", false), OTHER]), x);
        assert_eq!(save(&[("manifest", false)]), x);
    }
}
