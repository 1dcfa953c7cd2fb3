//! Images made, saved, loaded and read by other programs.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use distil_export::{
    ArchiveFormat, DirectoryOptions, ExportError, ImagePlan, LayerHistory, PlannedLayer, SavedImage,
    StoredImage, load_archive, load_layout, save_archive, save_directory, store_image, tree_links,
    write_directory, write_tree,
};
use distil_layer::Compression;
use distil_oci::{Digest, History, ImageConfig, Layout, Platform, Reference};
use distil_snapshot::{CommitOptions, LayerId, SnapshotOptions, Snapshotter};
use distil_store::{Store, Timestamp};
use tempfile::TempDir;

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

struct World {
    directory: TempDir,
    snapshots: Snapshotter,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let snapshots = Snapshotter::open(&store, SnapshotOptions::default());
        snapshots.register_producer();
        Self { directory, snapshots }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn layer(&self, lower: &[LayerId], write: impl FnOnce(&Path)) -> PlannedLayer {
        let active = self.snapshots.prepare(lower).unwrap();
        write(&active.upper_dir());
        let id = active.commit(CommitOptions::default()).unwrap().id;
        let history = LayerHistory {
            created: Some(NOW.0),
            description: "made".to_owned(),
        };
        PlannedLayer {
            id,
            base: false,
            history,
        }
    }

    /// Two layers: a program with a hard and a symbolic link, then a large file.
    fn image(&self, epoch: Option<i64>) -> StoredImage {
        let first = self.layer(&[], |root| {
            fs::create_dir(root.join("bin")).unwrap();
            fs::write(root.join("bin/app"), "#!/bin/sh\necho hello\n").unwrap();
            fs::set_permissions(root.join("bin/app"), fs::Permissions::from_mode(0o4755)).unwrap();
            fs::hard_link(root.join("bin/app"), root.join("bin/same")).unwrap();
            symlink("app", root.join("bin/run")).unwrap();
        });
        let second = self.layer(&[first.id], |root| {
            fs::write(
                root.join("data"),
                (0..3_000_000_u32).map(|n| (n / 7) as u8).collect::<Vec<_>>(),
            )
            .unwrap();
        });
        let mut config = ImageConfig::new(&Platform::new("linux", "amd64", ""));
        config.config.cmd = vec!["/bin/app".to_owned()];
        config.history = vec![
            History {
                created_by: "COPY app /bin/ # buildkit".to_owned(),
                ..History::default()
            },
            History {
                created_by: "CMD [\"/bin/app\"]".to_owned(),
                empty_layer: true,
                ..History::default()
            },
        ];
        let plan = ImagePlan {
            config,
            layers: vec![first, second],
            epoch,
            rewrite_timestamps: epoch.is_some(),
            names: vec!["app".parse().unwrap()],
            ..ImagePlan::default()
        };
        store_image(&self.snapshots, &plan, NOW).unwrap()
    }

    fn saved(&self, image: &StoredImage, names: &[&str]) -> SavedImage {
        let info = self.snapshots.store().images().get(&image.id).unwrap().unwrap();
        SavedImage::new(&info, names.iter().map(|name| name.parse().unwrap()).collect())
    }

    fn archive(&self, image: &SavedImage, format: ArchiveFormat, compression: Compression) -> Vec<u8> {
        let mut bytes = Vec::new();
        let images = std::slice::from_ref(image);
        save_archive(&self.snapshots, images, format, compression, &mut bytes).unwrap();
        bytes
    }

    fn tree_tar(&self, id: &Digest) -> Vec<u8> {
        let layers = self.snapshots.store().images().get(id).unwrap().unwrap().layers;
        let links = tree_links(self.snapshots.store(), &layers).unwrap();
        let mut bytes = Vec::new();
        write_tree(&self.snapshots.tree(&layers).unwrap(), &links, None, &mut bytes).unwrap();
        bytes
    }

    fn load(&self, bytes: &[u8]) -> Result<Vec<distil_export::LoadedImage>, ExportError> {
        load_archive(&self.snapshots, bytes, &Platform::new("linux", "amd64", ""), NOW)
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
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

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    entries.collect()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/images")
}

#[test]
fn config_and_history_are_filled() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    assert_eq!(image.config.rootfs.diff_ids.len(), 2);
    let shown: Vec<_> = image
        .config
        .history
        .iter()
        .map(|entry| (entry.created_by.as_str(), entry.empty_layer))
        .collect();
    assert_eq!(
        shown,
        [
            ("COPY app /bin/ # buildkit", false),
            ("CMD [\"/bin/app\"]", true),
            ("made", false)
        ]
    );
    assert_eq!(image.config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    let info = world.snapshots.store().images().resolve("app").unwrap();
    assert_eq!((info.id, info.manifest), (image.id, Some(image.manifest.digest)));
    assert_eq!(info.size, 21 + 3_000_000);
    assert_eq!(info.platform, "linux/amd64");
}

#[test]
fn every_format_loads_again() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let saved = world.saved(&image, &["app:1", "ghcr.io/o/app:2"]);
    let tree = world.tree_tar(&image.id);
    for format in [ArchiveFormat::Both, ArchiveFormat::Docker, ArchiveFormat::Oci] {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::Uncompressed] {
            let bytes = world.archive(&saved, format, compression);
            assert!(
                bytes == world.archive(&saved, format, compression),
                "{format:?} {compression:?} differs"
            );
            let other = World::new();
            let loaded = other.load(&bytes).unwrap();
            assert_eq!(loaded.len(), 1, "{format:?}");
            assert_eq!(loaded[0].id, image.id);
            let names: Vec<String> = loaded[0].names.iter().map(Reference::familiar).collect();
            assert_eq!(names, ["app:1", "ghcr.io/o/app:2"]);
            assert!(other.tree_tar(&image.id) == tree, "{format:?} {compression:?}");
        }
    }
}

#[test]
fn archives_have_the_files_that_programs_look_for() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let saved = world.saved(&image, &["app:1"]);
    let both = names(&world.archive(&saved, ArchiveFormat::Both, Compression::Gzip));
    assert_eq!(both[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(
        both[both.len() - 3..],
        ["index.json", "manifest.json", "oci-layout"]
    );
    assert_eq!(both.len(), 2 + 4 + 3);
    let oci = names(&world.archive(&saved, ArchiveFormat::Oci, Compression::Gzip));
    assert!(!oci.contains(&"manifest.json".to_owned()));
    let docker = names(&world.archive(&saved, ArchiveFormat::Docker, Compression::Gzip));
    assert_eq!(docker.len(), 4);
    assert!(
        docker.contains(&format!("{}.json", image.id.hex())) && docker.contains(&"manifest.json".to_owned())
    );
}

#[test]
fn skopeo_and_umoci_accept_them() {
    if !is_root() || !installed("skopeo") || !installed("umoci") {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let saved = world.saved(&image, &["app:1"]);
    let write = |name: &str, format| {
        let path = world.path(name);
        fs::write(&path, world.archive(&saved, format, Compression::Gzip)).unwrap();
        path.display().to_string()
    };
    let both = write("both.tar", ArchiveFormat::Both);
    let (oci, docker) = (
        write("oci.tar", ArchiveFormat::Oci),
        write("docker.tar", ArchiveFormat::Docker),
    );
    for source in [
        format!("docker-archive:{both}"),
        format!("oci-archive:{both}"),
        format!("oci-archive:{oci}"),
        format!("docker-archive:{docker}:docker.io/library/app:1"),
    ] {
        let config = run(Command::new("skopeo").args(["inspect", "--config", &source]));
        assert!(config.contains("\"/bin/app\""), "{source}: {config}");
    }
    let layout = world.path("layout");
    save_directory(&world.snapshots, &[saved], Compression::Gzip, &layout).unwrap();
    let bundle = world.path("bundle");
    run(Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:1", layout.display()))
        .arg(&bundle));
    let app = bundle.join("rootfs/bin/app");
    assert_eq!(fs::metadata(&app).unwrap().permissions().mode() & 0o7777, 0o4755);
    assert_eq!(
        fs::metadata(&app).unwrap().ino(),
        fs::metadata(bundle.join("rootfs/bin/same")).unwrap().ino()
    );
    assert_eq!(fs::read(bundle.join("rootfs/data")).unwrap().len(), 3_000_000);
}

#[test]
fn loads_what_skopeo_writes_and_saves_it_unchanged() {
    if !is_root() || !installed("skopeo") {
        return;
    }
    let world = World::new();
    let source = format!("oci:{}:docker.io/library/full:latest", golden().display());
    let layout = Layout::open(&golden()).unwrap();
    let entry = layout.find(&"full".parse().unwrap()).unwrap();
    let amd64 = Platform::new("linux", "amd64", "");
    let (descriptor, manifest, _) = layout.manifest(entry, &amd64).unwrap();
    for kind in ["docker-archive", "oci-archive"] {
        let path = world.path(kind);
        run(Command::new("skopeo").args([
            "copy",
            "-q",
            &source,
            &format!("{kind}:{}:full:7", path.display()),
        ]));
        let other = World::new();
        let loaded = other.load(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(loaded[0].id, manifest.config.digest, "{kind}");
        assert_eq!(loaded[0].names[0].familiar(), "full:7", "{kind}");
        if kind == "oci-archive" {
            let image = other
                .snapshots
                .store()
                .images()
                .get(&loaded[0].id)
                .unwrap()
                .unwrap();
            let saved = SavedImage::new(&image, loaded[0].names.clone());
            let mut bytes = Vec::new();
            let written = save_archive(
                &other.snapshots,
                &[saved],
                ArchiveFormat::Oci,
                Compression::Gzip,
                &mut bytes,
            )
            .unwrap();
            assert_eq!(written[0].digest, descriptor.digest);
        }
    }
    let loaded = load_layout(&world.snapshots, &golden(), &amd64, NOW);
    // One of the golden images has its layers left out.
    assert!(matches!(loaded, Err(ExportError::Layout(_))));
}

/// An archive as old programs write it: a folder for each layer, equal layers as links.
fn old_archive(layer: &[u8], config: &ImageConfig) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes).unwrap();
    };
    add("./aaa/VERSION", b"1.0");
    add("./aaa/layer.tar", layer);
    add("config.json", &config.to_json());
    let manifest =
        r#"[{"Config":"config.json","RepoTags":["old:1"],"Layers":["aaa/layer.tar","bbb/layer.tar"]}]"#;
    add("manifest.json", manifest.as_bytes());
    add("repositories", br#"{"old":{"1":"bbb"}}"#);
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive
        .append_link(&mut header, "bbb/layer.tar", "../aaa/layer.tar")
        .unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn loads_old_docker_archives() {
    if !is_root() {
        return;
    }
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    layer.append_data(&mut header, "file", &b"hi"[..]).unwrap();
    let layer = layer.into_inner().unwrap();
    let mut config = ImageConfig::new(&Platform::new("linux", "amd64", ""));
    config.rootfs.diff_ids = vec![distil_oci::DiffId(Digest::sha256(&layer)); 2];
    let world = World::new();
    let bytes = old_archive(&layer, &config);
    assert_eq!(world.load(&bytes).unwrap()[0].names[0].familiar(), "old:1");
    // Compressed as a whole.
    let mut packed = Vec::new();
    distil_layer::compress(&bytes[..], &mut packed, Compression::Gzip, 1).unwrap();
    assert_eq!(World::new().load(&packed).unwrap().len(), 1);
    // A layer that is not what the config says.
    config.rootfs.diff_ids[0] = distil_oci::DiffId(Digest::sha256(b"other"));
    let error = World::new().load(&old_archive(&layer, &config)).unwrap_err();
    assert!(error.to_string().contains("diff ID"), "{error}");
}

#[test]
fn damaged_archives_are_refused() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let bytes = world.archive(
        &world.saved(&image, &["app:1"]),
        ArchiveFormat::Both,
        Compression::Gzip,
    );
    let load = |bytes: &[u8]| World::new().load(bytes).unwrap_err().to_string();
    assert!(
        load(b"nothing at all").contains("archive"),
        "{}",
        load(b"nothing at all")
    );
    assert!(
        load(&bytes[..bytes.len() / 2]).contains("archive")
            || load(&bytes[..bytes.len() / 2]).contains("read")
    );
    // One bit of a blob.
    let mut wrong = bytes.clone();
    wrong[1024 + 512 + 10] ^= 1;
    assert!(load(&wrong).contains("has the digest"), "{}", load(&wrong));
    // A plain root filesystem.
    assert!(load(&world.tree_tar(&image.id)).contains("neither `manifest.json` nor"));
}

#[test]
fn any_bytes_end_in_an_answer() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let whole = world.archive(
        &world.saved(&image, &["app:1"]),
        ArchiveFormat::Both,
        Compression::Gzip,
    );
    let target = World::new();
    let mut state = 1_u64;
    for _ in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..4 {
            // Knuth's generator: enough to hit every part of the archive.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = usize::try_from(state >> 33).unwrap() % bytes.len();
            bytes[place] ^= (state >> 20) as u8;
        }
        if let Ok(loaded) = target.load(&bytes) {
            // Damage outside of what is hashed: names and numbers that do not matter.
            assert!(loaded.iter().all(|loaded| loaded.id == image.id));
        }
    }
}

#[test]
fn epochs_make_equal_images() {
    if !is_root() {
        return;
    }
    let first = World::new().image(Some(1_600_000_000));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let world = World::new();
    let second = world.image(Some(1_600_000_000));
    assert_eq!(first, second);
    assert_eq!(second.config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    let bytes = world.archive(&world.saved(&second, &[]), ArchiveFormat::Both, Compression::Gzip);
    let other = World::new();
    let loaded = other.load(&bytes).unwrap();
    assert!(loaded[0].names.is_empty());
    let mut tree = tar::Archive::new(std::io::Cursor::new(other.tree_tar(&loaded[0].id)));
    for entry in tree.entries().unwrap() {
        assert_eq!(entry.unwrap().header().mtime().unwrap(), 1_600_000_000);
    }
}

#[test]
fn folders_are_written_without_following_links() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let layers = world
        .snapshots
        .store()
        .images()
        .get(&image.id)
        .unwrap()
        .unwrap()
        .layers;
    let (tree, links) = (
        world.snapshots.tree(&layers).unwrap(),
        tree_links(world.snapshots.store(), &layers).unwrap(),
    );
    let (target, outside) = (world.path("out"), world.path("outside"));
    fs::create_dir_all(target.join("data/old")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(target.join("mine"), "kept").unwrap();
    symlink(&outside, target.join("bin")).unwrap();
    for keep_owners in [false, true] {
        let options = DirectoryOptions {
            keep_owners,
            epoch: Some(5),
        };
        let report = write_directory(&tree, &links, options, &target).unwrap();
        assert_eq!(report.files, 4);
        let app = fs::metadata(target.join("bin/app")).unwrap();
        assert_eq!(
            app.permissions().mode() & 0o7777,
            if keep_owners { 0o4755 } else { 0o755 }
        );
        assert_eq!((app.mtime(), app.nlink()), (5, 2));
        assert_eq!(fs::read_link(target.join("bin/run")).unwrap(), Path::new("app"));
        assert_eq!(fs::metadata(target.join("data")).unwrap().len(), 3_000_000);
        assert_eq!(fs::read_to_string(target.join("mine")).unwrap(), "kept");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }
}

#[test]
fn trees_are_tars_that_tar_reads() {
    if !is_root() || !installed("tar") {
        return;
    }
    let world = World::new();
    let image = world.image(None);
    let path = world.path("tree.tar");
    fs::File::create(&path)
        .unwrap()
        .write_all(&world.tree_tar(&image.id))
        .unwrap();
    let listed = run(Command::new("tar").arg("-tvf").arg(&path));
    assert!(
        listed.contains("bin/same link to bin/app") && listed.contains("bin/run -> app"),
        "{listed}"
    );
    let mut bytes = Vec::new();
    fs::File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(names(&bytes), ["bin/", "bin/app", "bin/run", "bin/same", "data"]);
}
