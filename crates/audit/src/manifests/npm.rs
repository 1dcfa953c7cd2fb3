//! npm packages: every `package.json` with a name and a version.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Candidate, Draft, Drafts};
use crate::ImageView;
use crate::inventory::{Ecosystem, OwnedFile};

pub(super) fn read(view: &ImageView, candidate: &Candidate<'_>) -> Drafts {
    let text = candidate.text(view)?;
    // Packages bring damaged ones as data of their tests.
    let Ok(manifest) = serde_json::from_str::<Value>(text.trim_start_matches('\u{feff}')) else {
        return Ok(Vec::new());
    };
    let field = |name: &str| {
        manifest[name]
            .as_str()
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let (Some(name), Some(version)) = (field("name"), field("version")) else {
        return Ok(Vec::new());
    };
    // npm's own rule: no name has a blank, and 214 bytes are the most.
    if name.len() > 214 || version.len() > 256 || name.contains(char::is_whitespace) {
        return Ok(Vec::new());
    }
    let mut draft = Draft::new(Ecosystem::Npm, name, version);
    draft.licence = licence(&manifest["license"]).or_else(|| licence(&manifest["licenses"]));
    Ok(vec![draft])
}

/// A text; `{"type": ...}` and lists of either are from before npm 2.10.
fn licence(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Object(_) => licence(&value["type"]),
        Value::Array(several) => {
            let several: Vec<String> = several.iter().filter_map(licence).collect();
            (!several.is_empty()).then(|| several.join(" OR "))
        }
        _ => None,
    }
}

/// Gives each package in a `node_modules` folder the files below it that no package further down has.
pub(super) fn own_files(view: &ImageView, candidates: &[Candidate<'_>], found: &mut [Vec<Draft>]) {
    let npm = |drafts: &[Draft]| {
        drafts
            .first()
            .is_some_and(|draft| draft.ecosystem == Ecosystem::Npm)
    };
    let mut roots: Vec<(&Path, usize)> = Vec::new();
    for (at, candidate) in candidates.iter().enumerate() {
        let root = candidate.entry.path.parent().filter(|_| npm(&found[at]));
        roots.extend(root.filter(|root| is_installed(root)).map(|root| (root, at)));
    }
    let Some(first) = roots.iter().map(|(root, _)| root.as_os_str().as_bytes()).min() else {
        return;
    };
    let inner: std::collections::HashMap<&Path, usize> = roots.iter().copied().collect();
    let entries = view.entries();
    let start = entries.partition_point(|entry| entry.path.as_os_str().as_bytes() < first);
    // Files of one folder mostly stand together, so the last answer is mostly the next one.
    let mut last: (PathBuf, Option<usize>) = (PathBuf::new(), None);
    for entry in entries[start..].iter().filter(|entry| !entry.node.kind.is_dir()) {
        let Some(folder) = entry.path.parent() else {
            continue;
        };
        if last.0 != folder {
            let owner = folder.ancestors().find_map(|folder| inner.get(folder).copied());
            last = (folder.to_owned(), owner);
        }
        if let Some(draft) = last.1.and_then(|at| found[at].first_mut()) {
            draft.files.push(OwnedFile {
                path: entry.path.clone(),
                md5: None,
            });
        }
    }
}

/// Whether a folder is where a package manager puts a package: `node_modules/NAME` or `node_modules/@SCOPE/NAME`.
fn is_installed(root: &Path) -> bool {
    let names: Vec<&[u8]> = root
        .iter()
        .rev()
        .skip(1)
        .take(2)
        .map(OsStrExt::as_bytes)
        .collect();
    match names.as_slice() {
        [first, ..] if first == b"node_modules" => true,
        [scope, second] => scope.starts_with(b"@") && second == b"node_modules",
        _ => false,
    }
}
