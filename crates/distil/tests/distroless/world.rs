//! The program with a store of its own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use program::copy_distil;

#[path = "../support/program.rs"]
mod program;

pub(crate) struct World {
    directory: tempfile::TempDir,
    user: Option<String>,
}

/// Downloads and unpacked packages, kept for the next run.
fn downloads() -> String {
    concat!(env!("CARGO_TARGET_TMPDIR"), "/distroless-downloads").to_owned()
}

impl World {
    /// `None` where the tests cannot act as uid 65532 of an image.
    pub(crate) fn new(programs: &str) -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let world = World::empty(programs, None);
        fs::create_dir_all(downloads()).unwrap();
        world.distil(&["images"]);
        std::os::unix::fs::symlink(downloads(), world.path("store/downloads")).unwrap();
        Some(world)
    }

    /// The world of an ordinary user, with the downloads of `other`.
    pub(crate) fn of(programs: &str, user: &str, other: &World) -> World {
        let world = World::empty(programs, Some(user.to_owned()));
        chown(user, &world.path(""));
        world.distil(&["images"]);
        let target = world.path("store/downloads");
        let folder = other.path("store/downloads/");
        fs::create_dir(&target).unwrap();
        for name in ["index", "release", "sha256"] {
            let copied = Command::new("cp")
                .args(["-r", &format!("{folder}{name}"), &target])
                .status();
            assert!(copied.unwrap().success());
        }
        chown(user, &target);
        world
    }

    fn empty(programs: &str, user: Option<String>) -> World {
        let directory = tempfile::tempdir().unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everyone).unwrap();
        copy_distil(&directory.path().join("distil"));
        let folder = directory.path().join("programs");
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(programs).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        World { directory, user }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        let mut words: Vec<String> = Vec::new();
        if let Some(user) = &self.user {
            words.extend(["runuser", "-u", user, "--"].map(str::to_owned));
        }
        words.push(self.path("distil"));
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        Command::new(&words[0])
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env("DISTIL_ROOT", self.path("store"))
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .output()
            .unwrap()
    }

    pub(crate) fn distil(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes a built-in image; false, and told, where no archive can be used.
    pub(crate) fn make(&self, image: &str) -> bool {
        let output = self.command(&["base", "build", image]);
        let error = String::from_utf8_lossy(&output.stderr);
        if !output.status.success()
            && (error.contains("cannot be reached") || error.contains("cannot be downloaded"))
        {
            println!("skipped: no Debian archive can be used");
            return false;
        }
        assert!(output.status.success(), "{image}: {error}");
        true
    }

    fn run_output(&self, image: &str, options: &[&str], arguments: &[&str]) -> Output {
        let programs = format!("{}:/programs:ro", self.path("programs"));
        let reference = format!("distil/{image}");
        let run = ["run", "--rm", "-v", &programs];
        self.command(&[&run, options, &[&*reference], arguments].concat())
    }

    /// What a program writes in the image, which it must end well in.
    pub(crate) fn run(&self, image: &str, arguments: &[&str]) -> String {
        self.run_with(image, &[], arguments)
    }

    /// The same with options of `distil run`.
    pub(crate) fn run_with(&self, image: &str, options: &[&str], arguments: &[&str]) -> String {
        let output = self.run_output(image, options, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{image} {arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What is told of a program that does not run in the image.
    pub(crate) fn run_fails(&self, image: &str, arguments: &[&str]) -> String {
        let output = self.run_output(image, &[], arguments);
        assert!(!output.status.success(), "{image} {arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub(crate) fn id(&self, image: &str) -> String {
        self.distil(&["inspect", "--format", "{{.Id}}", &format!("distil/{image}")])
    }
}

fn chown(user: &str, path: &str) {
    let status = Command::new("chown").args(["-R", user, path]).status();
    assert!(status.unwrap().success());
}

impl Drop for World {
    fn drop(&mut self) {
        // The downloads stay for the next run.
        let link = self.path("store/downloads");
        if Path::new(&link).is_symlink() {
            let _ = fs::remove_file(link);
        }
        // Files of subordinate ids can be deleted by the program only.
        self.command(&["reset", "--force"]);
    }
}
