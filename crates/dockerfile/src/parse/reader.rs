//! From physical lines to instructions: comments, directives, continuations and heredoc bodies.

use std::ops::Range;

use super::directive;
use super::line::Line;
use crate::ast::Escape;
use crate::diagnostic::Diagnostic;
use crate::source::LineIndex;
use crate::span::{Span, Spanned, Word};

/// BuildKit's limit for a physical line, in bytes without the line end.
const MAX_LINE: usize = 65_535;

pub(super) struct Reader<'a> {
    text: &'a str,
    index: &'a LineIndex<'a>,
    /// Offsets of characters that stand for bytes that are not UTF-8.
    replaced: &'a [usize],
    /// Where the next physical line starts.
    at: usize,
    pub(super) escape: Escape,
    /// Set once a line that is no directive was seen.
    directives_done: bool,
    seen: Vec<String>,
    pub(super) escape_directive: Option<Word>,
    comments: Vec<String>,
    pub(super) empty_continuations: Vec<Span>,
    pub(super) errors: Vec<Diagnostic>,
}

/// The body of a heredoc.
pub(super) struct Body {
    pub(super) content: String,
    pub(super) span: Span,
    pub(super) not_utf8: Option<Span>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str, index: &'a LineIndex<'a>, replaced: &'a [usize]) -> Self {
        Self {
            text,
            index,
            replaced,
            at: 0,
            escape: Escape::default(),
            directives_done: false,
            seen: Vec::new(),
            escape_directive: None,
            comments: Vec::new(),
            empty_continuations: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// The next physical line with its end; its first line loses a byte order mark.
    fn physical(&mut self) -> Option<Range<usize>> {
        let mut start = self.at;
        if start >= self.text.len() {
            return None;
        }
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |length| start + length + 1);
        self.at = end;
        if self.text[start..end].trim_end_matches('\n').len() > MAX_LINE {
            let message = format!("this line is longer than {MAX_LINE} bytes");
            let line = start..start + self.text[start..end].trim_end_matches(['\r', '\n']).len();
            self.errors.push(
                Diagnostic::new(message, self.index.span(line)).with_help("break it with a continuation"),
            );
        }
        if start == 0 && self.text.starts_with('\u{feff}') {
            start += '\u{feff}'.len_utf8();
        }
        Some(start..end)
    }

    /// The line without its end.
    fn content(&self, line: Range<usize>) -> Range<usize> {
        line.start..line.start + self.text[line].trim_end_matches(['\r', '\n']).len()
    }

    /// The first place in `range` whose bytes are not UTF-8.
    fn not_utf8(&self, range: &Range<usize>) -> Option<Span> {
        let first = self.replaced.partition_point(|at| *at < range.start);
        let at = *self.replaced.get(first).filter(|at| range.contains(at))?;
        Some(self.index.span(at..at + char::REPLACEMENT_CHARACTER.len_utf8()))
    }

    /// The next instruction.
    pub(super) fn instruction(&mut self) -> Option<Line<'a>> {
        loop {
            let raw = self.physical()?;
            let start = raw.start;
            let line = self.content(raw);
            self.remember_comment(&line);
            let text = &self.text[line.clone()];
            let line = line.end - text.trim_start().len()..line.end;
            self.directive(&line);
            if self.text[line.clone()].starts_with('#') {
                continue;
            }
            let (kept, continued) = self.without_continuation(line);
            if continued || !kept.is_empty() {
                return Some(self.joined(start, kept, continued));
            }
        }
    }

    /// Keeps a comment line for the instruction below. An empty one cuts off those before it.
    fn remember_comment(&mut self, line: &Range<usize>) {
        let text = &self.text[line.clone()];
        if !text.trim_start().starts_with('#') {
            return;
        }
        // Of an indented comment the reference drops one blank instead of the `#`.
        let mut chars = text.chars();
        chars.next();
        match chars.as_str().trim() {
            "" => self.comments.clear(),
            comment => self.comments.push(comment.to_owned()),
        }
    }

    fn directive(&mut self, line: &Range<usize>) {
        if self.directives_done {
            return;
        }
        let Some(found) = directive::read(&self.text[line.clone()], "#") else {
            self.directives_done = true;
            return;
        };
        self.comments.pop();
        let value = line.start + found.value.start..line.start + found.value.end;
        let span = self.index.span(value.clone());
        if self.seen.contains(&found.key) {
            let message = format!("the directive `{}` is given twice", found.key);
            self.errors
                .push(Diagnostic::new(message, span).with_help("keep one of them"));
            return;
        }
        if found.key == "escape" {
            match &self.text[value.clone()] {
                "\\" => self.escape = Escape::Backslash,
                "`" => self.escape = Escape::Backtick,
                other => self.errors.push(
                    Diagnostic::new(format!("`{other}` cannot be the escape character"), span)
                        .with_help("only `\\` and the backtick can"),
                ),
            }
            self.escape_directive = Some(Spanned::new(self.text[value].to_owned(), span));
        }
        self.seen.push(found.key);
    }

    /// The line without a continuation at its end, and whether there was one. An escape character in front of
    /// the last one takes its meaning away.
    fn without_continuation(&self, line: Range<usize>) -> (Range<usize>, bool) {
        let escape = self.escape.char();
        match self.text[line.clone()]
            .trim_end_matches([' ', '\t'])
            .strip_suffix(escape)
        {
            Some(kept) if !kept.ends_with(escape) => (line.start..line.start + kept.len(), true),
            _ => (line, false),
        }
    }

    /// Joins the physical lines of one instruction.
    fn joined(&mut self, start: usize, first: Range<usize>, mut continued: bool) -> Line<'a> {
        let mut not_utf8 = self.not_utf8(&first);
        let mut text = self.text[first.clone()].to_owned();
        let mut pieces = vec![(0, first.start)];
        let mut empty = false;
        while continued {
            let Some(raw) = self.physical() else { break };
            let line = self.content(raw);
            let trimmed = self.text[line.clone()].trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                empty = true;
                continue;
            }
            let kept;
            (kept, continued) = self.without_continuation(line);
            not_utf8 = not_utf8.or_else(|| self.not_utf8(&kept));
            pieces.push((text.len(), kept.start));
            text.push_str(&self.text[kept]);
        }
        let whole = self.whole(start);
        if empty {
            self.empty_continuations.push(whole);
        }
        let comments = std::mem::take(&mut self.comments);
        Line {
            text,
            pieces,
            index: self.index,
            escape: self.escape,
            whole,
            comments,
            not_utf8,
        }
    }

    /// From the first byte that is no blank to the end of the last line that was read, without its line end.
    fn whole(&self, start: usize) -> Span {
        let text = &self.text[start..self.at];
        let blanks = text.len() - text.trim_start().len();
        let end = start
            + text
                .strip_suffix('\n')
                .unwrap_or(text)
                .trim_end_matches('\r')
                .len();
        let mut span = self.index.span(start + blanks..end.max(start + blanks));
        span.last_line = self.index.line(self.at.saturating_sub(1));
        span
    }

    /// Reads a heredoc's lines up to the terminator; `None` when it never comes.
    pub(super) fn body(&mut self, name: &str, strip_tabs: bool) -> Option<Body> {
        let start = self.at;
        while let Some(line) = self.physical() {
            let content = self.content(line.clone());
            let text = &self.text[content];
            let text = if strip_tabs {
                text.trim_start_matches('\t')
            } else {
                text
            };
            if text == name {
                let body = start..line.start;
                let not_utf8 = self.not_utf8(&body);
                let content = self.text[body.clone()].to_owned();
                return Some(Body {
                    content,
                    span: self.index.span(body),
                    not_utf8,
                });
            }
        }
        None
    }

    /// The place to come back to with [`Self::rewind`].
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn rewind(&mut self, position: usize) {
        self.at = position;
    }

    /// Widens the span of an instruction by what was read since.
    pub(super) fn extend(&self, line: &mut Line<'_>) {
        let mut whole = self.whole(line.whole.start);
        whole.first_line = line.whole.first_line;
        line.whole = whole;
    }
}
