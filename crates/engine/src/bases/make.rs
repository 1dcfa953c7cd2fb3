//! From a selection to a stored image.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use distil_base::assemble::{Composed, Listing, Parts, compose, image_config, manifest_annotations};
use distil_base::recipe::UpstreamInput;
use distil_base::selection::{SelectedPackage, Selection};
use distil_debian::{
    Archive, Expected, PackageFile, PackageIdentity, PackageStore, SnapshotMirror, StoredPackage,
    WantedPackage,
};
use distil_layer::{LinkGroups, TarOptions, TarSummary, write_tar};
use distil_oci::{Descriptor, DiffId, Digest, Manifest, media_type};
use distil_snapshot::{ActiveSnapshot, CommitOptions, Snapshotter};
use distil_sources::{ImageError, Transfer};
use distil_store::{LayerId, LockMode, NewImage, Timestamp};

use super::{BaseRequest, MadeBase};
use crate::archive::{PackageArchive, Problem, other, part};

/// Bucket of config digests by [`Selection::key`].
const SELECTIONS: &str = "assembled-selections";
/// Bucket of diff IDs by [`Listing::key`].
const LAYERS: &str = "assembled-layers";
/// Bucket of the [`Listing::key`] of the layer that the next ones of the same [`Composed::kin`] can add to.
const KIN: &str = "assembled-kin";
/// An addition of a larger part of the entries is not worth another directory in every mount.
const LARGE: usize = 4;
/// Folder of unpacked packages, among the downloads.
const UNPACKED: &str = "unpacked";
/// An archive from elsewhere whose recipe gives no size may have this many bytes.
const MAX_INPUT: u64 = 2 << 30;
/// When the images say that they were made: their config says 1970.
const CREATED: Timestamp = Timestamp(0);

/// Makes images of selections.
pub(crate) struct BaseMaker {
    pub(crate) snapshotter: Snapshotter,
    pub(crate) packages: Arc<PackageArchive>,
    /// Names the user namespace that files are written under.
    pub(crate) id_map: String,
}

/// A layer of the image.
struct Layer {
    id: LayerId,
    diff_id: DiffId,
    /// Bytes of its tar.
    size: u64,
    /// What is to be remembered of it, where it was not known.
    facts: Vec<Fact>,
}

/// A bucket, and a key and its value in it.
type Fact = (&'static str, Digest, Digest);

/// A layer that was made before, of the same packages.
struct Earlier {
    id: LayerId,
    listing: Listing,
}

/// A layer before its diff ID is known.
enum Place {
    Known(Layer),
    Written(Written),
}

/// The files of a layer in their place.
struct Written {
    active: ActiveSnapshot,
    listing: Listing,
    /// [`Listing::key`] of it.
    key: Digest,
    /// Of a whole layer.
    links: LinkGroups,
    /// It has only what it adds to an earlier layer.
    is_addition: bool,
}

impl Written {
    /// The tar of a layer that was not known before.
    fn tar(&self) -> Result<TarSummary, Problem> {
        if self.is_addition {
            return Err(Problem::Other("the layer cannot be added to another".into()));
        }
        let dir = self.active.upper_dir();
        write_tar(&dir, &self.links, TarOptions::default(), std::io::sink()).map_err(|error| other(&error))
    }
}

impl BaseMaker {
    /// Makes the image, or finds it.
    pub(crate) fn make(
        &self,
        request: &BaseRequest<'_>,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<MadeBase, Problem> {
        let selection = request.selection;
        // One process assembles, the others find its image.
        let turn = format!("assemble selection {}", selection.key());
        let _turn = self
            .packages
            .store
            .lock(&turn, LockMode::Exclusive)
            .map_err(ImageError::from)?;
        if let Some(known) = self.known(request)? {
            return Ok(known);
        }
        self.packages.read_for(&[&selection.spec], |archive| {
            let (stored, inputs) = self.fetch(archive, request, report)?;
            let layers = part(report, "assemble", || self.layers(selection, &stored, &inputs))?;
            self.keep(request, &layers)
        })
    }

    /// Makes the layers alone, lowest first: packages that are no image of their own.
    pub(crate) fn make_layers(
        &self,
        selection: &Selection,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Vec<LayerId>, Problem> {
        let request = BaseRequest {
            selection,
            names: &[],
            snapshot: None,
            hidden: true,
        };
        self.packages.read_for(&[&selection.spec], |archive| {
            let (stored, inputs) = self.fetch(archive, &request, report)?;
            let layers = part(report, "assemble", || self.layers(selection, &stored, &inputs))?;
            self.remember(&facts_of(&layers))?;
            Ok(layers.iter().map(|layer| layer.id).collect())
        })
    }

    /// Downloads and unpacks what the store lacks.
    fn fetch(
        &self,
        archive: &Archive<'_>,
        request: &BaseRequest<'_>,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<(Vec<Arc<StoredPackage>>, Vec<PathBuf>), Problem> {
        let selection = request.selection;
        let store = &self.packages.store;
        let unpacked = store.downloads_dir().join(UNPACKED);
        let unpacked =
            PackageStore::open(&unpacked, &self.id_map, store.boot_id()).map_err(|error| other(&error))?;
        let found: Vec<_> = selection
            .packages
            .iter()
            .map(|package| unpacked.find(&package.sha256))
            .collect();
        let lacking: Vec<&SelectedPackage> = selection
            .packages
            .iter()
            .zip(&found)
            .filter(|(_, found)| found.is_none())
            .map(|(package, _)| package)
            .collect();
        let debs = download(archive, &lacking, request.snapshot, report)?;
        let inputs = fetch_inputs(archive, &selection.spec.inputs, report)?;
        if lacking.is_empty() {
            return Ok((found.into_iter().flatten().collect(), inputs));
        }
        let wanted: Vec<WantedPackage> = lacking
            .iter()
            .zip(debs)
            .map(|(package, deb)| wanted(package, deb))
            .collect();
        let fresh = part(report, "unpack packages", || {
            unpacked
                .get_all(&wanted, threads(), &self.packages.cancel.flag)
                .map_err(|error| other(&error))
        })?;
        let mut fresh = fresh.into_iter();
        let all = found
            .into_iter()
            .filter_map(|found| found.or_else(|| fresh.next()));
        Ok((all.collect(), inputs))
    }

    fn layers(
        &self,
        selection: &Selection,
        packages: &[Arc<StoredPackage>],
        inputs: &[PathBuf],
    ) -> Result<Vec<Layer>, Problem> {
        let composed = compose(selection, &Parts { packages, inputs }).map_err(|error| other(&error))?;
        let mut layers: Vec<Layer> = Vec::with_capacity(composed.layers());
        for number in 0..composed.layers() {
            let below: Vec<LayerId> = layers.iter().map(|layer| layer.id).collect();
            layers.push(self.layer(&composed, number, &below)?);
        }
        Ok(layers)
    }

    /// One layer, written unless the store has the same one for the same place. Its tar is hashed from the start, on
    /// another core.
    fn layer(&self, composed: &Composed, number: usize, below: &[LayerId]) -> Result<Layer, Problem> {
        let cancel = &*self.packages.cancel.flag;
        let needless = AtomicBool::new(false);
        let is_cancelled = || cancel.load(Ordering::Relaxed) || needless.load(Ordering::Relaxed);
        let (place, tar) = std::thread::scope(|scope| {
            let tar = scope.spawn(|| composed.layer_tar(number, is_cancelled));
            let place = self.place(composed, number, below);
            needless.store(!matches!(place, Ok(Place::Written(_))), Ordering::Relaxed);
            let tar = tar
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (place, tar)
        });
        let written = match place? {
            Place::Known(layer) => return Ok(layer),
            Place::Written(written) => written,
        };
        let tar = match tar.map_err(|error| other(&error))? {
            Some(tar) => tar,
            None => written.tar()?,
        };
        let (diff_id, size) = (tar.diff_id, tar.size);
        let own = !written.is_addition && composed.layers() == 1;
        let id = match self.snapshotter.find_by_diff_id(diff_id, below)? {
            Some(same) => same.id,
            None => {
                let options = CommitOptions {
                    tar: Some(tar),
                    listing: own.then(|| written.listing.as_bytes().to_vec()),
                    ..CommitOptions::default()
                };
                written.active.commit(options)?.id
            }
        };
        let mut facts = vec![(LAYERS, written.key, diff_id.0)];
        facts.extend(own.then(|| (KIN, *composed.kin(), written.key)));
        Ok(Layer {
            id,
            diff_id,
            size,
            facts,
        })
    }

    /// Finds a layer, or writes its files: those that an earlier layer of the same packages lacks, or all.
    fn place(&self, composed: &Composed, number: usize, below: &[LayerId]) -> Result<Place, Problem> {
        let listing = composed.listing(number);
        let key = listing.key();
        if let Some(layer) = self.known_layer(&key, below)? {
            return Ok(Place::Known(layer));
        }
        let cancel = &*self.packages.cancel.flag;
        let earlier = match composed.layers() {
            1 => self.earlier(composed.kin()),
            _ => None,
        };
        // Members of archives, which alone make no tar before they are written, are never among what is added.
        let added = earlier.as_ref().and_then(|earlier| {
            let added = listing.added_to(&earlier.listing)?;
            (added.len() <= listing.len() / LARGE).then_some((earlier.id, added))
        });
        let (active, links, is_addition) = if let Some((earlier, paths)) = added {
            let active = self.snapshotter.prepare_addition(&[], earlier)?;
            let written = composed.write_added(&paths, &active.upper_dir(), cancel);
            written.map_err(|error| other(&error))?;
            (active, LinkGroups::default(), true)
        } else {
            let active = self.snapshotter.prepare(below)?;
            let written = composed.write_layer(number, &active.upper_dir(), threads(), cancel);
            (active, written.map_err(|error| other(&error))?.links, false)
        };
        Ok(Place::Written(Written {
            active,
            listing,
            key,
            links,
            is_addition,
        }))
    }

    /// The layer that was made last of these packages as one of its own, if it can be added to. Anything unreadable
    /// counts as none: it only costs the writing.
    fn earlier(&self, kin: &Digest) -> Option<Earlier> {
        let store = &self.packages.store;
        let key = store.get_value(KIN, kin.as_bytes()).ok()??;
        let key = Digest::from_bytes(key.try_into().ok()?);
        let id = self.known_layer(&key, &[]).ok()??.id;
        if self.snapshotter.info(id).ok()?.extends.is_some() {
            return None;
        }
        let listing = Listing::from_bytes(self.snapshotter.listing(id)?, &key)?;
        Some(Earlier { id, listing })
    }

    fn remember(&self, facts: &[Fact]) -> Result<(), Problem> {
        let facts: Vec<(&str, &[u8], &[u8])> = facts
            .iter()
            .map(|(bucket, key, value)| (*bucket, key.as_bytes().as_slice(), value.as_bytes().as_slice()))
            .collect();
        let set = self.packages.store.set_values(&facts);
        Ok(set.map_err(ImageError::from)?)
    }

    /// The layer that the same content gave before.
    fn known_layer(&self, key: &Digest, below: &[LayerId]) -> Result<Option<Layer>, Problem> {
        let store = &self.packages.store;
        let value = store
            .get_value(LAYERS, key.as_bytes())
            .map_err(ImageError::from)?;
        let Some(digest) = value.and_then(|value| <[u8; 32]>::try_from(value).ok()) else {
            return Ok(None);
        };
        let diff_id = DiffId(Digest::from_bytes(digest));
        let found = self.snapshotter.find_by_diff_id(diff_id, below)?;
        Ok(found.and_then(|info| {
            Some(Layer {
                id: info.id,
                diff_id,
                size: info.tar_size?,
                facts: Vec::new(),
            })
        }))
    }

    /// The image that the same selection gave before, with the names asked for.
    fn known(&self, request: &BaseRequest<'_>) -> Result<Option<MadeBase>, Problem> {
        let store = &self.packages.store;
        let key = request.selection.key();
        let value = store
            .get_value(SELECTIONS, key.as_bytes())
            .map_err(ImageError::from)?;
        let Some(id) = value.and_then(|value| <[u8; 32]>::try_from(value).ok()) else {
            return Ok(None);
        };
        let images = store.images();
        let Some(image) = images.get(&Digest::from_bytes(id)).map_err(ImageError::from)? else {
            return Ok(None);
        };
        let Some(manifest) = image.manifest.filter(|_| self.snapshotter.has(&image.layers)) else {
            return Ok(None);
        };
        for name in request.names {
            let name = name.clone().without_digest();
            images.tag(&image.id, &name).map_err(ImageError::from)?;
        }
        let blobs = store.blobs();
        Ok(Some(MadeBase {
            id: image.id,
            manifest: blobs.read(&manifest).map_err(ImageError::from)?,
            config: blobs.read(&image.id).map_err(ImageError::from)?,
            known: true,
        }))
    }

    /// Stores the image under its names.
    fn keep(&self, request: &BaseRequest<'_>, layers: &[Layer]) -> Result<MadeBase, Problem> {
        let selection = request.selection;
        let store = &self.packages.store;
        let mut config = image_config(selection);
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
        let config = config.to_json();
        let described = layers
            .iter()
            .map(|layer| Descriptor::new(media_type::LAYER, layer.diff_id.0, layer.size));
        let mut manifest = Manifest::new(Descriptor::of(media_type::CONFIG, &config), described.collect());
        manifest.annotations = manifest_annotations(selection);
        let manifest = manifest.to_json();
        let blobs = store.blobs();
        let id = blobs.put(&config).map_err(ImageError::from)?;
        let image = NewImage {
            config: id,
            manifest: Some(blobs.put(&manifest).map_err(ImageError::from)?),
            platform: selection.platform.to_string(),
            layers: layers.iter().map(|layer| layer.id).collect(),
            blobs: Vec::new(),
            created: CREATED,
        };
        let names: Vec<_> = request
            .names
            .iter()
            .map(|name| name.clone().without_digest())
            .collect();
        store
            .images()
            .put(&image, &names, self.packages.now)
            .map_err(ImageError::from)?;
        if request.hidden {
            distil_sources::mark_base(store, &id)?;
        }
        let mut facts = facts_of(layers);
        facts.push((SELECTIONS, selection.key(), id));
        self.remember(&facts)?;
        Ok(MadeBase {
            id,
            manifest,
            config,
            known: false,
        })
    }
}

fn facts_of(layers: &[Layer]) -> Vec<Fact> {
    layers
        .iter()
        .flat_map(|layer| layer.facts.iter().copied())
        .collect()
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn wanted(package: &SelectedPackage, deb: PathBuf) -> WantedPackage {
    WantedPackage {
        deb,
        sha256: package.sha256,
        identity: PackageIdentity {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
        },
    }
}

/// Downloads packages that the cache lacks; tells the bytes.
fn download(
    archive: &Archive<'_>,
    packages: &[&SelectedPackage],
    snapshot: Option<&SnapshotMirror>,
    report: &(dyn Fn(Transfer) + Sync),
) -> Result<Vec<PathBuf>, Problem> {
    if packages.is_empty() {
        return Ok(Vec::new());
    }
    let files: Vec<PackageFile> = packages.iter().map(|package| file_of(package)).collect();
    let total = files.iter().map(|file| file.size).sum();
    let received = AtomicU64::new(0);
    let tell = |current: u64, done: bool| {
        report(Transfer {
            name: format!("download {} packages", files.len()),
            current,
            total,
            done,
        });
    };
    tell(0, false);
    let debs = archive
        .download_files(&files, snapshot, &|_, size| {
            tell(received.fetch_add(size, Ordering::Relaxed) + size, false);
        })
        .map_err(|error| other(&error))?;
    tell(total, true);
    Ok(debs)
}

fn file_of(package: &SelectedPackage) -> PackageFile {
    PackageFile {
        suite: package.suite.clone(),
        archive_url: package.archive_url.clone(),
        filename: package.filename.clone(),
        size: package.size,
        sha256: package.sha256,
    }
}

/// Fetches what the recipe gets from elsewhere; the recipe says which bytes it must be.
fn fetch_inputs(
    archive: &Archive<'_>,
    inputs: &[UpstreamInput],
    report: &(dyn Fn(Transfer) + Sync),
) -> Result<Vec<PathBuf>, Problem> {
    inputs
        .iter()
        .map(|input| {
            part(report, &format!("fetch {} {}", input.name, input.version), || {
                let (cache, fetcher) = (archive.cache, archive.fetcher);
                let file = match input.size {
                    Some(size) => {
                        let sha256 = input.sha256;
                        cache.get(fetcher, &input.url, &Expected { sha256, size })
                    }
                    None => cache.get_by_hash(fetcher, &input.url, &input.sha256, MAX_INPUT),
                };
                file.map_err(|error| other(&error))
            })
        })
        .collect()
}
