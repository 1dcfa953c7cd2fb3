//! `distil cve` as text.

use std::io::Write;

use distil_audit::cve::{Components, Database, DatabaseKind, Report, SetAsideBy, Severity, Vulnerability};
use distil_audit::printable_path;
use distil_debian::{UnixTime, format_rfc3339};

use super::CveArgs;
use crate::error::CliError;
use crate::output::align;
use crate::units;

pub(super) fn write(
    out: &mut dyn Write,
    report: &Report,
    components: &Components,
    args: &CveArgs,
    now: UnixTime,
) -> Result<(), CliError> {
    for database in &report.databases {
        writeln!(out, "{}", source(database, now))?;
    }
    if let Some(release) = components.release() {
        writeln!(out, "release: Debian {}", release.codename)?;
    }
    writeln!(out)?;
    let mut lines = vec![heading(&[
        "ID",
        "SEVERITY",
        "PACKAGE",
        "VERSION",
        "FIXED IN",
        "PACKAGES OF THE IMAGE",
    ])];
    lines.extend(report.vulnerabilities.iter().map(row));
    if lines.len() > 1 {
        align(out, &lines, 3)?;
        writeln!(out)?;
    }
    if args.all && !report.set_aside.is_empty() {
        let mut lines = vec![heading(&[
            "SET ASIDE",
            "SEVERITY",
            "PACKAGE",
            "VERSION",
            "BY",
            "REASON",
        ])];
        lines.extend(report.set_aside.iter().map(|aside| {
            let found = &aside.vulnerability;
            let by = match aside.by {
                SetAsideBy::Tracker => "tracker",
                SetAsideBy::IgnoreFile => "ignore file",
                SetAsideBy::Vex => "vex",
            };
            let reason = distil_audit::printable_text(&aside.reason);
            let words = [
                &found.id,
                &found.severity.to_string(),
                &found.component,
                &found.version,
            ];
            words
                .into_iter()
                .cloned()
                .chain([by.to_owned(), reason])
                .collect()
        }));
        align(out, &lines, 3)?;
        writeln!(out)?;
    }
    writeln!(out, "{}", summary(report, args))?;
    Ok(())
}

fn heading(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Which database it is and of what day.
fn source(database: &Database, now: UnixTime) -> String {
    let kind = match database.kind {
        DatabaseKind::Osv => "OSV",
        DatabaseKind::Tracker => "Debian security tracker",
    };
    let path = printable_path(&database.path);
    match database.date {
        Some(date) => {
            let age = units::age(u64::try_from(now - date).unwrap_or(0));
            format!("database: {path} ({kind}, {}, {age} old)", format_rfc3339(date))
        }
        None => format!("database: {path} ({kind}, of no known date)"),
    }
}

fn row(found: &Vulnerability) -> Vec<String> {
    let fix = match (&found.fixed_in, found.note.as_str()) {
        (Some(version), _) => version.clone(),
        (None, "") => format!("({})", found.state),
        (None, note) => format!("({}: {note})", found.state),
    };
    let mut packages: Vec<&str> = found
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    packages.dedup();
    vec![
        found.id.clone(),
        found.severity.to_string(),
        found.component.clone(),
        found.version.clone(),
        fix,
        distil_audit::printable_text(&packages.join(" ")),
    ]
}

/// `3 vulnerabilities: 1 high, 2 low; 1 with a fix, 2 without`.
fn summary(report: &Report, args: &CveArgs) -> String {
    let counts = report.counts();
    let (fixed, open) = counts.total();
    let mut text = match fixed + open {
        0 => "no known vulnerabilities".to_owned(),
        1 => "1 vulnerability".to_owned(),
        total => format!("{total} vulnerabilities"),
    };
    if args.ignore_unfixed {
        text.push_str(" with a fix");
    }
    if fixed + open > 0 {
        let listed = Severity::WORST_FIRST
            .iter()
            .map(|severity| (severity, counts.of(*severity)));
        let listed: Vec<String> = listed
            .filter(|(_, count)| *count > 0)
            .map(|(severity, count)| format!("{count} {severity}"))
            .collect();
        text.push_str(&format!(": {}", listed.join(", ")));
        if !args.ignore_unfixed {
            text.push_str(&format!("; {fixed} with a fix, {open} without"));
        }
    }
    if !report.set_aside.is_empty() {
        let hint = if args.all { "" } else { " (--all lists them)" };
        text.push_str(&format!("; {} set aside{hint}", report.set_aside.len()));
    }
    text
}
