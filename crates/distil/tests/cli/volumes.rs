//! `distil run -v NAME:/path` and `distil volume`.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::world::World;

/// An image with a folder that has owners and modes of its own.
fn world() -> Option<World> {
    let world = World::new()?;
    world.build(
        "FROM busybox\n\
         RUN mkdir -p /data/deep /empty && echo image >/data/file && ln -s file /data/link \
         && chmod 0640 /data/file && chown -R 5:6 /data && chmod 0750 /data && chown 7:8 /empty && chmod 1777 /empty\n\
         VOLUME /data\n",
        "-q -t app",
    );
    world.build(
        "FROM app\nRUN rm -r /data && mkdir /data && echo other >/data/file\n",
        "-q -t other",
    );
    Some(world)
}

fn shell(world: &World, arguments: &str, script: &str) -> String {
    let words = arguments.split(' ').filter(|word| !word.is_empty());
    let outcome = world.distil(["run"].into_iter().chain(words).chain(["sh", "-c", script]));
    assert_eq!(outcome.code, 0, "{arguments}: {script}: {outcome:?}");
    outcome.stdout
}

/// A program that holds its volumes until its input ends.
fn holding(world: &World, arguments: &str) -> Child {
    let mut command = world.command();
    let mut child = command
        .args(["run", "-i"])
        .args(arguments.split(' '))
        .args(["sh", "-c", "echo up; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut up).unwrap();
    child
}

#[test]
fn a_named_volume_starts_as_the_image_has_it_and_stays() {
    let Some(world) = world() else { return };
    let first = shell(
        &world,
        "-v db:/data app",
        "stat -c '%a %u:%g %n' /data /data/file /data/deep; readlink /data/link; cat /data/file; echo new >/data/file; rm /data/link",
    );
    assert_eq!(
        first,
        "750 5:6 /data\n640 5:6 /data/file\n755 5:6 /data/deep\nfile\nimage\n"
    );
    // Another image, another place: what is in it counts.
    let again = shell(
        &world,
        "--read-only -u 5:6 -v db:/somewhere other",
        "cat /somewhere/file; ls -A /somewhere",
    );
    assert_eq!(again, "new\ndeep\nfile\n");
    let refused = shell(
        &world,
        "-v db:/data:ro app",
        "touch /data/x 2>/dev/null || echo refused",
    );
    assert_eq!(refused, "refused\n");
    // The image's own folder is as it was.
    assert_eq!(shell(&world, "app", "cat /data/file"), "image\n");

    let empty = shell(
        &world,
        "-v none:/data:nocopy app",
        "ls -A /data; stat -c '%a %u:%g' /data",
    );
    assert_eq!(empty, "755 0:0\n");
    // An empty one is filled by the next program, as docker does it; not beside another one.
    let mut holds = holding(&world, "-v none:/nothing app");
    assert_eq!(shell(&world, "-v none:/data app", "ls -A /data"), "");
    drop(holds.stdin.take());
    holds.wait().unwrap();
    assert_eq!(
        shell(&world, "-v none:/empty app", "stat -c '%a %u:%g' /empty"),
        "1777 7:8\n"
    );
    assert_eq!(shell(&world, "-v none:/data other", "cat /data/file"), "other\n");

    let told = world.fails("run -v db:/data/file/x -v a/b:/y app true", 125);
    assert!(told.contains("`a/b` is neither a path"), "{told}");
    let told = world.fails("run -v new:/etc/passwd other true", 125);
    assert!(
        told.contains("a volume is a folder") || told.contains("cannot set up"),
        "{told}"
    );
    let told = world.fails("run -v one:/x -v two:/x/ app true", 125);
    assert!(told.contains("two mounts for `/x/`"), "{told}");
}

#[test]
fn a_new_volume_that_the_user_cannot_write_to_is_told_of() {
    let Some(world) = world() else { return };
    let told = world.distil(["run", "-u", "65532", "-v", "fresh:/nowhere", "app", "true"]);
    assert!(
        told.stderr.contains("the new volume `fresh` belongs to root"),
        "{told:?}"
    );
    for arguments in [
        "-u 65532 -v fresh:/nowhere",
        "-v other:/nowhere",
        "-u 7 -v third:/empty",
    ] {
        let words = arguments.split(' ').chain(["app", "true"]);
        let told = world.distil(["run"].into_iter().chain(words));
        assert!(
            told.code == 0 && told.stderr.is_empty() != arguments.contains("fresh"),
            "{told:?}"
        );
    }
}

#[test]
fn volumes_lie_in_each_other_and_memory() {
    let Some(world) = world() else { return };
    let script = "touch /mem/x /mem/inner/y /mem/inner/most/z && ls /mem/inner";
    let seen = shell(
        &world,
        "-v most:/mem/inner/most -v inner:/mem/inner --tmpfs /mem app",
        script,
    );
    assert_eq!(seen, "most\ny\n");
    assert_eq!(shell(&world, "-v most:/v app", "ls /v"), "z\n");
}

#[test]
fn volumes_are_listed_shown_kept_and_removed() {
    let Some(world) = world() else { return };
    assert_eq!(world.ok("volume ls"), "DRIVER   VOLUME NAME\n");
    shell(
        &world,
        "-v one:/data -v two:/two app",
        "head -c 5000 /dev/zero >/two/x",
    );
    assert_eq!(
        world.ok("volume ls"),
        "DRIVER   VOLUME NAME\nlocal    one\nlocal    two\n"
    );
    assert_eq!(world.ok("volume ls -q --filter name=tw"), "two\n");
    let place = world.ok("volume ls --format {{.Mountpoint}} --filter name=two");
    assert!(place.trim_end().ends_with("/volumes/two/data"), "{place}");
    let usage = world.ok("du");
    assert!(
        usage.contains("Volumes:      5.01kB (2, removed by `distil volume rm`)"),
        "{usage}"
    );

    let mut holds = holding(&world, "-v one:/data app");
    assert_eq!(world.ok("volume ls -q -f dangling=true"), "two\n");
    assert_eq!(world.ok("volume ls -q -f dangling=false"), "one\n");
    let told = world.fails("volume rm one", 1);
    assert!(told.contains("volume `one` is in use"), "{told}");
    // Two programs have it at once.
    assert_eq!(shell(&world, "-v one:/data app", "cat /data/file"), "image\n");
    drop(holds.stdin.take());
    holds.wait().unwrap();

    world.ok("image prune --all --force");
    world.ok("prune --all --force");
    assert_eq!(world.ok("volume ls -q"), "one\ntwo\n");
    assert_eq!(world.ok("volume rm one"), "one\n");
    let told = world.fails("volume rm one two ..", 1);
    assert!(
        told.contains("there is no volume `one`") && told.contains("`..`"),
        "{told}"
    );
    assert_eq!(world.ok("volume rm -f one"), "");
    assert_eq!(world.ok("volume ls -q"), "");
    assert!(!world.ok("du").contains("Volumes"));
    assert!(
        world
            .fails("volume ls --filter size=3", 2)
            .contains("no filter of volumes")
    );
    assert!(world.path("store").join("volumes").exists());
    world.ok("reset --force");
    assert!(!world.path("store").exists());
}

#[test]
fn declared_volumes_can_be_written_in_a_read_only_root_and_go_with_the_program() {
    let Some(world) = world() else { return };
    let script =
        "stat -c '%a %u:%g' /data; cat /data/file; echo changed >/data/file; touch /x 2>/dev/null || echo no";
    for _ in 0..2 {
        assert_eq!(shell(&world, "--read-only app", script), "750 5:6\nimage\nno\n");
    }
    // A mount of the same place wins; one without a name is like a declared one.
    assert_eq!(shell(&world, "--read-only --tmpfs /data app", "ls -A /data"), "");
    let script = "stat -c '%a %u:%g' /empty /new; touch /empty/x /new/x; ls /new";
    assert_eq!(
        shell(&world, "--read-only -v /empty -v /new app", script),
        "1777 7:8\n755 0:0\nx\n"
    );
    assert_eq!(world.ok("volume ls -q"), "");
    world.ok("prune --all --force");
    let left = std::fs::read_dir(world.path("store/tmp")).unwrap().count();
    assert!(left <= 1, "{left} folders in tmp");
}

#[test]
fn one_that_is_killed_leaves_whole_volumes_that_can_be_removed() {
    let Some(world) = world() else { return };
    let mut child = holding(&world, "-v killed:/data app");
    child.kill().unwrap();
    child.wait().unwrap();
    let begun = Instant::now();
    while world.distil(["volume", "rm", "killed"]).code != 0 {
        assert!(begun.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
}
