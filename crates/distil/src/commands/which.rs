//! `distil which`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use distil_audit::origin::{CopiedPackage, FileOrigin, Origins, Place, Step};
use distil_audit::{Entry, Inventory, Package, printable, printable_path, printable_text};
use serde_json::{Value, json};

use crate::error::CliError;
use crate::output::align;
use crate::session::{Session, store_error};
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
            Some(entry) => entries.push((path, entry.clone())),
            None => {
                return Err(CliError::failed("`/` is from no layer alone").hint("name a file"));
            }
        }
    }
    let known = Known {
        inventory: Inventory::read(&image).map_err(failed)?,
        origins: Origins::read(&session.store()?, &image.id()).map_err(store_error)?,
        image,
    };
    let mut out = std::io::stdout().lock();
    for (at, (path, entry)) in entries.into_iter().enumerate() {
        if args.format == ViewFormat::Json {
            writeln!(out, "{}", known.object(path, &entry))?;
            continue;
        }
        if at > 0 {
            writeln!(out)?;
        }
        align(&mut out, &known.lines(path, &entry), 2)?;
    }
    Ok(out.flush()?)
}

/// An image and what is known of it.
struct Known {
    image: OpenedImage,
    inventory: Inventory,
    origins: Option<Origins>,
}

impl Known {
    fn lines(&self, asked: &Path, entry: &Entry) -> Vec<Vec<String>> {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut line = |name: &str, text: String| lines.push(vec![format!("{name}:"), text]);
        if asked != entry.path {
            line("asked for", printable_path(asked));
        }
        line("path", printable_path(&entry.path));
        if let Some(target) = &entry.target {
            line("link to", printable(target));
        }
        line("file", file_text(entry));
        let layers = self.image.layers();
        if let Some(layer) = layers.get(entry.layer) {
            let diff_id = layer.diff_id.map_or_else(String::new, |id| format!(", {id}"));
            line(
                "layer",
                format!("{} of 0 to {}{diff_id}", entry.layer, layers.len() - 1),
            );
        }
        let step = self.step(entry);
        if let Some(stage) = step.and_then(Step::stage) {
            line("stage", printable_text(stage));
        }
        line("instruction", self.instruction(entry, step));
        let origin = self.origin(entry);
        for place in origin.iter().flat_map(|origin| &origin.places) {
            line("copied from", self.place_text(place));
            if let Some(step) = place.step {
                line("made there by", self.step_text(step));
            }
        }
        let copied = origin.and_then(|origin| origin.package);
        line(
            "package",
            match (self.inventory.owner(&entry.path), copied) {
                (Some(package), _) => package_text(package),
                (None, Some(package)) => copied_text(package),
                (None, None) => "none".to_owned(),
            },
        );
        for hidden in self
            .image
            .hidden()
            .iter()
            .filter(|hidden| hidden.path == entry.path)
        {
            let size = units::bytes(hidden.wasted);
            line(
                "replaces",
                format!("{size} of {}", self.image.layer_text(hidden.layer)),
            );
        }
        lines
    }

    fn step(&self, entry: &Entry) -> Option<&Step> {
        self.origins.as_ref()?.layer(entry.layer)
    }

    fn origin(&self, entry: &Entry) -> Option<FileOrigin<'_>> {
        self.origins.as_ref()?.file(entry.layer, &entry.path)
    }

    /// What the history says of the layer, with the line where the build's own record has it.
    fn instruction(&self, entry: &Entry, step: Option<&Step>) -> String {
        let layer = self.image.layers().get(entry.layer);
        let told = layer.and_then(|layer| layer.instruction.as_ref());
        match (told, step) {
            (Some(text), _) => one_line(text, 400) + &self.place_of(step),
            (None, Some(step)) => self.step_text(step),
            (None, None) => "not known: the history does not tell".to_owned(),
        }
    }

    fn step_text(&self, step: &Step) -> String {
        one_line(&step.instruction(), 400) + &self.place_of(Some(step))
    }

    /// ` (Dockerfile:7)`, or nothing.
    fn place_of(&self, step: Option<&Step>) -> String {
        let lines = step.and_then(|step| step.lines);
        match (lines, &self.origins) {
            (Some((first, last)), Some(origins)) => {
                let file = printable_text(origins.dockerfile());
                match first == last {
                    true => format!(" ({file}:{first})"),
                    false => format!(" ({file}:{first}-{last})"),
                }
            }
            _ => String::new(),
        }
    }

    fn place_text(&self, place: &Place<'_>) -> String {
        format!(
            "{} of {}",
            printable_path(&place.path),
            printable_text(place.stage)
        )
    }

    fn object(&self, asked: &Path, entry: &Entry) -> Value {
        let layer = self.image.layers().get(entry.layer);
        let hidden = self
            .image
            .hidden()
            .iter()
            .filter(|hidden| hidden.path == entry.path);
        let replaced = hidden.map(|hidden| json!({"Layer": hidden.layer, "Wasted": hidden.wasted}));
        let (step, origin) = (self.step(entry), self.origin(entry));
        let own = self.inventory.owner(&entry.path).map(|package| json!(package));
        let copied = origin.as_ref().and_then(|origin| origin.package);
        let places = origin.iter().flat_map(|origin| &origin.places);
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
            "Stage": step.and_then(Step::stage),
            "Instruction": layer.and_then(|layer| layer.instruction.as_ref()),
            "Dockerfile": self.origins.as_ref().map(Origins::dockerfile),
            "Lines": step.and_then(|step| step.lines),
            "CopiedFrom": places.map(place_object).collect::<Vec<_>>(),
            "Package": own.or_else(|| copied.map(copied_object)),
            "Replaces": replaced.collect::<Vec<_>>(),
        })
    }
}

fn file_text(entry: &Entry) -> String {
    let node = &entry.node;
    format!(
        "{}, {}, owner {}:{}, {}",
        kind_text(node.kind),
        mode_text(node),
        node.uid,
        node.gid,
        units::bytes(entry.size())
    )
}

fn package_text(package: &Package) -> String {
    let (name, version, source) = (&package.name, &package.version, &package.source);
    owner_text([
        name,
        version,
        &package.architecture,
        &source.name,
        &source.version,
    ])
}

fn copied_text(package: &CopiedPackage) -> String {
    let (name, version) = (&package.name, &package.version);
    let source = [&package.source, &package.source_version];
    owner_text([name, version, &package.architecture, source[0], source[1]])
}

/// Name, version and architecture of a package, name and version of its source.
fn owner_text([name, version, architecture, source, source_version]: [&String; 5]) -> String {
    let text = match architecture.as_str() {
        "" => format!("{name} {version}"),
        architecture => format!("{name} {version} ({architecture})"),
    };
    let text = match (source == name, source_version == version) {
        (true, true) => text,
        (_, true) => format!("{text}, of source {source}"),
        (_, false) => format!("{text}, of source {source} {source_version}"),
    };
    printable_text(&text)
}

fn place_object(place: &Place<'_>) -> Value {
    json!({
        "Stage": place.stage,
        "Path": printable_path(&place.path),
        "Instruction": place.step.map(Step::instruction),
        "Lines": place.step.and_then(|step| step.lines),
    })
}

/// As packages of the image itself are shown.
fn copied_object(package: &CopiedPackage) -> Value {
    json!({
        "ecosystem": "deb",
        "name": package.name,
        "version": package.version,
        "architecture": package.architecture,
        "source": {"name": package.source, "version": package.source_version},
        "maintainer": package.maintainer,
    })
}
