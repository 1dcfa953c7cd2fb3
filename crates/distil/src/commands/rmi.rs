//! `distil rmi`.

use std::io::Write;

use clap::Args;
use distil_oci::Reference;
use distil_store::{Prune, Removed, Store, StoreError};

use crate::error::CliError;
use crate::session::{Session, store_error};

/// Arguments of `distil rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Images by name or ID
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// Remove an image with several names, and say nothing of a missing one
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Removes names, and images with their last name; goes on after one that fails.
pub(crate) fn rmi(session: &Session, args: &RmiArgs) -> Result<(), CliError> {
    let store = session.store()?;
    if distil_sandbox::userns::needed() && deletes(&store, args) {
        drop(store);
        return Err(session.enter_namespace());
    }
    let mut failed = Vec::new();
    for image in &args.images {
        match store.images().remove(image, args.force) {
            Ok(removed) => print_removed(&removed)?,
            Err(StoreError::ImageMissing { .. }) if args.force => {}
            Err(error) => failed.push(error.to_string()),
        }
    }
    store.collect(Prune::Nothing).map_err(store_error)?;
    if failed.is_empty() {
        Ok(())
    } else {
        Err(CliError::failed(failed.join("\n")))
    }
}

/// Whether an image goes, and not only one of its names: then files of layers may go with it.
fn deletes(store: &Store, args: &RmiArgs) -> bool {
    let found = args.images.iter().map(|query| store.images().resolve(query));
    found
        .flatten()
        .any(|image| args.force || image.names.len() <= 1 || args.images.len() > 1)
}

/// Docker's lines about what went.
pub(crate) fn print_removed(removed: &[Removed]) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    for removed in removed {
        match removed {
            Removed::Untagged(name) => {
                let short = name
                    .parse()
                    .map_or_else(|_| name.clone(), |name: Reference| name.familiar());
                writeln!(out, "Untagged: {short}")?;
            }
            Removed::Deleted(id) => writeln!(out, "Deleted: {id}")?,
        }
    }
    Ok(())
}
