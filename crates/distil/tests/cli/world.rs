//! A store, a home and a build context that exist for one test.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) const DISTIL: &str = env!("CARGO_BIN_EXE_distil");

/// Everything a command needs, in a folder that goes with it.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    /// A new one; `None`, with a word about it, on a machine where nothing can be built.
    pub(crate) fn new() -> Option<World> {
        let world = World::without_builds();
        if rustix::process::geteuid().is_root() || world.distil(["doctor"]).code == 0 {
            return Some(world);
        }
        println!("skipped: this machine cannot build, see `distil doctor`");
        None
    }

    /// A new one for commands that build nothing.
    pub(crate) fn without_builds() -> World {
        let folder = tempfile::Builder::new().prefix("distil-cli-").tempdir().unwrap();
        for name in ["home", "context"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        World { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// `distil` with nothing of the caller's environment but the search path.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(DISTIL);
        self.settle(&mut command);
        command
    }

    /// Gives a command the environment and the folder of this world.
    pub(crate) fn settle(&self, command: &mut Command) {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images");
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DISTIL_ROOT", self.path("store"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("DISTIL_IMAGE_LAYOUT", images)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
    }

    /// Runs `distil` with these arguments.
    pub(crate) fn distil<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
        outcome(self.command().args(arguments))
    }

    /// Runs `distil` with a command line split at spaces, and wants it to succeed; gives standard output.
    pub(crate) fn ok(&self, line: &str) -> String {
        let outcome = self.distil(line.split(' '));
        assert_eq!(outcome.code, 0, "distil {line}: {outcome:?}");
        outcome.stdout
    }

    /// Runs `distil` with a command line split at spaces, and wants this exit code; gives standard error.
    pub(crate) fn fails(&self, line: &str, code: i32) -> String {
        let outcome = self.distil(line.split(' '));
        assert_eq!(outcome.code, code, "distil {line}: {outcome:?}");
        outcome.stderr
    }

    /// Builds this Dockerfile with further arguments; gives standard output.
    pub(crate) fn build(&self, dockerfile: &str, arguments: &str) -> String {
        self.write("context/Dockerfile", dockerfile);
        self.ok(format!("build {arguments} context").replace("  ", " ").as_str())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids go only this way.
        if !rustix::process::geteuid().is_root() {
            let _ = self.command().args(["reset", "--force"]).output();
        }
    }
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command with this standard input.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Outcome {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that does not read it closes it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Hides what differs from run to run: digests, IDs and times.
pub(crate) fn stable(text: &str) -> String {
    let rules = [
        (r"sha256:[0-9a-f]{64}", "DIGEST"),
        (r"\b[0-9a-f]{12}\b", "ID"),
        (r"Less than a second ago|\d+ seconds? ago", "AGE"),
        (r"(?m)^#(\d+) \d+\.\d{3} ", "#$1 TIME "),
        (r"\b\d+\.\ds\b", "TIME"),
    ];
    rules.iter().fold(text.to_owned(), |text, (pattern, with)| {
        regex::Regex::new(pattern)
            .unwrap()
            .replace_all(&text, *with)
            .into_owned()
    })
}
