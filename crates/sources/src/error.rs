//! Why an image cannot be had.

use distil_oci::{Digest, Platform};

/// Why an image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Only what the store holds was allowed, and the image is not there.
    #[error("the image is not in the local store")]
    NotLocal,
    /// No place that was asked has the image.
    #[error("image `{name}` was not found: {detail}")]
    NotFound {
        /// The full name.
        name: String,
        /// Who was asked, and what each said.
        detail: String,
    },
    /// The image has no variant for the platform.
    #[error("image `{name}` has nothing for {platform}: {detail}")]
    Platform {
        /// The full name.
        name: String,
        /// What was asked for.
        platform: Box<Platform>,
        /// What there is.
        detail: String,
    },
    /// What came is not what its digest promises, or cannot be understood.
    #[error("image `{name}` is damaged: {detail}")]
    Damaged {
        /// The full name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// A layer does not unpack to the diff ID that the config names.
    #[error("layer `{layer}` of `{name}` cannot be unpacked: {detail}")]
    Layer {
        /// The full name.
        name: String,
        /// Digest of the layer's blob.
        layer: Digest,
        /// Why.
        detail: String,
    },
    /// A named layout does not exist.
    #[error("there is no OCI layout called `{0}`")]
    UnknownLayout(String),
    /// An OCI layout cannot be read.
    #[error(transparent)]
    OciLayout(#[from] distil_oci::LayoutError),
    /// The registry said no, broke off, or sent something else than its digest promises.
    #[error("image `{name}` cannot be pulled: {source}{}", after(.nearest.as_deref()))]
    Registry {
        /// The full name.
        name: String,
        /// Why.
        source: Box<distil_registry::RegistryError>,
        /// What could be used instead, as a sentence.
        nearest: Option<String>,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The local store failed.
    #[error(transparent)]
    Store(#[from] distil_store::StoreError),
    /// A snapshot could not be made.
    #[error(transparent)]
    Snapshot(#[from] distil_snapshot::SnapshotError),
    /// A base could not be assembled from packages.
    #[error("`{name}` could not be assembled from packages: {detail}")]
    Assemble {
        /// The full name.
        name: String,
        /// Why.
        detail: String,
    },
    /// Packages that are a source of a build cannot be had. The step that needs them has their name.
    #[error("{detail}")]
    Packages {
        /// Why, with the source's name where it matters.
        detail: String,
    },
}

/// What follows a reason where something else could be used.
pub(crate) fn after(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; {nearest}")).unwrap_or_default()
}
