//! Images in the store, as something to write out.

use distil_layer::Compression;
use distil_oci::{Descriptor, DiffId, Digest, ImageConfig, Manifest, Reference, annotation, media_type};
use distil_snapshot::Snapshotter;
use distil_store::{ImageInfo, Store};

use crate::ExportError;

/// An image to write, and the names that it gets in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedImage {
    /// Image ID: digest of the config blob in the store.
    pub config: Digest,
    /// Digest of the manifest blob in the store, where there is one.
    pub manifest: Option<Digest>,
    /// Full names with tags; none is allowed.
    pub names: Vec<Reference>,
}

impl SavedImage {
    /// An image of the store under these names.
    #[must_use]
    pub fn new(image: &ImageInfo, names: Vec<Reference>) -> Self {
        Self {
            config: image.id,
            manifest: image.manifest,
            names,
        }
    }
}

/// An image with all descriptors known and all its blobs in the store.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) config_bytes: Vec<u8>,
    pub(crate) config: ImageConfig,
    pub(crate) manifest_bytes: Vec<u8>,
    pub(crate) manifest: Manifest,
    pub(crate) descriptor: Descriptor,
    pub(crate) names: Vec<Reference>,
}

impl Packed {
    /// Compresses what is not compressed yet.
    ///
    /// An image that came with a manifest whose layers are all still here in their original form keeps that
    /// manifest, and with it its digest on the registry.
    pub(crate) fn new(
        snapshots: &Snapshotter,
        image: &SavedImage,
        compression: Compression,
    ) -> Result<Self, ExportError> {
        let store = snapshots.store();
        let config_bytes = store.blobs().read(&image.config)?;
        let stored = |digest| move |source| ExportError::Stored { digest, source };
        let config = ImageConfig::from_json(&config_bytes).map_err(stored(image.config))?;
        let original = match image
            .manifest
            .filter(|_| compression != Compression::Uncompressed)
        {
            Some(digest) => original_manifest(store, digest)?,
            None => None,
        };
        let (manifest, manifest_bytes) = match original {
            Some(original) => original,
            None => {
                let diff_ids = config.rootfs.diff_ids.iter();
                let layers = diff_ids.map(|diff_id| layer(snapshots, *diff_id, compression));
                let layers = layers.collect::<Result<Vec<_>, _>>()?;
                let manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config_bytes), layers);
                let bytes = manifest.to_json();
                (manifest, bytes)
            }
        };
        let media_type = manifest.media_type.as_deref().unwrap_or(media_type::MANIFEST);
        let descriptor = Descriptor::of(media_type, &manifest_bytes);
        let names = image
            .names
            .iter()
            .map(|name| name.clone().without_digest().or_latest())
            .collect();
        Ok(Self {
            config_bytes,
            config,
            manifest_bytes,
            manifest,
            descriptor,
            names,
        })
    }

    /// The entries of `index.json`: one per name, or one without a name.
    pub(crate) fn entries(&self) -> Vec<Descriptor> {
        let mut plain = self.descriptor.clone();
        if let Some(created) = &self.config.created {
            plain
                .annotations
                .insert(annotation::CREATED.to_owned(), created.clone());
        }
        let named = |name: &Reference| {
            let mut entry = plain.clone();
            entry
                .annotations
                .insert(annotation::CONTAINERD_NAME.to_owned(), name.to_string());
            let tag = name.tag().unwrap_or("latest").to_owned();
            entry.annotations.insert(annotation::REF_NAME.to_owned(), tag);
            entry
        };
        if self.names.is_empty() {
            vec![plain]
        } else {
            self.names.iter().map(named).collect()
        }
    }
}

/// A layer's descriptor; its bytes are in the store or can be made. A form that the layer came in is kept whatever
/// its compression, as long as any is wanted.
pub(crate) fn layer(
    snapshots: &Snapshotter,
    diff_id: DiffId,
    compression: Compression,
) -> Result<Descriptor, ExportError> {
    let blob = snapshots.compressed(diff_id, compression, compression != Compression::Uncompressed)?;
    // Docker's layer types have OCI twins; the bytes are the same.
    let media_type = match blob.media_type.as_str() {
        media_type::DOCKER_LAYER => media_type::LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::LAYER_GZIP,
        other => other,
    };
    Ok(Descriptor::new(media_type, blob.digest, blob.size))
}

/// A manifest whose layers are all blobs in the store, with its bytes.
fn original_manifest(store: &Store, digest: Digest) -> Result<Option<(Manifest, Vec<u8>)>, ExportError> {
    if !store.blobs().is_stored(&digest)? {
        return Ok(None);
    }
    let bytes = store.blobs().read(&digest)?;
    let manifest = Manifest::from_json(&bytes).map_err(|source| ExportError::Stored { digest, source })?;
    for layer in &manifest.layers {
        // An uncompressed layer is no original: locally built images describe theirs so.
        let plain = [media_type::LAYER, media_type::DOCKER_LAYER].contains(&layer.media_type.as_str());
        if plain || !store.blobs().hold(&layer.digest)? {
            return Ok(None);
        }
    }
    Ok(Some((manifest, bytes)))
}
