//! `distil which`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use distil_audit::{Entry, Inventory, Package, printable, printable_path, printable_text};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::align;
use crate::session::Session;
use crate::units;
use crate::view::{OpenedImage, ViewFormat, failed, kind_text, mode_text, one_line};

/// Arguments of `distil which`.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Files in it
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// How to print
    #[arg(
        long,
        value_enum,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) format: ViewFormat,
}

/// Tells where files come from. Links are followed, and named.
pub(crate) fn which(session: &Session, args: &WhichArgs) -> Result<(), CliError> {
    let image = session.open_view(&args.image)?;
    let mut entries = Vec::new();
    for path in &args.paths {
        // A link that leads nowhere tells about itself.
        let entry = match image.resolve(path, true).is_some() {
            true => image.entry(path, true)?,
            false => image.entry(path, false)?,
        };
        match entry {
            Some(entry) => entries.push((path, entry)),
            None => {
                return Err(CliError::failed("`/` is from no layer alone").hint("name a file"));
            }
        }
    }
    let inventory = Inventory::read(&image).map_err(failed)?;
    let mut out = std::io::stdout().lock();
    for (at, (path, entry)) in entries.into_iter().enumerate() {
        if args.format == ViewFormat::Json {
            writeln!(out, "{}", object(&image, &inventory, path, entry))?;
            continue;
        }
        if at > 0 {
            writeln!(out)?;
        }
        align(&mut out, &lines(&image, &inventory, path, entry), 2)?;
    }
    Ok(out.flush()?)
}

fn lines(image: &OpenedImage, inventory: &Inventory, asked: &Path, entry: &Entry) -> Vec<Vec<String>> {
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut line = |name: &str, text: String| lines.push(vec![format!("{name}:"), text]);
    if asked != entry.path {
        line("asked for", printable_path(asked));
    }
    line("path", printable_path(&entry.path));
    if let Some(target) = &entry.target {
        line("link to", printable(target));
    }
    let node = &entry.node;
    line(
        "file",
        format!(
            "{}, {}, owner {}:{}, {}",
            kind_text(node.kind),
            mode_text(node),
            node.uid,
            node.gid,
            units::bytes(entry.size())
        ),
    );
    if let Some(layer) = image.layers().get(entry.layer) {
        let diff_id = layer
            .diff_id
            .map_or_else(String::new, |diff_id| format!(", {diff_id}"));
        line(
            "layer",
            format!("{} of 0 to {}{diff_id}", entry.layer, image.layers().len() - 1),
        );
        let instruction = layer.instruction.as_ref();
        line(
            "instruction",
            instruction.map_or_else(
                || "not known: the history does not tell".to_owned(),
                |text| one_line(text, 400),
            ),
        );
    }
    line(
        "package",
        match inventory.owner(&entry.path) {
            Some(package) => package_text(package),
            None => "none".to_owned(),
        },
    );
    for hidden in image.hidden().iter().filter(|hidden| hidden.path == entry.path) {
        let size = units::bytes(hidden.wasted);
        line(
            "replaces",
            format!("{size} of {}", image.layer_text(hidden.layer)),
        );
    }
    lines
}

fn package_text(package: &Package) -> String {
    let (name, version, source) = (&package.name, &package.version, &package.source);
    let text = match package.architecture.as_str() {
        "" => format!("{name} {version}"),
        architecture => format!("{name} {version} ({architecture})"),
    };
    let text = match (source.name == *name, source.version == *version) {
        (true, true) => text,
        (_, true) => format!("{text}, of source {}", source.name),
        (_, false) => format!("{text}, of source {} {}", source.name, source.version),
    };
    printable_text(&text)
}

fn object(image: &OpenedImage, inventory: &Inventory, asked: &Path, entry: &Entry) -> Value {
    let layer = image.layers().get(entry.layer);
    let hidden = image.hidden().iter().filter(|hidden| hidden.path == entry.path);
    let replaced = hidden.map(|hidden| json!({"Layer": hidden.layer, "Wasted": hidden.wasted}));
    json!({
        "Asked": printable_path(asked),
        "Path": printable_path(&entry.path),
        "Target": entry.target.as_ref().map(|target| printable(target)),
        "Type": kind_text(entry.node.kind),
        "Mode": mode_text(&entry.node),
        "Owner": format!("{}:{}", entry.node.uid, entry.node.gid),
        "Size": entry.size(),
        "Layer": entry.layer,
        "DiffID": layer.and_then(|layer| layer.diff_id).map(|diff_id| diff_id.to_string()),
        "Instruction": layer.and_then(|layer| layer.instruction.as_ref()),
        "Package": inventory.owner(&entry.path),
        "Replaces": replaced.collect::<Vec<_>>(),
    })
}
