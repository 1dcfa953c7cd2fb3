//! Pulling into the store.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use distil_fetch::{Expected, FetchError, Request};
use distil_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use distil_store::{BlobWriter, LockMode, Store};

use crate::endpoint::Endpoint;
use crate::remote::{MAX_MANIFEST, manifest_type};
use crate::{RegistryError, Remote};

/// Largest image config, in bytes.
const MAX_CONFIG: u64 = 16 << 20;
/// How often a blob is fetched anew when what came is damaged.
const WHOLE_TRIES: usize = 2;
/// Smallest compressed layer that is worth a thread of its own is any; more than this many at once only get in
/// each other's way.
const DEFAULT_JOBS: usize = 4;

/// How blobs are pulled.
#[derive(Clone, Copy)]
pub struct PullOptions<'a> {
    /// Blobs at the same time.
    pub jobs: usize,
    /// Told now and then how many bytes of a blob have arrived; called from several threads.
    pub progress: &'a (dyn Fn(&Digest, u64) + Sync),
    /// Ends the pull when it becomes true.
    pub cancelled: &'a AtomicBool,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl Default for PullOptions<'_> {
    fn default() -> Self {
        Self {
            jobs: DEFAULT_JOBS,
            progress: &|_, _| (),
            cancelled: &NEVER,
        }
    }
}

impl std::fmt::Debug for PullOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullOptions")
            .field("jobs", &self.jobs)
            .finish_non_exhaustive()
    }
}

/// An image for one platform whose manifest and config are in the store; its layers may not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledImage {
    /// What the name means: the manifest, or the index that it is in.
    pub target: Descriptor,
    /// The platform's manifest.
    pub descriptor: Descriptor,
    /// The manifest, read.
    pub manifest: Manifest,
    /// The config, read. Its digest is in the manifest.
    pub config: ImageConfig,
    /// The config's exact bytes.
    pub config_bytes: Vec<u8>,
}

impl Remote {
    /// Pulls manifest and config (and the index they are in) of an image for a platform. `target` comes from
    /// [`Remote::resolve`]. What the store has is not asked for again.
    ///
    /// A manifest that is no index is taken whatever its platform; the caller compares
    /// [`ImageConfig::platform`].
    ///
    /// # Errors
    /// When something cannot be had, is damaged, or no image of an index fits the platform.
    pub fn pull_manifest(
        &self,
        name: &Reference,
        target: &Descriptor,
        platform: &Platform,
        store: &Store,
    ) -> Result<PulledImage, RegistryError> {
        let (target, mut bytes) = self.stored_document(name, target, store)?;
        let mut descriptor = target.clone();
        if media_type::is_index(&target.media_type) {
            let index = Index::from_json(&bytes).map_err(|error| wrong(name, &target, &error))?;
            let entry = choose(name, &index, platform)?;
            (descriptor, bytes) = self.stored_document(name, entry, store)?;
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            let reason = format!(
                "`{}` is neither an image manifest nor an index",
                descriptor.media_type
            );
            return Err(RegistryError::Document {
                name: name.familiar(),
                reason,
            });
        }
        let manifest = Manifest::from_json(&bytes).map_err(|error| wrong(name, &descriptor, &error))?;
        if manifest.config.size > MAX_CONFIG {
            let reason = format!(
                "its config has {} bytes, more than {MAX_CONFIG}",
                manifest.config.size
            );
            return Err(RegistryError::Document {
                name: name.familiar(),
                reason,
            });
        }
        self.pull_blob(name, &manifest.config, store, &PullOptions::default())?;
        let config_bytes = store.blobs().read(&manifest.config.digest)?;
        let config =
            ImageConfig::from_json(&config_bytes).map_err(|error| wrong(name, &manifest.config, &error))?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (ids, layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
            let reason = format!("its config names {ids} layers, its manifest {layers}");
            return Err(RegistryError::Document {
                name: name.familiar(),
                reason,
            });
        }
        Ok(PulledImage {
            target,
            descriptor,
            manifest,
            config,
            config_bytes,
        })
    }

    /// A manifest or index from the store, else from the registry and then stored.
    fn stored_document(
        &self,
        name: &Reference,
        wanted: &Descriptor,
        store: &Store,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let blobs = store.blobs();
        if wanted.size <= MAX_MANIFEST && blobs.hold(&wanted.digest)? {
            let bytes = blobs.read(&wanted.digest)?;
            let kind = manifest_type(&wanted.media_type, &bytes);
            return Ok((Descriptor::of(&kind, &bytes), bytes));
        }
        let pinned = name.clone().with_digest(wanted.digest);
        let (mut descriptor, bytes) = self.manifest(&pinned)?;
        blobs.put(&bytes)?;
        if !(media_type::is_index(&descriptor.media_type) || media_type::is_manifest(&descriptor.media_type))
        {
            descriptor.media_type.clone_from(&wanted.media_type);
        }
        Ok((descriptor, bytes))
    }

    /// Pulls blobs that the store lacks, several at once. Ends at the first error.
    ///
    /// # Errors
    /// When a blob cannot be had or is damaged, or when it is cancelled.
    pub fn pull_blobs(
        &self,
        name: &Reference,
        blobs: &[Descriptor],
        store: &Store,
        options: &PullOptions<'_>,
    ) -> Result<(), RegistryError> {
        let next = AtomicUsize::new(0);
        let first_error = Mutex::new(None);
        let failed = || first_error.lock().unwrap_or_else(PoisonError::into_inner);
        thread::scope(|scope| {
            for _ in 0..options.jobs.clamp(1, blobs.len().max(1)) {
                scope.spawn(|| {
                    while let Some(blob) = blobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if failed().is_some() {
                            return;
                        }
                        if let Err(error) = self.pull_blob(name, blob, store, options) {
                            failed().get_or_insert(error);
                        }
                    }
                });
            }
        });
        match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Pulls one blob unless the store has it. Processes that pull the same blob at once do so in turn, so it comes
    /// over the network once.
    ///
    /// # Errors
    /// When it cannot be had or is damaged, or when it is cancelled.
    pub fn pull_blob(
        &self,
        name: &Reference,
        blob: &Descriptor,
        store: &Store,
        options: &PullOptions<'_>,
    ) -> Result<(), RegistryError> {
        if store.blobs().hold(&blob.digest)? {
            return Ok(());
        }
        let _turn = store.lock(&format!("pull-{}", blob.digest.hex()), LockMode::Exclusive)?;
        if store.blobs().hold(&blob.digest)? {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let result = self.at_endpoints(name, |endpoint| {
                self.download_blob(endpoint, name, blob, store, options)
            });
            match result {
                Err(RegistryError::Fetch(error)) if tries < WHOLE_TRIES && is_damage(&error) => {}
                result => return result,
            }
        }
    }

    fn download_blob(
        &self,
        endpoint: &Endpoint,
        name: &Reference,
        blob: &Descriptor,
        store: &Store,
        options: &PullOptions<'_>,
    ) -> Result<(), RegistryError> {
        let url = endpoint.url(name.repository(), &format!("blobs/{}", blob.digest));
        let (request, response) = self.authorized(endpoint, name, false, &|| Request::get(&url))?;
        let expected = Expected {
            size: Some(blob.size),
            sha256: Some(*blob.digest.as_bytes()),
            ..Expected::default()
        };
        let mut target = Watched {
            writer: store.blobs().writer()?,
            digest: blob.digest,
            options,
        };
        let received = self
            .client
            .receive(&request, Some(response), &expected, &mut target);
        if options.cancelled.load(Ordering::Relaxed) {
            return Err(RegistryError::Cancelled);
        }
        received?;
        target.writer.commit(Some(blob.digest))?;
        Ok(())
    }
}

/// Whether what came is damaged, or broke off for good in a way that a new start with a new token may mend.
fn is_damage(error: &FetchError) -> bool {
    matches!(
        error,
        FetchError::Digest { .. } | FetchError::Length { .. } | FetchError::Protocol { .. }
    ) || error.status() == Some(401)
}

fn wrong(name: &Reference, descriptor: &Descriptor, error: &serde_json::Error) -> RegistryError {
    let reason = format!("`{}` is damaged: {error}", descriptor.digest);
    RegistryError::Document {
        name: name.familiar(),
        reason,
    }
}

fn choose<'a>(
    name: &Reference,
    index: &'a Index,
    platform: &Platform,
) -> Result<&'a Descriptor, RegistryError> {
    index.choose(platform).ok_or_else(|| RegistryError::Platform {
        name: name.familiar(),
        wanted: Box::new(platform.clone()),
        available: index.platforms().into_iter().map(ToString::to_string).collect(),
    })
}

/// Tells of progress, and stops when the caller cancels.
struct Watched<'a> {
    writer: BlobWriter,
    digest: Digest,
    options: &'a PullOptions<'a>,
}

impl Write for Watched<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.options.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.writer.write(bytes)?;
        (self.options.progress)(&self.digest, self.writer.length());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
