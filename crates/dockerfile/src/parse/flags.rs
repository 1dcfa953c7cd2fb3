//! Which flags an instruction takes, and their values.

use super::keyword::Keyword;
use super::line::{CookedFlag, Line};
use crate::diagnostic::Diagnostic;
use crate::span::Word;
use crate::suggest;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Bare, `true` or `false`.
    Bool,
    /// One value.
    Text,
    /// One value each time, and it may be repeated.
    Texts,
}

fn known(keyword: Keyword) -> &'static [(&'static str, Takes)] {
    match keyword {
        Keyword::Add => &[
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Bool),
            ("keep-git-dir", Takes::Bool),
            ("checksum", Takes::Text),
            ("unpack", Takes::Bool),
            ("exclude", Takes::Texts),
        ],
        Keyword::Copy => &[
            ("chown", Takes::Text),
            ("from", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Bool),
            ("parents", Takes::Bool),
            ("closure", Takes::Bool),
            ("exclude", Takes::Texts),
        ],
        Keyword::From => &[("platform", Takes::Text)],
        Keyword::Healthcheck => &[
            ("interval", Takes::Text),
            ("timeout", Takes::Text),
            ("start-period", Takes::Text),
            ("start-interval", Takes::Text),
            ("retries", Takes::Text),
        ],
        Keyword::Run => &[
            ("mount", Takes::Texts),
            ("network", Takes::Text),
            ("security", Takes::Text),
            ("device", Takes::Texts),
        ],
        _ => &[],
    }
}

/// The checked flags of one instruction.
pub(super) struct Flags<'a> {
    given: Vec<(&'static str, &'a CookedFlag)>,
    line: &'a Line<'a>,
}

impl<'a> Flags<'a> {
    /// Checks every flag; the wrong ones are reported and left out.
    pub(super) fn check(
        keyword: Keyword,
        flags: &'a [CookedFlag],
        line: &'a Line<'a>,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut out = Self {
            given: Vec::new(),
            line,
        };
        for flag in flags {
            match out.judge(keyword, flag) {
                Ok(name) => out.given.push((name, flag)),
                Err(error) => errors.push(error),
            }
        }
        out
    }

    fn judge(&self, keyword: Keyword, flag: &CookedFlag) -> Result<&'static str, Diagnostic> {
        let (name_range, value_range) = flag.name_and_value();
        let name = &flag.text[name_range];
        let span = flag.to_flag(self.line).span;
        let Some(&(known_name, takes)) = known(keyword).iter().find(|(known, _)| *known == name) else {
            return Err(
                Diagnostic::new(format!("{} has no flag `--{name}`", keyword.name()), span)
                    .with_help(unknown_help(keyword, name)),
            );
        };
        if takes != Takes::Texts && self.given.iter().any(|(given, _)| *given == known_name) {
            return Err(
                Diagnostic::new(format!("the flag `--{name}` is given twice"), span)
                    .with_help("keep one of them"),
            );
        }
        let value = value_range.map(|range| &flag.text[range]);
        match (takes, value) {
            (Takes::Bool, None) => Ok(known_name),
            (Takes::Bool, Some(value))
                if ["true", "false"]
                    .iter()
                    .any(|word| value.eq_ignore_ascii_case(word)) =>
            {
                Ok(known_name)
            }
            (Takes::Bool, Some("")) => Err(Diagnostic::new(
                format!("the flag `--{name}` lacks its value"),
                span,
            )
            .with_help(format!("write `--{name}`, or `--{name}=false`"))),
            (Takes::Bool, Some(value)) => Err(Diagnostic::new(
                format!("the flag `--{name}` cannot be `{value}`"),
                span,
            )
            .with_help("leave the value out, or give `true` or `false`")),
            (_, None) => Err(
                Diagnostic::new(format!("the flag `--{name}` lacks its value"), span)
                    .with_help(format!("write `--{name}=VALUE`")),
            ),
            (_, Some(_)) => Ok(known_name),
        }
    }

    /// The values of a flag in order, as words.
    pub(super) fn texts(&self, name: &str) -> Vec<Word> {
        self.cooked(name)
            .into_iter()
            .filter_map(|flag| flag.to_flag(self.line).value)
            .collect()
    }

    /// The flags of a name in order.
    pub(super) fn cooked(&self, name: &str) -> Vec<&'a CookedFlag> {
        self.given
            .iter()
            .filter(|(given, _)| *given == name)
            .map(|(_, flag)| *flag)
            .collect()
    }

    /// The value of a flag; an empty one counts as not given.
    pub(super) fn text(&self, name: &str) -> Option<Word> {
        self.texts(name).pop().filter(|word| !word.is_empty())
    }

    /// The value of a switch, if it was given.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        let flag = self.cooked(name).pop()?;
        let (_, value) = flag.name_and_value();
        Some(value.is_none_or(|range| flag.text[range].eq_ignore_ascii_case("true")))
    }
}

fn unknown_help(keyword: Keyword, name: &str) -> String {
    let names: Vec<&str> = known(keyword).iter().map(|(known, _)| *known).collect();
    if let Some(nearest) = suggest::nearest(name, &names) {
        return format!("did you mean `--{nearest}`?");
    }
    match keyword {
        Keyword::Cmd | Keyword::Entrypoint => {
            "a command that starts with dashes needs the JSON form, `[\"--option\"]`".to_owned()
        }
        _ if names.is_empty() => format!(
            "{} takes no flags; write `--` before arguments with dashes",
            keyword.name()
        ),
        _ => format!("its flags are --{}", names.join(", --")),
    }
}
