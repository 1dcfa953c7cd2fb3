//! Expands variables in words, the builder's side of quoting.
//!
//! ```
//! use distil_dockerfile::{Escape, expand::Expander};
//!
//! let variables = |name: &str| (name == "VERSION").then(|| "1.2".to_owned());
//! let expander = Expander::new(Escape::Backslash);
//! let result = expander.expand("'$x' v${VERSION%.*}-${ARCH:-amd64}", &variables)?;
//! assert_eq!(result.text, "$x v1-amd64");
//! assert!(result.used.contains("VERSION") && result.undefined.contains("ARCH"));
//! # Ok::<(), distil_dockerfile::expand::ExpandError>(())
//! ```
//!
//! The forms are `$v ${v} ${v:-w} ${v-w} ${v:+w} ${v+w} ${v:?m} ${v?m} ${v#p} ${v##p} ${v%p} ${v%%p} ${v/p/r}
//! ${v//p/r}`. The word, message, pattern and replacement are expanded themselves, even where they are then not
//! used. Special cases follow BuildKit's `frontend/dockerfile/shell`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::ast::Escape;

mod pattern;
mod scan;
#[cfg(test)]
mod tests;

/// Where variables come from. A closure `Fn(&str) -> Option<String>` will do.
pub trait Lookup {
    /// The value of `name`; `None` when it is unset.
    fn get(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl<F: Fn(&str) -> Option<String>> Lookup for F {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self(name).map(Cow::Owned)
    }
}

/// What happens to quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quotes {
    /// They protect, and vanish.
    Remove,
    /// They protect, and stay.
    Keep,
    /// They are ordinary characters.
    Literal,
}

/// The result of an expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The whole as one string.
    pub text: String,
    /// The whole split at blanks outside of quotes, also at those that came out of a variable.
    pub words: Vec<String>,
    /// Names that were asked for and set.
    pub used: BTreeSet<String>,
    /// Names that were asked for and not set.
    pub undefined: BTreeSet<String>,
}

/// Why a word cannot be expanded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot expand `{word}`: {reason}")]
pub struct ExpandError {
    /// The whole word.
    pub word: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How to expand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expander {
    /// The escape character.
    pub escape: char,
    /// What happens to quotes.
    pub quotes: Quotes,
    /// Escape characters stay in the result.
    pub keep_escapes: bool,
    /// References to unset variables stay as typed instead of becoming empty.
    pub keep_unset: bool,
}

impl Expander {
    /// For the arguments of instructions.
    pub fn new(escape: Escape) -> Self {
        Self {
            escape: escape.char(),
            quotes: Quotes::Remove,
            keep_escapes: false,
            keep_unset: false,
        }
    }

    /// For the body of a `COPY` heredoc: quotes are text, the escape character is always `\`.
    pub fn heredoc_body() -> Self {
        Self {
            escape: '\\',
            quotes: Quotes::Literal,
            keep_escapes: false,
            keep_unset: false,
        }
    }

    /// For the vertex names of `RUN`: quotes and references to unset variables stay. The names of other instructions
    /// are expanded like arguments. Where expansion fails, BuildKit shows the text as typed.
    pub fn display(escape: Escape) -> Self {
        Self {
            escape: escape.char(),
            quotes: Quotes::Keep,
            keep_escapes: false,
            keep_unset: true,
        }
    }

    /// Expands one word.
    ///
    /// # Errors
    /// An open quote or brace, an unknown modifier, a bad pattern, or a `?` form that refuses.
    pub fn expand(&self, word: &str, lookup: &dyn Lookup) -> Result<Expansion, ExpandError> {
        scan::expand(self, word, lookup, false).map_err(|reason| ExpandError {
            word: word.to_owned(),
            reason,
        })
    }

    /// The words of a line of which no variable is known, split as BuildKit splits them to find heredocs.
    pub(crate) fn heredoc_words(&self, line: &str) -> Result<Vec<String>, ExpandError> {
        let expansion = scan::expand(self, line, &|_: &str| None, true);
        expansion
            .map(|expansion| expansion.words)
            .map_err(|reason| ExpandError {
                word: line.to_owned(),
                reason,
            })
    }
}
