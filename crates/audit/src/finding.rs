//! What a check says about an image.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::{Entry, ImageView, Instruction, printable_path};

/// How bad a finding is. The names are SARIF's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Likely wrong, or more than the image needs.
    Warning,
    /// The image does not work or is not safe.
    Error,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that a check found in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable name of the check, kebab-case: `shell`, `missing-library`. Policies and SARIF rules name it.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The file it is about; none for a finding about the config.
    #[serde(serialize_with = "path_text", skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Index of the layer that brought it, 0 the lowest; see [`ImageView::layers`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
    /// The instruction that made the layer, or that set the part of the config.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<Instruction>,
    /// What is the matter: lower case, no full stop, values in backticks and safe to print.
    pub message: String,
    /// What to do about it, in the same form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// A finding about no file.
    pub fn new(id: &'static str, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            path: None,
            layer: None,
            instruction: None,
            message: message.into(),
            fix: None,
        }
    }

    /// Says which file it is about, and with it the layer and instruction that brought the file.
    #[must_use]
    pub fn at(mut self, view: &ImageView, entry: &Entry) -> Self {
        self.path = Some(entry.path.clone());
        self.layer = Some(entry.layer);
        let layer = view.layers().get(entry.layer);
        self.instruction = layer.and_then(|layer| layer.instruction.clone());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

// serde hands a reference to the field.
#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn path_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => serializer.serialize_str(&printable_path(path)),
        None => serializer.serialize_none(),
    }
}
