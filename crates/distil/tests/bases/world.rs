//! Stores and users of the tests.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

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
        // The program is copied: the user may not see the build folder.
        fs::copy(env!("CARGO_BIN_EXE_distil"), directory.path().join("distil")).unwrap();
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

/// An ordinary user with subordinate ids.
pub(crate) struct OrdinaryUser {
    pub(crate) name: String,
    /// Made for this test and removed after it.
    made: bool,
}

impl OrdinaryUser {
    /// One that exists, or a new one; none where nobody can be made, which is told.
    pub(crate) fn new() -> Option<Self> {
        let found = Self::find();
        if found.is_none() {
            println!("skipped: needs root, newuidmap, and useradd or a user with subordinate ids");
        }
        found
    }

    fn find() -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/usr/bin/newuidmap").exists() {
            return None;
        }
        let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
        let users = fs::read_to_string("/etc/passwd").ok()?;
        let mut names = ranges.lines().filter_map(|line| line.split(':').next());
        let known = names
            .find(|name| *name != "root" && users.lines().any(|line| line.starts_with(&format!("{name}:"))));
        if let Some(name) = known {
            return Some(Self {
                name: name.to_owned(),
                made: false,
            });
        }
        Self::make()
    }

    fn make() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let succeeds = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output();
            output.is_ok_and(|output| output.status.success())
        };
        let name = format!(
            "distilbases{}x{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let user =
            succeeds("useradd", &["-M", "-d", "/nonexistent", &name]).then_some(Self { name, made: true })?;
        let ranges = fs::read_to_string("/etc/subuid").unwrap_or_default();
        let add = [
            "--add-subuids",
            "1100000-1165535",
            "--add-subgids",
            "1100000-1165535",
            &user.name,
        ];
        (ranges.contains(&user.name) || succeeds("usermod", &add)).then_some(user)
    }
}

impl Drop for OrdinaryUser {
    fn drop(&mut self) {
        if self.made {
            // Upkeep that a build has left behind may still run. A user that stays is only untidy.
            let _ = Command::new("userdel").args(["--force", &self.name]).output();
        }
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
