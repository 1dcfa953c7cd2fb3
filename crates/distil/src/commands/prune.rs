//! `distil prune` and `distil image prune`.

use std::io::{IsTerminal, Write};

use clap::Args;
use distil_store::{Prune, RecordId, RecordKind, RecordUsage};
use serde_json::Value;

use crate::error::CliError;
use crate::output::{Form, print};
use crate::record_filter::RecordFilter;
use crate::session::{Session, store_error};
use crate::units;

/// Arguments of `distil prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove all build cache, also what an image's build would use again, and downloaded packages
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only matching records, as for du: type=exec.cachemount, until=24h and the like; downloaded packages stay
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Arguments of `distil image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove every image, not only those without a name
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// Removes records of the build cache after listing them and asking.
pub(crate) fn prune(session: &Session, args: &PruneArgs) -> Result<(), CliError> {
    let filter = RecordFilter::parse(&args.filter, session.now())?;
    let store = session.store()?;
    let chosen: Vec<RecordId>;
    let what = if filter.is_empty() {
        Prune::Unused {
            all: args.all,
            before: None,
        }
    } else {
        let usage = store.usage().map_err(store_error)?;
        let fits = |record: &&RecordUsage| (args.all || !is_spared(record)) && filter.matches(record);
        chosen = usage
            .records
            .iter()
            .filter(fits)
            .map(|record| record.id)
            .collect();
        Prune::These(&chosen)
    };
    let with_downloads = args.all && filter.is_empty();
    let allowed = can_ask(args.force);
    if allowed.is_ok() {
        session.need_owners_to_collect(&store, what)?;
    }
    let planned = store.collect_dry_run(what).map_err(store_error)?;
    let form = Form::parse(None, &["ID", "Type", "Size", "LastUsed", "Description"])?;
    let rows: Vec<Value> = planned
        .records
        .iter()
        .map(|record| super::du::row(session, record))
        .collect();
    if !rows.is_empty() {
        print(&form, &rows, |column| match column {
            "LastUsed" => "LAST USED".into(),
            other => other.to_uppercase(),
        })?;
    }
    allowed?;
    let downloads = match with_downloads {
        true => store.downloads_size().map_err(store_error)?,
        false => 0,
    };
    let question = format!(
        "Remove {} of the build cache{} and free {}?",
        count(planned.records.len(), "record"),
        if downloads > 0 {
            " and all downloaded packages"
        } else {
            ""
        },
        units::bytes(planned.bytes + downloads)
    );
    if !args.force && !ask(&question)? {
        return Ok(());
    }
    let mut freed = store.collect(what).map_err(store_error)?.bytes;
    if with_downloads {
        freed += store.clear_downloads().map_err(store_error)?;
    }
    writeln!(
        std::io::stdout(),
        "Total reclaimed space: {}",
        units::bytes(freed)
    )?;
    Ok(())
}

/// What goes with `--all` alone: what the builder itself needs, and what an image has too.
fn is_spared(record: &RecordUsage) -> bool {
    record.shared || matches!(record.kind, RecordKind::Internal | RecordKind::Frontend)
}

/// Removes images after listing them and asking.
pub(crate) fn image_prune(session: &Session, args: &ImagePruneArgs) -> Result<(), CliError> {
    let allowed = can_ask(args.force);
    let store = session.store()?;
    let images = store.images().list().map_err(store_error)?;
    let doomed: Vec<_> = images
        .iter()
        .filter(|image| args.all || image.names.is_empty())
        .collect();
    if allowed.is_ok() && distil_sandbox::userns::needed() && !doomed.is_empty() {
        return Err(session.enter_namespace());
    }
    let mut out = std::io::stdout();
    for image in &doomed {
        let names = if image.names.is_empty() {
            "<none>".to_owned()
        } else {
            image.names.join(", ")
        };
        writeln!(out, "{}  {names}", &image.id.hex()[..12])?;
    }
    allowed?;
    if !args.force && !ask(&format!("Remove {}?", count(doomed.len(), "image")))? {
        return Ok(());
    }
    let removed = store.images().prune(args.all).map_err(store_error)?;
    super::rmi::print_removed(&removed)?;
    let done = store.collect(Prune::Nothing).map_err(store_error)?;
    writeln!(out, "Total reclaimed space: {}", units::bytes(done.bytes))?;
    Ok(())
}

/// A question needs `--force` or a terminal: without one the answer would be a guess.
pub(crate) fn can_ask(force: bool) -> Result<(), CliError> {
    if force || std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(CliError::usage("there is no terminal to ask on").hint("--force does it without asking"))
}

/// Asks on the terminal.
pub(crate) fn ask(question: &str) -> Result<bool, CliError> {
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
