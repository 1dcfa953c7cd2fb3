//! `--check` and `--call`: asking about a Dockerfile instead of building it.

use std::io::Write;
use std::sync::Arc;

use distil_engine::progress::ProgressSink;
use distil_engine::{BuildRequest, Engine, Failure};
use distil_solver::CancelToken;

use super::report::{self, Recorder};
use super::request::Request;
use super::{BuildArgs, checks, outline, targets};
use crate::error::CliError;
use crate::session::Session;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// What the build checks find.
    Check,
    /// What builds of the target can be given.
    Outline,
    /// The stages and their descriptions.
    Targets,
}

/// A question and the form of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Method,
    json: bool,
    /// Findings do not change the exit code.
    ignore_status: bool,
}

impl Call {
    /// Reads `--call METHOD[,format=json][,ignorestatus=BOOL]` and `--check`; `None` asks for a build.
    pub(super) fn parse(args: &BuildArgs) -> Result<Option<Self>, CliError> {
        let given = match (&args.call, args.check) {
            (_, true) => "check",
            (Some(text), false) => text.as_str(),
            (None, false) => return Ok(None),
        };
        let wrong = |problem: &str| {
            CliError::usage(format!("`--call {given}`: {problem}"))
                .hint("there are build, check, outline and targets, with `,format=json`")
        };
        let (mut name, mut json, mut ignore_status) = (None, false, false);
        for field in given.split(',') {
            match field.split_once('=') {
                Some(("format", "json")) => json = true,
                Some(("format", "text" | "")) => json = false,
                Some(("ignorestatus", value)) => {
                    ignore_status = value
                        .parse()
                        .map_err(|_| wrong(&format!("`{value}` is neither true nor false")))?;
                }
                Some(_) => return Err(wrong(&format!("`{field}` is not known"))),
                None if name.is_some() => return Err(wrong("it names two methods")),
                None => name = Some(field),
            }
        }
        let method = match name {
            None | Some("" | "build") => return Ok(None),
            Some("check" | "lint") => Method::Check,
            Some("targets") => Method::Targets,
            Some("outline") => Method::Outline,
            Some(name @ "subrequests.describe") => {
                return Err(wrong(&format!("`{name}` is not supported yet")));
            }
            Some(name) => return Err(wrong(&format!("there is no method `{name}`"))),
        };
        Ok(Some(Self {
            method,
            json,
            ignore_status,
        }))
    }

    /// Answers on standard output.
    pub(super) fn answer(
        self,
        session: &Session,
        args: &BuildArgs,
        request: &Request,
    ) -> Result<(), CliError> {
        let dockerfile = &request.build.dockerfile;
        let text = match self.method {
            Method::Check => return self.check(session, args, request),
            Method::Targets => targets::answer(dockerfile, self.json)?,
            Method::Outline => {
                let found = ask(session, args, request, Engine::outline)?;
                match self.json {
                    true => outline::json(dockerfile, &found),
                    false => outline::text(&found)?,
                }
            }
        };
        Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
    }

    fn check(self, session: &Session, args: &BuildArgs, request: &Request) -> Result<(), CliError> {
        let dockerfile = &request.build.dockerfile;
        let found = ask(session, args, request, Engine::check)?;
        let text = match self.json {
            true => checks::json(dockerfile, &found),
            false => checks::text(dockerfile, &found),
        };
        std::io::stdout().lock().write_all(text.as_bytes())?;
        if let Some(error) = found.error {
            return Err(report::failure(
                dockerfile,
                &Failure::from(error),
                &Recorder::quiet(),
            ));
        }
        match found.warnings.is_empty() || self.ignore_status {
            true => Ok(()),
            false => Err(CliError::silent(1)),
        }
    }
}

/// Asks the engine, and shows the look-ups that it needs.
fn ask<T>(
    session: &Session,
    args: &BuildArgs,
    request: &Request,
    question: impl FnOnce(&Engine, &BuildRequest, Arc<dyn ProgressSink>, &CancelToken) -> Result<T, Failure>,
) -> Result<T, CliError> {
    let engine = session.engine(&args.input.bases, None)?;
    let recorder = Arc::new(Recorder::new(super::form(session, args)?, false));
    let sink = Arc::clone(&recorder) as Arc<dyn ProgressSink>;
    let cancel = crate::interrupt::token()?;
    let answer = question(&engine, &request.build, sink, &cancel);
    recorder.finish();
    answer.map_err(|failure| report::failure(&request.build.dockerfile, &failure, &recorder))
}
