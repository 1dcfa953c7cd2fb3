//! The arguments of an instruction, split as its kind demands, before their number and meaning are judged.
//!
//! Errors found here also refuse the trigger of an `ONBUILD`; later ones only once the trigger runs.

use std::ops::Range;

use super::json::{self, Array};
use super::keyword::Keyword;
use super::line::Line;
use crate::ast::Pair;
use crate::diagnostic::Diagnostic;
use crate::span::{Spanned, Word};

/// Arguments by shape.
#[derive(Debug)]
pub(super) enum Arguments {
    /// Words.
    Words(Vec<Word>),
    /// A JSON array of strings.
    Json(Vec<Word>),
    /// The rest of the line as one text; `None` when nothing is there.
    Text(Option<Word>),
    /// `key=value` pairs.
    Pairs(Vec<Pair>),
    /// `key` or `key=value` each.
    Args(Vec<(Word, Option<Word>)>),
    /// The type of a `HEALTHCHECK` and what follows.
    Typed(Option<Word>, Box<Arguments>),
    /// A trigger; read by the caller.
    Trigger(Range<usize>),
}

pub(super) fn read(keyword: Keyword, line: &Line<'_>, rest: Range<usize>) -> Result<Arguments, Diagnostic> {
    match keyword {
        Keyword::Add | Keyword::Copy | Keyword::Volume => {
            Ok(json_array(line, &rest)?.unwrap_or_else(|| Arguments::Words(words(line, rest))))
        }
        Keyword::Expose | Keyword::From => Ok(Arguments::Words(words(line, rest))),
        Keyword::Cmd | Keyword::Entrypoint | Keyword::Run | Keyword::Shell => {
            Ok(json_array(line, &rest)?.unwrap_or_else(|| text(line, rest)))
        }
        Keyword::Arg => Ok(Arguments::Args(args(line, rest))),
        Keyword::Env | Keyword::Label => pairs(keyword, line, rest).map(Arguments::Pairs),
        Keyword::Healthcheck => healthcheck(line, rest),
        Keyword::Maintainer | Keyword::Stopsignal | Keyword::User | Keyword::Workdir => Ok(text(line, rest)),
        Keyword::Onbuild => Ok(Arguments::Trigger(rest)),
    }
}

fn words(line: &Line<'_>, rest: Range<usize>) -> Vec<Word> {
    line.blank_separated(rest)
        .into_iter()
        .map(|range| line.word(range))
        .collect()
}

fn text(line: &Line<'_>, rest: Range<usize>) -> Arguments {
    Arguments::Text((!rest.is_empty()).then(|| line.word(rest)))
}

/// Reads the rest as JSON; `None` where it is none.
fn json_array(line: &Line<'_>, rest: &Range<usize>) -> Result<Option<Arguments>, Diagnostic> {
    // Blanks of any kind may stand in front of an array.
    let rest = line.trimmed(rest.clone());
    let shift = |range: Range<usize>| rest.start + range.start..rest.start + range.end;
    match json::array(&line.text[rest.clone()]) {
        Array::No => Ok(None),
        Array::Strings(strings) => {
            let words = strings
                .into_iter()
                .map(|(value, range)| Spanned::new(value, line.span(&shift(range))));
            Ok(Some(Arguments::Json(words.collect())))
        }
        Array::NotStrings(range) => {
            let range = shift(range);
            let message = format!(
                "`{}` is no string, and the JSON form takes strings only",
                &line.text[range.clone()]
            );
            Err(Diagnostic::new(message, line.span(&range)).with_help("put it in double quotes"))
        }
    }
}

fn healthcheck(line: &Line<'_>, rest: Range<usize>) -> Result<Arguments, Diagnostic> {
    let text = &line.text[rest.clone()];
    let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
    let end = rest.start + text.find(is_space).unwrap_or(text.len());
    let kind = (end > rest.start).then(|| line.word(rest.start..end));
    let command = rest.end - line.text[end..rest.end].trim_start_matches(is_space).len()..rest.end;
    let arguments = match json_array(line, &command)? {
        Some(json) => json,
        None => self::text(line, command),
    };
    Ok(Arguments::Typed(kind, Box::new(arguments)))
}

fn args(line: &Line<'_>, rest: Range<usize>) -> Vec<(Word, Option<Word>)> {
    let split = |word: Range<usize>| match line.text[word.clone()].find('=') {
        Some(at) => {
            let middle = word.start + at;
            (
                line.word(word.start..middle),
                Some(line.word(middle + 1..word.end)),
            )
        }
        None => (line.word(word), None),
    };
    line.quoted_words(rest).into_iter().map(split).collect()
}

/// `k=v` pairs, or the legacy `key rest of line`; the first word decides.
fn pairs(keyword: Keyword, line: &Line<'_>, rest: Range<usize>) -> Result<Vec<Pair>, Diagnostic> {
    let words = line.quoted_words(rest.clone());
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !line.text[first.clone()].contains('=') {
        return legacy_pair(keyword, line, rest).map(|pair| vec![pair]);
    }
    let mut out = Vec::with_capacity(words.len());
    for word in words {
        let Some(at) = line.text[word.clone()].find('=') else {
            let message = format!("`{}` lacks a `=`", &line.text[word.clone()]);
            return Err(Diagnostic::new(message, line.span(&word))
                .with_help("write NAME=VALUE, with quotes around a value that has blanks"));
        };
        let key = line.word(word.start..word.start + at);
        let value = line.word(word.start + at + 1..word.end);
        out.push(Pair {
            key,
            value,
            legacy: false,
        });
    }
    Ok(out)
}

fn legacy_pair(keyword: Keyword, line: &Line<'_>, rest: Range<usize>) -> Result<Pair, Diagnostic> {
    let text = &line.text[rest.clone()];
    let Some(end) = text.find(super::line::is_blank) else {
        let message = format!("{} `{text}` lacks its value", keyword.name());
        return Err(Diagnostic::new(message, line.span(&rest)).with_help(format!("write `{text}=VALUE`")));
    };
    let value = rest.end - text[end..].trim_start_matches(super::line::is_blank).len();
    Ok(Pair {
        key: line.word(rest.start..rest.start + end),
        value: line.word(value..rest.end),
        legacy: true,
    })
}
