//! A COPY of which little changed adds to the layer of its last run, and gives what a build from nothing gives.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::world::World;

const DOCKERFILE: &str = "FROM busybox\nCOPY files /files\n";

/// A context of 40 files in folders, with links and an empty folder.
fn world() -> Option<World> {
    let world = World::new()?;
    for number in 0..40 {
        let path = format!("context/files/d{}/f{number}", number % 4);
        world.write(&path, &format!("file {number}\n").repeat(number));
    }
    fs::create_dir(world.path("context/files/empty")).unwrap();
    symlink("d0/f0", world.path("context/files/link")).unwrap();
    Some(world)
}

/// Diff ID of the last layer.
fn top(world: &World, root: &str, image: &str) -> String {
    let text = world.ok(&format!("--root {root} inspect {image}"));
    let image: Value = serde_json::from_str(&text).unwrap();
    let layers = image[0]["RootFS"]["Layers"].as_array().unwrap();
    layers.last().unwrap().as_str().unwrap().to_owned()
}

/// Number of regular files that the newest layer of the store has of its own.
fn own_files(world: &World) -> usize {
    let folder = world.path("store/snapshots");
    let layers = fs::read_dir(folder).unwrap();
    let numbers = layers.map(|layer| {
        layer
            .unwrap()
            .file_name()
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    });
    let newest = numbers.max().unwrap();
    files(&world.path(&format!("store/snapshots/{newest}/fs")))
}

fn files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let count = |entry: fs::DirEntry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files(&entry.path()),
        kind => usize::from(kind.is_file()),
    };
    entries.map(count).sum()
}

fn build(world: &World, image: &str) {
    world.build(DOCKERFILE, &format!("-q -t {image}"));
}

/// Builds once more, and from nothing in another store.
fn same_as_from_nothing(world: &World, change: &str) {
    build(world, "next");
    world.ok("--root fresh build -q -t next context");
    let (own, fresh) = (top(world, "store", "next"), top(world, "fresh", "next"));
    assert_eq!(own, fresh, "after: {change}");
    let list = |root: &str| world.ok(&format!("--root {root} ls -R --format json next /files"));
    assert_eq!(list("store"), list("fresh"), "after: {change}");
    world.ok("--root fresh reset --force");
}

#[test]
fn an_addition_is_what_a_build_from_nothing_gives() {
    let Some(world) = world() else { return };
    build(&world, "first");
    let at = |path: &str| world.path("context/files").join(path);
    let write = |path: &str, text: &str| world.write(&format!("context/files/{path}"), text);
    type Change<'c> = (&'c str, usize, Box<dyn Fn() + 'c>);
    // What is done, and the files that the layer then has of its own.
    let changes: Vec<Change<'_>> = vec![
        ("a file changed", 1, Box::new(|| write("d1/f5", "changed"))),
        ("a file is new", 2, Box::new(|| write("d1/new", "new"))),
        ("a folder is new", 3, Box::new(|| write("deep/er/file", "deep"))),
        ("another mode", 4, Box::new(|| set_mode(&at("d2/f2"), 0o700))),
        ("a folder's mode", 4, Box::new(|| set_mode(&at("d3"), 0o711))),
        (
            "an empty folder's mode",
            4,
            Box::new(|| set_mode(&at("empty"), 0o700)),
        ),
        (
            "a link leads elsewhere",
            4,
            Box::new(|| {
                fs::remove_file(at("link")).unwrap();
                symlink("d1/f1", at("link")).unwrap();
            }),
        ),
        (
            "a link is new",
            4,
            Box::new(|| symlink("d0", at("other")).unwrap()),
        ),
        (
            "a file is gone",
            41,
            Box::new(|| fs::remove_file(at("d2/f6")).unwrap()),
        ),
        (
            "a file changed again",
            1,
            Box::new(|| write("d1/f5", "once more")),
        ),
        (
            "a file is a folder",
            41,
            Box::new(|| {
                fs::remove_file(at("d0/f8")).unwrap();
                write("d0/f8/inner", "x");
            }),
        ),
        (
            "a folder is a link",
            41,
            Box::new(|| {
                fs::remove_dir(at("empty")).unwrap();
                symlink("d0", at("empty")).unwrap();
            }),
        ),
        (
            "two names of one file",
            42,
            Box::new(|| fs::hard_link(at("d0/f0"), at("d0/twin")).unwrap()),
        ),
    ];
    for (change, own, run) in changes {
        run();
        same_as_from_nothing(&world, change);
        assert_eq!(own_files(&world), own, "after: {change}");
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_layer_that_is_added_to_stays_as_long_as_the_addition() {
    let Some(world) = world() else { return };
    build(&world, "app");
    world.write("context/files/d0/f0", "changed");
    build(&world, "app");
    assert_eq!(own_files(&world), 1);
    // Only the addition is left of what names layers.
    world.ok("prune --all --force");
    world.ok("image prune --force");
    assert_eq!(world.ok("cat app /files/d0/f0"), "changed");
    assert_eq!(world.ok("cat app /files/d1/f1"), "file 1\n");
    let run = world.ok("run --rm app cat /files/d1/f1 /files/link");
    assert_eq!(run, "file 1\nchanged");
    world.ok("save -o app.tar app");
    world.ok("rmi app");
    world.ok("prune --all --force");
    let layers = fs::read_dir(world.path("store/snapshots")).unwrap().count();
    assert_eq!(layers, 0, "layers are left");
    world.ok("load -i app.tar");
    assert_eq!(world.ok("cat app /files/d1/f1"), "file 1\n");
}

#[test]
fn nothing_is_added_on_another_base_or_where_something_was() {
    let Some(world) = world() else { return };
    build(&world, "first");
    world.write("context/files/d0/f0", "changed");
    // Other layers below: the files are linked.
    world.build(
        "FROM busybox\nRUN echo x > /x\nCOPY files /files\n",
        "-q -t other",
    );
    assert_eq!(own_files(&world), 40);
    // Files of the base show through when the copy's own are gone.
    let over = "FROM busybox\nRUN mkdir -p /files/d0 && echo base > /files/d0/f0\nCOPY files /files\n";
    world.build(over, "-q -t over");
    fs::remove_file(world.path("context/files/d0/f0")).unwrap();
    world.build(over, "-q -t over");
    assert_eq!(world.ok("cat over /files/d0/f0"), "base\n");
}
