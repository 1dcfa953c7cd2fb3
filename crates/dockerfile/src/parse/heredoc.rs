//! Here-documents: which words start one.

use std::ops::Range;

use crate::ast::Heredoc;
use crate::expand::{ExpandError, Expander, Quotes};

/// A `<<NAME` word.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) name: String,
    file_descriptor: u32,
    pub(super) expand: bool,
    pub(super) strip_tabs: bool,
}

impl Mark {
    pub(super) fn with_body(self, content: String, body: crate::span::Span) -> Heredoc {
        let Self {
            name,
            file_descriptor,
            expand,
            strip_tabs,
        } = self;
        Heredoc {
            name,
            file_descriptor,
            expand,
            strip_tabs,
            content,
            body,
        }
    }
}

/// The delimiter is read with `\` whatever the file's escape character, and no variable is known.
fn expander(quotes: Quotes, keep_escapes: bool) -> Expander {
    Expander {
        escape: '\\',
        quotes,
        keep_escapes,
        keep_unset: true,
    }
}

/// Splits `[digits]<<[-][blanks]NAME`.
fn shape(word: &str) -> Option<(&str, bool, Range<usize>)> {
    let digits = word.len() - word.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = word[digits..].strip_prefix("<<")?;
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let name = rest.trim_start_matches(['\t', '\n', '\u{c}', '\r', ' ']);
    if name.is_empty() || name.contains('<') {
        return None;
    }
    Some((&word[..digits], strip_tabs, word.len() - name.len()..word.len()))
}

/// Reads a word as the start of a heredoc.
///
/// # Errors
/// A quote or a variable in the delimiter that is not closed.
pub(super) fn mark(word: &str) -> Result<Option<Mark>, ExpandError> {
    let Some((digits, strip_tabs, name)) = shape(word) else {
        return Ok(None);
    };
    let typed = &word[name];
    let plain = expander(Quotes::Remove, false).heredoc_words(typed)?;
    let [plain] = plain.as_slice() else {
        return Ok(None);
    };
    let kept = expander(Quotes::Keep, false).heredoc_words(typed)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    // A quote anywhere in the delimiter switches expansion off.
    let expand = kept.first().is_some_and(|kept| quotes(kept) == quotes(plain));
    let file_descriptor = if digits.is_empty() {
        0
    } else {
        digits.parse().unwrap_or(u32::MAX)
    };
    Ok(Some(Mark {
        name: plain.clone(),
        file_descriptor,
        expand,
        strip_tabs,
    }))
}

/// All heredocs that an instruction starts. A line whose quotes do not match starts none.
///
/// # Errors
/// As for [`mark`].
pub(super) fn marks(line: &str) -> Result<Vec<Mark>, ExpandError> {
    let words = expander(Quotes::Keep, true)
        .heredoc_words(line)
        .unwrap_or_default();
    let mut out = Vec::new();
    for word in words {
        out.extend(mark(&word)?);
    }
    Ok(out)
}

/// A body without the leading tabs of its lines, for `<<-`.
pub(crate) fn without_tabs(body: &str) -> String {
    body.split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}

/// `NAME` as a source of `COPY` or `ADD`.
pub(super) fn source(word: &str) -> Option<Mark> {
    mark(word).ok().flatten()
}

/// Whether a text is one `<<NAME` word and nothing else.
pub(crate) fn is_heredoc_word(text: &str) -> bool {
    source(text).is_some()
}
