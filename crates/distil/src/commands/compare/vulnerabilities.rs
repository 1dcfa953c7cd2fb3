//! Known vulnerabilities of an image, from the databases that `distil cve` asks.

use std::path::PathBuf;

use distil_audit::cve::{Components, CveError, Database, Report, Severity, Statements, Vulnerability};
use distil_audit::{Inventory, printable_text};
use serde::Serialize;

use crate::commands::cve::{old, told};
use crate::error::{CliError, chain};
use crate::view::OpenedImage;

/// What databases say of an image.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Vulnerabilities {
    /// It was judged.
    #[serde(rename_all = "PascalCase")]
    Judged {
        /// Those that count, the worst first.
        list: Vec<Vulnerability>,
        databases: Vec<Database>,
        /// That they are old.
        #[serde(skip)]
        warning: Option<String>,
    },
    /// No database knows its system.
    #[serde(rename_all = "PascalCase")]
    NotJudged {
        /// Why, safe to print.
        error: String,
    },
}

impl Vulnerabilities {
    /// Asks the databases at `paths`. `now` is in seconds since 1970.
    pub(super) fn of(
        image: &OpenedImage,
        inventory: &Inventory,
        paths: &[PathBuf],
        now: i64,
    ) -> Result<Self, CliError> {
        let report = Components::of(image, inventory, None)
            .and_then(|components| Report::of(&components, paths, &Statements::default(), now));
        match report {
            Ok(report) => Ok(Self::Judged {
                warning: old(&report, now),
                list: report.vulnerabilities,
                databases: report.databases,
            }),
            // Other images may still be judged.
            Err(error @ (CveError::NoRelease { .. } | CveError::UnknownRelease { .. })) => {
                Ok(Self::NotJudged {
                    error: printable_text(&chain(&error)),
                })
            }
            Err(error) => Err(told(error)),
        }
    }

    /// Those of a severity.
    pub(super) fn of_severity(&self, severity: Severity) -> impl Iterator<Item = &Vulnerability> {
        let list = match self {
            Self::Judged { list, .. } => list.as_slice(),
            Self::NotJudged { .. } => &[],
        };
        list.iter().filter(move |found| found.severity == severity)
    }
}
