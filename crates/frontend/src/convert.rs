//! The conversion.

use distil_dockerfile::lint::Warning;
use distil_dockerfile::{Diagnostic, Dockerfile};
use distil_llb::Definition;
use distil_oci::{ImageConfig, Platform};

use crate::lower;
use crate::{ImageResolver, Options, Outline};

/// A stage as it was lowered, for progress and for callers that list targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageInfo {
    /// The name after `AS`, or `stage-N`.
    pub name: String,
    /// Whether the target needs it; others were neither resolved nor lowered.
    pub needed: bool,
    /// How many numbered steps it has.
    pub steps: usize,
}

/// What a Dockerfile becomes.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// The graph; its result is the target stage's filesystem.
    pub definition: Definition,
    /// The config of the image: no layers and no times yet, except times of
    /// history where `SOURCE_DATE_EPOCH` gives them.
    pub image: ImageConfig,
    /// The base image's own config, where there is a base image.
    pub base_image: Option<ImageConfig>,
    /// The platform of the result.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub epoch: Option<i64>,
    /// The stages of the file, in order.
    pub stages: Vec<StageInfo>,
    /// Local names of the directories that the graph reads (`context` is the
    /// main one), sorted.
    pub local_contexts: Vec<String>,
}

/// Lowers `dockerfile`, whose bytes are `source`, for one platform.
///
/// `warn` gets what the build checks find, when they find it, also where the
/// conversion then fails. Rules that are judged while stages are lowered look at
/// the stages that the target needs.
///
/// # Errors
/// Everything that is refused, with its place. Images that the resolver cannot
/// give are errors at the instruction that names them. With `check=error=true`
/// also the names of the rules that were broken.
pub fn convert(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
    warn: &dyn Fn(Warning),
) -> Result<Conversion, Vec<Diagnostic>> {
    lower::lower(dockerfile, source, options, images, warn)
}

/// Runs the build checks alone. Without a target every stage is looked at.
///
/// # Errors
/// As [`convert`]: what would be refused, apart from `check=error=true`.
pub fn check(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
    warn: &dyn Fn(Warning),
) -> Result<(), Vec<Diagnostic>> {
    lower::check(dockerfile, source, options, images, warn)
}

/// What builds of the target can be given. No check is run.
///
/// # Errors
/// As [`convert`], apart from `check=error=true`.
pub fn outline(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
) -> Result<Outline, Vec<Diagnostic>> {
    lower::outline(dockerfile, source, options, images)
}
