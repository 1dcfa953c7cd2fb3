//! The build checks: rules that warn of what builds but is not what was meant.
//!
//! Names, texts and places are those of BuildKit's checks, so that directives, comments and tools written for them
//! work unchanged. [`check_file`] judges what the text alone shows; whoever lowers the stages reports the rest to
//! the same [`Linter`].
//!
//! ```
//! use distil_dockerfile::lint::{Checks, Linter, check_file};
//!
//! let file = distil_dockerfile::parse(b"FROM scratch AS Build\n").expect("it is valid");
//! let found = std::cell::RefCell::new(Vec::new());
//! let keep = |warning| found.borrow_mut().push(warning);
//! check_file(&file, &Linter::new(Checks::default(), &keep));
//! assert_eq!(found.into_inner()[0].detail, "Stage name 'Build' should be lowercase");
//! ```

mod checks;
mod file;
mod finding;
mod rule;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

pub use checks::{Checks, ChecksError};
pub use file::check_file;
pub use finding::{Finding, is_secret_name};
pub use rule::Rule;

use crate::span::Span;

/// A rule that was broken, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is wrong here, in one sentence.
    pub detail: String,
    /// The instruction.
    pub span: Span,
}

/// `Rule: detail (line N)`: the line that is shown at the end of a build.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule.name(), self.detail)?;
        match self.span.first_line {
            0 => Ok(()),
            line => write!(f, " (line {line})"),
        }
    }
}

/// Takes findings, drops those of rules that are switched off, and remembers which rules were broken.
pub struct Linter<'a> {
    checks: Checks,
    sink: &'a dyn Fn(Warning),
    broken: RefCell<BTreeSet<Rule>>,
}

impl<'a> Linter<'a> {
    /// A linter for one file; `sink` gets every warning when it is found.
    pub fn new(checks: Checks, sink: &'a dyn Fn(Warning)) -> Self {
        Self {
            checks,
            sink,
            broken: RefCell::default(),
        }
    }

    /// Reports a finding that no comment above an instruction can silence.
    pub fn report(&self, finding: &Finding<'_>, span: Span) {
        self.pass_on(&self.checks, finding, span);
    }

    /// The linter for one instruction: a `check=` comment among those directly above it also counts.
    pub fn below(&self, comments: &[String]) -> Scope<'_, 'a> {
        Scope {
            linter: self,
            checks: self.checks.with_comments(comments),
        }
    }

    /// With `error=true`: the rules that were broken, which then refuse the file.
    pub fn refusing(&self) -> Vec<Rule> {
        match self.checks.error {
            true => self.broken.borrow().iter().copied().collect(),
            false => Vec::new(),
        }
    }

    fn pass_on(&self, checks: &Checks, finding: &Finding<'_>, span: Span) {
        let rule = finding.rule();
        if !checks.covers(rule) {
            return;
        }
        self.broken.borrow_mut().insert(rule);
        (self.sink)(Warning {
            rule,
            detail: finding.to_string(),
            span,
        });
    }
}

/// A [`Linter`] as the comments above one instruction leave it.
pub struct Scope<'l, 'a> {
    linter: &'l Linter<'a>,
    checks: Cow<'l, Checks>,
}

impl Scope<'_, '_> {
    /// Reports a finding.
    pub fn report(&self, finding: &Finding<'_>, span: Span) {
        self.linter.pass_on(&self.checks, finding, span);
    }
}

/// The option that a misspelt variable was meant to be: at most two edits away, letter case included; the first of
/// the nearest. `None` also when `name` is one of the options.
pub fn nearest<'o>(name: &str, options: impl IntoIterator<Item = &'o str>) -> Option<&'o str> {
    let mut best = None;
    for option in options {
        let distance = crate::suggest::distance(name, option);
        if distance == 0 {
            return None;
        }
        if distance < best.map_or(3, |(distance, _)| distance) {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option)
}
