//! Stores and users of the tests.

use std::fs;
use std::process::{Command, Output};

use program::copy_distil;

#[path = "../support/program.rs"]
mod program;

/// A store of its own; perhaps of another user.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    user: Option<String>,
}

impl World {
    /// With a context that has this Dockerfile.
    pub(crate) fn new(user: Option<String>, dockerfile: &str) -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        fs::write(directory.path().join("context/Dockerfile"), dockerfile).unwrap();
        copy_distil(&directory.path().join("distil"));
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everyone).unwrap();
        let world = World { directory, user };
        world.own();
        world
    }

    /// Gives everything so far to the user.
    pub(crate) fn own(&self) {
        if let Some(user) = &self.user {
            let status = Command::new("chown")
                .args(["-R", user])
                .arg(self.path(""))
                .status();
            assert!(status.unwrap().success());
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    pub(crate) fn command(&self, prefix: &[&str], arguments: &[&str]) -> Output {
        let mut words: Vec<String> = Vec::new();
        if let Some(user) = &self.user {
            words.extend(["runuser", "-u", user, "--"].map(str::to_owned));
        }
        words.extend(prefix.iter().map(|word| (*word).to_owned()));
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
        let output = self.command(&[], arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &error
    }

    pub(crate) fn build(&self, arguments: &[&str]) -> String {
        let build = ["build", "--progress=plain", "-t", "made"];
        self.distil(&[&build, arguments, &["context"]].concat())
    }

    /// Writes a file of the context.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.directory.path().join("context").join(name), text).unwrap();
        self.own();
    }

    /// What the store says of an image.
    pub(crate) fn image_id(&self, name: &str) -> String {
        self.distil(&["inspect", "--format", "{{.Id}}", name])
    }

    /// Takes over what another store downloaded.
    pub(crate) fn share_downloads(&self, other: &World) {
        self.distil(&["images"]);
        let status = Command::new("cp")
            .args([
                "-a",
                &other.path("store/downloads"),
                &self.path("store/downloads"),
            ])
            .status();
        assert!(status.unwrap().success());
        self.own();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids can be deleted by the program only.
        self.command(&[], &["reset", "--force"]);
    }
}

/// Whether a build failed only because no Debian archive can be used here; says so.
pub(crate) fn is_without_archive(output: &Output) -> bool {
    let error = String::from_utf8_lossy(&output.stderr);
    let lacks = !output.status.success()
        && ["cannot be reached", "cannot be downloaded"]
            .iter()
            .any(|part| error.contains(part));
    if lacks {
        println!("skipped: no Debian archive can be used");
    }
    lacks
}
