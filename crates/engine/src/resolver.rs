//! Answers the frontend's questions about base images.

use std::sync::Mutex;

use distil_frontend::{ImageName, ImageResolver, ResolveError, ResolveMode, ResolvedImage};
use distil_oci::Reference;
use distil_sources::{ImageError, ImageProvider, ImageRequest, Origin, PullPolicy};

use crate::progress_adapter::Adapter;

/// Looks images up through a provider and shows each look-up as a step.
pub(crate) struct Resolver<'a> {
    provider: &'a ImageProvider,
    progress: &'a Adapter,
    local_only: bool,
    needs_execution: Mutex<bool>,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(provider: &'a ImageProvider, progress: &'a Adapter, local_only: bool) -> Self {
        Self {
            provider,
            progress,
            local_only,
            needs_execution: Mutex::new(false),
        }
    }

    /// Whether a look-up failed only because nothing may be fetched.
    pub(crate) fn needs_execution(&self) -> bool {
        *self
            .needs_execution
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn tell_warnings(&self) {
        for warning in self.provider.take_warnings() {
            self.progress.warn(warning);
        }
    }

    fn one(&self, request: &distil_frontend::ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let step = self.progress.step(&request.label);
        let wanted = image_request(&request.name, &request.platform);
        let outcome = wanted.and_then(|wanted| {
            let pull = match request.mode {
                ResolveMode::Pull => PullPolicy::Always,
                ResolveMode::Default | ResolveMode::Local => PullPolicy::Missing,
            };
            self.provider
                .resolve(&wanted, pull, self.local_only, &|transfer| {
                    // Before the long work that they are about.
                    self.tell_warnings();
                    step.task(transfer.name, transfer.current, transfer.total, transfer.done);
                })
        });
        if outcome
            .as_ref()
            .is_ok_and(|image| image.origin == Origin::Assembled)
        {
            step.task("assembled from Debian packages".into(), 0, 0, true);
        }
        step.end(&outcome);
        self.tell_warnings();
        match outcome {
            Ok(image) => Ok(ResolvedImage {
                digest: image.root,
                config: image.config_bytes.clone(),
            }),
            Err(error) => {
                if matches!(error, ImageError::NotLocal) {
                    *self
                        .needs_execution
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner) = true;
                }
                Err(refusal(&error))
            }
        }
    }
}

/// An error in the frontend's form.
pub(crate) fn refusal(error: &ImageError) -> ResolveError {
    ResolveError {
        help: help(error),
        message: error.to_string(),
    }
}

/// The way out of an error, where there is one.
fn help(error: &ImageError) -> Option<String> {
    match error {
        ImageError::Assemble { .. } => {
            Some("--mirror names another archive, --image-layout a folder that has the image".into())
        }
        ImageError::NotFound { detail, .. } if detail.is_empty() => None,
        ImageError::NotFound { .. } | ImageError::Registry { nearest: Some(_), .. } => Some(
            "--image-layout names a folder that has the image; `distil load` brings it into the store".into(),
        ),
        _ => None,
    }
}

impl ImageResolver for Resolver<'_> {
    fn resolve(
        &self,
        requests: &[distil_frontend::ImageRequest],
    ) -> Vec<Result<ResolvedImage, ResolveError>> {
        at_once(requests, |request| self.one(request))
    }
}

/// Answers all requests, each on a thread of its own, in their order.
pub(crate) fn at_once(
    requests: &[distil_frontend::ImageRequest],
    one: impl Fn(&distil_frontend::ImageRequest) -> Result<ResolvedImage, ResolveError> + Sync,
) -> Vec<Result<ResolvedImage, ResolveError>> {
    if let [request] = requests {
        return vec![one(request)];
    }
    std::thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = requests
            .iter()
            .map(|request| scope.spawn(move || one(request)))
            .collect();
        let lost = || ResolveError {
            message: "the look-up ended unexpectedly".into(),
            help: None,
        };
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(lost())))
            .collect()
    })
}

/// The provider's form of a request. A layout's image gets the name of its layout.
pub(crate) fn image_request(
    name: &ImageName,
    platform: &distil_oci::Platform,
) -> Result<ImageRequest, ImageError> {
    Ok(match name {
        ImageName::Named(reference) => ImageRequest {
            reference: reference.clone(),
            platform: platform.clone(),
            layout: None,
        },
        ImageName::Layout { store, digest } => ImageRequest {
            reference: layout_reference(store, *digest)?,
            platform: platform.clone(),
            layout: Some(store.clone()),
        },
    })
}

/// The name that an image of a layout has in the graph.
fn layout_reference(store: &str, digest: distil_oci::Digest) -> Result<Reference, ImageError> {
    format!("{store}@{digest}")
        .parse()
        .map_err(|error: distil_oci::ReferenceError| ImageError::NotFound {
            name: store.to_owned(),
            detail: error.to_string(),
        })
}
