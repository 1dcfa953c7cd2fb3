//! What an image starts, found as a runtime would.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use distil_oci::ImageConfig;

use super::contents::{Contents, Format};
use crate::{Entry, ImageView};

/// What runtimes search when the config has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Programs that start the one that they are given, and how many words of their own come before it.
const STARTERS: [(&str, usize); 9] = [
    ("tini", 0),
    ("tini-static", 0),
    ("dumb-init", 0),
    ("docker-init", 0),
    ("catatonit", 0),
    ("env", 0),
    ("nice", 0),
    ("gosu", 1),
    ("su-exec", 1),
];

/// The first word of the command line: of ENTRYPOINT, else of CMD.
pub(super) fn program(config: &ImageConfig) -> Option<&str> {
    let config = &config.config;
    config
        .entrypoint
        .first()
        .or(config.cmd.first())
        .map(String::as_str)
}

/// The value of an environment variable of the image, the last one if it is there twice.
pub(super) fn variable<'c>(config: &'c ImageConfig, name: &str) -> Option<&'c str> {
    let mut all = config.config.env.iter().rev();
    all.find_map(|pair| pair.split_once('=').filter(|(known, _)| *known == name))
        .map(|(_, value)| value)
}

/// The file that a word of a command line means: a name is looked for in PATH, a path begins at the working
/// directory. None when nothing is there.
pub(super) fn find<'v>(view: &'v ImageView, word: &str) -> Option<&'v Entry> {
    let config = view.config();
    if word.contains('/') {
        let directory = Path::new("/").join(&config.config.working_dir);
        return view.find(&directory.join(word), true);
    }
    let path = variable(config, "PATH").unwrap_or(DEFAULT_PATH);
    let mut found = path
        .split(':')
        .filter_map(|directory| view.find(&Path::new("/").join(directory).join(word), true));
    found.find(|entry| super::is_executable(entry))
}

/// The words of the command line that name a program: the first of ENTRYPOINT and of CMD, which a wrapper starts, and
/// what a starter is given.
fn words(config: &ImageConfig) -> Vec<&str> {
    let parts = [&config.config.entrypoint, &config.config.cmd];
    let mut found: Vec<&str> = parts
        .iter()
        .filter_map(|part| part.first())
        .map(String::as_str)
        .collect();
    // Options and variables of a starter are no programs.
    let is_word = |word: &&str| !word.starts_with('-') && !word.contains('=');
    let mut all = parts.into_iter().flatten().map(String::as_str);
    let mut next = all.next();
    while let Some(word) = next {
        found.push(word);
        let name = word.rsplit('/').next().unwrap_or(word);
        let starter = STARTERS.iter().find(|(known, _)| *known == name);
        next = starter.and_then(|(_, own)| all.by_ref().filter(is_word).nth(*own));
    }
    found
}

/// What the image is for: the programs that it starts, and the interpreters of those that are scripts.
pub(super) fn declared(view: &ImageView, contents: &Contents) -> HashSet<PathBuf> {
    let mut declared = HashSet::new();
    for word in words(view.config()) {
        declare(view, contents, word, &mut declared);
    }
    declared
}

fn declare(view: &ImageView, contents: &Contents, word: &str, declared: &mut HashSet<PathBuf>) {
    let mut next = find(view, word);
    while let Some(entry) = next {
        if !declared.insert(entry.path.clone()) {
            break;
        }
        next = match contents.of(entry).map(|facts| &facts.format) {
            Some(Format::Script(interpreter)) if interpreter.ends_with("env") => start(view, entry)
                .and_then(|line| line.split_ascii_whitespace().nth(1).map(str::to_owned))
                .and_then(|word| find(view, &word)),
            Some(Format::Script(interpreter)) => view.find(interpreter, true),
            _ => None,
        };
    }
}

/// The first line of a script.
fn start(view: &ImageView, entry: &Entry) -> Option<String> {
    let bytes = view.read_start(entry, 256).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).replace("#!", "").trim().to_owned())
}
