//! Lockfiles through the program, with Debian's own archive behind a server that can misbehave. Where no archive can
//! be reached the test says so and passes.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

#[path = "../support/ordinary_user.rs"]
mod ordinary_user;
mod own_suite;
#[path = "../support/program.rs"]
mod program;
#[path = "../../../debian/tests/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use distil_debian::{ArchiveSources, FetchRequest, Fetcher, parse_apt_sources};
use distil_fetch::{Client, ClientConfig};
use support::server::{Answer, Server};

const RECIPE: &str = "name: tiny\ndescription: test\nruns: nothing\nextends: static\nrelease: bookworm\n";

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// A byte of the security suite's Release file is another.
    Release,
    /// A byte of each package is another.
    Packages,
    /// The archive has dropped `base-files`; the snapshot mirror has it.
    Dropped,
}

/// Debian's archive as this machine reads it, kept in memory.
struct Upstream {
    debian: String,
    security: String,
    client: Client,
    known: Mutex<HashMap<String, Vec<u8>>>,
}

impl Upstream {
    fn of_host() -> Upstream {
        let mut host = Vec::new();
        let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
        let mut files: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
        files.push("/etc/apt/sources.list".into());
        for file in files {
            if let Ok(text) = fs::read_to_string(&file) {
                host.extend(parse_apt_sources(&file.display().to_string(), &text));
            }
        }
        let sources = ArchiveSources::for_release("bookworm", None, &host).sources;
        Upstream {
            debian: sources[0].url.clone(),
            security: sources[2].url.clone(),
            client: Client::new(ClientConfig::default()),
            known: Mutex::default(),
        }
    }

    /// The file at a path below `/debian` or `/debian-security`.
    fn get(&self, path: &str) -> Option<Vec<u8>> {
        if let Some(known) = self.known.lock().unwrap().get(path) {
            return Some(known.clone());
        }
        let url = match path.strip_prefix("/debian-security/") {
            Some(rest) => format!("{}/{rest}", self.security),
            None => format!("{}/{}", self.debian, path.strip_prefix("/debian/")?),
        };
        let mut bytes = Vec::new();
        let request = FetchRequest {
            url: &url,
            offset: 0,
            limit: 1 << 30,
        };
        self.client.fetch(&request, &mut bytes).ok()?;
        self.known.lock().unwrap().insert(path.to_owned(), bytes.clone());
        Some(bytes)
    }

    fn answer(&self, path: &str, fault: Fault) -> Answer {
        // A snapshot mirror: `/snapshots/archive/debian/TIME/...`.
        let (path, fault) = match path.strip_prefix("/snapshots/archive/") {
            Some(rest) => {
                let mut parts = rest.splitn(3, '/');
                let (archive, _, file) = (parts.next(), parts.next(), parts.next());
                (
                    format!("/{}/{}", archive.unwrap_or(""), file.unwrap_or("")),
                    Fault::Nothing,
                )
            }
            None => (path.to_owned(), fault),
        };
        if fault == Fault::Dropped && path.contains("/base-files_") {
            return Answer::Status(404);
        }
        let Some(mut bytes) = self.get(&path) else {
            return Answer::Status(404);
        };
        let damaged = match fault {
            Fault::Release => path.ends_with("bookworm-security/InRelease"),
            Fault::Packages => path.ends_with(".deb"),
            Fault::Nothing | Fault::Dropped => false,
        };
        if damaged {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
        Answer::Bytes(bytes)
    }
}

struct World {
    directory: tempfile::TempDir,
    server: Server,
    fault: Arc<Mutex<Fault>>,
}

impl World {
    /// `None` where Debian's archive cannot be reached.
    fn new() -> Option<World> {
        let upstream = Upstream::of_host();
        upstream.get("/debian/dists/bookworm/InRelease")?;
        upstream.get("/debian-security/dists/bookworm-security/InRelease")?;
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("tiny.yaml"), RECIPE).unwrap();
        let fault = Arc::new(Mutex::new(Fault::Nothing));
        let seen = Arc::clone(&fault);
        let server = Server::start(Path::new("/"), move |request, _| {
            upstream.answer(&request.path, *seen.lock().unwrap())
        });
        Some(World {
            directory,
            server,
            fault,
        })
    }

    fn exists(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }

    fn distil(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_distil"))
            .args(arguments)
            .current_dir(self.directory.path())
            .env("DISTIL_ROOT", self.directory.path().join("store"))
            .env("DISTIL_MIRROR", format!("{}/debian", self.server.url))
            .env("HOME", self.directory.path().join("home"))
            .env("XDG_CONFIG_HOME", self.directory.path().join("config"))
            .output()
            .unwrap()
    }

    fn works(&self, arguments: &[&str]) -> String {
        let output = self.distil(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Fails with exit code 1, and leaves no image and no layer.
    fn fails(&self, fault: Fault, arguments: &[&str]) -> String {
        *self.fault.lock().unwrap() = fault;
        let output = self.distil(arguments);
        *self.fault.lock().unwrap() = Fault::Nothing;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert_eq!(self.works(&["images", "-a", "-q"]), "", "{arguments:?}");
        let layers = fs::read_dir(self.directory.path().join("store/snapshots"));
        assert_eq!(layers.map_or(0, Iterator::count), 0, "{arguments:?}");
        error
    }

    fn replace(&self, name: &str, what: &str, by: &str) {
        let path = self.directory.path().join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(what), "{what}: {text}");
        fs::write(path, text.replacen(what, by, 1)).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids can be deleted by the program only.
        self.distil(&["reset", "--force"]);
    }
}

#[test]
fn packages_are_locked_verified_and_made_again() {
    let Some(world) = World::new() else {
        println!("skipped: no Debian archive can be used");
        return;
    };
    let lock = ["base", "lock", "tiny.yaml", "--platform=linux/amd64"];
    let error = world.fails(Fault::Release, &lock);
    assert!(
        error.contains("bookworm-security/InRelease` is not trusted")
            && error.contains("no signature is valid"),
        "{error}"
    );
    assert!(!world.exists("tiny.lock") && !world.exists("tiny.lock.d"));

    let shown = world.works(&lock);
    assert!(shown.contains("of 1 images: tiny.lock"), "{shown}");
    let text = fs::read_to_string(world.directory.path().join("tiny.lock")).unwrap();
    assert!(
        text.contains("recipe = \"tiny.yaml\"") && !text.contains("http"),
        "{text}"
    );
    let shown = world.works(&["base", "verify", "tiny.lock", "--offline"]);
    assert!(shown.contains("bookworm-security of 20"), "{shown}");
    world.works(&["base", "outdated", "tiny.lock"]);

    refuses_what_differs(&world);

    let build = ["base", "build", "tiny.yaml", "--locked", "--platform=linux/amd64"];
    let error = world.fails(Fault::Packages, &build);
    assert!(error.contains("is not the file that the index names"), "{error}");
    let error = world.fails(Fault::Dropped, &build);
    assert!(
        error.contains("base-files") && error.contains("a snapshot mirror may have it"),
        "{error}"
    );

    *world.fault.lock().unwrap() = Fault::Dropped;
    let snapshots = format!("--snapshot-mirror={}/snapshots", world.server.url);
    let first = world.works(&[&build[..], &["-q", &snapshots]].concat());
    *world.fault.lock().unwrap() = Fault::Nothing;
    let updated = world.distil(&["base", "update", "tiny.lock", "--digests", "--progress=rawjson"]);
    let shown = String::from_utf8_lossy(&updated.stderr);
    assert!(updated.status.success(), "{shown}");
    assert!(shown.lines().all(|line| line.starts_with('{')), "{shown}");
    assert!(shown.contains("\"name\":\"make tiny"), "{shown}");
    let text = fs::read_to_string(world.directory.path().join("tiny.lock")).unwrap();
    assert!(
        text.contains("\nmanifest = \"sha256:") && text.contains("\ndiff-ids = ["),
        "{text}"
    );
    world.server.forget();
    assert_eq!(world.works(&[&build[..], &["-q"]].concat()), first);
    for (form, expected) in [("plain", "#1 make tiny"), ("quiet", "")] {
        let built = world.distil(&[&build[..], &["--progress", form]].concat());
        let shown = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success() && shown.starts_with(expected), "{shown}");
        assert_eq!(shown.is_empty(), expected.is_empty(), "{shown}");
    }
    let asked = world.server.seen();
    assert!(
        asked.is_empty(),
        "a locked image that is there asks nobody: {asked:?}"
    );
    world.replace(
        "tiny.lock",
        "manifest = \"sha256:",
        "manifest = \"sha256:00000000",
    );
    let lines = fs::read_to_string(world.directory.path().join("tiny.lock")).unwrap();
    let lines: Vec<String> = lines
        .lines()
        .map(|line| match line.strip_prefix("manifest = ") {
            Some(value) => format!("manifest = {}\"", &value[..72]),
            None => line.to_owned(),
        })
        .collect();
    fs::write(world.directory.path().join("tiny.lock"), lines.join("\n")).unwrap();
    let output = world.distil(&[&build[..], &["-t", "drifted"]].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("the lockfile expects `sha256:00000000"), "{error}");
    assert!(!world.works(&["images", "-a"]).contains("drifted"));
}

/// A recipe that changed, a lockfile that somebody changed, an older package.
fn refuses_what_differs(world: &World) {
    let build = ["base", "build", "tiny.yaml", "--locked", "--platform=linux/amd64"];
    let locked = fs::read_to_string(world.directory.path().join("tiny.lock")).unwrap();
    fs::write(
        world.directory.path().join("tiny.yaml"),
        format!("{RECIPE}entrypoint: [/bin/app]\n"),
    )
    .unwrap();
    let error = world.fails(Fault::Nothing, &build);
    assert!(error.contains("changed since it was locked"), "{error}");
    let output = world.distil(&["base", "outdated", "tiny.lock"]);
    assert_eq!(output.status.code(), Some(3));
    fs::write(world.directory.path().join("tiny.yaml"), RECIPE).unwrap();

    let arm = ["base", "build", "tiny.yaml", "--locked", "--platform=linux/arm64"];
    let error = world.fails(Fault::Nothing, &arm);
    assert!(error.contains("does not hold `tiny"), "{error}");

    world.replace("tiny.lock", "\nsize = ", "\nsize = 9");
    let error = world.fails(Fault::Nothing, &["base", "verify", "tiny.lock", "--offline"]);
    assert!(error.contains("is not in suite"), "{error}");
    world.replace("tiny.lock", "version = 1", "version = 1\nunknown = 1");
    let error = world.fails(Fault::Nothing, &["base", "verify", "tiny.lock"]);
    assert!(error.contains("line 4") && error.contains("unknown"), "{error}");
    fs::write(world.directory.path().join("tiny.lock"), locked).unwrap();
}
