//! `distil base build`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use distil_engine::{BaseRequest, MadeBase};
use distil_oci::Reference;
use distil_sources::Transfer;

use super::target::TargetArgs;
use crate::commands::build::BasesArgs;
use crate::commands::tag::image_name;
use crate::error::{CliError, chain};
use crate::session::{Session, store_error};
use crate::{units, upkeep};

/// Arguments of `distil base build`.
#[derive(Debug, Args)]
pub(crate) struct BaseBuildArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Name of the image; may be given several times [default: for a built-in recipe, the name that was given]
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Debian archive to read packages from
    #[arg(long, env = "DISTIL_MIRROR", value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Print only the image ID
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Makes an image of a recipe.
pub(crate) fn build(session: &Session, args: &BaseBuildArgs) -> Result<(), CliError> {
    let target = args.target.resolve()?;
    let names = names(args, target.name.as_ref())?;
    if let Some(path) = &args.iidfile {
        // Should the build fail, the ID of an earlier one must not be taken for its own.
        let _ = std::fs::remove_file(path);
    }
    session.need_owners()?;
    let bases = BasesArgs {
        mirror: args.mirror.clone(),
        ..BasesArgs::default()
    };
    let engine = session.engine(&bases, None)?;
    let cancel = crate::interrupt::token()?;
    let failed = |error: distil_sources::ImageError| match error {
        distil_sources::ImageError::Cancelled => CliError::silent(crate::interrupt::exit_code()),
        error => CliError::failed(chain(&error)),
    };
    let report = |transfer: Transfer| tell(args.quiet, &transfer);
    let selection = engine
        .select_base(&target.spec, &target.platform, &cancel, &report)
        .map_err(failed)?;
    let request = BaseRequest {
        selection: &selection,
        names: &names,
        snapshot: None,
        hidden: false,
    };
    let made = engine.make_base(&request, &cancel, &report).map_err(failed)?;
    // It may have been there already, hidden as the base of another image.
    distil_sources::unmark_base(engine.store(), &made.id).map_err(|error| CliError::failed(chain(&error)))?;
    if let (Some(differs), false) = (&target.spec.differs, args.quiet) {
        writeln!(std::io::stderr(), "note: {}: {differs}", target.spec.name)?;
    }
    print(args, &names, &made)?;
    upkeep::start(engine.store(), session.cache_limit(engine.store())?).map_err(store_error)
}

fn names(args: &BaseBuildArgs, own: Option<&Reference>) -> Result<Vec<Reference>, CliError> {
    if args.tags.is_empty() {
        return Ok(own.cloned().into_iter().collect());
    }
    args.tags.iter().map(|tag| image_name(tag)).collect()
}

/// One line for each part of the work that is done.
fn tell(quiet: bool, transfer: &Transfer) {
    if quiet || !transfer.done {
        return;
    }
    // A part that counts no bytes goes from 0 to 1.
    let size = match transfer.total {
        0 | 1 => String::new(),
        bytes => format!(" ({})", units::bytes(bytes)),
    };
    let _ = writeln!(std::io::stderr(), "=> {}{size}", transfer.name);
}

fn print(args: &BaseBuildArgs, names: &[Reference], made: &MadeBase) -> Result<(), CliError> {
    if let Some(path) = &args.iidfile {
        std::fs::write(path, made.id.to_string())
            .map_err(|error| CliError::failed(format!("cannot write `{}`: {error}", path.display())))?;
    }
    let mut out = std::io::stdout();
    if args.quiet {
        writeln!(out, "{}", made.id)?;
        return Ok(());
    }
    for name in names {
        writeln!(out, "Built image: {}", name.familiar())?;
    }
    writeln!(out, "Built image ID: {}", made.id)?;
    Ok(())
}
