//! Which findings count: severities, exceptions with their reasons, and what an audit fails on.
//!
//! A policy is a TOML file; `distroless` is built in and is such a file too. [`Policy::parse`] reads one,
//! [`Policy::apply`] sorts findings by it.

mod error;
mod nearest;
mod parse;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

pub use error::PolicyError;

use self::pattern::Pattern;
use crate::{Finding, Severity};

/// The built-in policies by name, with their files.
const BUILT_IN: [(&str, &str); 1] = [("distroless", include_str!("distroless.toml"))];

/// What an audit is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name or the name of its file.
    name: String,
    fail_on: Option<Severity>,
    /// None switches the rule off.
    severities: BTreeMap<&'static str, Option<Severity>>,
    exceptions: Vec<Exception>,
}

/// Findings that are known and accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exception {
    rules: Vec<&'static str>,
    /// Empty: findings about no file.
    paths: Vec<Pattern>,
    reason: String,
}

/// A finding that the policy accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allowed {
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// Why it is accepted, as the policy says.
    pub reason: String,
}

/// Findings as a policy sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What counts, with the policy's severities, in the order of the findings.
    pub findings: Vec<Finding>,
    /// What is accepted.
    pub allowed: Vec<Allowed>,
    /// Whether there is a finding that the policy fails on.
    pub fails: bool,
}

impl Verdict {
    /// How many findings count that are as bad as this.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let same = self
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        same.count()
    }
}

impl Policy {
    /// The built-in policy of this name.
    ///
    /// # Errors
    /// When there is none; the nearest name is told.
    pub fn built_in(name: &str) -> Result<Self, PolicyError> {
        let found = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (name, text) = found.ok_or_else(|| PolicyError::Unknown {
            name: name.to_owned(),
            nearest: nearest::of(name, BUILT_IN.iter().map(|(known, _)| *known)).map(str::to_owned),
        })?;
        parse::policy(text, name)
    }

    /// Names of the built-in policies.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// Reads a policy file; `name` is what errors call it.
    ///
    /// # Errors
    /// When it is no TOML, or has a key, rule or value that is not known: the line is told, and what is nearest.
    pub fn parse(text: &str, name: &str) -> Result<Self, PolicyError> {
        parse::policy(text, name)
    }

    /// Its name, or that of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The least severity that it fails on; none when it never does.
    #[must_use]
    pub fn fail_on(&self) -> Option<Severity> {
        self.fail_on
    }

    /// Sorts findings into those that count and those that are accepted; those of rules that are switched off are
    /// dropped.
    #[must_use]
    pub fn apply(&self, findings: Vec<Finding>) -> Verdict {
        let mut verdict = Verdict::default();
        for mut finding in findings {
            match self.severities.get(finding.id) {
                Some(None) => continue,
                Some(Some(severity)) => finding.severity = *severity,
                None => {}
            }
            let exception = self
                .exceptions
                .iter()
                .find(|exception| exception.covers(&finding));
            if let Some(exception) = exception {
                let reason = exception.reason.clone();
                verdict.allowed.push(Allowed { finding, reason });
                continue;
            }
            verdict.fails |= self.fail_on.is_some_and(|least| finding.severity >= least);
            verdict.findings.push(finding);
        }
        verdict
    }
}

impl Exception {
    fn covers(&self, finding: &Finding) -> bool {
        let place = match &finding.path {
            Some(path) => self.paths.iter().any(|pattern| pattern.matches(path)),
            None => self.paths.is_empty(),
        };
        place && self.rules.contains(&finding.id)
    }
}
