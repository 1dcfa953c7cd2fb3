//! `distil load`.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use distil_export::{load_archive, load_layout};
use distil_oci::{Platform, Reference};

use super::build::BasesArgs;
use crate::error::{CliError, chain};
use crate::session::Session;

/// Arguments of `distil load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Archive or OCI layout folder to read [default: standard input]
    #[arg(short, long, value_name = "PATH")]
    pub(crate) input: Option<PathBuf>,
    /// Print only the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Reads images into the store.
pub(crate) fn load(session: &Session, args: &LoadArgs) -> Result<(), CliError> {
    session.need_owners()?;
    let engine = session.engine(&BasesArgs::default(), None)?;
    let (snapshots, platform, now) = (engine.snapshotter(), Platform::host(), session.now());
    let failed = |error: distil_export::ExportError| CliError::failed(chain(&error));
    let images = match &args.input {
        Some(path) if path.is_dir() => load_layout(snapshots, path, &platform, now).map_err(failed)?,
        Some(path) => {
            let file = File::open(path)
                .map_err(|error| CliError::failed(format!("cannot open `{}`: {error}", path.display())))?;
            load_archive(snapshots, file, &platform, now).map_err(failed)?
        }
        None if std::io::stdin().is_terminal() => {
            return Err(CliError::usage("no archive: -i FILE, or redirect standard input"));
        }
        None => load_archive(snapshots, std::io::stdin(), &platform, now).map_err(failed)?,
    };
    let mut out = std::io::stdout();
    for image in &images {
        distil_sources::unmark_base(engine.store(), &image.id)
            .map_err(|error| CliError::failed(chain(&error)))?;
        let label = if args.quiet { "" } else { "Loaded image: " };
        for name in &image.names {
            writeln!(out, "{label}{}", Reference::familiar(name))?;
        }
        if image.names.is_empty() {
            let label = if args.quiet { "" } else { "Loaded image ID: " };
            writeln!(out, "{label}{}", image.id)?;
        }
    }
    Ok(())
}
