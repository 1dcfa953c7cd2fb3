//! `distil cat`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use distil_audit::printable_path;

use crate::error::CliError;
use crate::session::Session;
use crate::view::{failed, kind_text};

/// Arguments of `distil cat`.
#[derive(Debug, Args)]
pub(crate) struct CatArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Files in it
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Writes the contents of files to standard output, once all of them are found.
pub(crate) fn cat(session: &Session, args: &CatArgs) -> Result<(), CliError> {
    let image = session.open_view(&args.image)?;
    let mut files = Vec::new();
    for path in &args.paths {
        match image.entry(path, true)? {
            Some(entry) if entry.node.kind.is_file() => files.push(entry),
            other => {
                let kind = other.map_or("directory", |entry| kind_text(entry.node.kind));
                return Err(CliError::failed(format!(
                    "`{}` is a {kind}",
                    printable_path(path)
                )));
            }
        }
    }
    let mut out = std::io::stdout().lock();
    for entry in files {
        image.copy(entry, &mut out).map_err(failed)??;
    }
    Ok(out.flush()?)
}
