//! `distil save`.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use distil_export::{ArchiveFormat, SavedImage, save_archive, save_directory};
use distil_layer::Compression;
use distil_oci::Reference;

use super::build::BasesArgs;
use crate::error::{CliError, archive_error, chain};
use crate::session::{Session, store_error};

/// Arguments of `distil save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Images by name or ID
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// File or folder to write [default: standard output]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,
    /// What to write [default: an archive that docker and OCI tools both read]
    #[arg(long, value_enum, value_name = "FORM")]
    pub(crate) format: Option<SaveFormat>,
}

/// Values of `save --format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SaveFormat {
    /// What `docker load` reads.
    DockerArchive,
    /// An OCI layout in a tar archive.
    OciArchive,
    /// An OCI layout as a folder.
    OciDir,
}

/// Writes the images.
pub(crate) fn save(session: &Session, args: &SaveArgs) -> Result<(), CliError> {
    session.need_owners()?;
    let engine = session.engine(&BasesArgs::default(), None)?;
    let store = engine.store();
    let mut images: Vec<SavedImage> = Vec::new();
    for query in &args.images {
        let image = store.images().resolve(query).map_err(store_error)?;
        // The name that was asked for; an ID saves every name.
        let asked = query.parse::<Reference>().ok().map(Reference::or_latest);
        let names: Vec<Reference> = image.names.iter().filter_map(|name| name.parse().ok()).collect();
        let names = match asked.filter(|asked| names.contains(asked)) {
            Some(asked) => vec![asked],
            None => names,
        };
        match images.iter_mut().find(|known| known.config == image.id) {
            Some(known) => known.names.extend(names),
            None => images.push(SavedImage::new(&image, names)),
        }
    }
    let failed = |error: distil_export::ExportError| CliError::failed(chain(&error));
    let snapshots = engine.snapshotter();
    let format = match args.format {
        Some(SaveFormat::OciDir) => {
            let Some(folder) = &args.output else {
                return Err(CliError::usage("--format oci-dir needs a folder: -o FOLDER"));
            };
            return save_directory(snapshots, &images, Compression::Gzip, folder)
                .map(drop)
                .map_err(failed);
        }
        Some(SaveFormat::DockerArchive) => ArchiveFormat::Docker,
        Some(SaveFormat::OciArchive) => ArchiveFormat::Oci,
        None => ArchiveFormat::Both,
    };
    let write = |out: &mut dyn Write| {
        save_archive(snapshots, &images, format, Compression::Gzip, out)
            .map(drop)
            .map_err(|error| archive_error(&error))
    };
    match &args.output {
        Some(path) => to_file(path, write),
        None if std::io::stdout().is_terminal() => {
            Err(CliError::usage("an archive is not written to a terminal").hint("-o FILE, or redirect it"))
        }
        None => {
            let mut out = BufWriter::with_capacity(1 << 18, std::io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

/// Writes a file that appears under its name only when it is whole.
pub(crate) fn to_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let cannot =
        |error: std::io::Error| CliError::failed(format!("cannot write `{}`: {error}", path.display()));
    // A device or a pipe has no half-written state.
    if path.exists() && !path.is_file() {
        let mut out = BufWriter::new(File::options().write(true).open(path).map_err(cannot)?);
        write(&mut out)?;
        return out.flush().map_err(cannot);
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = File::create(&temporary).map_err(cannot).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 18, file);
        write(&mut out)?;
        out.flush().map_err(cannot)
    });
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path).map_err(cannot));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    renamed
}
