//! `distil diff`.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use distil_audit::{Change, ChangeKind, Layer, changes, layer_changes, printable_path};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::align;
use crate::session::Session;
use crate::units;
use crate::view::{OpenedImage, ViewFormat, failed, one_line};

/// Arguments of `distil diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Image to compare it with [default: each layer is compared with those below it]
    #[arg(value_name = "OTHER")]
    pub(crate) other: Option<String>,
    /// Only what is at or below this path
    #[arg(long, value_name = "PATH", default_value = "/", hide_default_value = true)]
    pub(crate) path: PathBuf,
    /// List what is in directories that are new or gone as a whole
    #[arg(short, long)]
    pub(crate) all: bool,
    /// How to print; `json` lists everything
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) format: ViewFormat,
}

/// Prints what layers change, or what differs between two images.
pub(crate) fn diff(session: &Session, args: &DiffArgs) -> Result<(), CliError> {
    let image = session.open_view(&args.image)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match &args.other {
        Some(other) => {
            let other = session.open_view(other)?;
            let found = changes(&image, &other).map_err(failed)?;
            let found = below(found, &args.path);
            write_changes(&mut out, args, None, &found)?;
        }
        None => layers(&mut out, args, &image)?,
    }
    Ok(out.flush()?)
}

fn layers(out: &mut dyn Write, args: &DiffArgs, image: &OpenedImage) -> Result<(), CliError> {
    for (at, layer) in image.layers().iter().enumerate() {
        let found = below(layer_changes(image, at), &args.path);
        if args.format == ViewFormat::Table {
            writeln!(out, "{}", heading(at, layer))?;
        }
        write_changes(out, args, Some(at), &found)?;
    }
    if args.format == ViewFormat::Table {
        let wasted: u64 = image.layers().iter().map(|layer| layer.wasted).sum();
        let stored: u64 = image.layers().iter().map(|layer| layer.size).sum();
        let percent = (u128::from(wasted) * 100)
            .checked_div(u128::from(stored))
            .unwrap_or(0);
        writeln!(
            out,
            "total: {} stored, {} seen, {} wasted ({percent} %)",
            units::bytes(stored),
            units::bytes(image.size()),
            units::bytes(wasted)
        )?;
    }
    Ok(())
}

fn heading(at: usize, layer: &Layer) -> String {
    let mut text = format!(
        "layer {at}: {} in {}",
        units::bytes(layer.size),
        count(layer.files)
    );
    if layer.wasted > 0 {
        text.push_str(&format!(", {} wasted", units::bytes(layer.wasted)));
    }
    if let Some(instruction) = &layer.instruction {
        text.push_str(&format!(": {}", one_line(instruction, 100)));
    }
    text
}

fn count(files: u64) -> String {
    match files {
        1 => "1 file".to_owned(),
        _ => format!("{files} files"),
    }
}

/// Those at or below a path.
fn below(mut changes: Vec<Change>, path: &Path) -> Vec<Change> {
    let path = Path::new("/").join(path);
    changes.retain(|change| change.path.starts_with(&path));
    changes
}

fn write_changes(
    out: &mut dyn Write,
    args: &DiffArgs,
    layer: Option<usize>,
    found: &[Change],
) -> Result<(), CliError> {
    if args.format == ViewFormat::Json {
        for change in found {
            writeln!(out, "{}", object(layer, change))?;
        }
        return Ok(());
    }
    let rows = match args.all {
        true => found.iter().map(Row::of).collect(),
        false => collapsed(found),
    };
    let lines: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    Ok(align(out, &lines, 2)?)
}

/// A line of the table: one path, or a directory with everything in it.
struct Row {
    path: PathBuf,
    kind: ChangeKind,
    before: u64,
    after: u64,
    /// Regular files in it, for a directory that stands for what is in it.
    files: Option<u64>,
}

impl Row {
    fn of(change: &Change) -> Row {
        Row {
            path: change.path.clone(),
            kind: change.kind(),
            before: change.size_before(),
            after: change.size_after(),
            files: None,
        }
    }

    fn cells(&self) -> Vec<String> {
        let (sign, size) = match self.kind {
            ChangeKind::Added => ("A", units::bytes(self.after)),
            ChangeKind::Removed => ("D", units::bytes(self.before)),
            ChangeKind::Changed if self.before == self.after => ("C", units::bytes(self.after)),
            ChangeKind::Changed => (
                "C",
                format!("{} -> {}", units::bytes(self.before), units::bytes(self.after)),
            ),
        };
        let path = printable_path(&self.path);
        let path = match self.files {
            Some(files) => format!("{path}/ ({})", count(files)),
            None => path,
        };
        vec![format!("  {sign}"), size, path]
    }
}

/// One line for each directory that is new or gone with all that is in it.
fn collapsed(changes: &[Change]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut whole: HashMap<&Path, usize> = HashMap::new();
    for change in changes {
        let parents = change.path.ancestors().skip(1);
        let known = parents.filter_map(|parent| whole.get(parent)).next();
        if let Some(row) = known.and_then(|at| rows.get_mut(*at)) {
            let node = change.after.or(change.before);
            let file = node.is_some_and(|node| node.kind.is_file());
            row.before += change.size_before();
            row.after += change.size_after();
            row.files = row.files.map(|files| files + u64::from(file));
            continue;
        }
        let mut row = Row::of(change);
        let node = match row.kind {
            ChangeKind::Added => change.after,
            ChangeKind::Removed => change.before,
            ChangeKind::Changed => None,
        };
        if node.is_some_and(|node| node.kind.is_dir()) {
            row.files = Some(0);
            whole.insert(&change.path, rows.len());
        }
        rows.push(row);
    }
    rows
}

fn object(layer: Option<usize>, change: &Change) -> Value {
    let kind = match change.kind() {
        ChangeKind::Added => "added",
        ChangeKind::Changed => "changed",
        ChangeKind::Removed => "removed",
    };
    let mut object = json!({
        "Path": printable_path(&change.path),
        "Change": kind,
        "Before": change.before.map(|_| change.size_before()),
        "After": change.after.map(|_| change.size_after()),
    });
    if let Some(layer) = layer {
        object["Layer"] = layer.into();
    }
    object
}
