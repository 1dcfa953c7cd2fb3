//! Parser directives: `# key=value` comments at the very top.

use std::ops::Range;

use crate::ast::Directives;
use crate::source::LineIndex;
use crate::span::{Spanned, Word};

/// A directive in one line: the ranges of its key and its value.
pub(crate) struct Directive {
    pub(crate) key: String,
    pub(crate) value: Range<usize>,
}

/// Reads a line as a directive, if it is one.
pub(crate) fn read(line: &str, comment: &str) -> Option<Directive> {
    let body = line.strip_prefix(comment)?.trim_start();
    let key_end = body
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(body.len());
    let (key, rest) = body.split_at(key_end);
    if !key.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let tail = rest
        .trim_start_matches(is_space)
        .strip_prefix('=')?
        .trim_start_matches(is_space);
    let value = tail.trim_end_matches(is_space);
    let key = key.to_ascii_lowercase();
    if value.is_empty() || !matches!(key.as_str(), "syntax" | "escape" | "check") {
        return None;
    }
    let start = line.len() - tail.len();
    Some(Directive {
        key,
        value: start..start + value.len(),
    })
}

/// `\s` of Go's regular expressions.
fn is_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{c}' | '\r' | ' ')
}

/// The first directive `key` at the top of the text, behind a `#!` line if there is one. Unlike for the parser
/// itself, indentation ends the directives.
fn find(text: &str, index: &LineIndex<'_>, comment: &str, key: &str) -> Option<Word> {
    let mut at = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    if text[at..].starts_with("#!") {
        at += text[at..].find('\n')? + 1;
    }
    let mut seen = Vec::new();
    for line in text[at..].split_inclusive('\n') {
        let directive = read(line.trim_end_matches(['\r', '\n']), comment)?;
        if directive.key == key {
            let value = &line[directive.value.clone()];
            let length = value.find(' ').unwrap_or(value.len());
            let start = at + directive.value.start;
            return Some(Spanned::new(
                value[..length].to_owned(),
                index.span(start..start + length),
            ));
        }
        if seen.contains(&directive.key) {
            return None;
        }
        seen.push(directive.key);
        at += line.len();
    }
    None
}

/// The frontend that the text asks for, in any of the forms that BuildKit knows.
pub(super) fn syntax(text: &str, index: &LineIndex<'_>) -> Option<Word> {
    find(text, index, "#", "syntax")
        .or_else(|| find(text, index, "//", "syntax"))
        .or_else(|| json(text, index))
}

/// `{"syntax": ".."}` as the whole text.
fn json(text: &str, index: &LineIndex<'_>) -> Option<Word> {
    let mut at = text.len() - text.strip_prefix('\u{feff}').unwrap_or(text).len();
    if text[at..].starts_with("#!") {
        at += text[at..].find('\n')? + 1;
    }
    if !text[at..].trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text[at..]).ok()?;
    let value = object.get("syntax")?.as_str()?;
    Some(Spanned::new(value.to_owned(), index.span(at..text.len())))
}

/// What can be known before parsing. The escape directive is found by the parser itself.
pub(super) fn detect(text: &str, index: &LineIndex<'_>) -> Directives {
    Directives {
        syntax: syntax(text, index),
        escape: None,
        check: find(text, index, "#", "check"),
    }
}
