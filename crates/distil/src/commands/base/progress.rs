//! The progress of making bases: one step for each image.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use clap::Args;
use distil_engine::progress::{ProgressEvent, ProgressSink};
use distil_oci::Digest;
use distil_sources::Transfer;

use crate::commands::build::{ProgressForm, form_of, report::Recorder};
use crate::error::CliError;
use crate::session::Session;

/// How progress is shown, as `distil build` has it.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProgressArgs {
    /// How progress is shown
    #[arg(long, value_enum, env = "DISTIL_PROGRESS", value_name = "FORM")]
    progress: Option<ProgressForm>,
}

/// Shows steps until it goes.
pub(crate) struct Progress {
    recorder: Recorder,
}

impl Progress {
    /// With `quiet` nothing is shown, whatever the arguments say.
    pub(crate) fn start(session: &Session, args: &ProgressArgs, quiet: bool) -> Result<Self, CliError> {
        let form = if quiet {
            ProgressForm::Quiet
        } else {
            form_of(session, args.progress)?
        };
        Ok(Self {
            recorder: Recorder::new(form, false),
        })
    }

    /// Shows `work` as the step `name`, and what it tells as parts of that.
    pub(crate) fn step<T>(
        &self,
        name: &str,
        work: impl FnOnce(&(dyn Fn(Transfer) + Sync)) -> Result<T, CliError>,
    ) -> Result<T, CliError> {
        let vertex = Digest::sha256(name.as_bytes());
        let begun: Mutex<HashMap<String, SystemTime>> = Mutex::default();
        let report = |transfer: Transfer| {
            let now = SystemTime::now();
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            let started = *begun.entry(transfer.name.clone()).or_insert(now);
            self.recorder.event(ProgressEvent::Task {
                vertex,
                name: transfer.name,
                current: transfer.current,
                total: transfer.total,
                started,
                completed: transfer.done.then_some(now),
            });
        };
        self.recorder.step(name, |_| work(&report))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.recorder.finish();
    }
}
