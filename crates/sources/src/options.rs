//! What a provider of images is told, and who assembles bases for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use distil_oci::{Platform, Reference};
use distil_registry::Remote;
use distil_store::Timestamp;

use crate::ImageError;
use crate::image::Transfer;

/// Where base images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BasesPolicy {
    /// The registry; a base that can be assembled when the registry cannot be reached.
    #[default]
    Auto,
    /// The registry only.
    Registry,
    /// Packages for every base that can be assembled, the registry for others.
    Packages,
}

/// Whether a name that the store knows is looked up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// What the store knows is used without network.
    #[default]
    Missing,
    /// The registry decides.
    Always,
}

/// Whether a name can be assembled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// There is no recipe for it: a registry has it, or nobody.
    Registry,
    /// A recipe makes what stands for the registry's image.
    Recipe,
    /// The name is distil's own. No registry is asked for it, since whoever has that name there is somebody else.
    Own,
}

/// Assembles bases from packages and stores them as images.
pub trait Assembler: Send + Sync {
    /// Whether there is a recipe for this name.
    fn covers(&self, reference: &Reference) -> Coverage;

    /// For a name that is covered: in what its programs are not those of the image that the registry has under it.
    /// Shown in every build that uses the assembled one.
    fn note(&self, reference: &Reference) -> Option<String>;

    /// For a name that is not covered: the nearest one that is, and what differs, as a sentence.
    fn nearest(&self, reference: &Reference) -> Option<String>;

    /// Assembles the base and stores it; gives the digest of its manifest and of its config.
    ///
    /// # Errors
    /// When the archive cannot be reached or trusted, or a step fails.
    fn assemble(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError>;
}

/// A base that was assembled.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// Exact bytes of the manifest.
    pub manifest: Vec<u8>,
    /// Exact bytes of the image config.
    pub config: Vec<u8>,
}

/// What a provider works with.
pub struct ProviderOptions {
    /// OCI layouts asked for every name before anything else.
    pub layouts: Vec<PathBuf>,
    /// OCI layouts by the name that `oci-layout://` gives them.
    pub named_layouts: BTreeMap<String, PathBuf>,
    /// Where base images come from.
    pub policy: BasesPolicy,
    /// The registry client.
    pub remote: Arc<Remote>,
    /// Makes bases from packages.
    pub assembler: Arc<dyn Assembler>,
    /// Ends pulling when it becomes true.
    pub cancelled: Arc<AtomicBool>,
    /// Time of the build.
    pub now: Timestamp,
}
