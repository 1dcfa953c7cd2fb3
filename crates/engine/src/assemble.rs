//! `debian:*` without a registry: packages unpacked, configured in the sandbox, stored as an image.

use std::ffi::OsString;
use std::sync::Arc;

use distil_base::debian_image::{self, ConfigureStep, DebianImage, DebianRecipe, Plan};
use distil_debian::Archive;
use distil_oci::{Descriptor, Digest, Manifest, Platform, Reference, media_type};
use distil_sandbox::exit::ExitStatus;
use distil_sandbox::{Network, ProcessSpec, Sandbox, Stdio};
use distil_snapshot::{ActiveSnapshot, CommitOptions, Snapshotter};
use distil_sources::{Assembled, ImageError, Transfer};
use distil_store::{LockMode, NewImage, Timestamp};

use crate::archive::{PackageArchive, Problem, download, other, part};

/// Bucket of manifest and config digests by plan key.
const PLANS: &str = "assembled-plans";
/// Bytes of output of a failed configuration that are shown.
const TAIL: usize = 4096;

/// Assembles Debian images.
pub(crate) struct DebianAssembler {
    pub(crate) snapshotter: Snapshotter,
    pub(crate) packages: Arc<PackageArchive>,
    pub(crate) host: Platform,
}

impl DebianAssembler {
    /// Assembles the image and stores it under its name.
    pub(crate) fn assemble(
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
        // One process assembles, the others find its image.
        let _turn = self
            .packages
            .store
            .lock(&format!("assemble {reference} {platform}"), LockMode::Exclusive)?;
        let recipe = DebianRecipe::debian(&image);
        let result = self.packages.read(recipe.codename, |archive| {
            self.run(archive, reference, &recipe, platform, report)
        });
        if self.packages.cancel.token.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        result.map_err(|error| match error {
            Problem::Store(error) => error,
            Problem::Other(detail) => failed(detail),
        })
    }

    fn run(
        &self,
        archive: &Archive<'_>,
        reference: &Reference,
        recipe: &DebianRecipe,
        platform: &Platform,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Assembled, Problem> {
        let (plan, indexes) = part(report, "read package indexes", || {
            // Debian calls amd64 and arm64 as OCI does; the plan refuses others.
            let indexes = archive
                .update(&platform.architecture, self.packages.seconds())
                .map_err(|error| other(&error))?;
            // apt inside reads the archive that the image was made from: it was reachable here.
            let plan = debian_image::plan(recipe, platform, &indexes, None).map_err(|error| other(&error))?;
            Ok((plan, indexes))
        })?;
        if let Some(known) = self.known(&plan)? {
            return Ok(known);
        }
        let debs = download(
            archive,
            &indexes,
            &plan.package_ids(),
            plan.download_size(),
            report,
        )?;
        drop(indexes);
        let active = self.snapshotter.prepare(&[])?;
        let preinst = part(report, "unpack packages", || {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            debian_image::unpack(
                &plan,
                &debs,
                &active.upper_dir(),
                threads,
                &self.packages.cancel.flag,
            )
            .map_err(|error| other(&error))
        })?;
        part(report, "configure packages", || {
            self.configure(&ConfigureStep::new(&plan, &preinst), &active)?;
            debian_image::normalise(&plan, &active.upper_dir()).map_err(|error| other(&error))
        })?;
        let layer = active.commit(CommitOptions::default())?;
        self.keep(reference, &plan, layer.id)
    }

    /// Runs the configuration with the unpacked packages as its root directory.
    fn configure(&self, step: &ConfigureStep, active: &ActiveSnapshot) -> Result<(), Problem> {
        let mut spec = ProcessSpec::new(active.mount()?, step.args.iter().map(OsString::from).collect());
        spec.env = step.env.iter().map(OsString::from).collect();
        spec.network = Network::None;
        let mut tail = Vec::new();
        let mut process = Sandbox::spawn(&spec, Stdio::captured()).map_err(|error| other(&error))?;
        let signaller = process.signaller();
        let _registration = self.packages.cancel.token.on_cancel(move || signaller.kill());
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
            .packages
            .store
            .get_value(PLANS, plan.key().as_bytes())
            .map_err(ImageError::from)?;
        let Some(id) = value.and_then(|value| <[u8; 32]>::try_from(value).ok()) else {
            return Ok(None);
        };
        let Some(image) = self
            .packages
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
        let blobs = self.packages.store.blobs();
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
        let blobs = self.packages.store.blobs();
        let id = blobs.put(&config).map_err(ImageError::from)?;
        let image = NewImage {
            config: id,
            manifest: Some(blobs.put(&manifest).map_err(ImageError::from)?),
            platform: plan.platform.to_string(),
            layers: vec![layer],
            blobs: Vec::new(),
            created: Timestamp(plan.epoch * 1_000_000_000),
        };
        self.packages
            .store
            .images()
            .put(&image, &[reference.clone().without_digest()], self.packages.now)
            .map_err(ImageError::from)?;
        distil_sources::mark_base(&self.packages.store, &id)?;
        self.packages
            .store
            .set_value(PLANS, plan.key().as_bytes(), Some(id.as_bytes()))
            .map_err(ImageError::from)?;
        Ok(Assembled { manifest, config })
    }
}
