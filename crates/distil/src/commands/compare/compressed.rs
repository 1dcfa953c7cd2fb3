//! Compressed sizes of layers, as a registry stores them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use distil_layer::Compression;
use distil_oci::DiffId;
use distil_snapshot::{SnapshotError, Snapshotter};

use crate::error::CliError;
use crate::view::{OpenedImage, failed};

/// A layer is measured once for all images of a store that have it.
type Key<'i> = (&'i Path, DiffId);

struct Job<'i> {
    key: Key<'i>,
    snapshots: &'i Snapshotter,
    bytes: u64,
}

/// Bytes of each layer of each image, lowest first: those of the form that it was pulled in, else of gzip, which
/// is what `distil save` writes. Layers that were never measured are compressed now, several at once.
pub(super) fn sizes(images: &[OpenedImage]) -> Result<Vec<Vec<u64>>, CliError> {
    let mut jobs: HashMap<Key<'_>, Job<'_>> = HashMap::new();
    for image in images {
        let store = image.snapshots.store().root();
        for layer in image.layers() {
            let Some(diff_id) = layer.diff_id else { continue };
            let (key, snapshots, bytes) = ((store, diff_id), &image.snapshots, layer.size);
            jobs.entry(key).or_insert(Job {
                key,
                snapshots,
                bytes,
            });
        }
    }
    let known = measure(jobs.into_values().collect()).map_err(failed)?;
    let of_image = |image: &OpenedImage| {
        let store = image.snapshots.store().root();
        let size = |diff_id: Option<DiffId>| known.get(&(store, diff_id?)).copied();
        let layers = image.layers().iter();
        layers.map(|layer| size(layer.diff_id).unwrap_or(0)).collect()
    };
    Ok(images.iter().map(of_image).collect())
}

/// The largest begin first, so that none is left alone at the end.
fn measure(mut jobs: Vec<Job<'_>>) -> Result<HashMap<Key<'_>, u64>, SnapshotError> {
    jobs.sort_by_key(|job| std::cmp::Reverse(job.bytes));
    let (next, found) = (AtomicUsize::new(0), Mutex::new(HashMap::new()));
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let size = job.snapshots.compressed_size(job.key.1, Compression::Gzip, 0)?;
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.insert(job.key, size);
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(jobs.len())).map(|_| scope.spawn(work)).collect();
        let mut outcome: Result<(), SnapshotError> = work();
        for other in others {
            // A thread of this scope has no cause to panic; one that does takes the caller with it.
            outcome = outcome.and(
                other
                    .join()
                    .unwrap_or_else(|cause| std::panic::resume_unwind(cause)),
            );
        }
        outcome
    })?;
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}
