//! Snapshots on real directories, with and without the kernel's overlay.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use distil_layer::{Compression, TarOptions, TarWriter, decompress};
use distil_oci::{DiffId, Digest};
use distil_rootfs::{
    ChangeSink, CopyReport, CopySpec, DirTree, FileKind, IdMap, IdRange, LinkSource, MkdirSpec, MkfileSpec,
    MountStrategy, RmSpec, Tree,
};
use distil_snapshot::{
    ActiveSnapshot, CommitOptions, LayerId, SnapshotError, SnapshotMode, SnapshotOptions, Snapshotter,
    describe_id_maps,
};
use distil_store::{Prune, Store};

mod tars;

#[expect(clippy::print_stdout, reason = "a test tells when it is skipped")]
fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skip: needs root");
    }
    root
}

/// Whether root here is root of a user namespace only.
fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}

struct Place {
    directory: tempfile::TempDir,
    snapshotter: Snapshotter,
}

impl Place {
    fn new(mode: SnapshotMode) -> Self {
        let directory = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&directory.path().join("store")).expect("opens");
        let options = SnapshotOptions {
            mode,
            in_user_namespace: in_user_namespace(),
            ..SnapshotOptions::default()
        };
        let snapshotter = Snapshotter::open(&store, options);
        snapshotter.register_producer();
        Self {
            directory,
            snapshotter,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Another handle with its own lease.
    fn other(&self) -> Snapshotter {
        let options = SnapshotOptions {
            in_user_namespace: in_user_namespace(),
            ..SnapshotOptions::default()
        };
        Snapshotter::open(&self.snapshotter.store().with_new_lease(), options)
    }
}

fn mkfile(path: &str, data: &str) -> MkfileSpec {
    MkfileSpec {
        path: path.into(),
        mode: 0o644,
        data: data.into(),
        owner: None,
        timestamp: None,
    }
}

fn mkdir(path: &str) -> MkdirSpec {
    MkdirSpec {
        path: path.into(),
        mode: 0o755,
        make_parents: true,
        owner: None,
        timestamp: None,
    }
}

fn rm(path: &str) -> RmSpec {
    RmSpec {
        path: path.to_owned(),
        allow_not_found: false,
        allow_wildcard: false,
    }
}

/// A layer with a few files.
fn base(snapshotter: &Snapshotter) -> LayerId {
    let active = snapshotter.prepare(&[]).expect("prepares");
    let view = active.view().expect("opens");
    view.mkdir(&mkdir("/etc/sub")).expect("mkdir");
    for (path, data) in [
        ("/etc/a", "a"),
        ("/etc/b", "bb"),
        ("/etc/sub/c", "ccc"),
        ("/keep", "keep"),
    ] {
        view.mkfile(&mkfile(path, data)).expect("mkfile");
    }
    drop(view);
    active.commit(CommitOptions::default()).expect("commits").id
}

/// Files with contents, directories with nothing.
fn contents(tree: &dyn Tree) -> BTreeMap<PathBuf, String> {
    fn walk(tree: &dyn Tree, dir: &Path, found: &mut BTreeMap<PathBuf, String>) {
        for entry in tree.read_dir(dir).expect("reads") {
            let path = dir.join(&entry.name);
            let mut text = String::new();
            match entry.node.kind {
                FileKind::Dir => walk(tree, &path, found),
                FileKind::File => drop(tree.open(&path).expect("opens").read_to_string(&mut text)),
                _ => text = format!("{:?}", entry.node.kind),
            }
            found.insert(path, text);
        }
    }
    let mut found = BTreeMap::new();
    walk(tree, Path::new("/"), &mut found);
    found
}

fn names(tar: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(tar);
    let entries = archive.entries().expect("reads");
    entries
        .map(|entry| String::from_utf8_lossy(&entry.expect("entry").path_bytes()).into_owned())
        .collect()
}

#[test]
fn file_operations_become_layers_with_tars_on_demand() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let snapshotter = &place.snapshotter;
    let first = base(snapshotter);
    let info = snapshotter.info(first).expect("info");
    assert_eq!((info.size, info.inodes, info.diff_id), (10, 6, None));

    let active = snapshotter.prepare(&[first]).expect("prepares");
    let view = active.view().expect("opens");
    view.rm(&rm("/etc")).expect("rm");
    view.mkdir(&mkdir("/etc")).expect("mkdir");
    view.mkfile(&mkfile("/etc/a", "new")).expect("mkfile");
    drop(view);
    let second = active.commit(CommitOptions::default()).expect("commits").id;
    let merged = contents(&snapshotter.tree(&[first, second]).expect("opens"));
    let paths: Vec<&str> = merged.keys().filter_map(|path| path.to_str()).collect();
    assert_eq!(paths, ["/etc", "/etc/a", "/keep"]);
    assert_eq!(merged[Path::new("/etc/a")], "new");

    let diff_id = snapshotter.diff_id(second).expect("hashes");
    assert_eq!(snapshotter.info(second).expect("info").diff_id, Some(diff_id));
    let blobs = snapshotter.store().blobs();
    let tar = blobs.read(&diff_id.0).expect("made on demand");
    assert_eq!(blobs.size(&diff_id.0).expect("looks"), Some(tar.len() as u64));
    assert!(!blobs.is_stored(&diff_id.0).expect("looks"), "no tar is kept");
    assert_eq!(names(&tar), ["etc/", "etc/a", "etc/.wh.b", "etc/.wh.sub"]);

    let gzip = snapshotter
        .compressed(diff_id, Compression::Gzip, true)
        .expect("compresses");
    let packed = blobs.read(&gzip.digest).expect("reads");
    let mut plain = Vec::new();
    decompress(&packed[..])
        .expect("starts")
        .read_to_end(&mut plain)
        .expect("decompresses");
    assert_eq!(plain, tar);
    assert_eq!(
        snapshotter
            .compressed(diff_id, Compression::Gzip, true)
            .expect("remembers"),
        gzip
    );
    let plain = snapshotter
        .compressed(diff_id, Compression::Uncompressed, false)
        .expect("describes");
    assert_eq!((plain.digest, plain.size), (diff_id.0, tar.len() as u64));
}

#[test]
fn a_copy_links_to_an_earlier_layer() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let context = place.path("context");
    fs::create_dir_all(context.join("dir.d/empty")).expect("creates");
    fs::create_dir_all(context.join("dir")).expect("creates");
    for number in 0..50 {
        fs::write(context.join(format!("dir/{number}")), vec![b'x'; number * 700]).expect("writes");
    }
    fs::hard_link(context.join("dir/7"), context.join("dir.d/seven")).expect("links");
    std::os::unix::fs::symlink("dir", context.join("link")).expect("links");
    let tree = DirTree::open(&context).expect("opens");
    let copy = |from: Option<LinkSource>| {
        let active = place.snapshotter.prepare(&[]).expect("prepares");
        let mut spec = CopySpec::new("/", "/");
        spec.link_from = from;
        let mut report = CopyReport::default();
        active
            .view()
            .expect("opens")
            .copy(&tree, &spec, &mut report)
            .expect("copies");
        let options = CommitOptions {
            manifest: Some(report.manifest),
            ..CommitOptions::default()
        };
        let id = active.commit(options).expect("commits").id;
        place.snapshotter.diff_id(id).expect("hashes");
        let info = place.snapshotter.info(id).expect("info");
        (info, report.linked)
    };
    let (first, _) = copy(None);
    let diff_id = first.diff_id.expect("known at once");
    // Reading it checks that a walk gives the same bytes.
    let tar = place
        .snapshotter
        .store()
        .blobs()
        .read(&diff_id.0)
        .expect("made on demand");
    assert_eq!(Some(tar.len() as u64), first.tar_size);

    let manifest = place.snapshotter.manifest(first.id).expect("kept");
    let dir = place.snapshotter.layer_dir(first.id);
    fs::write(context.join("dir/3"), b"changed").expect("writes");
    let (second, linked) = copy(Some(LinkSource {
        dir,
        manifest,
        below: false,
    }));
    assert!(linked >= 48, "{linked} files linked");
    let second_diff = second.diff_id.expect("hashed");
    place
        .snapshotter
        .store()
        .blobs()
        .read(&second_diff.0)
        .expect("made on demand");
    // Shared inodes are no hard links of the image.
    let inode = |layer| {
        fs::metadata(place.snapshotter.layer_dir(layer).join("dir/9"))
            .expect("stat")
            .ino()
    };
    assert_eq!(inode(first.id), inode(second.id));

    // What is known of the files only spares looking at them.
    for layer in [&first, &second] {
        let known = place
            .snapshotter
            .clamped_diff_id(layer.id, i64::MAX)
            .expect("hashes");
        let dir = place.snapshotter.layer_dir(layer.id);
        fs::remove_file(dir.with_file_name("manifest")).expect("removes");
        let store = place.snapshotter.store();
        let bytes = store.blobs().read(&known.0).expect("the same bytes again");
        assert_eq!(Some(bytes.len() as u64), layer.tar_size);
    }
}

/// What a process could do in a root.
fn work_in(root: &Path) {
    fs::write(root.join("new"), b"new").expect("writes");
    fs::remove_file(root.join("etc/a")).expect("removes");
    fs::remove_dir_all(root.join("etc/sub")).expect("removes");
    fs::create_dir(root.join("etc/sub")).expect("creates");
    fs::write(root.join("etc/sub/d"), b"d").expect("writes");
    fs::hard_link(root.join("new"), root.join("etc/linked")).expect("links");
    // Changed and changed back: no change.
    let keep = fs::metadata(root.join("keep")).expect("stat");
    fs::set_permissions(root.join("keep"), keep.permissions()).expect("chmod");
}

/// Mounts the snapshot without a place, works in it, and unmounts it.
fn run(active: &ActiveSnapshot) {
    let mount = active.mount().expect("a mount");
    let mounted = mount.detached(MountStrategy::Auto).expect("mounts");
    let fd = mounted.into_fd();
    work_in(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd())));
}

#[test]
fn overlay_and_native_give_the_same_layer() {
    if !is_root() {
        return;
    }
    let mut results = Vec::new();
    for mode in [SnapshotMode::Overlay, SnapshotMode::Native] {
        let place = Place::new(mode);
        let snapshotter = &place.snapshotter;
        let lower = base(snapshotter);
        let active = snapshotter.prepare(&[lower]).expect("prepares");
        run(&active);
        let id = active.id();
        let info = active.commit(CommitOptions::default()).expect("commits");
        assert_eq!(info.id, id);
        let dir = snapshotter.store().layers().path(id);
        for name in ["work", "copy"] {
            assert!(!dir.join(name).exists(), "{mode:?} leaves {name}");
        }
        let diff_id = snapshotter.diff_id(id).expect("hashes");
        let tar = snapshotter
            .store()
            .blobs()
            .read(&diff_id.0)
            .expect("made on demand");
        let merged = contents(&snapshotter.tree(&[lower, id]).expect("opens"));
        let readonly = snapshotter.mount_readonly(&[lower, id]).expect("a mount");
        let fd = readonly
            .mount()
            .detached(MountStrategy::Auto)
            .expect("mounts")
            .into_fd();
        let seen = DirTree::open(Path::new(&format!("/proc/self/fd/{}", fd.as_raw_fd()))).expect("opens");
        assert_eq!(contents(&seen), merged, "{mode:?} as the kernel shows it");
        drop((fd, seen, readonly));
        results.push((names(&tar), merged, info.size, info.inodes));
    }
    assert_eq!(results[0], results[1]);
    let expected = [
        "etc/",
        "etc/.wh.a",
        "etc/linked",
        "etc/sub/",
        "etc/sub/.wh.c",
        "etc/sub/d",
        "new",
    ];
    assert_eq!(results[0].0, expected);
    assert_eq!((results[0].2, results[0].3), (4, 4));
}

#[test]
fn a_second_process_in_one_layer_sees_the_first() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Native);
    let lower = base(&place.snapshotter);
    let active = place.snapshotter.prepare(&[lower]).expect("prepares");
    active
        .view()
        .expect("opens")
        .mkfile(&mkfile("/before", "x"))
        .expect("mkfile");
    run(&active);
    let id = active.commit(CommitOptions::default()).expect("commits").id;
    let merged = contents(&place.snapshotter.tree(&[lower, id]).expect("opens"));
    assert!(merged.contains_key(Path::new("/before")) && merged.contains_key(Path::new("/new")));
}

#[test]
fn what_is_not_committed_leaves_nothing() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let snapshots = place.snapshotter.store().snapshots_dir();
    let lower = base(&place.snapshotter);
    let active = place.snapshotter.prepare(&[lower]).expect("prepares");
    run(&active);
    drop(active);
    assert_eq!(fs::read_dir(&snapshots).expect("reads").count(), 1);
    // As if the process had been killed: no destructor runs.
    let lost = place.other();
    std::mem::forget(lost.prepare(&[]).expect("prepares"));
    let stale = lost.store().lease().expect("lease").id().to_owned();
    assert_eq!(fs::read_dir(&snapshots).expect("reads").count(), 2);
    assert!(place.directory.path().join("store/leases").join(stale).exists());
    place
        .snapshotter
        .store()
        .collect(Prune::Nothing)
        .expect("collects");
    assert_eq!(
        fs::read_dir(&snapshots).expect("reads").count(),
        2,
        "the handle lives"
    );
}

#[test]
fn layers_of_another_id_map_are_refused() {
    if !is_root() {
        return;
    }
    let place = Place::new(SnapshotMode::Auto);
    let layer = base(&place.snapshotter);
    let range = |outside, count| {
        IdMap::new(vec![IdRange {
            inside: 0,
            outside,
            count,
        }])
    };
    assert_eq!(describe_id_maps(&range(0, u32::MAX), &range(0, u32::MAX)), "");
    let id_map = describe_id_maps(&range(1000, 1), &range(100, 1));
    assert_eq!(id_map, "0:1000:1;0:100:1");
    let store = place.snapshotter.store();
    let other = Snapshotter::open(
        store,
        SnapshotOptions {
            id_map,
            ..SnapshotOptions::default()
        },
    );
    assert!(matches!(
        other.prepare(&[layer]),
        Err(SnapshotError::OtherIdMap { .. })
    ));
    assert!(matches!(
        other.tree(&[layer]),
        Err(SnapshotError::OtherIdMap { .. })
    ));
    let diff_id = place.snapshotter.diff_id(layer).expect("hashes");
    assert!(other.find_by_diff_id(diff_id, &[]).expect("looks").is_none());
    assert!(
        place
            .snapshotter
            .find_by_diff_id(diff_id, &[])
            .expect("looks")
            .is_some()
    );
}
