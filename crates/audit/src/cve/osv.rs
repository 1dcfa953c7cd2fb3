//! Records of the OSV schema: which versions of which packages have a vulnerability.
//!
//! Ranges of commits (`GIT`) are passed over: an image has versions. A withdrawn record says nothing.
//! Source: the schema's section on evaluating `affected`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use distil_debian::UnixTime;
use serde::Deserialize;

use super::Severity;
use super::advisory::{Match, State};
use super::component::{Component, Components, Ecosystem};
use super::severity::cvss_score;
use super::version::{Scheme, Version};

/// What is read of a record.
#[derive(Deserialize)]
pub(super) struct Record<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    modified: Cow<'a, str>,
    #[serde(default)]
    withdrawn: Option<serde::de::IgnoredAny>,
    aliases: Option<Vec<String>>,
    upstream: Option<Vec<String>>,
    #[serde(borrow, default)]
    summary: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    details: Option<Cow<'a, str>>,
    #[serde(default)]
    severity: Option<Vec<Rating>>,
    #[serde(borrow, default)]
    affected: Option<Vec<Affected<'a>>>,
    #[serde(default)]
    database_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Affected<'a> {
    #[serde(borrow, default)]
    package: Option<Package<'a>>,
    #[serde(default)]
    severity: Option<Vec<Rating>>,
    #[serde(default)]
    ranges: Option<Vec<Range>>,
    #[serde(borrow, default)]
    versions: Option<Vec<Cow<'a, str>>>,
    #[serde(default)]
    ecosystem_specific: Option<Specific>,
    #[serde(default)]
    database_specific: Option<Specific>,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    ecosystem: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Rating {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    score: String,
}

/// The parts of free-form objects that are known here; a value of another kind is as good as none.
#[derive(Default)]
struct Specific {
    severity: Option<String>,
    urgency: Option<String>,
}

impl<'de> Deserialize<'de> for Specific {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let word = |name: &str| value.get(name).and_then(|word| word.as_str()).map(str::to_owned);
        Ok(Self {
            severity: word("severity"),
            urgency: word("urgency"),
        })
    }
}

#[derive(Deserialize)]
struct Range {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    events: Vec<Event>,
}

/// One of the fields by the schema; each that is there counts.
#[derive(Deserialize)]
struct Event {
    introduced: Option<String>,
    fixed: Option<String>,
    last_affected: Option<String>,
    limit: Option<String>,
}

/// What an event does to versions from its own on, in the order in which those of one version apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Fixed,
    LastAffected,
    Introduced,
}

/// Which packages a database has records of: ecosystem and release, such as `(Debian, "12")`.
pub(super) type Coverage = BTreeSet<(Ecosystem, String)>;

impl Record<'_> {
    /// When it was changed.
    pub(super) fn modified(&self) -> Option<UnixTime> {
        let text = self.modified.split(['.', 'Z']).next().unwrap_or_default();
        distil_debian::parse_rfc3339(&format!("{text}Z"))
    }

    /// Adds what it is about to `coverage`.
    pub(super) fn cover(&self, coverage: &mut Coverage) {
        for package in self.packages() {
            if let Some((ecosystem, release)) = ecosystem(&package.ecosystem) {
                let key = (ecosystem, release.to_owned());
                coverage.insert(key);
            }
        }
    }

    /// Ecosystem and name of the packages that it is about, those of other ecosystems left out.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (Ecosystem, &str)> {
        self.packages()
            .filter_map(|package| Some((ecosystem(&package.ecosystem)?.0, &*package.name)))
    }

    fn packages(&self) -> impl Iterator<Item = &Package<'_>> {
        let affected = self.affected.iter().flatten();
        affected.filter_map(|affected| affected.package.as_ref())
    }

    /// Adds the components that have it.
    pub(super) fn judge(&self, components: &Components, matches: &mut Vec<Match>) {
        if self.withdrawn.is_some() {
            return;
        }
        for affected in self.affected.iter().flatten() {
            let Some(package) = &affected.package else {
                continue;
            };
            let Some((ecosystem, release)) = ecosystem(&package.ecosystem) else {
                continue;
            };
            if !is_of_release(ecosystem, release, components) {
                continue;
            }
            for index in components.named(ecosystem, &package.name) {
                let component = &components.list[*index];
                if let Some(fixed) = affected.includes(component) {
                    self.add(*index, affected, fixed.as_deref(), matches);
                }
            }
        }
    }

    /// One match for each vulnerability that the record is about: an advisory of Debian may be about several.
    fn add(&self, component: usize, affected: &Affected<'_>, fixed: Option<&str>, matches: &mut Vec<Match>) {
        let (severity, score) = self.severity(affected);
        let urgency = affected.specific(|specific| specific.urgency.as_deref());
        let state = match (urgency, fixed) {
            (Some("unimportant"), _) => State::Unimportant,
            (Some("end-of-life"), _) => State::EndOfLife,
            (_, Some(_)) => State::Fixed,
            (_, None) => State::Open,
        };
        for ids in self.names() {
            matches.push(Match {
                component,
                ids,
                state,
                fixed: fixed.filter(|_| state == State::Fixed).map(str::to_owned),
                severity,
                score,
                summary: self.text().to_owned(),
                note: String::new(),
            });
        }
    }

    /// The names of each vulnerability, the record's own first. Records of distributions name the
    /// vulnerabilities that they are about as `upstream`, others have names for the same one as `aliases`.
    fn names(&self) -> Vec<Vec<String>> {
        let mut own = vec![self.id.to_string()];
        own.extend(self.aliases.iter().flatten().cloned());
        let single = self.id.starts_with("DEBIAN-CVE-");
        match self.upstream.as_deref().unwrap_or_default() {
            [] => vec![own],
            upstream if single => {
                own.extend(upstream.iter().cloned());
                vec![own]
            }
            // The record's name belongs to several: it must not make one of them.
            upstream if own.len() == 1 => upstream.iter().map(|name| vec![name.clone()]).collect(),
            _ => vec![own],
        }
    }

    fn severity(&self, affected: &Affected<'_>) -> (Severity, Option<f64>) {
        let ratings = affected
            .severity
            .iter()
            .flatten()
            .chain(self.severity.iter().flatten());
        let scores = ratings.filter(|rating| rating.kind.starts_with("CVSS_"));
        // The worst of several versions of CVSS: none of them is told to be the better one.
        let score = scores
            .filter_map(|rating| cvss_score(&rating.score))
            .reduce(f64::max);
        if let Some(score) = score {
            return (Severity::of_score(score), Some(score));
        }
        // A package that was published to do harm; such records are not rated.
        if self.id.starts_with("MAL-") {
            return (Severity::Critical, None);
        }
        let own = self.database_specific.as_ref();
        let word = affected
            .specific(|specific| specific.severity.as_deref())
            .or_else(|| affected.specific(|specific| specific.urgency.as_deref()))
            .or_else(|| own?.severity.as_deref());
        (word.map(Severity::of_word).unwrap_or_default(), None)
    }

    /// The summary, or the first line of the details.
    fn text(&self) -> &str {
        let details = || {
            self.details
                .as_deref()
                .and_then(|text| text.lines().find(|line| !line.is_empty()))
        };
        let summary = self.summary.as_deref().filter(|text| !text.is_empty());
        summary.or_else(details).unwrap_or_default()
    }
}

impl Affected<'_> {
    fn specific<'s>(&'s self, word: impl Fn(&'s Specific) -> Option<&'s str>) -> Option<&'s str> {
        let both = [&self.ecosystem_specific, &self.database_specific];
        both.into_iter().flatten().find_map(word)
    }

    /// Whether it includes the component's version: then the first version with a fix, if there is one.
    fn includes(&self, component: &Component) -> Option<Option<String>> {
        let ranges = self.ranges.iter().flatten();
        let hits = ranges.filter_map(|range| range.includes(component));
        // Several ranges are branches; the nearest fix is that of the version's own.
        let mut hits: Vec<Option<String>> = hits.collect();
        let listed = self
            .versions
            .iter()
            .flatten()
            .any(|version| *version == component.version);
        if listed {
            hits.push(None);
        }
        let scheme = component.ecosystem.scheme();
        let key = |fix: &Option<String>| fix.as_deref().and_then(|fix| Version::parse(scheme, fix));
        // One without a fix sorts first, but says less than one with it.
        hits.into_iter().min_by_key(|fix| (fix.is_none(), key(fix)))
    }
}

impl Range {
    /// Whether it includes the component's version: then the first version with a fix, if there is one.
    ///
    /// What cannot be read as a version is taken for the worse: introduced before all, fixed never.
    fn includes(&self, component: &Component) -> Option<Option<String>> {
        let scheme = match self.kind.as_str() {
            "SEMVER" => Scheme::Semver,
            "ECOSYSTEM" => component.ecosystem.scheme(),
            _ => return None,
        };
        let installed = Version::parse(scheme, &component.version)?;
        let mut limits = self
            .events
            .iter()
            .filter_map(|event| event.limit.as_deref())
            .peekable();
        let below = |limit: &str| limit == "*" || Version::parse(scheme, limit).as_ref() > Some(&installed);
        if limits.peek().is_some() && !limits.any(below) {
            return None;
        }
        // The last event that the version has reached decides. Nothing is sorted: Maven's order is not transitive.
        let mut last: Option<(Option<Version>, Turn)> = None;
        let mut fix: Option<(Version, &str)> = None;
        for (version, turn, text) in self.turns(scheme) {
            let reached = match turn {
                Turn::LastAffected => version.as_ref() < Some(&installed),
                Turn::Introduced | Turn::Fixed => version.as_ref() <= Some(&installed),
            };
            if reached {
                last = last.max(Some((version, turn)));
            } else if let (Turn::Fixed, Some(version)) = (turn, version)
                && fix.as_ref().is_none_or(|(nearest, _)| version < *nearest)
            {
                fix = Some((version, text));
            }
        }
        let affected = last.is_some_and(|(_, turn)| turn == Turn::Introduced);
        affected.then(|| fix.map(|(_, text)| text.to_owned()))
    }

    /// What the events do, each with the version from which on it does so.
    fn turns(&self, scheme: Scheme) -> impl Iterator<Item = (Option<Version>, Turn, &str)> {
        self.events.iter().flat_map(move |event| {
            let introduced = event.introduced.as_deref().map(|text| {
                // `0` is before every version, whatever the scheme.
                let version = Version::parse(scheme, text).filter(|_| text != "0");
                (version, Turn::Introduced, text)
            });
            let end = |text: Option<&'_ str>| Version::parse(scheme, text?).map(Some);
            let fixed = event.fixed.as_deref();
            let last = event.last_affected.as_deref();
            let fixed = end(fixed)
                .zip(fixed)
                .map(|(version, text)| (version, Turn::Fixed, text));
            let last = end(last)
                .zip(last)
                .map(|(version, text)| (version, Turn::LastAffected, text));
            introduced.into_iter().chain(fixed).chain(last)
        })
    }
}

/// An ecosystem of OSV and the release behind its colon.
fn ecosystem(name: &str) -> Option<(Ecosystem, &str)> {
    let (name, release) = name.split_once(':').unwrap_or((name, ""));
    let known = Ecosystem::ALL.into_iter().find(|known| known.name() == name)?;
    Some((known, release))
}

fn is_of_release(ecosystem: Ecosystem, release: &str, components: &Components) -> bool {
    if ecosystem != Ecosystem::Debian || release.is_empty() {
        return true;
    }
    let own = components.release().and_then(|own| own.number.as_deref());
    own == Some(release)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
mod tests {
    use super::*;

    /// The fixes of the matches of one version; none where the record does not include it.
    fn judged(ecosystem: Ecosystem, version: &str, affected: &str) -> Option<Option<String>> {
        let text = format!(
            "{{\"id\": \"GHSA-1\", \"modified\": \"2026-01-01T00:00:00Z\", \"affected\": [{{\"package\": \
             {{\"ecosystem\": \"{}\", \"name\": \"a_B\"}}, {affected}}}]}}",
            ecosystem.name()
        );
        let record: Record<'_> = serde_json::from_str(&text).unwrap();
        let components = Components::of_test(&[(ecosystem, "a_B", version)], None);
        let mut matches = Vec::new();
        record.judge(&components, &mut matches);
        assert!(matches.len() < 2);
        matches.pop().map(|found| found.fixed)
    }

    #[test]
    fn ranges() {
        let branches = "\"ranges\": [{\"type\": \"SEMVER\", \"events\": [{\"introduced\": \"2.0.0\"}, {\"fixed\": \"2.1.0\"}, \
            {\"fixed\": \"1.5.0\"}, {\"introduced\": \"0\"}]}]";
        let last = "\"ranges\": [{\"type\": \"ECOSYSTEM\", \"events\": [{\"introduced\": \"1.0\"}, {\"last_affected\": \"1.4\"}]}]";
        let commits =
            "\"ranges\": [{\"type\": \"GIT\", \"repo\": \"x\", \"events\": [{\"introduced\": \"0\"}]}]";
        let limited = "\"ranges\": [{\"type\": \"SEMVER\", \"events\": [{\"introduced\": \"0\"}, {\"limit\": \"2.0.0\"}]}]";
        let listed = "\"versions\": [\"1.0\", \"(devel)\"]";
        let again = "\"ranges\": [{\"type\": \"SEMVER\", \"events\": [{\"introduced\": \"0\"}, {\"fixed\": \"1.0.0\"}, \
            {\"introduced\": \"1.0.0\"}]}]";
        let odd =
            "\"ranges\": [{\"type\": \"SEMVER\", \"events\": [{\"introduced\": \"?\"}, {\"fixed\": \"?\"}]}]";
        let fixed = |version: &str| Some(Some(version.to_owned()));
        for (version, affected, expected) in [
            ("0.9.0", branches, fixed("1.5.0")),
            ("1.5.0", branches, None),
            ("1.9.9", branches, None),
            ("2.0.0-rc.1", branches, None),
            ("v2.0.0", branches, fixed("2.1.0")),
            ("2.1.0", branches, None),
            ("0.9", last, None),
            ("1.0.0", last, Some(None)),
            ("1.4", last, Some(None)),
            ("1.4.1", last, None),
            ("1.0", commits, None),
            ("1.9", limited, Some(None)),
            ("2.0.0", limited, None),
            ("1.0", listed, Some(None)),
            ("1.0.0", listed, None),
            ("(devel)", listed, Some(None)),
            ("(devel)", branches, None),
            ("1.0.0", again, Some(None)),
            ("1.0.0", odd, Some(None)),
        ] {
            assert_eq!(
                judged(Ecosystem::Npm, version, affected),
                expected,
                "{version} {affected}"
            );
        }
    }

    #[test]
    fn ecosystems_have_their_own_order_and_names() {
        let affected = |fixed: &str| {
            format!(
                "\"ranges\": [{{\"type\": \"ECOSYSTEM\", \"events\": [{{\"introduced\": \"0\"}}, {{\"fixed\": \"{fixed}\"}}]}}]"
            )
        };
        for (ecosystem, version, fixed, includes) in [
            (Ecosystem::PyPI, "2.0rc1", "2.0", true),
            (Ecosystem::PyPI, "2.0.post1", "2.0", false),
            (Ecosystem::Maven, "2.0-rc1", "2.0", true),
            (Ecosystem::Maven, "2.0-1", "2.0", false),
            (Ecosystem::Go, "1.9.0", "1.10.0", true),
            (Ecosystem::Debian, "1:0.1-1", "2", false),
        ] {
            let found = judged(ecosystem, version, &affected(fixed));
            assert_eq!(found.is_some(), includes, "{ecosystem:?} {version} {fixed}");
        }
        let components = Components::of_test(&[(Ecosystem::PyPI, "Foo.Bar", "1")], None);
        assert_eq!(components.named(Ecosystem::PyPI, "foo-bar"), [0]);
        assert!(components.named(Ecosystem::Npm, "foo-bar").is_empty());
    }

    #[test]
    fn severities_come_from_cvss_or_words() {
        let record = |own: &str, affected: &str| {
            let text = format!(
                "{{\"id\": \"A-1\", \"modified\": \"\", {own} \"affected\": [{{\"package\": {{\"ecosystem\": \"npm\", \"name\": \"a\"}}, \
                 \"versions\": [\"1\"] {affected}}}]}}"
            );
            let record: Record<'_> = serde_json::from_str(&text).unwrap();
            let mut matches = Vec::new();
            record.judge(
                &Components::of_test(&[(Ecosystem::Npm, "a", "1")], None),
                &mut matches,
            );
            matches[0].severity
        };
        let v3 = "\"severity\": [{\"type\": \"CVSS_V3\", \"score\": \"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H\"}],";
        let word = "\"database_specific\": {\"severity\": \"MODERATE\", \"cwe_ids\": [1]},";
        assert_eq!(record(v3, ""), Severity::High);
        assert_eq!(record(word, ""), Severity::Medium);
        assert_eq!(record(&format!("{v3}{word}"), ""), Severity::High);
        assert_eq!(
            record("\"severity\": [{\"type\": \"Ubuntu\", \"score\": \"low\"}],", ""),
            Severity::Unknown
        );
        assert_eq!(
            record("", ", \"ecosystem_specific\": {\"severity\": \"LOW\"}"),
            Severity::Low
        );
        assert_eq!(
            record("\"aliases\": null, \"severity\": null,", ""),
            Severity::Unknown
        );
    }
}
