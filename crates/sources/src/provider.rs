//! Looks images up and brings their layers into the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use distil_oci::{Descriptor, Digest, Layout, Platform, Reference, media_type};
use distil_registry::PullOptions;
use distil_snapshot::{ImportedLayer, Snapshotter};
use distil_store::{ImageInfo, LayerId, NewImage, Store};

use crate::image::{Image, ImageRequest, Origin, Transfer};
use crate::options::{ProviderOptions, PullPolicy};
use crate::origin::Place;
use crate::outside::Reach;
use crate::{ImageError, resolved};

/// Layers fetched at once.
const PARALLEL_LAYERS: usize = 4;

/// Finds images by name. One provider serves one build; it remembers what it found.
pub struct ImageProvider {
    pub(crate) store: Store,
    snapshotter: Snapshotter,
    layouts: Vec<Layout>,
    named_layouts: BTreeMap<String, Layout>,
    pub(crate) options: ProviderOptions,
    found: Mutex<HashMap<(String, Platform), Arc<Image>>>,
    /// What is known of each registry by domain. The inner lock is held while it is asked for the first time, so
    /// that a silent one costs its time limit once.
    pub(crate) reach: Mutex<BTreeMap<String, Arc<Mutex<Reach>>>>,
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) assembled: Mutex<BTreeSet<String>>,
}

impl ImageProvider {
    /// Opens the layouts.
    ///
    /// # Errors
    /// When a layout cannot be read.
    pub fn new(store: Store, snapshotter: Snapshotter, options: ProviderOptions) -> Result<Self, ImageError> {
        let layouts = options
            .layouts
            .iter()
            .map(|path| Layout::open(path))
            .collect::<Result<_, _>>()?;
        let named_layouts = options
            .named_layouts
            .iter()
            .map(|(name, path)| Ok((name.clone(), Layout::open(path)?)))
            .collect::<Result<_, ImageError>>()?;
        Ok(Self {
            store,
            snapshotter,
            layouts,
            named_layouts,
            options,
            found: Mutex::default(),
            reach: Mutex::default(),
            warnings: Mutex::default(),
            assembled: Mutex::default(),
        })
    }

    /// What the user should be told: bases that were assembled because a registry did not answer.
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.warnings))
    }

    /// Full names of the assembled bases that were used.
    pub fn assembled(&self) -> Vec<String> {
        lock(&self.assembled).iter().cloned().collect()
    }

    /// The OCI layout behind a named context.
    pub fn named_layout(&self, name: &str) -> Option<&Layout> {
        self.named_layouts.get(name)
    }

    /// Finds an image by name. With `local_only` nothing is fetched.
    ///
    /// # Errors
    /// [`ImageError::NotLocal`] with `local_only`; otherwise when nobody has the image for the platform.
    pub fn resolve(
        &self,
        request: &ImageRequest,
        pull: PullPolicy,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Arc<Image>, ImageError> {
        let reference = request.reference.clone().or_latest();
        let key = (reference.to_string(), request.platform.clone());
        if let Some(image) = lock(&self.found).get(&key) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(self.look_up(&reference, request, pull, local_only, report)?);
        if image.origin == Origin::Assembled {
            self.tell_assembled(&reference.clone().without_digest());
        }
        // The graph names the image with its digest: the same answer.
        let pinned = request.reference.clone().or_latest().with_digest(image.root);
        let mut found = lock(&self.found);
        found.insert((pinned.to_string(), request.platform.clone()), Arc::clone(&image));
        found.insert(key, Arc::clone(&image));
        Ok(image)
    }

    fn look_up(
        &self,
        reference: &Reference,
        request: &ImageRequest,
        pull: PullPolicy,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Image, ImageError> {
        let platform = &request.platform;
        if let Some(name) = &request.layout {
            let layout = self
                .named_layouts
                .get(name)
                .ok_or_else(|| ImageError::UnknownLayout(name.clone()))?;
            return self
                .in_layout(layout, reference, platform)?
                .ok_or_else(|| ImageError::NotFound {
                    name: reference.to_string(),
                    detail: format!("the layout `{}` does not hold it", layout.root().display()),
                });
        }
        for layout in &self.layouts {
            if let Some(image) = self.in_layout(layout, reference, platform)? {
                return Ok(image);
            }
        }
        if pull == PullPolicy::Missing
            && let Some(image) = self.in_store(reference, platform)?
        {
            return Ok(image);
        }
        if local_only {
            return Err(ImageError::NotLocal);
        }
        let image = self.look_outside(reference, platform, report)?;
        resolved::remember(&self.store, reference, platform, &image)?;
        Ok(image)
    }

    fn in_layout(
        &self,
        layout: &Layout,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<Image>, ImageError> {
        let entry = match reference.digest() {
            Some(digest) => layout.find_digest(digest).or_else(|| layout.find(reference)),
            None => layout.find(reference),
        };
        let Some(root) = entry else { return Ok(None) };
        let (_, manifest, manifest_bytes) = layout.manifest(root, platform)?;
        let config = Place::Layout(layout).document(&manifest.config)?;
        Image::new(
            reference.clone(),
            root.digest,
            manifest_bytes,
            config,
            Origin::Layout,
        )
        .map(Some)
    }

    /// An image that was built, loaded, pulled or assembled before.
    fn in_store(&self, reference: &Reference, platform: &Platform) -> Result<Option<Image>, ImageError> {
        let known = resolved::recall(&self.store, reference, platform)?;
        let tagged = match reference.digest() {
            Some(_) => None,
            None => self.store.images().by_reference(reference)?,
        };
        if let Some(image) = known {
            let config = Digest::sha256(&image.config_bytes);
            // No registry has an assembled image: when the user removed it, it is made anew.
            if image.origin == Origin::Assembled && self.store.images().get(&config)?.is_none() {
                return Ok(None);
            }
            // A name that was given to another image since means that one; not so when that is of another
            // platform, for of several bases with one name the last to come has it.
            let same_platform = |info: &ImageInfo| {
                let parsed: Result<Platform, _> = info.platform.parse();
                parsed.is_ok_and(|one| one.normalized() == platform.normalized())
            };
            let means_another = tagged
                .as_ref()
                .is_some_and(|info| info.id != config && same_platform(info));
            if !means_another {
                return Ok(Some(image));
            }
        }
        let Some(info) = tagged else { return Ok(None) };
        let Some(manifest) = info.manifest else {
            return Ok(None);
        };
        let place = Place::Store(&self.store);
        let descriptor = |media_type, digest| distil_oci::Descriptor::new(media_type, digest, 0);
        let manifest_bytes = place.document(&descriptor(media_type::MANIFEST, manifest))?;
        let config_bytes = place.document(&descriptor(media_type::CONFIG, info.id))?;
        let image = Image::new(
            reference.clone(),
            manifest,
            manifest_bytes,
            config_bytes,
            Origin::Store,
        )?;
        let matches = platform.matches(&image.config.platform());
        Ok(matches.then_some(image))
    }

    /// The layers of an image, lowest first; those that the store lacks are fetched and unpacked.
    ///
    /// # Errors
    /// [`ImageError::NotLocal`] with `local_only` when one is missing; otherwise when fetching fails.
    pub fn layers(
        &self,
        request: &ImageRequest,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Vec<LayerId>, ImageError> {
        let image = self.resolve(request, PullPolicy::Missing, local_only, report)?;
        if let Some(layers) = self.stored_layers(&image)? {
            return Ok(layers);
        }
        if image.origin == Origin::Assembled && !local_only {
            // Its layers were pruned: the same packages give the same bytes.
            let again = self.assemble(&image.reference, &request.platform, report)?;
            if again.root != image.root {
                return Err(ImageError::Assemble {
                    name: image.reference.to_string(),
                    detail: "its layers were pruned and the archive has changed since; build with --pull"
                        .into(),
                });
            }
            return self.stored_layers(&image)?.ok_or(ImageError::NotLocal);
        }
        let layers = self.fetch_layers(request, &image, local_only, report)?;
        if image.origin == Origin::Registry {
            self.record(&image, request, &layers)?;
        }
        Ok(layers)
    }

    /// The layers of an image that the store has as such.
    fn stored_layers(&self, image: &Image) -> Result<Option<Vec<LayerId>>, ImageError> {
        let id = Digest::sha256(&image.config_bytes);
        let Some(info) = self.store.images().get(&id)? else {
            return Ok(None);
        };
        Ok(self.snapshotter.has(&info.layers).then_some(info.layers))
    }

    fn fetch_layers(
        &self,
        request: &ImageRequest,
        image: &Image,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Vec<LayerId>, ImageError> {
        // What is here already, from the lowest up: a layer is only the same on top of the same ones.
        let mut layers = Vec::new();
        for diff_id in image.diff_ids() {
            match self.snapshotter.find_by_diff_id(*diff_id, &layers)? {
                Some(info) => layers.push(info.id),
                None => break,
            }
        }
        let count = image.manifest.layers.len();
        if layers.len() < count && local_only {
            return Err(ImageError::NotLocal);
        }
        let first = layers.len();
        let next = AtomicUsize::new(first);
        let results: Vec<Mutex<Option<Result<ImportedLayer, ImageError>>>> =
            (0..count).map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for _ in 0..(count - first).min(PARALLEL_LAYERS) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(slot) = results.get(at) else { return };
                        let layer = self.layer(request, image, at, report);
                        let failed = layer.is_err();
                        *lock(slot) = Some(layer);
                        if failed {
                            next.store(count, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut unpacked = Vec::with_capacity(count - first);
        for slot in results.into_iter().skip(first) {
            // A slot is empty only after another one failed, which comes before it or ends the loop.
            match slot.into_inner().unwrap_or_else(PoisonError::into_inner) {
                Some(layer) => unpacked.push(layer),
                None => continue,
            }
        }
        for (layer, descriptor) in unpacked.into_iter().zip(&image.manifest.layers[first..]) {
            let layer = layer?;
            let diff_id = layer.diff_id();
            layers.push(layer.commit(&layers)?.id);
            // The tar that our writer makes of the directory may differ: the form it came in is kept.
            self.snapshotter.add_original(
                diff_id,
                descriptor.digest,
                descriptor.size,
                &descriptor.media_type,
            )?;
        }
        Ok(layers)
    }

    /// Copies a layer of an OCI layout into the store.
    fn copy_blob(&self, layout: &Layout, descriptor: &Descriptor) -> Result<(), ImageError> {
        let blobs = self.store.blobs();
        if blobs.hold(&descriptor.digest)? {
            return Ok(());
        }
        let mut writer = blobs.writer()?;
        let mut reader = layout.open_blob(descriptor)?;
        std::io::copy(&mut reader, &mut writer).map_err(|error| ImageError::Damaged {
            name: layout.root().display().to_string(),
            detail: format!("its blob `{}` cannot be read: {error}", descriptor.digest),
        })?;
        writer.commit(Some(descriptor.digest))?;
        Ok(())
    }

    fn layer(
        &self,
        request: &ImageRequest,
        image: &Image,
        at: usize,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<ImportedLayer, ImageError> {
        let (descriptor, diff_id) = (&image.manifest.layers[at], image.diff_ids()[at]);
        let place = match image.origin {
            Origin::Layout => {
                self.copy_blob(self.layout_with(request, image)?, descriptor)?;
                Place::Store(&self.store)
            }
            Origin::Store | Origin::Assembled => Place::Store(&self.store),
            Origin::Registry => {
                self.pull(image, descriptor, report)?;
                Place::Store(&self.store)
            }
        };
        let mut transfer = Transfer {
            name: descriptor.digest.to_string(),
            current: 0,
            total: descriptor.size,
            done: false,
        };
        report(transfer.clone());
        let reader = Counting {
            inner: place.blob(descriptor)?,
            transfer: transfer.clone(),
            reported: 0,
            report,
        };
        let layer = self
            .snapshotter
            .import(reader, Some(diff_id))
            .map_err(|error| ImageError::Layer {
                name: image.reference.to_string(),
                layer: descriptor.digest,
                detail: error.to_string(),
            })?;
        transfer.current = transfer.total;
        transfer.done = true;
        report(transfer);
        Ok(layer)
    }

    /// Brings the compressed layer into the store.
    fn pull(
        &self,
        image: &Image,
        descriptor: &Descriptor,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<(), ImageError> {
        let progress = |digest: &Digest, current: u64| {
            report(Transfer {
                name: format!("pull {digest}"),
                current,
                total: descriptor.size,
                done: false,
            });
        };
        let options = PullOptions {
            progress: &progress,
            cancelled: &self.options.cancelled,
            ..PullOptions::default()
        };
        self.options
            .remote
            .pull_blob(&image.reference, descriptor, &self.store, &options)
            .map_err(|error| self.pull_failed(&image.reference, error))?;
        let name = format!("pull {}", descriptor.digest);
        report(Transfer {
            name,
            current: descriptor.size,
            total: descriptor.size,
            done: true,
        });
        Ok(())
    }

    fn layout_with(&self, request: &ImageRequest, image: &Image) -> Result<&Layout, ImageError> {
        if let Some(name) = &request.layout {
            return self
                .named_layouts
                .get(name)
                .ok_or_else(|| ImageError::UnknownLayout(name.clone()));
        }
        self.layouts
            .iter()
            .find(|layout| layout.find_digest(image.root).is_some())
            .ok_or_else(|| ImageError::NotFound {
                name: image.reference.to_string(),
                detail: "the layout that had it does not have it any more".into(),
            })
    }

    /// Keeps a fetched image, so that its name needs no network again.
    fn record(&self, image: &Image, request: &ImageRequest, layers: &[LayerId]) -> Result<(), ImageError> {
        let blobs = self.store.blobs();
        let config = blobs.put(&image.config_bytes)?;
        let manifest = blobs.put(&image.manifest_bytes)?;
        let record = NewImage {
            config,
            manifest: Some(manifest),
            platform: request.platform.to_string(),
            layers: layers.to_vec(),
            blobs: Vec::new(),
            created: self.options.now,
        };
        let names: Vec<Reference> = image
            .reference
            .tag()
            .map(|_| image.reference.clone().without_digest())
            .into_iter()
            .collect();
        self.store.images().put(&record, &names, self.options.now)?;
        resolved::mark_base(&self.store, &config)?;
        Ok(())
    }
}

/// Reports how far a layer is, each MiB.
struct Counting<'a, R> {
    inner: R,
    transfer: Transfer,
    reported: u64,
    report: &'a (dyn Fn(Transfer) + Sync),
}

impl<R: std::io::Read> std::io::Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.transfer.current += count as u64;
        if self.transfer.current - self.reported >= 1 << 20 {
            self.reported = self.transfer.current;
            (self.report)(self.transfer.clone());
        }
        Ok(count)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
