//! `distil dump-llb`.

use std::io::Write;
use std::sync::Arc;

use clap::Args;
use distil_engine::progress::ProgressSink;
use distil_solver::Mode;

use super::build::report::{self, Recorder};
use super::build::request::{Request, request};
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
    let Request {
        build: mut request,
        mut stdin,
    } = request(session, &args.input)?;
    request.options.session.clone_from(&args.session);
    // Only a base that has to be unpacked or assembled first needs the namespace.
    let ordinary = distil_sandbox::userns::needed();
    if ordinary {
        request.mode = Mode::CacheOnly;
    }
    let engine = session.engine(&args.input.bases, None)?;
    let recorder = Arc::new(Recorder::new(ProgressForm::Quiet, false));
    let converted = engine.convert(&request, Arc::clone(&recorder) as Arc<dyn ProgressSink>);
    let conversion = match converted {
        Ok(conversion) => conversion,
        Err(failure) if ordinary && failure.error.needs_execution() => {
            drop(engine);
            stdin.rewind()?;
            return Err(session.enter_namespace());
        }
        Err(failure) => return Err(report::failure(&request.dockerfile, &failure, &recorder)),
    };
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
