//! Merge and diff: lists of layers, put together or cut.

use std::sync::Arc;

use distil_llb::pb;
use distil_llb::pb::op::Kind;
use distil_snapshot::Snapshotter;
use distil_solver::{CacheMap, Content, Op, OpContext, OpError, Outputs, Resource, ResultHandle};
use distil_store::LayerId;

use super::{OpEnvironment, Output, cache_map};
use crate::cache_map::OpKey;

/// Puts layers on top of each other, or takes those above a common base.
pub(super) struct MergeOp {
    kind: Kind,
    key: OpKey,
    environment: Arc<OpEnvironment>,
}

impl MergeOp {
    pub(super) fn new(kind: Kind, key: OpKey, environment: Arc<OpEnvironment>) -> Self {
        Self {
            kind,
            key,
            environment,
        }
    }
}

impl Op for MergeOp {
    fn cache_map(&self, _ctx: &OpContext) -> Result<CacheMap, OpError> {
        Ok(cache_map(&self.key, Content::Ignored))
    }

    fn maps_inline(&self) -> bool {
        true
    }

    fn resource(&self) -> Resource {
        Resource::Light
    }

    fn exec(&self, _ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        let snapshotter = &self.environment.snapshotter;
        let layers = match &self.kind {
            Kind::Merge(merge) => {
                let mut merged = Vec::new();
                for input in &merge.inputs {
                    merged.extend(layers_of(inputs, input.input, snapshotter)?);
                }
                merged
            }
            Kind::Diff(diff) => {
                let side = |side: &Option<pb::DiffInput>| {
                    layers_of(inputs, side.as_ref().map_or(-1, |side| side.input), snapshotter)
                };
                let (lower, upper) = (side(&diff.lower)?, side(&diff.upper)?);
                match upper.strip_prefix(lower.as_slice()) {
                    Some(above) => above.to_vec(),
                    None => {
                        return Err(OpError::failed(
                            "the difference of two file systems without a common base is not supported",
                        ));
                    }
                }
            }
            _ => Vec::new(),
        };
        Ok(Outputs {
            results: vec![Some(Output::Layers(layers).into_handle())],
            content: Vec::new(),
        })
    }
}

fn layers_of(
    inputs: &[ResultHandle],
    index: i64,
    snapshotter: &Snapshotter,
) -> Result<Vec<LayerId>, OpError> {
    match usize::try_from(index).ok().and_then(|index| inputs.get(index)) {
        Some(handle) => Output::of(handle).layers(snapshotter),
        None => Ok(Vec::new()),
    }
}
