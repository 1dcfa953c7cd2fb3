//! Images from registries, through the program: pulling, logins, certificates, names, errors, and when a base is
//! assembled instead. Where Debian's `docker-registry` or `skopeo` is missing, tests that need them say so and
//! pass.

#![expect(
    clippy::unwrap_used,
    reason = "tests fail by a panic and tell when they are skipped"
)]

mod checks;
#[path = "../../../registry/tests/support/mod.rs"]
mod docker_registry;
mod server;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use docker_registry::{Registry, Setup, images};
use server::{proxy_to, respond, serve};
use tempfile::TempDir;

/// A store, a context and an environment of their own.
struct World {
    directory: TempDir,
    variables: Vec<(String, String)>,
}

struct Outcome {
    success: bool,
    stdout: String,
    stderr: String,
}

impl World {
    fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        fs::create_dir(directory.path().join("docker")).unwrap();
        World {
            directory,
            variables: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.variables.push((name.to_owned(), value.into()));
    }

    fn distil(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_distil"));
        for name in [
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            command.env_remove(name);
        }
        for name in ["DISTIL_IMAGE_LAYOUT", "DISTIL_MIRROR", "DISTIL_BASES"] {
            command.env_remove(name);
        }
        let output = command
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("DISTIL_ROOT", self.path("store"))
            .envs(self.variables.iter().cloned())
            .args(arguments)
            .output()
            .unwrap();
        Outcome {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn build(&self, dockerfile: &str, arguments: &[&str]) -> Outcome {
        fs::write(self.directory.path().join("context/Dockerfile"), dockerfile).unwrap();
        let context = self.path("context");
        let mut all = vec!["build", "--progress=plain"];
        all.extend(arguments);
        all.push(&context);
        self.distil(&all)
    }

    /// Builds what must succeed; gives the progress.
    fn built(&self, dockerfile: &str, arguments: &[&str]) -> String {
        let outcome = self.build(dockerfile, arguments);
        assert!(outcome.success, "{}", outcome.stderr);
        outcome.stderr
    }

    /// Builds what must fail; the error names all of `words`.
    fn refused(&self, dockerfile: &str, arguments: &[&str], words: &[&str]) -> String {
        let outcome = self.build(dockerfile, arguments);
        assert!(!outcome.success, "{}", outcome.stderr);
        for word in words {
            assert!(
                outcome.stderr.contains(word),
                "`{word}` is missing in:\n{}",
                outcome.stderr
            );
        }
        assert!(!outcome.stderr.contains("assembled"), "{}", outcome.stderr);
        outcome.stderr
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Files of subordinate ids can be deleted by the program only.
        self.distil(&["reset", "--force"]);
    }
}

#[test]
fn bases_and_sources_are_pulled_once() {
    let Some(mut registry) = Registry::start(&Setup::default()) else {
        return;
    };
    registry.fill("busybox", "ubuntu", &[]);
    registry.fill("full", "tools/full:1", &[]);
    let world = World::new();
    let dockerfile = format!(
        "FROM {host}/ubuntu\nCOPY --from={host}/tools/full:1 /etc /full\nRUN ls /full && echo built > /built\n",
        host = registry.host
    );
    world.built(&dockerfile, &["-t", "one"]);
    // A pulled layer leaves again as it came: its own tar, whose digest the config names.
    let saved = world.path("saved");
    let outcome = world.distil(&["save", "--format", "oci-dir", "-o", &saved, "one"]);
    assert!(outcome.success, "{}", outcome.stderr);
    let layers = |layout: &str| {
        let output = Command::new("skopeo")
            .args(["inspect", &format!("oci:{layout}")])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        parsed(&output.stdout)["Layers"].as_array().unwrap().clone()
    };
    let base = layers(&format!(
        "{}:docker.io/library/busybox:latest",
        images().display()
    ));
    assert!(layers(&saved).starts_with(&base) && !base.is_empty());

    registry.stop();
    // Everything is known: no registry is asked, also for a step that was not built before.
    world.built(&format!("{dockerfile}RUN cat /built\n"), &["-t", "two"]);
    let stderr = world.refused(&dockerfile, &["--pull"], &["ubuntu", "Dockerfile:1"]);
    assert!(stderr.contains("refused"), "{stderr}");
}

#[test]
fn pull_looks_a_moved_tag_up_again() {
    let Some(registry) = Registry::start(&Setup::default()) else {
        return;
    };
    registry.fill("busybox", "moving:1", &[]);
    let world = World::new();
    let dockerfile = format!("FROM {}/moving:1\n", registry.host);
    let digest = |progress: &str| {
        let line = progress.lines().find(|line| line.contains("@sha256:")).unwrap();
        line.split("@sha256:").nth(1).unwrap()[..64].to_owned()
    };
    let first = digest(&world.built(&dockerfile, &["-t", "x"]));
    registry.fill("full", "moving:1", &[]);
    assert_eq!(digest(&world.built(&dockerfile, &["-t", "x"])), first);
    let newest = digest(&world.built(&dockerfile, &["-t", "x", "--pull"]));
    assert_ne!(newest, first);
    assert_eq!(digest(&world.built(&dockerfile, &["-t", "x"])), newest);
}

#[test]
fn logins_come_from_the_docker_config() {
    let login = ("user", "secret");
    let setup = Setup {
        login: Some(login),
        ..Setup::default()
    };
    let Some(registry) = Registry::start(&setup) else {
        return;
    };
    registry.fill("busybox", "private:1", &["--dest-creds", "user:secret"]);
    let host = registry.host.as_str();
    let dockerfile = format!("# a comment\nFROM {host}/private:1\n");
    let mut world = World::new();
    let line = format!("FROM {host}/private:1");
    world.refused(&dockerfile, &[], &["private:1", "Dockerfile:2", &line, "login"]);

    let config = |text: String| fs::write(world.path("docker/config.json"), text).unwrap();
    config(format!(
        r#"{{"auths":{{"{host}":{{"auth":"dXNlcjp3cm9uZw=="}}}}}}"#
    ));
    world.refused(&dockerfile, &[], &["private:1", "Dockerfile:2"]);
    config(format!(
        r#"{{"auths":{{"{host}":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#
    ));
    world.built(&dockerfile, &["--pull"]);

    config(format!(r#"{{"credHelpers":{{"{host}":"testing"}}}}"#));
    let programs = world.path("bin");
    fs::create_dir(&programs).unwrap();
    let helper = format!("{programs}/docker-credential-testing");
    let answer = format!(
        "read host\n[ \"$host\" = {host} ] && echo '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'"
    );
    fs::write(&helper, format!("#!/bin/sh\n{answer}\n")).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    world.set("PATH", format!("{programs}:{path}"));
    world.built(&dockerfile, &["--pull"]);
}

#[test]
fn own_certificates_are_trusted_when_named() {
    let setup = Setup {
        tls_name: Some("registry.test"),
        ..Setup::default()
    };
    let Some(registry) = Registry::start(&setup) else {
        return;
    };
    registry.fill("busybox", "over-tls:1", &[]);
    let dockerfile = format!("FROM {}/over-tls:1\n", registry.host);
    let mut world = World::new();
    world.refused(&dockerfile, &[], &["over-tls:1", "Dockerfile:1", "certificate"]);
    let certificate = registry.directory.path().join("cert.pem");
    world.set("SSL_CERT_FILE", certificate.display().to_string());
    world.built(&dockerfile, &[]);
}

#[test]
fn errors_of_a_registry_name_image_and_line() {
    let denied = serve(|line, stream| {
        let (status, body) = match line {
            line if line.contains("/limited/") => ("429 Too Many Requests", "slow down"),
            line if line.contains("/forbidden/") => ("403 Forbidden", ""),
            line if line.contains("/broken/") => ("500 Internal Server Error", ""),
            line if line.contains(" /v2/ ") => ("200 OK", ""),
            _ => ("404 Not Found", ""),
        };
        respond(stream, status, "Retry-After: 3600\r\n", body.as_bytes());
    });
    let world = World::new();
    for (name, word) in [
        ("limited/debian", "429"),
        ("forbidden/debian", "denied"),
        ("broken/debian", "500"),
        ("absent/debian", "not found"),
    ] {
        let dockerfile = format!("FROM scratch\nCOPY --from={denied}/{name}:12 / /\n");
        let stderr = world.refused(&dockerfile, &[], &[name, "Dockerfile:2"]);
        println!("{word}: {}", stderr.lines().last().unwrap_or_default());
    }
}

fn parsed(json: &[u8]) -> serde_json::Value {
    serde_json::from_slice(json).unwrap()
}

fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        _ => "arm64",
    }
}

/// Digest of the golden index `busybox`.
fn busybox() -> String {
    let index = parsed(&fs::read(images().join("index.json")).unwrap());
    let name = "docker.io/library/busybox:latest";
    let mut entries = index["manifests"].as_array().unwrap().iter();
    let entry = entries.find(|entry| entry["annotations"]["org.opencontainers.image.ref.name"] == name);
    entry.unwrap()["digest"].as_str().unwrap().to_owned()
}

/// A registry with one image, whose layer is given by `layer`.
fn one_image(layer: impl Fn(&mut std::net::TcpStream, &[u8]) + Send + Sync + 'static) -> String {
    let blobs = images().join("blobs/sha256");
    let read = |digest: &str| fs::read(blobs.join(&digest[7..])).unwrap();
    let index = parsed(&read(&busybox()));
    let of_host = |entry: &&serde_json::Value| entry["platform"]["architecture"] == host_architecture();
    let entry = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .find(of_host)
        .unwrap();
    let digest = entry["digest"].as_str().unwrap().to_owned();
    let media_type = entry["mediaType"].as_str().unwrap().to_owned();
    let manifest = read(&digest);
    let config = parsed(&manifest)["config"]["digest"].as_str().unwrap().to_owned();
    serve(move |line, stream| {
        if line.contains("/manifests/") {
            let headers = format!("Content-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\n");
            respond(
                stream,
                "200 OK",
                &headers,
                if line.starts_with("HEAD") { b"" } else { &manifest },
            );
        } else if let Some(blob) = line.split("/blobs/sha256:").nth(1) {
            let blob = fs::read(blobs.join(&blob[..64])).unwrap();
            match line.contains(&config) {
                true => respond(stream, "200 OK", "", &blob),
                false => layer(stream, &blob),
            }
        } else {
            respond(stream, "200 OK", "", b"");
        }
    })
}

#[test]
fn damaged_and_broken_layers_are_refused() {
    let world = World::new();
    let damaged = one_image(|stream, blob| {
        let mut blob = blob.to_vec();
        let middle = blob.len() / 2;
        blob[middle] ^= 1;
        respond(stream, "200 OK", "", &blob);
    });
    let dockerfile = format!("FROM {damaged}/image:1\nRUN true\n");
    world.refused(&dockerfile, &[], &["image:1", "sha256", "Dockerfile:1"]);
    let broken = one_image(|stream, blob| {
        use std::io::Write;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.len());
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(&blob[..blob.len() / 2]);
    });
    let dockerfile = format!("FROM {broken}/image:1\nRUN true\n");
    world.refused(&dockerfile, &[], &["image:1", "Dockerfile:1"]);
    assert!(world.distil(&["images", "-a", "-q"]).stdout.is_empty());
}

#[test]
fn local_names_need_no_registry() {
    let mut world = World::new();
    let layout = images().display().to_string();
    world.built(
        "FROM busybox\nRUN echo local > /local\n",
        &["-t", "ubuntu", "--image-layout", &layout],
    );
    let outcome = world.distil(&["tag", "ubuntu", "someone/other:7"]);
    assert!(outcome.success, "{}", outcome.stderr);
    // A proxy that leads nowhere: whoever asks a registry fails.
    world.set("https_proxy", "http://127.0.0.1:9");
    world.built("FROM ubuntu\nRUN cat /local\n", &[]);
    world.built("FROM scratch\nCOPY --from=someone/other:7 /local /\n", &[]);
    world.refused("FROM fedora\n", &[], &["fedora", "Dockerfile:1"]);
}

#[test]
fn bases_are_assembled_only_when_nobody_answers() {
    let mut world = World::new();
    // No archive either: an attempt to assemble fails, and says so.
    let nowhere = ["--mirror", "http://127.0.0.1:9/debian"];
    let assembling = |world: &World, arguments: &[&str]| {
        let outcome = world.build("FROM debian:bookworm\n", &[&nowhere, arguments].concat());
        assert!(!outcome.success);
        outcome.stderr.contains("could not be assembled")
    };
    // No connection to the registry (here to its proxy).
    world.set("https_proxy", "http://127.0.0.1:9");
    assert!(assembling(&world, &[]));
    assert!(!assembling(&world, &["--bases=registry"]));
    // A layout that has the name is asked before all.
    let layout = images().display().to_string();
    let outcome = world.build(
        "FROM debian:bookworm\n",
        &["--bases=packages", "--image-layout", &layout],
    );
    assert!(!outcome.stderr.contains("assembled"), "{}", outcome.stderr);
    // Fixed contents and unknown releases are never replaced.
    let digest = format!("FROM debian@sha256:{}\n", "0".repeat(64));
    world.refused(&digest, &nowhere, &["debian"]);
    world.refused("FROM debian:11\n", &nowhere, &["debian:11"]);
    // An answer, whatever it says.
    let refusing = serve(|_, stream| respond(stream, "403 Forbidden", "", b""));
    world.set("https_proxy", format!("http://{refusing}"));
    assert!(!assembling(&world, &[]));
    assert!(assembling(&world, &["--bases=packages"]));
}

#[test]
fn answers_of_docker_hub_are_final() {
    let nowhere = ["--mirror", "http://127.0.0.1:9/debian"];
    let setup = Setup {
        tls_name: Some("registry-1.docker.io"),
        ..Setup::default()
    };
    let Some(registry) = Registry::start(&setup) else {
        return;
    };
    let certificate = registry.directory.path().join("cert.pem").display().to_string();
    let mut world = World::new();
    world.set(
        "https_proxy",
        format!("http://{}", proxy_to(registry.host.clone())),
    );
    world.refused(
        "FROM debian:bookworm\n",
        &nowhere,
        &["debian:bookworm", "certificate"],
    );
    world.set("SSL_CERT_FILE", certificate);
    world.refused(
        "FROM debian:bookworm\n",
        &nowhere,
        &["debian:bookworm", "Dockerfile:1"],
    );
    // Under the name of Docker Hub: short names are looked up there.
    registry.fill("busybox", "library/debian:bookworm", &[]);
    let progress = world.built("FROM debian:bookworm\nRUN true\n", &nowhere);
    assert!(!progress.contains("assembled"), "{progress}");

    let login = Setup {
        login: Some(("user", "secret")),
        tls_name: Some("registry-1.docker.io"),
    };
    let Some(registry) = Registry::start(&login) else {
        return;
    };
    let certificate = registry.directory.path().join("cert.pem").display().to_string();
    let mut world = World::new();
    world.set(
        "https_proxy",
        format!("http://{}", proxy_to(registry.host.clone())),
    );
    world.set("SSL_CERT_FILE", certificate);
    world.refused(
        "FROM debian:bookworm\n",
        &nowhere,
        &["debian:bookworm", "Dockerfile:1"],
    );
}

#[test]
fn a_distroless_name_that_the_registry_lacks_is_told_the_nearest_recipe() {
    // Registries ask for a login where there is no such image, too.
    for (login, answer) in [
        (None, "is not on the registry"),
        (Some(("user", "secret")), "it asks for a login"),
    ] {
        let setup = Setup {
            login,
            tls_name: Some("gcr.io"),
        };
        let Some(registry) = Registry::start(&setup) else {
            return;
        };
        let mut world = World::new();
        world.set(
            "https_proxy",
            format!("http://{}", proxy_to(registry.host.clone())),
        );
        let certificate = registry.directory.path().join("cert.pem").display().to_string();
        world.set("SSL_CERT_FILE", certificate);
        world.refused(
            "FROM gcr.io/distroless/java17-debian13\n",
            &[],
            &[
                "Dockerfile:1",
                answer,
                "the nearest recipe is `gcr.io/distroless/java17-debian12:latest`: Debian 12",
                "--image-layout names a folder",
            ],
        );
        // What has a recipe is not replaced by another one, and other names have none.
        for name in [
            "gcr.io/distroless/static-debian12",
            "gcr.io/other/java17-debian13",
        ] {
            let error = world.refused(&format!("FROM {name}\n"), &[], &["Dockerfile:1", answer]);
            assert!(!error.contains("nearest"), "{error}");
        }
    }
}

#[test]
fn layouts_are_named_contexts() {
    let world = World::new();
    let layout = images().display().to_string();
    let digest = busybox();
    // A layout of one image, tagged the short way.
    let single = world.path("single");
    if Command::new("skopeo").arg("--version").output().is_ok() {
        let source = format!("oci:{layout}:docker.io/library/busybox:latest");
        let copied = Command::new("skopeo")
            .args([
                "copy",
                "-q",
                "--preserve-digests",
                &source,
                &format!("oci:{single}:short"),
            ])
            .output()
            .unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
        for tail in ["", ":short"] {
            let context = format!("base=oci-layout://{single}{tail}");
            world.built("FROM base\nRUN true\n", &["--build-context", &context]);
        }
        let context = format!("base=oci-layout://{single}:absent");
        world.refused("FROM base\n", &["--build-context", &context], &["absent"]);
    }
    let context = format!("base=oci-layout://{layout}@{digest}");
    world.built("FROM base\nRUN true\n", &["--build-context", &context]);
    world.built(
        "FROM scratch\nCOPY --from=base /bin /bin\n",
        &["--build-context", &context],
    );
    let absent = world.path("absent");
    let context = format!("base=oci-layout://{absent}");
    world.refused("FROM base\n", &["--build-context", &context], &["absent"]);
    world.refused("FROM busybox\n", &["--image-layout", &absent], &["absent"]);
}

#[test]
fn proxies_reach_run_and_nothing_else() {
    let mut world = World::new();
    let layout = images().display().to_string();
    let arguments = ["-t", "x", "--image-layout", &layout];
    let dockerfile = "FROM busybox\nRUN echo \"proxy is $http_proxy\" && ! env | grep -i no_such\n";
    world.set("http_proxy", "http://user:word@proxy.test:1");
    let first = world.built(dockerfile, &arguments);
    assert!(
        first.contains("proxy is http://user:word@proxy.test:1"),
        "{first}"
    );
    world.set("http_proxy", "http://other.test:2");
    let second = world.built(dockerfile, &arguments);
    assert!(
        second.contains("CACHED") && !second.contains("proxy is http"),
        "{second}"
    );
    for command in [vec!["inspect", "x"], vec!["history", "--no-trunc", "x"]] {
        let outcome = world.distil(&command);
        assert!(
            outcome.success && !outcome.stdout.contains("proxy.test"),
            "{}",
            outcome.stdout
        );
    }
}
