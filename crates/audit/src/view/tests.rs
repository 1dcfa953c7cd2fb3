use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use distil_oci::Digest;

use super::ImageView;
use crate::testing::{World, rm};
use crate::{AuditError, ChangeKind, changes, layer_changes};

/// Four layers: files; a replaced and a removed one; a directory replaced as a whole; a changed mode.
fn world() -> World {
    let mut world = World::new();
    let base = |root: &Path| {
        fs::create_dir_all(root.join("usr/lib")).unwrap();
        fs::create_dir_all(root.join("opt/old/deep")).unwrap();
        fs::write(root.join("usr/lib/a.so"), "0123456789").unwrap();
        fs::hard_link(root.join("usr/lib/a.so"), root.join("usr/lib/b.so")).unwrap();
        fs::write(root.join("usr/gone"), "12345").unwrap();
        fs::write(root.join("opt/old/deep/file"), "1234567").unwrap();
        symlink("usr/lib", root.join("lib")).unwrap();
    };
    world.layer("COPY rootfs / # buildkit", base, |_| {});
    world.layer(
        "RUN /bin/sh -c make # buildkit",
        |root| {
            fs::create_dir_all(root.join("usr/lib")).unwrap();
            fs::write(root.join("usr/lib/a.so"), "new").unwrap();
        },
        |upper| rm(upper, "/usr/gone"),
    );
    world.layer(
        "RUN /bin/sh -c rm -r /opt/old && mkdir /opt/old # buildkit",
        |_| {},
        |upper| {
            rm(upper, "/opt/old");
            let spec = distil_rootfs::MkdirSpec {
                path: "/opt/old".into(),
                mode: 0o755,
                make_parents: true,
                owner: None,
                timestamp: None,
            };
            upper.mkdir(&spec).unwrap();
        },
    );
    world.layer(
        "RUN chmod",
        |root| {
            fs::create_dir_all(root.join("usr")).unwrap();
            fs::set_permissions(root.join("usr"), Permissions::from_mode(0o700)).unwrap();
        },
        |_| {},
    );
    world
}

fn listed(view: &ImageView) -> Vec<(&str, usize)> {
    let entries = view.entries().iter();
    entries
        .map(|entry| (entry.path.to_str().unwrap(), entry.layer))
        .collect()
}

#[test]
fn threads_share_a_view() {
    fn shared<T: Send + Sync>() {}
    shared::<ImageView>();
}

#[test]
fn every_path_has_the_layer_that_brought_it() {
    let view = world().view();
    let expected = [
        ("/lib", 0),
        ("/opt", 0),
        ("/opt/old", 0),
        ("/usr", 3),
        ("/usr/lib", 0),
        ("/usr/lib/a.so", 1),
        ("/usr/lib/b.so", 0),
    ];
    assert_eq!(listed(&view), expected);
    let instructions: Vec<&str> = view
        .layers()
        .iter()
        .filter_map(|layer| Some(layer.instruction.as_ref()?.as_str()))
        .collect();
    let expected = [
        "COPY rootfs /",
        "RUN make",
        "RUN rm -r /opt/old && mkdir /opt/old",
        "RUN chmod",
    ];
    assert_eq!(instructions, expected);
}

#[test]
fn wasted_bytes_are_counted_in_the_layer_that_stores_them() {
    let world = world();
    let view = world.view();
    // The hard link that is left keeps the ten bytes of the library in use.
    let totals: Vec<_> = view
        .layers()
        .iter()
        .map(|layer| (layer.files, layer.size, layer.wasted))
        .collect();
    assert_eq!(totals, [(4, 22, 12), (1, 3, 0), (0, 0, 0), (0, 0, 0)]);
    assert_eq!(view.size(), 13);
    let hidden: Vec<_> = view
        .hidden()
        .iter()
        .map(|hidden| {
            (
                hidden.path.to_str().unwrap(),
                hidden.wasted,
                hidden.layer,
                hidden.by,
                hidden.removed,
            )
        })
        .collect();
    for expected in [
        ("/usr/gone", 5, 0, 1, true),
        ("/usr/lib/a.so", 0, 0, 1, false),
        ("/opt/old/deep/file", 7, 0, 2, true),
        ("/usr", 0, 0, 3, false),
    ] {
        assert!(hidden.contains(&expected), "{expected:?} in {hidden:?}");
    }
    let gone = view
        .hidden()
        .iter()
        .find(|hidden| hidden.path == Path::new("/usr/gone"));
    let text = std::io::read_to_string(view.open_hidden(gone.unwrap()).unwrap()).unwrap();
    assert_eq!(text, "12345");
}

#[test]
fn files_are_found_through_links_and_read_from_their_layer() {
    let world = world();
    let view = world.view();
    let entry = view.find(Path::new("/lib/../lib/./a.so"), true).unwrap();
    assert_eq!(entry.path, Path::new("/usr/lib/a.so"));
    assert_eq!(view.read(entry, 3).unwrap(), b"new");
    assert_eq!(view.read_start(entry, 1).unwrap(), b"n");
    assert_eq!(view.digest(entry).unwrap(), Digest::sha256(b"new"));
    let error = view.read(entry, 2).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`/usr/lib/a.so` has 3 bytes, more than the 2 that are read"
    );
    assert_eq!(
        view.find(Path::new("/lib"), false).unwrap().target.as_deref(),
        Some("usr/lib".as_ref())
    );
    assert_eq!(view.resolve(Path::new("/../.."), true).unwrap(), Path::new("/"));
    assert!(view.find(Path::new("/usr/lib/a.so/x"), true).is_none());
    let names: Vec<_> = view
        .children(Path::new("/usr/lib"))
        .map(|entry| entry.path.file_name().unwrap())
        .collect();
    assert_eq!(names, ["a.so", "b.so"]);
    assert_eq!(view.below(Path::new("/")).len(), view.entries().len());
    let mut real = view.real_paths();
    assert_eq!(
        real.of(Path::new("/lib/none")).unwrap(),
        Path::new("/usr/lib/none")
    );
    assert_eq!(real.of(Path::new("/none/x")), None);
    assert_eq!(real.of(Path::new("/")), None);
}

#[test]
fn names_that_sort_between_a_directory_and_its_files() {
    let mut world = World::new();
    world.files(
        "ADD",
        &[
            ("a/x", "1"),
            ("a-b", "2"),
            ("a.c/y", "3"),
            ("a\n\u{1b}[2J/z", "4"),
        ],
    );
    world.layer("RUN rm", |_| {}, |upper| rm(upper, "/a"));
    let view = world.view();
    assert_eq!(
        listed(&view),
        [
            ("/a\n\u{1b}[2J", 0),
            ("/a\n\u{1b}[2J/z", 0),
            ("/a-b", 0),
            ("/a.c", 0),
            ("/a.c/y", 0)
        ]
    );
}

#[test]
fn circles_of_links_end() {
    let mut world = World::new();
    let write = |root: &Path| {
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink("/self/x", root.join("self")).unwrap();
        symlink("../../../..", root.join("up")).unwrap();
    };
    world.layer("COPY", write, |_| {});
    let view = world.view();
    for path in ["/a", "/a/b", "/self", "/self/x/y"] {
        assert_eq!(view.resolve(Path::new(path), true), None, "{path}");
    }
    assert_eq!(view.resolve(Path::new("/up/up"), true).unwrap(), Path::new("/"));
}

#[test]
fn a_sparse_file_costs_nothing_to_list() {
    let mut world = World::new();
    let write = |root: &Path| {
        File::create(root.join("huge"))
            .unwrap()
            .set_len(10 << 30)
            .unwrap();
    };
    let active = world.snapshots.prepare(&[]).unwrap();
    write(&active.upper_dir());
    let layer = active
        .commit(distil_snapshot::CommitOptions::default())
        .unwrap()
        .id;
    world.layers.push(layer);
    let config = format!(
        r#"{{"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::sha256(b"")
    );
    let view = ImageView::open(&world.snapshots, &world.image_with(config.as_bytes())).unwrap();
    let entry = view.get(Path::new("/huge")).unwrap();
    assert_eq!((entry.size(), view.size()), (10 << 30, 10 << 30));
    assert_eq!(view.read_start(entry, 4).unwrap(), [0; 4]);
    assert!(matches!(
        view.read(entry, 1 << 20),
        Err(AuditError::TooLarge { .. })
    ));
}

#[test]
fn broken_images_are_refused() {
    let world = world();
    for (config, message) in [
        ("{", "cannot be read"),
        (
            r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#,
            "it names 0 layers, the store has 4",
        ),
    ] {
        let error = ImageView::open(&world.snapshots, &world.image_with(config.as_bytes())).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let image = world.image();
    fs::remove_dir_all(world.snapshots.layer_dir(world.layers[1]).parent().unwrap()).unwrap();
    let fresh = distil_snapshot::Snapshotter::open(world.snapshots.store(), Default::default());
    let error = ImageView::open(&fresh, &image).unwrap_err();
    assert!(matches!(error, AuditError::Snapshot(_)), "{error}");
    let store = world.snapshots.store();
    fs::write(store.blobs().path(&image.id), "other").unwrap();
    let error = ImageView::open(&world.snapshots, &image).unwrap_err();
    assert!(matches!(error, AuditError::Store(_)), "{error}");
}

#[test]
fn changes_of_layers_and_between_images() {
    let world = world();
    let view = world.view();
    let kinds = |changes: Vec<crate::Change>| -> Vec<(String, ChangeKind)> {
        let name = |change: &crate::Change| change.path.display().to_string();
        changes
            .iter()
            .map(|change| (name(change), change.kind()))
            .collect()
    };
    let of = |path: &str, kind| (path.to_owned(), kind);
    use ChangeKind::{Added, Changed, Removed};
    assert_eq!(layer_changes(&view, 0).len(), 10);
    assert_eq!(
        kinds(layer_changes(&view, 1)),
        [of("/usr/gone", Removed), of("/usr/lib/a.so", Changed)]
    );
    assert_eq!(
        kinds(layer_changes(&view, 2)),
        [of("/opt/old/deep", Removed), of("/opt/old/deep/file", Removed)]
    );
    assert_eq!(kinds(layer_changes(&view, 3)), [of("/usr", Changed)]);

    let mut other = World::new();
    other.files(
        "ADD",
        &[
            ("usr/lib/b.so", "0123456789"),
            ("usr/lib/a.so", "NEW"),
            ("new", "n"),
        ],
    );
    let expected = [
        of("/lib", Removed),
        of("/new", Added),
        of("/opt", Removed),
        of("/opt/old", Removed),
        of("/usr", Changed),
        of("/usr/lib/a.so", Changed),
    ];
    assert_eq!(kinds(changes(&view, &other.view()).unwrap()), expected);
    assert_eq!(changes(&view, &view).unwrap(), []);
}

#[test]
fn files_of_two_stores_are_compared_by_their_contents() {
    let views: Vec<(World, ImageView)> = ["one", "two", "two"]
        .into_iter()
        .map(|text| {
            let mut world = World::new();
            world.files("ADD", &[("file", text), ("same", "x")]);
            let view = world.view();
            (world, view)
        })
        .collect();
    // Each store gives its first layer the same number.
    let found = changes(&views[0].1, &views[1].1).unwrap();
    let paths: Vec<&Path> = found.iter().map(|change| change.path.as_path()).collect();
    assert_eq!(paths, [Path::new("/file")]);
    assert_eq!(changes(&views[1].1, &views[2].1).unwrap(), []);
}
