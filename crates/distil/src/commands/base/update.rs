//! `distil base update` and `distil base outdated`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use distil_base::lock::{Change, Lockfile, Subject};
use serde_json::{Value, json};

use super::lock::KeptArgs;
use super::locking::{self, ArchiveArgs, Maker};
use super::progress::ProgressArgs;
use crate::error::CliError;
use crate::output::{Form, print};
use crate::session::Session;

/// Exit code of `outdated` when there is something newer.
const OUTDATED: u8 = 3;

/// Arguments of `distil base update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// The lockfile
    #[arg(value_name = "LOCKFILE")]
    pub(crate) lockfile: PathBuf,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    #[command(flatten)]
    pub(crate) kept: KeptArgs,
    #[command(flatten)]
    pub(crate) progress: ProgressArgs,
    /// `table`, `json` or a template such as `{{.Name}} {{.New}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Arguments of `distil base outdated`.
#[derive(Debug, Args)]
pub(crate) struct OutdatedArgs {
    /// The lockfile
    #[arg(value_name = "LOCKFILE")]
    pub(crate) lockfile: PathBuf,
    #[command(flatten)]
    pub(crate) archive: ArchiveArgs,
    /// `table`, `json` or a template such as `{{.Name}} {{.New}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Chooses newer packages, writes the lockfile when something changed, and prints the changes.
pub(crate) fn update(session: &Session, args: &UpdateArgs) -> Result<(), CliError> {
    let form = form(args.format.as_deref())?;
    let old = locking::load(&args.lockfile)?;
    let wanted = locking::wanted_again(&old, &args.lockfile)?;
    if args.kept.digests {
        session.need_owners()?;
    }
    let mut maker = Maker::open(session, &args.archive)?;
    let keep_indexes = args.kept.keep_indexes || old.keeps_indexes(&args.lockfile);
    let made = maker.choose(&wanted, Some(&old), keep_indexes)?;
    let changes = old.changes(&made.lockfile);
    let complete = !args.kept.digests || old.images.iter().all(|image| image.output.is_some());
    if !changes.is_empty() || !complete || args.kept.keep_indexes {
        maker.finish(made, &args.kept, &args.progress, &args.lockfile)?;
    }
    match changes.as_slice() {
        [] => nothing(&form, &args.lockfile, &old),
        changes => show(&form, changes),
    }
}

/// Prints what an update would change; the exit code tells whether that is anything.
pub(crate) fn outdated(session: &Session, args: &OutdatedArgs) -> Result<(), CliError> {
    let form = form(args.format.as_deref())?;
    let old = locking::load(&args.lockfile)?;
    let wanted = locking::wanted_again(&old, &args.lockfile)?;
    let mut maker = Maker::open(session, &args.archive)?;
    let made = maker.choose(&wanted, Some(&old), false)?;
    let changes = old.changes(&made.lockfile);
    if changes.is_empty() {
        return nothing(&form, &args.lockfile, &old);
    }
    show(&form, &changes)?;
    Err(CliError::silent(OUTDATED))
}

fn form(format: Option<&str>) -> Result<Form, CliError> {
    Form::parse(format, &["Name", "Old", "New", "Suite", "Architectures"])
}

fn nothing(form: &Form, path: &std::path::Path, lockfile: &Lockfile) -> Result<(), CliError> {
    if matches!(form, Form::Table(_)) {
        let count = lockfile.packages.len();
        writeln!(
            std::io::stdout(),
            "{}: all {count} packages are the newest",
            path.display()
        )?;
    }
    Ok(())
}

fn show(form: &Form, changes: &[Change]) -> Result<(), CliError> {
    let as_table = matches!(form, Form::Table(_));
    let rows: Vec<Value> = changes.iter().map(|change| row(change, as_table)).collect();
    print(form, &rows, str::to_uppercase)
}

fn row(change: &Change, as_table: bool) -> Value {
    let kind = match change.subject {
        Subject::Package => "package",
        Subject::Input => "input",
        Subject::Recipe => "recipe",
        Subject::Image => "image",
    };
    let version = |version: &Option<String>| match (version, as_table) {
        (None, true) if change.subject == Subject::Recipe => json!("changed"),
        (None, true) => json!("-"),
        (version, _) => json!(version),
    };
    let suite = match (as_table, change.suite.is_empty()) {
        (true, true) => kind,
        _ => &change.suite,
    };
    json!({
        "Kind": kind,
        "Name": change.name,
        "Old": version(&change.old),
        "New": version(&change.new),
        "Suite": suite,
        "Security": change.is_security(),
        "Architectures": if as_table { json!(change.architectures.join(",")) } else { json!(change.architectures) },
    })
}
