//! One instruction as a single line, and where each piece of it came from.

use std::ops::Range;

use crate::ast::{Escape, Flag};
use crate::source::LineIndex;
use crate::span::{Span, Spanned, Word};

/// An instruction with its continuations joined.
pub(super) struct Line<'a> {
    pub(super) text: String,
    /// Where the pieces of `text` come from: offset in `text`, offset in the source; ascending, never empty.
    pub(super) pieces: Vec<(usize, usize)>,
    pub(super) index: &'a LineIndex<'a>,
    pub(super) escape: Escape,
    /// The physical lines that were read, heredoc bodies included.
    pub(super) whole: Span,
    pub(super) comments: Vec<String>,
    /// The first place outside of comments whose bytes are not UTF-8.
    pub(super) not_utf8: Option<Span>,
}

impl Line<'_> {
    /// Where the character at `offset` of the joined text stands in the source.
    fn origin(&self, offset: usize) -> usize {
        let piece = self.pieces.partition_point(|(start, _)| *start <= offset).max(1) - 1;
        let (start, source) = self.pieces[piece];
        source + (offset - start)
    }

    /// The source span of a range of the joined text.
    pub(super) fn span(&self, range: &Range<usize>) -> Span {
        let start = self.origin(range.start);
        // Mapped by its last byte, so that a token does not reach over the continuation behind it.
        let end = if range.is_empty() {
            start
        } else {
            self.origin(range.end - 1) + 1
        };
        self.index.span(start..end)
    }

    /// The text of a range, as it is.
    pub(super) fn word(&self, range: Range<usize>) -> Word {
        let span = self.span(&range);
        Spanned::new(self.text[range].to_owned(), span)
    }

    /// The range without blanks (of Unicode) at both ends.
    pub(super) fn trimmed(&self, range: Range<usize>) -> Range<usize> {
        let text = &self.text[range.clone()];
        let start = range.start + (text.len() - text.trim_start().len());
        start..start + text.trim().len()
    }

    /// Splits off the instruction's name and flags.
    pub(super) fn split(&self, range: Range<usize>) -> Parts {
        let range = self.trimmed(range);
        let text = &self.text[range.clone()];
        let name_end = range.start + text.find(is_blank).unwrap_or(text.len());
        let behind = &self.text[name_end..range.end];
        let rest_start = range.end - behind.trim_start_matches(is_blank).len();
        let mut flags = Vec::new();
        let rest_start = self.flags(rest_start..range.end, &mut flags);
        Parts {
            keyword: self.word(range.start..name_end),
            flags,
            rest: self.trimmed(rest_start..range.end),
        }
    }

    /// Reads flags and returns where the arguments start.
    fn flags(&self, range: Range<usize>, out: &mut Vec<CookedFlag>) -> usize {
        let mut at = range.start;
        loop {
            let text = &self.text[at..range.end];
            at += text.len() - text.trim_start().len();
            if !self.text[at..range.end].starts_with("--") {
                return at;
            }
            let (flag, end) = self.flag(at..range.end);
            at = end;
            if flag.text == "--" {
                return at;
            }
            out.push(flag);
        }
    }

    /// Reads one flag: up to a blank outside of quotes. Quotes and escape characters vanish.
    fn flag(&self, range: Range<usize>) -> (CookedFlag, usize) {
        let mut flag = CookedFlag {
            text: String::new(),
            origins: Vec::new(),
            range: range.clone(),
        };
        let mut quote = None;
        let mut chars = self.text[range.clone()].char_indices();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_ascii_whitespace() || c == '\u{b}' => {
                    flag.range.end = range.start + at;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == self.escape.char() => {
                    if let Some((at, c)) = chars.next() {
                        flag.push(c, range.start + at);
                    }
                }
                _ => flag.push(c, range.start + at),
            }
        }
        let end = flag.range.end;
        (flag, end)
    }

    /// The words between ASCII blanks.
    pub(super) fn blank_separated(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut at = range.start;
        for word in self.text[range].split(is_blank) {
            if !word.is_empty() {
                words.push(at..at + word.len());
            }
            // Every blank is one byte long.
            at += word.len() + 1;
        }
        words
    }

    /// The words between blanks outside of quotes, as they are. A lone escape character at the end of the line is
    /// left out.
    pub(super) fn quoted_words(&self, range: Range<usize>) -> Vec<Range<usize>> {
        let mut words = Vec::new();
        let mut word: Option<Range<usize>> = None;
        let mut quote = None;
        let mut chars = self.text[range.clone()].char_indices();
        while let Some((at, c)) = chars.next() {
            let at = range.start + at;
            if quote.is_none() && c.is_whitespace() {
                words.extend(word.take());
                continue;
            }
            if c == self.escape.char() && quote != Some('\'') {
                if let Some((next_at, next)) = chars.next() {
                    word.get_or_insert(at..at).end = range.start + next_at + next.len_utf8();
                }
                continue;
            }
            word.get_or_insert(at..at).end = at + c.len_utf8();
            match quote {
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ => {}
            }
        }
        words.extend(word);
        words
    }
}

/// An instruction taken apart.
pub(super) struct Parts {
    pub(super) keyword: Word,
    pub(super) flags: Vec<CookedFlag>,
    /// The arguments, without blanks around them.
    pub(super) rest: Range<usize>,
}

/// A flag with its quotes and escapes resolved.
#[derive(Clone)]
pub(super) struct CookedFlag {
    /// The whole, dashes included.
    pub(super) text: String,
    /// For each byte of `text`, its offset in the joined line.
    origins: Vec<usize>,
    /// The place of the flag in the joined line.
    range: Range<usize>,
}

impl CookedFlag {
    fn push(&mut self, c: char, at: usize) {
        self.text.push(c);
        self.origins.extend(at..at + c.len_utf8());
    }

    /// The source span of a range of the flag's text.
    pub(super) fn span_of(&self, line: &Line<'_>, range: &Range<usize>) -> Span {
        let end_of_flag = self.range.end;
        let start = self.origins.get(range.start).copied().unwrap_or(end_of_flag);
        let end = match range.end.checked_sub(1) {
            Some(last) if !range.is_empty() => {
                self.origins.get(last).map_or(end_of_flag, |origin| origin + 1)
            }
            _ => start,
        };
        line.span(&(start..end.max(start)))
    }

    /// The byte range of the name (without dashes) and of the value in `text`.
    pub(super) fn name_and_value(&self) -> (Range<usize>, Option<Range<usize>>) {
        // Every flag starts with two dashes.
        match self.text.find('=') {
            Some(at) => (2..at.max(2), Some(at + 1..self.text.len())),
            None => (2..self.text.len(), None),
        }
    }

    pub(super) fn to_flag(&self, line: &Line<'_>) -> Flag {
        let (name, value) = self.name_and_value();
        let word = |range: Range<usize>| {
            Spanned::new(self.text[range.clone()].to_owned(), self.span_of(line, &range))
        };
        Flag {
            name: word(name),
            value: value.map(word),
            span: line.span(&self.range),
        }
    }
}

/// The blanks that separate the name and plain arguments.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}
