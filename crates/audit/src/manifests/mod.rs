//! Packages of programming languages, from what their package managers and compilers leave in an image.
//!
//! Files are chosen by name, mode and size alone; only what may be a manifest is opened, with one thread a core.
//! The forms are those of Go's `debug/buildinfo`, Python's core metadata, npm's `package.json` and Maven's
//! `pom.properties` with the manifest of jar files.

mod go;
mod java;
mod npm;
mod python;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod zip;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::inventory::{Ecosystem, OwnedFile, Package, SourcePackage, purl};
use crate::{AuditError, Entry, ImageView};

/// Smallest program that can be Go's: an empty one has some 800 kB, packed ones tell nothing.
const MIN_GO: u64 = 256 * 1024;
/// Largest manifest that is read.
const MAX_TEXT: u64 = 16 << 20;

/// What is read of one file, or why it could not be.
type Drafts = Result<Vec<Draft>, AuditError>;

/// A file that may say something about packages.
struct Candidate<'v> {
    entry: &'v Entry,
    read: fn(&ImageView, &Candidate<'_>) -> Drafts,
}

impl Candidate<'_> {
    fn failed(&self, source: io::Error) -> AuditError {
        let path = self.entry.path.clone();
        AuditError::Read { path, source }
    }

    /// The whole text; nothing of one that is too large to be a manifest.
    fn text(&self, view: &ImageView) -> Result<String, AuditError> {
        if self.entry.size() > MAX_TEXT {
            return Ok(String::new());
        }
        Ok(String::from_utf8_lossy(&view.read(self.entry, MAX_TEXT)?).into_owned())
    }
}

/// A package before it is known which file it is from.
#[derive(Debug)]
struct Draft {
    ecosystem: Ecosystem,
    /// Maven's group; empty elsewhere.
    group: String,
    name: String,
    version: String,
    licence: Option<String>,
    go_sum: Option<String>,
    member: Option<String>,
    files: Vec<OwnedFile>,
}

impl Draft {
    fn new(ecosystem: Ecosystem, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            ecosystem,
            group: String::new(),
            name: name.into(),
            version: version.into(),
            licence: None,
            go_sum: None,
            member: None,
            files: Vec::new(),
        }
    }

    fn finish(self, entry: &Entry) -> (Package, Vec<OwnedFile>) {
        let name = match self.group.as_str() {
            "" => self.name,
            group => format!("{group}:{}", self.name),
        };
        let package = Package {
            purl: purl::of_language(self.ecosystem, &name, &self.version),
            ecosystem: self.ecosystem,
            source: SourcePackage {
                name: name.clone(),
                version: self.version.clone(),
            },
            name,
            version: self.version,
            architecture: String::new(),
            maintainer: String::new(),
            installed_size: None,
            licence: self.licence,
            go_sum: self.go_sum,
            record: entry.path.clone(),
            member: self.member,
        };
        (package, self.files)
    }
}

/// Reads every manifest of an image.
pub(crate) fn read(view: &ImageView) -> Result<Vec<(Package, Vec<OwnedFile>)>, AuditError> {
    let candidates: Vec<Candidate<'_>> = view.entries().iter().filter_map(candidate).collect();
    let mut found = in_parallel(&candidates, |candidate| (candidate.read)(view, candidate))?;
    npm::own_files(view, &candidates, &mut found);
    let found = candidates.iter().zip(found);
    let found = found.flat_map(|(candidate, drafts)| {
        let entry = candidate.entry;
        drafts.into_iter().map(move |draft| draft.finish(entry))
    });
    Ok(found.collect())
}

/// The bytes of an archive that lies in others. None where it is not there any more or is damaged.
pub(crate) fn archive_member(view: &ImageView, package: &Package) -> Result<Option<Vec<u8>>, AuditError> {
    let (Some(entry), Some(member)) = (view.get(&package.record), &package.member) else {
        return Ok(None);
    };
    let file = view.open_file(entry)?;
    java::member(&file, entry.size(), member).map_err(|source| AuditError::Read {
        path: entry.path.clone(),
        source,
    })
}

/// How a file is read, by its name, mode and size.
fn candidate(entry: &Entry) -> Option<Candidate<'_>> {
    if !entry.node.kind.is_file() || entry.size() == 0 {
        return None;
    }
    let name = entry.path.file_name()?.as_bytes();
    let read = match name {
        b"package.json" => npm::read,
        b"METADATA" if parent_ends_with(entry, b".dist-info") => python::read,
        b"PKG-INFO" if parent_ends_with(entry, b".egg-info") || parent_ends_with(entry, b"EGG-INFO") => {
            python::read
        }
        _ if name.ends_with(b".egg-info") => python::read,
        _ if java::is_archive(name) => java::read,
        _ if may_be_go(entry, name) => go::read,
        _ => return None,
    };
    Some(Candidate { entry, read })
}

fn parent_ends_with(entry: &Entry, end: &[u8]) -> bool {
    let parent = entry.path.parent().and_then(|parent| parent.file_name());
    parent.is_some_and(|parent: &OsStr| parent.as_bytes().ends_with(end))
}

/// Programs, and libraries that Go made.
fn may_be_go(entry: &Entry, name: &[u8]) -> bool {
    let program = entry.node.mode & 0o111 != 0 || name.windows(3).any(|part| part == b".so");
    program && entry.size() >= MIN_GO
}

/// What `work` makes of each item, in the order of the items, with one thread a core.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, AuditError> + Sync,
) -> Result<Vec<R>, AuditError> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else {
                return Ok::<_, AuditError>(done);
            };
            done.push((at, work(item)?));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(run)).collect();
        let mut done = run()?;
        for other in others {
            // A thread of this scope has no cause to panic; one that does takes the caller with it.
            let result = other
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            done.extend(result?);
        }
        Ok::<_, AuditError>(done)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// A path of the image from a list that names it from `base` on; `..` does not lead out.
fn below(base: &std::path::Path, relative: &str) -> PathBuf {
    let mut path = base.to_owned();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                path.pop();
            }
            name => path.push(name),
        }
    }
    path
}
