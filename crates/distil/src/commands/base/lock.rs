//! `distil base lock` and `distil base verify`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use distil_base::lock::{Lockfile, folder_of};
use distil_base::recipe::ImageSpec;
use distil_debian::format_time;

use super::locking::{self, ArchiveArgs, Wanted};
use super::progress::ProgressArgs;
use super::target::ChoiceArgs;
use crate::error::{CliError, chain};
use crate::session::Session;

/// Arguments of `distil base lock`.
#[derive(Debug, Args)]
pub(crate) struct LockArgs {
    /// Recipe files or names of images, as for `base build`
    #[arg(value_name = "FILE|NAME", required = true)]
    pub(crate) targets: Vec<String>,
    /// Where the lockfile is written [default: for a single recipe file its name with `.lock`]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) lockfile: Option<PathBuf>,
    /// Platforms [default: linux/amd64 and linux/arm64]
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Release of Debian, as for `base build`
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// Variant, as for `base build`
    #[arg(long, value_name = "TAG")]
    pub(crate) variant: Option<String>,
    /// Layers: `merged` or `per-package`
    #[arg(long, value_name = "LAYOUT")]
    pub(crate) layers: Option<String>,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
}

/// What a lockfile holds beside the packages. `update` takes the same.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeptArgs {
    /// Keep the package indexes beside the lockfile too, so that it can be verified on any machine without a network
    #[arg(long)]
    pub(crate) keep_indexes: bool,
    /// Make the images, and record what they come out as
    #[arg(long)]
    pub(crate) digests: bool,
}

/// Chooses packages and writes the lockfile.
pub(crate) fn lock(session: &Session, args: &LockArgs) -> Result<(), CliError> {
    let path = lockfile_path(args)?;
    let wanted = wanted(args, &path)?;
    if args.kept.digests {
        session.need_owners()?;
    }
    let old = match Lockfile::load(&path) {
        Ok(old) => Some(old),
        Err(distil_base::lock::FileError::Missing { .. }) => None,
        Err(error) => {
            return Err(CliError::failed(chain(&error)).hint("delete it, or name another with `-o`"));
        }
    };
    let mut maker = locking::Maker::open(session, &args.archive)?;
    let made = maker.choose(&wanted, old.as_ref(), args.kept.keep_indexes)?;
    let lockfile = maker.finish(made, &args.kept, &args.progress, &path)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "Locked {} packages of {} images: {}",
        lockfile.packages.len(),
        lockfile.images.len(),
        path.display()
    )?;
    Ok(())
}

fn lockfile_path(args: &LockArgs) -> Result<PathBuf, CliError> {
    match (&args.lockfile, args.targets.as_slice()) {
        (Some(path), _) => Ok(path.clone()),
        (None, [only]) => Ok(locking::default_path(only)),
        (None, _) => Err(CliError::usage("several recipes need a name for their lockfile")
            .hint("give it with `-o`: `distil base lock -o bases.lock ...`")),
    }
}

/// Every target for every platform, each image once: a name may demand an architecture by itself.
fn wanted(args: &LockArgs, path: &Path) -> Result<Vec<Wanted>, CliError> {
    let default = ["linux/amd64".to_owned(), "linux/arm64".to_owned()];
    let platforms: &[String] = if args.platform.is_empty() {
        &default
    } else {
        &args.platform
    };
    let mut found: Vec<Wanted> = Vec::new();
    for target in &args.targets {
        for platform in platforms {
            let choice = ChoiceArgs {
                platform: vec![platform.clone()],
                release: args.release.clone(),
                variant: args.variant.clone(),
                layers: args.layers.clone(),
            };
            let one = Wanted::resolve(target, locking::recipe_name(target, path)?, &choice)?;
            let same = |other: &Wanted| {
                other.spec.name == one.spec.name && other.spec.architecture == one.spec.architecture
            };
            if !found
                .iter()
                .any(|other| same(other) && other.recipe == one.recipe)
            {
                found.push(one);
            }
        }
    }
    Ok(found)
}

/// Arguments of `distil base verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The lockfile
    #[arg(value_name = "LOCKFILE")]
    pub(crate) lockfile: PathBuf,
    /// Use no network: the indexes must be beside the lockfile or among the downloads
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
}

/// Repeats the chain from the signatures to the packages, and compares the recipes.
pub(crate) fn verify(session: &Session, args: &VerifyArgs) -> Result<(), CliError> {
    let lockfile = locking::load(&args.lockfile)?;
    let wanted = locking::wanted_again(&lockfile, &args.lockfile)?;
    for one in &wanted {
        let selection = lockfile.selection(&one.spec, &one.platform);
        selection.map_err(|error| CliError::failed(chain(&error)))?;
    }
    let mut maker = locking::Maker::open(session, &args.archive)?;
    let specs: Vec<&ImageSpec> = wanted.iter().map(|one| &one.spec).collect();
    let folder = folder_of(&args.lockfile);
    let verified = maker.read(&specs, |archive| {
        let verified = lockfile.verify(&folder, archive, !args.offline);
        verified.map_err(|error| chain(&error))
    })?;
    let mut out = std::io::stdout();
    for suite in verified {
        writeln!(
            out,
            "{} of {}: {} packages, signed by {}",
            suite.name,
            format_time(suite.date),
            suite.packages,
            suite.signers.join(", ")
        )?;
    }
    Ok(())
}
