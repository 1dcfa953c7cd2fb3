//! What earlier runs of a copy wrote, so that the next run can take over the files that did not change: all at
//! once, by adding to the earlier layer, or one by one, by linking them.

use distil_oci::Digest;
use distil_rootfs::{CopiedTree, LinkSource};
use distil_snapshot::Snapshotter;
use distil_store::{LayerId, Store, base_of};

/// Bucket of [`Earlier`] by cache-map digest of the copy, as text: the layer, and where it can be added to, after
/// spaces the number of its entries and what it lies on.
const COPIES: &str = "copies";

/// An addition that wrote this part of its entries is the last one: the next run makes a layer of its own.
const LARGE: u64 = 4;

/// The layer that an earlier run of a copy wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) layer: LayerId,
    /// Where the next run can add to it: its entries below the destination, and the layers below it.
    pub(crate) whole: Option<(u64, String)>,
}

impl Earlier {
    /// A layer that a copy made on top of `lower`, with nothing else in it.
    pub(crate) fn new(layer: LayerId, tree: Option<CopiedTree>, lower: &[LayerId]) -> Self {
        let whole = tree.map(|tree| (tree.entries, base_of(lower)));
        Self { layer, whole }
    }

    /// Number of entries of the layer, if a copy on top of `lower` can add to it.
    pub(crate) fn entries_on(&self, lower: &[LayerId]) -> Option<u64> {
        let (entries, on) = self.whole.as_ref()?;
        (*on == base_of(lower)).then_some(*entries)
    }

    /// What the next run is to know after `tree` was added to this layer.
    pub(crate) fn after(mut self, tree: &CopiedTree) -> Self {
        if tree.written > tree.entries / LARGE {
            self.whole = None;
        }
        self
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let layer = words.next()?.parse().ok()?;
        let whole = match (words.next(), words.next()) {
            (Some(entries), Some(on)) => Some((entries.parse().ok()?, on.to_owned())),
            _ => None,
        };
        Some(Self { layer, whole })
    }

    fn text(&self) -> String {
        match &self.whole {
            Some((entries, on)) => format!("{} {entries} {on}", self.layer),
            None => self.layer.to_string(),
        }
    }
}

/// Whether an earlier run of this copy left a layer.
pub(crate) fn exists(store: &Store, copy: &Digest) -> bool {
    matches!(store.get_value(COPIES, copy.as_bytes()), Ok(Some(_)))
}

/// The layer that a run of the copy with this cache-map digest wrote, held from garbage collection.
/// Anything unreadable counts as none: it only costs the copying.
pub(crate) fn find(snapshotter: &Snapshotter, copy: &Digest) -> Option<(Earlier, LinkSource)> {
    let value = snapshotter.store().get_value(COPIES, copy.as_bytes()).ok()??;
    let earlier = Earlier::parse(std::str::from_utf8(&value).ok()?)?;
    snapshotter.info(earlier.layer).ok()?;
    let source = LinkSource {
        dir: snapshotter.layer_dir(earlier.layer),
        manifest: snapshotter.manifest(earlier.layer)?,
        below: false,
    };
    Some((earlier, source))
}

/// Remembers a layer for the next run. Failing to do so costs the next run its links, not this one.
pub(crate) fn remember(store: &Store, copy: &Digest, earlier: &Earlier) {
    let _ = store.set_value(COPIES, copy.as_bytes(), Some(earlier.text().as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again() {
        let layer = |id: &str| id.parse::<LayerId>().expect("an id");
        let tree = CopiedTree {
            entries: 40,
            ..CopiedTree::default()
        };
        for lower in [vec![], vec![layer("3")], vec![layer("3"), layer("12")]] {
            for tree in [None, Some(tree)] {
                let earlier = Earlier::new(layer("7"), tree, &lower);
                assert_eq!(Earlier::parse(&earlier.text()), Some(earlier.clone()));
                assert_eq!(earlier.entries_on(&lower), tree.map(|tree| tree.entries));
                assert_eq!(earlier.entries_on(&[layer("4")]), None);
            }
        }
        assert_eq!(Earlier::parse("7"), Some(Earlier::new(layer("7"), None, &[])));
        assert_eq!(Earlier::parse("seven"), None);
    }

    #[test]
    fn a_large_addition_is_the_last() {
        let earlier = Earlier::new("7".parse().expect("an id"), Some(CopiedTree::default()), &[]);
        let written = |written| CopiedTree {
            entries: 100,
            found: 100,
            written,
        };
        assert!(earlier.clone().after(&written(25)).whole.is_some());
        assert!(earlier.after(&written(26)).whole.is_none());
    }
}
