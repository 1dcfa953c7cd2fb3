use super::*;
use crate::ImageConfig;

/// The base images of the golden cases, which BuildKit wrote.
fn golden() -> Layout {
    Layout::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images")).unwrap()
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", "")
}

#[test]
fn golden_configs_and_manifests_are_reproduced_byte_for_byte() {
    let layout = golden();
    let mut manifests = 0;
    for entry in &layout.index().manifests {
        let bytes = layout.read_document(entry).unwrap();
        if media_type::is_index(&entry.media_type) {
            assert_eq!(Index::from_json(&bytes).unwrap().to_json(), bytes);
        }
        let (_, manifest, bytes) = layout.manifest(entry, &amd64()).unwrap();
        if manifest.media_type.as_deref() == Some(media_type::MANIFEST) && bytes.starts_with(b"{\n") {
            assert_eq!(manifest.to_json(), bytes);
            let config = layout.read_document(&manifest.config).unwrap();
            let parsed = ImageConfig::from_json(&config).unwrap();
            assert_eq!(
                String::from_utf8(parsed.to_json()).unwrap(),
                String::from_utf8(config).unwrap()
            );
            manifests += 1;
        }
    }
    assert!(manifests >= 4, "{manifests}");
}

#[test]
fn finds_by_any_spelling_of_the_name() {
    let layout = golden();
    for name in [
        "busybox",
        "busybox:latest",
        "docker.io/busybox",
        "index.docker.io/library/busybox:latest",
    ] {
        assert!(layout.find(&name.parse().unwrap()).is_some(), "{name}");
    }
    for name in ["busybox:1", "ghcr.io/busybox", "debian", "latest"] {
        assert!(layout.find(&name.parse().unwrap()).is_none(), "{name}");
    }
    let entry = layout.find(&"busybox".parse().unwrap()).unwrap();
    let pinned: Reference = format!("busybox@{}", entry.digest).parse().unwrap();
    assert_eq!(layout.find(&pinned), Some(entry));
    let other: Reference = format!("busybox@{}", Digest::sha256(b"")).parse().unwrap();
    assert_eq!(layout.find(&other), None);
    assert!(layout.find_tag("bookworm").is_some());
    assert!(layout.find_tag("docker.io/library/full:latest").is_some());
}

#[test]
fn chooses_the_platform() {
    let layout = golden();
    let entry = layout.find(&"multi".parse().unwrap()).unwrap();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let platform: Platform = platform.parse().unwrap();
        let (_, manifest, _) = layout.manifest(entry, &platform).unwrap();
        let config = ImageConfig::from_json(&layout.read_document(&manifest.config).unwrap()).unwrap();
        assert!(platform.matches(&config.platform()), "{platform}");
    }
    let error = layout
        .manifest(entry, &"linux/s390x".parse().unwrap())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no image for `linux/s390x`, only for `linux/"),
        "{error}"
    );
}

#[test]
fn writes_what_it_reads() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LayoutWriter::create(directory.path()).unwrap();
    let config = writer
        .write_blob(media_type::CONFIG, &ImageConfig::new(&amd64()).to_json())
        .unwrap();
    let layer = writer
        .copy_blob(media_type::LAYER, &b"layer"[..], Some(Digest::sha256(b"layer")))
        .unwrap();
    let manifest = Manifest::new(config, vec![layer.clone()]);
    let mut entry = writer
        .write_blob(media_type::MANIFEST, &manifest.to_json())
        .unwrap();
    entry
        .annotations
        .insert(annotation::CONTAINERD_NAME.into(), "docker.io/library/x:1".into());
    entry.annotations.insert(annotation::REF_NAME.into(), "1".into());
    writer.add(entry);
    writer.finish().unwrap();

    let layout = Layout::open(directory.path()).unwrap();
    let entry = layout.find(&"x:1".parse().unwrap()).unwrap();
    assert_eq!(layout.manifest(entry, &amd64()).unwrap().1, manifest);
    let mut bytes = Vec::new();
    layout.open_blob(&layer).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"layer");

    let mut path = layout.blob_path(layer.digest);
    fs::write(&path, b"LAYER").unwrap();
    assert!(
        layout
            .read_document(&layer)
            .unwrap_err()
            .to_string()
            .contains("is damaged")
    );
    path = layout.blob_path(entry.digest);
    fs::remove_file(path).unwrap();
    assert!(matches!(layout.read_document(entry), Err(LayoutError::Io { .. })));
}

#[test]
fn wrong_digests_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = LayoutWriter::create(directory.path()).unwrap();
    let error = writer
        .copy_blob(media_type::LAYER, &b"a"[..], Some(Digest::sha256(b"b")))
        .unwrap_err();
    assert!(error.to_string().contains("is damaged"));
    assert_eq!(
        fs::read_dir(directory.path().join("blobs/sha256"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn says_what_is_no_layout() {
    let directory = tempfile::tempdir().unwrap();
    let open = || Layout::open(directory.path()).unwrap_err().to_string();
    assert!(open().contains("it has no `oci-layout`"));
    fs::write(
        directory.path().join("oci-layout"),
        r#"{"imageLayoutVersion":"2.0.0"}"#,
    )
    .unwrap();
    assert!(open().contains("version `2.0.0`"));
    fs::write(directory.path().join("oci-layout"), LayoutWriter::MARKER).unwrap();
    assert!(open().contains("it has no `index.json`"));
    fs::write(directory.path().join("index.json"), "[").unwrap();
    assert!(matches!(
        Layout::open(directory.path()),
        Err(LayoutError::Json { .. })
    ));
}
