//! The command line: what clap parses, nothing else.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::commands;

/// distil turns a Dockerfile into the smallest safe image that runs it: no daemon, no root.
#[derive(Debug, Parser)]
#[command(name = "distil", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 success; 1 the command or the build failed; 2 wrong usage; 128+n ended by signal n.\n\
    `distil run` passes on the program's own code, and 125, 126, 127 as docker does."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Reads the arguments. Of the commands only the one that is named is built: all take longer than a short one.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Every command with its options.
pub(crate) fn all_commands() -> clap::Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// Whether an option takes its value from the variable `name` where it is not given.
pub(crate) fn is_default_of_option(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"DISTIL_") || name == "DOCKER_DEFAULT_PLATFORM"
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct GlobalArgs {
    /// Store of images, snapshots and build cache [default: /var/lib/distil for root, $XDG_DATA_HOME/distil else]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "DISTIL_ROOT",
        help_heading = "Global options"
    )]
    pub(crate) root: Option<PathBuf>,
    /// How snapshots are made; `auto` tries overlay first
    #[arg(
        long,
        global = true,
        value_name = "MODE",
        env = "DISTIL_SNAPSHOTTER",
        hide_short_help = true,
        help_heading = "Global options"
    )]
    pub(crate) snapshotter: Option<SnapshotterArg>,
    /// Show what distil does
    #[arg(short = 'D', long, global = true, help_heading = "Global options")]
    pub(crate) debug: bool,
}

/// Values of `--snapshotter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SnapshotterArg {
    /// Overlay where the kernel allows it, a copy elsewhere.
    Auto,
    /// Overlay, or an error.
    Overlay,
    /// A full copy for each step.
    Native,
}

/// Every command of distil.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    Build(Box<commands::build::BuildArgs>),
    /// Print the graph a Dockerfile becomes
    DumpLlb(Box<commands::dump_llb::DumpLlbArgs>),
    /// List images
    Images(commands::images::ImagesArgs),
    /// Run a program in a new container from an image
    Run(Box<commands::run::RunArgs>),
    /// Open a shell in the files of an image, with tools that it lacks
    Debug(Box<commands::debug::DebugArgs>),
    /// Show the history of an image
    History(commands::history::HistoryArgs),
    /// Show everything known about images
    Inspect(commands::inspect::InspectArgs),
    /// Give an image another name
    Tag(commands::tag::TagArgs),
    /// Remove images
    Rmi(commands::rmi::RmiArgs),
    /// Write images to an archive or an OCI layout
    Save(commands::save::SaveArgs),
    /// Read images from an archive or an OCI layout
    Load(commands::load::LoadArgs),
    /// List files of an image
    Ls(commands::ls::LsArgs),
    /// Print files of an image
    Cat(commands::cat::CatArgs),
    /// Copy files out of an image
    Cp(commands::cp::CpArgs),
    /// Show what the layers of an image change, or how two images differ
    Diff(commands::diff::DiffArgs),
    /// Look for what an image should not have, and for what it lacks
    Audit(commands::audit::AuditArgs),
    /// Compare images: size, packages, tools, set-user-id files, start-up time
    Compare(commands::compare::CompareArgs),
    /// Tell which layer, instruction and package a file of an image is from
    Which(commands::which::WhichArgs),
    /// List the packages of an image: a bill of materials
    Sbom(commands::sbom::SbomArgs),
    /// Tell which known vulnerabilities the packages of an image have
    Cve(Box<commands::cve::CveArgs>),
    /// Show what the store holds
    Du(commands::du::DuArgs),
    /// Remove build cache
    Prune(commands::prune::PruneArgs),
    /// Make base images from signed packages, without a registry
    #[command(subcommand)]
    Base(commands::base::BaseCommand),
    /// Work with images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Work with volumes, in which programs of `run` keep their data
    #[command(subcommand)]
    Volume(commands::volume::VolumeCommand),
    /// Commands on the whole store
    #[command(subcommand)]
    System(SystemCommand),
    /// Docker's name for commands on the build cache
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// Docker's name for `build` and its relatives
    #[command(subcommand)]
    Buildx(BuildxCommand),
    /// Check what this machine needs to build
    Doctor(commands::doctor::DoctorArgs),
    /// Delete the whole store
    Reset(commands::reset::ResetArgs),
    /// Print the version
    Version(commands::version::VersionArgs),
    /// Print completions for a shell
    Completions(commands::completions::CompletionsArgs),
}

/// `distil image ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(alias = "list")]
    Ls(commands::images::ImagesArgs),
    /// Remove images
    #[command(alias = "remove")]
    Rm(commands::rmi::RmiArgs),
    /// Show everything known about images
    Inspect(commands::inspect::InspectArgs),
    /// Show the history of an image
    History(commands::history::HistoryArgs),
    /// Give an image another name
    Tag(commands::tag::TagArgs),
    /// Write images to an archive
    Save(commands::save::SaveArgs),
    /// Read images from an archive
    Load(commands::load::LoadArgs),
    /// Build an image from a Dockerfile
    Build(Box<commands::build::BuildArgs>),
    /// Remove images without a name, or all that nothing uses
    Prune(commands::prune::ImagePruneArgs),
}

/// `distil system ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum SystemCommand {
    /// Show what the store holds
    Df(commands::du::DuArgs),
}

/// `distil builder ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<commands::build::BuildArgs>),
    /// Remove build cache
    Prune(commands::prune::PruneArgs),
}

/// `distil buildx ...`
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum BuildxCommand {
    /// Build an image from a Dockerfile
    #[command(alias = "b")]
    Build(Box<commands::build::BuildArgs>),
    /// Show what the store holds
    Du(commands::du::DuArgs),
    /// Remove build cache
    Prune(commands::prune::PruneArgs),
    /// Print the version
    Version(commands::version::VersionArgs),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The part of docs/cli.md about a command.
    fn section<'a>(text: &'a str, command: &str) -> Option<&'a str> {
        let heading = format!("\n## `distil {command}`\n");
        let start = text.find(&heading)? + heading.len();
        let end = text[start..].find("\n## ").map_or(text.len(), |end| start + end);
        Some(&text[start..end])
    }

    #[test]
    fn every_command_and_option_is_documented() {
        let text = include_str!("../../../docs/cli.md");
        let mut missing = Vec::new();
        let command = all_commands();
        let mut commands: Vec<(String, &clap::Command)> = Vec::new();
        for command in command.get_subcommands() {
            commands.push((command.get_name().to_owned(), command));
            for inner in command.get_subcommands() {
                commands.push((format!("{} {}", command.get_name(), inner.get_name()), inner));
            }
        }
        let inputs = section(text, "build").unwrap_or_default();
        for (name, command) in commands {
            if command.has_subcommands() || name.split(' ').any(|word| word == "help") {
                continue;
            }
            // A second name is told where the first is.
            let Some(section) = section(text, &name) else {
                if !text.contains(&format!("`distil {name}`")) {
                    missing.push(name);
                }
                continue;
            };
            let own = command.get_arguments().filter(|arg| !arg.is_global_set());
            for long in own.filter_map(clap::Arg::get_long) {
                if matches!(long, "help" | "version") {
                    continue;
                }
                let flag = format!("--{long}");
                let told = |text: &str| {
                    text.contains(&format!("{flag} "))
                        || text.contains(&format!("{flag}`"))
                        || text.contains(&format!("{flag}["))
                };
                let input = name == "dump-llb" && told(inputs);
                if !input && !told(section) {
                    missing.push(format!("{name} {flag}"));
                }
            }
        }
        let empty: [String; 0] = [];
        assert_eq!(missing, empty, "docs/cli.md lacks them");
    }

    #[test]
    fn every_variable_is_documented() {
        let text = concat!(
            include_str!("../../../docs/cli.md"),
            include_str!("../../../docs/config.md")
        );
        fn check(command: &clap::Command, text: &str) {
            for arg in command.get_arguments() {
                if let Some(variable) = arg.get_env().and_then(|name| name.to_str()) {
                    assert!(text.contains(&format!("`{variable}`")), "{variable}");
                    assert!(is_default_of_option(variable.as_ref()), "{variable}");
                }
            }
            command.get_subcommands().for_each(|command| check(command, text));
        }
        check(&all_commands(), text);
    }
}
