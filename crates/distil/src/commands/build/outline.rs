//! `--call=outline`: what builds of a target can be given.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use distil_dockerfile::printable;
use distil_engine::DockerfileText;
use distil_frontend::{Outline, OutlineArg, OutlineMount};
use serde_json::{Value, json};

use super::checks::location;
use super::targets::columns;

/// A table for each kind of thing; kinds without any are left out.
pub(super) fn text(outline: &Outline) -> std::io::Result<String> {
    let mut tables = Vec::new();
    let owned = |cells: &[&str]| {
        cells
            .iter()
            .map(|cell| (*cell).to_owned())
            .collect::<Vec<String>>()
    };
    if outline.name.is_some() || outline.description.is_some() {
        let mut lines = vec![owned(&[
            "TARGET:",
            outline.name.as_deref().unwrap_or("(default)"),
        ])];
        lines.extend(
            outline
                .description
                .as_deref()
                .map(|text| owned(&["DESCRIPTION:", text])),
        );
        tables.push(columns(&lines, 1)?);
    }
    if !outline.args.is_empty() {
        let mut lines = vec![owned(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        lines.extend(outline.args.iter().map(|arg| {
            let (value, description) = (arg.value.as_deref(), arg.description.as_deref());
            owned(&[
                &arg.name,
                value.unwrap_or_default(),
                description.unwrap_or_default(),
            ])
        }));
        tables.push(columns(&lines, 3)?);
    }
    for (heading, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let mut lines = vec![owned(&[heading, "REQUIRED"])];
            lines.extend(
                mounts
                    .iter()
                    .map(|mount| owned(&[&mount.id, if mount.required { "true" } else { "" }])),
            );
            tables.push(columns(&lines, 3)?);
        }
    }
    let text: String = tables.into_iter().map(|table| table + "\n").collect();
    Ok(printable(&text).into_owned())
}

/// BuildKit's `outline.Outline`.
pub(super) fn json(dockerfile: &DockerfileText, outline: &Outline) -> String {
    let mut object = json!({"sources": [BASE64_STANDARD.encode(&dockerfile.text)]});
    for (key, text) in [("name", &outline.name), ("description", &outline.description)] {
        if let Some(text) = text {
            object[key] = text.as_str().into();
        }
    }
    let lists = [
        ("args", outline.args.iter().map(arg).collect::<Vec<Value>>()),
        ("secrets", outline.secrets.iter().map(mount).collect()),
        ("ssh", outline.ssh.iter().map(mount).collect()),
    ];
    for (key, list) in lists {
        if !list.is_empty() {
            object[key] = list.into();
        }
    }
    format!("{object:#}\n")
}

fn arg(arg: &OutlineArg) -> Value {
    let mut object = json!({"name": arg.name, "location": location(arg.span)});
    for (key, text) in [("value", &arg.value), ("description", &arg.description)] {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            object[key] = text.into();
        }
    }
    object
}

fn mount(mount: &OutlineMount) -> Value {
    let mut object = json!({"name": mount.id, "location": location(mount.span)});
    if mount.required {
        object["required"] = true.into();
    }
    object
}
