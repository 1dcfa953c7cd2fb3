//! From text to nodes.

use serde_json::Value;

use super::functions::NAMES;
use super::{Action, Node, Pipeline, Word};
use crate::error::CliError;

/// A piece of a template: text, or what stands between braces.
enum Piece {
    Text(String),
    Action(String),
}

/// Reads a whole template.
pub(super) fn nodes(text: &str) -> Result<Vec<Node>, CliError> {
    let mut pieces = pieces(text)?.into_iter();
    let (nodes, end) = block(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(CliError::usage(format!(
            "template `{text}`: `{{{{{word}}}}}` ends nothing"
        ))),
    }
}

fn pieces(text: &str) -> Result<Vec<Piece>, CliError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(start) = rest.find("{{") {
        let Some(length) = rest[start..].find("}}") else {
            return Err(CliError::usage(format!(
                "template `{text}`: `{{{{` is never closed"
            )));
        };
        let mut plain = &rest[..start];
        if trim {
            plain = plain.trim_start();
        }
        let mut source = &rest[start + 2..start + length];
        if let Some(trimmed) = source.strip_prefix("- ") {
            source = trimmed;
            plain = plain.trim_end();
        }
        trim = source.ends_with(" -");
        source = source.strip_suffix(" -").unwrap_or(source).trim();
        pieces.push(Piece::Text(plain.to_owned()));
        let comment = source.starts_with("/*") && source.ends_with("*/");
        if !comment {
            pieces.push(Piece::Action(source.to_owned()));
        }
        rest = &rest[start + length + 2..];
    }
    let rest = if trim { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Nodes up to the `end` or `else` that belongs to an outer one, which is given too.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Option<String>), CliError> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let source = match piece {
            Piece::Text(plain) => {
                if !plain.is_empty() {
                    nodes.push(Node::Text(plain));
                }
                continue;
            }
            Piece::Action(source) => source,
        };
        let (keyword, rest) = source.split_once(char::is_whitespace).unwrap_or((&source, ""));
        match keyword {
            "end" | "else" => return Ok((nodes, Some(source))),
            "if" | "with" | "range" => {
                let (keyword, rest) = (keyword.to_owned(), rest.to_owned());
                nodes.push(control(&keyword, &rest, pieces)?);
            }
            _ => nodes.push(Node::Print(action(&source)?)),
        }
    }
    Ok((nodes, None))
}

fn control(keyword: &str, condition: &str, pieces: &mut std::vec::IntoIter<Piece>) -> Result<Node, CliError> {
    let condition = action(condition)?;
    let (then, end) = block(pieces)?;
    let mut otherwise = Vec::new();
    match end.as_deref() {
        Some("end") => {}
        Some("else") => {
            let (nodes, end) = block(pieces)?;
            if end.as_deref() != Some("end") {
                return Err(unclosed(keyword));
            }
            otherwise = nodes;
        }
        // `else if X` is an `if` in the `else`, and shares its end.
        Some(word) => {
            let Some(("if" | "with", rest)) = word["else".len()..].trim().split_once(char::is_whitespace)
            else {
                return Err(CliError::usage(format!(
                    "template: `{{{{{word}}}}}` is not known"
                )));
            };
            otherwise.push(control("if", rest, pieces)?);
        }
        None => return Err(unclosed(keyword)),
    }
    Ok(match keyword {
        "range" => Node::Range {
            over: condition,
            body: then,
            otherwise,
        },
        _ => Node::Branch {
            condition,
            with: keyword == "with",
            then,
            otherwise,
        },
    })
}

fn unclosed(keyword: &str) -> CliError {
    CliError::usage(format!("template: `{{{{{keyword}}}}}` has no `{{{{end}}}}`"))
}

fn action(source: &str) -> Result<Action, CliError> {
    let wrong = |what: String| CliError::usage(format!("template action `{{{{{source}}}}}`: {what}"));
    let mut rest = source;
    let pipeline = words(&mut rest).map_err(wrong)?;
    match rest.is_empty() {
        true => Ok(Action {
            source: source.to_owned(),
            pipeline,
        }),
        false => Err(wrong("`)` closes nothing".into())),
    }
}

/// Reads commands until the text or a parenthesis ends; the rest begins with that `)`.
fn words(rest: &mut &str) -> Result<Pipeline, String> {
    let mut commands = vec![Vec::new()];
    loop {
        *rest = rest.trim_start();
        let Some(first) = rest.chars().next().filter(|c| *c != ')') else {
            break;
        };
        if let Some(after) = rest.strip_prefix('|') {
            commands.push(Vec::new());
            *rest = after;
            continue;
        }
        let word = match first {
            '(' => {
                *rest = &rest[1..];
                let inner = words(rest)?;
                *rest = rest.strip_prefix(')').ok_or("`(` is never closed")?;
                Word::Group(inner)
            }
            '"' | '`' => {
                let end = rest[1..].find(first).ok_or("a quote is not closed")?;
                let text = rest[1..=end].to_owned();
                *rest = &rest[end + 2..];
                Word::Literal(Value::String(text))
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "()|\"".contains(c))
                    .unwrap_or(rest.len());
                let (word, after) = rest.split_at(end);
                *rest = after;
                plain_word(word)?
            }
        };
        if let Some(command) = commands.last_mut() {
            command.push(word);
        }
    }
    match commands.iter().any(Vec::is_empty) {
        true => Err("nothing to print".into()),
        false => Ok(commands),
    }
}

fn plain_word(word: &str) -> Result<Word, String> {
    let path = |text: &str| {
        text.split('.')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    };
    if word.starts_with('.') {
        return Ok(Word::Field(path(word)));
    }
    if let Some(rest) = word.strip_prefix('$')
        && (rest.is_empty() || rest.starts_with('.'))
    {
        return Ok(Word::Root(path(rest)));
    }
    match word {
        "true" => return Ok(Word::Literal(true.into())),
        "false" => return Ok(Word::Literal(false.into())),
        _ => {}
    }
    if let Ok(number) = word.parse::<i64>() {
        return Ok(Word::Literal(number.into()));
    }
    if NAMES.contains(&word) {
        return Ok(Word::Function(word.to_owned()));
    }
    Err(format!("`{word}` is not known; there are {}", NAMES.join(", ")))
}
