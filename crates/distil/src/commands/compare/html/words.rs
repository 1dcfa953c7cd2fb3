//! How parts of an image are called.

use distil_audit::{Ecosystem, Severity, Share, ShareKind};

use super::text::number;
use crate::commands::compare::rows::Change;

/// The name of a share beside those that it belongs with.
pub(super) fn name_of(share: &Share) -> String {
    match share.kind {
        ShareKind::Packages(ecosystem) => packages(ecosystem),
        ShareKind::Unowned => "No package".to_owned(),
        ShareKind::Rest => "others".to_owned(),
        _ => share.name.clone(),
    }
}

/// The name of a share away from those; `parent` is the path of what it is in.
pub(super) fn path_of(parent: &str, share: &Share) -> String {
    match share.kind {
        ShareKind::Directory | ShareKind::File => {
            format!(
                "{}/{}",
                parent.trim_end_matches('/'),
                share.name.trim_start_matches('/')
            )
        }
        // Paths begin anew below it.
        ShareKind::Packages(_) | ShareKind::Unowned => String::new(),
        ShareKind::Package => share.name.clone(),
        ShareKind::Rest if parent.is_empty() => "others".to_owned(),
        ShareKind::Rest => format!("others in {parent}"),
    }
}

/// `Debian packages`.
pub(super) fn packages(ecosystem: Ecosystem) -> String {
    format!("{} packages", ecosystem_name(ecosystem))
}

/// The name that people have for an ecosystem.
pub(super) fn ecosystem_name(ecosystem: Ecosystem) -> String {
    match ecosystem {
        Ecosystem::Deb => "Debian".to_owned(),
        Ecosystem::Golang => "Go".to_owned(),
        Ecosystem::Pypi => "Python".to_owned(),
        Ecosystem::Maven => "Java".to_owned(),
        other => other.to_string(),
    }
}

/// How bad a finding is, with a colour that the word does not need.
pub(super) fn severity(severity: Severity) -> String {
    let class = if severity == Severity::Error {
        "more"
    } else {
        "dim"
    };
    format!("<small class=\"level {class}\">{severity}</small>")
}

/// A change with a mark in front: less is good, for everything that is compared.
pub(super) fn change(change: &Change) -> String {
    let (class, mark) = match change {
        Change::Same => return "<span class=same>same</span>".to_owned(),
        less if less.is_less() => ("less", "↓"),
        _ => ("more", "↑"),
    };
    let text = match change {
        Change::Number(by) => number(u64::try_from(by.unsigned_abs()).unwrap_or(u64::MAX)),
        other => other
            .text()
            .trim_start_matches(['+', '-'])
            .replace(" %", "\u{a0}%"),
    };
    let word = if class == "less" { "less by" } else { "more by" };
    format!(
        "<span class={class}><span aria-hidden=true>{mark}</span><span class=vh>{word}</span> {text}</span>"
    )
}
