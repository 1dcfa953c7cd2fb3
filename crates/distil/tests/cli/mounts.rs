//! Mounts of RUN that outlive a build or come from outside: caches, secrets.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

/// Starts a build that goes on beside others.
fn start(world: &World, name: &str, text: &str) -> Child {
    world.write(&format!("{name}/Dockerfile"), text);
    let mut command = world.command();
    command
        .args(["build", "-q", "-t", name, name])
        .stdout(Stdio::null());
    command.spawn().unwrap()
}

fn records(world: &World, filter: &str) -> Vec<Value> {
    let text = world.ok(&format!("du --format json --filter {filter}"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_cache_mount_is_kept_until_it_is_pruned() {
    let Some(world) = World::new() else { return };
    let dockerfile = |script: &str| {
        format!("FROM busybox\nRUN --mount=type=cache,target=/c,id=kept {script}\nRUN ls / >/list\n")
    };
    world.build(&dockerfile("head -c 4096 /dev/zero >/c/a"), "-q -t one");
    world.build(&dockerfile("cp /c/a /seen"), "-q -t two");
    assert_eq!(world.ok("run two wc -c /seen"), "4096 /seen\n");
    // The mount point leaves nothing behind.
    assert!(!world.ok("run two cat /list").lines().any(|name| name == "c"));

    let found = records(&world, "type=exec.cachemount");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["Type"], "exec.cachemount");
    assert_eq!(found[0]["Size"], "4.1kB");
    assert!(
        found[0]["Description"]
            .as_str()
            .unwrap()
            .contains("cached mount /c")
    );

    // What a build without the cache puts there is alone there.
    world.build(&dockerfile("ls -A /c | wc -l >/count"), "-q -t three --no-cache");
    assert_eq!(world.ok("run three cat /count"), "0\n");
    world.build(&dockerfile("touch /c/b"), "-q -t four");

    let before = records(&world, "type!=exec.cachemount").len();
    let told = world.ok("prune --force --filter type=exec.cachemount");
    assert!(
        told.contains("exec.cachemount") && !told.contains("regular"),
        "{told}"
    );
    assert_eq!(records(&world, "type=exec.cachemount").len(), 0);
    assert_eq!(records(&world, "type!=exec.cachemount").len(), before);
    world.build(&dockerfile("ls -A /c | wc -l >/count2"), "-q -t five");
    assert_eq!(world.ok("run five cat /count2"), "0\n");
    assert!(
        world
            .fails("prune --force --filter parents=x", 2)
            .contains("`parents`")
    );
}

#[test]
fn a_cache_mount_starts_with_a_copy_of_another_stage() {
    let Some(world) = World::new() else { return };
    let text = "FROM busybox AS seed\nRUN mkdir -m 0750 /seed && echo old >/seed/f && chown 3:4 /seed\n\
                FROM busybox\n\
                RUN --mount=type=cache,id=s,from=seed,source=/seed,target=/c \
                stat -c '%a %u:%g' /c >/1 && echo new >/c/f\n\
                RUN --mount=type=cache,id=s,from=seed,source=/seed,target=/c cat /c/f >/2\n\
                RUN --mount=type=bind,from=seed,source=/seed,target=/c cat /c/f >/3\n";
    world.build(text, "-q -t app");
    assert_eq!(world.ok("run app cat /1 /2 /3"), "750 3:4\nnew\nold\n");
    let text = "FROM busybox\nRUN --mount=type=cache,id=s,from=busybox,source=/nothing,target=/c true\n";
    world.write("context/Dockerfile", text);
    let told = world.fails("build context", 1);
    assert!(
        told.contains("cache mount `/c` cannot start with `/nothing`") && told.contains("Dockerfile:2"),
        "{told}"
    );
}

#[test]
fn sharing_holds_between_processes() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", "FROM busybox\nRUN true\n");
    world.ok("build -q context");
    // Each build leaves a word, meets the other where it can, and counts the words.
    let meet = "for i in $(seq 200); do [ $(ls /meet | wc -l) = 2 ] && break; sleep 0.1; done";
    for (sharing, wait, counts) in [
        ("shared", meet, ["2", "2"]),
        ("private", meet, ["1", "1"]),
        ("locked", "sleep 1", ["1", "2"]),
    ] {
        let children: Vec<Child> = ["left", "right"]
            .map(|name| {
                let mounts = format!(
                    "--mount=type=cache,id={sharing},sharing={sharing},target=/c \
                     --mount=type=cache,id=meet-{sharing},target=/meet"
                );
                // Neither id nor sharing is in the cache key.
                let script =
                    format!(": {sharing}; touch /c/{name} /meet/{name}; {wait}; ls /c | wc -l >/count");
                start(
                    &world,
                    &format!("{name}-{sharing}"),
                    &format!("FROM busybox\nRUN {mounts} {script}\n"),
                )
            })
            .into();
        for mut child in children {
            assert!(child.wait().unwrap().success(), "{sharing}");
        }
        let mut seen = ["left", "right"].map(|name| {
            world
                .ok(&format!("run {name}-{sharing} cat /count"))
                .trim()
                .to_owned()
        });
        seen.sort();
        assert_eq!(seen, counts, "{sharing}");
    }
}

#[test]
fn a_killed_build_leaves_its_cache_mount_usable() {
    let Some(world) = World::new() else { return };
    let mount = "--mount=type=cache,id=k,sharing=locked,target=/c";
    let text = format!("FROM busybox\nRUN {mount} touch /c/begun && sleep 60\n");
    let mut child = start(&world, "killed", &text);
    let begun = Instant::now();
    while records(&world, "type=exec.cachemount").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    child.kill().unwrap();
    child.wait().unwrap();
    world.build(&format!("FROM busybox\nRUN {mount} ls /c >/seen\n"), "-q -t app");
    assert_eq!(world.ok("run app cat /seen"), "begun\n");
}

#[test]
fn a_build_that_waits_for_a_cache_mount_can_be_stopped() {
    let Some(world) = World::new() else { return };
    let text = |script: &str| {
        format!("FROM busybox\nRUN --mount=type=cache,id=w,sharing=locked,target=/c {script}\n")
    };
    let mut first = start(&world, "first", &text("touch /c/x && sleep 60"));
    let begun = Instant::now();
    while records(&world, "type=exec.cachemount").is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut second = start(&world, "second", &text("true"));
    std::thread::sleep(Duration::from_millis(700));
    assert!(second.try_wait().unwrap().is_none());
    for child in [&mut second, &mut first] {
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let stopped = Instant::now();
        assert!(!child.wait().unwrap().success());
        assert!(stopped.elapsed() < Duration::from_secs(5));
    }
}
