//! Against Debian's `docker-registry`, filled by `skopeo` from the golden base images. Where one of the two is
//! missing the tests say so and pass.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use distil_fetch::{Client, ClientConfig, TrustRoots};
use distil_oci::{Layout, Manifest, Platform, Reference, media_type};
use distil_registry::{
    Credentials, DockerConfig, NoCredentials, PullOptions, PushImage, RegistryError, Remote, RemoteConfig,
};
use distil_store::Store;
use tempfile::TempDir;

struct Registry {
    server: Child,
    host: String,
    directory: TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn images() -> PathBuf {
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

/// Starts a registry on a free port of the loopback, with a password file if one is given.
fn start(password: Option<(&str, &str)>) -> Option<Registry> {
    start_with(password, false)
}

/// With `tls` it speaks https only; its certificate is `cert.pem` in its directory.
fn start_with(password: Option<(&str, &str)>, tls: bool) -> Option<Registry> {
    let needed = ["docker-registry", "skopeo"].into_iter();
    let needed = needed
        .chain(password.map(|_| "htpasswd"))
        .chain(tls.then_some("openssl"));
    if !needed.into_iter().all(installed) {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let host = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let path = |name: &str| directory.path().join(name);
    let mut config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: {host}\n",
        path("data").display()
    );
    if tls {
        let (key, certificate) = (path("key.pem"), path("cert.pem"));
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
        command
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        assert!(command.output().unwrap().status.success());
        config += &format!(
            "  tls: {{certificate: {}, key: {}}}\n",
            certificate.display(),
            key.display()
        );
    }
    if let Some((user, password)) = password {
        let line = Command::new("htpasswd")
            .args(["-Bbn", user, password])
            .output()
            .unwrap()
            .stdout;
        fs::write(path("htpasswd"), line).unwrap();
        config += &format!(
            "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("htpasswd").display()
        );
    }
    fs::write(path("config.yml"), config).unwrap();
    let mut command = Command::new("docker-registry");
    command
        .arg("serve")
        .arg(path("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let registry = Registry {
        server: command.spawn().unwrap(),
        host,
        directory,
    };
    for _ in 0..200 {
        if std::net::TcpStream::connect(&registry.host).is_ok() {
            return Some(registry);
        }
        thread::sleep(Duration::from_millis(25));
    }
    panic!("docker-registry did not start");
}

impl Registry {
    fn fill(&self, name: &str, login: &[&str]) {
        let source = format!("oci:{}:docker.io/library/{name}:latest", images().display());
        let target = format!("docker://{}/library/{name}:latest", self.host);
        let mut command = Command::new("skopeo");
        command
            .args([
                "copy",
                "-q",
                "--all",
                "--preserve-digests",
                "--dest-tls-verify=false",
            ])
            .args(login);
        let output = command.args([source, target]).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn name(&self, name: &str) -> Reference {
        format!("{}/library/{name}", self.host).parse().unwrap()
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.directory.path().join(name)).unwrap()
    }
}

fn remote(credentials: impl Credentials + 'static) -> Remote {
    Remote::new(
        Client::new(ClientConfig::default()),
        Arc::new(credentials),
        RemoteConfig::default(),
    )
}

fn linux(architecture: &str) -> Platform {
    Platform::new("linux", architecture, "")
}

/// Pulls all of an image; the layers' digests were checked by the store.
fn pull(
    remote: &Remote,
    name: &Reference,
    platform: &Platform,
    store: &Store,
) -> Result<Manifest, RegistryError> {
    let target = remote.resolve(name)?;
    let image = remote.pull_manifest(name, &target, platform, store)?;
    remote.pull_blobs(name, &image.manifest.layers, store, &PullOptions::default())?;
    assert!(platform.preference(&image.config.platform()).is_some());
    for layer in &image.manifest.layers {
        assert_eq!(store.blobs().size(&layer.digest).unwrap(), Some(layer.size));
    }
    Ok(image.manifest)
}

#[test]
fn pulls_what_skopeo_pushed() {
    let Some(registry) = start(None) else { return };
    for name in ["busybox", "full", "multi"] {
        registry.fill(name, &[]);
    }
    let (remote, store, layout) = (
        remote(NoCredentials),
        registry.store("store"),
        Layout::open(&images()).unwrap(),
    );
    for name in ["busybox", "full", "multi"] {
        let entry = layout.find(&name.parse().unwrap()).unwrap();
        assert_eq!(remote.resolve(&registry.name(name)).unwrap().digest, entry.digest);
        let manifest = pull(&remote, &registry.name(name), &linux("amd64"), &store).unwrap();
        assert_eq!(manifest, layout.manifest(entry, &linux("amd64")).unwrap().1);
    }
    let arm = pull(&remote, &registry.name("multi"), &linux("arm64"), &store).unwrap();
    assert_ne!(
        arm,
        pull(&remote, &registry.name("multi"), &linux("amd64"), &store).unwrap()
    );

    let error = pull(&remote, &registry.name("multi"), &linux("s390x"), &store).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no image for `linux/s390x`, only for `linux/"),
        "{error}"
    );
    let error = remote.resolve(&registry.name("absent")).unwrap_err();
    assert!(error.is_not_found() && !error.is_unreachable(), "{error}");
    let error = remote.manifest(&registry.name("busybox:9")).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("is not on the registry: manifest unknown"),
        "{error}"
    );
}

#[test]
fn pulls_by_digest_and_only_what_is_missing() {
    let Some(mut registry) = start(None) else { return };
    registry.fill("busybox", &[]);
    let (remote, store) = (remote(NoCredentials), registry.store("store"));
    let target = remote.resolve(&registry.name("busybox")).unwrap();
    let pinned = registry.name("busybox").with_digest(target.digest);
    assert_eq!(remote.resolve(&pinned).unwrap(), target);
    let manifest = pull(&remote, &pinned, &linux("amd64"), &store).unwrap();

    // The registry is gone, but all is here.
    registry.server.kill().unwrap();
    let image = remote
        .pull_manifest(&pinned, &target, &linux("amd64"), &store)
        .unwrap();
    remote
        .pull_blobs(&pinned, &image.manifest.layers, &store, &PullOptions::default())
        .unwrap();
    assert_eq!(image.manifest, manifest);
}

#[test]
fn logs_in_with_a_password() {
    let Some(registry) = start(Some(("user", "pa:ss"))) else {
        return;
    };
    registry.fill("busybox", &["--dest-creds=user:pa:ss"]);
    let (name, store) = (registry.name("busybox"), registry.store("store"));
    let config = |auth: &str| {
        DockerConfig::parse(&format!(
            r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#,
            registry.host
        ))
        .unwrap()
    };
    // user:pa:ss
    pull(
        &remote(config("dXNlcjpwYTpzcw==")),
        &name,
        &linux("amd64"),
        &store,
    )
    .unwrap();
    // user:wrong
    let error = remote(config("dXNlcjp3cm9uZw==")).resolve(&name).unwrap_err();
    assert!(error.to_string().contains("the login is not accepted"), "{error}");
    let error = remote(NoCredentials).resolve(&name).unwrap_err();
    assert!(
        error.to_string().contains("there is none in the docker config"),
        "{error}"
    );
}

#[test]
fn https_is_taken_where_the_certificate_is_trusted() {
    let Some(registry) = start_with(None, true) else {
        return;
    };
    registry.fill("busybox", &[]);
    let name = registry.name("busybox");
    let bundle = Some(registry.directory.path().join("cert.pem"));
    let roots = TrustRoots {
        bundle,
        extra: vec![],
    };
    let client = Client::new(ClientConfig {
        roots,
        ..ClientConfig::default()
    });
    let trusting = Remote::new(client, Arc::new(NoCredentials), RemoteConfig::default());
    pull(&trusting, &name, &linux("amd64"), &registry.store("store")).unwrap();
    let error = remote(NoCredentials).resolve(&name).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(!error.is_unreachable());
}

#[test]
fn pushes_what_can_be_pulled() {
    let Some(registry) = start(None) else { return };
    let (remote, store, layout) = (
        remote(NoCredentials),
        registry.store("from"),
        Layout::open(&images()).unwrap(),
    );
    // A manifest of Docker's schema 2.
    let entry = layout.find(&"nopath".parse().unwrap()).unwrap();
    let (descriptor, manifest, bytes) = layout.manifest(entry, &linux("amd64")).unwrap();
    assert_eq!(descriptor.media_type, media_type::DOCKER_MANIFEST);
    let blobs: Vec<_> = manifest
        .layers
        .iter()
        .chain([&manifest.config])
        .cloned()
        .collect();
    for blob in &blobs {
        let mut writer = store.blobs().writer().unwrap();
        std::io::copy(&mut layout.open_blob(blob).unwrap(), &mut writer).unwrap();
        writer.commit(Some(blob.digest)).unwrap();
    }
    let image = PushImage {
        descriptor,
        manifest: bytes,
        blobs,
        parts: vec![],
    };
    let name = registry.name("pushed:1");
    remote.push(&name, &image, &store).unwrap();
    // Again, with everything there.
    remote.push(&name, &image, &store).unwrap();
    assert_eq!(
        pull(&remote, &name, &linux("amd64"), &registry.store("to")).unwrap(),
        manifest
    );
}
