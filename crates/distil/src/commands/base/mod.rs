//! `distil base ...`: images made from signed packages.

pub(crate) mod build;
pub(crate) mod list;
pub(crate) mod show;
pub(crate) mod target;

use clap::Subcommand;

use crate::error::CliError;
use crate::session::Session;

/// `distil base ...`
#[derive(Debug, Subcommand)]
pub(crate) enum BaseCommand {
    /// List the base images that distil can make
    #[command(alias = "ls")]
    List(list::ListArgs),
    /// Make a base image of a recipe
    Build(build::BaseBuildArgs),
    /// Show what a base image is made of
    Show(show::ShowArgs),
}

/// Runs the command.
pub(crate) fn base(session: &Session, command: &BaseCommand) -> Result<(), CliError> {
    match command {
        BaseCommand::Build(args) => build::build(session, args),
        BaseCommand::List(args) => list::list(args),
        BaseCommand::Show(args) => show::show(args),
    }
}
