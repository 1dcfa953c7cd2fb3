//! Matches of several databases, put together: one vulnerability of one component is told once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Severity;
use super::advisory::{Match, State};
use super::component::{Components, Ecosystem, Installed};
use super::version::Version;
use crate::printable_text;

/// One vulnerability of one component. Texts are safe to print.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Vulnerability {
    /// Its CVE name, or else that of the record.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its other names, sorted.
    pub aliases: Vec<String>,
    /// The worst that a database says.
    pub severity: Severity,
    /// CVSS base score, where a database has one.
    pub score: Option<f64>,
    /// What is being done about it.
    pub state: State,
    /// The first version without it, for [`State::Fixed`].
    pub fixed_in: Option<String>,
    /// Whose names and versions they are.
    pub ecosystem: Ecosystem,
    /// Source package or module that has it.
    pub component: String,
    /// Its version.
    pub version: String,
    /// The packages of the image that come from it.
    pub packages: Vec<Installed>,
    /// What Debian says about a missing update: `postponed`, `ignored` or nothing.
    pub note: String,
    /// What it is about, in one line.
    pub summary: String,
}

impl Vulnerability {
    /// Whether it has this name, in any case of letters.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        let mut names = std::iter::once(&self.id).chain(&self.aliases);
        names.any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether a version without it can be had.
    #[must_use]
    pub fn is_fixed(&self) -> bool {
        self.state == State::Fixed
    }
}

/// Puts together what is the same vulnerability of the same component, the worst first.
pub(super) fn merge(components: &Components, matches: Vec<Match>) -> Vec<Vulnerability> {
    let mut by_component: BTreeMap<usize, Vec<Match>> = BTreeMap::new();
    for found in matches {
        by_component.entry(found.component).or_default().push(found);
    }
    let mut vulnerabilities: Vec<Vulnerability> = by_component
        .into_iter()
        .flat_map(|(component, matches)| {
            let groups = same(matches);
            groups
                .into_iter()
                .map(move |group| one(components, component, &group))
        })
        .collect();
    vulnerabilities.sort_by(|a, b| {
        (b.severity.cmp(&a.severity))
            .then_with(|| {
                (a.ecosystem, &a.component, &a.version).cmp(&(b.ecosystem, &b.component, &b.version))
            })
            .then_with(|| natural(&a.id).cmp(&natural(&b.id)))
    });
    vulnerabilities
}

/// Groups of matches that share a name, directly or over others.
fn same(matches: Vec<Match>) -> Vec<Vec<Match>> {
    let mut groups: Vec<(BTreeSet<String>, Vec<Match>)> = Vec::new();
    let mut group_of: BTreeMap<String, usize> = BTreeMap::new();
    for found in matches {
        let mut touched: Vec<usize> = found
            .ids
            .iter()
            .filter_map(|id| group_of.get(id).copied())
            .collect();
        touched.sort_unstable();
        touched.dedup();
        let into = match touched.first() {
            Some(first) => *first,
            None => {
                groups.push((BTreeSet::new(), Vec::new()));
                groups.len() - 1
            }
        };
        for other in touched.into_iter().skip(1) {
            let (ids, members) = std::mem::take(&mut groups[other]);
            for id in &ids {
                group_of.insert(id.clone(), into);
            }
            groups[into].0.extend(ids);
            groups[into].1.extend(members);
        }
        for id in &found.ids {
            group_of.insert(id.clone(), into);
            groups[into].0.insert(id.clone());
        }
        groups[into].1.push(found);
    }
    let groups = groups.into_iter().map(|(_, members)| members);
    groups.filter(|members| !members.is_empty()).collect()
}

fn one(components: &Components, component: usize, group: &[Match]) -> Vulnerability {
    let component = &components.list[component];
    let names: BTreeSet<String> = group
        .iter()
        .flat_map(|found| &found.ids)
        .map(|id| printable_text(id))
        .collect();
    let rank = |name: &&String| match name.as_str() {
        name if name.starts_with("CVE-") => 0,
        name if name.starts_with("GHSA-") => 1,
        _ => 2,
    };
    let id = names.iter().min_by_key(rank).cloned().unwrap_or_default();
    let state = group.iter().map(|found| found.state).min().unwrap_or(State::Open);
    let scheme = component.ecosystem.scheme();
    let fixes = group
        .iter()
        .filter(|found| found.state == state)
        .filter_map(|found| found.fixed.as_ref());
    let first = |text: fn(&Match) -> &str| {
        let said = group.iter().map(text).find(|text| !text.is_empty());
        printable_text(said.unwrap_or_default())
    };
    Vulnerability {
        aliases: names.into_iter().filter(|name| *name != id).collect(),
        id,
        severity: group.iter().map(|found| found.severity).max().unwrap_or_default(),
        score: group.iter().filter_map(|found| found.score).reduce(f64::max),
        state,
        fixed_in: fixes
            .min_by_key(|text| Version::parse(scheme, text))
            .map(|text| printable_text(text)),
        ecosystem: component.ecosystem,
        component: printable_text(&component.name),
        version: printable_text(&component.version),
        packages: component.packages.clone(),
        note: first(|found| &found.note),
        summary: first(|found| &found.summary),
    }
}

/// Numbers in a name compare as numbers: `CVE-2024-9999` is before `CVE-2024-10000`.
fn natural(name: &str) -> Vec<(usize, &str)> {
    name.split('-').map(|part| (part.len(), part)).collect()
}
