//! Python distributions: `*.dist-info/METADATA` and `*.egg-info`.

use std::path::Path;

use distil_debian::deb822::{Paragraph, paragraphs};

use super::{Candidate, Draft, Drafts, below};
use crate::inventory::{Ecosystem, OwnedFile};
use crate::{AuditError, Entry, ImageView};

/// Largest list of files that is read.
const MAX_LIST: u64 = 64 << 20;

pub(super) fn read(view: &ImageView, candidate: &Candidate<'_>) -> Drafts {
    let text = candidate.text(view)?;
    let Some(fields) = paragraphs(&text).next() else {
        return Ok(Vec::new());
    };
    let (Some(name), Some(version)) = (word(&fields, "Name"), word(&fields, "Version")) else {
        return Ok(Vec::new());
    };
    let mut draft = Draft::new(Ecosystem::Pypi, name, version);
    draft.licence = licence(&fields);
    draft.files = files(view, candidate.entry)?;
    Ok(vec![draft])
}

fn word<'t>(fields: &Paragraph<'t>, name: &str) -> Option<&'t str> {
    fields
        .get(name)
        .map(str::trim)
        .filter(|text| !text.is_empty() && !text.contains('\n'))
}

/// The expression of metadata 2.4; else a short text of the field `License`; else the classifiers.
fn licence(fields: &Paragraph<'_>) -> Option<String> {
    if let Some(expression) = word(fields, "License-Expression") {
        return Some(expression.to_owned());
    }
    let known = |text: &&str| text.len() <= 80 && !matches!(*text, "UNKNOWN" | "None" | "Dual License");
    if let Some(text) = word(fields, "License").filter(known) {
        return Some(text.to_owned());
    }
    let classifiers = fields
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Classifier"));
    let named: Vec<&str> = classifiers
        .filter_map(|(_, text)| text.trim().strip_prefix("License :: "))
        .filter_map(|text| text.rsplit(" :: ").next())
        .filter(|text| *text != "OSI Approved")
        .collect();
    (!named.is_empty()).then(|| named.join(" AND "))
}

/// What `RECORD`, or `installed-files.txt` of an egg, lists; those two list themselves.
fn files(view: &ImageView, entry: &Entry) -> Result<Vec<OwnedFile>, AuditError> {
    let Some(folder) = entry.path.parent() else {
        return Ok(Vec::new());
    };
    let is_folder = folder
        .extension()
        .is_some_and(|end| end == "dist-info" || end == "egg-info");
    if !is_folder {
        return Ok(vec![owned(&entry.path)]);
    }
    let base = folder.parent().unwrap_or(folder);
    let mut files: Vec<OwnedFile> = list(view, &folder.join("RECORD"))?
        .lines()
        .map(|line| owned(&below(base, &first_column(line))))
        .collect();
    if files.is_empty() {
        let installed = list(view, &folder.join("installed-files.txt"))?;
        files.extend(installed.lines().map(|line| owned(&below(folder, line))));
    }
    if files.is_empty() {
        // A distribution package (dpkg) often leaves the lists out.
        let inside = view
            .below(folder)
            .iter()
            .filter(|entry| entry.node.kind.is_file());
        files.extend(inside.map(|entry| owned(&entry.path)));
    }
    files.retain(|file| {
        view.get(&file.path)
            .is_some_and(|entry| !entry.node.kind.is_dir())
    });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    Ok(files)
}

fn owned(path: &Path) -> OwnedFile {
    OwnedFile {
        path: path.to_owned(),
        md5: None,
    }
}

fn list(view: &ImageView, path: &Path) -> Result<String, AuditError> {
    match view.get(path) {
        Some(entry) if entry.node.kind.is_file() && entry.size() <= MAX_LIST => {
            Ok(String::from_utf8_lossy(&view.read(entry, MAX_LIST)?).into_owned())
        }
        _ => Ok(String::new()),
    }
}

/// The first column of a line of comma-separated values; quotes stand around one with a comma.
fn first_column(line: &str) -> String {
    let Some(quoted) = line.strip_prefix('"') else {
        return line.split(',').next().unwrap_or_default().to_owned();
    };
    let mut column = String::new();
    let mut letters = quoted.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if letters.peek() == Some(&'"') => {
                letters.next();
                column.push('"');
            }
            '"' => break,
            _ => column.push(letter),
        }
    }
    column
}
