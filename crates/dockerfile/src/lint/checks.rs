//! Which rules apply: `skip=Rule,...|all;error=true;experimental=Rule,...|all`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Rule;
use crate::parse::read_directive;

/// What a `# check=` directive (or the build argument `BUILDKIT_DOCKERFILE_CHECK`) asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Warnings refuse the file.
    pub error: bool,
    skip: Names,
    experimental: Names,
}

/// Rules by name. Unknown names are kept: they may be rules of another builder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    names: BTreeSet<String>,
}

/// Why the text of a `check` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksError {
    /// No `=` in one of the parts.
    #[error("the check option `{0}` has no value")]
    NoValue(String),
    /// Another key than the three.
    #[error("there is no check option `{0}`")]
    Unknown(String),
    /// `error=` takes what Go's `ParseBool` takes.
    #[error("`{0}` is no value for the check option `error`")]
    NotBoolean(String),
}

impl Checks {
    /// Reads the text of a directive; nothing but blanks is the default.
    ///
    /// # Errors
    /// A part without value, an unknown key, or no boolean behind `error=`.
    pub fn parse(text: &str) -> Result<Self, ChecksError> {
        let mut checks = Self::default();
        let text = text.trim();
        if text.is_empty() {
            return Ok(checks);
        }
        for part in text.split(';') {
            let (key, value) = part
                .split_once('=')
                .ok_or_else(|| ChecksError::NoValue(part.to_owned()))?;
            let value = value.trim();
            match key.trim() {
                "skip" => checks.skip = Names::parse(value),
                "experimental" => checks.experimental = Names::parse(value),
                "error" => checks.error = boolean(value)?,
                other => return Err(ChecksError::Unknown(other.to_owned())),
            }
        }
        Ok(checks)
    }

    /// Whether a finding of `rule` is told. `skip` has no say in experimental rules.
    pub(super) fn covers(&self, rule: Rule) -> bool {
        match rule.is_experimental() {
            true => self.experimental.has(rule),
            false => !self.skip.has(rule),
        }
    }

    /// Adds what the first `check=` among the comments above an instruction says. One that cannot be read says
    /// nothing, and `error=` there has no meaning.
    pub(super) fn with_comments(&self, comments: &[String]) -> Cow<'_, Self> {
        let found = comments.iter().find_map(|comment| {
            let directive = read_directive(comment, "")?;
            (directive.key == "check").then(|| &comment[directive.value])
        });
        let Some(Ok(more)) = found.map(|value| Self::parse(value.split(' ').next().unwrap_or_default()))
        else {
            return Cow::Borrowed(self);
        };
        let mut merged = self.clone();
        merged.skip.add(more.skip);
        merged.experimental.add(more.experimental);
        Cow::Owned(merged)
    }
}

impl Names {
    fn parse(value: &str) -> Self {
        match value {
            "all" => Self {
                all: true,
                names: BTreeSet::new(),
            },
            list => Self {
                all: false,
                names: list.split(',').map(|name| name.trim().to_owned()).collect(),
            },
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.contains(rule.name())
    }

    fn add(&mut self, more: Self) {
        self.all |= more.all;
        self.names.extend(more.names);
    }
}

/// A boolean as Go's `strconv.ParseBool` reads it.
fn boolean(value: &str) -> Result<bool, ChecksError> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(ChecksError::NotBoolean(other.to_owned())),
    }
}
