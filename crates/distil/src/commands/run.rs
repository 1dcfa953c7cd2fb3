//! `distil run`.

mod options;
mod outputs;
mod ports;
pub(super) mod volumes;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use distil_engine::Engine;
use distil_engine::progress::ProgressSink;
use distil_oci::{ImageConfig, Platform, Reference};
use distil_sandbox::{
    Input, Network, ProcessSpec, Sandbox, SandboxError, StartError, Stdio, TerminalSize, exit, network_files,
    terminal, userns,
};
use distil_sources::ImageRequest;
use distil_store::{FileLock, LayerId, LockMode, Resource};

use self::options::Options;
use self::outputs::Outputs;
use self::volumes::Volumes;
use super::build::report::Recorder;
use super::build::{BasesArgs, ProgressForm};
use super::history::read_config;
use crate::error::{CliError, chain};
use crate::session::{Session, store_error};

/// Arguments of `distil run`; meanings are docker's.
#[derive(Debug, Default, Args)]
// `-h` is the host name.
#[command(disable_help_flag = true)]
pub(crate) struct RunArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Accepted for docker's sake: nothing of a container is ever kept
    #[arg(long)]
    pub(crate) rm: bool,
    /// Set a variable; without a value it is taken from the environment
    #[arg(short, long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Set the variables in a file: a line NAME=VALUE or NAME each
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Show a folder or file of the host, or a named volume, inside: SOURCE:TARGET[:ro]
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET")]
    pub(crate) volumes: Vec<String>,
    /// Show memory inside: TARGET[:size=64m,mode=1777,uid=N,gid=N,noexec]
    #[arg(long, value_name = "TARGET")]
    tmpfs: Vec<String>,
    /// Refuse changes of the image's files; volumes and memory stay writable
    #[arg(long)]
    read_only: bool,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Program to run in place of the image's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Network: host or none [default: host]
    #[arg(long, value_name = "MODE")]
    pub(crate) network: Option<String>,
    /// Line of /etc/hosts
    #[arg(long = "add-host", value_name = "NAME:ADDRESS")]
    add_hosts: Vec<String>,
    /// Size of /dev/shm [default: 64m]
    #[arg(long, value_name = "SIZE")]
    shm_size: Option<String>,
    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Name of this run: no two of one name at a time
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Make sure that a port is free; both are the same, for the program has the network of this machine
    #[arg(short, long, value_name = "PORT:PORT")]
    publish: Vec<String>,
    /// Accepted for docker's sake: a small init is always there
    #[arg(long)]
    init: bool,
    /// Show no progress when the image is fetched
    #[arg(short, long)]
    quiet: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) bases: BasesArgs,
    /// Image by name or ID, then arguments for the program, or the program where the image has no entrypoint
    // One list, for whatever follows the image is the program's, `--help` and `--version` included.
    #[arg(value_names = ["IMAGE", "ARG"], num_args = 1.., required = true, trailing_var_arg = true)]
    words: Vec<String>,
}

impl RunArgs {
    fn image(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// Runs the program and ends with its exit code; docker's 125, 126 and 127 where it could not run.
pub(crate) fn run(session: &Session, args: &RunArgs) -> Result<(), CliError> {
    if args.tty && args.interactive && !std::io::stdin().is_terminal() {
        return Err(before_start(
            CliError::usage("-t with -i: standard input is not a terminal")
                .hint("leave -t out to read a pipe or a file"),
        ));
    }
    let options = Options::parse(args).map_err(before_start)?;
    // Before the user namespace, from where nobody else's sockets can be told.
    ports::check_free(&options.ports, userns::needed()).map_err(before_start)?;
    session.need_owners().map_err(before_start)?;
    let engine = session.engine(&args.bases, None).map_err(before_start)?;
    let _name = own_name(&engine, args).map_err(before_start)?;
    let form = match args.quiet {
        true => ProgressForm::Quiet,
        false => session.config.progress.unwrap_or(ProgressForm::Auto),
    };
    let (layers, config) = image(&engine, args.image(), form).map_err(before_start)?;
    let volumes = volumes(&engine, &layers, args, &options, &config).map_err(before_start)?;
    let active = engine
        .snapshotter()
        .prepare(&layers)
        .map_err(|error| before_start(CliError::failed(chain(&error))))?;
    let mut spec = active
        .mount()
        .map_err(|error| CliError::failed(chain(&error)))
        .and_then(|root| spec(session, args, &options, &config, root))
        .map_err(before_start)?;
    spec.mounts.clone_from(&volumes.mounts);
    tell_of_empty(&volumes, &spec);
    let outcome = start(args, &spec);
    if let Err(error) = &outcome {
        eprint(&explain(error, args.image()));
    }
    // The changes of a container are thrown away with its snapshot.
    drop((active, volumes));
    match exit::run_code(&outcome) {
        0 => Ok(()),
        code => Err(CliError::silent(code)),
    }
}

/// Takes the volumes. Those that the image declares need a place of their own only where its files cannot be
/// written: the others are thrown away with everything else.
fn volumes(
    engine: &Engine,
    layers: &[LayerId],
    args: &RunArgs,
    options: &Options,
    config: &ImageConfig,
) -> Result<Volumes, CliError> {
    let mut wanted = options.mounts.clone();
    if args.read_only {
        volumes::add_declared(&mut wanted, &config.config.volumes);
    }
    Volumes::take(engine, layers, &wanted)
}

/// Says why a program that is not root may not be able to write to its new volume.
fn tell_of_empty(volumes: &Volumes, spec: &ProcessSpec) {
    let user = spec.user.split(':').next().unwrap_or_default();
    if matches!(user, "" | "0" | "root") {
        return;
    }
    for name in &volumes.empty {
        eprint(&format!(
            "the new volume `{name}` belongs to root, for the image has no such folder: user `{user}` cannot write \
             to it\nhint: make the folder in the image, with that owner"
        ));
    }
}

/// The error; that an image without a shell has none needs a way out.
fn explain(error: &SandboxError, image: &str) -> String {
    let text = chain(error);
    let SandboxError::Start(StartError::NotFound { program, .. }) = error else {
        return text;
    };
    let name = program.rsplit('/').next().unwrap_or(program);
    match name {
        "sh" | "bash" | "ash" | "dash" => {
            format!("{text}\nhint: the image has no shell: `distil debug {image}` opens one beside its files")
        }
        _ => text,
    }
}

/// The name is this run's as long as what is returned lives.
fn own_name(engine: &Engine, args: &RunArgs) -> Result<Option<FileLock>, CliError> {
    let Some(name) = &args.name else { return Ok(None) };
    let lock = engine
        .store()
        .try_lock(&format!("run {name}"), LockMode::Exclusive)
        .map_err(store_error)?;
    match lock {
        Some(lock) => Ok(Some(lock)),
        None => Err(
            CliError::failed(format!("a program with the name `{name}` is running"))
                .hint("end it, or give another name"),
        ),
    }
}

/// An error before the program ran has docker's exit code 125.
#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err wants")]
pub(super) fn before_start(error: CliError) -> CliError {
    eprint(&error.to_string());
    CliError::silent(exit::CODE_SANDBOX_FAILED)
}

pub(super) fn eprint(message: &str) {
    use std::io::Write;
    // There is nowhere else to say it.
    let _ = writeln!(std::io::stderr(), "distil: {message}");
}

/// Layers and config of the image; one that the store lacks is fetched or assembled.
pub(super) fn image(
    engine: &Engine,
    name: &str,
    form: ProgressForm,
) -> Result<(Vec<LayerId>, ImageConfig), CliError> {
    let store = engine.store();
    if let Ok(image) = store.images().resolve(name) {
        let wanted: Vec<Resource> = image.layers.iter().map(|layer| Resource::Layer(*layer)).collect();
        if store.hold(&wanted).map_err(store_error)? {
            return Ok((image.layers.clone(), read_config(store, &image)?));
        }
    }
    let reference: Reference = name
        .parse()
        .map_err(|error| CliError::failed(format!("`{name}` is no image name: {error}")))?;
    let request = ImageRequest {
        reference,
        platform: Platform::host(),
        layout: None,
    };
    let recorder = Arc::new(Recorder::new(form, false));
    let found = engine.image(&request, Arc::clone(&recorder) as Arc<dyn ProgressSink>);
    recorder.finish();
    found.map_err(|error| CliError::failed(chain(&error)))
}

/// `--network`.
pub(super) fn network(mode: Option<&str>) -> Result<Network, CliError> {
    match mode {
        None | Some("host" | "default" | "bridge") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(CliError::usage(format!("`--network {other}` is no network mode"))
            .hint("there are host and none")),
    }
}

/// The process that `distil run IMAGE` starts, without any option.
pub(crate) fn image_process(
    session: &Session,
    config: &ImageConfig,
    root: distil_rootfs::Mount,
) -> Result<ProcessSpec, CliError> {
    let args = RunArgs::default();
    let options = Options::parse(&args)?;
    spec(session, &args, &options, config, root)
}

fn spec(
    session: &Session,
    args: &RunArgs,
    options: &Options,
    config: &ImageConfig,
    root: distil_rootfs::Mount,
) -> Result<ProcessSpec, CliError> {
    let container = &config.config;
    let mut command: Vec<OsString> = match &args.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.into()],
        None => container.entrypoint.iter().map(OsString::from).collect(),
    };
    if args.arguments().is_empty() && args.entrypoint.is_none() {
        command.extend(container.cmd.iter().map(OsString::from));
    }
    command.extend(args.arguments().iter().map(OsString::from));
    if command.is_empty() {
        let problem = match &args.entrypoint {
            Some(_) => "with an empty `--entrypoint` the image's own program is not used",
            None => "the image names no program",
        };
        return Err(CliError::failed(problem).hint("write the program after the image"));
    }
    let mut spec = ProcessSpec::new(root, command);
    // Process 1 of a namespace would ignore Ctrl-C.
    spec.init = true;
    spec.hostname = args.hostname.clone().unwrap_or_else(|| "distil".into());
    spec.env = variables(session, args.tty, &options.variables, config, &spec.hostname);
    spec.cwd = PathBuf::from(match args.workdir.as_deref() {
        Some(folder) => folder,
        None if container.working_dir.is_empty() => "/",
        None => &container.working_dir,
    });
    spec.user = args.user.clone().unwrap_or_else(|| container.user.clone());
    spec.network = options.network;
    spec.hosts = Some(network_files::hosts(&spec.hostname, &options.hosts));
    let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    spec.resolv_conf = Some(network_files::resolv_conf(&host, spec.network == Network::None));
    spec.read_only = args.read_only;
    if let Some(size) = options.shm_size {
        spec.shm_size = size;
    }
    if args.tty {
        spec.terminal = Some(terminal::size(std::io::stdout()).unwrap_or(TerminalSize {
            rows: 24,
            columns: 80,
        }));
    }
    Ok(spec)
}

/// The image's variables and those that were given.
pub(super) fn variables(
    session: &Session,
    tty: bool,
    given: &[String],
    config: &ImageConfig,
    hostname: &str,
) -> Vec<OsString> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match pairs.iter_mut().find(|(known, _)| known == name) {
        Some(pair) => pair.1 = value.to_owned(),
        None => pairs.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", distil_sandbox::DEFAULT_PATH);
    set("HOSTNAME", hostname);
    if tty {
        set("TERM", "xterm");
    }
    for pair in &config.config.env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(name, value);
    }
    for given in given {
        match given.split_once('=') {
            Some((name, value)) => set(name, value),
            None => {
                if let Some(value) = session.environment.all().get(given) {
                    set(given, value);
                }
            }
        }
    }
    pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}").into())
        .collect()
}

fn start(args: &RunArgs, spec: &ProcessSpec) -> Result<exit::ExitStatus, SandboxError> {
    if args.tty {
        let mut process = Sandbox::spawn(spec, Stdio::inherited())?;
        return terminal::relay(&mut process, rustix::stdio::stdin(), rustix::stdio::stdout());
    }
    let stdin = if args.interactive {
        Input::Inherit
    } else {
        Input::Empty
    };
    let mut outputs = Outputs::default();
    let streams = outputs
        .open(&spec.user, stdin)
        .map_err(|source| SandboxError::Setup {
            step: "connect the program's output".to_owned(),
            source,
        })?;
    let mut process = Sandbox::spawn(spec, streams)?;
    let ended = terminal::wait_forwarding_signals(&mut process, tell_that_it_goes_on);
    drop(process);
    outputs.finish();
    ended
}

/// Said to a person alone, a second after the program was asked to end.
pub(super) fn tell_that_it_goes_on() {
    if std::io::stderr().is_terminal() {
        eprint("the program has not ended yet; Ctrl-C once more kills it");
    }
}
