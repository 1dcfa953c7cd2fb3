//! Debian's copyright files: the machine-readable form (DEP-5) exactly, others by what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use distil_debian::deb822::paragraphs;

use super::{Licence, Terms, all_of};
use crate::{AuditError, ImageView, Package};

/// Largest file that is read; that of linux has some 2 MB.
const LIMIT: u64 = 16 << 20;
/// Licences whose whole text every Debian system has, as SPDX calls them. Those of the GNU family are told apart by
/// what the file says.
const COMMON: [(&str, &str); 7] = [
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("BSD", "BSD-3-Clause"),
    ("CC0-1.0", "CC0-1.0"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2.0", "MPL-2.0"),
    ("GFDL-NIV-1.3", "GFDL-1.3-no-invariants-or-later"),
];
const COMMON_FOLDER: &str = "/usr/share/common-licenses/";

/// The licence of a package by its copyright file; none where the image has no such file, or it tells nothing.
pub(super) fn licence(view: &ImageView, package: &Package) -> Result<Option<Licence>, AuditError> {
    // A name from the record must not lead elsewhere.
    if package.name.contains('/') || package.name.starts_with('.') {
        return Ok(None);
    }
    let path = Path::new("/usr/share/doc").join(&package.name).join("copyright");
    let entry = view.find(&path, true);
    let Some(entry) = entry.filter(|entry| entry.node.kind.is_file() && entry.size() <= LIMIT) else {
        return Ok(None);
    };
    let bytes = view.read(entry, LIMIT)?;
    Ok(read(&String::from_utf8_lossy(&bytes)))
}

/// Reads the text of a copyright file.
pub(super) fn read(text: &str) -> Option<Licence> {
    let first = paragraphs(text).next();
    let format = first.and_then(|header| {
        header
            .get("Format")
            .or_else(|| header.get("Format-Specification"))
    });
    if format.is_some() {
        of_fields(text)
    } else {
        of_prose(text)
    }
}

/// The field `License` of every paragraph: its first line is the name, the rest is the text.
fn of_fields(text: &str) -> Option<Licence> {
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for paragraph in paragraphs(text) {
        let Some(value) = paragraph.get("License") else {
            continue;
        };
        let (name, body) = value.split_once('\n').unwrap_or((value, ""));
        let name = name.trim();
        if !body.trim().is_empty() {
            texts.entry(name).or_insert_with(|| plain(body));
        }
        // A paragraph without files holds a text that others name.
        let has_files = paragraph.get("Files").is_some() || paragraph.get("Format").is_some();
        if has_files && !name.is_empty() {
            named.insert(name.to_owned());
        }
    }
    if named.is_empty() {
        named.extend(texts.keys().map(|name| (*name).to_owned()));
    }
    let mut terms = Terms::default();
    let expressions: BTreeSet<String> = named
        .iter()
        .map(|name| synopsis(name, &texts, &mut terms))
        .collect();
    (!expressions.is_empty()).then(|| {
        let expression = all_of(&expressions);
        terms.finish(&expression)
    })
}

/// The lines of a field without the blank before each and the dot of an empty one.
fn plain(body: &str) -> String {
    let lines = body.lines().map(|line| {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        if line == "." { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// `A or B, and C`: `and` binds stronger than `or`, a comma weaker than both.
fn synopsis(name: &str, texts: &BTreeMap<&str, String>, terms: &mut Terms) -> String {
    let mut whole: Vec<String> = Vec::new();
    let mut joined_by_or = false;
    for (at, part) in name.split(',').enumerate() {
        let mut part = part.trim();
        if let Some(rest) = strip_word(part, "or") {
            joined_by_or |= at > 0;
            part = rest;
        } else if let Some(rest) = strip_word(part, "and") {
            part = rest;
        }
        if !part.is_empty() {
            whole.push(alternatives(part, texts, terms));
        }
    }
    let several = whole.len() > 1;
    let parts =
        whole.into_iter().map(
            |part| match several && part.contains(' ') && !part.contains(" WITH ") {
                true => format!("({part})"),
                false => part,
            },
        );
    let parts: Vec<String> = parts.collect();
    match parts.is_empty() {
        // Only commas and conjunctions.
        true => terms.named(name, None),
        false => parts.join(if joined_by_or { " OR " } else { " AND " }),
    }
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let (first, rest) = text.split_once(' ')?;
    first.eq_ignore_ascii_case(word).then(|| rest.trim())
}

fn alternatives(part: &str, texts: &BTreeMap<&str, String>, terms: &mut Terms) -> String {
    let mut several: Vec<String> = Vec::new();
    for alternative in split_word(part, "or") {
        let all: Vec<String> = split_word(&alternative, "and")
            .iter()
            .map(|name| terms.named(name, texts.get(name.as_str()).map(String::as_str)))
            .collect();
        if !all.is_empty() {
            several.push(all.join(" AND "));
        }
    }
    match several.is_empty() {
        true => terms.named(part, None),
        false => several.join(" OR "),
    }
}

/// The parts between the words `word`, of any letter case.
fn split_word(text: &str, word: &str) -> Vec<String> {
    let mut parts = vec![Vec::new()];
    for part in text.split_ascii_whitespace() {
        match part.eq_ignore_ascii_case(word) {
            true => parts.push(Vec::new()),
            false => {
                if let Some(last) = parts.last_mut() {
                    last.push(part);
                }
            }
        }
    }
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.map(|part| part.join(" ")).collect()
}

/// The common licences that a text refers to, and the texts that are the licence itself.
fn of_prose(text: &str) -> Option<Licence> {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let later = words.contains("any later version") || words.contains("any newer version");
    let mut terms = Terms::default();
    let mut found: BTreeSet<String> = BTreeSet::new();
    for (at, _) in words.match_indices(COMMON_FOLDER) {
        let rest = &words[at + COMMON_FOLDER.len()..];
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '.' | '-'));
        let name = rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', '-']);
        if name.is_empty() {
            continue;
        }
        let known = COMMON.iter().find(|(common, _)| *common == name);
        found.insert(match known {
            Some((_, id)) => (*id).to_owned(),
            // Without that sentence it may be only this version, or any.
            None if later => terms.named(&format!("{name}+"), Some(name)),
            None => {
                let reference = format!("LicenseRef-{}", super::names::slug(name));
                let text = format!("{COMMON_FOLDER}{name}");
                terms.references.entry(reference.clone()).or_insert(text);
                reference
            }
        });
    }
    let granted =
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this software";
    if words.contains(granted) && words.contains("the above copyright notice and this permission notice") {
        found.insert("MIT".to_owned());
    }
    let redistributed = words.contains("Redistribution and use in source and binary forms");
    if redistributed && words.contains("Neither the name") && !words.contains("All advertising materials") {
        found.insert("BSD-3-Clause".to_owned());
    }
    (!found.is_empty()).then(|| {
        let expression = all_of(&found);
        terms.finish(&expression)
    })
}
