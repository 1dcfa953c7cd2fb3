//! `debian:*` without a registry: packages unpacked, configured in the sandbox, stored as an image.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use distil_base::debian_image::{self, ConfigureStep, DebianImage, DebianRecipe, Plan};
use distil_debian::{Archive, ArchiveSources, DownloadCache, Indexes, Keyring};
use distil_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use distil_sandbox::exit::ExitStatus;
use distil_sandbox::{Network, ProcessSpec, Sandbox, Stdio};
use distil_snapshot::{ActiveSnapshot, CommitOptions, Snapshotter};
use distil_solver::{CancelRegistration, CancelToken};
use distil_sources::{Assembled, Assembler, Coverage, ImageError, Transfer};
use distil_store::{LockMode, NewImage, Store, Timestamp};

/// Bucket of manifest and config digests by plan key.
const PLANS: &str = "assembled-plans";
/// Bytes of output of a failed configuration that are shown.
const TAIL: usize = 4096;

/// Where the Debian archive is read from.
#[derive(Debug, Clone, Default)]
pub struct DebianArchive {
    /// One archive for everything, in place of the host's and the built-in ones.
    pub mirror: Option<String>,
    /// Name and text of the host's apt source files.
    pub host_sources: Vec<(String, String)>,
    /// Folder that keeps downloaded indexes and packages.
    pub downloads: PathBuf,
}

/// Assembles Debian images.
pub(crate) struct DebianAssembler {
    pub(crate) store: Store,
    pub(crate) snapshotter: Snapshotter,
    pub(crate) archive: DebianArchive,
    pub(crate) fetcher: Arc<distil_fetch::Client>,
    pub(crate) host: Platform,
    pub(crate) now: Timestamp,
    pub(crate) cancel: Arc<CancelFlag>,
    pub(crate) alone: Mutex<()>,
}

/// A cancel token that can also be read as a plain flag, which libraries without a solver take.
pub(crate) struct CancelFlag {
    token: CancelToken,
    pub(crate) flag: Arc<AtomicBool>,
    _registration: CancelRegistration,
}

impl CancelFlag {
    pub(crate) fn new(token: &CancelToken) -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        Self {
            token: token.clone(),
            flag,
            _registration: token.on_cancel(move || set.store(true, Ordering::Relaxed)),
        }
    }
}

impl Assembler for DebianAssembler {
    fn covers(&self, reference: &Reference) -> Coverage {
        match DebianImage::from_reference(reference) {
            Some(_) => Coverage::Recipe,
            None => Coverage::Registry,
        }
    }

    fn note(&self, _: &Reference) -> Option<String> {
        None
    }

    fn nearest(&self, _: &Reference) -> Option<String> {
        None
    }

    fn assemble(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError> {
        let failed = |detail: String| ImageError::Assemble {
            name: reference.to_string(),
            detail,
        };
        let Some(image) = DebianImage::from_reference(reference) else {
            return Err(failed("there is no recipe for this name".into()));
        };
        if !crate::foreign::runs(&platform.architecture) {
            return Err(failed(format!(
                "this machine ({}) cannot run the configuration of packages for {}: install qemu-user-static \
                 and binfmt-support, or build for {}",
                self.host, platform, self.host
            )));
        }
        // One base at a time: the indexes and the unpacker take their memory once.
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        // One process assembles, the others find its image.
        let _turn = self
            .store
            .lock(&format!("assemble {reference} {platform}"), LockMode::Exclusive)?;
        let result = self.run(reference, &DebianRecipe::debian(&image), platform, report);
        if self.cancel.token.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        result.map_err(|error| match error {
            Problem::Store(error) => error,
            Problem::Other(detail) => failed(detail),
        })
    }
}

/// What goes wrong on the way: errors of the store keep their type.
enum Problem {
    Store(ImageError),
    Other(String),
}

impl<E: Into<ImageError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

fn other(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Problem::Other(text)
}

/// Runs a part of the work, shown from its beginning to its end.
fn part<T>(
    report: &(dyn Fn(Transfer) + Sync),
    name: &str,
    work: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    let tell = |done: bool| {
        report(Transfer {
            name: name.to_owned(),
            current: u64::from(done),
            total: 1,
            done,
        });
    };
    tell(false);
    let result = work()?;
    tell(true);
    Ok(result)
}

impl DebianAssembler {
    fn run(
        &self,
        reference: &Reference,
        recipe: &DebianRecipe,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, Problem> {
        let keyring = Keyring::debian().map_err(|error| other(&error))?;
        let _used = self.store.use_downloads().map_err(ImageError::from)?;
        let cache = DownloadCache::open(&self.archive.downloads).map_err(|error| other(&error))?;
        let sources = self.sources(recipe);
        let archive = Archive {
            sources: &sources,
            cache: &cache,
            fetcher: self.fetcher.as_ref(),
            keyring: &keyring,
            cancel: &self.cancel.flag,
        };
        let (plan, indexes) = part(report, "read package indexes", || {
            // Debian calls amd64 and arm64 as OCI does; the plan refuses others.
            let indexes = archive
                .update(&platform.architecture, self.now.0 / 1_000_000_000)
                .map_err(|error| other(&error))?;
            // apt inside reads the archive that the image was made from: it was reachable here.
            let plan = debian_image::plan(recipe, platform, &indexes, None).map_err(|error| other(&error))?;
            Ok((plan, indexes))
        })?;
        if let Some(known) = self.known(&plan)? {
            return Ok(known);
        }
        let debs = download(&archive, &indexes, &plan, report)?;
        drop(indexes);
        let active = self.snapshotter.prepare(&[])?;
        let preinst = part(report, "unpack packages", || {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            debian_image::unpack(&plan, &debs, &active.upper_dir(), threads, &self.cancel.flag)
                .map_err(|error| other(&error))
        })?;
        part(report, "configure packages", || {
            self.configure(&ConfigureStep::new(&plan, &preinst), &active)?;
            debian_image::normalise(&plan, &active.upper_dir()).map_err(|error| other(&error))
        })?;
        let layer = active.commit(CommitOptions::default())?;
        self.keep(reference, &plan, layer.id)
    }

    /// Which archives are read: the one that the user named, else the host's, else the official ones.
    fn sources(&self, recipe: &DebianRecipe) -> ArchiveSources {
        let host: Vec<_> = self
            .archive
            .host_sources
            .iter()
            .flat_map(|(name, text)| distil_debian::parse_apt_sources(name, text))
            .collect();
        ArchiveSources::for_release(recipe.codename, self.archive.mirror.as_deref(), &host)
    }

    /// Runs the configuration with the unpacked packages as its root directory.
    fn configure(&self, step: &ConfigureStep, active: &ActiveSnapshot) -> Result<(), Problem> {
        let mut spec = ProcessSpec::new(active.mount()?, step.args.iter().map(OsString::from).collect());
        spec.env = step.env.iter().map(OsString::from).collect();
        spec.network = Network::None;
        let mut tail = Vec::new();
        let mut process = Sandbox::spawn(&spec, Stdio::captured()).map_err(|error| other(&error))?;
        let signaller = process.signaller();
        let _registration = self.cancel.token.on_cancel(move || signaller.kill());
        let status = process
            .wait_with_output(|_, data| {
                tail.extend_from_slice(data);
                let excess = tail.len().saturating_sub(TAIL);
                tail.drain(..excess);
            })
            .map_err(|error| other(&error))?;
        match status {
            ExitStatus::Code(0) => Ok(()),
            status => Err(Problem::Other(format!(
                "configuring the packages ended with {}:\n{}",
                status.code(),
                String::from_utf8_lossy(&tail)
            ))),
        }
    }

    /// The image that the same packages gave before.
    fn known(&self, plan: &Plan) -> Result<Option<Assembled>, Problem> {
        let value = self
            .store
            .get_value(PLANS, plan.key().as_bytes())
            .map_err(ImageError::from)?;
        let Some(id) = value.and_then(|value| <[u8; 32]>::try_from(value).ok()) else {
            return Ok(None);
        };
        let Some(image) = self
            .store
            .images()
            .get(&Digest::from_bytes(id))
            .map_err(ImageError::from)?
        else {
            return Ok(None);
        };
        let Some(manifest) = image.manifest else {
            return Ok(None);
        };
        if !self.snapshotter.has(&image.layers) {
            return Ok(None);
        }
        let blobs = self.store.blobs();
        Ok(Some(Assembled {
            manifest: blobs.read(&manifest).map_err(ImageError::from)?,
            config: blobs.read(&image.id).map_err(ImageError::from)?,
        }))
    }

    /// Stores the image under its name.
    fn keep(
        &self,
        reference: &Reference,
        plan: &Plan,
        layer: distil_store::LayerId,
    ) -> Result<Assembled, Problem> {
        let diff_id = self.snapshotter.diff_id(layer)?;
        let size = self.snapshotter.info(layer)?.tar_size.unwrap_or(0);
        let mut config = debian_image::image_config(plan);
        config.rootfs.diff_ids = vec![diff_id];
        let config = config.to_json();
        let manifest = Manifest::new(
            Descriptor::of(media_type::CONFIG, &config),
            vec![Descriptor::new(media_type::LAYER, diff_id.0, size)],
        )
        .to_json();
        let blobs = self.store.blobs();
        let id = blobs.put(&config).map_err(ImageError::from)?;
        let image = NewImage {
            config: id,
            manifest: Some(blobs.put(&manifest).map_err(ImageError::from)?),
            platform: plan.platform.to_string(),
            layers: vec![layer],
            blobs: Vec::new(),
            created: Timestamp(plan.epoch * 1_000_000_000),
        };
        self.store
            .images()
            .put(&image, &[reference.clone().without_digest()], self.now)
            .map_err(ImageError::from)?;
        distil_sources::mark_base(&self.store, &id)?;
        self.store
            .set_value(PLANS, plan.key().as_bytes(), Some(id.as_bytes()))
            .map_err(ImageError::from)?;
        Ok(Assembled { manifest, config })
    }
}

/// Downloads what the plan names and the cache lacks; tells the bytes.
fn download(
    archive: &Archive<'_>,
    indexes: &Indexes,
    plan: &Plan,
    report: &(dyn Fn(Transfer) + Sync),
) -> Result<Vec<PathBuf>, Problem> {
    let total = plan.download_size();
    let received = AtomicU64::new(0);
    let tell = |current: u64, done: bool| {
        report(Transfer {
            name: format!("download {} packages", plan.packages.len()),
            current,
            total,
            done,
        });
    };
    tell(0, false);
    let debs = archive
        .download(indexes, &plan.package_ids(), &|_, size| {
            tell(received.fetch_add(size, Ordering::Relaxed) + size, false);
        })
        .map_err(|error| other(&error))?;
    tell(total, true);
    Ok(debs)
}
