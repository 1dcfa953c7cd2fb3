//! `examples/run`: builds each example from the bloated image to the distroless one, runs, audits and compares them.

mod builders;
mod measure;
mod process;
mod report;
mod service;
mod spec;
mod traffic;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use builders::{Buildah, Distil};
use report::Measured;

/// Build the examples each way, run, audit and compare them
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Examples by the names of their folders [default: all]
    names: Vec<String>,
    /// The distil to build with
    #[arg(long, value_name = "PATH", default_value = "target/release/distil")]
    distil: PathBuf,
    /// Build with buildah too, where it is installed and this is root
    #[arg(long)]
    peers: bool,
    /// Where the store of this run is made, and removed at its end
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    work: PathBuf,
    /// Where `examples.md`, `examples.html` and `examples.json` are written
    #[arg(long, value_name = "DIR", default_value = "target/examples")]
    out: PathBuf,
    /// Write the tables to docs/ and to the README, beside the earlier results of the other examples
    #[arg(long)]
    docs: bool,
}

/// What went wrong, with the last lines of the output of what failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", tail(.output))]
pub(crate) struct Failure {
    message: String,
    output: String,
    interrupt: bool,
    /// It was ended because it took longer than this.
    limit: Option<std::time::Duration>,
}

impl Failure {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: String::new(),
            interrupt: false,
            limit: None,
        }
    }

    fn file(path: &Path, error: &std::io::Error) -> Self {
        Self::new(format!("{}: {error}", path.display()))
    }

    fn interrupted() -> Self {
        Self {
            interrupt: true,
            ..Self::new("stopped; everything that was started has ended")
        }
    }

    /// Of what was printed colours go: they would stand in documents.
    fn with_output(mut self, output: &str) -> Self {
        self.output = anstream::adapter::strip_str(output).to_string();
        self
    }

    fn is_interrupt(&self) -> bool {
        self.interrupt
    }

    /// Why it failed, in one line: that it took too long, or the last line of the output, which is where programs say
    /// it; else the message.
    fn reason(&self) -> String {
        if let Some(limit) = self.limit {
            return format!("it had not ended after {} s", limit.as_secs());
        }
        let line = self.output.lines().rev().find(|line| !line.trim().is_empty());
        line.unwrap_or(&self.message).trim().to_owned()
    }
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    lines[lines.len().saturating_sub(25)..]
        .iter()
        .map(|line| format!("\n    {line}"))
        .collect()
}

fn note(text: &str) {
    eprintln!("{text}");
}

/// Exit code 0; 1 when something of an example does not hold; 2 when the run could not begin; 130 after Ctrl-C.
pub(crate) fn run(options: &Options) -> ExitCode {
    match run_all(options) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("\n{} of what must hold does not:", faults.len());
            for fault in faults {
                eprintln!("  - {fault}");
            }
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("examples: {failure}");
            ExitCode::from(if failure.is_interrupt() { 130 } else { 2 })
        }
    }
}

fn run_all(options: &Options) -> Result<Vec<String>, Failure> {
    process::catch_signals()?;
    // `examples/run` starts this there.
    let repository = std::env::current_dir().map_err(|error| Failure::file(Path::new("."), &error))?;
    let examples = spec::find(&repository.join("examples"), &options.names)?;
    let program = std::path::absolute(&options.distil)
        .ok()
        .filter(|path| path.is_file())
        .ok_or_else(|| {
            Failure::new(format!(
                "there is no `{}`: build it with `cargo build --release`, or name another with --distil",
                options.distil.display()
            ))
        })?;
    let work = tempfile::Builder::new()
        .prefix("distil-examples.")
        .tempdir_in(&options.work)
        .map_err(|error| Failure::file(&options.work, &error))?;
    let distil = Distil::new(program, work.path().join("store"));
    let mut programs = vec![distil.output(["version"])?.trim().to_owned()];
    let buildah = match options.peers && Buildah::is_there() {
        true => Some(Buildah::new(work.path().join("buildah"), &distil)?),
        false => None,
    };
    programs.extend(buildah.as_ref().and_then(|_| Buildah::version()));
    let machine = report::machine(&programs);
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for example in &examples {
        let rows = measure::measure(&distil, buildah.as_ref(), example, work.path(), &mut faults)?;
        all.push(Measured {
            name: example.name.clone(),
            about: example.spec.about.clone(),
            date: today(),
            machine: machine.clone(),
            rows,
        });
        // After each, so that a long run that is stopped leaves what it has measured.
        publish(options, &repository, &all)?;
    }
    print!("{}", report::markdown(&all));
    Ok(faults)
}

fn today() -> String {
    jiff::Timestamp::now().to_string().chars().take(10).collect()
}

/// Writes the tables to `--out` and, with `--docs`, to the documentation.
fn publish(options: &Options, repository: &Path, measured: &[Measured]) -> Result<(), Failure> {
    std::fs::create_dir_all(&options.out).map_err(|error| Failure::file(&options.out, &error))?;
    report::write(&options.out.join("examples.md"), &report::markdown(measured))?;
    report::write(&options.out.join("examples.html"), &report::html(measured))?;
    report::save(&options.out.join("examples.json"), measured)?;
    if options.docs {
        document(repository, measured)?;
    }
    Ok(())
}

/// Puts what was measured beside the results of the other examples, and makes the tables of all of them.
fn document(repository: &Path, measured: &[Measured]) -> Result<(), Failure> {
    let path = repository.join("examples/results.json");
    let mut all = report::load(&path)?;
    for new in measured {
        all.retain(|old| old.name != new.name);
        all.push(new.clone());
    }
    all.retain(|one| repository.join("examples").join(&one.name).is_dir());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    report::save(&path, &all)?;
    report::write(&repository.join("docs/examples.html"), &report::html(&all))?;
    replace_section(&repository.join("docs/examples.md"), &report::markdown(&all))?;
    replace_section(&repository.join("README.md"), &report::summary(&all))
}

const BEGIN: &str = "<!-- made by examples/run -->\n";
const END: &str = "<!-- end of what examples/run made -->\n";

/// Replaces what stands between the two marks of a file.
fn replace_section(path: &Path, table: &str) -> Result<(), Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let marked = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let Some((before, after)) = marked else {
        return Err(Failure::new(format!(
            "{}: the lines `{}` and `{}` must stand in it",
            path.display(),
            BEGIN.trim_end(),
            END.trim_end()
        )));
    };
    report::write(path, &format!("{before}{BEGIN}{table}{END}{after}"))
}
