//! Scripts: the interpreter in the first line, and what it is not without.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::collect::{Collector, Need, Task};
use super::{ClosureError, Reason};

/// As much of the first line as Linux reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// Where `env` looks when nobody sets `PATH`; images have the same.
const PATH: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

impl Collector<'_, '_> {
    pub(super) fn examine_script(&mut self, task: &Task) -> Result<(), ClosureError> {
        let start = self.stage.read(&task.real, FIRST_LINE)?.unwrap_or_default();
        let Some(words) = shebang(&start) else {
            return Ok(());
        };
        let Some((interpreter, arguments)) = words.split_first() else {
            return Ok(());
        };
        self.bring_interpreter(task, Path::new(interpreter))?;
        if Path::new(interpreter).file_name() == Some(OsStr::new("env"))
            && let Some(name) = env_program(arguments)
        {
            let found = self.on_path(&name)?.unwrap_or_else(|| name.clone().into());
            self.bring_interpreter(task, &found)?;
        }
        Ok(())
    }

    fn bring_interpreter(&mut self, task: &Task, path: &Path) -> Result<(), ClosureError> {
        let reason = Reason::Interpreter {
            script: task.real.clone(),
        };
        let real = if path.is_absolute() {
            self.bring(path, &reason)?
        } else {
            None
        };
        let Some(real) = real else {
            self.lacks(task.need, path.as_os_str(), &task.real);
            return Ok(());
        };
        self.bring_virtual_environment(path)?;
        self.task(real, task.need.min(Need::Lenient), None);
        Ok(())
    }

    fn on_path(&self, name: &OsStr) -> Result<Option<PathBuf>, ClosureError> {
        if Path::new(name).is_absolute() {
            return Ok(Some(name.into()));
        }
        for directory in PATH {
            let path = Path::new(directory).join(name);
            let trail = self.stage.trail(&path)?;
            if trail.is_file() && trail.node.is_some_and(|node| node.mode & 0o111 != 0) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// The words behind `#!`: the interpreter and at most one argument, which `env -S` splits.
fn shebang(start: &[u8]) -> Option<Vec<OsString>> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    let words: Vec<OsString> = words
        .filter(|word| !word.is_empty())
        .map(|word| OsStr::from_bytes(word).to_owned())
        .collect();
    (!words.is_empty()).then_some(words)
}

/// The program that `env` runs: the first word that is neither an option nor an assignment.
fn env_program(arguments: &[OsString]) -> Option<OsString> {
    let is_program =
        |word: &&OsString| !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=');
    arguments.iter().find(is_program).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Option<Vec<OsString>> {
        shebang(text.as_bytes())
    }

    #[test]
    fn first_lines() {
        let os = |words: &[&str]| Some(words.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(words("#!/bin/sh\nx"), os(&["/bin/sh"]));
        assert_eq!(
            words("#! /usr/bin/env  -S  A=1 perl -w\r\n"),
            os(&["/usr/bin/env", "-S", "A=1", "perl", "-w"])
        );
        assert_eq!(words("#!"), None);
        assert_eq!(words("#!\n/bin/sh"), None);
        assert_eq!(words("# !/bin/sh"), None);
        let arguments = words("#!/usr/bin/env -S A=1 perl -w").unwrap_or_default();
        assert_eq!(env_program(&arguments[1..]), Some("perl".into()));
        assert_eq!(env_program(&[]), None);
    }
}
