//! Layers as what they add to earlier ones.

use distil_layer::{LinkGroups, TarOptions, write_tree};
use distil_rootfs::MergedTree;

use super::*;

const FILES: Files<'_> = &[
    ("usr/", ""),
    ("usr/x", "1"),
    ("usr/share/", ""),
    ("usr/share/y", "2"),
    ("usr/z", "-> x"),
];

fn file(path: &str, text: &str) -> SpecFile {
    SpecFile {
        path: path.to_owned(),
        mode: 0o644,
        owner: Owner { uid: 5, gid: 6 },
        content: FileContent::Text(text.to_owned()),
    }
}

fn directory(path: &str) -> SpecDirectory {
    SpecDirectory {
        path: path.to_owned(),
        mode: 0o700,
        owner: Owner { uid: 0, gid: 0 },
    }
}

/// The paths of a layer, with those on the way, that `composed` adds to `earlier`; `None` where it does not.
fn added(world: &World, composed: &Composed, earlier: &Composed) -> Option<Vec<String>> {
    assert_eq!(composed.kin(), earlier.kin());
    let (own, before) = (composed.listing(0), earlier.listing(0));
    let paths = own.added_to(&before)?;
    let [below, above] = ["below", "above"].map(|name| world.directory.path().join(name));
    for target in [&below, &above] {
        let _ = fs::remove_dir_all(target);
        fs::create_dir(target).unwrap();
    }
    let never = AtomicBool::new(false);
    earlier.write_layer(0, &below, 1, &never).unwrap();
    composed.write_added(&paths, &above, &never).unwrap();
    // Both together are byte for byte what a layer of its own is.
    let merged = MergedTree::open(&[below, above.clone()]).unwrap();
    let tar = write_tree(&merged, &LinkGroups::default(), TarOptions::default(), io::sink()).unwrap();
    assert_eq!(Some(tar), composed.layer_tar(0, || false).unwrap());
    let mut listed = BTreeMap::new();
    list(&above, Path::new(""), &mut listed);
    Some(listed.into_keys().collect())
}

#[test]
fn what_is_new_or_changed_is_added() {
    let Some(mut world) = World::new(&[("aa", "", FILES)]) else {
        return;
    };
    let plain = world.compose(&[]).unwrap();
    assert_eq!(added(&world, &plain, &plain).unwrap(), [""; 0]);
    world.spec().files = vec![file("/etc/new", "3"), file("/usr/x", "4")];
    world.spec().symlinks = vec![SpecSymlink {
        path: "/usr/z".to_owned(),
        target: "share".to_owned(),
    }];
    world.spec().directories = vec![directory("/usr/share"), directory("/srv/empty")];
    let more = world.compose(&[]).unwrap();
    assert_eq!(
        added(&world, &more, &plain).unwrap(),
        [
            "etc/",
            "etc/new",
            "srv/",
            "srv/empty/",
            "usr/",
            "usr/share/",
            "usr/x",
            "usr/z"
        ]
    );
    // What is gone cannot be added.
    assert_eq!(added(&world, &plain, &more), None);
    world.spec().files[0].content = FileContent::Text("6".to_owned());
    let other = world.compose(&[]).unwrap();
    assert_eq!(added(&world, &other, &more).unwrap(), ["etc/", "etc/new"]);
}

#[test]
fn a_directory_in_place_of_a_file_is_a_layer_of_its_own() {
    let Some(mut world) = World::new(&[("aa", "", FILES)]) else {
        return;
    };
    world.spec().files = vec![file("/etc/a", "1")];
    let plain = world.compose(&[]).unwrap();
    world.spec().files = vec![file("/etc/a/b", "1")];
    let other = world.compose(&[]).unwrap();
    assert_eq!(added(&world, &other, &plain), None);
}

#[test]
fn hard_links_are_a_layer_of_its_own() {
    let linked: Files<'_> = &[("usr/", ""), ("usr/x", "1"), ("usr/y", "=> usr/x")];
    let Some(mut world) = World::new(&[("aa", "", linked)]) else {
        return;
    };
    let plain = world.compose(&[]).unwrap();
    world.spec().files = vec![file("/usr/y", "2")];
    let apart = world.compose(&[]).unwrap();
    for (one, other) in [(&plain, &plain), (&plain, &apart), (&apart, &plain)] {
        assert_eq!(added(&world, one, other), None);
    }
    assert!(added(&world, &apart, &apart).is_some());
}

#[test]
fn other_packages_are_no_kin() {
    let Some(mut world) = World::new(&[("aa", "", FILES)]) else {
        return;
    };
    let plain = *world.compose(&[]).unwrap().kin();
    world.spec().excludes = vec![Exclude {
        name: String::new(),
        patterns: vec!["/usr/share/*".to_owned()],
        except: Vec::new(),
    }];
    assert_ne!(*world.compose(&[]).unwrap().kin(), plain);
    world.spec().excludes.clear();
    world.add("bb", "", &[("usr/", ""), ("usr/b", "")]);
    assert_ne!(*world.compose(&[]).unwrap().kin(), plain);
}

#[test]
fn a_listing_is_read_again_only_whole() {
    let Some(mut world) = World::new(&[("aa", "", FILES)]) else {
        return;
    };
    world.spec().files = vec![file("/etc/a", "1")];
    let listing = world.compose(&[]).unwrap().listing(0);
    let key = listing.key();
    assert_eq!(
        Listing::from_bytes(listing.as_bytes().to_vec(), &key),
        Some(listing.clone())
    );
    for length in 0..listing.as_bytes().len() {
        let cut = listing.as_bytes()[..length].to_vec();
        assert_eq!(Listing::from_bytes(cut, &key), None);
    }
    assert_eq!(
        listing.len(),
        listing.added_to(&Listing(Vec::new())).unwrap().len()
    );
}
