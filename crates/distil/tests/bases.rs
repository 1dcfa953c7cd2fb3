//! Bases that are assembled from the Debian archive, through the program. Where no archive can be reached the test
//! says so and passes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const DOCKERFILE: &str = "FROM debian:bookworm-slim\nRUN echo made > /made\n";

/// A store of its own; perhaps of another user.
struct World {
    directory: tempfile::TempDir,
    user: Option<String>,
}

impl World {
    fn new(user: Option<String>) -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        fs::write(directory.path().join("context/Dockerfile"), DOCKERFILE).unwrap();
        // The program is copied: the user may not see the build folder.
        fs::copy(env!("CARGO_BIN_EXE_distil"), directory.path().join("distil")).unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), everyone).unwrap();
        let world = World { directory, user };
        world.own();
        world
    }

    /// Gives everything so far to the user.
    fn own(&self) {
        if let Some(user) = &self.user {
            let status = Command::new("chown")
                .args(["-R", user])
                .arg(self.path(""))
                .status();
            assert!(status.unwrap().success());
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn command(&self, prefix: &[&str], arguments: &[&str]) -> Output {
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

    fn distil(&self, arguments: &[&str]) -> String {
        let output = self.command(&[], arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned() + &error
    }

    fn build(&self, arguments: &[&str]) -> String {
        let build = ["build", "--progress=plain", "-t", "made"];
        self.distil(&[&build, arguments, &["context"]].concat())
    }

    fn base_id(&self) -> String {
        self.distil(&["inspect", "--format", "{{.Id}}", "debian:bookworm-slim"])
    }

    /// Takes over what another store downloaded.
    fn share_downloads(&self, other: &World) {
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

/// A user with subordinate ids, if root may act as one.
fn ordinary_user() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let ranges = fs::read_to_string("/etc/subuid").ok()?;
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let names = ranges.lines().filter_map(|line| line.split(':').next());
    let mut known = names.filter(|name| users.lines().any(|line| line.starts_with(&format!("{name}:"))));
    known.find(|name| *name != "root").map(str::to_owned)
}

#[test]
fn one_base_for_everybody() {
    let first = World::new(None);
    let metadata = first.path("metadata.json");
    let output = first.command(
        &[],
        &[
            "build",
            "-t",
            "made",
            "--bases=packages",
            "--metadata-file",
            &metadata,
            "context",
        ],
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success()
        && (error.contains("cannot be reached") || error.contains("cannot be downloaded"))
    {
        println!("skipped: no Debian archive can be used");
        return;
    }
    assert!(output.status.success(), "{error}");
    let facts: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
    let bases = &facts["distil.bases.assembled"];
    assert_eq!(bases[0], "docker.io/library/debian:bookworm-slim", "{facts}");
    assert!(
        first
            .distil(&["inspect", "made"])
            .contains("distil.base.assembled")
    );
    stays_until_pull(&first);
    let id = first.base_id();

    let native = World::new(None);
    native.share_downloads(&first);
    native.build(&["--bases=packages", "--snapshotter=native"]);
    assert_eq!(native.base_id(), id);

    match ordinary_user() {
        None => println!("skipped: there is no other user with subordinate ids"),
        Some(user) => {
            let other = World::new(Some(user));
            other.share_downloads(&first);
            other.build(&["--bases=packages"]);
            assert_eq!(other.base_id(), id);
        }
    }
}

/// An assembled base is used again without a look at the network, is shown only when asked for, and survives
/// pruning of the cache.
fn stays_until_pull(world: &World) {
    let traced = Path::new("/usr/bin/strace").exists();
    if traced {
        let trace = world.path("trace");
        let strace = [
            "strace",
            "-f",
            "-o",
            &trace,
            "-e",
            "trace=socket,connect,unshare,setns,mount",
        ];
        let output = world.command(&strace, &["build", "-t", "made", "context"]);
        assert!(output.status.success());
        let calls = fs::read_to_string(&trace).unwrap();
        let calls: Vec<&str> = calls.lines().filter(|line| line.contains('(')).collect();
        assert!(calls.is_empty(), "{calls:?}");
    } else {
        println!("skipped: `strace` is not installed");
    }
    assert!(!world.distil(&["images"]).contains("debian"));
    assert!(world.distil(&["images", "-a"]).contains("debian"));
    world.distil(&["prune", "--force"]);
    // No archive is there any more: the base is.
    let progress = world.build(&["--no-cache", "--mirror", "http://127.0.0.1:9/debian"]);
    assert!(progress.contains("assembled from Debian packages"), "{progress}");
}
