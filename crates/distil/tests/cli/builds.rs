//! What a build prints, and the options that decide what is built.

use serde_json::Value;

use crate::world::{World, fed, outcome, stable};

#[test]
fn plain_progress_has_buildxs_shape() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox AS one\nRUN echo hello && echo x >/x\nFROM busybox\nCOPY --from=one /x /x\n",
    );
    let first = world.distil(["build", "--progress=plain", "-t", "app", "context"]);
    let text = stable(&first.stderr);
    for part in [
        "#1 [internal] load build definition from Dockerfile\n#1 DONE TIME\n\n#2 [internal] load metadata for docker.io/library/busybox:latest\n",
        "RUN echo hello && echo x >/x\n",
        " TIME hello\n",
        "[stage-1 2/2] COPY --from=one /x /x\n",
        "exporting to image\n",
        "naming to docker.io/library/app:latest TIME done\n",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let second = world.distil(["build", "--progress=plain", "-t", "app", "context"]);
    assert_eq!(second.stderr.matches(" CACHED\n").count(), 3, "{}", second.stderr);
    assert!(!second.stderr.contains("hello\n") || !second.stderr.contains(" TIME hello"));

    let raw = world.distil(["build", "--progress=rawjson", "-t", "app", "context"]);
    for line in raw.stderr.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        assert!(object.is_object());
    }
    for (variable, value) in [
        ("BUILDKIT_PROGRESS", "quiet"),
        ("DISTIL_PROGRESS", "quiet"),
        ("BUILDKIT_PROGRESS", "none"),
    ] {
        let quiet = outcome(
            world
                .command()
                .env(variable, value)
                .args(["build", "-t", "app", "context"]),
        );
        assert_eq!(quiet.stderr, "", "{variable}={value}");
    }
    let wrong = outcome(
        world
            .command()
            .env("BUILDKIT_PROGRESS", "nope")
            .args(["build", "context"]),
    );
    assert_eq!(wrong.code, 2);
    let debug = world.distil(["build", "-D", "-t", "app", "context"]);
    assert!(debug.stderr.contains("DEBUG: ") && debug.stderr.contains("found in the cache"));
}

#[test]
fn a_failed_step_is_shown_with_its_place_and_its_last_output() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox\nRUN echo first; printf 'without end'; exit 7\nRUN true\n",
    );
    let failed = world.distil(["build", "--progress=quiet", "context"]);
    assert_eq!(failed.code, 1);
    assert_eq!(
        failed.stderr,
        "------\n > [2/3] RUN echo first; printf 'without end'; exit 7:\nfirst\nwithout end\n------\n\
         Dockerfile:2\n--------------------\n\
         \u{20}  1 |     FROM busybox\n\
         \u{20}  2 | >>> RUN echo first; printf 'without end'; exit 7\n\
         \u{20}  3 |     RUN true\n\
         \u{20}  4 |     \n\
         --------------------\n\
         ERROR: `[2/3] RUN echo first; printf 'without end'; exit 7`: process `/bin/sh -c echo first; \
         printf 'without end'; exit 7` did not complete successfully: exit code: 7\n"
    );
    assert_eq!(failed.stdout, "");
}

#[test]
fn a_step_that_was_stopped_by_another_is_called_cancelled() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox AS a\nRUN sleep 20\nFROM busybox AS b\nRUN sleep 0.3; exit 1\n\
         FROM busybox\nCOPY --from=a /etc /a\nCOPY --from=b /etc /b\n",
    );
    let failed = world.distil(["build", "--progress=plain", "context"]);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains(" CANCELED\n"), "{}", failed.stderr);
    assert!(
        !failed.stderr.contains("] COPY"),
        "never started: {}",
        failed.stderr
    );
}

#[test]
fn every_error_of_a_dockerfile_is_shown() {
    let world = World::without_builds();
    world.write("context/Dockerfile", "FROM busybox\nRNU x\nCOPY\nENV\n");
    let failed = world.distil(["build", "--progress=quiet", "context"]);
    assert_eq!(failed.code, 1);
    for part in [
        "   2 | >>> RNU x",
        "did you mean",
        "   3 | >>> COPY",
        "   4 | >>> ENV",
        "ERROR: line 3: ",
    ] {
        assert!(failed.stderr.contains(part), "{part} in {}", failed.stderr);
    }
    world.write("context/Dockerfile", "");
    assert!(
        world
            .fails("build --progress=quiet context", 1)
            .contains("ERROR: ")
    );
}

#[test]
fn dockerfiles_come_from_files_and_standard_input() {
    let Some(world) = World::new() else { return };
    world.write("context/f", "content\n");
    world.write("other.Dockerfile", "FROM scratch\nCOPY f /other\n");
    world.ok("build -f other.Dockerfile -o out context");
    assert_eq!(world.read("out/other"), "content\n");
    let piped = fed(
        world.command().args(["build", "-f", "-", "-o", "out", "context"]),
        b"FROM scratch\nCOPY f /piped\n",
    );
    assert_eq!(piped.code, 0, "{piped:?}");
    assert_eq!(world.read("out/piped"), "content\n");
    let alone = fed(
        world.command().args(["build", "-q", "-o", "out", "-"]),
        b"FROM scratch\nCOPY <<X /alone\ntext\nX\n",
    );
    assert_eq!(alone.code, 0, "{alone:?}");
    assert_eq!(world.read("out/alone"), "text\n");
}

#[test]
fn options_reach_the_build() {
    let Some(world) = World::new() else { return };
    world.write("context/f", "main\n");
    world.write("second/f", "second\n");
    world.write("second/Dockerfile", "");
    let dockerfile = "FROM busybox AS base\nARG V=default\nARG FROM_ENV\n\
         RUN grep -E '(gate|extra)' /etc/hosts >/hosts; ls /sys/class/net >/net; echo $V $FROM_ENV >/v\n\
         FROM base AS other\nRUN echo other >/v\nFROM scratch AS files\nCOPY --from=base /v /hosts /net /\nCOPY --from=more f /more\n";
    world.write("context/Dockerfile", dockerfile);
    let mut command = world.command();
    command.env("FROM_ENV", "environment").args([
        "build",
        "-o",
        "out",
        "--build-arg",
        "V=given",
        "--build-arg",
        "FROM_ENV",
        "--add-host",
        "extra=10.1.2.3",
        "--add-host",
        "gate:host-gateway",
        "--network",
        "none",
        "--build-context",
        "more=second",
        "context",
    ]);
    let built = outcome(&mut command);
    assert_eq!(built.code, 0, "{built:?}");
    assert_eq!(world.read("out/v"), "given environment\n");
    assert_eq!(world.read("out/hosts"), "10.1.2.3\textra\n127.0.0.1\tgate\n");
    assert_eq!(world.read("out/net"), "lo\n");
    assert_eq!(world.read("out/more"), "second\n");

    world.ok("build --target other -t other --label a=b --label c context");
    assert_eq!(world.ok("run other cat /v"), "other\n");
    let labels = world.distil(["inspect", "-f", "{{.Config.Labels}}", "other"]);
    assert_eq!(labels.stdout, "map[a:b c:]\n");
    assert!(world.fails("build --target nope context", 1).contains("nope"));

    let plain = |line: &str| {
        let outcome =
            world.distil(format!("build --progress=plain --target other {line} context").split(' '));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stderr
    };
    let uncached = plain("--no-cache-filter=other");
    assert!(
        uncached.contains("RUN echo other >/v\n#4 DONE") || uncached.contains("RUN echo other >/v\n#5 DONE"),
        "{uncached}"
    );
    assert_eq!(
        plain("--no-cache=true").matches("CACHED").count(),
        1,
        "only the base"
    );
    assert!(!plain("--no-cache=false --pull=false").contains("DONE 1"));
}

#[test]
fn named_contexts_replace_images() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", "FROM thing\nRUN true\n");
    world.ok("build -q --build-context thing=docker-image://busybox -t one context");
    world.ok("save --format oci-dir -o layout one");
    let layout = format!(
        "build -q --build-context thing=oci-layout://{} -t two context",
        world.path("layout").display()
    );
    world.ok(&layout);
    world.ok("tag one more");
    world.ok("save --format oci-dir -o layout one more");
    world.ok(&layout);
    assert!(
        world
            .fails("build --build-context thing=oci-layout://nowhere context", 1)
            .contains("nowhere")
    );
}

#[test]
fn another_platform_builds_as_long_as_nothing_runs() {
    let Some(world) = World::new() else { return };
    let (platform, arch) = match std::env::consts::ARCH {
        "x86_64" => ("linux/arm64", "arm64"),
        _ => ("linux/amd64", "amd64"),
    };
    world.write("context/Dockerfile", "FROM multi\nCOPY Dockerfile /d\n");
    world.ok(&format!("build -q --platform {platform} -t foreign context"));
    assert_eq!(
        world.ok("inspect -f {{.Architecture}} foreign"),
        format!("{arch}\n")
    );
    let mut command = world.command();
    command
        .env("DOCKER_DEFAULT_PLATFORM", platform)
        .args(["build", "-q", "-t", "again", "context"]);
    assert_eq!(outcome(&mut command).code, 0);
    assert_eq!(
        world.ok("inspect -f {{.Architecture}} again"),
        format!("{arch}\n")
    );
    let missing = world.fails("build --platform linux/s390x context", 1);
    assert!(missing.contains("linux/s390x"), "{missing}");
}

#[test]
fn source_date_epoch_makes_equal_images() {
    let Some(world) = World::new() else { return };
    world.write(
        "context/Dockerfile",
        "FROM busybox\nRUN date +%N >/dev/null; echo x >/x\n",
    );
    let build = || {
        let mut command = world.command();
        command
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["build", "-q", "--no-cache", "context"]);
        outcome(&mut command).stdout
    };
    let first = build();
    assert!(first.starts_with("sha256:"));
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(build(), first);
    assert_eq!(
        world.ok("images --format {{.CreatedAt}}"),
        "2023-11-14 22:13:20 +0000 UTC\n"
    );
}

#[test]
fn unchanged_files_are_linked_only_where_nothing_else_wrote_them() {
    let Some(world) = World::new() else { return };
    let archive = |files: &[(&str, &str)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        std::fs::write(world.path("context/b.tar"), archive.into_inner().unwrap()).unwrap();
    };
    let output = || {
        world.build("FROM scratch\nADD a b.tar c /d/\n", "-q -o out");
        ["a", "c"].map(|name| world.read(&format!("out/d/{name}")))
    };
    world.write("context/a", "from the context\n");
    world.write("context/c", "first\n");
    archive(&[("a", "from the archive\n"), ("c", "from the archive\n")]);
    assert_eq!(output(), ["from the archive\n", "first\n"]);
    archive(&[("x", "another\n")]);
    assert_eq!(output(), ["from the context\n", "first\n"]);
    world.write("context/c", "second\n");
    assert_eq!(output(), ["from the context\n", "second\n"]);
}

#[test]
fn a_build_that_is_cached_leaves_nothing_to_carry_to_the_disk() {
    let Some(world) = World::new() else { return };
    let dockerfile = "FROM busybox\nRUN echo x >/x\n";
    world.build(dockerfile, "-q -t app");
    let store = distil_store::Store::open(&world.path("store")).unwrap();
    // Whoever would do the upkeep now has to wait.
    let _alone = store.lock("upkeep", distil_store::LockMode::Exclusive).unwrap();
    store.sync().unwrap();
    assert!(!store.needs_upkeep(u64::MAX).unwrap());
    world.build(dockerfile, "-q -t app");
    assert!(!store.needs_upkeep(u64::MAX).unwrap(), "the same again");
    world.build(dockerfile, "-q -t other");
    assert!(store.needs_upkeep(u64::MAX).unwrap(), "another name");
}

#[test]
fn a_cached_build_is_stored_with_and_without_rewritten_times() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", "FROM busybox\nRUN echo x >/x\n");
    let build = |output: &str| {
        let mut command = world.command();
        command
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(["build", "-q", "-o", output, "context"]);
        let outcome = outcome(&mut command);
        assert_eq!(outcome.code, 0, "{output}: {outcome:?}");
        outcome.stdout
    };
    let rewritten = build("type=image");
    // Cached, but nobody has hashed the layer with its own times.
    assert_ne!(build("type=image,rewrite-timestamp=false"), rewritten);
    assert_eq!(build("type=image"), rewritten);
}

#[test]
fn devices_of_an_archive_that_cannot_be_made_are_told() {
    let Some(world) = World::new() else { return };
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["null", "zero"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Char);
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(0);
        header.set_mode(0o666);
        archive.append_data(&mut header, name, &b""[..]).unwrap();
    }
    world.write("context/Dockerfile", "FROM scratch\nADD devices.tar /dev/\n");
    std::fs::write(world.path("context/devices.tar"), archive.into_inner().unwrap()).unwrap();
    let outcome = outcome(world.command().args(["build", "--progress", "plain", "context"]));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let told = outcome
        .stderr
        .contains("WARNING: device `/dev/null` and 1 more of the archive left out");
    assert_eq!(told, !rustix::process::geteuid().is_root(), "{outcome:?}");
}
