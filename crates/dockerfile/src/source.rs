//! The source text: decoding, lines and columns, and the excerpt shown with an error.

use std::fmt::Write as _;
use std::ops::Range;

use crate::span::Span;

/// Finds lines and columns in a text.
#[derive(Clone, Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    /// Where each line starts; never empty.
    starts: Vec<usize>,
}

impl<'a> LineIndex<'a> {
    /// Reads the text once.
    pub fn new(text: &'a str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The line of a byte offset, counted from 1. An offset behind the text is on the last line.
    pub fn line(&self, offset: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= offset)).unwrap_or(u32::MAX)
    }

    /// Line and column of a byte offset, both counted from 1; the column counts characters.
    pub fn line_column(&self, offset: usize) -> (u32, u32) {
        let line = self.line(offset);
        let start = self.starts[line as usize - 1];
        let before = self
            .text
            .get(start..offset.min(self.text.len()))
            .unwrap_or_default();
        (
            line,
            u32::try_from(before.chars().count())
                .unwrap_or(u32::MAX)
                .saturating_add(1),
        )
    }

    /// The text of a line without its end; `None` where there is no such line.
    pub fn text_of(&self, line: u32) -> Option<&'a str> {
        let index = (line as usize).checked_sub(1)?;
        let start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).copied().unwrap_or(self.text.len());
        Some(self.text[start..end].trim_end_matches(['\r', '\n']))
    }

    /// A span with the lines that it touches.
    pub fn span(&self, range: Range<usize>) -> Span {
        let last = if range.is_empty() {
            range.start
        } else {
            range.end - 1
        };
        Span {
            start: range.start,
            end: range.end,
            first_line: self.line(range.start),
            last_line: self.line(last),
        }
    }

    /// The lines `first..=last` marked with `>>>`, some lines around them, and the file's name above: the block
    /// that BuildKit prints below a failure. Empty where the first line does not exist.
    ///
    /// ```text
    /// Dockerfile:2
    /// --------------------
    ///    1 |     FROM busybox
    ///    2 | >>> RUN false
    ///    3 |     
    /// --------------------
    /// ```
    pub fn excerpt(&self, file: &str, first: u32, last: u32) -> String {
        let count = u32::try_from(self.starts.len()).unwrap_or(u32::MAX);
        if first == 0 || first > count {
            return String::new();
        }
        let last = last.clamp(first, count);
        let (from, to) = surrounding(first, last, count);
        let mut out = format!("{file}:{first}\n--------------------\n");
        for line in from..=to {
            let mark = if (first..=last).contains(&line) {
                ">>>"
            } else {
                "   "
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                " {line:>3} | {mark} {}",
                printable(self.text_of(line).unwrap_or_default())
            );
        }
        out.push_str("--------------------\n");
        out
    }
}

/// Text for a terminal, which would obey control characters: they become U+FFFD.
pub fn printable(text: &str) -> std::borrow::Cow<'_, str> {
    let obeyed = |character: char| character.is_control() && !matches!(character, '\n' | '\t');
    if text.contains(obeyed) {
        text.replace(obeyed, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// Widens a range of lines, so that a single line gets about two on either side and a longer range one.
fn surrounding(first: u32, last: u32, count: u32) -> (u32, u32) {
    let wanted = if first == last { 4 } else { 2 };
    let (mut from, mut to, mut taken) = (first, last, 0);
    while taken < wanted {
        if from > 1 {
            from -= 1;
            taken += 1;
        }
        if to < count {
            to += 1;
            taken += 1;
        }
        taken += 1;
    }
    (from, to)
}

/// The decoded text of a file, and where its bytes were not UTF-8.
pub(crate) struct Decoded {
    pub(crate) text: String,
    /// Offsets in `text` of the characters that stand for bytes that are not UTF-8, in order.
    pub(crate) replaced: Vec<usize>,
}

/// Decodes UTF-8. Every byte that does not belong to it becomes one U+FFFD, as in Go.
pub(crate) fn decode(input: &[u8]) -> Decoded {
    let mut text = String::with_capacity(input.len());
    let mut replaced = Vec::new();
    for chunk in input.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            replaced.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    Decoded { text, replaced }
}
