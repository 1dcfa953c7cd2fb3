//! The JSON of Debian's security tracker: `{"source package": {"CVE-…": {"releases": {"bookworm": {…}}}}}`.
//!
//! Which entries make a package vulnerable follows debsecan and the data that the tracker computes for it: the
//! entry of the image's release decides, or that of `sid` where the release has none; a version that is not
//! lower than sid's fix is not vulnerable; `undetermined` counts; what is unimportant or end-of-life in every
//! release does not. Source: `calculateDebsecan1` of the tracker, `is_vulnerable` of debsecan.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};

use super::advisory::{Match, State};
use super::component::{Component, Components, Ecosystem};
use super::version::{Scheme, Version};
use super::{CveError, Severity};

/// As many packages are read whole even if the image has none of them: the others are only skipped, so that
/// some must show that this is the tracker's form.
const SAMPLE: usize = 32;

/// Names of the releases that packages of a database were seen with.
pub(super) type Releases = BTreeSet<String>;

#[derive(Deserialize)]
pub(super) struct Issue<'a> {
    #[serde(borrow, default)]
    description: Option<Cow<'a, str>>,
    #[serde(borrow)]
    releases: BTreeMap<String, Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow, default)]
    urgency: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    fixed_version: Option<Cow<'a, str>>,
    /// Why there is no advisory of its own; the key alone says that there is none.
    #[serde(borrow, default)]
    nodsa: Option<Cow<'a, str>>,
    /// `postponed`, `ignored` or nothing.
    #[serde(borrow, default)]
    nodsa_reason: Option<Cow<'a, str>>,
}

/// The issues of one source package, by name.
pub(super) type Issues<'a> = BTreeMap<String, Issue<'a>>;

/// Fails when the image is of a release that no package of the database was seen with.
pub(super) fn check_release(path: &Path, known: &Releases, components: &Components) -> Result<(), CveError> {
    match components.release() {
        Some(release) if !known.contains(&release.codename) => Err(CveError::UnknownRelease {
            path: path.to_owned(),
            release: release.codename.clone(),
            known: known
                .iter()
                .map(|name| crate::printable_text(name))
                .collect::<Vec<_>>()
                .join(", "),
        }),
        _ => Ok(()),
    }
}

/// Reads a whole database. Only the packages of the image, and a few others, are more than skipped.
pub(super) fn read(
    text: &[u8],
    components: &Components,
) -> Result<(Vec<Match>, Releases), serde_json::Error> {
    let mut found = Found {
        components,
        matches: Vec::new(),
        releases: Releases::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Packages { found: &mut found }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((found.matches, found.releases))
}

struct Found<'c> {
    components: &'c Components,
    matches: Vec<Match>,
    releases: Releases,
}

impl Found<'_> {
    fn add(&mut self, package: &str, issues: &Issues<'_>) {
        for issue in issues.values() {
            for release in issue.releases.keys() {
                if !self.releases.contains(release) {
                    self.releases.insert(release.clone());
                }
            }
        }
        judge_package(self.components, package, issues, &mut self.matches);
    }
}

/// The matches of one source package.
pub(super) fn judge_package(
    components: &Components,
    package: &str,
    issues: &Issues<'_>,
    matches: &mut Vec<Match>,
) {
    let Some(release) = components.release() else {
        return;
    };
    for index in components.named(Ecosystem::Debian, package) {
        let component = &components.list[*index];
        for (name, issue) in issues {
            let Some(judgement) = judge(issue, &release.codename, component) else {
                continue;
            };
            matches.push(Match {
                component: *index,
                ids: vec![name.clone()],
                state: judgement.state,
                fixed: judgement.fixed,
                severity: judgement.severity,
                score: None,
                summary: issue.description.as_deref().unwrap_or_default().to_owned(),
                note: judgement.note,
            });
        }
    }
}

struct Judgement {
    state: State,
    fixed: Option<String>,
    severity: Severity,
    note: String,
}

/// Whether a version has an issue; none when it does not.
fn judge(issue: &Issue<'_>, release: &str, component: &Component) -> Option<Judgement> {
    let (own, sid) = (issue.releases.get(release), issue.releases.get("sid"));
    let entry = own.or(sid)?;
    // `0` in sid says nothing of a release with an entry of its own.
    let newest = sid.filter(|sid| own.is_none() || sid.fixed_version.as_deref() != Some("0"));
    if newest.is_some_and(|sid| sid.fixes(component) == Some(true)) {
        return None;
    }
    let (mut state, mut fixed) = match &*entry.status {
        "resolved" if entry.fixes(component)? => return None,
        "resolved" if own.is_some() => (State::Fixed, entry.fixed_version.as_deref().map(str::to_owned)),
        "resolved" => (State::Open, None),
        "undetermined" => (State::Undetermined, None),
        _ if entry.nodsa.is_some() => (State::NoDsa, None),
        _ => (State::Open, None),
    };
    let (severity, left_out) = urgency(issue);
    if let Some(reason) = left_out {
        (state, fixed) = (reason, None);
    }
    Some(Judgement {
        state,
        fixed,
        severity,
        note: entry.nodsa_reason.as_deref().unwrap_or_default().to_owned(),
    })
}

impl Entry<'_> {
    /// Whether the component's version has the fix of this entry; none when the entry names no fix.
    /// `0` says that no version of this release was ever affected.
    fn fixes(&self, component: &Component) -> Option<bool> {
        let fixed = self
            .fixed_version
            .as_deref()
            .filter(|_| self.status == "resolved")?;
        let fixed = Version::parse(Scheme::Debian, fixed);
        Some(component.ordered >= fixed)
    }
}

/// The worst urgency over all releases, or why the issue does not count.
fn urgency(issue: &Issue<'_>) -> (Severity, Option<State>) {
    let words = issue
        .releases
        .values()
        .map(|entry| entry.urgency.as_deref().unwrap_or_default());
    let mut left_out = None;
    let mut worst = None;
    for word in words {
        match word.trim_end_matches('*') {
            "unimportant" => left_out = Some(State::Unimportant),
            "end-of-life" => left_out = left_out.or(Some(State::EndOfLife)),
            word => worst = worst.max(Some(Severity::of_word(word))),
        }
    }
    match (worst, left_out) {
        (Some(severity), _) => (severity, None),
        (None, Some(State::Unimportant)) => (Severity::Negligible, left_out),
        (None, left_out) => (Severity::Unknown, left_out),
    }
}

/// The map of packages.
struct Packages<'f, 'c> {
    found: &'f mut Found<'c>,
}

impl<'de> DeserializeSeed<'de> for Packages<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Packages<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut sampled = 0;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let wanted = !self.found.components.named(Ecosystem::Debian, &name).is_empty();
            if !wanted && sampled >= SAMPLE {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            sampled += usize::from(!wanted);
            let issues: Issues<'de> = map.next_value()?;
            if let Some(bad) = issues.keys().find(|name| !is_issue(name)) {
                let text = format!("`{bad}` of package `{name}` is no name of an issue");
                return Err(A::Error::custom(text));
            }
            self.found.add(&name, &issues);
        }
        Ok(())
    }
}

/// `CVE-2024-1234`, `TEMP-0841856-B18BAF`.
fn is_issue(name: &str) -> bool {
    name.split_once('-').is_some_and(|(kind, rest)| {
        kind.len() >= 3 && kind.bytes().all(|byte| byte.is_ascii_uppercase()) && !rest.is_empty()
    })
}
