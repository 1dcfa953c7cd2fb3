//! `distil dump-llb`.

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use distil_engine::progress::ProgressSink;

use super::build::report::{self, Recorder};
use super::build::request::request;
use super::build::{InputArgs, ProgressForm};
use crate::error::CliError;
use crate::session::Session;

/// Arguments of `distil dump-llb`.
#[derive(Debug, Args)]
pub(crate) struct DumpLlbArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Session id that goes into the operations of local contexts
    #[arg(long, value_name = "ID", default_value = "distil")]
    pub(crate) session: String,
    /// Print the wire form (a protobuf `Definition`) instead of JSON
    #[arg(long)]
    pub(crate) binary: bool,
}

/// Converts the Dockerfile and prints its graph; nothing is run.
pub(crate) fn dump_llb(session: &Session, args: &DumpLlbArgs) -> Result<(), CliError> {
    let mut request = request(session, &args.input)?.build;
    request.options.session.clone_from(&args.session);
    let engine = session.engine(&args.input.bases, None)?;
    let recorder = Arc::new(Recorder::new(ProgressForm::Quiet, false));
    let converted = engine.convert(&request, Arc::clone(&recorder) as Arc<dyn ProgressSink>);
    let conversion =
        converted.map_err(|failure| report::failure(&request.dockerfile, &failure, &recorder))?;
    let mut out = std::io::stdout().lock();
    if args.binary {
        out.write_all(&conversion.definition.encode())?;
    } else {
        let text = conversion
            .definition
            .to_json_text()
            .map_err(|error| CliError::failed(error.to_string()))?;
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}
