//! Images that are not here: a registry is asked, or a base is assembled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use distil_oci::{Digest, Platform, Reference};
use distil_registry::RegistryError;

use crate::error::after;
use crate::image::{Image, Origin, Transfer};
use crate::options::{BasesPolicy, Coverage};
use crate::provider::lock;
use crate::{ImageError, ImageProvider};

/// What is known of a registry.
#[derive(Clone, Default)]
pub(crate) enum Reach {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// It answered, whatever it said.
    Answers,
    /// There was no connection, and why.
    Silent(String),
}

impl ImageProvider {
    /// Finds an image that the store lacks, or that is looked up again.
    pub(crate) fn look_outside(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Image, ImageError> {
        let coverage = match reference.digest() {
            Some(_) => Coverage::Registry,
            None => self.options.assembler.covers(reference),
        };
        let not_found = |detail: String| ImageError::NotFound {
            name: reference.clone().without_digest().to_string(),
            detail,
        };
        match (coverage, self.options.policy) {
            (Coverage::Own, BasesPolicy::Registry) => {
                return Err(not_found(
                    "it is a name of distil's own, which is assembled and in no registry; \
                     build with `--bases auto` or `--bases packages`"
                        .into(),
                ));
            }
            (Coverage::Own, _) | (Coverage::Recipe, BasesPolicy::Packages) => {
                return self.assemble(reference, platform, report);
            }
            (Coverage::Recipe | Coverage::Registry, _) => {}
        }
        let nearest = || {
            let nearest = self.options.assembler.nearest(reference);
            nearest.filter(|_| coverage == Coverage::Registry)
        };
        let reason = match self.ask_registry(reference, platform) {
            Ok(Ok(image)) => return Ok(image),
            Ok(Err(reason)) => reason,
            Err(ImageError::Registry { name, source, .. }) if source.may_lack_image() => {
                let nearest = nearest();
                return Err(ImageError::Registry {
                    name,
                    source,
                    nearest,
                });
            }
            Err(error) => return Err(error),
        };
        if coverage == Coverage::Recipe && self.options.policy == BasesPolicy::Auto {
            lock(&self.warnings).push(format!(
                "the registry of `{}` cannot be reached, so the image is assembled from Debian packages: {reason}",
                reference.familiar()
            ));
            return self.assemble(reference, platform, report);
        }
        Err(not_found(reason + &after(nearest().as_deref())))
    }

    /// Notes that an assembled base is used, and what its users have to know.
    pub(crate) fn tell_assembled(&self, reference: &Reference) {
        let is_new = lock(&self.assembled).insert(reference.to_string());
        if let Some(note) = self.options.assembler.note(reference).filter(|_| is_new) {
            lock(&self.warnings).push(note);
        }
    }

    /// Asks the registry; gives the reason when it cannot be reached at all.
    fn ask_registry(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Result<Image, String>, ImageError> {
        let reach = Arc::clone(
            lock(&self.reach)
                .entry(reference.domain().to_owned())
                .or_default(),
        );
        let mut first = lock(&reach);
        match &*first {
            Reach::Silent(reason) => return Ok(Err(reason.clone())),
            Reach::Answers => {
                drop(first);
                return self.at_registry(reference, platform).map(Ok);
            }
            Reach::Unknown => {}
        }
        match self.at_registry(reference, platform) {
            Err(ImageError::Registry { source, .. }) if source.is_unreachable() => {
                let reason = source.to_string();
                *first = Reach::Silent(reason.clone());
                Ok(Err(reason))
            }
            answer => {
                *first = Reach::Answers;
                answer.map(Ok)
            }
        }
    }

    fn at_registry(&self, reference: &Reference, platform: &Platform) -> Result<Image, ImageError> {
        let remote = &self.options.remote;
        let failed = |error| self.pull_failed(reference, error);
        let target = remote.resolve(reference).map_err(failed)?;
        let pulled = remote
            .pull_manifest(reference, &target, platform, &self.store)
            .map_err(failed)?;
        let manifest = self.store.blobs().read(&pulled.descriptor.digest)?;
        Image::new(
            reference.clone(),
            target.digest,
            manifest,
            pulled.config_bytes,
            Origin::Registry,
        )
    }

    pub(crate) fn assemble(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Image, ImageError> {
        let made = self.options.assembler.assemble(reference, platform, report)?;
        let root = Digest::sha256(&made.manifest);
        Image::new(
            reference.clone(),
            root,
            made.manifest,
            made.config,
            Origin::Assembled,
        )
    }

    pub(crate) fn pull_failed(&self, reference: &Reference, error: RegistryError) -> ImageError {
        if self.options.cancelled.load(Ordering::Relaxed) {
            return ImageError::Cancelled;
        }
        ImageError::Registry {
            name: reference.clone().without_digest().to_string(),
            source: Box::new(error),
            nearest: None,
        }
    }
}
