//! `distil du`.

use std::io::Write;

use clap::Args;
use distil_store::{RecordKind, RecordUsage};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Form, print};
use crate::record_filter::RecordFilter;
use crate::session::{Session, store_error};
use crate::units;

/// Arguments of `distil du`.
#[derive(Debug, Args)]
pub(crate) struct DuArgs {
    /// List every record
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Only matching records: type, id, description with =, != or ~=; until=DURATION; inuse, mutable, shared and their opposites
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json` or a template such as `{{.ID}} {{.Size}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints the records of the build cache and the sums.
pub(crate) fn du(session: &Session, args: &DuArgs) -> Result<(), CliError> {
    let filter = RecordFilter::parse(&args.filter, session.now())?;
    let store = session.store()?;
    let volumes = store.volumes().list()?.len();
    if volumes > 0 {
        // Files of subordinate ids.
        session.need_owners()?;
    }
    let mut usage = store.usage().map_err(store_error)?;
    usage.records.retain(|record| filter.matches(record));
    let limit = session.cache_limit(&store)?;
    let form = Form::parse(
        args.format.as_deref(),
        &["ID", "Type", "InUse", "Size", "LastUsed", "Description"],
    )?;
    let table = matches!(form, Form::Table(_));
    if !table || args.verbose || !usage.records.is_empty() {
        let rows: Vec<Value> = usage.records.iter().map(|record| row(session, record)).collect();
        print(&form, &rows, |column| match column {
            "InUse" => "IN USE".into(),
            "LastUsed" => "LAST USED".into(),
            other => other.to_uppercase(),
        })?;
    }
    if !table || !filter.is_empty() {
        return Ok(());
    }
    let cache: u64 = usage.records.iter().map(|record| record.size).sum();
    let mut out = std::io::stdout().lock();
    writeln!(out, "Images:       {}", units::bytes(usage.images))?;
    writeln!(
        out,
        "Build cache:  {} ({} of it in no image, limit {})",
        units::bytes(cache),
        units::bytes(usage.cache()),
        units::bytes(limit)
    )?;
    let downloads = store.downloads_size().map_err(store_error)?;
    if downloads > 0 {
        writeln!(
            out,
            "Downloads:    {} (packages, removed by `distil prune --all`)",
            units::bytes(downloads)
        )?;
    }
    if volumes > 0 {
        let sum = units::bytes(store.volumes().size()?);
        writeln!(
            out,
            "Volumes:      {sum} ({volumes}, removed by `distil volume rm`)"
        )?;
    }
    writeln!(out, "Reclaimable:  {}", units::bytes(usage.reclaimable))?;
    writeln!(out, "Total:        {}", units::bytes(usage.total))?;
    Ok(())
}

/// One record with the names that buildx uses.
pub(crate) fn row(session: &Session, record: &RecordUsage) -> Value {
    let age = u64::try_from((session.now().0 - record.last_used.0) / 1_000_000_000).unwrap_or(0);
    json!({
        "ID": record.id.0.to_string(),
        "Type": record.kind.as_str(),
        "Description": record.description,
        "InUse": record.in_use,
        "Mutable": record.kind == RecordKind::ExecCacheMount,
        "Shared": record.shared,
        "Size": units::bytes(record.size),
        "CreatedAt": units::rfc3339(record.created.0),
        "LastUsed": format!("{} ago", units::age(age)),
        "UsageCount": record.uses,
    })
}
