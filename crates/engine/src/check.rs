//! The build checks, and other questions about a Dockerfile, without a build.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distil_dockerfile::Dockerfile;
use distil_dockerfile::lint::{Rule, Warning};
use distil_frontend::{ImageName, ImageResolver, Options, Outline, ResolveError, ResolveMode, ResolvedImage};
use distil_oci::{Digest, ImageConfig, Platform};
use distil_solver::CancelToken;
use distil_sources::{Assembler, Coverage, ImageError, ImageProvider, PullPolicy};

use crate::Engine;
use crate::build::{BuildRequest, Failure};
use crate::error::BuildError;
use crate::progress::ProgressSink;
use crate::progress_adapter::Adapter;
use crate::resolver::{image_request, refusal};

/// What the build checks found.
#[derive(Debug)]
pub struct CheckReport {
    /// Broken rules, in the order they were found.
    pub warnings: Vec<Warning>,
    /// Why a build would be refused, as far as the checks got.
    pub error: Option<BuildError>,
}

impl Engine {
    /// Runs the build checks over the target, or over every stage where the options name none. Nothing is built,
    /// and no base is assembled.
    ///
    /// Bases that the store or a layout holds are read there. A registry is asked for the configs of the others
    /// only where a finding depends on one: an undefined variable or a shell form, which the base may define, or
    /// a foreign platform. One that cannot be reached leaves its bases unknown, which is told.
    ///
    /// # Errors
    /// A context or an ignore file that cannot be read. What is wrong in the Dockerfile is in the report.
    pub fn check(
        &self,
        request: &BuildRequest,
        sink: Arc<dyn ProgressSink>,
        cancel: &CancelToken,
    ) -> Result<CheckReport, Failure> {
        let adapter = Adapter::new(sink);
        let parsed = Self::parse(request, &adapter);
        let run = |dockerfile: &Dockerfile, options: &Options, bases: &Bases<'_>| {
            let found = RefCell::new(Vec::new());
            let text = &request.dockerfile.text;
            let keep = |warning| found.borrow_mut().push(warning);
            let checked = distil_frontend::check(dockerfile, text, options, bases, &keep);
            CheckReport {
                warnings: found.into_inner(),
                error: checked.err().map(BuildError::Dockerfile),
            }
        };
        match parsed {
            Ok(dockerfile) => self.ask(request, &adapter, cancel, &|options, bases| {
                let report = run(&dockerfile, options, bases);
                let depends = bases.has_foreign() || report.error.is_some() || depends_on_config(&report);
                (report, depends)
            }),
            Err(error) => Ok(CheckReport {
                warnings: Vec::new(),
                error: Some(error),
            }),
        }
    }

    /// Finds out what builds of the target can be given. Bases are looked up as for [`Engine::check`]; here only
    /// an error can depend on one.
    ///
    /// # Errors
    /// What a build would be refused for before it runs anything.
    pub fn outline(
        &self,
        request: &BuildRequest,
        sink: Arc<dyn ProgressSink>,
        cancel: &CancelToken,
    ) -> Result<Outline, Failure> {
        let adapter = Adapter::new(sink);
        let dockerfile = Self::parse(request, &adapter)?;
        let outline = self.ask(request, &adapter, cancel, &|options, bases| {
            let outline = distil_frontend::outline(&dockerfile, &request.dockerfile.text, options, bases);
            let depends = outline.is_err();
            (outline, depends)
        })?;
        outline.map_err(|errors| BuildError::Dockerfile(errors).into())
    }

    /// Runs `question` with the bases at hand, and once more with registries where its answer depends on others.
    fn ask<T>(
        &self,
        request: &BuildRequest,
        adapter: &Adapter,
        cancel: &CancelToken,
        question: &dyn Fn(&Options, &Bases<'_>) -> (T, bool),
    ) -> Result<T, Failure> {
        let packages = self.package_archive(cancel);
        let provider = self.provider(request, &packages)?;
        let options = Self::frontend_options(request)?;
        let assembler = self.assembler(packages);
        let bases = Bases::new(&provider, assembler.as_ref(), adapter, &options);
        let (answer, depends) = question(&options, &bases);
        if !depends || bases.missing().is_empty() {
            return Ok(answer);
        }
        bases.ask.store(true, Ordering::Relaxed);
        let (answer, _) = question(&options, &bases);
        match cancel.is_cancelled() {
            true => Err(BuildError::Solve(distil_solver::SolveError::Cancelled).into()),
            false => Ok(answer),
        }
    }
}

/// Whether the config of a base could take a finding back: it may set the variable, or a shell.
fn depends_on_config(report: &CheckReport) -> bool {
    let by_config =
        |warning: &Warning| matches!(warning.rule, Rule::UndefinedVar | Rule::JsonArgsRecommended);
    report.warnings.iter().any(by_config)
}

/// Configs of bases for the checks: those at hand, and an empty one for each that is not.
struct Bases<'a> {
    provider: &'a ImageProvider,
    assembler: &'a dyn Assembler,
    adapter: &'a Adapter,
    builder: Platform,
    /// Whether registries are asked.
    ask: AtomicBool,
    /// The platforms of bases that are not at hand.
    missing: Mutex<Vec<Platform>>,
}

impl<'a> Bases<'a> {
    fn new(
        provider: &'a ImageProvider,
        assembler: &'a dyn Assembler,
        adapter: &'a Adapter,
        options: &Options,
    ) -> Self {
        Self {
            provider,
            assembler,
            adapter,
            builder: options.build_platform.clone(),
            ask: AtomicBool::new(options.resolve_mode == ResolveMode::Pull),
            missing: Mutex::default(),
        }
    }

    fn missing(&self) -> MutexGuard<'_, Vec<Platform>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a base that is not at hand is wanted for another platform than the builder's.
    fn has_foreign(&self) -> bool {
        let foreign = |platform: &Platform| {
            platform.os != self.builder.os || platform.architecture != self.builder.architecture
        };
        self.missing().iter().any(foreign)
    }

    fn one(&self, request: &distil_frontend::ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let assembled = match &request.name {
            ImageName::Named(name) => {
                name.digest().is_none() && self.assembler.covers(name) != Coverage::Registry
            }
            ImageName::Layout { .. } => false,
        };
        let ask = self.ask.load(Ordering::Relaxed) && !assembled;
        let pull = match request.mode {
            ResolveMode::Pull if ask => PullPolicy::Always,
            _ => PullPolicy::Missing,
        };
        let step = ask.then(|| self.adapter.step(&request.label));
        let found = image_request(&request.name, &request.platform)
            .and_then(|wanted| self.provider.resolve(&wanted, pull, !ask, &|_| {}));
        let named = matches!(request.name, ImageName::Named(_));
        let answer = match found {
            Ok(image) => Ok(ResolvedImage {
                digest: image.root,
                config: image.config_bytes.clone(),
            }),
            Err(ImageError::NotLocal) => {
                if !assembled {
                    self.missing().push(request.platform.clone());
                }
                Ok(unknown(&request.platform))
            }
            Err(error @ ImageError::NotFound { .. }) if named => {
                self.adapter
                    .warn(format!("{error}; the checks do not know what its config sets"));
                Ok(unknown(&request.platform))
            }
            Err(error) => Err(refusal(&error)),
        };
        if let Some(step) = step {
            step.end(&answer);
        }
        answer
    }
}

impl ImageResolver for Bases<'_> {
    fn resolve(
        &self,
        requests: &[distil_frontend::ImageRequest],
    ) -> Vec<Result<ResolvedImage, ResolveError>> {
        if !self.ask.load(Ordering::Relaxed) {
            return requests.iter().map(|request| self.one(request)).collect();
        }
        crate::resolver::at_once(requests, |request| self.one(request))
    }
}

/// Stands for a base of which nothing is known.
fn unknown(platform: &Platform) -> ResolvedImage {
    let config = ImageConfig::new(platform).to_json();
    ResolvedImage {
        digest: Digest::sha256(&config),
        config,
    }
}
