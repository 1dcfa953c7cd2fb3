//! Places in the source text.

use std::ops::{Deref, Range};

/// A place in [`Dockerfile::text`](crate::Dockerfile::text): a byte range, and the lines that it touches.
///
/// `start..end` always lies inside the text and on character boundaries. A token that crosses a line continuation
/// covers everything from its first to its last byte, the continuation included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset behind the last byte; equal to `start` for an empty token.
    pub end: usize,
    /// The first line, counted from 1.
    pub first_line: u32,
    /// The last line, counted from 1, never before `first_line`.
    pub last_line: u32,
}

impl Span {
    /// The byte range alone, for slicing the text.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The smallest span that covers both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
            first_line: self.first_line.min(other.first_line),
            last_line: self.last_line.max(other.last_line),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value, after continuations (and, in flags and JSON, quotes and escapes) are resolved.
    pub value: T,
    /// Where the value stands, quotes included.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Joins a value and its place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// One unexpanded word: variables, and outside of flags and JSON also quotes and escapes, are as typed.
pub type Word = Spanned<String>;
