//! Ignore files: vulnerabilities that someone has looked at, with the reason why they do no harm here.

use std::path::Path;

use distil_debian::{UnixTime, parse_rfc3339};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::{CveError, Vulnerability};
use crate::printable_text;

/// An entry of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct IgnoreRule {
    /// Name of the vulnerability, or one of its aliases.
    #[serde(rename = "ID")]
    pub id: String,
    /// Only in this package or source package; none for all of them.
    pub package: Option<String>,
    /// Why it is ignored.
    pub reason: String,
    /// The last day on which it is ignored, such as `2026-12-31`.
    pub expires: Option<String>,
    /// Its line in the file, from 1.
    pub line: usize,
    /// First second after that day.
    #[serde(skip)]
    until: Option<UnixTime>,
}

impl IgnoreRule {
    /// Whether its last day is over.
    #[must_use]
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Whether it is about a vulnerability.
    #[must_use]
    pub fn is_about(&self, vulnerability: &Vulnerability) -> bool {
        let package = self.package.as_deref();
        let mut names = vulnerability.packages.iter().map(|package| package.name.as_str());
        vulnerability.is_named(&self.id)
            && package.is_none_or(|name| name == vulnerability.component || names.any(|own| own == name))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    ignore: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    package: Option<String>,
    reason: Spanned<String>,
    expires: Option<Spanned<Day>>,
}

/// A day, with or without quotes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Day {
    Date(toml::value::Datetime),
    Text(String),
}

/// Reads the text of an ignore file: tables `[[ignore]]` with `id`, `reason` and, if wanted, `package` and
/// `expires`. `path` names it in errors.
///
/// # Errors
/// [`CveError::IgnoreFile`] with the line: no TOML, a key that does not exist or is missing, an empty reason, a
/// name that is none, a day that does not exist.
pub fn read_ignore_file(text: &str, path: &Path) -> Result<Vec<IgnoreRule>, CveError> {
    let line = |at: usize| {
        text.get(..at)
            .map_or(1, |before| before.matches('\n').count() + 1)
    };
    let wrong = |at: usize, reason: String| CveError::IgnoreFile {
        path: path.to_owned(),
        line: line(at),
        reason,
    };
    let file: File = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        wrong(at, error.message().to_owned())
    })?;
    let mut rules = Vec::with_capacity(file.ignore.len());
    for entry in file.ignore {
        let start = entry.span().start;
        let entry = entry.into_inner();
        let id = entry.id.get_ref().trim();
        let is_name = id.contains('-')
            && id
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_:.".contains(c));
        if !is_name {
            let id = printable_text(id);
            return Err(wrong(
                entry.id.span().start,
                format!("`{id}` is no name of a vulnerability"),
            ));
        }
        if entry.reason.get_ref().trim().is_empty() {
            return Err(wrong(entry.reason.span().start, "the reason is empty".to_owned()));
        }
        let mut until = None;
        let mut expires = None;
        if let Some(day) = &entry.expires {
            let text = match day.get_ref() {
                Day::Date(date) => date.to_string(),
                Day::Text(text) => text.clone(),
            };
            until = Some(end_of(&text).ok_or_else(|| {
                let text = printable_text(&text);
                wrong(
                    day.span().start,
                    format!("`{text}` is no day; write it like 2026-12-31"),
                )
            })?);
            expires = Some(text);
        }
        rules.push(IgnoreRule {
            id: id.to_owned(),
            package: entry.package,
            reason: entry.reason.get_ref().trim().to_owned(),
            expires,
            line: line(start),
            until,
        });
    }
    Ok(rules)
}

/// The first second after a day.
fn end_of(day: &str) -> Option<UnixTime> {
    Some(parse_rfc3339(&format!("{day}T00:00:00Z"))? + 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<IgnoreRule>, String> {
        read_ignore_file(text, Path::new("ignore.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn rules() {
        let text = "# looked at\n[[ignore]]\nid = \"CVE-2024-1\"\npackage = \"zlib\"\nreason = \" minizip is not built \"\n\
            expires = 2026-12-31\n\n[[ignore]]\nid = \"GHSA-aaaa-bbbb-cccc\"\nreason = \"dev only\"\nexpires = \"2025-01-01\"\n";
        let rules = read(text).unwrap();
        assert_eq!((rules[0].line, rules[1].line), (2, 8));
        assert_eq!(rules[0].reason, "minizip is not built");
        let last = parse_rfc3339("2026-12-31T23:59:59Z").unwrap();
        assert!(!rules[0].is_expired(last) && rules[0].is_expired(last + 1));
        assert!(rules[1].is_expired(last));
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, says) in [
            (
                "[[ignore]]\nid = \"CVE-1-1\"\nreson = \"x\"\n",
                "line 3: unknown field `reson`, expected one of",
            ),
            ("[[ignore]]\nid = \"CVE-1-1\"\n", "missing field `reason`"),
            (
                "\n[[ignore]]\nid = \"CVE-1-1\"\nreason = \" \"\n",
                "line 4: the reason is empty",
            ),
            (
                "[[ignore]]\nid = \"libc\"\nreason = \"x\"\n",
                "line 2: `libc` is no name of a vulnerability",
            ),
            (
                "[[ignore]]\nid = \"CVE-1-1\"\nreason = \"x\"\nexpires = \"31.12.2026\"\n",
                "line 4: `31.12.2026` is no day",
            ),
            (
                "[[ignore]]\nid = \"CVE-1-1\"\nreason = \"x\"\nexpires = 2026-02-31\n",
                "line 4:",
            ),
            ("[[ignroe]]\n", "line 1: unknown field `ignroe`"),
            ("id = \u{1b}\n", "line 1:"),
            ("[[ignore]]\nid = 7\n", "line 2:"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
            assert!(!error.contains('\u{1b}'), "{error:?}");
        }
    }
}
