//! `distil history`.

use std::io::Write;

use clap::Args;
use distil_oci::{History, ImageConfig};
use distil_store::{ImageInfo, Store};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Form, print};
use crate::session::{Session, store_error};
use crate::units;

/// Arguments of `distil history`.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Image by name or ID
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Print commands whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print only IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print sizes and dates for people [default: true]
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true)]
    pub(crate) human: bool,
    /// `table`, `json` or a template such as `{{.CreatedBy}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Prints the history, newest first.
pub(crate) fn history(session: &Session, args: &HistoryArgs) -> Result<(), CliError> {
    let form = Form::parse(
        args.format.as_deref(),
        &["ID", "CreatedSince", "CreatedBy", "Size", "Comment"],
    )?;
    let store = session.store()?;
    let image = store.images().resolve(&args.image).map_err(store_error)?;
    let config = read_config(&store, &image)?;
    let mut sizes = Vec::new();
    for layer in &image.layers {
        sizes.push(
            store
                .layers()
                .get(*layer)
                .map_err(store_error)?
                .map_or(0, |layer| layer.size),
        );
    }
    let mut sizes = sizes.into_iter();
    let mut rows: Vec<Value> = config
        .history
        .iter()
        .map(|record| {
            let size = if record.empty_layer {
                0
            } else {
                sizes.next().unwrap_or(0)
            };
            row(session, args, record, size)
        })
        .collect();
    rows.reverse();
    if let Some(newest) = rows.first_mut() {
        newest["ID"] = if args.no_trunc {
            image.id.to_string()
        } else {
            image.id.hex()[..12].to_owned()
        }
        .into();
    }
    if args.quiet {
        let mut out = std::io::stdout().lock();
        for row in &rows {
            writeln!(out, "{}", row["ID"].as_str().unwrap_or_default())?;
        }
        return Ok(());
    }
    print(&form, &rows, |column| match column {
        "ID" => "IMAGE".into(),
        "CreatedSince" => "CREATED".into(),
        "CreatedBy" => "CREATED BY".into(),
        other => other.to_uppercase(),
    })
}

fn row(session: &Session, args: &HistoryArgs, record: &History, size: u64) -> Value {
    let created: Option<jiff::Timestamp> = record.created.as_deref().and_then(|time| time.parse().ok());
    let created_at = record.created.clone().unwrap_or_default();
    let since = created.map_or_else(
        || "N/A".to_owned(),
        |time| {
            let seconds = session.now().0 / 1_000_000_000 - time.as_second();
            format!("{} ago", units::age(u64::try_from(seconds).unwrap_or(0)))
        },
    );
    let mut by = record.created_by.replace(['\n', '\t'], " ");
    if !args.no_trunc && by.chars().count() > 45 {
        by = by.chars().take(44).chain(['…']).collect();
    }
    json!({
        "ID": "<missing>",
        "CreatedAt": created_at,
        "CreatedSince": if args.human { since } else { created_at.clone() },
        "CreatedBy": by,
        "Size": if args.human { units::bytes(size) } else { size.to_string() },
        "Comment": record.comment,
    })
}

/// The config of a stored image.
pub(crate) fn read_config(store: &Store, image: &ImageInfo) -> Result<ImageConfig, CliError> {
    let bytes = store.blobs().read(&image.id).map_err(store_error)?;
    ImageConfig::from_json(&bytes).map_err(|error| {
        CliError::failed(format!(
            "the config of image `{}` cannot be read: {error}",
            image.id
        ))
    })
}
