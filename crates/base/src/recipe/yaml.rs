//! YAML as far as recipes use it: texts, lists and mappings, each with its line.
//!
//! Anchors, aliases, tags and several documents in a file are refused: a recipe
//! is read by people, and what it says stands where it is said.

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::error::{Place, RecipeError};

/// Nesting deeper than this is no recipe.
const MAX_DEPTH: usize = 24;
/// A longer text is no recipe.
pub(crate) const MAX_SIZE: usize = 1 << 20;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// Text, and whether it stands there without quotes.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Node {
    /// What an error calls it.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Scalar { text, .. } => text.clone(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Whether nothing stands there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null"))
    }
}

/// Reads a text with one document; gives it with the keys that stand in it twice, of which the first counts.
pub(crate) fn parse(file: &str, text: &str) -> Result<(Node, Vec<RecipeError>), RecipeError> {
    let mut reader = Reader {
        file,
        parser: Parser::new_from_str(text),
        twice: Vec::new(),
    };
    if text.len() > MAX_SIZE {
        return Err(reader.refuse(1, &format!("longer than {MAX_SIZE} bytes")));
    }
    let root = loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamStart | Event::DocumentStart(_) | Event::Nothing => {}
            Event::StreamEnd => return Err(reader.refuse(span.start.line(), "the file is empty")),
            other => break reader.node(other, span, 0)?,
        }
    };
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok((root, reader.twice)),
            Event::DocumentEnd | Event::Nothing => {}
            _ => return Err(reader.refuse(span.start.line(), "a recipe is one document")),
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    twice: Vec<RecipeError>,
}

impl<'a> Reader<'a> {
    fn refuse(&self, line: usize, problem: &str) -> RecipeError {
        RecipeError::Syntax {
            place: Place {
                file: self.file.to_owned(),
                line,
            },
            problem: problem.to_owned(),
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), RecipeError> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => Err(self.refuse(error.marker().line(), error.info())),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, RecipeError> {
        let line = span.start.line();
        if depth > MAX_DEPTH {
            return Err(self.refuse(line, "nested too deeply"));
        }
        let value = match event {
            Event::Scalar(text, style, 0, None) => Value::Scalar {
                text: text.into_owned(),
                plain: style == ScalarStyle::Plain,
            },
            Event::SequenceStart(0, None) => Value::List(self.list(depth)?),
            Event::MappingStart(0, None) => Value::Map(self.map(depth)?),
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_) => {
                return Err(self.refuse(line, "anchors, aliases and tags have no place in a recipe"));
            }
            _ => return Err(self.refuse(line, "a value is missing")),
        };
        Ok(Node { line, value })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, RecipeError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(items);
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, RecipeError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(entries);
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, .. } = key.value else {
                return Err(self.refuse(key.line, "a key must be a text"));
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if entries.iter().any(|entry| entry.key == text) {
                let twice = self.refuse(key.line, &format!("key `{text}` stands here twice"));
                self.twice.push(twice);
                continue;
            }
            entries.push(Entry {
                key: text,
                line: key.line,
                node,
            });
        }
    }
}
