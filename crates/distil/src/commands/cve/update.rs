//! `distil cve --update`.

use std::io::Write;

use distil_audit::cve::{Sources, update as fetch};
use distil_audit::printable_path;

use super::told;
use crate::error::CliError;
use crate::session::Session;
use crate::units;

/// Fetches the databases into the user's cache, and tells on standard error what came.
pub(super) fn update(session: &Session) -> Result<(), CliError> {
    let defaults = Sources::default();
    let sources = Sources {
        osv: session.config.osv_mirror.clone().unwrap_or(defaults.osv),
        tracker: session.config.debian_tracker.clone().unwrap_or(defaults.tracker),
    };
    let folder = session.environment.cve_folder();
    let now = session.now().0.div_euclid(1_000_000_000);
    let mut out = std::io::stderr();
    let mut tell = |url: &str| {
        let _ = writeln!(out, "fetching {url}");
    };
    let updated = fetch(&session.client()?, &sources, &folder, now, &mut tell).map_err(|error| {
        told(error).hint(
            "`osv-mirror` and `debian-tracker` of the config file name other servers; `--db PATH` takes files that were \
             fetched elsewhere",
        )
    })?;
    for file in updated {
        let state = if file.changed { "new" } else { "as it was" };
        let _ = writeln!(
            std::io::stderr(),
            "{}: {}, {state}",
            file.name,
            units::bytes(file.size)
        );
    }
    let _ = writeln!(std::io::stderr(), "databases are in {}", printable_path(&folder));
    Ok(())
}
