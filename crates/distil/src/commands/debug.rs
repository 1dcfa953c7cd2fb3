//! `distil debug`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use distil_engine::progress::ProgressSink;
use distil_engine::{DEFAULT_TOOLBOX, Engine, Toolbox};
use distil_oci::{ImageConfig, Reference};
use distil_sandbox::{
    Network, ProcessSpec, Sandbox, SandboxError, StartError, Stdio, exit, network_files, terminal,
};

use super::build::report::Recorder;
use super::build::{BasesArgs, ProgressForm};
use super::run::volumes::{self, Volumes};
use super::run::{before_start, eprint, image, network, tell_that_it_goes_on, variables};
use crate::error::{CliError, chain};
use crate::session::Session;

/// Arguments of `distil debug`.
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    #[command(flatten)]
    pub(crate) toolbox: ToolboxArgs,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]", default_value = "0:0")]
    pub(crate) user: String,
    /// Set a variable; without a value it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Show a folder or file of the host, or a named volume, inside: SOURCE:TARGET[:ro]
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET")]
    pub(crate) volumes: Vec<String>,
    /// Working directory [default: the image's]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Network: host or none [default: host]
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    #[command(flatten)]
    pub(crate) bases: BasesArgs,
    /// Image by name or ID
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Command to run in place of a shell
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) command: Vec<String>,
}

/// Where the tools come from. `build` takes the same.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ToolboxArgs {
    /// Image with a shell and tools that are linked statically [default: busybox, assembled from Debian's package]
    #[arg(long, value_name = "IMAGE", env = "DISTIL_TOOLBOX")]
    pub(crate) toolbox: Option<String>,
}

impl ToolboxArgs {
    /// The image's name.
    pub(crate) fn reference(&self) -> Result<Reference, CliError> {
        let name = self.toolbox.as_deref().unwrap_or(DEFAULT_TOOLBOX);
        name.parse()
            .map_err(|error| CliError::usage(format!("`--toolbox {name}`: this is no image name: {error}")))
    }
}

/// Runs a shell or a command in the files of an image, with tools that it lacks.
pub(crate) fn debug(session: &Session, args: &DebugArgs) -> Result<(), CliError> {
    let name = args.toolbox.reference().map_err(before_start)?;
    let network = network(args.network.as_deref()).map_err(before_start)?;
    let wanted = args.volumes.iter().map(|volume| volumes::parse(volume));
    let mut wanted = wanted.collect::<Result<Vec<_>, _>>().map_err(before_start)?;
    volumes::sort(&mut wanted).map_err(before_start)?;
    session.need_owners().map_err(before_start)?;
    let engine = session.engine(&args.bases, None).map_err(before_start)?;
    let form = session.config.progress.unwrap_or(ProgressForm::Auto);
    let (layers, config) = image(&engine, &args.image, form).map_err(before_start)?;
    let volumes = Volumes::take(&engine, &layers, &wanted).map_err(before_start)?;
    let toolbox = toolbox(session, &engine, &name).map_err(before_start)?;
    let active = engine.snapshotter().prepare(&layers);
    let active = active.map_err(|error| before_start(CliError::failed(chain(&error))))?;
    let root = active
        .mount()
        .map_err(|error| before_start(CliError::failed(chain(&error))))?;
    let mut spec = ProcessSpec::new(root, args.command.iter().map(Into::into).collect());
    if spec.args.is_empty() {
        spec.args.push(toolbox.shell().into());
    }
    spec.mounts.clone_from(&volumes.mounts);
    describe(session, args, &config, network, &mut spec);
    toolbox.attach(&mut spec);
    let outcome = start(&spec);
    if let Err(error) = &outcome {
        let shell = spec
            .args
            .first()
            .is_some_and(|program| program == toolbox.shell());
        eprint(&explain(error, shell.then_some(&name)));
    }
    // Both are unmounted by now. The changes go with the snapshot.
    drop((active, toolbox, volumes));
    match exit::run_code(&outcome) {
        0 => Ok(()),
        code => Err(CliError::silent(code)),
    }
}

/// Fetches or assembles the toolbox.
fn toolbox(session: &Session, engine: &Engine, name: &Reference) -> Result<Toolbox, CliError> {
    let form = super::build::form_of(session, None)?;
    let recorder = Arc::new(Recorder::new(form, true));
    let found = engine.toolbox(name, Arc::clone(&recorder) as Arc<dyn ProgressSink>);
    if found.is_err() {
        recorder.finish();
    }
    found.map_err(|error| {
        CliError::failed(chain(&error))
            .hint("--toolbox names another image, such as one of busybox in the store")
    })
}

/// Everything that is said of the process but its root, mounts and command.
fn describe(
    session: &Session,
    args: &DebugArgs,
    config: &ImageConfig,
    network: Network,
    spec: &mut ProcessSpec,
) {
    let has_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    // Process 1 of a namespace would ignore Ctrl-C.
    spec.init = true;
    spec.hostname = "distil".to_owned();
    spec.env = variables(session, has_terminal, &args.env, config, &spec.hostname);
    let container = &config.config;
    spec.cwd = PathBuf::from(match args.workdir.as_deref() {
        Some(folder) => folder,
        None if container.working_dir.is_empty() => "/",
        None => &container.working_dir,
    });
    spec.user.clone_from(&args.user);
    spec.network = network;
    spec.hosts = Some(network_files::hosts(&spec.hostname, &[]));
    let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    spec.resolv_conf = Some(network_files::resolv_conf(&host, spec.network == Network::None));
    spec.terminal = has_terminal.then(|| terminal::size(std::io::stdout()).unwrap_or_default());
    if has_terminal && args.command.is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "Shell in `{}`; `exit` or Ctrl-D leaves it, and all changes are thrown away.",
            args.image
        );
    }
}

fn start(spec: &ProcessSpec) -> Result<exit::ExitStatus, SandboxError> {
    let mut process = Sandbox::spawn(spec, Stdio::inherited())?;
    match spec.terminal {
        Some(_) => terminal::relay(&mut process, rustix::stdio::stdin(), rustix::stdio::stdout()),
        None => terminal::wait_forwarding_signals(&mut process, tell_that_it_goes_on),
    }
}

/// The error; that the shell of `toolbox` cannot be started has a reason.
pub(super) fn explain(error: &SandboxError, toolbox: Option<&Reference>) -> String {
    let text = chain(error);
    match (error, toolbox) {
        (
            SandboxError::Start(StartError::MissingInterpreter { .. } | StartError::NotFound { .. }),
            Some(toolbox),
        ) => format!(
            "{text}\nhint: programs of the toolbox `{}` have to be linked statically, and its links be relative",
            toolbox.familiar()
        ),
        _ => text,
    }
}
