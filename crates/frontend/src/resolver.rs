//! What the conversion has to ask the outside: configs of base images.

use distil_oci::{Digest, Platform, Reference};
use thiserror::Error;

/// Where an image is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ImageName {
    /// By name: the local store, a layout for image names, a registry.
    Named(Reference),
    /// In an OCI layout that a named context gives.
    Layout {
        /// The layout's id, as the context's value spells it.
        store: String,
        /// The manifest or index in it.
        digest: Digest,
    },
}

/// How hard the registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResolveMode {
    /// What the store holds is good enough for a name that it knows.
    #[default]
    Default,
    /// The registry decides (`--pull`).
    Pull,
    /// The store decides, the registry is asked for what it lacks.
    Local,
}

impl ResolveMode {
    /// The value of the attributes `image-resolve-mode` and `image.resolvemode`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Pull => "pull",
            Self::Local => "local",
        }
    }
}

/// One image that the build needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRequest {
    /// Which one.
    pub name: ImageName,
    /// For which platform; of an index, the best match is taken.
    pub platform: Platform,
    /// How.
    pub mode: ResolveMode,
    /// What to show while it is looked up, for instance
    /// `[internal] load metadata for docker.io/library/debian:bookworm`.
    pub label: String,
}

/// The answer to an [`ImageRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// What the name stands for: digest of the index or manifest that it names,
    /// not of the platform's manifest.
    pub digest: Digest,
    /// The bytes of the platform's image config.
    pub config: Vec<u8>,
}

/// Why an image cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ResolveError {
    /// The cause, naming the image.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Looks images up. The conversion itself does no I/O.
pub trait ImageResolver {
    /// Answers every request, in the same order. Requests of one call are
    /// independent and may be looked up at the same time; the same request is
    /// never asked twice in one conversion.
    fn resolve(&self, requests: &[ImageRequest]) -> Vec<Result<ResolvedImage, ResolveError>>;
}
