//! Package records: what scanners and lawyers read.

use std::collections::HashSet;
use std::path::Path;

use distil_debian::deb822::paragraphs;

use super::catalog::{MISSING_LICENCE, PACKAGE_RECORD, UNOWNED_ELF};
use super::contents::{Format, is_library};
use super::{Image, is_executable, quoted};
use crate::{AuditError, Entry, Finding, printable_text};

const DATABASE: &str = "/var/lib/dpkg";
/// Largest record that is read.
const LIMIT: u64 = 64 << 20;

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    for entry in records(image) {
        let text = String::from_utf8_lossy(&image.view.read_start(entry, LIMIT)?).into_owned();
        record(image, entry, &text, found);
    }
    licences(image, found);
    unowned(image, found);
    Ok(())
}

/// The files with control paragraphs.
fn records<'v>(image: &Image<'v>) -> Vec<&'v Entry> {
    let view = image.view;
    let Some(database) = view.resolve(Path::new(DATABASE), true) else {
        return Vec::new();
    };
    let folder = database.join("status.d");
    let own = view
        .children(&folder)
        .filter(|entry| entry.path.extension().is_none_or(|end| end != "md5sums"));
    let all = own.chain(view.find(&database.join("status"), true));
    all.filter(|entry| entry.node.kind.is_file()).collect()
}

fn record(image: &Image<'_>, entry: &Entry, text: &str, found: &mut Vec<Finding>) {
    let mut any = false;
    for paragraph in paragraphs(text) {
        any = true;
        let lacks: Vec<&str> = ["Package", "Version", "Architecture"]
            .into_iter()
            .filter(|field| paragraph.get(field).is_none_or(str::is_empty))
            .collect();
        // One that was removed has no version any more.
        let gone = paragraph
            .get("Status")
            .is_some_and(|status| status.contains("not-installed"));
        if !lacks.is_empty() && !gone {
            let name = paragraph.get("Package").unwrap_or("?");
            let message = format!(
                "the record of package `{}` in {} has no {}",
                printable_text(name),
                quoted(&entry.path),
                lacks.join(", ")
            );
            found.push(PACKAGE_RECORD.at(image, entry, message));
        }
    }
    if !any
        && entry
            .path
            .parent()
            .is_some_and(|parent| parent.ends_with("status.d"))
    {
        let message = format!("{} has no package record", quoted(&entry.path));
        found.push(PACKAGE_RECORD.at(image, entry, message));
    }
}

fn licences(image: &Image<'_>, found: &mut Vec<Finding>) {
    let view = image.view;
    for package in image.inventory.packages() {
        let is_deb = package.ecosystem == crate::Ecosystem::Deb;
        if !is_deb || package.name.contains('/') {
            continue;
        }
        let path = Path::new("/usr/share/doc").join(&package.name).join("copyright");
        if view
            .find(&path, true)
            .is_some_and(|entry| entry.node.kind.is_file())
        {
            continue;
        }
        let name = printable_text(&package.name);
        let message = format!(
            "the licence of package `{name}` is missing: there is no {}",
            quoted(&path)
        );
        let mut finding = match view.get(&package.record) {
            Some(entry) => MISSING_LICENCE.at(image, entry, message),
            None => MISSING_LICENCE.about(message),
        };
        finding.path = Some(path);
        found.push(finding);
    }
}

/// Programs and libraries that scanners cannot tell the version of. Only told where there are records at all.
fn unowned(image: &Image<'_>, found: &mut Vec<Finding>) {
    if image.inventory.packages().is_empty() {
        return;
    }
    let mut groups = HashSet::new();
    for entry in image.view.entries() {
        let candidate = entry.node.kind.is_file() && (is_executable(entry) || is_library(entry));
        let elf = candidate
            && image
                .contents
                .of(entry)
                .is_some_and(|facts| facts.format == Format::Elf);
        if elf
            && image.inventory.owner(&entry.path).is_none()
            && entry.link_group.is_none_or(|group| groups.insert(group))
        {
            let message = format!("no package has {}", quoted(&entry.path));
            found.push(UNOWNED_ELF.at(image, entry, message));
        }
    }
}
