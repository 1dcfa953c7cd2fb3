//! `distil build`.

mod call;
mod checks;
mod ephemeral;
mod failure_shell;
mod gates;
mod network;
mod outline;
mod output;
pub(crate) mod preflight;
pub(crate) mod report;
pub(crate) mod request;
mod targets;
mod write;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use distil_engine::progress::ProgressSink;
use distil_engine::{BuildRequest, BuildResult, Engine};
use distil_solver::Mode;

pub(crate) use self::ephemeral::HostCaKey;
use self::ephemeral::{EphemeralArgs, Sources};
use self::failure_shell::{OnError, TerminalShell};
use self::output::Output;
use self::report::Recorder;
pub(crate) use self::request::extra_host;
use self::request::request;
use super::tag::image_name;
use crate::error::{CliError, chain};
use crate::session::{Session, store_error};
use crate::upkeep;

/// Arguments of `distil build`; meanings are buildx's.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) ephemeral: EphemeralArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How progress is shown
    #[arg(long, value_enum, env = "DISTIL_PROGRESS", value_name = "FORM")]
    pub(crate) progress: Option<ProgressForm>,
    /// RUN steps that may run at once [default: 64]
    #[arg(long, value_name = "N", env = "DISTIL_JOBS")]
    pub(crate) jobs: Option<std::num::NonZeroU16>,
    /// What happens when a RUN fails
    #[arg(
        long,
        value_enum,
        value_name = "ACTION",
        default_value = "fail",
        hide_default_value = true
    )]
    pub(crate) on_error: failure_shell::OnError,
    #[command(flatten)]
    pub(crate) toolbox: super::debug::ToolboxArgs,
    /// Ask about the Dockerfile instead of building: check, outline or targets, with `,format=json`
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// The same as --call=check
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value_t = false,
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set)]
    pub(crate) check: bool,
}

/// What is built: context, Dockerfile and the values that reach it. `dump-llb` takes the same.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// Folder whose files COPY and ADD may use
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
    /// Dockerfile [default: CONTEXT/Dockerfile; `-` reads standard input]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Set a variable that the Dockerfile declares with ARG; without a value it is taken from the environment
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// Stage to build [default: the last]
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Platform to build for, such as linux/amd64
    #[arg(
        long,
        value_name = "PLATFORM",
        env = "DOCKER_DEFAULT_PLATFORM",
        value_delimiter = ','
    )]
    pub(crate) platform: Vec<String>,
    /// Another context by name: a folder, docker-image://REFERENCE, oci-layout://FOLDER or deb:SUITE/PACKAGE,...
    #[arg(long = "build-context", value_name = "NAME=VALUE")]
    pub(crate) build_contexts: Vec<String>,
    /// Label of the image
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// Line of /etc/hosts in RUN
    #[arg(long = "add-host", value_name = "NAME=ADDRESS")]
    pub(crate) add_hosts: Vec<String>,
    /// Network of RUN: default, host or none
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Use no cached results
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value_t = false,
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set)]
    pub(crate) no_cache: bool,
    /// Use no cached results for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Ask the registry for the newest base images
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value_t = false,
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set)]
    pub(crate) pull: bool,
    #[command(flatten)]
    pub(crate) bases: BasesArgs,
}

/// Where base images come from. `run` takes the same.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BasesArgs {
    /// Where base images come from: `auto` assembles a known one when no registry can be reached
    #[arg(long, value_enum, env = "DISTIL_BASES", value_name = "POLICY")]
    pub(crate) bases: Option<BasesPolicyArg>,
    /// Debian archive to assemble bases from
    #[arg(long, env = "DISTIL_MIRROR", value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// OCI layout that is asked for image names before any registry
    #[arg(long, env = "DISTIL_IMAGE_LAYOUT", value_name = "DIR")]
    pub(crate) image_layout: Vec<PathBuf>,
}

/// Values of `--bases`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BasesPolicyArg {
    /// The registry; a base that distil can assemble when the registry cannot be reached.
    Auto,
    /// The registry only.
    Registry,
    /// Packages for every base that distil can assemble.
    Packages,
}

/// What is made of the build, and what is told of it.
#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Name of the image in the local store; may be given several times
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    pub(crate) tags: Vec<String>,
    /// Write the result elsewhere: type=oci|docker|tar|local,dest=PATH (`-` is standard output)
    #[arg(short, long = "output", value_name = "TYPE")]
    pub(crate) outputs: Vec<String>,
    /// Keep the image in the local store, also with -o
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value_t = false,
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set)]
    pub(crate) load: bool,
    /// Print nothing but the image ID
    #[arg(short, long, num_args = 0..=1, require_equals = true, value_name = "BOOL", default_value_t = false,
          default_missing_value = "true", hide_default_value = true, hide_possible_values = true,
          action = clap::ArgAction::Set)]
    pub(crate) quiet: bool,
    /// Write the image ID to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write facts about the build to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Fail when the image does not pass a policy: `distroless`, or a policy file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) audit: Option<String>,
    /// Fail when the files of the image have more bytes, such as 50MB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,
    /// Whether the image is checked for what keeps it from running [default: warn]
    #[arg(long, value_enum, env = "DISTIL_PREFLIGHT", value_name = "MODE")]
    pub(crate) preflight: Option<preflight::PreflightMode>,
}

/// Values of `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProgressForm {
    /// `tty` on a terminal, `plain` elsewhere.
    Auto,
    /// A live view of the steps.
    Tty,
    /// One line an event.
    Plain,
    /// BuildKit's status messages, one JSON object a line.
    Rawjson,
    /// Nothing.
    #[value(alias = "none")]
    Quiet,
}

/// Builds and writes the results.
pub(crate) fn build(session: &Session, args: &BuildArgs) -> Result<(), CliError> {
    if let Some(call) = call::Call::parse(args)? {
        return call.answer(session, args, &request(session, &args.input)?);
    }
    let outputs = Output::parse_all(&args.output)?;
    if args.on_error == OnError::Shell {
        TerminalShell::check()?;
    }
    let ephemeral = Sources::parse(session, &args.ephemeral)?;
    let names = args.output.tags.iter().map(|tag| image_name(tag));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let gates = gates::Gates::new(&args.output)?;
    let preflight = preflight::Preflight::new(session, args, &outputs);
    let mut request = request(session, &args.input)?;
    if let Some(path) = &args.output.iidfile {
        // Should the build fail, the ID of an earlier one must not be taken for its own.
        let _ = std::fs::remove_file(path);
    }
    // An ordinary user first looks at the cache alone: a build that is cached needs no namespace.
    let ordinary = distil_sandbox::userns::needed();
    let first_look = ordinary && !gates.reads_files() && !outputs.iter().any(Output::reads_files);
    if ordinary && !first_look {
        request.stdin.rewind()?;
        return Err(session.enter_namespace());
    }
    if first_look {
        request.build.mode = Mode::CacheOnly;
    } else {
        request.build.ephemeral = ephemeral.read(session)?;
    }
    let jobs = args.jobs.map(std::num::NonZeroU16::get);
    let engine = session.engine(&args.input.bases, jobs)?;
    let recorder =
        Arc::new(Recorder::new(form(session, args)?, first_look).expanding_checks(session.global.debug));
    if args.on_error == OnError::Shell {
        let shell = TerminalShell::new(args.toolbox.reference()?, Arc::clone(&recorder));
        request.build.failure_shell = Some(Arc::new(shell));
    }
    let cancel = crate::interrupt::token()?;
    let sink = Arc::clone(&recorder) as Arc<dyn ProgressSink>;
    session.debug(|| describe(session, &request.build, first_look));
    let outcome = engine.build(&request.build, sink, &cancel);
    match outcome {
        Err(failure) if first_look && failure.error.needs_execution() => {
            session.debug(|| format!("not everything is cached: {}", chain(&failure)));
            drop(engine);
            request.stdin.rewind()?;
            Err(session.enter_namespace())
        }
        Err(failure) => {
            recorder.finish();
            tell_steps(session, &recorder);
            let error = report::failure(&request.build.dockerfile, &failure, &recorder);
            Err(ephemeral.hint_of_failure(error, recorder.trouble(&failure)))
        }
        Ok(result) if first_look && !is_known(&engine, &outputs, &preflight, &result)? => {
            drop(engine);
            request.stdin.rewind()?;
            Err(session.enter_namespace())
        }
        Ok(result) => {
            let written = write::Results {
                session,
                engine: &engine,
                args,
                names: &names,
                result: &result,
                gates: &gates,
                preflight: &preflight,
            }
            .write(&outputs, &recorder);
            recorder.finish();
            tell_steps(session, &recorder);
            written?.print(args)?;
            let limit = match ordinary {
                // Without a namespace the files of layers cannot be deleted; the next build that needs one will.
                true => u64::MAX,
                false => session.cache_limit(engine.store())?,
            };
            upkeep::start(engine.store(), limit).map_err(store_error)
        }
    }
}

/// Whether all outputs can be made, and the preflight done, without reading a file of a layer.
fn is_known(
    engine: &Engine,
    outputs: &[Output],
    preflight: &preflight::Preflight,
    result: &BuildResult,
) -> Result<bool, CliError> {
    for output in outputs {
        let known = engine.is_hashed(result, output.rewrites(result.epoch));
        if !known.map_err(|error| CliError::failed(chain(&error)))? {
            return Ok(false);
        }
    }
    preflight.is_known(engine, result)
}

fn tell_steps(session: &Session, recorder: &Recorder) {
    for line in recorder.steps() {
        session.debug(|| line);
    }
}

/// What a build works with, for `--debug`.
fn describe(session: &Session, request: &BuildRequest, first_look: bool) -> String {
    let mut text = format!(
        "store `{}`, Dockerfile `{}` ({} bytes)",
        session.root().display(),
        request.dockerfile.name,
        request.dockerfile.text.len()
    );
    for (name, folder) in &request.contexts {
        let _ = write!(text, ", context {name} `{}`", folder.display());
    }
    if first_look {
        text.push_str(", a look at the cache alone");
    }
    text
}

/// Argument over `DISTIL_PROGRESS` (which clap reads) over buildx's variable over the config file.
fn form(session: &Session, args: &BuildArgs) -> Result<ProgressForm, CliError> {
    if args.output.quiet {
        return Ok(ProgressForm::Quiet);
    }
    form_of(session, args.progress)
}

/// The form that the arguments, `BUILDKIT_PROGRESS` or the config file ask for.
pub(crate) fn form_of(session: &Session, given: Option<ProgressForm>) -> Result<ProgressForm, CliError> {
    if let Some(form) = given {
        return Ok(form);
    }
    if let Some(value) = session.environment.get("BUILDKIT_PROGRESS") {
        return ProgressForm::from_str(value, true).map_err(|_| {
            CliError::usage(format!("`BUILDKIT_PROGRESS={value}` is no form of progress"))
                .hint("there are auto, tty, plain, rawjson and quiet")
        });
    }
    Ok(session.config.progress.unwrap_or(ProgressForm::Auto))
}
