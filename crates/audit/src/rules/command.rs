//! What an image starts, found as a runtime would.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use distil_oci::ImageConfig;

use super::contents::{Contents, Format};
use crate::{Entry, ImageView};

/// What runtimes search when the config has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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

/// What the image is for: the program that it starts, and the interpreter of that where it is a script.
pub(super) fn declared(view: &ImageView, contents: &Contents) -> HashSet<PathBuf> {
    let mut declared = HashSet::new();
    let mut next = program(view.config()).and_then(|word| find(view, word));
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
    declared
}

/// The first line of a script.
fn start(view: &ImageView, entry: &Entry) -> Option<String> {
    let bytes = view.read_start(entry, 256).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).replace("#!", "").trim().to_owned())
}
