//! Against Debian's `docker-registry`, filled by `skopeo` from the golden base images. Where one of the two is
//! missing the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "tests fail by a panic")]

mod support;

use std::sync::Arc;

use distil_fetch::{Client, ClientConfig, TrustRoots};
use distil_oci::{Layout, Manifest, Platform, Reference, media_type};
use distil_registry::{
    Credentials, DockerConfig, NoCredentials, PullOptions, PushImage, RegistryError, Remote, RemoteConfig,
};
use distil_store::Store;
use support::{Registry, Setup, images};

/// What the tests ask of it.
trait Filled {
    fn fill_base(&self, name: &str, login: &[&str]);
    fn name(&self, name: &str) -> Reference;
    fn store(&self, name: &str) -> Store;
}

impl Filled for Registry {
    fn fill_base(&self, name: &str, login: &[&str]) {
        self.fill(name, &format!("library/{name}:latest"), login);
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
    let Some(registry) = Registry::start(&Setup::default()) else {
        return;
    };
    for name in ["busybox", "full", "multi"] {
        registry.fill_base(name, &[]);
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
    assert!(error.may_lack_image() && !error.is_unreachable(), "{error}");
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
    let Some(mut registry) = Registry::start(&Setup::default()) else {
        return;
    };
    registry.fill_base("busybox", &[]);
    let (remote, store) = (remote(NoCredentials), registry.store("store"));
    let target = remote.resolve(&registry.name("busybox")).unwrap();
    let pinned = registry.name("busybox").with_digest(target.digest);
    assert_eq!(remote.resolve(&pinned).unwrap(), target);
    let manifest = pull(&remote, &pinned, &linux("amd64"), &store).unwrap();

    // The registry is gone, but all is here.
    registry.stop();
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
    let setup = Setup {
        login: Some(("user", "pa:ss")),
        ..Setup::default()
    };
    let Some(registry) = Registry::start(&setup) else {
        return;
    };
    registry.fill_base("busybox", &["--dest-creds=user:pa:ss"]);
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
    let setup = Setup {
        tls_name: Some("localhost"),
        ..Setup::default()
    };
    let Some(registry) = Registry::start(&setup) else {
        return;
    };
    registry.fill_base("busybox", &[]);
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
    let Some(registry) = Registry::start(&Setup::default()) else {
        return;
    };
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
