//! `distil ls`.

use std::path::{Path, PathBuf};

use clap::Args;
use distil_audit::{Entry, printable, printable_path};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::{Form, print};
use crate::session::Session;
use crate::units;
use crate::view::{OpenedImage, kind_text, mode_text};

/// Arguments of `distil ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Image by name or ID, or the path of an archive or OCI layout
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Directory or file in it
    #[arg(value_name = "PATH", default_value = "/")]
    pub(crate) path: PathBuf,
    /// List directories inside the directory too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// `table`, `json` or a template such as `{{.Size}} {{.Path}}`
    #[arg(long, value_name = "FORM")]
    pub(crate) format: Option<String>,
}

/// Lists a directory, or tells about one file.
pub(crate) fn ls(session: &Session, args: &LsArgs) -> Result<(), CliError> {
    let form = Form::parse(
        args.format.as_deref(),
        &["Mode", "Owner", "Size", "Layer", "Name"],
    )?;
    let image = session.open_view(&args.image)?;
    // A link to a directory is listed as that; any other link tells about itself.
    let behind = image.resolve(&args.path, true);
    let is_dir = |path: &PathBuf| {
        path == Path::new("/") || image.get(path).is_some_and(|entry| entry.node.kind.is_dir())
    };
    let entries: Vec<&Entry>;
    let folder = match behind.filter(is_dir) {
        Some(folder) => {
            entries = match args.recursive {
                true => image.below(&folder).iter().collect(),
                false => image.children(&folder).collect(),
            };
            folder
        }
        None => {
            let entry = image.entry(&args.path, false)?;
            entries = entry.into_iter().collect();
            let parent = entry.and_then(|entry| entry.path.parent());
            parent.map_or_else(|| PathBuf::from("/"), Path::to_owned)
        }
    };
    let exact = matches!(form, Form::Json);
    let rows: Vec<Value> = entries
        .into_iter()
        .map(|entry| row(&image, entry, &folder, exact))
        .collect();
    print(&form, &rows, str::to_uppercase)
}

/// One line. `exact` writes sizes as numbers of bytes.
fn row(image: &OpenedImage, entry: &Entry, folder: &Path, exact: bool) -> Value {
    // As a directory is only worth something with what is in it.
    let size = match entry.node.kind.is_dir() {
        true => image.below(&entry.path).iter().map(Entry::size).sum(),
        false => entry.size(),
    };
    let relative = entry.path.strip_prefix(folder).unwrap_or(&entry.path);
    let target = entry.target.as_ref().map(|target| printable(target));
    let name = match &target {
        Some(target) => format!("{} -> {target}", printable_path(relative)),
        None => printable_path(relative),
    };
    let node = &entry.node;
    json!({
        "Path": printable_path(&entry.path),
        "Name": name,
        "Target": target,
        "Type": kind_text(node.kind),
        "Mode": mode_text(node),
        "Permissions": format!("{:04o}", node.mode),
        "Owner": format!("{}:{}", node.uid, node.gid),
        "Size": if exact { json!(size) } else { units::bytes(size).into() },
        "Modified": units::rfc3339(node.mtime.secs.saturating_mul(1_000_000_000)),
        "Layer": entry.layer,
    })
}
