//! Whether the kernel starts a file: access, format, machine, interpreter, and what its loader needs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_elf::{Abi, FactsError};
use distil_rootfs::Node;

use super::command::Command;
use super::id;
use super::image::Image;
use super::libraries::Depth;
use crate::{AuditError, Finding, printable_path, printable_text};

/// As much of the first line as Linux reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE: usize = 256;

/// Interpreters of interpreters that Linux follows (`exec_binprm`).
const MAX_INTERPRETERS: usize = 5;

/// Architectures of image configs, in Go's names, and `e_machine` of what runs on them.
const MACHINES: &[(&str, &[u16])] = &[
    ("386", &[3]),
    // Processors of both run the 32-bit programs of the same family.
    ("amd64", &[62, 3]),
    ("arm", &[40]),
    ("arm64", &[183, 40]),
    ("loong64", &[258]),
    ("mips64le", &[8]),
    ("mipsle", &[8]),
    ("ppc64le", &[21]),
    ("riscv64", &[243]),
    ("s390x", &[22]),
];

/// Machines by `e_machine`, in Go's names.
const NAMES: &[(u16, &str)] = &[
    (3, "386"),
    (8, "mips"),
    (21, "ppc64"),
    (22, "s390x"),
    (40, "arm"),
    (62, "amd64"),
    (183, "arm64"),
    (243, "riscv64"),
    (258, "loong64"),
];

/// Why a program is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The container starts it.
    Command,
    /// A script names it.
    Interpreter,
}

/// Whether the user of the image may execute a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Yes.
    Allowed,
    /// The mode of the file does not allow it.
    Refused,
    /// A directory on the way is closed.
    Closed(PathBuf),
}

impl Image<'_, '_> {
    /// Checks a program, and the interpreters that it names. `path` leads to a regular file.
    pub(super) fn check_program(
        &mut self,
        path: &Path,
        role: Role,
        command: &mut Command,
    ) -> Result<(), AuditError> {
        let (mut path, mut role) = (path.to_owned(), role);
        for _ in 0..=MAX_INTERPRETERS {
            let Some(real) = self.file(&path)? else {
                return Ok(());
            };
            if command.programs.iter().any(|(_, known)| *known == real) {
                return Ok(());
            }
            command.programs.push((path.clone(), real.clone()));
            self.check_access(&path, &real)?;
            let start = self.stage.read(&real, FIRST_LINE)?.unwrap_or_default();
            if start.starts_with(b"\x7fELF") {
                return self.check_elf(&real);
            }
            let Some(words) = shebang(&start) else {
                self.check_format(&real, &start, role);
                return Ok(());
            };
            match self.check_interpreter(&real, &words)? {
                Some(interpreter) => (path, role) = (interpreter, Role::Interpreter),
                None => return Ok(()),
            }
            if path.file_name() == Some(OsStr::new("env")) {
                self.check_program(&path, role, command)?;
                match self.check_env(&real, &words)? {
                    Some(program) => path = program,
                    None => return Ok(()),
                }
            }
        }
        Ok(())
    }

    /// Whether the user of the image may execute the file at a real path. Where the user is not known, any
    /// execute bit counts.
    pub(super) fn access(&self, real: &Path) -> Result<Access, AuditError> {
        let may = |node: &Node| match &self.identity {
            None => node.mode & 0o111 != 0,
            Some(who) if who.uid == 0 => node.kind.is_dir() || node.mode & 0o111 != 0,
            Some(who) => {
                let shift = if node.uid == who.uid {
                    6
                } else if node.gid == who.gid || who.groups.contains(&node.gid) {
                    3
                } else {
                    0
                };
                (node.mode >> shift) & 1 != 0
            }
        };
        let mut ancestors: Vec<&Path> = real.ancestors().skip(1).collect();
        ancestors.reverse();
        for directory in ancestors {
            // The root belongs to the runtime as well as to the image.
            if directory != Path::new("/") && self.stage.node(directory)?.is_some_and(|node| !may(&node)) {
                return Ok(Access::Closed(directory.to_owned()));
            }
        }
        let node = self.stage.node(real)?;
        Ok(if node.is_none_or(|node| may(&node)) {
            Access::Allowed
        } else {
            Access::Refused
        })
    }

    fn check_access(&mut self, path: &Path, real: &Path) -> Result<(), AuditError> {
        let shown = printable_path(path);
        let finding = match self.access(real)? {
            Access::Allowed => return Ok(()),
            Access::Refused => {
                let mode = self.stage.node(real)?.map_or(0, |node| node.mode & 0o7777);
                let message = format!("`{shown}` is not executable for {} (mode {mode:04o})", self.who());
                let fix = "copy it with `COPY --chmod=755`, or run `chmod +x` in the stage it comes from";
                self.about_file(id::COMMAND_NOT_EXECUTABLE, real, message)
                    .fix(fix)
            }
            Access::Closed(directory) => {
                let closed = printable_path(&directory);
                let message = format!("`{shown}` lies in `{closed}`, which is closed to {}", self.who());
                let fix = format!("put it elsewhere, or open `{closed}` with `chmod a+x`");
                self.about_file(id::COMMAND_NOT_EXECUTABLE, real, message)
                    .fix(fix)
            }
        };
        self.report(finding);
        Ok(())
    }

    fn who(&self) -> String {
        match (&self.identity, self.config().config.user.as_str()) {
            (Some(who), "") => format!("user {}", who.uid),
            (_, user) => format!("user `{}`", printable_text(user)),
        }
    }

    fn check_elf(&mut self, real: &Path) -> Result<(), AuditError> {
        match self.stage.elf(real) {
            Ok(Some(elf)) => {
                if !self.is_runnable(elf.abi) {
                    let finding = self.foreign(real, elf.abi);
                    self.report(finding);
                    return Ok(());
                }
                self.check_linked(real, Depth::All)
            }
            Ok(None) => Ok(()),
            Err(FactsError::Tree(error)) => Err(error.into()),
            Err(FactsError::Malformed(why)) => {
                let message = format!("`{}` is a damaged ELF file: {why}", printable_path(real));
                let finding = self.about_file(id::COMMAND_FORMAT, real, message);
                self.report(finding.fix("build or copy it again"));
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }

    /// Whether the image's machine runs files of an ABI. An architecture that is not known runs everything.
    pub(super) fn is_runnable(&self, abi: Abi) -> bool {
        let architecture = self.config().architecture.as_str();
        let known = MACHINES.iter().find(|(name, _)| *name == architecture);
        known.is_none_or(|(_, machines)| machines.contains(&abi.machine))
    }

    /// What is told of a program for another machine.
    pub(super) fn foreign(&self, real: &Path, abi: Abi) -> Finding {
        let architecture = self.config().architecture.as_str();
        let found = NAMES.iter().find(|(machine, _)| *machine == abi.machine);
        let found = found.map_or_else(
            || format!("machine {}", abi.machine),
            |(_, name)| (*name).to_owned(),
        );
        let shown = printable_path(real);
        let message = format!("`{shown}` is a program for {found}, the image is for {architecture}");
        let fix = format!(
            "build it for {architecture} (for Go `GOARCH={architecture}`), or the image with \
             `--platform=linux/{found}`"
        );
        self.about_file(id::WRONG_ARCHITECTURE, real, message).fix(fix)
    }

    /// A file that is neither ELF nor a script. Interpreters get one more chance: kernels may know more formats.
    fn check_format(&mut self, real: &Path, start: &[u8], role: Role) {
        let Some((what, fix)) = other_format(start) else {
            return;
        };
        if role == Role::Interpreter && !start.is_empty() {
            return;
        }
        let message = format!("`{}` {what}", printable_path(real));
        let finding = self.about_file(id::COMMAND_FORMAT, real, message).fix(fix);
        self.report(finding);
    }

    /// The interpreter of a script; tells when it is missing.
    fn check_interpreter(&mut self, script: &Path, words: &[String]) -> Result<Option<PathBuf>, AuditError> {
        let Some(interpreter) = words.first() else {
            return Ok(None);
        };
        let path = self.working_directory().join(interpreter);
        if self.is_filled_later(&path) {
            return Ok(None);
        }
        if self.file(&path)?.is_some() {
            return Ok(Some(path));
        }
        let (shown, name) = (printable_path(script), printable_text(interpreter));
        let (message, fix) = match interpreter.strip_suffix('\r') {
            Some(_) => (
                format!(
                    "the first line of `{shown}` ends in a carriage return, so that `{name}` is looked for"
                ),
                "save it with line ends of Unix (`dos2unix`, or `*.sh text eol=lf` in .gitattributes)"
                    .to_owned(),
            ),
            None => (
                format!("`{shown}` is a script for `{name}`, which is not in the image"),
                "copy the interpreter, use a base that has it, or start a program that needs none".to_owned(),
            ),
        };
        let finding = self.about_file(id::MISSING_INTERPRETER, script, message).fix(fix);
        self.report(finding);
        Ok(None)
    }

    /// The program that `env` in the first line of a script starts.
    fn check_env(&mut self, script: &Path, words: &[String]) -> Result<Option<PathBuf>, AuditError> {
        let program = words
            .iter()
            .skip(1)
            .flat_map(|word| word.split([' ', '\t']))
            .find(|word| !word.is_empty() && !word.starts_with('-') && !word.contains('='));
        let Some(program) = program else {
            return Ok(None);
        };
        let found = self.find_program(program)?;
        if found.is_none() {
            let (shown, name) = (printable_path(script), printable_text(program));
            let message = format!("`{shown}` is a script for `{name}`, which is in no directory of `PATH`");
            let fix = "copy the interpreter, use a base that has it, or set `PATH` with ENV";
            let finding = self.about_file(id::MISSING_INTERPRETER, script, message).fix(fix);
            self.report(finding);
        }
        Ok(found)
    }

    pub(super) fn report_warning(&mut self, mut finding: Finding) {
        finding.severity = crate::Severity::Warning;
        self.report(finding);
    }
}

/// Interpreter and argument of a script, as Linux splits them: the rest of the line is one argument. A carriage
/// return belongs to the word that it ends.
fn shebang(start: &[u8]) -> Option<Vec<String>> {
    let line = start.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let text = String::from_utf8_lossy(line);
    let text = text.trim_matches([' ', '\t']);
    let (interpreter, argument) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let words = [interpreter, argument.trim_matches([' ', '\t', '\r'])];
    let words: Vec<String> = words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|&word| word.to_owned())
        .collect();
    (!words.is_empty()).then_some(words)
}

/// What a file is that the kernel does not start, and what to do; `None` for what it may start by a registered
/// format (`binfmt_misc`).
fn other_format(start: &[u8]) -> Option<(&'static str, &'static str)> {
    let is = |magic: &[u8]| start.starts_with(magic);
    let mac = [
        b"\xcf\xfa\xed\xfe",
        b"\xce\xfa\xed\xfe",
        b"\xfe\xed\xfa\xcf",
        b"\xbe\xba\xfe\xca",
    ];
    if start.is_empty() {
        Some(("is empty", "look at the stage that makes it"))
    } else if mac.iter().any(|magic| is(*magic)) {
        Some((
            "is a program for macOS",
            "build it for Linux, in a stage of the Dockerfile",
        ))
    } else if is(b"MZ") {
        Some((
            "is a program for Windows",
            "build it for Linux, in a stage of the Dockerfile",
        ))
    } else if is(b"\xca\xfe\xba\xbe") || is(b"PK\x03\x04") {
        Some((
            "is for Java or another interpreter",
            "start it as `[\"java\", \"-jar\", \"FILE\"]`",
        ))
    } else if is_text(start) {
        Some((
            "is text without `#!` in the first line, which no kernel starts",
            "begin it with `#!/bin/sh` or the like, or name the interpreter in ENTRYPOINT",
        ))
    } else {
        None
    }
}

fn is_text(start: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < 0x20 && !b"\t\n\r\x0c\x1b".contains(byte);
    !start.iter().any(is_control)
        && std::str::from_utf8(start.get(..start.len().min(200)).unwrap_or_default()).is_ok()
}

/// Bytes of a name as text for messages.
pub(super) fn text(name: &OsStr) -> String {
    printable_text(&String::from_utf8_lossy(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines() {
        for (line, expected) in [
            ("#!/bin/sh\nx", vec!["/bin/sh"]),
            (
                "#! /usr/bin/env  -S  A=1 perl -w\n",
                vec!["/usr/bin/env", "-S  A=1 perl -w"],
            ),
            ("#!/bin/sh\r\n", vec!["/bin/sh\r"]),
            ("#!/bin/sh -e\r\n", vec!["/bin/sh", "-e"]),
        ] {
            assert_eq!(shebang(line.as_bytes()).unwrap(), expected, "{line:?}");
        }
        assert_eq!(shebang(b"#!\n/bin/sh"), None);
        assert_eq!(shebang(b"echo"), None);
    }

    #[test]
    fn formats() {
        assert!(other_format(b"echo hi\n").unwrap().0.contains("text"));
        assert!(other_format(b"\xcf\xfa\xed\xfe\x07").unwrap().0.contains("macOS"));
        assert!(other_format(b"MZ\x90").unwrap().0.contains("Windows"));
        assert!(other_format(b"").unwrap().0.contains("empty"));
        assert_eq!(other_format(b"\0\x01\x02"), None);
    }
}
