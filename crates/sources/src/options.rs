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

/// Assembles bases from packages and stores them as images.
pub trait Assembler: Send + Sync {
    /// Whether there is a recipe for this name.
    fn covers(&self, reference: &Reference) -> bool;

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
