//! How long the program of an image takes to start.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use distil_audit::printable_text;
use distil_sandbox::exit::ExitStatus;
use distil_sandbox::{ProcessSpec, Sandbox, SandboxError, Stdio};
use serde::{Serialize, Serializer};

use crate::commands::run::image_process;
use crate::error::{CliError, chain};
use crate::session::Session;
use crate::view::OpenedImage;

/// A program that takes longer is ended.
const LIMIT: Duration = Duration::from_secs(60);

/// How often a port is tried.
const PAUSE: Duration = Duration::from_millis(1);

/// Options of `distil compare` about start-up times.
#[derive(Debug, Args)]
pub(crate) struct StartUpArgs {
    /// Run the program of each image RUNS times [default: 5] and tell the median time until it ends
    #[arg(long, value_name = "RUNS", num_args = 0..=1, require_equals = true, default_missing_value = "5",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) start_up: Option<u32>,
    /// A service has started when this TCP port of the machine takes connections
    #[arg(long, value_name = "PORT", conflicts_with = "ready_output",
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ready_port: Option<u16>,
    /// A program has started when it writes the first byte
    #[arg(long)]
    pub(crate) ready_output: bool,
}

/// How often a program runs, and when it counts as started.
#[derive(Debug)]
pub(super) struct Ready {
    runs: u32,
    sign: Sign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Exit,
    Output,
    Port(SocketAddr),
}

impl Ready {
    /// None when nothing is to be run.
    pub(super) fn parse(args: &StartUpArgs) -> Result<Option<Self>, CliError> {
        let sign = match args.ready_port {
            Some(port) => Sign::Port(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None if args.ready_output => Sign::Output,
            None => Sign::Exit,
        };
        if let (Sign::Port(address), Ok(_)) = (sign, connect(sign)) {
            let port = address.port();
            return Err(CliError::failed(format!("port `{port}` is in use already"))
                .hint("stop what listens there, or have the service listen elsewhere"));
        }
        let runs = args.start_up.or((sign != Sign::Exit).then_some(5));
        Ok(runs.map(|runs| Self { runs, sign }))
    }
}

/// What measuring gave.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum StartUp {
    /// Times of all runs.
    #[serde(rename_all = "PascalCase")]
    Measured {
        /// `exit`, `output` or `port`.
        until: &'static str,
        runs: u32,
        #[serde(rename = "MedianMillis", serialize_with = "millis")]
        median: Duration,
        #[serde(rename = "FastestMillis", serialize_with = "millis")]
        fastest: Duration,
        #[serde(rename = "SlowestMillis", serialize_with = "millis")]
        slowest: Duration,
    },
    /// The program did not start.
    #[serde(rename_all = "PascalCase")]
    Failed {
        /// Why, safe to print.
        error: String,
    },
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1e6).round() / 1e3)
}

/// Runs the image's own program as `distil run` does, with nothing to read, and stops it once it has started.
/// A program that does not start is no error: the others are still compared.
pub(super) fn measure(session: &Session, image: &OpenedImage, ready: &Ready) -> Result<StartUp, CliError> {
    let layers: Vec<_> = image.layers().iter().map(|layer| layer.id).collect();
    let mut times = Vec::new();
    for _ in 0..ready.runs {
        // What a run writes goes with its snapshot.
        let active = image
            .snapshots
            .prepare(&layers)
            .map_err(|error| CliError::failed(chain(&error)))?;
        let root = active.mount().map_err(|error| CliError::failed(chain(&error)))?;
        let started = image_process(session, image.config(), root)
            .map_err(|error| error.to_string())
            .and_then(|spec| run(&spec, ready.sign));
        match started {
            Ok(time) => times.push(time),
            Err(error) => {
                // Hints are about the command line.
                let error = printable_text(error.lines().next().unwrap_or_default());
                return Ok(StartUp::Failed { error });
            }
        }
    }
    times.sort();
    // `runs` is at least 1.
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    Ok(StartUp::Measured {
        until: match ready.sign {
            Sign::Exit => "exit",
            Sign::Output => "output",
            Sign::Port(_) => "port",
        },
        runs: ready.runs,
        median: (at((times.len() - 1) / 2) + at(times.len() / 2)) / 2,
        fastest: at(0),
        slowest: at(times.len() - 1),
    })
}

/// What the thread that waits for a program tells.
enum Event {
    Output(Instant),
    Ended(Instant, Result<ExitStatus, SandboxError>),
}

/// One run: the time until the program has started, or why it has not.
fn run(spec: &ProcessSpec, sign: Sign) -> Result<Duration, String> {
    let begin = Instant::now();
    let mut process = Sandbox::spawn(spec, Stdio::captured()).map_err(|error| chain(&error))?;
    let signaller = process.signaller();
    let (tell, told) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut silent = true;
            let ended = process.wait_with_output(|_, _| {
                if std::mem::take(&mut silent) {
                    // Nobody listens any more once the program counts as started.
                    let _ = tell.send(Event::Output(Instant::now()));
                }
            });
            let _ = tell.send(Event::Ended(Instant::now(), ended));
        });
        let started = started(&told, begin, sign);
        signaller.kill();
        started.map(|at| at.saturating_duration_since(begin))
    })
}

/// When the program has started.
fn started(told: &Receiver<Event>, begin: Instant, sign: Sign) -> Result<Instant, String> {
    loop {
        if matches!(sign, Sign::Port(_)) && connect(sign).is_ok() {
            return Ok(Instant::now());
        }
        let left = LIMIT.saturating_sub(begin.elapsed());
        let patience = if matches!(sign, Sign::Port(_)) {
            PAUSE.min(left)
        } else {
            left
        };
        match told.recv_timeout(patience) {
            Ok(Event::Output(at)) if sign == Sign::Output => return Ok(at),
            Ok(Event::Output(_)) => {}
            Ok(Event::Ended(at, Ok(status))) => return ended(at, status, sign),
            Ok(Event::Ended(_, Err(error))) => return Err(chain(&error)),
            Err(RecvTimeoutError::Timeout) if left.is_zero() => {
                let seconds = LIMIT.as_secs();
                return Err(match sign {
                    Sign::Exit => format!("runs longer than {seconds} s; a service needs --ready-port"),
                    Sign::Output => format!("writes nothing for {seconds} s"),
                    Sign::Port(_) => format!("does not listen within {seconds} s"),
                });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("ended without a word".to_owned()),
        }
    }
}

fn ended(at: Instant, status: ExitStatus, sign: Sign) -> Result<Instant, String> {
    match (sign, status) {
        (Sign::Exit, ExitStatus::Code(0)) => Ok(at),
        (_, ExitStatus::Code(code)) => Err(format!("ends with exit code {code}{}", before(sign))),
        (_, ExitStatus::Signal(signal)) => Err(format!("is ended by signal {signal}{}", before(sign))),
    }
}

fn before(sign: Sign) -> &'static str {
    match sign {
        Sign::Exit => "",
        Sign::Output => " and writes nothing",
        Sign::Port(_) => " before it listens",
    }
}

fn connect(sign: Sign) -> std::io::Result<()> {
    match sign {
        Sign::Port(address) => TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop),
        Sign::Exit | Sign::Output => Err(std::io::ErrorKind::Unsupported.into()),
    }
}
