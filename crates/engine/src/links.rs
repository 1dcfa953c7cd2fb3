//! What earlier runs of a copy wrote, so that the next run can link the files that did not change.

use distil_oci::Digest;
use distil_rootfs::LinkSource;
use distil_snapshot::Snapshotter;
use distil_store::{LayerId, Store};

/// Bucket of layer id by cache-map digest.
const COPIES: &str = "copies";

/// Whether an earlier run of this copy left a layer.
pub(crate) fn exists(store: &Store, copy: &Digest) -> bool {
    matches!(store.get_value(COPIES, copy.as_bytes()), Ok(Some(_)))
}

/// The layer that the last run of the copy with this cache-map digest wrote, held from garbage collection.
/// Anything unreadable counts as none: it only costs the copying.
pub(crate) fn find(snapshotter: &Snapshotter, copy: &Digest) -> Option<LinkSource> {
    let value = snapshotter.store().get_value(COPIES, copy.as_bytes()).ok()??;
    let layer: LayerId = std::str::from_utf8(&value).ok()?.parse().ok()?;
    snapshotter.info(layer).ok()?;
    let manifest = snapshotter.manifest(layer)?;
    Some(LinkSource {
        dir: snapshotter.layer_dir(layer),
        manifest,
    })
}

/// Remembers a layer for the next run. Failing to do so costs the next run its links, not this one.
pub(crate) fn remember(store: &Store, copy: &Digest, layer: LayerId) {
    let _ = store.set_value(COPIES, copy.as_bytes(), Some(layer.to_string().as_bytes()));
}
