//! Findings as text: by rule, one line a file.

use std::io::{self, Write};

use distil_audit::policy::Allowed;
use distil_audit::rules::{RULES, Rule};
use distil_audit::{Finding, Severity, printable_path, printable_text};

use super::Report;
use crate::output::align;
use crate::view::one_line;

/// Findings of one rule that are shown without `--all`.
const SHOWN: usize = 10;

/// Writes a report.
pub(super) fn write(out: &mut dyn Write, name: &str, report: &Report, all: bool) -> io::Result<()> {
    for rule in RULES {
        let same = report
            .verdict
            .findings
            .iter()
            .filter(|finding| finding.id == rule.id);
        group(out, rule, &same.collect::<Vec<_>>(), report, all)?;
    }
    if all && !report.verdict.allowed.is_empty() {
        writeln!(out, "accepted by the policy")?;
        let lines = report.verdict.allowed.iter().map(accepted);
        align(out, &lines.collect::<Vec<_>>(), 2)?;
        writeln!(out)?;
    }
    summary(out, name, report)
}

fn group(out: &mut dyn Write, rule: &Rule, found: &[&Finding], report: &Report, all: bool) -> io::Result<()> {
    let Some(worst) = found.iter().map(|finding| finding.severity).max() else {
        return Ok(());
    };
    writeln!(out, "{worst} {}: {}", rule.id, rule.summary)?;
    let shown = if all { found.len() } else { SHOWN };
    let lines: Vec<Vec<String>> = found
        .iter()
        .take(shown)
        .map(|finding| line(finding, report))
        .collect();
    align(out, &lines, 2)?;
    if found.len() > shown {
        writeln!(out, "  and {} more; --all shows them", found.len() - shown)?;
    }
    // A finding may know better than its rule.
    let mut fixes: Vec<&str> = Vec::new();
    for fix in found
        .iter()
        .take(shown)
        .filter_map(|finding| finding.fix.as_deref())
    {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    for fix in fixes {
        writeln!(out, "  fix: {}", printable_text(fix))?;
    }
    writeln!(out)
}

/// What is the matter, and where it came from.
fn line(finding: &Finding, report: &Report) -> Vec<String> {
    vec![format!("  {}", finding.message), place(finding, report)]
}

fn place(finding: &Finding, report: &Report) -> String {
    let mut text = match finding.layer {
        Some(layer) => format!("layer {layer}"),
        None => String::new(),
    };
    if let Some(instruction) = &finding.instruction {
        let separator = if text.is_empty() { "" } else { ": " };
        text = format!("{text}{separator}{}", one_line(instruction, 60));
    }
    if let Some(source) = report.source(finding) {
        let made = source
            .instruction
            .map(|made| format!(": {}", one_line(&made, 60)))
            .unwrap_or_default();
        let (stage, path) = (printable_text(&source.stage), printable_path(&source.path));
        text = format!("{text} (from `{stage}` {path}{made})");
    }
    text
}

fn accepted(allowed: &Allowed) -> Vec<String> {
    let finding = &allowed.finding;
    vec![
        format!("  {}", finding.id),
        finding.message.clone(),
        printable_text(&allowed.reason),
    ]
}

fn summary(out: &mut dyn Write, name: &str, report: &Report) -> io::Result<()> {
    let verdict = &report.verdict;
    let counted = [
        (Severity::Error, "error"),
        (Severity::Warning, "warning"),
        (Severity::Note, "note"),
    ];
    let parts: Vec<String> = counted
        .into_iter()
        .map(|(severity, word)| match verdict.count(severity) {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        })
        .collect();
    let allowed = match verdict.allowed.len() {
        0 => String::new(),
        count => format!(", {count} accepted"),
    };
    let outcome = if verdict.fails { "fails" } else { "passes" };
    let policy = printable_text(report.policy.name());
    writeln!(
        out,
        "{}: {}{allowed}; {outcome} the policy `{policy}`",
        printable_text(name),
        parts.join(", ")
    )
}
