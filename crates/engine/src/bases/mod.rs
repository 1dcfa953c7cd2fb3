//! Distroless images: packages downloaded, unpacked, put together and stored. Nothing of them is run, so any
//! architecture can be made on any machine.
//!
//! [`Engine::select_base`] chooses the packages, [`Engine::make_base`] makes the image of a selection.

mod make;

use std::sync::Arc;

use distil_base::recipe::ImageSpec;
use distil_base::selection::{Selection, select};
use distil_debian::{Archive, SnapshotMirror};
use distil_oci::{Digest, Platform, Reference};
use distil_solver::CancelToken;
use distil_sources::{ImageError, Transfer};

use crate::Engine;
use crate::archive::{PackageArchive, Problem, other, part};

pub(crate) use make::BaseMaker;

/// An image to make from packages.
#[derive(Debug, Clone, Copy)]
pub struct BaseRequest<'a> {
    /// What it is made of.
    pub selection: &'a Selection,
    /// Names that it gets; without any it can be had by its digest.
    pub names: &'a [Reference],
    /// Where packages come from that the archive has dropped.
    pub snapshot: Option<&'a SnapshotMirror>,
    /// Only a base of other images: listed by `images --all` alone.
    pub hidden: bool,
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeBase {
    /// Digest of its config: the image's ID.
    pub id: Digest,
    /// Exact bytes of the manifest.
    pub manifest: Vec<u8>,
    /// Exact bytes of the image config.
    pub config: Vec<u8>,
    /// Whether the same packages had given it before, so that nothing was to do.
    pub known: bool,
}

impl MadeBase {
    /// Digest of the manifest, by which registries name it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }
}

/// Tells an error with the image's name.
fn named(name: &str, packages: &PackageArchive, problem: Problem) -> ImageError {
    if packages.cancel.token.is_cancelled() {
        return ImageError::Cancelled;
    }
    match problem {
        Problem::Store(error) => error,
        Problem::Other(detail) => ImageError::Assemble {
            name: name.to_owned(),
            detail,
        },
    }
}

impl Engine {
    /// Reads the archives of the recipes' releases and their own sources. Downloads are kept as long as `work` runs.
    ///
    /// # Errors
    /// Those of `work`, told with the name of the first image.
    pub fn read_archives<T>(
        &self,
        specs: &[&ImageSpec],
        cancel: &CancelToken,
        work: impl FnOnce(&Archive<'_>) -> Result<T, String>,
    ) -> Result<T, ImageError> {
        let packages = self.package_archive(cancel);
        let name = specs.first().map_or("", |spec| spec.name.as_str());
        packages
            .read_for(specs, |archive| work(archive).map_err(Problem::Other))
            .map_err(|problem| named(name, &packages, problem))
    }

    /// Chooses the packages of an image from the archive as it is now.
    ///
    /// # Errors
    /// When the archive cannot be reached or trusted, or the packages do not fit together.
    pub fn select_base(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
        cancel: &CancelToken,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Selection, ImageError> {
        let packages = self.package_archive(cancel);
        select_now(&packages, spec, platform, report).map_err(|problem| named(&spec.name, &packages, problem))
    }

    /// Makes the image of a selection, or finds it when the same selection was made here before.
    ///
    /// # Errors
    /// When a package cannot be had, is damaged, or does not fit to the others; when the store fails.
    pub fn make_base(
        &self,
        request: &BaseRequest<'_>,
        cancel: &CancelToken,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<MadeBase, ImageError> {
        let packages = self.package_archive(cancel);
        let maker = self.base_maker(&packages);
        let spec = &request.selection.spec;
        maker
            .make(request, report)
            .map_err(|problem| named(&spec.name, &packages, problem))
    }

    pub(crate) fn base_maker(&self, packages: &Arc<PackageArchive>) -> BaseMaker {
        BaseMaker {
            snapshotter: self.snapshotter.clone(),
            packages: Arc::clone(packages),
            id_map: self.config.id_map.clone(),
        }
    }
}

/// Reads the indexes and chooses the packages.
pub(crate) fn select_now(
    packages: &PackageArchive,
    spec: &ImageSpec,
    platform: &Platform,
    report: &(dyn Fn(Transfer) + Sync),
) -> Result<Selection, Problem> {
    packages.read_for(&[spec], |archive| {
        part(report, "read package indexes", || {
            let indexes = archive
                .update(&spec.architecture, packages.seconds())
                .map_err(|error| other(&error))?;
            select(spec, platform, &indexes).map_err(|error| other(&error))
        })
    })
}
