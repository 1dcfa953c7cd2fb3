//! What a result becomes in the store.

use distil_oci::Digest;
use distil_solver::ResultHandle;
use distil_store::{CacheRecord, LayerId};

use crate::ops::Output;

/// A result as the store keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its layers, lowest first; kept as long as the record.
    pub(crate) layers: Vec<LayerId>,
    /// Its blobs; kept as long as the record.
    pub(crate) blobs: Vec<Digest>,
    /// Anything else.
    pub(crate) payload: Vec<u8>,
}

/// Turns results into what a store can keep, and back.
pub(crate) trait ResultCodec: Send + Sync {
    /// `None` for a result that lives only in this process: its keys are saved, not the result.
    fn encode(&self, result: &ResultHandle) -> Option<Stored>;

    /// `None` when the record holds something else than such a result.
    fn decode(&self, record: CacheRecord) -> Option<ResultHandle>;
}

/// For [`Output`].
pub(crate) struct OutputCodec;

impl ResultCodec for OutputCodec {
    fn encode(&self, result: &ResultHandle) -> Option<Stored> {
        match result.downcast_ref::<Output>()? {
            Output::Layers(layers) => Some(Stored {
                layers: layers.clone(),
                ..Stored::default()
            }),
            Output::Context(_) => None,
        }
    }

    fn decode(&self, record: CacheRecord) -> Option<ResultHandle> {
        // A payload was written by a later version, for which the layers alone are not the result.
        record
            .payload
            .is_empty()
            .then(|| Output::Layers(record.layers).into_handle())
    }
}
