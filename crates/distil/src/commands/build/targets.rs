//! `--call=targets`: the stages of a Dockerfile.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use distil_dockerfile::{Dockerfile, Stage, parse, printable};
use distil_engine::{BuildError, DockerfileText, Failure};
use serde_json::{Value, json};

use super::checks::location;
use super::report::{self, Recorder};
use crate::error::CliError;
use crate::output::align;

/// Lists the stages in the order of the file: as a table, or as BuildKit's `targets.List`.
pub(super) fn answer(dockerfile: &DockerfileText, as_json: bool) -> Result<String, CliError> {
    let parsed = parse(&dockerfile.text).map_err(|errors| {
        let failure = Failure::from(BuildError::Dockerfile(errors));
        report::failure(dockerfile, &failure, &Recorder::quiet())
    })?;
    Ok(match as_json {
        true => json(dockerfile, &parsed),
        false => table(&parsed)?,
    })
}

fn table(parsed: &Dockerfile) -> std::io::Result<String> {
    let last = parsed.stages.len().saturating_sub(1);
    let mut lines = vec![["TARGET", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for (at, stage) in parsed.stages.iter().enumerate() {
        let description = printable(stage.doc.as_deref().unwrap_or_default());
        lines.push(vec![shown(stage, at == last), description.into_owned()]);
    }
    columns(&lines, 1)
}

/// Rows as columns with `gap` spaces between them.
pub(super) fn columns(lines: &[Vec<String>], gap: usize) -> std::io::Result<String> {
    let mut text = Vec::new();
    align(&mut text, lines, gap)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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
