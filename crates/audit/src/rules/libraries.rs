//! ELF files that a loader could not load.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use distil_elf::Stage;

use super::batches;
use super::catalog::MISSING_LIBRARY;
use super::contents::{Format, is_library};
use super::{Image, is_executable, quoted};
use crate::preflight::{Depth, Lack, Linkage, Release, package_of};
use crate::{AuditError, Entry, Finding, Severity, printable, printable_path, printable_text};

/// Files that a thread takes at once.
const BATCH: usize = 16;
/// Directories of libraries that have nothing to do with each other.
const SHARED: [&str; 5] = ["/", "/usr", "/usr/lib", "/usr/local", "/usr/local/lib"];

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let files = files(image);
    let names = names(image);
    let release = release(image)?;
    for (at, lacks) in all_lacks(image, &files)? {
        let Some(entry) = files.get(at) else { continue };
        let lacks: Vec<&Lack> = lacks.iter().filter(|lack| !of_same_home(&names, lack)).collect();
        if !lacks.is_empty() {
            found.push(finding(image, entry, &lacks, release));
        }
    }
    Ok(())
}

/// Every program and library once.
fn files<'v>(image: &Image<'v>) -> Vec<&'v Entry> {
    let mut groups = HashSet::new();
    let entries = image.view.entries().iter();
    let candidates =
        entries.filter(|entry| entry.node.kind.is_file() && (is_executable(entry) || is_library(entry)));
    candidates
        .filter(|entry| {
            image
                .contents
                .of(entry)
                .is_some_and(|facts| facts.format == Format::Elf)
        })
        .filter(|entry| entry.link_group.is_none_or(|group| groups.insert(group)))
        .collect()
}

/// What files lack, by their place in `files`, with one thread a core.
fn all_lacks(image: &Image<'_>, files: &[&Entry]) -> Result<Vec<(usize, Vec<Lack>)>, AuditError> {
    let environment = &image.view.config().config.env;
    let mut found = batches::share(files.len(), BATCH, |batches| {
        let stage = Stage::new(image.view.tree());
        let mut linkage = Linkage::new(&stage, environment)?;
        let mut found = Vec::new();
        while let Some(batch) = batches.take() {
            for at in batch {
                let linked = linkage.link(&files[at].path, Depth::Own)?;
                let lacks = linked.map(|linked| linked.lacks).unwrap_or_default();
                if !lacks.is_empty() {
                    found.push((at, lacks));
                }
            }
        }
        Ok(found)
    })?;
    found.sort_unstable_by_key(|(at, _)| *at);
    Ok(found)
}

/// Every file that may be a library.
fn names<'v>(image: &Image<'v>) -> HashSet<(&'v [u8], &'v Path)> {
    let entries = image.view.entries().iter().filter(|entry| is_library(entry));
    entries
        .filter_map(|entry| Some((entry.path.file_name()?.as_bytes(), entry.path.parent()?)))
        .collect()
}

/// Whether a library that another wants is elsewhere in the same tree: what loads both brings it, as a Java runtime
/// does with `lib/server/libjvm.so`.
fn of_same_home(names: &HashSet<(&[u8], &Path)>, lack: &Lack) -> bool {
    let Lack::Library { name, needed_by } = lack else {
        return false;
    };
    let Some(home) = needed_by.parent().and_then(Path::parent) else {
        return false;
    };
    let own = !SHARED.iter().any(|shared| home == Path::new(shared));
    own && names
        .iter()
        .any(|(known, parent)| *known == name.as_bytes() && parent.starts_with(home))
}

fn release(image: &Image<'_>) -> Result<Option<Release>, AuditError> {
    let Some(entry) = image.view.find(Path::new("/etc/os-release"), true) else {
        return Ok(None);
    };
    if !entry.node.kind.is_file() {
        return Ok(None);
    }
    let bytes = image.view.read_start(entry, 1 << 16)?;
    Ok(Release::of_os_release(&String::from_utf8_lossy(&bytes)))
}

fn finding(image: &Image<'_>, entry: &Entry, lacks: &[&Lack], release: Option<Release>) -> Finding {
    let texts: Vec<String> = lacks.iter().map(|lack| text(lack)).collect();
    let message = format!("{} cannot be loaded: {}", quoted(&entry.path), texts.join(", "));
    let mut finding = MISSING_LIBRARY.at(image, entry, message + &image.owner_text(entry));
    // A library may be one that the program never loads.
    if is_library(entry) {
        finding.severity = Severity::Warning;
    }
    let packages: Vec<&str> = lacks.iter().filter_map(|lack| package(lack, release)).collect();
    if !packages.is_empty() {
        finding = finding.fix(format!(
            "`COPY --closure` brings a program with its libraries; Debian has them in `{}`",
            packages.join("`, `")
        ));
    }
    finding
}

fn package(lack: &Lack, release: Option<Release>) -> Option<&'static str> {
    let name = match lack {
        Lack::Library { name, .. } => name.clone(),
        Lack::Loader { loader, .. } => loader.file_name()?.to_owned(),
        Lack::Version { .. } => return None,
    };
    package_of(name.to_str()?, release)
}

fn text(lack: &Lack) -> String {
    match lack {
        Lack::Loader { loader, .. } => format!("the loader `{}` is missing", printable_path(loader)),
        Lack::Library { name, .. } => format!("`{}` is missing", printable(name)),
        Lack::Version {
            version,
            library,
            newest,
            ..
        } => {
            let has = match newest {
                Some(newest) => format!("has {} at most", printable_text(newest)),
                None => "has none of the kind".to_owned(),
            };
            format!(
                "it wants {} and {} {has}",
                printable_text(version),
                quoted(library)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_one_home_find_each_other() {
        let lack = |needed_by: &str| Lack::Library {
            name: "libjvm.so".into(),
            needed_by: needed_by.into(),
        };
        let names = HashSet::from([(&b"libjvm.so"[..], Path::new("/usr/lib/jvm/java/lib/server"))]);
        assert!(of_same_home(&names, &lack("/usr/lib/jvm/java/lib/libawt.so")));
        assert!(!of_same_home(
            &names,
            &lack("/usr/lib/x86_64-linux-gnu/libawt.so")
        ));
        assert!(!of_same_home(&names, &lack("/opt/other/lib/libawt.so")));
    }
}
