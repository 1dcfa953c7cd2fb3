//! Layers from elsewhere: pulled, loaded, or unpacked from a base.

use std::io::Read;

use distil_layer::{LayerError, Unpacked, complete, decompress, unpack};
use distil_oci::DiffId;
use distil_store::{LayerId, LayerInfo, LockMode, base_of};

use crate::active::ActiveSnapshot;
use crate::error::in_layer;
use crate::{SnapshotError, Snapshotter};

/// An unpacked layer that waits for the layers below it. Layers of an image can be unpacked at
/// the same time; they are committed from the lowest up.
#[derive(Debug)]
pub struct ImportedLayer {
    active: ActiveSnapshot,
    unpacked: Unpacked,
}

impl ImportedLayer {
    /// Its diff ID.
    pub fn diff_id(&self) -> DiffId {
        self.unpacked.diff_id
    }

    /// Fits it onto `lower` and makes it a layer.
    pub fn commit(self, lower: &[LayerId]) -> Result<LayerInfo, SnapshotError> {
        let Self { active, mut unpacked } = self;
        let snapshotter = active.snapshotter().clone();
        let mut base = None;
        if unpacked.needs_lower() && !lower.is_empty() {
            let tree = snapshotter.tree(lower)?;
            let dir = active.upper_dir();
            unpacked = complete(&dir, unpacked, &tree, &snapshotter.unpack_options())
                .map_err(in_layer(active.id()))?;
            base = Some(base_of(lower));
        } else if let Some((path, _)) = unpacked.foreign_links.first() {
            return Err(in_layer(active.id())(LayerError::BadEntry {
                path: path.clone(),
                reason: "it is a hard link to a file that does not exist",
            }));
        }
        active.commit_imported(&unpacked, base)
    }
}

impl Snapshotter {
    /// Unpacks a tar, compressed or not, as a layer.
    ///
    /// # Errors
    /// `DiffIdMismatch` when `expected` is given and differs; nothing stays then.
    pub fn import(
        &self,
        reader: impl Read + Send,
        expected: Option<DiffId>,
    ) -> Result<ImportedLayer, SnapshotError> {
        let active = self.prepare(&[])?;
        let failed = in_layer(active.id());
        let reader = decompress(reader).map_err(|source| {
            failed(LayerError::Stream {
                action: "read",
                source,
            })
        })?;
        let unpacked = unpack(reader, &active.upper_dir(), &self.unpack_options()).map_err(failed)?;
        match expected.filter(|expected| *expected != unpacked.diff_id) {
            None => Ok(ImportedLayer { active, unpacked }),
            Some(expected) => Err(SnapshotError::DiffIdMismatch {
                expected,
                actual: unpacked.diff_id,
            }),
        }
    }

    /// The layer with diff ID `expected` on top of `lower`: the one that is here, or else the
    /// one that `open` gives the (compressed or plain) tar of.
    ///
    /// Processes that want the same layer at the same time unpack it once.
    pub fn import_layer<R: Read + Send>(
        &self,
        expected: DiffId,
        lower: &[LayerId],
        open: impl FnOnce() -> Result<R, SnapshotError>,
    ) -> Result<LayerInfo, SnapshotError> {
        if let Some(info) = self.find_by_diff_id(expected, lower)? {
            return Ok(info);
        }
        let _alone = self
            .store()
            .lock(&format!("import {expected}"), LockMode::Exclusive)?;
        if let Some(info) = self.find_by_diff_id(expected, lower)? {
            return Ok(info);
        }
        self.import(open()?, Some(expected))?.commit(lower)
    }
}
