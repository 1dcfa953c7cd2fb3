//! `distil reset`.

use std::io::Write;
use std::path::Path;

use clap::Args;
use distil_store::Store;

use super::prune::{ask, can_ask};
use crate::error::CliError;
use crate::session::{Session, store_error};

/// Arguments of `distil reset`.
#[derive(Debug, Args)]
pub(crate) struct ResetArgs {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Deletes the store after asking.
pub(crate) fn reset(session: &Session, args: &ResetArgs) -> Result<(), CliError> {
    let root = session.root();
    if !root.exists() {
        writeln!(std::io::stdout(), "`{}` does not exist", root.display())?;
        return Ok(());
    }
    can_ask(args.force)?;
    if distil_sandbox::userns::needed() {
        // Where no namespace can be had, there are no files of subordinate ids either.
        let reason = session.enter_namespace();
        session.debug(|| reason.to_string());
    }
    if !args.force
        && !ask(&format!(
            "Delete `{}` with all images, {}and the build cache?",
            root.display(),
            volumes(&root)
        ))?
    {
        return Ok(());
    }
    Store::destroy(&root).map_err(store_error)?;
    writeln!(std::io::stdout(), "Deleted `{}`", root.display())?;
    Ok(())
}

/// What the question says of volumes.
fn volumes(root: &Path) -> String {
    let store = Store::open_existing(root).ok().flatten();
    let volumes = store
        .and_then(|store| store.volumes().list().ok())
        .unwrap_or_default();
    match volumes.as_slice() {
        [] => String::new(),
        [one] => format!("the volume `{}` ", one.name),
        all => format!("{} volumes ", all.len()),
    }
}
