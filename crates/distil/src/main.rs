//! The `distil` command: arguments, commands, rendering, exit codes.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "doc comments of arguments are their help texts"
)]

mod arguments;
mod commands;
mod config;
mod engine;
mod error;
mod interrupt;
mod output;
mod progress;
mod record_filter;
mod refused;
mod session;
mod template;
mod units;
mod upkeep;
mod view;

use std::io::Write;
use std::process::ExitCode;

use crate::arguments::{BuilderCommand, BuildxCommand, Command, ImageCommand, SystemCommand};
use crate::error::CliError;
use crate::session::Session;

fn main() -> ExitCode {
    // Returns only in the process that the user started.
    distil_sandbox::init_entry();
    if let Some(code) = upkeep::entry() {
        return code;
    }
    // SAFETY: this is the only thread.
    unsafe { distil_sandbox::forget_empty_variables(arguments::is_default_of_option) };
    distil_sandbox::keep_freed_memory();
    distil_sandbox::use_static_name_lookup();
    // A merged tree of many layers holds one descriptor for each.
    distil_sandbox::raise_descriptor_limit();
    let cli = match arguments::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return refused::usage(&error, std::env::args_os()),
    };
    match Session::new(cli.global.clone()).and_then(|session| dispatch(&session, &cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_silent() {
                let _ = writeln!(std::io::stderr(), "ERROR: {error}");
            }
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(session: &Session, command: &Command) -> Result<(), CliError> {
    match command {
        Command::Build(args)
        | Command::Image(ImageCommand::Build(args))
        | Command::Builder(BuilderCommand::Build(args))
        | Command::Buildx(BuildxCommand::Build(args)) => commands::build::build(session, args),
        Command::Base(command) => commands::base::base(session, command),
        Command::DumpLlb(args) => commands::dump_llb::dump_llb(session, args),
        Command::Images(args) | Command::Image(ImageCommand::Ls(args)) => {
            commands::images::images(session, args)
        }
        Command::Run(args) => commands::run::run(session, args),
        Command::Debug(args) => commands::debug::debug(session, args),
        Command::History(args) | Command::Image(ImageCommand::History(args)) => {
            commands::history::history(session, args)
        }
        Command::Inspect(args) | Command::Image(ImageCommand::Inspect(args)) => {
            commands::inspect::inspect(session, args)
        }
        Command::Tag(args) | Command::Image(ImageCommand::Tag(args)) => commands::tag::tag(session, args),
        Command::Rmi(args) | Command::Image(ImageCommand::Rm(args)) => commands::rmi::rmi(session, args),
        Command::Save(args) | Command::Image(ImageCommand::Save(args)) => commands::save::save(session, args),
        Command::Load(args) | Command::Image(ImageCommand::Load(args)) => commands::load::load(session, args),
        Command::Ls(args) => commands::ls::ls(session, args),
        Command::Cat(args) => commands::cat::cat(session, args),
        Command::Cp(args) => commands::cp::cp(session, args),
        Command::Diff(args) => commands::diff::diff(session, args),
        Command::Audit(args) => commands::audit::audit(session, args),
        Command::Compare(args) => commands::compare::compare(session, args),
        Command::Which(args) => commands::which::which(session, args),
        Command::Sbom(args) => commands::sbom::sbom(session, args),
        Command::Cve(args) => commands::cve::cve(session, args),
        Command::Du(args)
        | Command::System(SystemCommand::Df(args))
        | Command::Buildx(BuildxCommand::Du(args)) => commands::du::du(session, args),
        Command::Prune(args)
        | Command::Builder(BuilderCommand::Prune(args))
        | Command::Buildx(BuildxCommand::Prune(args)) => commands::prune::prune(session, args),
        Command::Volume(command) => commands::volume::volume(session, command),
        Command::Image(ImageCommand::Prune(args)) => commands::prune::image_prune(session, args),
        Command::Doctor(args) => commands::doctor::doctor(session, args),
        Command::Reset(args) => commands::reset::reset(session, args),
        Command::Version(args) | Command::Buildx(BuildxCommand::Version(args)) => {
            commands::version::version(args)
        }
        Command::Completions(args) => commands::completions::completions(args),
    }
}

/// Columns and lines of the terminal on standard error; 80 by 24 when it does not say.
fn terminal_size() -> (usize, usize) {
    match distil_sandbox::terminal::size(std::io::stderr()) {
        Some(size) => (usize::from(size.columns), usize::from(size.rows)),
        None => (80, 24),
    }
}
