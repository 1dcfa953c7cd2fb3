//! An image that was found, before its layers are here.

use distil_oci::{DiffId, Digest, ImageConfig, Manifest, Platform, Reference};

use crate::ImageError;

/// Which image an operation means.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRequest {
    /// Its name; with a digest, that very image.
    pub reference: Reference,
    /// Chooses the entry of an index.
    pub platform: Platform,
    /// Name of the OCI layout that has it, for a named context.
    pub layout: Option<String>,
}

/// Where an image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In an OCI layout on disk.
    Layout,
    /// In the local store.
    Store,
    /// At its registry.
    Registry,
    /// Assembled from packages by distil.
    Assembled,
}

/// How far one part of fetching an image is.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// What is fetched, such as a layer's digest.
    pub name: String,
    /// Bytes so far.
    pub current: u64,
    /// Bytes in all; 0 when not known.
    pub total: u64,
    /// Nothing more will come.
    pub done: bool,
}

/// An image for one platform, found but perhaps not fetched.
#[derive(Debug, Clone)]
pub struct Image {
    /// Full name.
    pub reference: Reference,
    /// Digest that the name stands for: of the index where there is one, else of the manifest.
    pub root: Digest,
    /// Digest of the manifest of this platform.
    pub manifest_digest: Digest,
    /// The manifest of this platform.
    pub manifest: Manifest,
    /// The exact bytes of `manifest`.
    pub manifest_bytes: Vec<u8>,
    /// The exact bytes of the image config.
    pub config_bytes: Vec<u8>,
    /// What `config_bytes` say.
    pub config: ImageConfig,
    /// Where it was found.
    pub origin: Origin,
}

impl Image {
    /// Reads the documents of an image; the number of layers must agree.
    pub(crate) fn new(
        reference: Reference,
        root: Digest,
        manifest_bytes: Vec<u8>,
        config_bytes: Vec<u8>,
        origin: Origin,
    ) -> Result<Self, ImageError> {
        let damaged = |detail: String| ImageError::Damaged {
            name: reference.to_string(),
            detail,
        };
        let manifest = Manifest::from_json(&manifest_bytes)
            .map_err(|error| damaged(format!("its manifest cannot be read: {error}")))?;
        let config = ImageConfig::from_json(&config_bytes)
            .map_err(|error| damaged(format!("its config cannot be read: {error}")))?;
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(damaged(format!(
                "its manifest has {} layers and its config {}",
                manifest.layers.len(),
                config.rootfs.diff_ids.len()
            )));
        }
        let manifest_digest = Digest::sha256(&manifest_bytes);
        Ok(Self {
            reference,
            root,
            manifest_digest,
            manifest,
            manifest_bytes,
            config_bytes,
            config,
            origin,
        })
    }

    /// Digests of the uncompressed layers, lowest first.
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.config.rootfs.diff_ids
    }
}
