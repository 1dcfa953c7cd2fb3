//! `distil tag`.

use clap::Args;
use distil_oci::Reference;

use crate::error::CliError;
use crate::session::{Session, store_error};

/// Arguments of `distil tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Image by name or ID
    #[arg(value_name = "IMAGE")]
    pub(crate) source: String,
    /// Its further name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) target: String,
}

/// Adds the name.
pub(crate) fn tag(session: &Session, args: &TagArgs) -> Result<(), CliError> {
    let store = session.store()?;
    let image = store.images().resolve(&args.source).map_err(store_error)?;
    let name = image_name(&args.target)?;
    store.images().tag(&image.id, &name).map_err(store_error)?;
    // What a user names is no longer only a base.
    distil_sources::unmark_base(&store, &image.id).map_err(|error| CliError::failed(error.to_string()))
}

/// A name that an image can get: no digest; `latest` when no tag is given.
pub(crate) fn image_name(text: &str) -> Result<Reference, CliError> {
    let name: Reference = text
        .parse()
        .map_err(|error| CliError::usage(format!("`{text}` is no image name: {error}")))?;
    if name.digest().is_some() {
        return Err(CliError::usage(format!(
            "`{text}`: an image is named by a tag, not by a digest"
        )));
    }
    Ok(name.or_latest())
}
