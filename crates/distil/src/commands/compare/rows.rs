//! The rows of a comparison: one figure of every image each.

use std::time::Duration;

use distil_audit::Severity;
use distil_audit::cve::Vulnerability;
use serde_json::{Value, json};

use super::facts::{ImageFacts, PROGRAMS, count};
use super::start_up::StartUp;
use super::vulnerabilities::Vulnerabilities;
use crate::units;

/// One figure of every image.
pub(super) struct Row {
    /// Name in JSON.
    pub(super) key: &'static str,
    /// Name for people.
    pub(super) label: &'static str,
    /// One for each image.
    pub(super) figures: Vec<Figure>,
}

/// A figure of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Figure {
    /// A size.
    Bytes(u64),
    /// A number of things.
    Count(u64),
    /// A time.
    Time(Duration),
    /// Words, safe to print.
    Text(String),
}

/// How a figure differs from that of the first image.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Same,
    /// By this many percent, more than -100.
    Percent(f64),
    /// This many times as much.
    Times(f64),
    /// By this number.
    Number(i128),
}

/// The rows of a comparison.
pub(super) fn rows(images: &[ImageFacts]) -> Vec<Row> {
    let mut rows = vec![
        row("Size", "Size", images, |image| Figure::Bytes(image.size.stored)),
        row("Compressed", "Compressed", images, |image| {
            Figure::Bytes(image.size.compressed)
        }),
        row("Wasted", "Wasted", images, |image| {
            Figure::Bytes(image.size.wasted)
        }),
        row("Layers", "Layers", images, |image| {
            Figure::Count(count(image.layers.iter()))
        }),
        row("Files", "Files", images, |image| Figure::Count(image.files)),
        row("Packages", "Packages", images, |image| {
            Figure::Count(count(image.packages.iter()))
        }),
    ];
    for (rule, key, label) in PROGRAMS {
        rows.push(row(key, label, images, |image| {
            Figure::Count(count(image.programs(rule).iter()))
        }));
    }
    rows.push(row("SetID", "Set-user-id files", images, |image| {
        Figure::Count(count(image.set_id.iter()))
    }));
    for (key, label, severity) in [
        ("AuditErrors", "Audit errors", Severity::Error),
        ("AuditWarnings", "Audit warnings", Severity::Warning),
    ] {
        let findings = |image: &ImageFacts| {
            let bad = image
                .findings
                .iter()
                .filter(|finding| finding.severity == severity);
            Figure::Count(count(bad))
        };
        rows.push(row(key, label, images, findings));
    }
    rows.push(row("CVEs", "Open CVEs", images, |image| {
        vulnerable(image, |_| true)
    }));
    if images.iter().any(|image| image.vulnerabilities.is_some()) {
        let fixed = |image: &ImageFacts| vulnerable(image, Vulnerability::is_fixed);
        rows.push(row("FixedCVEs", "CVEs with a fix", images, fixed));
    }
    rows.push(row("User", "User", images, |image| {
        Figure::Text(if image.is_root() {
            "root".to_owned()
        } else {
            image.user.clone()
        })
    }));
    if images.iter().any(|image| image.start_up.is_some()) {
        rows.push(row("StartUp", "Start-up", images, start_up));
    }
    rows
}

fn row(
    key: &'static str,
    label: &'static str,
    images: &[ImageFacts],
    figure: impl Fn(&ImageFacts) -> Figure,
) -> Row {
    let figures = images.iter().map(figure).collect();
    Row { key, label, figures }
}

fn vulnerable(image: &ImageFacts, counts: impl Fn(&Vulnerability) -> bool) -> Figure {
    match &image.vulnerabilities {
        Some(Vulnerabilities::Judged { list, .. }) => {
            Figure::Count(count(list.iter().filter(|found| counts(found))))
        }
        Some(Vulnerabilities::NotJudged { .. }) => Figure::Text("not judged".to_owned()),
        None => Figure::Text("no database".to_owned()),
    }
}

fn start_up(image: &ImageFacts) -> Figure {
    match &image.start_up {
        Some(StartUp::Measured { median, .. }) => Figure::Time(*median),
        Some(StartUp::Failed { error }) => Figure::Text(error.clone()),
        None => Figure::Text("not measured".to_owned()),
    }
}

impl Row {
    /// The change of each image against the first, which has none.
    pub(super) fn changes(&self) -> Vec<Option<Change>> {
        let Some(first) = self.figures.first() else {
            return Vec::new();
        };
        let others = self.figures.iter().skip(1).map(|figure| first.change(figure));
        std::iter::once(None).chain(others).collect()
    }

    pub(super) fn json(&self) -> Value {
        let values: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let changes: Vec<Option<String>> = self
            .changes()
            .iter()
            .map(|change| change.as_ref().map(Change::text))
            .collect();
        json!({"Name": self.key, "Values": values, "Changes": changes})
    }
}

impl Figure {
    /// The figure as people read it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => units::bytes(*bytes),
            Self::Count(count) => count.to_string(),
            Self::Time(time) => units::short_time(*time),
            Self::Text(text) => text.clone(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Bytes(number) | Self::Count(number) => (*number).into(),
            Self::Time(time) => ((time.as_secs_f64() * 1e6).round() / 1e3).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }

    fn change(&self, other: &Self) -> Option<Change> {
        match (self, other) {
            (Self::Count(a), Self::Count(b)) => Some(match i128::from(*b) - i128::from(*a) {
                0 => Change::Same,
                number => Change::Number(number),
            }),
            (Self::Bytes(a), Self::Bytes(b)) => relative(*a as f64, *b as f64),
            (Self::Time(a), Self::Time(b)) => relative(a.as_secs_f64(), b.as_secs_f64()),
            _ => None,
        }
    }
}

/// None where the first is 0 and the second is not: no proportion says that.
fn relative(a: f64, b: f64) -> Option<Change> {
    if (a - b).abs() < f64::EPSILON {
        return Some(Change::Same);
    }
    if a <= 0.0 {
        return None;
    }
    Some(match b / a {
        times if times >= 10.0 => Change::Times(times),
        times => Change::Percent((times - 1.0) * 100.0),
    })
}

impl Change {
    /// Whether the second has less.
    pub(super) fn is_less(&self) -> bool {
        match self {
            Self::Same | Self::Times(_) => false,
            Self::Percent(percent) => *percent < 0.0,
            Self::Number(number) => *number < 0,
        }
    }

    /// `-98 %`, `+3`, `x12`, `=`. What is left of something is never told as `-100 %`.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Same => "=".to_owned(),
            Self::Number(number) => format!("{number:+}"),
            Self::Times(times) => format!("x{times:.0}"),
            Self::Percent(percent) if *percent <= -100.0 => "-100 %".to_owned(),
            Self::Percent(percent) if *percent < -99.9 => "-99.9 %".to_owned(),
            Self::Percent(percent) if *percent < -99.0 || percent.abs() < 9.95 => format!("{percent:+.1} %"),
            Self::Percent(percent) => format!("{percent:+.0} %"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_against_the_first() {
        let time = |millis| Figure::Time(Duration::from_millis(millis));
        for (first, other, text) in [
            (Figure::Bytes(100), Figure::Bytes(2), Some("-98 %")),
            (Figure::Bytes(1000), Figure::Bytes(4), Some("-99.6 %")),
            (Figure::Bytes(1_000_000), Figure::Bytes(1), Some("-99.9 %")),
            (Figure::Bytes(1000), Figure::Bytes(0), Some("-100 %")),
            (Figure::Bytes(100), Figure::Bytes(100), Some("=")),
            (Figure::Bytes(0), Figure::Bytes(0), Some("=")),
            (Figure::Bytes(0), Figure::Bytes(1), None),
            (Figure::Bytes(1000), Figure::Bytes(1011), Some("+1.1 %")),
            (Figure::Bytes(100), Figure::Bytes(1200), Some("x12")),
            (Figure::Count(3), Figure::Count(1), Some("-2")),
            (Figure::Count(0), Figure::Count(7), Some("+7")),
            (Figure::Count(7), Figure::Count(7), Some("=")),
            (time(10), time(15), Some("+50 %")),
            (time(10), Figure::Text(String::new()), None),
        ] {
            let change = first.change(&other).map(|change| change.text());
            assert_eq!(change.as_deref(), text, "{first:?} {other:?}");
        }
    }
}
