//! `distil base ...`: images made from signed packages.

pub(crate) mod advise;
pub(crate) mod build;
pub(crate) mod list;
pub(crate) mod lock;
pub(crate) mod locking;
pub(crate) mod progress;
pub(crate) mod show;
pub(crate) mod target;
pub(crate) mod update;

use clap::Subcommand;

use crate::error::CliError;
use crate::session::Session;

/// `distil base ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum BaseCommand {
    /// List the base images that distil can make
    #[command(alias = "ls")]
    List(list::ListArgs),
    /// Name the smallest base that runs a program or project
    For(advise::ForArgs),
    /// Make a base image of a recipe
    Build(build::BaseBuildArgs),
    /// Write a lockfile: the exact packages of base images
    Lock(lock::LockArgs),
    /// Show what an update of a lockfile would change
    Outdated(update::OutdatedArgs),
    /// Choose the newest packages for a lockfile
    Update(update::UpdateArgs),
    /// Check a lockfile down to the signatures
    Verify(lock::VerifyArgs),
    /// Show what a base image is made of
    Show(show::ShowArgs),
}

/// Runs the command.
pub(crate) fn base(session: &Session, command: &BaseCommand) -> Result<(), CliError> {
    match command {
        BaseCommand::For(args) => advise::find(args),
        BaseCommand::Build(args) => build::build(session, args),
        BaseCommand::List(args) => list::list(args),
        BaseCommand::Lock(args) => lock::lock(session, args),
        BaseCommand::Outdated(args) => update::outdated(session, args),
        BaseCommand::Update(args) => update::update(session, args),
        BaseCommand::Verify(args) => lock::verify(session, args),
        BaseCommand::Show(args) => show::show(args),
    }
}
