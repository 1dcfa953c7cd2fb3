//! The bases that distil makes from packages when a Dockerfile names them.

use distil_base::debian_image::DebianImage;
use distil_base::names::{self, DistrolessImage};
use distil_base::recipe::ImageSpec;
use distil_oci::{Platform, Reference};
use distil_sources::{Assembled, Assembler, Coverage, ImageError, Transfer};

use crate::archive::Problem;
use crate::assemble::DebianAssembler;
use crate::bases::{BaseMaker, BaseRequest, select_now};
use crate::toolbox;

/// Assembles what is covered by a recipe: `debian:*`, `gcr.io/distroless/*` and `distil/*`.
pub(crate) struct BaseAssembler {
    pub(crate) debian: DebianAssembler,
    pub(crate) maker: BaseMaker,
}

impl Assembler for BaseAssembler {
    fn covers(&self, reference: &Reference) -> Coverage {
        coverage(reference)
    }

    fn note(&self, reference: &Reference) -> Option<String> {
        difference(reference)
    }

    fn nearest(&self, reference: &Reference) -> Option<String> {
        names::nearest(reference).map(|nearest| nearest.to_string())
    }

    fn assemble(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError> {
        match DistrolessImage::from_reference(reference) {
            Some(image) => self.distroless(reference, &image, platform, report),
            None if toolbox::is_default(reference) => self.toolbox(reference, platform, report),
            None => self.debian.assemble(reference, platform, report),
        }
    }
}

impl BaseAssembler {
    /// A distroless image. Nothing of it is run, so its architecture need not be this machine's.
    fn distroless(
        &self,
        reference: &Reference,
        image: &DistrolessImage,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError> {
        let platform = image.platform(platform);
        let spec = image
            .spec(&platform)
            .map_err(|error| failed(reference, error.to_string()))?;
        self.make(reference, &spec, &platform, report)
    }

    fn toolbox(
        &self,
        reference: &Reference,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError> {
        let spec = toolbox::spec(platform).ok_or_else(|| {
            let detail = format!("there are packages for linux/amd64 and linux/arm64, not for {platform}");
            failed(reference, detail)
        })?;
        self.make(reference, &spec, platform, report)
    }

    fn make(
        &self,
        reference: &Reference,
        spec: &ImageSpec,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, ImageError> {
        let packages = &self.maker.packages;
        let made = select_now(packages, spec, platform, report).and_then(|selection| {
            let request = BaseRequest {
                selection: &selection,
                names: std::slice::from_ref(reference),
                snapshot: None,
                hidden: true,
            };
            self.maker.make(&request, report)
        });
        if packages.cancel.token.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        match made {
            Ok(made) => Ok(Assembled {
                manifest: made.manifest,
                config: made.config,
            }),
            Err(Problem::Store(error)) => Err(error),
            Err(Problem::Other(detail)) => Err(failed(reference, detail)),
        }
    }
}

fn failed(reference: &Reference, detail: String) -> ImageError {
    ImageError::Assemble {
        name: reference.to_string(),
        detail,
    }
}

fn coverage(reference: &Reference) -> Coverage {
    match DistrolessImage::from_reference(reference) {
        Some(image) if image.own => Coverage::Own,
        Some(_) => Coverage::Recipe,
        None if toolbox::is_default(reference) => Coverage::Own,
        None if DebianImage::from_reference(reference).is_some() => Coverage::Recipe,
        None => Coverage::Registry,
    }
}

/// In what the programs of an assembled image are not those of the published one.
fn difference(reference: &Reference) -> Option<String> {
    let image = DistrolessImage::from_reference(reference)?;
    // What differs is the same for every architecture.
    let spec = image.spec(&Platform::new("linux", "amd64", "")).ok()?;
    let differs = spec.differs.filter(|_| !image.own)?;
    Some(format!(
        "`{}` is assembled from Debian packages: {differs}",
        reference.familiar()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_who_has_them() {
        for (name, covered, noted) in [
            ("debian:bookworm", Coverage::Recipe, false),
            ("debian:12.5", Coverage::Registry, false),
            ("gcr.io/distroless/static-debian12", Coverage::Recipe, false),
            (
                "gcr.io/distroless/cc-debian13:debug-nonroot-arm64",
                Coverage::Recipe,
                false,
            ),
            ("gcr.io/distroless/static-debian11", Coverage::Registry, false),
            ("gcr.io/distroless/java17-debian13", Coverage::Registry, false),
            ("gcr.io/distroless/java21-debian13", Coverage::Recipe, true),
            (
                "gcr.io/distroless/java25-debian13:nonroot",
                Coverage::Recipe,
                true,
            ),
            ("distil/java21-debian13:slim", Coverage::Own, false),
            ("distil/static-debian12", Coverage::Own, false),
            ("distil/toolbox", Coverage::Own, false),
            ("distil/something", Coverage::Registry, false),
            (
                "registry.example/distroless/static-debian12",
                Coverage::Registry,
                false,
            ),
        ] {
            let reference: Reference = name.parse().unwrap();
            assert_eq!(coverage(&reference), covered, "{name}");
            assert_eq!(difference(&reference).is_some(), noted, "{name}");
        }
    }
}
