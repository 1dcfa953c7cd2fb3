//! Sources: images, packages and folders of the host.

use std::sync::Arc;

use distil_llb::{DEB_RESOLVE_MODE, DebSource, pb};
use distil_oci::{Digest, Platform, Reference};
use distil_rootfs::Filter;
use distil_solver::{CacheMap, Op, OpContext, OpError, Outputs, Resource, ResultHandle};
use distil_sources::{ImageRequest, PullPolicy, Transfer};

use super::context::Context;
use super::{OpEnvironment, Output};
use crate::cache_map;
use crate::packages::PackageRequest;

/// A source by its scheme.
pub(super) struct SourceOp {
    kind: Kind,
    environment: Arc<OpEnvironment>,
}

enum Kind {
    Image(ImageRequest),
    Packages(PackageRequest),
    Local {
        name: String,
        filter: Filter,
        identity: Digest,
    },
}

/// Whether the operation stands for Debian packages.
pub(super) fn is_packages(source: &pb::SourceOp) -> bool {
    DebSource::from_identifier(&source.identifier).is_ok()
}

impl SourceOp {
    /// Reads identifier and attributes; an unknown scheme is refused by name.
    pub(super) fn new(
        source: &pb::SourceOp,
        platform: Option<&pb::Platform>,
        environment: Arc<OpEnvironment>,
    ) -> Result<Self, String> {
        let (scheme, rest) = source
            .identifier
            .split_once("://")
            .unwrap_or(("", &source.identifier));
        let kind = match scheme {
            "docker-image" | "oci-layout" => {
                let reference: Reference = rest
                    .parse()
                    .map_err(|error| format!("image name `{rest}`: {error}"))?;
                let platform = platform_or_host(platform, &environment);
                let layout = (scheme == "oci-layout")
                    .then(|| source.attrs.get("oci.store").cloned().unwrap_or_default());
                Kind::Image(ImageRequest {
                    reference,
                    platform,
                    layout,
                })
            }
            "deb" => {
                let packages =
                    DebSource::from_identifier(&source.identifier).map_err(|error| error.to_string())?;
                let pull = source
                    .attrs
                    .get(DEB_RESOLVE_MODE)
                    .is_some_and(|mode| mode == "pull");
                let platform = platform_or_host(platform, &environment);
                Kind::Packages(PackageRequest::new(packages, &platform, pull)?)
            }
            "local" => Kind::Local {
                name: rest.to_owned(),
                filter: filter(source)?,
                identity: Digest::sha256(format!("{source:?}").as_bytes()),
            },
            _ => {
                return Err(format!(
                    "sources of the kind `{scheme}` are not supported yet (`{}`)",
                    source.identifier
                ));
            }
        };
        Ok(Self { kind, environment })
    }

    fn context(&self, name: &str, filter: &Filter) -> Result<Context, OpError> {
        let Some(folder) = self.environment.contexts.get(name) else {
            return Err(OpError::failed(format!(
                "there is no build context called `{name}`"
            )));
        };
        let ignore_file = self.environment.ignore_files.get(name).cloned();
        Context::open(name, folder, filter, ignore_file).map_err(OpError::failed)
    }
}

impl Op for SourceOp {
    fn cache_map(&self, ctx: &OpContext) -> Result<CacheMap, OpError> {
        let (digests, private) = match &self.kind {
            Kind::Image(request) => {
                let images = &self.environment.images;
                let image = images
                    .resolve(request, PullPolicy::Missing, ctx.cache_only(), &|_| {})
                    .map_err(failed)?;
                (
                    cache_map::of_image(image.root, &request.platform, image.diff_ids()),
                    false,
                )
            }
            Kind::Packages(request) => {
                let packages = &self.environment.packages;
                let selection = packages
                    .selection(request, ctx.cache_only(), &|transfer| tell(ctx, transfer))
                    .map_err(failed)?;
                let key = cache_map::of_source(&format!("deb:{}", selection.key()));
                (vec![key], false)
            }
            Kind::Local { name, identity, .. } => (
                vec![cache_map::of_source(&format!("session:{name}:{identity}"))],
                true,
            ),
        };
        Ok(CacheMap {
            digests,
            inputs: Vec::new(),
            private,
        })
    }

    fn maps_inline(&self) -> bool {
        matches!(self.kind, Kind::Local { .. })
    }

    fn resource(&self) -> Resource {
        Resource::Light
    }

    fn exec(&self, ctx: &OpContext, _inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        let output = match &self.kind {
            Kind::Image(request) => {
                let layers = self
                    .environment
                    .images
                    .layers(request, ctx.cache_only(), &|transfer| tell(ctx, transfer))
                    .map_err(failed)?;
                Output::Layers(layers)
            }
            Kind::Packages(request) => {
                let packages = &self.environment.packages;
                let report = |transfer| tell(ctx, transfer);
                let selection = packages
                    .selection(request, ctx.cache_only(), &report)
                    .map_err(failed)?;
                let layer = packages
                    .layer(request, ctx.cache_only(), &report)
                    .map_err(failed)?;
                let list = crate::packages::list(&selection);
                ctx.log(distil_solver::Stream::Stdout, list.as_bytes());
                Output::Layers(vec![layer])
            }
            Kind::Local { name, filter, .. } => Output::Context(Arc::new(self.context(name, filter)?)),
        };
        Ok(Outputs {
            results: vec![Some(output.into_handle())],
            content: Vec::new(),
        })
    }
}

fn tell(ctx: &OpContext, transfer: Transfer) {
    ctx.status(distil_solver::Status {
        id: transfer.name,
        current: transfer.current,
        total: transfer.total,
        done: transfer.done,
    });
}

/// What has to be fetched first ends a look at the cache alone.
fn failed(error: distil_sources::ImageError) -> OpError {
    match error {
        distil_sources::ImageError::NotLocal => OpError::NeedsExecution,
        distil_sources::ImageError::Cancelled => OpError::Cancelled,
        error => OpError::failed(error),
    }
}

fn platform_or_host(platform: Option<&pb::Platform>, environment: &OpEnvironment) -> Platform {
    let Some(platform) = platform else {
        return environment.host.clone();
    };
    Platform {
        os: platform.os.clone(),
        architecture: platform.architecture.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        ..Platform::default()
    }
}

/// The patterns of a `local://` source; each attribute is a JSON array of strings.
fn filter(source: &pb::SourceOp) -> Result<Filter, String> {
    let list = |name: &str| -> Result<Vec<String>, String> {
        match source.attrs.get(name) {
            None => Ok(Vec::new()),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| format!("`{name}` of `{}` is no list: {error}", source.identifier)),
        }
    };
    Ok(Filter {
        include: list("local.includepattern")?,
        exclude: list("local.excludepatterns")?,
        follow_paths: list("local.followpaths")?,
    })
}
