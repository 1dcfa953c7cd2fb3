//! Cache keys and how their digests are made. The formulas are BuildKit's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use distil_oci::Digest;

use crate::store::NodeId;

/// The record digest of output `output` of an op whose cache map has `digest`: sha256 of `<digest>@<output>`.
#[must_use]
pub fn output_record(digest: &Digest, output: u32) -> Digest {
    Digest::sha256(format!("{digest}@{output}").as_bytes())
}

/// The record digest of a content key: sha256 of `<digest>@-1`.
#[must_use]
pub fn content_record(digest: &Digest) -> Digest {
    Digest::sha256(format!("{digest}@-1").as_bytes())
}

/// One way to name an input of a key.
#[derive(Debug, Clone)]
pub struct KeyLink {
    /// The key of what is used.
    pub key: Arc<CacheKey>,
    /// Which part of it is used; `None` for all of it and for a content key, which covers the used part alone.
    pub selector: Option<Digest>,
    /// The key is the digest of what is used. A definition can give another result when it runs anew, so that content,
    /// where it is known, decides alone which keys are equal.
    pub content: bool,
}

/// The alternative names of one input, each of which alone identifies it.
pub type KeyInput = Vec<KeyLink>;

/// The identity of a result: what was done, and to what.
///
/// A key without inputs is a *root*: a source, or a digest of content. Two keys are equal when their record digests are
/// and each input is: by its content where that is known, else by any link in common. A store gives equal keys one
/// [`NodeId`].
pub struct CacheKey {
    record: Digest,
    inputs: Vec<KeyInput>,
    node: AtomicI64,
}

impl CacheKey {
    /// The key of an output.
    #[must_use]
    pub fn new(record: Digest, inputs: Vec<KeyInput>) -> Self {
        Self {
            record,
            inputs,
            node: AtomicI64::new(0),
        }
    }

    /// A root key for content with `digest`.
    #[must_use]
    pub fn content(digest: &Digest) -> Self {
        Self::new(content_record(digest), Vec::new())
    }

    /// [`output_record`] or [`content_record`]; the name of the key in an exported cache.
    #[must_use]
    pub fn record(&self) -> &Digest {
        &self.record
    }

    /// The alternative links of each input; empty for a root.
    #[must_use]
    pub fn inputs(&self) -> &[KeyInput] {
        &self.inputs
    }

    /// Where the solver's first store had the key when it was last seen there. The node may be gone since.
    #[must_use]
    pub fn node(&self) -> Option<NodeId> {
        match self.node.load(Ordering::Relaxed) {
            0 => None,
            id => Some(NodeId(id)),
        }
    }

    pub(crate) fn set_node(&self, node: NodeId) {
        self.node.store(node.0, Ordering::Relaxed);
    }
}

impl fmt::Debug for CacheKey {
    // Not recursive: keys form a graph, whose paths can be very many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = self.inputs.len();
        f.debug_struct("CacheKey")
            .field("record", &self.record)
            .field("inputs", &inputs)
            .finish_non_exhaustive()
    }
}

/// Takes a chain apart step by step: the default would recurse once for each key of it.
impl Drop for CacheKey {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.inputs);
        while let Some(links) = pending.pop() {
            for link in links {
                if let Some(mut key) = Arc::into_inner(link.key) {
                    pending.append(&mut key.inputs);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_digests_are_buildkits() {
        // The root of `busybox` in the golden cases, from its manifest and platform.
        let json = r#"{"Digest":"sha256:42b87bd586121e2a9e527568378b57aa8b908799e2e807101e72e676e8e84ee0","OS":"linux","Arch":"amd64"}"#;
        let source = format!("buildkit.source.v0:{}", Digest::sha256(json.as_bytes()));
        let map = Digest::sha256(source.as_bytes());
        assert_eq!(
            output_record(&map, 0).to_string(),
            "sha256:d8f3c4231d908826bbf3e2381fdedfd74527ef23ef47161310c7d4137328de45"
        );
        assert_eq!(
            content_record(&map),
            Digest::sha256(format!("{map}@-1").as_bytes())
        );
    }

    #[test]
    fn a_very_long_chain_is_dropped() {
        let mut key = Arc::new(CacheKey::content(&Digest::sha256(b"start")));
        for _ in 0..200_000 {
            let link = KeyLink {
                key,
                selector: None,
                content: false,
            };
            key = Arc::new(CacheKey::new(*link.key.record(), vec![vec![link]]));
        }
        drop(key);
    }
}
