//! The steps of a build, and which of them made the layers of an image.

use distil_oci::Digest;
use distil_store::LayerId;
use serde::{Deserialize, Serialize};

use crate::Instruction;

/// Version of the form that records are written in; another one counts as no record.
pub(super) const VERSION: u32 = 1;

/// An instruction of a Dockerfile as a step of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Digest of the LLB operation.
    pub op: Digest,
    /// As progress shows it: `[build 2/4] RUN make`.
    pub name: String,
    /// First and last line in the Dockerfile, from 1. None when the Dockerfile of the image's own build does not have the
    /// step: the layer was made by an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<(u32, u32)>,
}

impl Step {
    /// The stage that it belongs to, as the Dockerfile names it; none in a Dockerfile of one stage.
    #[must_use]
    pub fn stage(&self) -> Option<&str> {
        let (place, _) = self.split()?;
        // `[PLATFORM STAGE NUMBER/TOTAL]`: the platform and the number have a slash, a stage's name has none.
        place
            .split(' ')
            .find(|word| !word.is_empty() && !word.contains('/'))
    }

    /// The instruction as it was written, with variables expanded.
    #[must_use]
    pub fn instruction(&self) -> Instruction {
        Instruction::parse(self.split().map_or(self.name.as_str(), |(_, text)| text))
    }

    fn split(&self) -> Option<(&str, &str)> {
        let (place, text) = self.name.strip_prefix('[')?.split_once("] ")?;
        place
            .ends_with(|letter: char| letter.is_ascii_digit())
            .then_some((place, text))
    }
}

/// A layer of an image and what made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerStep {
    /// The layer in the store that the image was built in.
    pub layer: LayerId,
    /// Index of [`ImageRecord::steps`].
    pub step: Option<u32>,
}

/// What is known of an image as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Name of the Dockerfile, as it was given to the build.
    pub dockerfile: String,
    /// SHA-256 of the Dockerfile's text: lines belong to it.
    pub text: Digest,
    /// All steps of the build's graph, those of other stages too.
    pub steps: Vec<Step>,
    /// Lowest first.
    pub layers: Vec<LayerStep>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    dockerfile: String,
    text: Digest,
    steps: Vec<Step>,
    layers: Vec<(String, Option<u32>)>,
}

impl ImageRecord {
    /// The form that is stored. Equal records have equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let layers = self
            .layers
            .iter()
            .map(|layer| (layer.layer.to_string(), layer.step));
        let stored = Stored {
            version: VERSION,
            dockerfile: self.dockerfile.clone(),
            text: self.text,
            steps: self.steps.clone(),
            layers: layers.collect(),
        };
        // Maps with text as keys, numbers and text: nothing that JSON does not have.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what [`ImageRecord::to_json`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let layer = |(layer, step): (String, Option<u32>)| {
            Some(LayerStep {
                layer: layer.parse().ok()?,
                step,
            })
        };
        (stored.version == VERSION).then_some(())?;
        Some(Self {
            dockerfile: stored.dockerfile,
            text: stored.text,
            steps: stored.steps,
            layers: stored.layers.into_iter().map(layer).collect::<Option<_>>()?,
        })
    }
}
