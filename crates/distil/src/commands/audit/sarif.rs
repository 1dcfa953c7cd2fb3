//! Findings as SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format").

use distil_audit::rules::{RULES, Rule};
use distil_audit::{Finding, Severity, printable_path};
use serde_json::{Value, json};

use super::Report;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The whole log: one run. What the policy accepts is there as suppressed.
pub(super) fn log(name: &str, report: &Report) -> Value {
    let own = report
        .verdict
        .findings
        .iter()
        .map(|finding| result(finding, report));
    let accepted = report.verdict.allowed.iter().map(|allowed| {
        let mut result = result(&allowed.finding, report);
        result["suppressions"] = json!([{"kind": "external", "justification": allowed.reason}]);
        result
    });
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "distil",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": RULES.iter().map(|known| rule(known)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "originalUriBaseIds": {"IMAGE": {"description": {"text": "the root of the image"}}},
            "properties": {"image": name, "policy": report.policy.name()},
            "results": own.chain(accepted).collect::<Vec<_>>(),
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": {"text": rule.summary},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": rule.severity},
    })
}

/// The place is the file in the image; where the Dockerfile is known, the instruction's lines there come with it.
fn result(finding: &Finding, report: &Report) -> Value {
    let mut location = json!({});
    if let Some(path) = &finding.path {
        let relative = printable_path(path);
        location["physicalLocation"] = json!({
            "artifactLocation": {"uri": uri(relative.trim_start_matches('/')), "uriBaseId": "IMAGE"},
        });
    }
    if let Some(instruction) = &finding.instruction {
        location["logicalLocations"] = json!([{"fullyQualifiedName": instruction, "kind": "instruction"}]);
    }
    let mut result = json!({
        "ruleId": finding.id,
        "ruleIndex": RULES.iter().position(|rule| rule.id == finding.id),
        "level": level(finding.severity),
        "message": {"text": message(finding)},
        "partialFingerprints": {"ruleAndPath/v1": fingerprint(finding)},
        "properties": {"layer": finding.layer},
    });
    if location != json!({}) {
        result["locations"] = json!([location]);
    }
    let source = report.source(finding);
    let lines = source
        .as_ref()
        .and_then(|source| source.lines)
        .or_else(|| report.lines(finding));
    if let (Some((first, last)), Some(dockerfile)) = (lines, report.dockerfile()) {
        result["relatedLocations"] = json!([{
            "message": {"text": "the instruction that brought it"},
            "physicalLocation": {
                "artifactLocation": {"uri": uri(dockerfile)},
                "region": {"startLine": first, "endLine": last},
            },
        }]);
    }
    if let Some(source) = source {
        result["properties"]["stage"] = source.stage.into();
    }
    result
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn message(finding: &Finding) -> String {
    match &finding.fix {
        Some(fix) => format!("{}; {fix}", finding.message),
        None => finding.message.clone(),
    }
}

/// The same finding has the same one in each image that has it.
fn fingerprint(finding: &Finding) -> String {
    let about = match &finding.path {
        Some(path) => printable_path(path),
        None => finding.message.clone(),
    };
    distil_oci::Digest::sha256(format!("{}\0{about}", finding.id).as_bytes()).hex()
}

/// A path as a relative URI reference (RFC 3986): what is no unreserved character is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}
