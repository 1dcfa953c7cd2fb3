//! What the build checks found, as text.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use distil_dockerfile::lint::Warning;
use distil_dockerfile::{LineIndex, Span, printable};
use distil_engine::{BuildError, CheckReport, DockerfileText};
use serde_json::{Value, json};

use crate::error::chain;

/// The list at the end of a build. With `expand` each entry has its description, its page and its place.
pub(super) fn summary(found: &[(Warning, Arc<DockerfileText>)], expand: bool) -> String {
    let count = match found.len() {
        1 => "1 warning".to_owned(),
        more => format!("{more} warnings"),
    };
    let hint = if expand { "" } else { " (use --debug to expand)" };
    let mut text = format!("\n {count} found{hint}:\n");
    for (warning, dockerfile) in found {
        // Writing to a string cannot fail.
        let _ = writeln!(text, " - {}", printable(&warning.to_string()));
        if !expand {
            continue;
        }
        let _ = writeln!(text, "{}", warning.rule.description());
        if let Some(url) = warning.rule.url() {
            let _ = writeln!(text, "More info: {url}");
        }
        text.push_str(&excerpt(warning, dockerfile));
        text.push('\n');
    }
    text
}

/// The lines that a warning is about.
pub(super) fn excerpt(warning: &Warning, dockerfile: &DockerfileText) -> String {
    let source = String::from_utf8_lossy(&dockerfile.text);
    let (first, last) = (warning.span.first_line, warning.span.last_line);
    LineIndex::new(&source).excerpt(&dockerfile.name, first, last)
}

/// The answer of `--check`: every finding with its place, by line.
pub(super) fn text(dockerfile: &DockerfileText, report: &CheckReport) -> String {
    let mut text = match report.warnings.len() {
        0 if report.error.is_none() => "Check complete, no warnings found.\n".to_owned(),
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        more => format!("Check complete, {more} warnings have been found!\n"),
    };
    for warning in by_line(report) {
        // Writing to a string cannot fail.
        let _ = write!(text, "\nWARNING: {}", warning.rule.name());
        if let Some(url) = warning.rule.url() {
            let _ = write!(text, " - {url}");
        }
        let _ = writeln!(text, "\n{}", printable(&warning.detail));
        text.push_str(&excerpt(warning, dockerfile));
    }
    if report.error.is_some() && !report.warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// The answer of `--call=check,format=json`: BuildKit's `LintResults`.
pub(super) fn json(dockerfile: &DockerfileText, report: &CheckReport) -> String {
    let warnings: Vec<Value> = by_line(report)
        .into_iter()
        .map(|warning| {
            let mut object = json!({
                "ruleName": warning.rule.name(),
                "description": warning.rule.description(),
                "detail": warning.detail,
                "location": location(warning.span),
            });
            if let Some(url) = warning.rule.url() {
                object["url"] = url.into();
            }
            object
        })
        .collect();
    let mut object = json!({
        "warnings": warnings,
        "sources": [{
            "filename": dockerfile.name,
            "language": "Dockerfile",
            "data": BASE64_STANDARD.encode(&dockerfile.text),
        }],
    });
    if let Some(error) = &report.error {
        let first = match error {
            BuildError::Dockerfile(diagnostics) => diagnostics.iter().find_map(|diagnostic| diagnostic.span),
            _ => None,
        };
        object["buildError"] = json!({
            "message": chain(error),
            "location": first.map_or_else(|| json!({}), location),
        });
    }
    format!("{object:#}\n")
}

/// A place as BuildKit's `Location`: one range a line.
pub(super) fn location(span: Span) -> Value {
    let ranges: Vec<Value> = (span.first_line..=span.last_line)
        .map(|line| json!({"start": {"line": line}, "end": {"line": line}}))
        .collect();
    json!({"ranges": ranges})
}

/// By line, otherwise as they were found.
fn by_line(report: &CheckReport) -> Vec<&Warning> {
    let mut warnings: Vec<&Warning> = report.warnings.iter().collect();
    warnings.sort_by_key(|warning| warning.span.first_line);
    warnings
}
