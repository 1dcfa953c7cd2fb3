//! Writes the results of a build and tells about them.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use distil_engine::{BuildResult, Engine};
use distil_export::{
    ArchiveFormat, DirectoryOptions, ImagePlan, LayerHistory, PlannedLayer, SavedImage, StoredImage,
    save_archive, store_image, tree_links, write_directory, write_tree,
};
use distil_layer::Compression;
use distil_oci::Reference;
use distil_store::LayerId;
use serde_json::json;

use super::BuildArgs;
use super::output::{Destination, Output};
use super::report::Recorder;
use crate::error::{CliError, chain};
use crate::session::Session;

/// A finished build and where its results go.
pub(super) struct Results<'a> {
    pub(super) session: &'a Session,
    pub(super) engine: &'a Engine,
    pub(super) args: &'a BuildArgs,
    pub(super) names: &'a [Reference],
    pub(super) result: &'a BuildResult,
}

/// What was made, for the last words of the command.
pub(super) struct Summary {
    image: Option<StoredImage>,
    /// The image is in the store under its names, or as `<none>`.
    stored: bool,
    names: Vec<Reference>,
    bases: Vec<String>,
}

impl Results<'_> {
    /// Writes every output.
    pub(super) fn write(&self, outputs: &[Output], recorder: &Recorder) -> Result<Summary, CliError> {
        let mut summary = Summary {
            image: None,
            stored: outputs
                .iter()
                .any(|output| matches!(output, Output::Image { .. })),
            names: self.names.to_vec(),
            bases: self.result.assembled_bases.clone(),
        };
        for output in outputs {
            match output {
                Output::Image { rewrite_timestamp } => {
                    let what = match self.names {
                        [] => "exporting to image".to_owned(),
                        names => format!("exporting to image {}", familiar(names)),
                    };
                    let image = recorder.step(&what, || self.image(*rewrite_timestamp, self.names))?;
                    summary.image = Some(image);
                }
                Output::Docker(destination) => {
                    let image = self.archive("docker", destination, ArchiveFormat::Both, recorder)?;
                    summary.image.get_or_insert(image);
                }
                Output::Oci(destination) => {
                    let image = self.archive("oci", destination, ArchiveFormat::Oci, recorder)?;
                    summary.image.get_or_insert(image);
                }
                Output::Tar(destination) => {
                    recorder.step("exporting to tar", || to(destination, |out| self.tree(out)))?;
                }
                Output::Local(folder) => {
                    recorder.step("exporting to client directory", || self.folder(folder))?;
                }
            }
        }
        self.files(&summary)?;
        Ok(summary)
    }

    /// Stores the image.
    fn image(&self, rewrite: Option<bool>, names: &[Reference]) -> Result<StoredImage, CliError> {
        let result = self.result;
        let layers = result.layers.iter().enumerate().map(|(at, id)| PlannedLayer {
            id: *id,
            base: at < result.base_layers,
            history: LayerHistory {
                created: self.made(*id),
                description: String::new(),
            },
        });
        let plan = ImagePlan {
            config: result.image.clone(),
            layers: layers.collect(),
            base_history: result.base_history.clone(),
            epoch: result.epoch,
            rewrite_timestamps: rewrite.unwrap_or(result.epoch.is_some()),
            names: names.to_vec(),
        };
        let image = store_image(self.engine.snapshotter(), &plan, self.session.now())
            .map_err(|error| CliError::failed(chain(&error)))?;
        distil_sources::unmark_base(self.engine.store(), &image.id)
            .map_err(|error| CliError::failed(chain(&error)))?;
        Ok(image)
    }

    /// When a layer was made: since then its directory has not been touched. A build from the cache names the
    /// same times, and so makes the same image.
    fn made(&self, layer: LayerId) -> Option<i64> {
        let path = self.engine.store().layers().path(layer);
        let modified = std::fs::metadata(path).ok()?.modified().ok()?;
        i64::try_from(modified.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
    }

    fn archive(
        &self,
        kind: &str,
        destination: &Destination,
        format: ArchiveFormat,
        recorder: &Recorder,
    ) -> Result<StoredImage, CliError> {
        recorder.step(&format!("exporting to {kind} image format"), || {
            let image = self.image(None, &[])?;
            let saved = SavedImage {
                config: image.id,
                manifest: Some(image.manifest.digest),
                names: self.names.to_vec(),
            };
            to(destination, |out| {
                save_archive(
                    self.engine.snapshotter(),
                    &[saved],
                    format,
                    Compression::Gzip,
                    out,
                )
                .map(drop)
                .map_err(|error| CliError::failed(chain(&error)))
            })?;
            Ok(image)
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
            .map_err(|error| failed(&error))
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
    fn files(&self, summary: &Summary) -> Result<(), CliError> {
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
                metadata["image.name"] = familiar(&summary.names).into();
            }
            if !summary.bases.is_empty() {
                metadata["distil.bases.assembled"] = summary.bases.clone().into();
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
        let Some(image) = self.image.as_ref().filter(|_| self.stored) else {
            return Ok(());
        };
        if args.output.quiet || self.names.is_empty() {
            writeln!(std::io::stdout(), "{}", image.id)?;
        }
        Ok(())
    }
}

fn familiar(names: &[Reference]) -> String {
    names
        .iter()
        .map(Reference::familiar)
        .collect::<Vec<_>>()
        .join(",")
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
