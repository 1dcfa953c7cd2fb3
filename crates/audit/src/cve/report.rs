//! The result: what counts, what was set aside and why.

use std::collections::BTreeMap;
use std::path::PathBuf;

use distil_debian::UnixTime;
use serde::Serialize;

use super::component::{Components, Ecosystem, Installed};
use super::database::{Answers, Database};
use super::ignore::IgnoreRule;
use super::merge::merge;
use super::vex::{ImageNames, Vex};
use super::{CveError, Severity, Vulnerability};

/// Everything that databases say about an image.
#[derive(Debug, Default)]
pub struct Report {
    /// What counts, the worst first.
    pub vulnerabilities: Vec<Vulnerability>,
    /// What was set aside, and why.
    pub set_aside: Vec<SetAside>,
    /// The databases that were asked.
    pub databases: Vec<Database>,
    /// Packages that no database was there for: ecosystem and number.
    pub uncovered: Vec<(Ecosystem, usize)>,
    /// Packages whose version cannot be ordered, so that they could not be judged.
    pub unordered: Vec<Installed>,
    /// Ignore rules whose time is over, though the vulnerability is still there: it counts.
    pub expired: Vec<IgnoreRule>,
    /// Ignore rules that are about nothing in this image.
    pub unused: Vec<IgnoreRule>,
}

/// A vulnerability that does not count.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetAside {
    /// What set it aside.
    pub by: SetAsideBy,
    /// Why.
    pub reason: String,
    /// It.
    pub vulnerability: Vulnerability,
}

/// What set a vulnerability aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetAsideBy {
    /// Debian's tracker: unimportant or end-of-life.
    Tracker,
    /// An ignore rule.
    IgnoreFile,
    /// An OpenVEX statement.
    Vex,
}

/// What an image's owner says about vulnerabilities.
#[derive(Debug, Default)]
pub struct Statements {
    /// Rules of ignore files.
    pub ignore: Vec<IgnoreRule>,
    /// OpenVEX documents.
    pub vex: Vex,
    /// What they may call the image.
    pub image: ImageNames,
}

/// How many vulnerabilities there are of each severity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// With a fix and without one, by severity.
    pub by_severity: BTreeMap<Severity, (usize, usize)>,
}

impl Counts {
    /// With a fix and without one.
    #[must_use]
    pub fn total(&self) -> (usize, usize) {
        let counts = self.by_severity.values();
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }

    /// All of one severity.
    #[must_use]
    pub fn of(&self, severity: Severity) -> usize {
        self.by_severity
            .get(&severity)
            .map_or(0, |(fixed, open)| fixed + open)
    }
}

impl Report {
    /// Asks the databases at `paths`, each a file or a folder, about an image. `now` decides which ignore rules
    /// have expired.
    ///
    /// # Errors
    /// When a database cannot be read, is damaged or none at all, or does not know the image's release.
    pub fn of(
        components: &Components,
        paths: &[PathBuf],
        statements: &Statements,
        now: UnixTime,
    ) -> Result<Self, CveError> {
        let mut answers = Answers::default();
        for path in paths {
            answers.read(path, components)?;
        }
        let mut report = Self {
            uncovered: uncovered(components, &answers),
            unordered: unordered(components),
            databases: answers.databases,
            ..Self::default()
        };
        report.sort_out(merge(components, answers.matches), statements, now);
        Ok(report)
    }

    /// Sets aside what does not count.
    fn sort_out(&mut self, found: Vec<Vulnerability>, statements: &Statements, now: UnixTime) {
        let mut used = vec![false; statements.ignore.len()];
        for vulnerability in found {
            let mut set_aside = None;
            for (rule, used) in statements.ignore.iter().zip(&mut used) {
                if !rule.is_about(&vulnerability) {
                    continue;
                }
                if !rule.is_expired(now) {
                    set_aside = set_aside.or(Some((SetAsideBy::IgnoreFile, rule.reason.clone())));
                } else if !*used {
                    self.expired.push(rule.clone());
                }
                *used = true;
            }
            let verdict = statements.vex.verdict(&vulnerability, &statements.image);
            if let Some(verdict) = verdict.filter(|verdict| verdict.clears) {
                set_aside = set_aside.or(Some((SetAsideBy::Vex, verdict.reason)));
            }
            if !vulnerability.state.counts() {
                set_aside = Some((SetAsideBy::Tracker, vulnerability.state.to_string()));
            }
            match set_aside {
                Some((by, reason)) => self.set_aside.push(SetAside {
                    by,
                    reason,
                    vulnerability,
                }),
                None => self.vulnerabilities.push(vulnerability),
            }
        }
        let unused = statements.ignore.iter().zip(used).filter(|(_, used)| !used);
        self.unused = unused.map(|(rule, _)| rule.clone()).collect();
    }

    /// How many count, by severity.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for vulnerability in &self.vulnerabilities {
            let count = counts.by_severity.entry(vulnerability.severity).or_default();
            match vulnerability.is_fixed() {
                true => count.0 += 1,
                false => count.1 += 1,
            }
        }
        counts
    }

    /// The age of the oldest database in seconds; none when no database tells its date.
    #[must_use]
    pub fn age(&self, now: UnixTime) -> Option<i64> {
        let dates = self.databases.iter().filter_map(|database| database.date);
        dates.min().map(|oldest| (now - oldest).max(0))
    }
}

/// Ecosystems of the image that no database has a record of.
fn uncovered(components: &Components, answers: &Answers) -> Vec<(Ecosystem, usize)> {
    let number = components.release().and_then(|release| release.number.as_deref());
    let covered = |wanted: Ecosystem| {
        answers.coverage.iter().any(|(ecosystem, release)| {
            *ecosystem == wanted
                && (wanted != Ecosystem::Debian || release.is_empty() || number == Some(release.as_str()))
        })
    };
    let counted = Ecosystem::ALL.map(|ecosystem| (ecosystem, components.packages(ecosystem)));
    let missing = counted
        .into_iter()
        .filter(|(ecosystem, count)| *count > 0 && !covered(*ecosystem));
    missing.collect()
}

fn unordered(components: &Components) -> Vec<Installed> {
    let list = components
        .list
        .iter()
        .filter(|component| component.ordered.is_none());
    list.flat_map(|component| component.packages.iter().cloned())
        .collect()
}
