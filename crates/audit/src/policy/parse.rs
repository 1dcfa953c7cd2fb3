//! Reading policy files.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Excerpt, Place, meant};
use super::{Exception, Pattern, Policy, PolicyError, nearest};
use crate::rules::{RULES, rule};
use crate::{Severity, printable_text};

const KEYS: [&str; 4] = ["extends", "fail-on", "severity", "allow"];
const EXCEPTION_KEYS: [&str; 4] = ["rule", "rules", "paths", "reason"];
const SEVERITIES: [&str; 4] = ["error", "warning", "note", "off"];
const FAIL_ON: [&str; 4] = ["error", "warning", "note", "never"];

type Value<'t> = Spanned<DeValue<'t>>;

/// Reads a policy; `name` is what errors call it.
pub(super) fn policy(text: &str, name: &str) -> Result<Policy, PolicyError> {
    let file = File { text, name };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().unwrap_or(0..0);
        file.wrong(at, error.message())
    })?;
    let table = table.get_ref();
    file.keys(table, &KEYS)?;
    let mut policy = match table.get("extends") {
        Some(value) => file.extended(value)?,
        None => Policy {
            name: String::new(),
            fail_on: Some(Severity::Error),
            severities: BTreeMap::new(),
            exceptions: Vec::new(),
        },
    };
    policy.name = name.to_owned();
    if let Some(value) = table.get("fail-on") {
        policy.fail_on = file.one_of(value, "severity", &FAIL_ON)?;
    }
    if let Some(value) = table.get("severity") {
        for (rule, severity) in file.table(value)? {
            let id = file.rule(rule.get_ref(), rule.span())?;
            policy
                .severities
                .insert(id, file.one_of(severity, "severity", &SEVERITIES)?);
        }
    }
    if let Some(value) = table.get("allow") {
        // Its own exceptions come first: their reasons are the ones that are told.
        let mut own = file
            .list(value)?
            .iter()
            .map(|value| file.exception(value))
            .collect::<Result<Vec<_>, _>>()?;
        own.append(&mut policy.exceptions);
        policy.exceptions = own;
    }
    Ok(policy)
}

/// A file that is read.
struct File<'t> {
    text: &'t str,
    name: &'t str,
}

impl File<'_> {
    fn extended(&self, value: &Value<'_>) -> Result<Policy, PolicyError> {
        let name = self.string(value)?;
        Policy::built_in(name).map_err(|error| match error {
            PolicyError::Unknown { nearest, .. } => {
                let meant = meant(nearest.as_deref());
                self.wrong(
                    value.span(),
                    &format!("there is no built-in policy `{name}`{meant}"),
                )
            }
            other => other,
        })
    }

    fn exception(&self, value: &Value<'_>) -> Result<Exception, PolicyError> {
        let table = self.table(value)?;
        self.keys(table, &EXCEPTION_KEYS)?;
        let mut rules = Vec::new();
        if let Some(value) = table.get("rule") {
            rules.push(self.rule(self.string(value)?, value.span())?);
        }
        for value in self.list_of(table, "rules")? {
            rules.push(self.rule(self.string(value)?, value.span())?);
        }
        if rules.is_empty() {
            return Err(self.wrong(value.span(), "an exception needs `rule` or `rules`"));
        }
        let mut paths = Vec::new();
        for value in self.list_of(table, "paths")? {
            let pattern = Pattern::parse(self.string(value)?);
            paths.push(pattern.map_err(|error| self.wrong(value.span(), &error))?);
        }
        if table.contains_key("paths") && paths.is_empty() {
            return Err(self.wrong(
                value.span(),
                "`paths` is empty; leave it out for findings about no file",
            ));
        }
        let reason = match table.get("reason") {
            Some(reason) => self.string(reason)?.trim().to_owned(),
            None => String::new(),
        };
        if reason.is_empty() {
            return Err(self.wrong(value.span(), "an exception needs a `reason`"));
        }
        Ok(Exception { rules, paths, reason })
    }

    fn keys(&self, table: &DeTable<'_>, known: &[&str]) -> Result<(), PolicyError> {
        for key in table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let meant = meant(nearest::of(name, known.iter().copied()));
                let known = known.join("`, `");
                let message = format!(
                    "unknown key `{}`{meant} (there are `{known}`)",
                    printable_text(name)
                );
                return Err(self.wrong(key.span(), &message));
            }
        }
        Ok(())
    }

    fn rule(&self, name: &str, at: Range<usize>) -> Result<&'static str, PolicyError> {
        rule(name).map(|rule| rule.id).ok_or_else(|| {
            let meant = meant(nearest::of(name, RULES.iter().map(|rule| rule.id)));
            let message = format!("there is no rule `{}`{meant}", printable_text(name));
            self.wrong(at, &(message + "; `distil audit --rules` lists them"))
        })
    }

    /// One of several words; none for the last of them.
    fn one_of(
        &self,
        value: &Value<'_>,
        what: &str,
        words: &[&str; 4],
    ) -> Result<Option<Severity>, PolicyError> {
        let word = self.string(value)?;
        let severities = [
            Some(Severity::Error),
            Some(Severity::Warning),
            Some(Severity::Note),
            None,
        ];
        let found = words.iter().zip(severities).find(|(known, _)| **known == word);
        found.map(|(_, severity)| severity).ok_or_else(|| {
            let meant = meant(nearest::of(word, words.iter().copied()));
            let known = words.join("`, `");
            let message = format!(
                "`{}` is no {what}{meant} (there are `{known}`)",
                printable_text(word)
            );
            self.wrong(value.span(), &message)
        })
    }

    fn string<'v>(&self, value: &'v Value<'_>) -> Result<&'v str, PolicyError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text),
            other => Err(self.wrong(value.span(), &format!("expected a string, found {}", kind(other)))),
        }
    }

    fn table<'v, 't>(&self, value: &'v Value<'t>) -> Result<&'v DeTable<'t>, PolicyError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            other => Err(self.wrong(value.span(), &format!("expected a table, found {}", kind(other)))),
        }
    }

    fn list<'v, 't>(&self, value: &'v Value<'t>) -> Result<&'v [Value<'t>], PolicyError> {
        match value.get_ref() {
            DeValue::Array(list) => Ok(list.as_ref()),
            other => Err(self.wrong(value.span(), &format!("expected a list, found {}", kind(other)))),
        }
    }

    fn list_of<'v, 't>(&self, table: &'v DeTable<'t>, key: &str) -> Result<&'v [Value<'t>], PolicyError> {
        table.get(key).map_or(Ok(&[]), |value| self.list(value))
    }

    fn wrong(&self, at: Range<usize>, message: &str) -> PolicyError {
        let start = at.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let rest = self.text.get(line_start..).unwrap_or_default();
        let text = rest.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count();
        let end = at
            .end
            .clamp(start, line_start + text.len().max(start - line_start));
        let length = self
            .text
            .get(start..end)
            .map_or(1, |marked| marked.chars().count());
        PolicyError::File {
            place: Place {
                file: printable_text(self.name),
                line,
                column: column + 1,
            },
            message: message.lines().collect::<Vec<_>>().join(" "),
            excerpt: Excerpt {
                line,
                text: safe(text),
                start: column,
                length: length.max(1),
            },
        }
    }
}

/// A line with one character in the place of each that does not print, so that marks stay where they are.
fn safe(line: &str) -> String {
    let one = |letter: char| match printable_text(letter.encode_utf8(&mut [0; 4])) == letter.to_string() {
        true => letter,
        false => ' ',
    };
    line.chars().map(one).collect()
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
