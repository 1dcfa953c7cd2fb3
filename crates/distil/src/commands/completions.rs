//! `distil completions`.

use std::io::Write;

use clap::Args;

use crate::arguments::all_commands;
use crate::error::CliError;

/// Arguments of `distil completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to write completions for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut all_commands(), "distil", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(())
}
