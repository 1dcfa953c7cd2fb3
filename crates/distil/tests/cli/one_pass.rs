//! A COPY that nothing in the cache can be for reads each file once: while it is copied, the content key and the
//! diff ID are computed too.

use std::collections::BTreeMap;
use std::process::Command;

use crate::world::{DISTIL, World, outcome};

const FILES: usize = 300;

fn world() -> Option<World> {
    let world = World::new()?;
    for number in 0..FILES {
        let path = format!("context/files/d{}/once-{number}.txt", number % 7);
        world.write(&path, &format!("file {number}\n").repeat(number));
    }
    world.write("context/files/once-large.txt", &"x".repeat(3 << 20));
    Some(world)
}

/// How often each `once-*` file was opened, by its name and whether it was made then.
fn opened(trace: &str) -> BTreeMap<(String, bool), usize> {
    let mut opened = BTreeMap::new();
    for line in trace.lines().filter(|line| !line.contains("ENOENT")) {
        let Some((_, rest)) = line.split_once("once-") else {
            continue;
        };
        let name = rest.split('"').next().unwrap_or_default().to_owned();
        *opened.entry((name, rest.contains("O_CREAT"))).or_default() += 1;
    }
    opened
}

/// Builds under strace and gives what was opened; `None` where that is not possible.
fn traced(world: &World, dockerfile: &str, arguments: &str) -> Option<BTreeMap<(String, bool), usize>> {
    world.write("context/Dockerfile", dockerfile);
    let mut command = Command::new("strace");
    world.settle(&mut command);
    let line =
        format!("-f -s 300 -e trace=open,openat,openat2 -o trace {DISTIL} build -q {arguments} context");
    let traced = rustix::process::geteuid().is_root() && command.args(line.split(' ')).status().is_ok();
    if !traced {
        println!("skipped: this needs root and strace");
        return None;
    }
    Some(opened(&world.read("trace")))
}

#[test]
fn a_copy_of_new_files_reads_each_once() {
    let Some(world) = world() else { return };
    for (dockerfile, arguments) in [
        ("FROM busybox\nCOPY files /files\n", "-t first"),
        ("FROM scratch\nCOPY files /a/b/\n", "-t second"),
        (
            "FROM busybox\nCOPY --chown=7:8 --link files /linked\n",
            "-t third",
        ),
    ] {
        let Some(opened) = traced(&world, dockerfile, arguments) else {
            return;
        };
        assert_eq!(opened.len(), 2 * (FILES + 1), "{dockerfile}{opened:?}");
        assert!(opened.values().all(|times| *times == 1), "{dockerfile}{opened:?}");
    }
    // Writing the archives reads the layers again, and checks their digests.
    for image in ["first", "second", "third"] {
        world.ok(&format!("save -o {image}.tar {image}"));
    }
}

#[test]
fn a_layer_that_is_in_no_image_is_not_hashed() {
    let Some(world) = world() else { return };
    let stages = "FROM busybox AS files\nCOPY files /files\nFROM busybox\nCOPY --from=files /files/d1 /d1\n";
    let Some(opened) = traced(&world, stages, "-t image") else {
        return;
    };
    let times = |name: &str| opened.get(&(name.to_owned(), false)).copied();
    // From the context, and from the first layer.
    assert_eq!((times("0.txt"), times("1.txt")), (Some(1), Some(2)));
    world.ok("save -o image.tar image");
}

#[test]
fn what_is_hashed_during_a_copy_is_what_a_later_look_finds() {
    let Some(world) = world() else { return };
    world.write("context/Dockerfile", "FROM busybox\nCOPY files /files\n");
    let build = |root: &str| {
        let mut command = world.command();
        command.env("SOURCE_DATE_EPOCH", "1000000");
        command.args(["--root", root, "build", "-q", "-t", "dated", "context"]);
        let built = outcome(&mut command);
        assert_eq!(built.code, 0, "{built:?}");
        built.stdout
    };
    // The layer is there already, and is hashed once more for the times that are cut off; in a new store that is
    // done while it is made.
    world.ok("build -q -t plain context");
    assert_eq!(build("store"), build("fresh"));
    world.ok("save -o store.tar dated");
    world.ok("--root fresh save -o fresh.tar dated");
}
