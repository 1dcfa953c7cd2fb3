//! The engine: what LLB operations do, the life of a build, the build cache, progress.
//!
//! An [`Engine`] works on one store. [`Engine::build`] turns a Dockerfile into layers and an image config;
//! what becomes of them is the exporter's matter.

mod archive;
mod assemble;
mod assembler;
mod bases;
mod build;
mod cache;
pub mod cache_map;
mod check;
mod contexts;
mod ephemeral;
mod error;
mod foreign;
mod host_ca;
mod links;
mod ops;
mod origins;
mod packages;
pub mod progress;
mod progress_adapter;
mod resolver;
mod toolbox;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::archive::{CancelFlag, PackageArchive};
use crate::assemble::DebianAssembler;
use crate::assembler::BaseAssembler;
use distil_oci::Platform;
use distil_registry::Remote;
use distil_snapshot::{SnapshotMode, SnapshotOptions, Snapshotter};
use distil_solver::{CancelToken, Solver, SolverConfig};
use distil_sources::{Assembler, BasesPolicy, ImageError, ImageProvider, ProviderOptions};
use distil_store::{Store, Timestamp};

pub use archive::DebianArchive;
pub use bases::{BaseRequest, MadeBase};
pub use build::{BuildRequest, BuildResult, Failure};
pub use check::CheckReport;
pub use contexts::DockerfileText;
pub use ephemeral::{Ephemeral, Secret};
pub use error::BuildError;
pub use host_ca::{HostCa, HostCaError};
pub use origins::BuildSource;
pub use toolbox::{DEFAULT_TOOLBOX, FailedStep, FailureShell, Toolbox};

/// Name of the main build context.
pub const MAIN_CONTEXT: &str = "context";

/// What an engine works with; read from the environment by the caller.
pub struct EngineConfig {
    /// Directory of the store.
    pub root: PathBuf,
    /// How snapshots are made.
    pub snapshots: SnapshotMode,
    /// The user namespace map of this process; see [`distil_snapshot::describe_id_maps`].
    pub id_map: String,
    /// Whether this process lives in a user namespace.
    pub in_user_namespace: bool,
    /// Whether this process is outside of the user namespace that `id_map` is of: it can only look at the cache.
    pub outside_namespace: bool,
    /// Processes of RUN at once.
    pub exec_slots: usize,
    /// Platform of this machine.
    pub host: Platform,
    /// The host's `/etc/resolv.conf`.
    pub resolv_conf: Vec<u8>,
    /// OCI layouts asked for image names first.
    pub image_layouts: Vec<PathBuf>,
    /// Where base images come from.
    pub bases: BasesPolicy,
    /// The registry client.
    pub remote: Arc<Remote>,
    /// Fetches packages.
    pub fetcher: Arc<distil_fetch::Client>,
    /// Where packages come from.
    pub debian: DebianArchive,
    /// Time of the build.
    pub now: Timestamp,
}

/// Builds on one store. Everything made through an engine is kept at least until it is dropped.
pub struct Engine {
    pub(crate) store: Store,
    pub(crate) snapshotter: Snapshotter,
    pub(crate) solver: Solver,
    pub(crate) config: EngineConfig,
}

impl Engine {
    /// Opens the store and what belongs to it.
    ///
    /// # Errors
    /// When the store cannot be opened, or snapshots cannot be made here.
    pub fn open(config: EngineConfig) -> Result<Self, BuildError> {
        let store = Store::open(&config.root)?;
        let options = SnapshotOptions {
            mode: config.snapshots,
            id_map: config.id_map.clone(),
            in_user_namespace: config.in_user_namespace,
            outside: config.outside_namespace,
            ..SnapshotOptions::default()
        };
        let snapshotter = Snapshotter::open(&store, options);
        snapshotter.register_producer();
        let solver = Solver::new(SolverConfig {
            stores: vec![cache::store(Arc::new(store.clone()), &config.id_map, config.now)],
            flight: Some(cache::single_flight(Arc::new(store.clone()))),
            exec_slots: config.exec_slots,
            ..SolverConfig::default()
        });
        Ok(Self {
            store,
            snapshotter,
            solver,
            config,
        })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The snapshots of the store.
    pub fn snapshotter(&self) -> &Snapshotter {
        &self.snapshotter
    }

    /// The archive of packages for one build.
    pub(crate) fn package_archive(&self, cancel: &CancelToken) -> Arc<PackageArchive> {
        Arc::new(PackageArchive::new(
            self.store.clone(),
            self.config.debian.clone(),
            Arc::clone(&self.config.fetcher),
            self.config.now,
            Arc::new(CancelFlag::new(cancel)),
        ))
    }

    fn image_provider(
        &self,
        named_layouts: BTreeMap<String, PathBuf>,
        packages: &Arc<PackageArchive>,
    ) -> Result<ImageProvider, ImageError> {
        ImageProvider::new(
            self.store.clone(),
            self.snapshotter.clone(),
            ProviderOptions {
                layouts: self.config.image_layouts.clone(),
                named_layouts,
                policy: self.config.bases,
                remote: Arc::clone(&self.config.remote),
                cancelled: Arc::clone(&packages.cancel.flag),
                assembler: self.assembler(Arc::clone(packages)),
                now: self.config.now,
            },
        )
    }

    pub(crate) fn assembler(&self, packages: Arc<PackageArchive>) -> Arc<dyn Assembler> {
        Arc::new(BaseAssembler {
            maker: self.base_maker(&packages),
            debian: DebianAssembler {
                snapshotter: self.snapshotter.clone(),
                packages,
                host: self.config.host.clone(),
            },
        })
    }

    /// Whether the diff IDs of a result are known, so that its image can be described without reading a file.
    /// With `rewrite` and an epoch those count that its layers have with later times cut off.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_hashed(&self, result: &BuildResult, rewrite: bool) -> Result<bool, BuildError> {
        let latest = result.epoch.filter(|_| rewrite);
        for (at, layer) in result.layers.iter().enumerate() {
            let known = match latest {
                Some(latest) if at >= result.base_layers => {
                    self.store.layers().clamped(*layer, latest)?.is_some()
                }
                _ => self.snapshotter.info(*layer)?.diff_id.is_some(),
            };
            if !known {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
