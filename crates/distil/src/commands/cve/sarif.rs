//! `distil cve` as SARIF 2.1.0.

use std::collections::BTreeMap;

use distil_audit::cve::{Report, Severity, Vulnerability};
use distil_audit::printable_path;
use serde_json::{Value, json};

/// One run: a rule for each vulnerability, a result for each component that has it.
pub(super) fn document(report: &Report, image: &str) -> Value {
    let mut rules: BTreeMap<&str, &Vulnerability> = BTreeMap::new();
    for found in &report.vulnerabilities {
        rules.entry(&found.id).or_insert(found);
    }
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(at, id)| (*id, at)).collect();
    let results = report
        .vulnerabilities
        .iter()
        .map(|found| result(found, image, index.get(&*found.id)));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "distil cve",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.values().map(|found| rule(found)).collect::<Vec<_>>(),
            }},
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn rule(found: &Vulnerability) -> Value {
    let summary = match found.summary.as_str() {
        "" => &found.id,
        summary => summary,
    };
    let mut rule = json!({
        "id": found.id,
        "shortDescription": {"text": summary},
        "defaultConfiguration": {"level": level(found.severity)},
        "properties": {"tags": ["security", "vulnerability", found.severity.to_string()]},
    });
    if let Some(score) = found.score {
        // Code hosts order by this property, a number in a text.
        rule["properties"]["security-severity"] = format!("{score:.1}").into();
    }
    rule
}

fn result(found: &Vulnerability, image: &str, rule: Option<&usize>) -> Value {
    let fix = match &found.fixed_in {
        Some(version) => format!("fixed in {version}"),
        None => format!("no fix ({})", found.state),
    };
    let text = format!(
        "{} {} in `{image}` has {}: {fix}",
        found.component, found.version, found.id
    );
    let records = found.packages.iter().map(|package| {
        let path = printable_path(&package.record);
        json!({"physicalLocation": {"artifactLocation": {"uri": uri(&path)}}})
    });
    json!({
        "ruleId": found.id,
        "ruleIndex": rule,
        "level": level(found.severity),
        "message": {"text": text},
        "locations": records.collect::<Vec<_>>(),
        "partialFingerprints": {
            "component/v1": format!("{}/{}/{}", found.ecosystem.name(), found.component, found.id),
        },
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical | Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low | Severity::Negligible | Severity::Unknown => "note",
    }
}

/// A path of the image as a relative address (RFC 3986).
fn uri(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b'+' => {
                text.push(byte.into());
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}
