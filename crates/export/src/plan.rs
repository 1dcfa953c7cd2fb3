//! From layers to an image in the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use distil_layer::Compression;
use distil_oci::{Descriptor, DiffId, Digest, History, ImageConfig, Manifest, Reference, media_type};
use distil_snapshot::Snapshotter;
use distil_store::{LayerId, NewImage, Resource, Store, Timestamp};

use crate::config::{LayerHistory, finish};
use crate::image::layer;
use crate::{ExportError, time};

/// A layer of an image to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLayer {
    /// The layer.
    pub id: LayerId,
    /// It belongs to the base image: its times are never rewritten.
    pub base: bool,
    /// What made it and when.
    pub history: LayerHistory,
}

/// An image to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImagePlan {
    /// The frontend's config: platform, `config` and history. Layers and missing times are filled in.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<PlannedLayer>,
    /// The base image's history, whose times an epoch does not touch.
    pub base_history: Vec<History>,
    /// SOURCE_DATE_EPOCH, in seconds since 1970: no new time in config and history is later.
    pub epoch: Option<i64>,
    /// With an epoch: no file time in the layers that are not the base's is later either.
    pub rewrite_timestamps: bool,
    /// The names it gets; one without a tag gets `latest`. None makes a `<none>` image.
    pub names: Vec<Reference>,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Image ID: digest of the config.
    pub id: Digest,
    /// The config.
    pub config: ImageConfig,
    /// The manifest in the store. Its layers are the uncompressed ones.
    pub manifest: Descriptor,
}

/// Makes an image of layers: its config and manifest are blobs in the store afterwards, held by the lease of the store
/// handle. It is not listed among the images; see [`store_image`].
///
/// Nothing is compressed and no tar is kept; layers are hashed unless they were before, several at once.
///
/// # Errors
/// When a layer is gone or cannot be read, or the config lacks its platform.
pub fn make_image(snapshots: &Snapshotter, plan: &ImagePlan) -> Result<StoredImage, ExportError> {
    let diff_ids = diff_ids(snapshots, plan)?;
    let histories: Vec<LayerHistory> = plan.layers.iter().map(|layer| layer.history.clone()).collect();
    let config = finish(
        plan.config.clone(),
        &diff_ids,
        &histories,
        &plan.base_history,
        plan.epoch,
    )?;
    let config_bytes = config.to_json();
    let layers = diff_ids
        .iter()
        .map(|diff_id| layer(snapshots, *diff_id, Compression::Uncompressed));
    let layers = layers.collect::<Result<Vec<_>, _>>()?;
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config_bytes);
    let id = config_descriptor.digest;
    let manifest_bytes = Manifest::new(config_descriptor, layers).to_json();
    let manifest = Descriptor::of(media_type::MANIFEST, &manifest_bytes);
    put_blobs(
        snapshots.store(),
        &[(id, &config_bytes), (manifest.digest, &manifest_bytes)],
    )?;
    Ok(StoredImage { id, config, manifest })
}

/// [`make_image`], and lists it among the store's images under the plan's names.
///
/// # Errors
/// As [`make_image`].
pub fn store_image(
    snapshots: &Snapshotter,
    plan: &ImagePlan,
    now: Timestamp,
) -> Result<StoredImage, ExportError> {
    let made = make_image(snapshots, plan)?;
    let image = NewImage {
        config: made.id,
        manifest: Some(made.manifest.digest),
        platform: made.config.platform().normalized().to_string(),
        layers: plan.layers.iter().map(|layer| layer.id).collect(),
        blobs: Vec::new(),
        created: Timestamp(time::nanos(made.config.created.as_deref())),
    };
    let names: Vec<Reference> = plan.names.iter().map(|name| name.clone().or_latest()).collect();
    snapshots.store().images().put(&image, &names, now)?;
    Ok(made)
}

/// Stores blobs that are not there yet. A build that is cached makes the same ones again, and then writes no file.
fn put_blobs(store: &Store, blobs: &[(Digest, &[u8])]) -> Result<(), ExportError> {
    let mut stored = true;
    for (digest, _) in blobs {
        stored &= store.blobs().is_stored(digest)?;
    }
    let held: Vec<Resource> = blobs.iter().map(|(digest, _)| Resource::Blob(*digest)).collect();
    if stored && store.hold(&held)? {
        return Ok(());
    }
    for (_, bytes) in blobs {
        store.blobs().put(bytes)?;
    }
    Ok(())
}

/// The diff IDs of the layers, with times rewritten where that is asked for.
fn diff_ids(snapshots: &Snapshotter, plan: &ImagePlan) -> Result<Vec<DiffId>, ExportError> {
    let latest = plan.epoch.filter(|_| plan.rewrite_timestamps);
    let one = |layer: &PlannedLayer| match latest.filter(|_| !layer.base) {
        Some(latest) => snapshots.clamped_diff_id(layer.id, latest),
        None => snapshots.diff_id(layer.id),
    };
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(plan.layers.len());
    thread::scope(|scope| {
        let work = || {
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(layer) = plan.layers.get(place) else {
                    return;
                };
                let result = one(layer);
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((place, result));
            }
        };
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().map(|(_, result)| Ok(result?)).collect()
}
