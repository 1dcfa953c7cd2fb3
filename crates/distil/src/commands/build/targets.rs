//! `--call=targets`: the stages of a Dockerfile.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use distil_dockerfile::{Dockerfile, Stage, parse, printable};
use distil_engine::{BuildError, DockerfileText, Failure};
use serde_json::{Value, json};

use super::checks::location;

/// Lists the stages in the order of the file: as a table, or as BuildKit's `targets.List`.
pub(super) fn answer(dockerfile: &DockerfileText, as_json: bool) -> Result<String, Failure> {
    let parsed = parse(&dockerfile.text).map_err(|errors| Failure::from(BuildError::Dockerfile(errors)))?;
    Ok(match as_json {
        true => json(dockerfile, &parsed),
        false => table(&parsed),
    })
}

fn table(parsed: &Dockerfile) -> String {
    let last = parsed.stages.len().saturating_sub(1);
    let names: Vec<String> = parsed
        .stages
        .iter()
        .enumerate()
        .map(|(at, stage)| shown(stage, at == last))
        .collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        .max("TARGET".len());
    let mut text = format!("{:<width$} DESCRIPTION\n", "TARGET");
    for (name, stage) in names.iter().zip(&parsed.stages) {
        let description = printable(stage.doc.as_deref().unwrap_or_default());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<width$} {description}");
    }
    text
}

fn shown(stage: &Stage, default: bool) -> String {
    match (&stage.name, default) {
        (Some(name), true) => format!("{} (default)", name.value),
        (Some(name), false) => name.value.clone(),
        (None, true) => "(default)".to_owned(),
        (None, false) => String::new(),
    }
}

fn json(dockerfile: &DockerfileText, parsed: &Dockerfile) -> String {
    let last = parsed.stages.len().saturating_sub(1);
    let target = |(at, stage): (usize, &Stage)| {
        let mut object = json!({"base": stage.base.value, "location": location(stage.statement.span)});
        let texts = [
            ("name", stage.name.as_ref().map(|name| &name.value)),
            ("description", stage.doc.as_ref()),
            (
                "platform",
                stage.platform.as_ref().map(|platform| &platform.value),
            ),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                object[key] = text.as_str().into();
            }
        }
        if at == last {
            object["default"] = true.into();
        }
        object
    };
    let targets: Vec<Value> = parsed.stages.iter().enumerate().map(target).collect();
    let sources = [BASE64_STANDARD.encode(&dockerfile.text)];
    format!("{:#}\n", json!({"targets": targets, "sources": sources}))
}
