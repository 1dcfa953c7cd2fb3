//! Finding or making the node of a key.

use std::collections::HashMap;
use std::sync::Arc;

use distil_oci::Digest;

use crate::error::StoreError;
use crate::key::{CacheKey, KeyLink};
use crate::store::NodeId;

/// The steps that saving a key is made of, inside one transaction of a store.
pub trait KeyWriter {
    /// Whether `node` is still there and has this record digest.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn exists(&mut self, node: NodeId, record: &Digest) -> Result<bool, StoreError>;

    /// The root with this record digest, made when there is none.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn root(&mut self, record: &Digest) -> Result<NodeId, StoreError>;

    /// Makes a key that is no root.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn create(&mut self, record: &Digest) -> Result<NodeId, StoreError>;

    /// Where the links lead that start at `source`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn targets(&mut self, source: NodeId, link: &Link<'_>) -> Result<Vec<NodeId>, StoreError>;

    /// Adds a link unless it is there.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn link(&mut self, source: NodeId, link: &Link<'_>, target: NodeId) -> Result<(), StoreError>;
}

/// What a link says beside where it starts and ends.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Which input of the target it is.
    pub input: u32,
    /// The target's record digest.
    pub record: &'a Digest,
    /// Which part of the input is used.
    pub selector: Option<&'a Digest>,
}

/// The node of `key`: the one it is known to have, else one that is equal, else a new one, linked from all its inputs.
/// Keys of inputs that the store does not have are saved first.
///
/// # Errors
/// What `writer` returns.
pub fn save_entry(writer: &mut dyn KeyWriter, key: &Arc<CacheKey>) -> Result<NodeId, StoreError> {
    let mut known: HashMap<*const CacheKey, NodeId> = HashMap::new();
    let mut stack = vec![key];
    // Inputs before their users, on a stack of our own: the chain can be longer than the thread's.
    while let Some(&top) = stack.last() {
        if known.contains_key(&Arc::as_ptr(top)) {
            stack.pop();
            continue;
        }
        let hint = live_hint(writer, top)?;
        if let Some(node) = hint.filter(|_| !Arc::ptr_eq(top, key)) {
            known.insert(Arc::as_ptr(top), node);
            continue;
        }
        let links = || top.inputs().iter().flatten();
        let before = stack.len();
        stack.extend(
            links()
                .map(|link| &link.key)
                .filter(|key| !known.contains_key(&Arc::as_ptr(key))),
        );
        if stack.len() == before {
            let node = resolve(writer, top, hint, &known)?;
            known.insert(Arc::as_ptr(top), node);
        }
    }
    Ok(known[&Arc::as_ptr(key)])
}

fn live_hint(writer: &mut dyn KeyWriter, key: &CacheKey) -> Result<Option<NodeId>, StoreError> {
    match key.node() {
        Some(node) if writer.exists(node, key.record())? => Ok(Some(node)),
        _ => Ok(None),
    }
}

fn resolve(
    writer: &mut dyn KeyWriter,
    key: &CacheKey,
    hint: Option<NodeId>,
    known: &HashMap<*const CacheKey, NodeId>,
) -> Result<NodeId, StoreError> {
    if key.inputs().is_empty() {
        return hint.map_or_else(|| writer.root(key.record()), Ok);
    }
    let mut equal: Option<Vec<NodeId>> = None;
    let mut missing = Vec::new();
    for (input, links) in (0..).zip(key.inputs()) {
        let mut reached = Vec::new();
        let decides = |alternative: &KeyLink| alternative.content || !links.iter().any(|link| link.content);
        for alternative in links {
            let source = known[&Arc::as_ptr(&alternative.key)];
            let link = Link {
                input,
                record: key.record(),
                selector: alternative.selector.as_ref(),
            };
            let targets = writer.targets(source, &link)?;
            if decides(alternative) {
                reached.extend_from_slice(&targets);
            }
            missing.push((source, link, targets));
        }
        match &mut equal {
            None => equal = Some(reached),
            Some(equal) => equal.retain(|node| reached.contains(node)),
        }
    }
    let node = match hint.or_else(|| equal.unwrap_or_default().into_iter().min()) {
        Some(node) => node,
        None => writer.create(key.record())?,
    };
    for (source, link, targets) in missing {
        if !targets.contains(&node) {
            writer.link(source, &link, node)?;
        }
    }
    Ok(node)
}
