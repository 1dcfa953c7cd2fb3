//! `FROM`.

use super::arguments::Arguments;
use super::instruction::Request;
use crate::ast::{Stage, Statement};
use crate::diagnostic::Diagnostic;
use crate::span::{Spanned, Word};

/// The arguments of a `FROM`.
pub(super) struct From {
    name: Option<Name>,
    base: Word,
    platform: Option<Word>,
}

/// `AS NAME`
struct Name {
    keyword: Word,
    typed: Word,
    /// In lower case.
    name: Word,
}

impl From {
    pub(super) fn into_stage(self, statement: Statement) -> Stage {
        let Self { name, base, platform } = self;
        let (mut as_keyword, mut typed_name, mut lower) = (None, None, None);
        if let Some(name) = name {
            (as_keyword, typed_name, lower) = (Some(name.keyword), Some(name.typed), Some(name.name));
        }
        let doc = lower
            .as_ref()
            .and_then(|name| statement.doc(name))
            .map(str::to_owned);
        let span = statement.span;
        Stage {
            statement,
            as_keyword,
            typed_name,
            name: lower,
            base,
            platform,
            doc,
            instructions: Vec::new(),
            span,
        }
    }
}

pub(super) fn build(request: &Request<'_>) -> Result<From, Diagnostic> {
    let words = match &request.arguments {
        Arguments::Words(words) => words.as_slice(),
        _ => &[],
    };
    let platform = request.flags.text("platform");
    match words {
        [base] => Ok(From {
            name: None,
            base: base.clone(),
            platform,
        }),
        [base, r#as, name] if r#as.eq_ignore_ascii_case("as") => Ok(From {
            name: Some(Name {
                keyword: r#as.clone(),
                typed: name.clone(),
                name: stage_name(name)?,
            }),
            base: base.clone(),
            platform,
        }),
        _ => Err(request
            .error("takes an image, or an image and `AS NAME`")
            .with_help("for example `FROM debian AS build`")),
    }
}

/// Names are kept in lower case: `[a-z][a-z0-9-_.]*`.
fn stage_name(typed: &Word) -> Result<Word, Diagnostic> {
    let name = typed.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
    if valid {
        return Ok(Spanned::new(name, typed.span));
    }
    Err(Diagnostic::new(
        format!("`{}` cannot be the name of a stage", typed.value),
        typed.span,
    )
    .with_help("a name starts with a letter and goes on with letters, digits, `-`, `_` and `.`"))
}
