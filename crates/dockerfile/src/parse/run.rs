//! `RUN` and its flags.

use std::ops::Range;

use super::flags::Flags;
use super::instruction::Request;
use super::line::{CookedFlag, Line};
use crate::ast::{Device, Network, Run, Security};
use crate::csv;
use crate::diagnostic::Diagnostic;
use crate::mount::{self, MountField, MountFlag};
use crate::span::Spanned;
use crate::suggest;

/// Builds a `RUN`; every flag is judged.
pub(super) fn build(request: Request<'_>) -> Result<Run, Vec<Diagnostic>> {
    let (flags, line) = (&request.flags, request.line);
    let mut errors = Vec::new();
    let mounts = flags
        .cooked("mount")
        .into_iter()
        .filter_map(|flag| kept(mount(flag, line), &mut errors))
        .collect();
    let devices = flags
        .cooked("device")
        .into_iter()
        .filter_map(|flag| kept(device(flag, line), &mut errors))
        .collect();
    let networks = [
        ("default", Network::Default),
        ("none", Network::None),
        ("host", Network::Host),
    ];
    let network = kept(choice(flags, "network", &networks), &mut errors).unwrap_or_default();
    let securities = [("sandbox", Security::Sandbox), ("insecure", Security::Insecure)];
    let security = kept(choice(flags, "security", &securities), &mut errors).unwrap_or_default();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Run {
        mounts,
        network,
        security,
        devices,
        command: request.command_line(),
        heredocs: request.heredocs,
    })
}

fn kept<T>(result: Result<T, Diagnostic>, errors: &mut Vec<Diagnostic>) -> Option<T> {
    result.map_err(|error| errors.push(error)).ok()
}

/// One of several words, in this very letter case.
fn choice<T: Default + Clone>(flags: &Flags<'_>, flag: &str, options: &[(&str, T)]) -> Result<T, Diagnostic> {
    let Some(word) = flags.texts(flag).pop() else {
        return Ok(T::default());
    };
    if let Some((_, value)) = options.iter().find(|(name, _)| *name == word.value) {
        return Ok(value.clone());
    }
    let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
    Err(
        Diagnostic::new(format!("`--{flag}` cannot be `{}`", word.value), word.span).with_help(format!(
            "it is one of {}; variables are not expanded here",
            names.join(", ")
        )),
    )
}

/// The CSV fields of a flag's value, with their places.
fn fields(flag: &CookedFlag, line: &Line<'_>) -> Result<Vec<(String, crate::span::Span)>, Diagnostic> {
    // The value is there: the flag was checked to have one.
    let value = flag
        .name_and_value()
        .1
        .unwrap_or(flag.text.len()..flag.text.len());
    let shift = |range: Range<usize>| value.start + range.start..value.start + range.end;
    let text = &flag.text[value.clone()];
    let fields = csv::fields(text).map_err(|(reason, at)| {
        let message = format!("`{text}` cannot be split at its commas: {reason}");
        Diagnostic::new(message, flag.span_of(line, &shift(at..text.len())))
    })?;
    Ok(fields
        .into_iter()
        .map(|(text, range)| (text, flag.span_of(line, &shift(range))))
        .collect())
}

fn mount(flag: &CookedFlag, line: &Line<'_>) -> Result<MountFlag, Diagnostic> {
    let mut from = None;
    let mut out = Vec::new();
    for (text, span) in fields(flag, line)? {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
            None => (text.to_lowercase(), None),
        };
        if let (mount::FROM, Some(value)) = (key.as_str(), &value) {
            // A lone `$` at the end is taken as text.
            if value.find('$').is_some_and(|at| at + 1 != value.len()) {
                return Err(
                    Diagnostic::new("variables are not expanded in `from=` of a mount", span)
                        .with_help("define a stage with `FROM $NAME AS alias`, and mount from that"),
                );
            }
            from = Some(Spanned::new(value.clone(), span));
        }
        out.push(MountField {
            text,
            key,
            value,
            span,
        });
    }
    let value = flag.name_and_value().1.unwrap_or(0..0);
    Ok(MountFlag {
        fields: out,
        from,
        span: flag.span_of(line, &value),
    })
}

fn device(flag: &CookedFlag, line: &Line<'_>) -> Result<Device, Diagnostic> {
    let span = flag.to_flag(line).span;
    let mut device = Device {
        name: String::new(),
        required: false,
        span,
    };
    for (text, span) in fields(flag, line)? {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (text.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => device.required = mount::boolean(value, "required", span)?,
            ("name", Some(value)) if device.name.is_empty() => device.name = value.to_owned(),
            ("name", Some(_)) => {
                return Err(Diagnostic::new(
                    format!("the device already has the name `{}`", device.name),
                    span,
                ));
            }
            _ if device.name.is_empty() => device.name.clone_from(&text),
            (key, _) => {
                let error = Diagnostic::new(format!("a device has no `{key}`"), span);
                return Err(match suggest::nearest(key, &["name", "required"]) {
                    Some(nearest) => error.with_help(format!("did you mean `{nearest}`?")),
                    None => error,
                });
            }
        }
    }
    Ok(device)
}
