//! `distil doctor`.

use std::io::Write;

use clap::Args;
use distil_sandbox::doctor::{DoctorInput, State, checks};
use serde_json::json;

use crate::error::CliError;
use crate::session::Session;

/// Arguments of `distil doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// `table` or `json`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints every need and ends with 1 when one is missing.
pub(crate) fn doctor(session: &Session, args: &DoctorArgs) -> Result<(), CliError> {
    let checks = checks(&DoctorInput {
        store_root: session.root(),
    });
    let mut out = std::io::stdout().lock();
    if args.format.as_deref() == Some("json") {
        for check in &checks {
            let line = json!({
                "name": check.name, "state": word(check.state), "detail": check.detail, "fix": check.fix,
            });
            writeln!(out, "{line}")?;
        }
    } else {
        for check in &checks {
            writeln!(
                out,
                "{:<11} {:<22} {}",
                word(check.state),
                check.name,
                check.detail
            )?;
            if let Some(fix) = &check.fix {
                for line in fix.lines() {
                    writeln!(out, "{:<34} -> {line}", "")?;
                }
            }
        }
    }
    if checks.iter().any(|check| check.state == State::Missing) {
        Err(CliError::silent(1))
    } else {
        Ok(())
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Missing => "missing",
        State::NotNeeded => "not needed",
    }
}
