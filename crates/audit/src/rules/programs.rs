//! Programs that an image has no use for, by name and by contents.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::catalog::{EXECUTABLE_DATA, INTERPRETER, MISSING_INTERPRETER, NETWORK_TOOL, SHELL};
use super::contents::Format;
use super::{Image, command, file_name, is_executable, names, quoted};
use crate::{Entry, Finding};

/// Directories whose programs have nothing to do with each other.
const SHARED: [&str; 7] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/libexec",
];

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) {
    by_name_and_contents(image, found);
    not_startable(image, found);
}

/// A program and how it is called.
#[derive(Default)]
struct Program<'v> {
    entry: Option<&'v Entry>,
    /// The least place in the table of names: see [`names::place`].
    place: Option<usize>,
    aliases: Vec<&'v Path>,
}

/// One finding for each program, whatever number of links and hard links lead to it.
fn by_name_and_contents(image: &Image<'_>, found: &mut Vec<Finding>) {
    let declared = command::declared(image.view, &image.contents);
    for program in programs(image).values() {
        let Some(entry) = program.entry else { continue };
        let shell = image.contents.of(entry).and_then(|facts| facts.shell);
        let rule = match (shell, program.place) {
            (Some(_), _) => SHELL,
            (None, Some(place)) => names::rule_at(place),
            (None, None) => continue,
        };
        if [INTERPRETER, NETWORK_TOOL].contains(&rule) && is_declared(&declared, entry) {
            continue;
        }
        found.push(rule.at(image, entry, message(image, program, entry, shell)));
    }
}

/// Every executable file with the names that lead to it, by its real path.
fn programs<'v>(image: &Image<'v>) -> BTreeMap<PathBuf, Program<'v>> {
    let view = image.view;
    let mut first_names: BTreeMap<usize, PathBuf> = BTreeMap::new();
    let mut programs: BTreeMap<PathBuf, Program<'v>> = BTreeMap::new();
    for entry in view.entries() {
        let file = match entry.node.kind.is_symlink() {
            true => view.find(&entry.path, true),
            false => Some(entry),
        };
        let Some(file) = file.filter(|file| is_executable(file)) else {
            continue;
        };
        let key = match file.link_group {
            Some(group) => first_names
                .entry(group)
                .or_insert_with(|| file.path.clone())
                .clone(),
            None => file.path.clone(),
        };
        let program = programs.entry(key.clone()).or_default();
        program.place = [program.place, name_place(entry)].into_iter().flatten().min();
        if entry.path == key {
            program.entry = Some(entry);
        } else {
            program.aliases.push(&entry.path);
        }
        if program.entry.is_none() {
            program.entry = view.get(&key);
        }
    }
    programs
}

/// The place of a name, where it counts: some names are too common to mean a tool anywhere.
fn name_place(entry: &Entry) -> Option<usize> {
    let name = std::str::from_utf8(file_name(entry)).ok()?;
    let place = names::place(name)?;
    (names::is_clear(names::rule_at(place)) || is_for_programs(entry)).then_some(place)
}

fn is_for_programs(entry: &Entry) -> bool {
    let parent = entry.path.parent().and_then(Path::file_name);
    let name = parent.map_or(&b""[..], OsStrExt::as_bytes);
    let jvm = memchr::memmem::find(entry.path.as_os_str().as_bytes(), b"/jvm/").is_some();
    matches!(name, b"bin" | b"sbin" | b"libexec" | b"busybox" | b"toybox") || jvm
}

/// Whether it belongs to what the image starts: the program itself, or one of the same runtime.
fn is_declared(declared: &HashSet<PathBuf>, entry: &Entry) -> bool {
    declared.iter().any(|program| {
        let own = program
            .parent()
            .filter(|parent| !SHARED.iter().any(|shared| *parent == Path::new(shared)));
        // `bin` and `lib` of a Java runtime are side by side.
        let home = own
            .and_then(Path::parent)
            .filter(|home| home.components().count() > 2);
        *program == entry.path || home.is_some_and(|home| entry.path.starts_with(home))
    })
}

fn message(image: &Image<'_>, program: &Program<'_>, entry: &Entry, shell: Option<&str>) -> String {
    let mut text = quoted(&entry.path);
    match shell {
        Some(shell) => text.push_str(&format!(" is {shell}")),
        None => text.push_str(" can be started"),
    }
    // The name that tells most comes first.
    let mut aliases = program.aliases.clone();
    aliases.sort_by_key(|path| {
        path.file_name()
            .and_then(|name| names::place(name.to_str()?))
            .unwrap_or(usize::MAX)
    });
    if let [first, rest @ ..] = aliases.as_slice() {
        text.push_str(&format!(", also as {}", quoted(first)));
        match rest.len() {
            0 => {}
            1 => text.push_str(" and 1 more name"),
            count => text.push_str(&format!(" and {count} more names")),
        }
    }
    text + &image.owner_text(entry)
}

/// Scripts without their interpreter, and files that are no programs at all.
fn not_startable(image: &Image<'_>, found: &mut Vec<Finding>) {
    let mut groups = HashSet::new();
    for entry in image.view.entries().iter().filter(|entry| is_executable(entry)) {
        let Some(facts) = image.contents.of(entry) else {
            continue;
        };
        if !entry.link_group.is_none_or(|group| groups.insert(group)) {
            continue;
        }
        match &facts.format {
            Format::Script(interpreter) if image.view.find(interpreter, true).is_none() => {
                let message = format!(
                    "{} wants {}, which is not there",
                    quoted(&entry.path),
                    quoted(interpreter)
                );
                found.push(MISSING_INTERPRETER.at(image, entry, message + &image.owner_text(entry)));
            }
            Format::Data if entry.size() > 0 => {
                let message = format!("{} is no program and may be executed", quoted(&entry.path));
                found.push(EXECUTABLE_DATA.at(image, entry, message + &image.owner_text(entry)));
            }
            _ => {}
        }
    }
}
