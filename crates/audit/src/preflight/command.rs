//! The command of the image: which programs it starts, and whether they can be found.

use std::path::{Path, PathBuf};

use distil_rootfs::TreeError;

use super::id;
use super::image::Image;
use super::program::{Access, Role};
use crate::{AuditError, Finding, Severity, printable_path, printable_text};

/// The shell of shell forms where SHELL does not say.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What a shell knows by itself; no file is needed for it.
const BUILTINS: &[&str] = &[
    ".", ":", "[", "alias", "bg", "break", "builtin", "cd", "command", "continue", "declare", "echo",
    "enable", "eval", "exec", "exit", "export", "false", "fg", "getopts", "hash", "jobs", "kill", "let",
    "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "source", "test", "time",
    "times", "trap", "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "wait", "if", "for",
    "while", "until", "case", "{", "!", "[[", "function", "select",
];

/// Programs that start the one after them: name, and how many words of their own come before it.
const STARTERS: &[(&str, usize)] = &[
    ("tini", 0),
    ("tini-static", 0),
    ("dumb-init", 0),
    ("docker-init", 0),
    ("catatonit", 0),
    ("env", 0),
    ("nohup", 0),
    ("nice", 0),
    ("stdbuf", 0),
    ("gosu", 1),
    ("su-exec", 1),
];

/// Starters within starters.
const MAX_STARTERS: usize = 4;

/// What the image starts, as far as it is known without running it.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// The words: ENTRYPOINT and then CMD.
    pub(super) words: Vec<String>,
    /// Path by which each program is opened, and its real path: programs, starters, interpreters.
    pub(super) programs: Vec<(PathBuf, PathBuf)>,
}

impl Command {
    /// The first program whose real name starts with `name` followed by nothing but a version.
    pub(super) fn program(&self, name: &str) -> Option<&(PathBuf, PathBuf)> {
        self.programs.iter().find(|(_, real)| {
            let real = real.file_name().unwrap_or_default().to_string_lossy();
            let rest = real.strip_prefix(name);
            rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        })
    }
}

impl Image<'_, '_> {
    /// Checks the command and everything that it starts.
    pub(super) fn check_command(&mut self) -> Result<Command, AuditError> {
        let container = &self.config().config;
        let mut command = Command {
            words: container
                .entrypoint
                .iter()
                .chain(&container.cmd)
                .cloned()
                .collect(),
            programs: Vec::new(),
        };
        let keyword = if container.entrypoint.is_empty() {
            "CMD"
        } else {
            "ENTRYPOINT"
        };
        let has_shell = self.check_shell_forms()?;
        let words = command.words.clone();
        let first = if container.entrypoint.is_empty() {
            &container.cmd
        } else {
            &container.entrypoint
        };
        match self.shell_text(first).map(str::to_owned) {
            Some(_) if !has_shell => {}
            Some(text) => {
                self.check_words(&words[..1], keyword, &mut command)?;
                if let Some(words) = simple_command(&text) {
                    self.check_words(&words, keyword, &mut command)?;
                }
            }
            None => self.check_words(&words, keyword, &mut command)?,
        }
        Ok(command)
    }

    /// The words of the shell that shell forms are handed to.
    fn shell(&self) -> Vec<String> {
        match self.config().config.shell.as_slice() {
            [] => SHELL.map(str::to_owned).to_vec(),
            shell => shell.to_vec(),
        }
    }

    /// The command line of a CMD or ENTRYPOINT in shell form.
    fn shell_text<'w>(&self, words: &'w [String]) -> Option<&'w str> {
        let (text, shell) = words.split_last()?;
        let is_shell = shell == self.shell() || shell == SHELL;
        is_shell.then_some(text.as_str())
    }

    /// ENTRYPOINT, CMD and HEALTHCHECK in shell form need the shell. False when it is missing.
    fn check_shell_forms(&mut self) -> Result<bool, AuditError> {
        let container = &self.config().config;
        let test = container.healthcheck.as_ref().map(|check| check.test.as_slice());
        let test = test.filter(|test| test.first().is_some_and(|kind| kind == "CMD-SHELL"));
        let mut all = true;
        for (keyword, words) in [("ENTRYPOINT", &container.entrypoint), ("CMD", &container.cmd)] {
            if let Some(text) = self.shell_text(words) {
                // What is in the config may come from a base image with another SHELL.
                let shell = words.first().cloned().unwrap_or_default();
                all &= self.check_shell(keyword, &shell, text)?;
            }
        }
        if let Some([_, text, ..]) = test {
            let shell = self.shell().first().cloned().unwrap_or_default();
            self.check_shell("HEALTHCHECK", &shell, text)?;
        }
        Ok(all)
    }

    fn check_shell(&mut self, keyword: &str, shell: &str, text: &str) -> Result<bool, AuditError> {
        if self.find_program(shell)?.is_some() {
            return Ok(true);
        }
        let (text, shell) = (printable_text(text), printable_text(shell));
        let message = format!("`{keyword} {text}` is in shell form, and the image has no shell `{shell}`");
        let words = simple_command(&text);
        let form = match keyword {
            "HEALTHCHECK" => "HEALTHCHECK CMD",
            other => other,
        };
        let fix = match words.and_then(|words| serde_json::to_string(&words).ok()) {
            Some(words) => format!("write it in exec form: `{form} {words}`"),
            None => format!(
                "write it in exec form, `{form} [\"program\", \"argument\"]`, or use a base with a shell"
            ),
        };
        let mut finding = self.about_config(id::SHELL_MISSING, keyword, message).fix(fix);
        if keyword == "HEALTHCHECK" {
            // The program starts all the same.
            finding.severity = Severity::Note;
        }
        self.report(finding);
        Ok(false)
    }

    /// A command, and the one in it when it is a starter such as `tini`.
    fn check_words(
        &mut self,
        words: &[String],
        keyword: &str,
        command: &mut Command,
    ) -> Result<(), AuditError> {
        let mut words = words;
        for _ in 0..MAX_STARTERS {
            let Some((program, rest)) = words.split_first() else {
                break;
            };
            let Some(path) = self.check_found(program, keyword)? else {
                break;
            };
            self.check_program(&path, Role::Command, command)?;
            match started(program, rest) {
                Some(rest) => words = rest,
                None => break,
            }
        }
        Ok(())
    }

    /// The path of a program of the command; tells when there is none.
    fn check_found(&mut self, program: &str, keyword: &str) -> Result<Option<PathBuf>, AuditError> {
        if program.is_empty() || program.contains('\0') {
            return Ok(None);
        }
        if let Some(path) = self.find_program(program)? {
            return Ok(Some(path));
        }
        let shown = printable_text(program);
        let finding = if program.contains('/') {
            let path = self.absolute(program);
            if self.is_filled_later(&path) {
                return Ok(None);
            }
            self.lost_program(&path, keyword)?
        } else {
            let directories = self.search_path();
            let directories: Vec<String> = directories.iter().map(|path| printable_path(path)).collect();
            let message = format!(
                "`{shown}` of {keyword} is in no directory of `PATH` ({})",
                directories.join(":")
            );
            let fix = format!("copy it into the image, or write its whole path in {keyword}");
            self.about_config(id::COMMAND_NOT_FOUND, keyword, message)
                .fix(fix)
        };
        self.report(finding);
        Ok(None)
    }

    /// Why nothing can be started at a path.
    fn lost_program(&self, path: &Path, keyword: &str) -> Result<Finding, AuditError> {
        let shown = printable_path(path);
        let trail = match self.stage.trail(path) {
            Err(TreeError::TooManyLinks { .. }) => None,
            other => Some(other?),
        };
        let (message, fix) = match trail {
            Some(trail) if trail.node.is_some_and(|node| node.kind.is_dir()) => (
                format!("`{shown}` of {keyword} is a directory"),
                format!("name the program in it in {keyword}"),
            ),
            Some(trail) if !trail.links.is_empty() && trail.node.is_none() => (
                format!(
                    "`{shown}` of {keyword} is a link to `{}`, which does not exist",
                    printable_path(&trail.real)
                ),
                "copy what it leads to as well, under the same path".to_owned(),
            ),
            _ => (
                format!("`{shown}` of {keyword} does not exist"),
                format!("copy it there, or correct the path in {keyword}"),
            ),
        };
        Ok(self
            .about_config(id::COMMAND_NOT_FOUND, keyword, message)
            .fix(fix))
    }

    /// Where a program is: by its path, relative ones from WORKDIR, or on `PATH`. One on `PATH` that may not be
    /// executed only counts where no other is.
    pub(super) fn find_program(&self, program: &str) -> Result<Option<PathBuf>, AuditError> {
        if program.contains('/') {
            let path = self.absolute(program);
            return Ok(self.file(&path)?.map(|_| path));
        }
        let mut refused = None;
        for directory in self.search_path() {
            let path = directory.join(program);
            if let Some(real) = self.file(&path)? {
                if self.access(&real)? == Access::Allowed {
                    return Ok(Some(path));
                }
                refused.get_or_insert(path);
            }
        }
        Ok(refused)
    }
}

/// The command that a starter runs; `None` when `program` is none, or its words are not understood.
fn started<'w>(program: &str, rest: &'w [String]) -> Option<&'w [String]> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let (_, own) = STARTERS.iter().find(|(known, _)| *known == name)?;
    if let Some(at) = rest.iter().position(|word| word == "--") {
        return rest.get(at + 1..).filter(|rest| !rest.is_empty());
    }
    let mut rest = rest.get(*own..)?;
    while let Some((word, more)) = rest.split_first()
        && name == "env"
        && word.contains('=')
    {
        rest = more;
    }
    // An option may have a value, which would be taken for the program.
    rest.first().filter(|word| !word.starts_with('-')).map(|_| rest)
}

/// The words of a command line without any of a shell's own means, `exec` left out; `None` when the first word is
/// a builtin, or the line is more than a plain command.
fn simple_command(text: &str) -> Option<Vec<String>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" \t_./+-:=,@%".contains(&byte);
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let words = match words.split_first() {
        Some((first, rest)) if first == "exec" => rest.to_vec(),
        _ => words,
    };
    let first = words.first()?;
    let is_program = !BUILTINS.contains(&first.as_str()) && !first.contains('=') && !first.starts_with('-');
    (is_program && text.bytes().all(plain)).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn plain_commands_of_a_shell() {
        for (text, expected) in [
            ("node server.js --port=80", Some("node server.js --port=80")),
            ("exec /app", Some("/app")),
            ("echo hi", None),
            ("cd /app && node x", None),
            ("A=1 app", None),
            ("app $HOME", None),
            ("", None),
            ("exec", None),
        ] {
            assert_eq!(simple_command(text), expected.map(words), "{text}");
        }
    }

    #[test]
    fn what_starters_start() {
        for (program, rest, expected) in [
            ("/usr/bin/tini", "-g -- /app x", Some("/app x")),
            ("tini", "/app", Some("/app")),
            ("tini", "-e 143 /app", None),
            ("env", "A=1 B=2 /app x", Some("/app x")),
            ("gosu", "nobody /app", Some("/app")),
            ("gosu", "nobody", None),
            ("/app", "x", None),
        ] {
            let rest = words(rest);
            assert_eq!(
                started(program, &rest).map(<[String]>::to_vec),
                expected.map(words),
                "{program}"
            );
        }
    }
}
