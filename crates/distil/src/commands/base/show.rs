//! `distil base show`.

use std::io::{BufWriter, Write};

use clap::Args;
use distil_base::recipe::{FileContent, ImageSpec, Resolve};

use super::target::{Target, TargetArgs};
use crate::error::CliError;

/// Arguments of `distil base show`.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// `text` or `json`
    #[arg(long, value_name = "FORM", default_value = "text")]
    pub(crate) format: String,
}

/// Prints the recipe as it is composed: nothing is downloaded.
pub(crate) fn show(args: &ShowArgs) -> Result<(), CliError> {
    let target = args.target.resolve()?;
    let spec = &target.spec;
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.format.as_str() {
        "json" => {
            let text =
                serde_json::to_string_pretty(spec).map_err(|error| CliError::failed(error.to_string()))?;
            writeln!(out, "{text}")?;
        }
        "text" => text(&mut out, &target)?,
        other => {
            return Err(
                CliError::usage(format!("`--format {other}` is unknown")).hint("there are `text` and `json`")
            );
        }
    }
    out.flush()?;
    Ok(())
}

/// The spec for people; what is empty is left out.
fn text(out: &mut dyn Write, target: &Target) -> std::io::Result<()> {
    let spec = &target.spec;
    let line = |out: &mut dyn Write, name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        writeln!(out, "{:<14}{value}", format!("{name}:"))
    };
    line(out, "image", &spec.name)?;
    line(out, "recipes", &spec.recipes.join(" < "))?;
    line(out, "release", spec.release.codename())?;
    line(out, "platform", &target.platform.to_string())?;
    line(out, "differs", spec.differs.as_deref().unwrap_or_default())?;
    if !spec.debian_suites {
        line(out, "debian suites", "none")?;
    }
    for source in &spec.sources {
        let components = source.components.join(" ");
        line(
            out,
            "source",
            &format!("{} {} {components}", source.url, source.suite),
        )?;
    }
    let resolve = match spec.resolve {
        Resolve::Closure => "packages, and what they need",
        Resolve::Listed => "packages, these alone",
    };
    list(out, resolve, spec.packages.iter().cloned())?;
    list(
        out,
        "computed from packages",
        spec.derived.iter().map(|one| one.to_string()),
    )?;
    list(
        out,
        "from elsewhere",
        spec.inputs
            .iter()
            .map(|one| format!("{} {} {}", one.name, one.version, one.url)),
    )?;
    let accounts = &spec.accounts;
    list(
        out,
        "accounts",
        accounts
            .users
            .iter()
            .map(|one| format!("{} {}:{}", one.name, one.uid, one.gid)),
    )?;
    paths(out, spec)?;
    list(
        out,
        "left out of packages",
        spec.excludes.iter().map(|one| one.name.clone()),
    )?;
    settings(out, spec)?;
    list(
        out,
        "notes",
        spec.notes.iter().map(|one| format!("{}: {}", one.what, one.why)),
    )
}

fn paths(out: &mut dyn Write, spec: &ImageSpec) -> std::io::Result<()> {
    let files = spec.files.iter().map(|one| match &one.content {
        FileContent::Text(_) => format!("{:04o} {}", one.mode, one.path),
        FileContent::Source { source, sha256, .. } => {
            format!("{:04o} {} from {source}, {sha256}", one.mode, one.path)
        }
    });
    let directories = spec.directories.iter().map(|one| {
        let owner = format!("{}:{}", one.owner.uid, one.owner.gid);
        format!("{:04o} {}/ {owner}", one.mode, one.path)
    });
    let links = spec
        .symlinks
        .iter()
        .map(|one| format!("{} -> {}", one.path, one.target));
    list(
        out,
        "files, directories, links",
        files.chain(directories).chain(links),
    )
}

fn settings(out: &mut dyn Write, spec: &ImageSpec) -> std::io::Result<()> {
    let run = &spec.run;
    let mut lines = Vec::new();
    let words = |words: &[String]| serde_json::to_string(words).unwrap_or_default();
    for (name, value) in [("entrypoint", &run.entrypoint), ("cmd", &run.cmd)] {
        if !value.is_empty() {
            lines.push(format!("{name} {}", words(value)));
        }
    }
    for (name, value) in [("user", &run.user), ("workdir", &run.workdir)] {
        if !value.is_empty() {
            lines.push(format!("{name} {value}"));
        }
    }
    let pairs = |kind: &'static str, pairs: &[(String, String)]| -> Vec<String> {
        pairs
            .iter()
            .map(|(name, value)| format!("{kind} {name}={value}"))
            .collect()
    };
    lines.extend(pairs("env", &run.environment));
    lines.extend(pairs("label", &run.labels));
    lines.extend(pairs("annotation", &run.annotations));
    list(out, "config", lines.into_iter())
}

fn list(out: &mut dyn Write, title: &str, items: impl Iterator<Item = String>) -> std::io::Result<()> {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    for item in items {
        writeln!(out, "  {item}")?;
    }
    Ok(())
}
