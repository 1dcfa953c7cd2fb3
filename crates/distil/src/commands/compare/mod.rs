//! `distil compare`: images side by side.

mod compressed;
mod facts;
mod html;
mod rows;
mod start_up;
mod table;
mod vulnerabilities;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use self::facts::{ImageFacts, Look};
use self::rows::Row;
use self::start_up::{Ready, StartUpArgs};
use self::vulnerabilities::Vulnerabilities;
use super::audit::policy;
use super::cve::known_databases;
use super::save::to_file;
use crate::error::CliError;
use crate::session::Session;
use crate::view::OpenedImage;

/// Images in one comparison; more have no room beside each other.
const MOST: usize = 12;

/// Parts of all images together that are shown of their own: what keeps a page small.
const PARTS: u64 = 700;

/// Arguments of `distil compare`.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Images by name or ID, or paths of archives or OCI layouts; changes are told against the first
    #[arg(value_name = "IMAGE", required = true, num_args = 1..)]
    pub(crate) images: Vec<String>,
    /// How to print [default: what the name of -o ends in, else table]
    #[arg(long, value_enum, value_name = "FORM", hide_possible_values = false)]
    pub(crate) format: Option<CompareFormat>,
    /// What counts as a finding: `distroless`, or a policy file
    #[arg(long, value_name = "NAME|FILE", default_value = "distroless")]
    pub(crate) policy: String,
    /// Vulnerability database, as for `distil cve`; several times if wanted [default: what `distil cve --update` fetched]
    #[arg(long, value_name = "PATH", env = "DISTIL_CVE_DB")]
    pub(crate) db: Vec<PathBuf>,
    /// Write to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) start_up: StartUpArgs,
}

/// Values of `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    /// Text for people.
    Table,
    /// One JSON object.
    Json,
    /// A table for a pull request or a wiki.
    Markdown,
    /// One page that needs nothing else, for a browser.
    Html,
}

/// Prints what there is to say of each image, side by side.
pub(crate) fn compare(session: &Session, args: &CompareArgs) -> Result<(), CliError> {
    let format = args.format.unwrap_or_else(|| by_ending(args.output.as_deref()));
    let policy = policy(&args.policy)?;
    let ready = Ready::parse(&args.start_up)?;
    if args.images.len() > MOST {
        let count = args.images.len();
        return Err(
            CliError::usage(format!("{count} images are too many to be compared"))
                .hint(format!("name at most {MOST}")),
        );
    }
    let images = args.images.iter().map(|name| session.open_view(name));
    let images: Vec<OpenedImage> = images.collect::<Result<_, _>>()?;
    let store = session.store()?;
    let databases = known_databases(session, &args.db);
    let look = Look {
        databases: databases.as_deref(),
        store: &store,
        policy: &policy,
        now: session.now().0 / 1_000_000_000,
        detail: (PARTS / images.len().max(1) as u64).min(PARTS / 3),
    };
    let facts = gather(session, &images, &look, ready.as_ref())?;
    warn(&facts);
    let text = render(format, &facts)?;
    match &args.output {
        Some(path) => to_file(path, |out| Ok(out.write_all(text.as_bytes())?)),
        None => {
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())?;
            Ok(out.flush()?)
        }
    }
}

/// Tells once what may be wrong with databases, on standard error.
fn warn(images: &[ImageFacts]) {
    let mut told: Vec<&str> = Vec::new();
    for image in images {
        let text = match &image.vulnerabilities {
            Some(Vulnerabilities::Judged {
                warning: Some(text), ..
            }) => text,
            Some(Vulnerabilities::NotJudged { error }) => error,
            _ => continue,
        };
        if !told.contains(&text.as_str()) {
            told.push(text);
            let _ = writeln!(std::io::stderr(), "WARNING: {text}");
        }
    }
}

/// Facts of every image. Programs run after everything else, so that nothing disturbs their times.
fn gather(
    session: &Session,
    images: &[OpenedImage],
    look: &Look<'_>,
    ready: Option<&Ready>,
) -> Result<Vec<ImageFacts>, CliError> {
    let compressed = compressed::sizes(images)?;
    let looked_at: Vec<Result<ImageFacts, CliError>> = std::thread::scope(|scope| {
        let started: Vec<_> = images
            .iter()
            .zip(&compressed)
            .map(|(image, compressed)| scope.spawn(move || ImageFacts::of(image, compressed, look)))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            // A thread of this scope has no cause to panic; one that does takes the caller with it.
            thread
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        };
        started.into_iter().map(join).collect()
    });
    let mut facts = looked_at.into_iter().collect::<Result<Vec<_>, _>>()?;
    if let Some(ready) = ready {
        for (image, facts) in images.iter().zip(&mut facts) {
            facts.start_up = Some(start_up::measure(session, image, ready)?);
        }
    }
    Ok(facts)
}

fn render(format: CompareFormat, images: &[ImageFacts]) -> Result<String, CliError> {
    let rows = rows::rows(images);
    Ok(match format {
        CompareFormat::Table => table::text(images, &rows)?,
        CompareFormat::Markdown => table::markdown(images, &rows),
        CompareFormat::Html => html::page(images, &rows),
        CompareFormat::Json => {
            let changes: Vec<_> = rows.iter().map(Row::json).collect();
            format!("{}\n", json!({"Images": images, "Rows": changes}))
        }
    })
}

/// The format that the ending of a file stands for.
fn by_ending(path: Option<&Path>) -> CompareFormat {
    let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
    match ending {
        Some("html" | "htm") => CompareFormat::Html,
        Some("md" | "markdown") => CompareFormat::Markdown,
        Some("json") => CompareFormat::Json,
        _ => CompareFormat::Table,
    }
}
