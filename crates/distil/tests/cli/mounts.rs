//! Mounts of RUN that outlive a build or come from outside: caches, secrets.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, outcome};

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
fn a_stopped_build_leaves_its_cache_mount_usable() {
    let Some(world) = World::new() else { return };
    let mut seen = String::new();
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let mount = "--mount=type=cache,id=k,sharing=locked,target=/c";
        let name = format!("{}", signal.as_raw());
        let text = format!("FROM busybox\nRUN {mount} touch /c/{name} && trap '' INT TERM && sleep 60\n");
        let mut child = start(&world, &name, &text);
        let begun = Instant::now();
        while records(&world, "type=exec.cachemount --filter inuse").is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(500));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            status.code(),
            (signal != Signal::KILL).then_some(128 + signal.as_raw())
        );
        // The next one need not wait for it, and has what was written.
        let stopped = Instant::now();
        world.build(
            &format!("FROM busybox\nRUN {mount} : {name}; ls /c >/seen\n"),
            "-q -t app",
        );
        assert!(
            stopped.elapsed() < Duration::from_secs(10),
            "{:?}",
            stopped.elapsed()
        );
        seen = world.ok("run app cat /seen");
        assert!(seen.lines().any(|line| line == name), "{seen}");
    }
    assert_eq!(seen.lines().count(), 3, "{seen}");
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

/// Whether any file of the store has these bytes.
fn store_has(world: &World, needle: &[u8]) -> bool {
    fn search(folder: &Path, needle: &[u8]) -> bool {
        let mut entries = std::fs::read_dir(folder).unwrap();
        entries.any(|entry| {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                return search(&path, needle);
            }
            metadata.is_file() && {
                let bytes = std::fs::read(&path).unwrap();
                bytes.windows(needle.len()).any(|window| window == needle)
            }
        })
    }
    search(&world.path("store"), needle)
}

#[test]
fn secrets_are_files_and_variables_and_leave_no_trace() {
    let Some(world) = World::new() else { return };
    std::fs::write(world.path("raw"), b"\xff\xfe-raw-secret\n").unwrap();
    let text = "FROM busybox\n\
                RUN --mount=type=secret,id=raw,target=/key,uid=3,gid=4,mode=0440,required=true \
                --mount=type=secret,id=raw,env=RAW --mount=type=secret,id=VARIABLE \
                stat -c '%u:%g %a' /key && head -c 2 /key | od -An -tx1 && cat /run/secrets/VARIABLE && \
                printf %s \"$RAW\" | head -c 2 | od -An -tx1 && sha256sum </key >/sum\n\
                RUN ls -d /key /run/secrets 2>/dev/null | wc -l >/left\n";
    world.write("context/Dockerfile", text);
    let build = |secret: &str, variable: &str| {
        let mut command = world.command();
        command.args(["build", "--progress=plain", "-t", "app", "--secret", secret]);
        outcome(
            command
                .args(["--secret", "id=VARIABLE", "context"])
                .env("VARIABLE", variable),
        )
    };
    let first = build("id=raw,src=raw", "of-the-environment");
    assert_eq!(first.code, 0, "{first:?}");
    for part in [" 3:4 440\n", " of-the-environment"] {
        assert!(first.stderr.contains(part), "{part} in {}", first.stderr);
    }
    assert_eq!(first.stderr.matches("ff fe\n").count(), 2, "{}", first.stderr);
    assert_eq!(world.ok("run app cat /left"), "0\n");
    if rustix::process::geteuid().is_root() {
        assert!(!store_has(&world, b"-raw-secret"));
        assert!(!store_has(&world, b"of-the-environment"));
    }
    // Values are in no key.
    let second = build("id=raw,src=context/Dockerfile", "another");
    assert_eq!(second.stderr.matches(" CACHED\n").count(), 3, "{}", second.stderr);

    let without = world.fails("build --no-cache context", 1);
    assert!(
        without.contains("secret `raw` is required and was not given")
            && without.contains(">>> RUN --mount=type=secret"),
        "{without}"
    );
    std::fs::write(world.path("zero"), b"a\0b").unwrap();
    let zero = world.fails("build --no-cache --secret id=raw,src=zero context", 1);
    assert!(zero.contains("secret `raw` has a zero byte"), "{zero}");
    let missing =
        outcome(
            world
                .command()
                .args(["build", "--no-cache", "--secret=id=raw,src=none", "context"]),
        );
    assert!(
        missing.code == 1 && missing.stderr.contains("`none`"),
        "{missing:?}"
    );
}

/// A self-signed authority that exists for this test alone.
const AUTHORITY: &str = include_str!("authority.pem");

#[test]
fn host_authorities_reach_run_and_leave_no_trace() {
    let Some(world) = World::new() else { return };
    world.write("authority.pem", AUTHORITY);
    let body = AUTHORITY.lines().nth(2).unwrap();
    let text = format!(
        "FROM busybox\nENV PIP_CERT=/own\n\
         RUN mkdir -p /usr/lib/jvm/java-17/lib/security && touch /usr/lib/jvm/java-17/lib/security/cacerts\n\
         RUN echo \"$SSL_CERT_FILE $PIP_CERT [$JAVA_TOOL_OPTIONS]\"; grep -c '{body}' \"$SSL_CERT_FILE\"; \
         cat \"$APT_CONFIG\"; head -c 4 /usr/lib/jvm/java-17/lib/security/jssecacerts | od -An -tx1; \
         stat -c '%a %u:%g' $SSL_CERT_FILE; cp -r /usr/lib/jvm/java-17 /jre; ls /jre/lib/security\n"
    );
    world.write("context/Dockerfile", &text);
    let with = world.distil([
        "build",
        "--progress=plain",
        "--host-ca=authority.pem",
        "-t",
        "with",
        "context",
    ]);
    for part in [
        " /dev/distil/ca.pem /own []\n",
        " 1\n",
        "Acquire::https::CaInfo \"/dev/distil/ca.pem\";\n",
        " fe ed fe ed\n",
        " 444 0:0\n",
    ] {
        assert!(with.stderr.contains(part), "{part:?} in {}", with.stderr);
    }
    // In the image is nothing of it, and the same build without it hits the same cache.
    let without = world.distil(["build", "--progress=plain", "-t", "without", "context"]);
    assert_eq!(
        without.stderr.matches(" CACHED\n").count(),
        3,
        "{}",
        without.stderr
    );
    let id = |name: &str| world.ok(&format!("inspect {name} --format {{{{.Id}}}}"));
    assert_eq!(id("with"), id("without"));
    let seen = world.ok("run with find / -xdev");
    assert!(
        !seen.contains("/jssecacerts") && seen.contains("/lib/security/cacerts"),
        "{seen}"
    );
    let told =
        world.ok("history --no-trunc with") + &world.ok("inspect with") + &world.ok("du --format json");
    assert!(!told.contains("/dev/distil"), "{told}");
    if rustix::process::geteuid().is_root() {
        let certificate: Vec<&str> = AUTHORITY.lines().filter(|line| !line.starts_with('-')).collect();
        for needle in ["/dev/distil", certificate[1], certificate.last().unwrap()] {
            // The step that looks for it names it.
            assert!(
                needle == body || !store_has(&world, needle.as_bytes()),
                "{needle}"
            );
        }
    }
}

#[test]
fn host_authorities_come_from_the_config_file_too() {
    let Some(world) = World::new() else { return };
    world.write("authority.pem", AUTHORITY);
    let path = world.path("authority.pem");
    world.write(
        "home/.config/distil/config.toml",
        &format!("host-ca = \"{}\"\n", path.display()),
    );
    let count = |n: u32| format!("FROM busybox\nRUN : {n}; echo \"[$SSL_CERT_FILE]\"; env\n");
    for (n, arguments, variable, lent) in [
        (1, &[][..], None, true),
        (2, &["--host-ca=false"], None, false),
        (3, &[], Some("false"), false),
        (4, &["--host-ca=none.pem"], None, false),
    ] {
        world.write("context/Dockerfile", &count(n));
        let mut command = world.command();
        command
            .args(["build", "--progress=plain"])
            .args(arguments)
            .arg("context");
        command.envs(variable.map(|value| ("DISTIL_HOST_CA", value)));
        let told = outcome(&mut command);
        assert_eq!(
            told.stderr.contains("[/dev/distil/ca.pem]"),
            lent,
            "{n}: {told:?}"
        );
        assert_eq!(told.code == 0, n != 4, "{told:?}");
        // Every Java would say that it read this one, also to apt's log.
        assert!(!told.stderr.contains("JAVA_TOOL_OPTIONS"), "{told:?}");
        assert_eq!(
            told.stderr.contains("MAVEN_OPTS=-Djavax.net.ssl.trustStore="),
            lent,
            "{told:?}"
        );
    }
    world.write("home/.config/distil/config.toml", "host-ca = 7\n");
    assert!(
        world
            .fails("build context", 2)
            .contains("`true`, `false` or the path of a file")
    );
}

#[test]
fn an_unknown_authority_is_told_with_the_way_out() {
    let Some(world) = World::new() else { return };
    let text = "FROM busybox\nRUN echo 'x509: certificate signed by unknown authority' >&2; \
                for i in $(seq 50); do echo $i; done; exit 1\n";
    world.write("context/Dockerfile", text);
    world.write("authority.pem", AUTHORITY);
    let told = world.fails("build context", 1);
    assert!(
        told.contains("hint: ") && told.contains("`--host-ca` lets it trust"),
        "{told}"
    );
    // Only the last lines are shown again.
    let last = told.split_once("------\n >").unwrap().1;
    assert!(last.contains("\n50\n") && !last.contains("\n29\n"), "{told}");
    let told = world.fails("build --host-ca=authority.pem context", 1);
    assert!(!told.contains("--host-ca"), "{told}");
}

#[test]
fn a_java_that_is_deleted_or_moved_leaves_no_truststore() {
    let Some(world) = World::new() else { return };
    world.write("authority.pem", AUTHORITY);
    let home = "/usr/lib/jvm/java-17";
    let base = format!(
        "FROM busybox AS java\nRUN mkdir -p {home}/lib/security {home}/bin && touch {home}/bin/java \
         {home}/lib/security/cacerts && ln -s java-17 /usr/lib/jvm/default\n"
    );
    let copied = format!("{home} /opt && rm -r {home}");
    for (number, script) in [
        (1, format!("rm -r {home} && ls /usr/lib/jvm")),
        // As a package manager does it, which knows nothing of the file.
        (
            2,
            String::from(
                "cd /usr/lib/jvm && rm default java-17/bin/java java-17/lib/security/cacerts; \
                     for d in /java-17/bin /java-17/lib/security /java-17/lib /java-17 ''; do rmdir /usr/lib/jvm$d || true; done",
            ),
        ),
        (3, format!("mv {home} /opt/")),
        (4, format!("mkdir /opt && cp -a {copied}")),
        (
            5,
            format!("tar -C {home} -cf /java.tar bin && touch {home}/lib/security/more"),
        ),
    ] {
        let text = format!("{base}FROM java\nRUN {script}\n");
        world.write("context/Dockerfile", &text);
        for native in [false, true] {
            let mode = if native { "native" } else { "auto" };
            let list = |name: &str, flag: &str| {
                world.ok(
                    &format!("--snapshotter {mode} build -q --no-cache {flag} -t {name} context")
                        .replace("  ", " "),
                );
                world.ok(&format!("--snapshotter {mode} ls -R {name} /"))
            };
            let with = list("with", "--host-ca=authority.pem");
            assert_eq!(with, list("without", ""), "{number} {mode}");
            assert!(!with.contains("jssecacerts"), "{number} {mode}: {with}");
            let changed = world.ok("diff with without");
            assert!(
                !changed.contains("jvm") && !changed.contains("/opt"),
                "{number} {mode}: {changed}"
            );
        }
    }
}

#[test]
fn what_a_java_that_the_step_installs_lacks_is_told() {
    let Some(world) = World::new() else { return };
    world.write("authority.pem", AUTHORITY);
    world.write(
        "context/Dockerfile",
        "FROM busybox\nRUN echo 'javax.net.ssl.SSLHandshakeException: PKIX path building failed' >&2; exit 1\n",
    );
    let told = world.fails("build --host-ca=authority.pem context", 1);
    assert!(told.contains("hint: Java reads what `--host-ca` lends"), "{told}");
    let told = world.fails("build context", 1);
    assert!(told.contains("`--host-ca` lets it trust"), "{told}");
}

#[test]
fn a_server_that_is_not_reached_is_told_and_the_next_build_goes_on() {
    let Some(world) = World::new() else { return };
    let text = "FROM busybox\nRUN --mount=type=cache,id=registry,target=/c echo first >>/c/log\n\
                RUN --mount=type=cache,id=registry,target=/c echo second >>/c/log; [ -e /c/there ] || \
                wget -q http://registry.invalid/package\nRUN --mount=type=cache,id=registry,target=/c cat /c/log >/log\n";
    world.write("context/Dockerfile", text);
    let told = world.distil(["build", "--progress=plain", "context"]);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.stderr.contains("hint: the step did not reach a server"),
        "{}",
        told.stderr
    );
    assert!(told.stderr.contains(">>> RUN --mount"), "{}", told.stderr);
    world.write(
        "other/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,id=registry,target=/c touch /c/there\n",
    );
    world.ok("build -q other");
    let told = world.distil(["build", "--progress=plain", "-t", "app", "context"]);
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(told.stderr.matches(" CACHED\n").count(), 2, "{}", told.stderr);
    assert_eq!(world.ok("run app cat /log"), "first\nsecond\nsecond\n");
}

#[test]
fn an_agent_is_a_socket_of_the_step() {
    let Some(world) = World::new() else { return };
    let text = "FROM busybox\nRUN --mount=type=ssh,required=true,uid=5,gid=6,mode=0620 \
                stat -c '%F %a %u:%g' $SSH_AUTH_SOCK >/facts\nRUN ls /run 2>/dev/null | wc -l >/left\n";
    world.write("context/Dockerfile", text);
    let told = world.fails("build context", 1);
    assert!(
        told.contains("ssh agent `default` is required and was not given: `--ssh default` gives it"),
        "{told}"
    );
    let agent = world.path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let mut command = world.command();
    command.env("SSH_AUTH_SOCK", &agent);
    let built = outcome(command.args(["build", "-q", "-t", "app", "--ssh", "default", "context"]));
    assert_eq!(built.code, 0, "{built:?}");
    assert_eq!(world.ok("run app cat /facts /left"), "socket 620 5:6\n0\n");
    // The same step without an agent is cached.
    world.ok("build -q context");

    for (argument, says) in [
        ("default", "`SSH_AUTH_SOCK` is not set"),
        ("default=none", "cannot find"),
        ("key=context/Dockerfile", "key files are not supported"),
    ] {
        let told = world.fails(&format!("build --ssh {argument} context"), 2);
        assert!(told.contains(says), "{told}");
    }
    let twice = format!("build --ssh a={0} --ssh a={0} context", agent.display());
    assert!(world.fails(&twice, 2).contains("named before"));
}
