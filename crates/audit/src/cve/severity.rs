//! How bad a vulnerability is.

use serde::{Deserialize, Serialize};

/// How bad a vulnerability is, the least first.
///
/// CVSS scores are named as section 5 of its specification does: below 4 low, below 7 medium, below 9 high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// No database says.
    #[default]
    Unknown,
    /// Debian calls it unimportant, or its score is 0.
    Negligible,
    /// Little harm, or hard to use.
    Low,
    /// In between.
    Medium,
    /// Much harm, or easy to use.
    High,
    /// Both.
    Critical,
}

impl Severity {
    /// All of them, the worst first, as they are listed.
    pub const WORST_FIRST: [Self; 6] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Negligible,
        Self::Unknown,
    ];

    /// The severity of a score from 0 to 10.
    #[must_use]
    pub fn of_score(score: f64) -> Self {
        match score {
            score if score >= 9.0 => Self::Critical,
            score if score >= 7.0 => Self::High,
            score if score >= 4.0 => Self::Medium,
            score if score > 0.0 => Self::Low,
            _ => Self::Negligible,
        }
    }

    /// Reads a word of an advisory database: `MODERATE` of GitHub's, `medium**` of Debian's tracker. Other
    /// words are [`Severity::Unknown`].
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        match word.trim_end_matches('*').to_ascii_lowercase().as_str() {
            "critical" => Self::Critical,
            "high" | "important" => Self::High,
            "medium" | "moderate" => Self::Medium,
            "low" | "minor" => Self::Low,
            "negligible" | "unimportant" | "none" => Self::Negligible,
            _ => Self::Unknown,
        }
    }
}

impl std::fmt::Display for Severity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(match self {
            Self::Unknown => "unknown",
            Self::Negligible => "negligible",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// The base score of a CVSS vector of version 2, 3.0, 3.1 or 4.0.
pub(crate) fn cvss_score(vector: &str) -> Option<f64> {
    let vector: cvss::Cvss = vector.parse().ok()?;
    let score = vector.score();
    score.is_finite().then_some(score)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores that FIRST's examples and calculators give.
    #[test]
    fn vectors() {
        for (vector, score, severity) in [
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
                9.8,
                Severity::Critical,
            ),
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H",
                7.5,
                Severity::High,
            ),
            (
                "CVSS:3.0/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N",
                6.4,
                Severity::Medium,
            ),
            ("CVSS:3.1/AV:L/AC:H/PR:L/UI:N/S:U/C:L/I:N/A:N", 2.5, Severity::Low),
            (
                "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N",
                0.0,
                Severity::Negligible,
            ),
            ("AV:N/AC:L/Au:N/C:P/I:P/A:P", 7.5, Severity::High),
            (
                "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                9.3,
                Severity::Critical,
            ),
        ] {
            let found = cvss_score(vector).unwrap();
            assert!((found - score).abs() < 0.05, "{vector}: {found}");
            assert_eq!(Severity::of_score(found), severity, "{vector}");
        }
        for bad in [
            "",
            "CVSS:3.1",
            "CVSS:9.0/AV:N",
            "CVSS:3.1/AV:X",
            "nonsense",
            "\u{1b}",
        ] {
            assert_eq!(cvss_score(bad), None, "{bad}");
        }
    }

    #[test]
    fn words() {
        for (word, severity) in [
            ("MODERATE", Severity::Medium),
            ("medium**", Severity::Medium),
            ("not yet assigned", Severity::Unknown),
            ("unimportant", Severity::Negligible),
        ] {
            assert_eq!(Severity::of_word(word), severity);
        }
        let mut worst = Severity::WORST_FIRST;
        worst.reverse();
        worst[1..].windows(2).for_each(|pair| assert!(pair[0] < pair[1]));
    }
}
