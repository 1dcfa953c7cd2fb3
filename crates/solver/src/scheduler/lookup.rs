//! Finding the keys and records of a task in the stores.

use std::collections::HashSet;
use std::sync::Arc;

use distil_oci::Digest;

use crate::error::StoreError;
use crate::op::ResultHandle;
use crate::store::{CacheStore, NodeId, QueryKey, Record};

pub(super) type Stores = Arc<[Arc<dyn CacheStore>]>;

/// A record digest that a store knows, and how far the inputs of the task lead to it.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) output: u32,
    pub(super) store: usize,
    pub(super) record: Digest,
    /// For each input, the nodes that its keys lead to.
    pub(super) inputs: Vec<Vec<NodeId>>,
    /// The nodes that all inputs lead to: the keys of the output.
    pub(super) nodes: Vec<NodeId>,
    /// Whether every key of every input leads to the first node.
    pub(super) linked: bool,
}

impl Candidate {
    /// Whether the store can still turn out to have the key, given which inputs can get more keys.
    pub(super) fn possible(&self, can_gain: &[bool]) -> bool {
        let settled = || {
            self.inputs
                .iter()
                .zip(can_gain)
                .filter(|(_, gain)| !**gain)
                .map(|(nodes, _)| nodes)
        };
        let Some(first) = settled().next() else {
            return true;
        };
        first
            .iter()
            .any(|node| settled().all(|nodes| nodes.contains(node)))
    }
}

/// The record digests that the stores know among those of a task.
pub(super) fn known(
    stores: &[Arc<dyn CacheStore>],
    records: &[(u32, Digest)],
    roots: bool,
) -> Result<Vec<Candidate>, StoreError> {
    let mut found = Vec::new();
    for (store, backend) in stores.iter().enumerate() {
        for &(output, record) in records {
            let root = if roots { backend.root(&record)? } else { None };
            if root.is_some() || (!roots && backend.knows(&record)?) {
                let nodes = root.into_iter().collect();
                found.push(Candidate {
                    output,
                    store,
                    record,
                    inputs: Vec::new(),
                    nodes,
                    linked: true,
                });
            }
        }
    }
    Ok(found)
}

/// What the inputs of a task are known by.
#[derive(Debug, Default)]
pub(super) struct InputKeys {
    /// The keys of each input; the digest of its content, where known, is the last.
    pub(super) keys: Vec<Vec<QueryKey>>,
    /// Whether the digest of its content is known.
    pub(super) content: Vec<bool>,
}

/// Follows the links from `inputs`, the keys of each input in the store of the candidate.
pub(super) fn follow(
    stores: &[Arc<dyn CacheStore>],
    candidate: &mut Candidate,
    inputs: &InputKeys,
) -> Result<(), StoreError> {
    let answer = stores[candidate.store].query(&candidate.record, &inputs.keys)?;
    if answer.len() != inputs.keys.len() {
        return Err(StoreError::new(format!(
            "look-up of `{}` inputs answered for `{}`",
            inputs.keys.len(),
            answer.len()
        )));
    }
    // What a definition gave once can have had another content than it has now.
    let deciding = |(keys, content): (&Vec<Vec<NodeId>>, &bool)| {
        let from = if *content { keys.len().saturating_sub(1) } else { 0 };
        keys[from..].to_vec()
    };
    candidate.inputs = (answer.iter().zip(&inputs.content))
        .map(|input| {
            let mut nodes = deciding(input).concat();
            nodes.sort_unstable();
            nodes.dedup();
            nodes
        })
        .collect();
    let (first, others) = candidate
        .inputs
        .split_first()
        .map_or((&[][..], &[][..]), |(a, b)| (&a[..], b));
    let common = first
        .iter()
        .filter(|node| others.iter().all(|nodes| nodes.contains(node)));
    candidate.nodes = common.copied().collect();
    candidate.linked = (candidate.nodes.first())
        .is_none_or(|node| answer.iter().flatten().all(|nodes| nodes.contains(node)));
    Ok(())
}

/// Where the results of a task can be loaded from.
#[derive(Debug, Default)]
pub(super) struct LoadPlan {
    /// For each needed output, the records to try, best first.
    pub(super) outputs: Vec<(u32, Vec<(usize, Record)>)>,
}

impl LoadPlan {
    /// The records of all needed outputs; `None` when one of them has none.
    pub(super) fn find(
        stores: &[Arc<dyn CacheStore>],
        candidates: &[Candidate],
        needed: &[u32],
        dead: &HashSet<(usize, i64)>,
    ) -> Result<Option<Self>, StoreError> {
        let mut plan = Self::default();
        for &output in needed {
            let mut records = Vec::new();
            for (store, backend) in stores.iter().enumerate() {
                let here = candidates
                    .iter()
                    .filter(|found| found.output == output && found.store == store);
                let nodes: Vec<_> = here.flat_map(|found| found.nodes.iter().copied()).collect();
                if !nodes.is_empty() {
                    let alive = backend
                        .records(&nodes)?
                        .into_iter()
                        .filter(|record| !dead.contains(&(store, record.id)));
                    records.extend(alive.map(|record| (store, record)));
                }
            }
            if records.is_empty() {
                return Ok(None);
            }
            plan.outputs.push((output, records));
        }
        Ok(Some(plan))
    }

    /// Loads one record for each output.
    pub(super) fn load(self, stores: &[Arc<dyn CacheStore>]) -> Loaded {
        let mut loaded = Loaded {
            results: Vec::new(),
            foreign: false,
            complete: true,
            dead: Vec::new(),
        };
        for (output, records) in self.outputs {
            let mut found = None;
            for (store, record) in records {
                if let Ok(Some(result)) = stores[store].load(&record) {
                    loaded.foreign |= store != 0;
                    found = Some(result);
                    break;
                }
                loaded.dead.push((store, record.id));
            }
            match found {
                Some(result) => loaded.results.push((output, result)),
                None => loaded.complete = false,
            }
        }
        loaded
    }
}

/// What came of a [`LoadPlan`].
#[derive(Debug)]
pub(super) struct Loaded {
    /// By output.
    pub(super) results: Vec<(u32, ResultHandle)>,
    /// Whether any came from another store than the first.
    pub(super) foreign: bool,
    /// Whether every output has its result.
    pub(super) complete: bool,
    /// Records that could not be loaded.
    pub(super) dead: Vec<(usize, i64)>,
}
