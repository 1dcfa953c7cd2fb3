//! `--on-error=shell`: a shell where a RUN has failed.

use std::io::{IsTerminal, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use distil_audit::printable_text;
use distil_engine::{FailedStep, FailureShell};
use distil_oci::Reference;
use distil_sandbox::{Sandbox, Stdio, terminal};

use super::report::Recorder;
use crate::error::CliError;

/// Values of `--on-error`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnError {
    /// The build ends.
    #[default]
    Fail,
    /// A shell is opened in the root file system of the RUN that failed, then the build ends.
    Shell,
}

/// Opens shells on the terminal.
pub(super) struct TerminalShell {
    toolbox: Reference,
    recorder: Arc<Recorder>,
    /// Of several steps that fail the first alone has a shell.
    opened: Mutex<bool>,
}

impl TerminalShell {
    /// # Errors
    /// When there is no terminal to open a shell on.
    pub(super) fn check() -> Result<(), CliError> {
        match std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
            true => Ok(()),
            false => Err(
                CliError::usage("--on-error=shell needs a terminal as standard input and output")
                    .hint("leave it out where nobody can type"),
            ),
        }
    }

    pub(super) fn new(toolbox: Reference, recorder: Arc<Recorder>) -> Self {
        Self {
            toolbox,
            recorder,
            opened: Mutex::new(false),
        }
    }
}

impl std::fmt::Debug for TerminalShell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TerminalShell").finish_non_exhaustive()
    }
}

impl FailureShell for TerminalShell {
    fn toolbox(&self) -> &Reference {
        &self.toolbox
    }

    fn open(&self, step: &FailedStep<'_>) {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *opened, true) {
            return;
        }
        // What other steps do meanwhile is not drawn over the shell.
        self.recorder.finish();
        introduce(step);
        let mut spec = step.shell.clone();
        spec.env
            .retain(|pair| !pair.as_encoded_bytes().starts_with(b"TERM="));
        spec.env.push("TERM=xterm".into());
        spec.terminal = Some(terminal::size(std::io::stdout()).unwrap_or_default());
        let toolbox = step.without_tools.is_none().then_some(&self.toolbox);
        let outcome = Sandbox::spawn(&spec, Stdio::inherited()).and_then(|mut process| {
            terminal::relay(&mut process, rustix::stdio::stdin(), rustix::stdio::stdout())
        });
        if let Err(error) = outcome {
            let text = super::super::debug::explain(&error, toolbox);
            let _ = writeln!(std::io::stderr(), "distil: no shell: {text}");
        }
    }
}

fn introduce(step: &FailedStep<'_>) {
    let mut text = format!(
        "\nERROR: {}: {}\n",
        printable_text(step.name),
        printable_text(&step.reason)
    );
    if let Some(problem) = &step.without_tools {
        text.push_str(&format!("WARNING: no toolbox: {}\n", printable_text(problem)));
    }
    text.push_str(
        "Shell in the step's files, as it left them; `exit` or Ctrl-D leaves it, and the build ends.\n",
    );
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
