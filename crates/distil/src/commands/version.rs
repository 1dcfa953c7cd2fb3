//! `distil version`.

use std::io::Write;

use clap::Args;
use distil_oci::Platform;
use serde_json::json;

use crate::error::CliError;

/// Arguments of `distil version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// `text` or `json`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints the version.
pub(crate) fn version(args: &VersionArgs) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    let platform = Platform::host();
    let mut out = std::io::stdout();
    match args.format.as_deref() {
        Some("json") => writeln!(
            out,
            "{}",
            json!({"Version": version, "Platform": platform.to_string()})
        )?,
        None | Some("text") => writeln!(out, "distil {version} ({platform})")?,
        Some(other) => {
            return Err(CliError::usage(format!(
                "`{other}` is no format; there are text and json"
            )));
        }
    }
    Ok(())
}
