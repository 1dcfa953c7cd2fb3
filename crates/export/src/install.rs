//! Images that came from elsewhere, put into the store.

use std::io::Read;

use distil_layer::Compression;
use distil_oci::{Descriptor, Digest, ImageConfig, Manifest, Reference, media_type};
use distil_snapshot::Snapshotter;
use distil_store::{LayerId, NewImage, Timestamp};

use crate::error::read_error;
use crate::{ExportError, time};

/// The parts of an image, all of them blobs in the store.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) config: Digest,
    /// The manifest that it came with, if any.
    pub(crate) manifest: Option<Digest>,
    /// The layers as they came; the media type may be empty.
    pub(crate) layers: Vec<Descriptor>,
    pub(crate) names: Vec<Reference>,
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Image ID.
    pub id: Digest,
    /// Its names; none for a `<none>` image.
    pub names: Vec<Reference>,
}

/// Unpacks the layers, checks their diff IDs, and names the image.
pub(crate) fn install(
    snapshots: &Snapshotter,
    parts: &Parts,
    now: Timestamp,
) -> Result<LoadedImage, ExportError> {
    let store = snapshots.store();
    let config_bytes = store.blobs().read(&parts.config)?;
    let stored = |source| ExportError::Stored {
        digest: parts.config,
        source,
    };
    let config = ImageConfig::from_json(&config_bytes).map_err(stored)?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != parts.layers.len() {
        let reason = format!(
            "names {} layers, its manifest {}",
            diff_ids.len(),
            parts.layers.len()
        );
        return Err(ExportError::Damaged {
            path: parts.config.to_string(),
            reason,
        });
    }
    let mut layers: Vec<LayerId> = Vec::new();
    let mut descriptors = Vec::new();
    for (blob, diff_id) in parts.layers.iter().zip(diff_ids) {
        let open = || Ok(store.blobs().open(&blob.digest)?);
        layers.push(snapshots.import_layer(*diff_id, &layers, open)?.id);
        let media_type = layer_type(snapshots, blob)?;
        snapshots.add_original(*diff_id, blob.digest, blob.size, &media_type)?;
        descriptors.push(Descriptor::new(&media_type, blob.digest, blob.size));
    }
    let manifest = match parts.manifest {
        Some(manifest) => manifest,
        None => {
            let config = Descriptor::of(media_type::CONFIG, &config_bytes);
            store.blobs().put(&Manifest::new(config, descriptors).to_json())?
        }
    };
    let names: Vec<Reference> = parts.names.iter().map(|name| name.clone().or_latest()).collect();
    let image = NewImage {
        config: parts.config,
        manifest: Some(manifest),
        platform: config.platform().normalized().to_string(),
        layers,
        blobs: Vec::new(),
        created: Timestamp(time::nanos(config.created.as_deref())),
    };
    store.images().put(&image, &names, now)?;
    Ok(LoadedImage {
        id: parts.config,
        names,
    })
}

/// The type that the blob came with, else what its first bytes say.
fn layer_type(snapshots: &Snapshotter, blob: &Descriptor) -> Result<String, ExportError> {
    if !blob.media_type.is_empty() {
        return Ok(blob.media_type.clone());
    }
    let mut start = Vec::new();
    let reader = snapshots.store().blobs().open(&blob.digest)?;
    reader
        .take(4)
        .read_to_end(&mut start)
        .map_err(read_error(format!("blob `{}`", blob.digest)))?;
    let media_type = match Compression::sniff(&start) {
        Compression::Uncompressed => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    };
    Ok(media_type.to_owned())
}
