//! The life of a build: Dockerfile to graph to layers.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use distil_dockerfile::Dockerfile;
use distil_frontend::{Conversion, Options};
use distil_llb::{Definition, OpNode};
use distil_oci::{History, ImageConfig, Platform};
use distil_solver::{CacheKey, CancelToken, Mode, SolveOptions};
use distil_sources::{ImageProvider, ImageRequest, PullPolicy};
use distil_store::LayerId;

use crate::Engine;
use crate::archive::PackageArchive;
use crate::contexts::{self, DockerfileText};
use crate::ephemeral::Ephemeral;
use crate::error::BuildError;
use crate::ops::{self, OpEnvironment, Output};
use crate::origins::{BuildSource, OwnerLists};
use crate::packages::PackageSources;
use crate::progress::ProgressSink;
use crate::progress_adapter::Adapter;
use crate::resolver::Resolver;
use crate::toolbox::FailureShell;

/// The step that reads the Dockerfile.
pub(crate) const DEFINITION_STEP: &str = "[internal] load build definition from Dockerfile";

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: DockerfileText,
    /// Folders by context name; the main one is [`crate::MAIN_CONTEXT`].
    pub contexts: BTreeMap<String, PathBuf>,
    /// OCI layouts by the name that a named context's `oci-layout://` gives them.
    pub layouts: BTreeMap<String, PathBuf>,
    /// Everything that decides the graph; ignore patterns are filled in by the engine.
    pub options: Options,
    /// What RUN sees and nothing keeps.
    pub ephemeral: Ephemeral,
    /// Whether steps may be executed, or only the cache looked at.
    pub mode: Mode,
    /// Opens a shell where a RUN fails, before the build ends.
    pub failure_shell: Option<Arc<dyn FailureShell>>,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildResult {
    /// The root file system, lowest layer first.
    pub layers: Vec<LayerId>,
    /// Cache keys of the result, for [`distil_solver::export_records`]; none when it has no steps.
    pub keys: Vec<Arc<CacheKey>>,
    /// Names of the steps that made the topmost layers, the top first; may be fewer than the layers.
    pub step_names: Vec<String>,
    /// The image config without layers and times.
    pub image: ImageConfig,
    /// Layers that came with the base image: their times are never rewritten.
    pub base_layers: usize,
    /// History of the base image, whose times are never rewritten either.
    pub base_history: Vec<History>,
    /// The platform of the result.
    pub platform: Platform,
    /// `SOURCE_DATE_EPOCH` in seconds.
    pub epoch: Option<i64>,
    /// Full names of the bases that distil assembled from packages.
    pub assembled_bases: Vec<String>,
    /// What it was made from, for [`Engine::record_origins`].
    pub source: Arc<BuildSource>,
}

/// A build that failed, with the place in the Dockerfile.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failure {
    /// What went wrong.
    #[source]
    pub error: BuildError,
    /// First and last line of the instruction that it belongs to, from 1.
    pub lines: Option<(u32, u32)>,
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self { error, lines: None }
    }
}

/// What a build reads that is not its own.
struct Sources {
    images: Arc<ImageProvider>,
    packages: PackageSources,
}

impl Engine {
    /// Converts the Dockerfile to its graph, looking up base images, and runs nothing.
    ///
    /// # Errors
    /// When the Dockerfile is not valid or a base image cannot be had.
    pub fn convert(
        &self,
        request: &BuildRequest,
        sink: Arc<dyn ProgressSink>,
    ) -> Result<Conversion, Failure> {
        let adapter = Adapter::new(sink);
        let sources = self.sources(request, &CancelToken::new())?;
        self.conversion(request, &sources.images, &adapter)
    }

    /// Builds. Everything it makes is held by the engine's lease until the engine is dropped.
    ///
    /// # Errors
    /// When the Dockerfile is not valid, a step fails, or `cancel` is set.
    pub fn build(
        &self,
        request: &BuildRequest,
        sink: Arc<dyn ProgressSink>,
        cancel: &CancelToken,
    ) -> Result<BuildResult, Failure> {
        let adapter = Arc::new(Adapter::new(sink));
        let sources = self.sources(request, cancel)?;
        let conversion = match self.conversion(request, &sources.images, &adapter) {
            Err(_) if cancel.is_cancelled() => {
                return Err(BuildError::Solve(distil_solver::SolveError::Cancelled).into());
            }
            other => other?,
        };
        self.solve(request, &conversion, sources, adapter, cancel)
            .map_err(|error| Failure {
                lines: place(&error, &conversion.definition),
                error,
            })
    }

    fn sources(&self, request: &BuildRequest, cancel: &CancelToken) -> Result<Sources, BuildError> {
        let packages = self.package_archive(cancel);
        let images = self.provider(request, &packages)?;
        Ok(Sources {
            images: Arc::new(images),
            packages: PackageSources::new(self.base_maker(&packages)),
        })
    }

    pub(crate) fn provider(
        &self,
        request: &BuildRequest,
        packages: &Arc<PackageArchive>,
    ) -> Result<ImageProvider, BuildError> {
        for (name, folder) in &request.contexts {
            contexts::check(name, folder)?;
        }
        Ok(self.image_provider(request.layouts.clone(), packages)?)
    }

    /// Reads the Dockerfile, as a step.
    pub(crate) fn parse(request: &BuildRequest, adapter: &Adapter) -> Result<Dockerfile, BuildError> {
        let step = adapter.step(DEFINITION_STEP);
        let text = &request.dockerfile.text;
        let parsed = distil_frontend::check_frontend(text, &request.options)
            .map_err(|diagnostic| vec![diagnostic])
            .and_then(|()| distil_dockerfile::parse(text))
            .map_err(BuildError::Dockerfile);
        step.end(&parsed);
        parsed
    }

    /// What the frontend is asked for; the ignore files are read for it.
    pub(crate) fn frontend_options(request: &BuildRequest) -> Result<Options, BuildError> {
        let mut options = request.options.clone();
        options.filename.clone_from(&request.dockerfile.name);
        options.ignore = contexts::ignore_patterns(&request.dockerfile, &request.contexts)?;
        Ok(options)
    }

    fn conversion(
        &self,
        request: &BuildRequest,
        provider: &ImageProvider,
        adapter: &Adapter,
    ) -> Result<Conversion, Failure> {
        let dockerfile = Self::parse(request, adapter)?;
        let options = Self::frontend_options(request)?;
        let resolver = Resolver::new(provider, adapter, request.mode == Mode::CacheOnly);
        let shared = OnceCell::new();
        let converted = distil_frontend::convert(
            &dockerfile,
            &request.dockerfile.text,
            &options,
            &resolver,
            &|warning| {
                let file = shared.get_or_init(|| Arc::new(request.dockerfile.clone()));
                adapter.check(DEFINITION_STEP, warning, file);
            },
        );
        converted.map_err(|diagnostics| {
            if resolver.needs_execution() {
                return BuildError::Image(distil_sources::ImageError::NotLocal).into();
            }
            BuildError::Dockerfile(diagnostics).into()
        })
    }

    fn solve(
        &self,
        request: &BuildRequest,
        conversion: &Conversion,
        sources: Sources,
        adapter: Arc<Adapter>,
        cancel: &CancelToken,
    ) -> Result<BuildResult, BuildError> {
        let definition = conversion
            .definition
            .load()
            .map_err(|error| BuildError::Definition(error.to_string()))?;
        let definition = Arc::new(definition);
        let environment = Arc::new(OpEnvironment {
            store: self.store.clone(),
            snapshotter: self.snapshotter.clone(),
            images: Arc::clone(&sources.images),
            packages: sources.packages,
            contexts: request.contexts.clone(),
            ignore_files: contexts::ignore_files(&request.dockerfile, &request.contexts),
            host: self.config.host.clone(),
            ephemeral: request.ephemeral.clone(),
            resolv_conf: self.config.resolv_conf.clone(),
            epoch: conversion.epoch,
            now: self.config.now,
            failure_shell: request.failure_shell.clone(),
            graph: Arc::clone(&definition),
            owners: OwnerLists::default(),
        });
        if request.mode == Mode::Full {
            ops::forget_cache_mounts(&definition, &environment, cancel)?;
        }
        let (graph, target) = ops::graph(&definition, &environment)?;
        let (mut layers, mut keys) = (Vec::new(), Vec::new());
        if let Some(target) = target {
            let options = SolveOptions {
                mode: request.mode,
                cancel: cancel.clone(),
                progress: adapter,
            };
            let solved = self.solver.solve(&graph, &[target], &options)?;
            if let Some(solved) = solved.first() {
                keys.clone_from(&solved.keys);
                let output = Output::of(&solved.result);
                if request.mode == Mode::CacheOnly && matches!(output, Output::Context(_)) {
                    // Its files have to be copied to a layer first.
                    return Err(distil_sources::ImageError::NotLocal.into());
                }
                layers = output
                    .layers(&self.snapshotter)
                    .map_err(|error| BuildError::Definition(error.to_string()))?;
            }
        }
        let base_layers = conversion
            .base_image
            .as_ref()
            .map_or(0, |base| base.rootfs.diff_ids.len());
        Ok(BuildResult {
            layers,
            keys,
            step_names: ops::step_names(&definition),
            image: conversion.image.clone(),
            base_layers,
            base_history: conversion
                .base_image
                .as_ref()
                .map_or_else(Vec::new, |base| base.history.clone()),
            platform: conversion.platform.clone(),
            epoch: conversion.epoch,
            assembled_bases: sources.images.assembled(),
            source: Arc::new(BuildSource::new(
                &request.dockerfile,
                &conversion.definition,
                &definition,
            )),
        })
    }

    /// The layers and config of an image by name, fetched or assembled where the store lacks it.
    ///
    /// # Errors
    /// When nobody has the image.
    pub fn image(
        &self,
        request: &ImageRequest,
        sink: Arc<dyn ProgressSink>,
    ) -> Result<(Vec<LayerId>, ImageConfig), BuildError> {
        let adapter = Adapter::new(sink);
        let packages = self.package_archive(&CancelToken::new());
        let provider = self.image_provider(BTreeMap::new(), &packages)?;
        let step = adapter.step(&format!("fetch {}", request.reference.familiar()));
        let report = |transfer: distil_sources::Transfer| {
            step.task(transfer.name, transfer.current, transfer.total, transfer.done);
        };
        let found = provider
            .resolve(request, PullPolicy::Missing, false, &report)
            .and_then(|image| Ok((provider.layers(request, false, &report)?, image.config.clone())));
        step.end(&found);
        for warning in provider.take_warnings() {
            adapter.warn(warning);
        }
        Ok(found?)
    }
}

/// Where the operation that an error names was written. What no line made, such as the build context or a
/// download, belongs to the first line that needs it.
fn place(error: &BuildError, definition: &Definition) -> Option<(u32, u32)> {
    let vertex = error.vertex()?.to_string().parse().ok()?;
    definition.lines(vertex).or_else(|| {
        let loaded = definition.load().ok()?;
        let needs = |node: &&OpNode| node.inputs.iter().any(|input| input.op == vertex);
        loaded
            .nodes()
            .iter()
            .filter(needs)
            .find_map(|node| definition.lines(node.digest))
    })
}
