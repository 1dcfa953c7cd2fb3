//! Cache keys in the form in which a cache is exported.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use distil_oci::Digest;

use crate::key::CacheKey;

/// One way to reach a record from an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportLink {
    /// The place of the input's record in the list.
    pub record: usize,
    /// Which part of it is used.
    pub selector: Option<Digest>,
}

/// A record of an exported cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportRecord {
    /// See [`CacheKey::record`].
    pub digest: Digest,
    /// The alternative links of each input, sorted; empty for a root, which has no result of its own in an export.
    pub inputs: Vec<Vec<ExportLink>>,
}

/// The records that `keys` consist of, inputs before their users. Equal keys are one record with the links of both.
#[must_use]
pub fn export_records(keys: &[Arc<CacheKey>]) -> Vec<ExportRecord> {
    let mut export = Exporter::default();
    for key in keys {
        export.add(key);
    }
    let finish = |record: Building| ExportRecord {
        digest: record.digest,
        inputs: record
            .inputs
            .into_iter()
            .map(|links| links.into_iter().collect())
            .collect(),
    };
    export.records.into_iter().map(finish).collect()
}

struct Building {
    digest: Digest,
    inputs: Vec<BTreeSet<ExportLink>>,
}

#[derive(Default)]
struct Exporter {
    records: Vec<Building>,
    done: HashMap<*const CacheKey, usize>,
    roots: HashMap<Digest, usize>,
    /// By (number of the input, its link, digest of the user): the users.
    users: HashMap<(usize, ExportLink, Digest), HashSet<usize>>,
}

impl Exporter {
    fn add(&mut self, key: &Arc<CacheKey>) {
        let mut stack = vec![key];
        while let Some(&top) = stack.last() {
            if self.done.contains_key(&Arc::as_ptr(top)) {
                stack.pop();
                continue;
            }
            let before = stack.len();
            let inputs = top.inputs().iter().flatten().map(|link| &link.key);
            stack.extend(inputs.filter(|key| !self.done.contains_key(&Arc::as_ptr(key))));
            if stack.len() == before {
                let record = self.intern(top);
                self.done.insert(Arc::as_ptr(top), record);
            }
        }
    }

    fn intern(&mut self, key: &CacheKey) -> usize {
        let digest = *key.record();
        if key.inputs().is_empty() {
            return *self.roots.entry(digest).or_insert_with(|| {
                self.records.push(Building {
                    digest,
                    inputs: Vec::new(),
                });
                self.records.len() - 1
            });
        }
        let links: Vec<Vec<ExportLink>> = (key.inputs().iter())
            .map(|links| {
                let place = |key| self.done[&Arc::as_ptr(key)];
                links
                    .iter()
                    .map(|link| ExportLink {
                        record: place(&link.key),
                        selector: link.selector,
                    })
                    .collect()
            })
            .collect();
        let at = self.equal(&digest, &links).unwrap_or_else(|| {
            self.records.push(Building {
                digest,
                inputs: vec![BTreeSet::new(); links.len()],
            });
            self.records.len() - 1
        });
        for (input, links) in links.iter().enumerate() {
            for &link in links {
                self.users.entry((input, link, digest)).or_default().insert(at);
                self.records[at].inputs[input].insert(link);
            }
        }
        at
    }

    /// A record of the same digest that shares a link of every input.
    fn equal(&self, digest: &Digest, inputs: &[Vec<ExportLink>]) -> Option<usize> {
        let users = |input: usize| {
            let links = inputs[input].iter();
            let sets = links.filter_map(move |&link| self.users.get(&(input, link, *digest)));
            sets.flatten().copied().collect::<HashSet<_>>()
        };
        let mut common = users(0);
        for input in 1..inputs.len() {
            let next = users(input);
            common.retain(|record| next.contains(record));
        }
        common.into_iter().min()
    }
}
