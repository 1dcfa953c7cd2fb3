//! What rules need of the contents of files, read once by one thread a core.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::batches;
use super::secrets::{self, Exposed};
use super::{file_name, is_executable};
use crate::{AuditError, Entry, Hidden, ImageView, Inventory};

/// Programs up to this many bytes are searched whole for the marks of a shell. BusyBox has some 2 MB.
const MAX_PROGRAM: u64 = 8 << 20;
/// Files up to this many bytes are searched for keys.
const MAX_TEXT: u64 = 1 << 20;
/// Bytes that tell what a file is; a `#!` line has at most 256.
const START: u64 = 256;
/// Files that a thread takes at once.
const BATCH: usize = 32;

/// What a file is, by its first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// A program or library of this system.
    Elf,
    /// A script, and what its first line says to start.
    Script(PathBuf),
    /// Something that a registered interpreter may start: Windows, WebAssembly, Java.
    Foreign,
    /// Nothing that can be started.
    Data,
}

/// What was read of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) format: Format,
    /// The shell that it is by its contents, whatever its name.
    pub(super) shell: Option<&'static str>,
    /// What it gives away.
    pub(super) secret: Option<Exposed>,
}

/// What was read of an image.
#[derive(Debug, Default)]
pub(super) struct Contents {
    facts: HashMap<PathBuf, Facts>,
    /// Hidden files that give something away, by their number in [`ImageView::hidden`].
    pub(super) hidden: Vec<(usize, Exposed)>,
}

impl Contents {
    /// What was read of a file; none for one that no rule wanted.
    pub(super) fn of(&self, entry: &Entry) -> Option<&Facts> {
        self.facts.get(&entry.path)
    }
}

/// A file to be read.
enum Job<'v> {
    Seen(&'v Entry),
    Hidden(usize, &'v Hidden),
}

/// What a job brought.
enum Found {
    Seen(PathBuf, Facts),
    Hidden(usize, Exposed),
}

/// Reads what the rules need.
pub(super) fn read(view: &ImageView, inventory: &Inventory) -> Result<Contents, AuditError> {
    let jobs = jobs(view, inventory);
    let found = batches::share(jobs.len(), BATCH, |batches| {
        let (mut found, mut buffer) = (Vec::new(), Vec::new());
        while let Some(batch) = batches.take() {
            for job in &jobs[batch] {
                found.extend(read_one(view, inventory, job, &mut buffer)?);
            }
        }
        Ok(found)
    })?;
    let mut contents = Contents::default();
    for one in found {
        match one {
            Found::Seen(path, facts) => drop(contents.facts.insert(path, facts)),
            Found::Hidden(at, exposed) => contents.hidden.push((at, exposed)),
        }
    }
    contents.hidden.sort_unstable_by_key(|(at, _)| *at);
    Ok(contents)
}

/// The files that are worth opening; of a hard link the first name alone.
fn jobs<'v>(view: &'v ImageView, inventory: &Inventory) -> Vec<Job<'v>> {
    let mut groups = HashSet::new();
    let seen = view.entries().iter().filter(|entry| {
        let wanted = is_executable(entry) || is_library(entry) || wants_search(inventory, entry);
        entry.node.kind.is_file() && wanted && entry.link_group.is_none_or(|group| groups.insert(group))
    });
    let mut jobs: Vec<Job<'v>> = seen.map(Job::Seen).collect();
    let hidden = view.hidden().iter().enumerate();
    let lost = hidden.filter(|(_, hidden)| {
        let named = hidden
            .path
            .file_name()
            .is_some_and(|name| secrets::may_hold_key(name.as_bytes()));
        let small = (1..=MAX_TEXT).contains(&hidden.node.size);
        let owned = inventory.owner(&hidden.path).is_some();
        hidden.node.kind.is_file() && named && small && !owned
    });
    jobs.extend(lost.map(|(at, hidden)| Job::Hidden(at, hidden)));
    jobs
}

/// A file that may be a library: `.so` and perhaps a version.
pub(super) fn is_library(entry: &Entry) -> bool {
    let name = file_name(entry);
    name.ends_with(b".so") || memchr::memmem::find(name, b".so.").is_some()
}

/// Whether the whole file is searched for keys. What packages ship is public, so nothing in it is secret.
fn wants_search(inventory: &Inventory, entry: &Entry) -> bool {
    (1..=MAX_TEXT).contains(&entry.size())
        && secrets::may_hold_key(file_name(entry))
        && inventory.owner(&entry.path).is_none()
}

fn read_one(
    view: &ImageView,
    inventory: &Inventory,
    job: &Job<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Option<Found>, AuditError> {
    match job {
        Job::Hidden(at, hidden) => {
            let file = view.open_hidden(hidden)?;
            fill(&file, MAX_TEXT, buffer, &hidden.path)?;
            Ok(secrets::exposed(&hidden.path, buffer).map(|exposed| Found::Hidden(*at, exposed)))
        }
        Job::Seen(entry) => {
            let facts = facts(view, inventory, entry, buffer)?;
            Ok(Some(Found::Seen(entry.path.clone(), facts)))
        }
    }
}

fn facts(
    view: &ImageView,
    inventory: &Inventory,
    entry: &Entry,
    buffer: &mut Vec<u8>,
) -> Result<Facts, AuditError> {
    let file = view.open_file(entry)?;
    let search = wants_search(inventory, entry);
    fill(&file, if search { MAX_TEXT } else { START }, buffer, &entry.path)?;
    let format = format(buffer);
    let mut shell = None;
    if format == Format::Elf && is_executable(entry) && !is_library(entry) && entry.size() <= MAX_PROGRAM {
        fill(&file, MAX_PROGRAM, buffer, &entry.path)?;
        shell = shell_by_marks(buffer);
    }
    let secret = match search && format != Format::Elf {
        true => secrets::exposed(&entry.path, buffer),
        false => None,
    };
    Ok(Facts {
        format,
        shell,
        secret,
    })
}

/// Reads up to `limit` bytes from the start of a file, holes of a sparse one as zeros.
fn fill(file: &std::fs::File, limit: u64, buffer: &mut Vec<u8>, path: &Path) -> Result<(), AuditError> {
    use std::io::{Read, Seek};
    buffer.clear();
    let mut file = file;
    let read = file.rewind().and_then(|()| file.take(limit).read_to_end(buffer));
    read.map(drop).map_err(|source| AuditError::Read {
        path: path.to_owned(),
        source,
    })
}

fn format(start: &[u8]) -> Format {
    if start.starts_with(b"\x7fELF") {
        return Format::Elf;
    }
    if let Some(rest) = start.strip_prefix(b"#!") {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let mut words = line
            .split(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
            .filter(|word| !word.is_empty());
        if let Some(program) = words.next() {
            return Format::Script(PathBuf::from(OsString::from_vec(program.to_vec())));
        }
    }
    let foreign: [&[u8]; 4] = [b"MZ", b"\0asm", b"\xca\xfe\xba\xbe", b"PK\x03\x04"];
    match foreign.iter().any(|magic| start.starts_with(magic)) {
        true => Format::Foreign,
        false => Format::Data,
    }
}

/// Shells, by texts that no other program has.
fn shell_by_marks(program: &[u8]) -> Option<&'static str> {
    let has = |text: &[u8]| memchr::memmem::find(program, text).is_some();
    let followed_by_digit = |text: &[u8]| {
        memchr::memmem::find_iter(program, text)
            .any(|at| program.get(at + text.len()).is_some_and(u8::is_ascii_digit))
    };
    if followed_by_digit(b"BusyBox v") {
        return Some("BusyBox");
    }
    if has(b"toybox ") && has(b"toybox.net") || has(b"landley.net/toybox") {
        return Some("Toybox");
    }
    if has(b"GNU bash, version %s") {
        return Some("GNU Bash");
    }
    // dash alone writes these with a capital letter.
    (has(b"Illegal number: %s") && has(b"Bad substitution") && has(b"PPID")).then_some("dash")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_disguises() {
        for (bytes, expected) in [
            (&b"\x7fELF\x02"[..], Format::Elf),
            (b"#! /bin/sh -e\n", Format::Script("/bin/sh".into())),
            (
                b"#!/usr/bin/env python3\r\n",
                Format::Script("/usr/bin/env".into()),
            ),
            (b"#!\n", Format::Data),
            (b"MZ\x90", Format::Foreign),
            (b"", Format::Data),
        ] {
            assert_eq!(format(bytes), expected);
        }
        for (program, expected) in [
            (&b"..BusyBox v1.37.0 .."[..], Some("BusyBox")),
            (b"BusyBox\\s+v BusyBox vX", None),
            (b"GNU bash, version %s (%s)\n", Some("GNU Bash")),
            (b"PPID\0Illegal number: %s\0Bad substitution", Some("dash")),
            (b"BASH_VERSINFO", None),
        ] {
            assert_eq!(shell_by_marks(program), expected);
        }
    }
}
