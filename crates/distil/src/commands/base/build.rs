//! `distil base build`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use distil_base::lock::Lockfile;
use distil_base::selection::Selection;
use distil_debian::SnapshotMirror;
use distil_engine::{BaseRequest, Engine, MadeBase};
use distil_oci::Reference;
use distil_solver::CancelToken;
use distil_sources::Transfer;
use distil_store::Store;

use super::locking::{self, ArchiveArgs};
use super::progress::{Progress, ProgressArgs};
use super::target::{Target, TargetArgs};
use crate::commands::tag::image_name;
use crate::error::{CliError, chain};
use crate::session::{Session, store_error};
use crate::upkeep;

/// Arguments of `distil base build`.
#[derive(Debug, Args)]
pub(crate) struct BaseBuildArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Name of the image; may be given several times [default: for a built-in recipe, the name that was given]
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Take exactly the packages of the lockfile; refuse when the recipe or the outcome differ from it
    #[arg(long)]
    pub(crate) locked: bool,
    /// The lockfile, which implies `--locked` [default: that of `base lock` for this recipe]
    #[arg(long, value_name = "FILE")]
    pub(crate) lockfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
    /// Print only the image ID
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Makes an image of a recipe.
pub(crate) fn build(session: &Session, args: &BaseBuildArgs) -> Result<(), CliError> {
    let (asked, engine) = open(session, args)?;
    let Asked {
        target,
        names,
        lockfile,
        locked,
    } = asked;
    let work = Work {
        session,
        args,
        engine,
        cancel: crate::interrupt::token()?,
    };
    let progress = Progress::start(session, &args.progress, args.quiet)?;
    let step = format!("make {} for {}", target.spec.name, target.spec.architecture);
    let made = progress.step(&step, |report| match (&lockfile, &locked) {
        (Some(lockfile), Some(selection)) => work.make_locked(lockfile, selection, &names, report),
        _ => work.make(&work.select(&target, report)?, &names, None, report),
    })?;
    drop(progress);
    let store = work.engine.store();
    // It may have been there already, hidden as the base of another image.
    distil_sources::unmark_base(store, &made.id).map_err(|error| CliError::failed(chain(&error)))?;
    if let (Some(differs), false) = (&target.spec.differs, args.quiet) {
        writeln!(std::io::stderr(), "note: {}: {differs}", target.spec.name)?;
    }
    print(args, &names, &made)?;
    upkeep::start(store, session.cache_limit(store)?).map_err(store_error)
}

/// What is to be made.
struct Asked {
    target: Target,
    names: Vec<Reference>,
    /// What the image must follow.
    lockfile: Option<Lockfile>,
    /// The packages that the lockfile names.
    locked: Option<Selection>,
}

impl Asked {
    fn read(args: &BaseBuildArgs) -> Result<Self, CliError> {
        let target = args.target.resolve()?;
        let names = names(args, target.name.as_ref())?;
        if let Some(path) = &args.iidfile {
            // Should the build fail, the ID of an earlier one must not be taken for its own.
            let _ = std::fs::remove_file(path);
        }
        let lockfile = lockfile(args)?;
        let locked = lockfile
            .as_ref()
            .map(|lockfile| lockfile.selection(&target.spec, &target.platform))
            .transpose()
            .map_err(|error| CliError::failed(chain(&error)))?;
        Ok(Self {
            target,
            names,
            lockfile,
            locked,
        })
    }
}

/// Reads what is asked for, and opens the engine. One takes as long as the other, so that they go side by side where
/// the engine makes nothing new when it is opened.
fn open(session: &Session, args: &BaseBuildArgs) -> Result<(Asked, Engine), CliError> {
    let engine = || session.engine(&args.archive.bases(), None);
    if distil_sandbox::userns::needed() || !Store::exists(&session.root()).map_err(store_error)? {
        let asked = Asked::read(args)?;
        session.need_owners()?;
        return Ok((asked, engine()?));
    }
    std::thread::scope(|scope| {
        let engine = scope.spawn(engine);
        let asked = Asked::read(args)?;
        let engine = engine
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((asked, engine?))
    })
}

/// The lockfile that the image must follow, if one is asked for.
fn lockfile(args: &BaseBuildArgs) -> Result<Option<Lockfile>, CliError> {
    let path = match (&args.lockfile, args.locked) {
        (Some(path), _) => path.clone(),
        (None, true) => locking::default_path(&args.target.target),
        (None, false) => return Ok(None),
    };
    locking::load(&path).map(Some)
}

/// Is told the parts of the work.
type Report<'a> = &'a (dyn Fn(Transfer) + Sync);

struct Work<'a> {
    session: &'a Session,
    args: &'a BaseBuildArgs,
    engine: Engine,
    cancel: CancelToken,
}

impl Work<'_> {
    /// Chooses the packages from the archive as it is now.
    fn select(&self, target: &Target, report: Report<'_>) -> Result<Selection, CliError> {
        self.engine
            .select_base(&target.spec, &target.platform, &self.cancel, report)
            .map_err(|error| locking::failed(&error))
    }

    fn make(
        &self,
        selection: &Selection,
        names: &[Reference],
        snapshot: Option<&SnapshotMirror>,
        report: Report<'_>,
    ) -> Result<MadeBase, CliError> {
        let request = BaseRequest {
            selection,
            names,
            snapshot,
            hidden: false,
        };
        self.engine
            .make_base(&request, &self.cancel, report)
            .map_err(|error| locking::failed(&error))
    }

    /// The image gets its names only when it is the one that the lockfile expects.
    fn make_locked(
        &self,
        lockfile: &Lockfile,
        selection: &Selection,
        names: &[Reference],
        report: Report<'_>,
    ) -> Result<MadeBase, CliError> {
        let url = self.args.archive.snapshot(self.session);
        let snapshot = url.map(|url| lockfile.snapshot_mirror(url));
        let made = self.make(selection, &[], snapshot.as_ref(), report)?;
        let spec = &selection.spec;
        if let Err(error) = lockfile.check_output(&spec.name, &spec.architecture, &made.digest()) {
            if !made.known {
                // The drift is what the user must hear of; without a name the image is only garbage.
                let _ = self.engine.store().images().remove(&made.id.to_string(), true);
            }
            return Err(CliError::failed(chain(&error)));
        }
        let images = self.engine.store().images();
        for name in names {
            images
                .tag(&made.id, &name.clone().without_digest())
                .map_err(store_error)?;
        }
        Ok(made)
    }
}

fn names(args: &BaseBuildArgs, own: Option<&Reference>) -> Result<Vec<Reference>, CliError> {
    if args.tags.is_empty() {
        return Ok(own.cloned().into_iter().collect());
    }
    args.tags.iter().map(|tag| image_name(tag)).collect()
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
