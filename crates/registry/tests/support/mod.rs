//! Debian's `docker-registry` on the loopback, filled by `skopeo`; for the tests of several crates.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// The golden base images, an OCI layout.
pub(crate) fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images")
}

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .unwrap();
    if !found.status.success() {
        println!("skipped: `{program}` is not installed");
    }
    found.status.success()
}

/// Debian's registry; it ends with this value.
pub(crate) struct Registry {
    server: Option<Child>,
    pub(crate) host: String,
    pub(crate) directory: TempDir,
}

/// How a registry is set up.
#[derive(Default)]
pub(crate) struct Setup {
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// It speaks https, with a certificate of its own for the loopback and this name: `cert.pem`.
    pub(crate) tls_name: Option<&'static str>,
}

impl Registry {
    /// Starts one on a free port; nothing where it is not installed.
    pub(crate) fn start(setup: &Setup) -> Option<Registry> {
        let needed = ["docker-registry", "skopeo"].into_iter();
        let needed = needed
            .chain(setup.login.map(|_| "htpasswd"))
            .chain(setup.tls_name.map(|_| "openssl"));
        if !needed.into_iter().all(installed) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let host = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {host}\n",
            path("data")
        );
        if let Some(name) = setup.tls_name {
            let names = format!("subjectAltName=IP:127.0.0.1,DNS:{name}");
            let mut command = Command::new("openssl");
            command.args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-subj",
                "/CN=registry",
            ]);
            command.args([
                "-addext",
                &names,
                "-keyout",
                &path("key.pem"),
                "-out",
                &path("cert.pem"),
            ]);
            assert!(command.output().unwrap().status.success());
            let (certificate, key) = (path("cert.pem"), path("key.pem"));
            config += &format!("  tls: {{certificate: {certificate}, key: {key}}}\n");
        }
        if let Some((user, password)) = setup.login {
            let line = Command::new("htpasswd")
                .args(["-Bbn", user, password])
                .output()
                .unwrap();
            fs::write(path("htpasswd"), line.stdout).unwrap();
            config += &format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                path("htpasswd")
            );
        }
        fs::write(path("config.yml"), config).unwrap();
        let mut registry = Registry {
            server: None,
            host,
            directory,
        };
        registry.resume();
        Some(registry)
    }

    fn resume(&mut self) {
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.directory.path().join("config.yml"));
        self.server = Some(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        for _ in 0..400 {
            if TcpStream::connect(&self.host).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(25));
        }
        panic!("docker-registry did not start");
    }

    /// Ends the server.
    pub(crate) fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself; then there is nothing to end.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    /// Copies a golden image to `target`, such as `library/busybox:latest`.
    pub(crate) fn fill(&self, image: &str, target: &str, login: &[&str]) {
        let source = format!("oci:{}:docker.io/library/{image}:latest", images().display());
        let output = Command::new("skopeo")
            .args([
                "copy",
                "-q",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .args(login)
            .args([source, format!("docker://{}/{target}", self.host)])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop();
    }
}
