//! Writes the results of a build and tells about them.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use distil_audit::Finding;
use distil_engine::{BuildResult, Engine};
use distil_export::{
    ArchiveFormat, DirectoryOptions, ImagePlan, LayerHistory, PlannedLayer, SavedImage, make_image,
    save_archive, store_image, tree_links, write_directory, write_tree,
};
use distil_layer::Compression;
use distil_oci::{Descriptor, Digest, Reference};
use distil_store::LayerId;
use serde_json::json;

use super::BuildArgs;
use super::gates::Gates;
use super::output::{Destination, Output};
use super::preflight::Preflight;
use super::report::{Recorder, StepReport};
use crate::error::{CliError, archive_error, chain};
use crate::session::Session;

/// A finished build and where its results go.
pub(super) struct Results<'a> {
    pub(super) session: &'a Session,
    pub(super) engine: &'a Engine,
    pub(super) args: &'a BuildArgs,
    pub(super) names: &'a [Reference],
    pub(super) result: &'a BuildResult,
    pub(super) gates: &'a Gates,
    pub(super) preflight: &'a Preflight,
}

/// An image that was made.
struct Made {
    id: Digest,
    /// Its manifest, as it is in the archive where one was written.
    manifest: Descriptor,
}

/// What was made, for the last words of the command.
pub(super) struct Summary {
    image: Option<Made>,
    /// The image is in the store under its names, or as `<none>`.
    stored: bool,
    /// Standard output holds an archive.
    stdout_used: bool,
    names: Vec<Reference>,
    bases: Vec<String>,
}

impl Results<'_> {
    /// Writes every output, unless the image does not pass what was asked of it.
    pub(super) fn write(&self, outputs: &[Output], recorder: &Recorder) -> Result<Summary, CliError> {
        let findings = self.preflight.check(self.engine, self.result, recorder)?;
        self.gates.check(self, recorder)?;
        let mut summary = Summary {
            image: None,
            stored: outputs
                .iter()
                .any(|output| matches!(output, Output::Image { .. })),
            stdout_used: outputs.iter().any(Output::to_stdout),
            names: self.names.to_vec(),
            bases: self.result.assembled_bases.clone(),
        };
        for output in outputs {
            match output {
                Output::Image { rewrite_timestamp } => {
                    let made =
                        recorder.step("exporting to image", |step| self.image(*rewrite_timestamp, step))?;
                    summary.image = Some(made);
                }
                Output::Docker(destination) => {
                    let made = self.archive("docker", destination, ArchiveFormat::Both, recorder)?;
                    summary.image.get_or_insert(made);
                }
                Output::Oci(destination) => {
                    let made = self.archive("oci", destination, ArchiveFormat::Oci, recorder)?;
                    summary.image.get_or_insert(made);
                }
                Output::Tar(destination) => {
                    recorder.step("exporting to client tarball", |_| {
                        to(destination, |out| self.tree(out))
                    })?;
                }
                Output::Local(folder) => {
                    recorder.step("exporting to client directory", |_| self.folder(folder))?;
                }
            }
        }
        self.files(&summary, &findings)?;
        Ok(summary)
    }

    pub(super) fn plan(&self, rewrite: Option<bool>, names: &[Reference]) -> ImagePlan {
        let result = self.result;
        let layers = result.layers.iter().enumerate().map(|(at, id)| PlannedLayer {
            id: *id,
            base: at < result.base_layers,
            history: LayerHistory {
                created: self.made(*id),
                description: (result.step_names)
                    .get(result.layers.len() - 1 - at)
                    .cloned()
                    .unwrap_or_default(),
            },
        });
        ImagePlan {
            config: result.image.clone(),
            layers: layers.collect(),
            base_history: result.base_history.clone(),
            epoch: result.epoch,
            rewrite_timestamps: rewrite.unwrap_or(result.epoch.is_some()),
            names: names.to_vec(),
        }
    }

    /// Stores the image.
    fn image(&self, rewrite: Option<bool>, step: &StepReport<'_>) -> Result<Made, CliError> {
        let plan = self.plan(rewrite, self.names);
        let image = store_image(self.engine.snapshotter(), &plan, self.session.now())
            .map_err(|error| CliError::failed(chain(&error)))?;
        distil_sources::unmark_base(self.engine.store(), &image.id)
            .map_err(|error| CliError::failed(chain(&error)))?;
        self.record_origins(&image.id)?;
        step.done(&format!("writing image {}", image.id));
        for name in self.names {
            step.done(&format!("naming to {name}"));
        }
        Ok(Made {
            id: image.id,
            manifest: image.manifest,
        })
    }

    /// Tells beside the image where its files come from.
    pub(super) fn record_origins(&self, image: &Digest) -> Result<(), CliError> {
        let recorded = self.engine.record_origins(self.result, image);
        recorded.map_err(|error| CliError::failed(chain(&error)))
    }

    /// When a layer was made: since then its directory has not been touched. A build from the cache names the
    /// same times, and so makes the same image.
    fn made(&self, layer: LayerId) -> Option<i64> {
        let path = self.engine.store().layers().path(layer);
        let modified = std::fs::metadata(path).ok()?.modified().ok()?;
        i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
    }

    /// Writes an archive; the store does not list its image.
    fn archive(
        &self,
        kind: &str,
        destination: &Destination,
        format: ArchiveFormat,
        recorder: &Recorder,
    ) -> Result<Made, CliError> {
        let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
        recorder.step(&format!("exporting to {kind} image format"), |step| {
            let snapshots = self.engine.snapshotter();
            let image = make_image(snapshots, &self.plan(None, &[])).map_err(|error| failed(&error))?;
            self.record_origins(&image.id)?;
            let saved = [SavedImage {
                config: image.id,
                manifest: Some(image.manifest.digest),
                names: self.names.to_vec(),
            }];
            let mut written = Vec::new();
            to(destination, |out| {
                written = save_archive(snapshots, &saved, format, Compression::Gzip, out)
                    .map_err(|error| archive_error(&error))?;
                Ok(())
            })?;
            let manifest = written.pop().unwrap_or(image.manifest);
            step.done(&format!("exporting manifest {}", manifest.digest));
            step.done(&format!("exporting config {}", image.id));
            Ok(Made {
                id: image.id,
                manifest,
            })
        })
    }

    fn tree(&self, out: &mut dyn Write) -> Result<(), CliError> {
        let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
        let tree = self
            .engine
            .snapshotter()
            .tree(&self.result.layers)
            .map_err(|error| failed(&error))?;
        let links = tree_links(self.engine.store(), &self.result.layers).map_err(|error| failed(&error))?;
        write_tree(&tree, &links, self.result.epoch, out)
            .map(drop)
            .map_err(|error| archive_error(&error))
    }

    fn folder(&self, folder: &Path) -> Result<(), CliError> {
        let failed = |error: &dyn std::error::Error| CliError::failed(chain(error));
        let tree = self
            .engine
            .snapshotter()
            .tree(&self.result.layers)
            .map_err(|error| failed(&error))?;
        let links = tree_links(self.engine.store(), &self.result.layers).map_err(|error| failed(&error))?;
        let options = DirectoryOptions {
            keep_owners: self.session.environment.root_user,
            epoch: self.result.epoch,
        };
        let report = write_directory(&tree, &links, options, folder).map_err(|error| failed(&error))?;
        if report.other_owner > 0 {
            let _ = writeln!(
                std::io::stderr(),
                "WARNING: {} files belong to you instead of their owner in the image: only root can keep owners",
                report.other_owner
            );
        }
        for device in &report.skipped_devices {
            let _ = writeln!(
                std::io::stderr(),
                "WARNING: the device `/{}` was left out",
                device.display()
            );
        }
        Ok(())
    }

    /// `--iidfile` and `--metadata-file`.
    fn files(&self, summary: &Summary, findings: &[Finding]) -> Result<(), CliError> {
        let write = |path: &Path, text: String| {
            std::fs::write(path, text)
                .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", path.display())))
        };
        if let (Some(path), Some(image)) = (&self.args.output.iidfile, &summary.image) {
            write(path, image.id.to_string())?;
        }
        if let Some(path) = &self.args.output.metadata_file {
            let mut metadata = json!({});
            if let Some(image) = &summary.image {
                metadata["containerimage.config.digest"] = image.id.to_string().into();
                metadata["containerimage.digest"] = image.manifest.digest.to_string().into();
                metadata["containerimage.descriptor"] =
                    serde_json::to_value(&image.manifest).unwrap_or_default();
            }
            if !summary.names.is_empty() {
                let names: Vec<String> = summary.names.iter().map(ToString::to_string).collect();
                metadata["image.name"] = names.join(",").into();
            }
            if !summary.bases.is_empty() {
                metadata["distil.bases.assembled"] = summary.bases.clone().into();
            }
            if !findings.is_empty() {
                metadata["distil.preflight"] = serde_json::to_value(findings).unwrap_or_default();
            }
            let text = serde_json::to_string_pretty(&metadata)
                .map_err(|error| CliError::failed(error.to_string()))?;
            write(path, text + "\n")?;
        }
        Ok(())
    }
}

impl Summary {
    /// Standard output has what scripts want: the ID of an image without a name, or when asked with -q.
    pub(super) fn print(&self, args: &BuildArgs) -> Result<(), CliError> {
        let Some(image) = self.image.as_ref().filter(|_| !self.stdout_used) else {
            return Ok(());
        };
        if args.output.quiet || (self.stored && self.names.is_empty()) {
            writeln!(std::io::stdout(), "{}", image.id)?;
        }
        Ok(())
    }
}

/// Runs `write` with the destination open; a file appears under its name only when it is whole.
fn to(
    destination: &Destination,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CliError>,
) -> Result<(), CliError> {
    match destination {
        Destination::Stdout => {
            let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
        Destination::File(path) => super::super::save::to_file(path, write),
    }
}
