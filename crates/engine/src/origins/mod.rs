//! Records of where files of images come from; see [`distil_audit::origin`].
//!
//! What a COPY brought is told when it runs, while the stage that it reads is at hand: later that stage may be gone
//! from the cache. What made each layer of an image is told when the image is written. A build that finds everything
//! in the cache, and the image's record in the store, writes nothing.

mod chain;
mod copies;
mod owners;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
mod tests;

use std::sync::Arc;

use distil_audit::origin::{self, ImageRecord, LayerStep, Step};
use distil_llb::{Definition, LoadedGraph, OpNode};
use distil_oci::Digest;

use crate::error::BuildError;
use crate::{BuildResult, DockerfileText, Engine};

pub(crate) use self::copies::{Copies, remember};
pub(crate) use self::owners::OwnerLists;

/// The graph of a build and the Dockerfile that it was made from.
#[derive(Debug)]
pub struct BuildSource {
    dockerfile: String,
    text: Digest,
    definition: Definition,
    graph: Arc<LoadedGraph>,
}

impl BuildSource {
    pub(crate) fn new(
        dockerfile: &DockerfileText,
        definition: &Definition,
        graph: &Arc<LoadedGraph>,
    ) -> Self {
        Self {
            dockerfile: dockerfile.name.clone(),
            text: Digest::sha256(&dockerfile.text),
            definition: definition.clone(),
            graph: Arc::clone(graph),
        }
    }

    fn step(&self, node: &OpNode) -> Step {
        Step {
            lines: first_lines(&self.definition, node),
            ..step(node)
        }
    }
}

/// A step without its lines.
fn step(node: &OpNode) -> Step {
    Step {
        op: node.digest.digest(),
        name: node.display_name(),
        lines: None,
    }
}

/// The lines of the first instruction that became this operation: equal ones of several stages are one operation.
fn first_lines(definition: &Definition, node: &OpNode) -> Option<(u32, u32)> {
    let places = definition
        .source
        .as_ref()?
        .locations
        .get(&node.digest.to_string())?;
    let ranges = &places.locations.first()?.ranges;
    let line = |position: Option<distil_llb::pb::Position>| u32::try_from(position?.line).ok();
    let first = ranges.iter().filter_map(|range| line(range.start)).min()?;
    let last = ranges.iter().filter_map(|range| line(range.end)).max()?;
    Some((first, last))
}

impl Engine {
    /// Writes down which steps made the layers of `image`, an image made of `result`, unless that is known already.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn record_origins(&self, result: &BuildResult, image: &Digest) -> Result<(), BuildError> {
        let source = &result.source;
        let known = self.store.image_origins(image)?;
        if let Some(known) = known.and_then(|bytes| ImageRecord::from_json(&bytes))
            && known.text == source.text
            && known
                .layers
                .iter()
                .map(|layer| layer.layer)
                .eq(result.layers.iter().copied())
        {
            return Ok(());
        }
        let nodes = source.graph.nodes();
        let makers = match &source.graph.result {
            Some(output) => chain::makers(&source.graph, output, result.layers.len()),
            None => vec![None; result.layers.len()],
        };
        let index = |maker: &Option<&OpNode>| {
            let digest = maker.as_ref()?.digest;
            let at = nodes.iter().position(|node| node.digest == digest)?;
            u32::try_from(at).ok()
        };
        let layers = result.layers.iter().zip(&makers);
        let record = ImageRecord {
            dockerfile: source.dockerfile.clone(),
            text: source.text,
            steps: nodes.iter().map(|node| source.step(node)).collect(),
            layers: layers
                .map(|(layer, maker)| LayerStep {
                    layer: *layer,
                    step: index(maker),
                })
                .collect(),
        };
        Ok(origin::write_image(&self.store, image, &record)?)
    }
}
