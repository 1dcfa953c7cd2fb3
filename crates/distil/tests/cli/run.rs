//! `distil run` without a terminal.

use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::world::{World, fed, outcome};

fn world() -> Option<World> {
    let world = World::new()?;
    world.build(
        "FROM busybox\nENV A=image\nWORKDIR /work\nRUN touch /work/f\n",
        "-q -t app",
    );
    Some(world)
}

#[test]
fn exit_codes_are_dockers() {
    let Some(world) = world() else { return };
    for (line, code, says) in [
        ("run app true", 0, ""),
        ("run --rm app sh -c exit${IFS}7", 7, ""),
        ("run app sh -c kill${IFS}-9${IFS}$$", 137, ""),
        ("run app no-such-program", 127, "`no-such-program`"),
        ("run app /etc", 126, "directory"),
        ("run app /work/f", 126, "permission denied"),
        ("run -u nobody-here app true", 125, "nobody-here"),
        ("run --network nope app true", 125, "`--network nope`"),
        ("run -it app true", 125, "not a terminal"),
        (
            "run --bases registry localhost:1/nope true",
            125,
            "localhost:1/nope",
        ),
    ] {
        let outcome = world.distil(line.split(' '));
        assert_eq!(outcome.code, code, "distil {line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "distil {line}: {outcome:?}");
    }
}

#[test]
fn what_follows_the_image_is_the_programs() {
    let Some(world) = world() else { return };
    for flag in ["--version", "--help", "-it", "--"] {
        let outcome = world.distil(["run", "--entrypoint", "echo", "app", flag, "x"]);
        assert_eq!(outcome.stdout, format!("{flag} x\n"), "{outcome:?}");
    }
    let help = world.ok("run --help");
    assert!(
        help.contains("Usage: distil run [OPTIONS] <IMAGE> [ARG]..."),
        "{help}"
    );
    assert!(world.fails("run --nonsense app", 125).contains("--nonsense"));
    assert!(world.fails("run", 125).contains("IMAGE"));
}

#[test]
fn options_reach_the_program() {
    let Some(world) = world() else { return };
    world.write("mounted/f", "from the host\n");
    let volume = format!("{}:/m:ro", world.path("mounted").display());
    for (arguments, output) in [
        (&["app", "sh", "-c", "pwd"][..], "/work\n"),
        (&["-w", "/tmp", "app", "sh", "-c", "pwd"], "/tmp\n"),
        (&["-e", "A=given", "app", "sh", "-c", "echo $A"], "given\n"),
        (&["app", "sh", "-c", "echo $A $0 $HOSTNAME"], "image sh distil\n"),
        (
            &[
                "-e",
                "PASSED",
                "-e",
                "MISSING",
                "app",
                "sh",
                "-c",
                "echo $PASSED ${MISSING-unset}",
            ],
            "along unset\n",
        ),
        (&["-u", "5:6", "app", "sh", "-c", "id -u; id -g"], "5\n6\n"),
        (&["--entrypoint", "/bin/echo", "app", "a", "b"], "a b\n"),
        (
            &["--hostname", "box", "app", "cat", "/proc/sys/kernel/hostname"],
            "box\n",
        ),
        (&["-v", &volume, "app", "cat", "/m/f"], "from the host\n"),
        (
            &[
                "-v",
                &volume,
                "app",
                "sh",
                "-c",
                "touch /m/g 2>/dev/null || echo refused",
            ],
            "refused\n",
        ),
        (
            &["--network", "none", "app", "sh", "-c", "ls /sys/class/net"],
            "lo\n",
        ),
        (&["app", "sh", "-c", "touch /gone; echo ok"], "ok\n"),
        (
            &["app", "sh", "-c", "ls /gone 2>/dev/null || echo gone"],
            "gone\n",
        ),
    ] {
        let mut command = world.command();
        let outcome = outcome(command.env("PASSED", "along").arg("run").args(arguments));
        assert_eq!(outcome.stdout, output, "{arguments:?}: {outcome:?}");
    }
}

#[test]
fn standard_input_is_open_only_with_i() {
    let Some(world) = world() else { return };
    let with = fed(world.command().args(["run", "-i", "app", "cat"]), b"typed\n");
    assert_eq!((with.code, with.stdout.as_str()), (0, "typed\n"));
    let without = fed(world.command().args(["run", "app", "cat"]), b"typed\n");
    assert_eq!((without.code, without.stdout.as_str()), (0, ""));
}

#[test]
fn signals_are_passed_on() {
    let Some(world) = world() else { return };
    // What stops a program, and in which ways, is in `stopping`.
    for (script, code) in [
        ("sleep 20", 143),
        ("trap 'exit 9' TERM; echo ready; sleep 20 & wait", 9),
    ] {
        let mut child = world
            .command()
            .args(["run", "app", "sh", "-c", &format!("touch /tmp/x; {script}")])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(700));
        let begun = Instant::now();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{script}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{script}");
    }
}

#[test]
fn another_user_can_open_its_output_again_where_that_is_a_file() {
    let Some(world) = world() else { return };
    let script = "echo 1; echo 2 >>/dev/stdout; echo 3 >&2; echo 4 >>/dev/stderr; echo 5; exit 6";
    for user in ["0", "65532:65532", "nobody"] {
        // One file for both streams, opened twice here as by `>log 2>>log`, and one for each.
        for (second, kept, other) in [("log", "1\n2\n3\n4\n5\n", ""), ("errors", "1\n2\n5\n", "3\n4\n")] {
            let (log, errors) = (world.path("log"), world.path("errors"));
            let open = |path| {
                let mut options = std::fs::OpenOptions::new();
                options.create(true).append(true).mode(0o600).open(path).unwrap()
            };
            std::fs::write(&log, "").unwrap();
            std::fs::write(&errors, "").unwrap();
            let status = world
                .command()
                .args(["run", "-u", user, "app", "sh", "-c", script])
                .stdout(open(world.path("log")))
                .stderr(open(world.path(second)))
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(6), "{user} {second}");
            assert_eq!(std::fs::read_to_string(&log).unwrap(), kept, "{user} {second}");
            assert_eq!(
                std::fs::read_to_string(&errors).unwrap(),
                other,
                "{user} {second}"
            );
        }
    }
}

#[test]
fn images_from_scratch_run() {
    let Some(world) = World::new() else { return };
    world.build(
        "FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /busybox\nENTRYPOINT [\"/busybox\", \"echo\"]\nCMD [\"default\"]\n",
        "-q -t tiny",
    );
    assert_eq!(world.ok("run tiny"), "default\n");
    assert_eq!(world.ok("run tiny a b"), "a b\n");
}

#[test]
fn a_read_only_root_with_memory_and_volumes() {
    let Some(world) = world() else { return };
    world.write("data/f", "kept\n");
    let volume = format!("{}:/data", world.path("data").display());
    let script = "for f in /x /work/x /etc/x /data/x /mem/x /tmp/deep/x /dev/shm/x; do \
                  touch $f 2>/dev/null && echo yes $f || echo no $f; done; stat -c '%a %u:%g' /mem";
    let outcome = world.distil([
        "run",
        "--read-only",
        "--tmpfs",
        "/mem:size=1m,mode=0750,uid=5,gid=6,noexec",
        "--tmpfs=/tmp/deep",
        "-v",
        &volume,
        "-w",
        "/new/folder",
        "app",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(
        outcome.stdout,
        "no /x\nno /work/x\nno /etc/x\nyes /data/x\nyes /mem/x\nyes /tmp/deep/x\nyes /dev/shm/x\n750 5:6\n",
        "{outcome:?}"
    );
    assert!(world.path("data/x").exists());
    let outcome = world.distil([
        "run",
        "--read-only",
        "--tmpfs",
        "/run",
        "-u",
        "65532",
        "app",
        "sh",
        "-c",
        "id -u; touch /run/x || echo no",
    ]);
    assert_eq!(outcome.stdout, "65532\n", "{outcome:?}");
    let outcome = world.distil([
        "run",
        "--tmpfs",
        "/t:noexec",
        "app",
        "sh",
        "-c",
        "cp /bin/true /t; /t/true",
    ]);
    assert_eq!(outcome.code, 126, "{outcome:?}");
}

#[test]
fn variables_come_from_files_too() {
    let Some(world) = world() else { return };
    world.write(
        "env",
        "# a comment\n\nA=from file\nB= x \nPASSED\nMISSING\nC=a=b#c\n",
    );
    let script = "echo \"$A|$B|$PASSED|${MISSING-unset}|$C\"";
    let mut command = world.command();
    command.env("PASSED", "along");
    let told = outcome(command.args([
        "run",
        "--env-file",
        "env",
        "-e",
        "C=given",
        "app",
        "sh",
        "-c",
        script,
    ]));
    assert_eq!(told.stdout, "from file| x |along|unset|given\n", "{told:?}");
    world.write("env", "A=1\nBAD NAME=2\n");
    assert!(world.fails("run --env-file env app true", 125).contains("line 2"));
    assert!(
        world
            .fails("run --env-file none app true", 125)
            .contains("`none`")
    );
}

#[test]
fn dockers_flags_that_need_nothing_are_accepted() {
    let Some(world) = world() else { return };
    let port = free_port();
    let line = format!("run --init --rm -q --name one -p {port}:{port} app echo ok");
    assert_eq!(world.ok(&line), "ok\n");
    let told = world.fails("run -p 8080:80 app true", 125);
    assert!(
        told.contains("network of this machine") && told.contains("-p 80:80"),
        "{told}"
    );
    assert!(
        world
            .fails("run --network none -p 80:80 app true", 125)
            .contains("`-p 80:80`")
    );
    let mut first = world.command();
    let mut first = first
        .args(["run", "-i", "--name", "one", "app", "sh", "-c", "echo up; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(first.stdout.as_mut().unwrap(), &mut up).unwrap();
    let told = world.fails("run --name one app true", 125);
    assert!(
        told.contains("a program with the name `one` is running"),
        "{told}"
    );
    drop(first.stdin.take());
    first.wait().unwrap();
    world.ok("run --name one app true");
}

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

#[test]
fn a_port_that_is_taken_is_told_before_the_program_starts() {
    let Some(world) = world() else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let told = world.fails(&format!("run -p {port}:{port} app echo started"), 125);
    let who = format!("(process {}) listens on 127.0.0.1:{port}/tcp", std::process::id());
    assert!(
        told.contains(&format!("port {port} is taken: ")) && told.contains(&who) && told.contains("hint: "),
        "{told}"
    );
    // Also in the middle of a range; another protocol has ports of its own.
    world.fails(&format!("run -p {0}-{port}:{0}-{port} app true", port - 1), 125);
    world.ok(&format!("run -p {port}:{port}/udp app true"));
    drop(taken);
    world.ok(&format!("run -p {port}:{port} app true"));
}

#[test]
fn what_is_no_directory_no_variable_and_no_host_is_told() {
    let Some(world) = world() else { return };
    for (line, says) in [
        ("run -w work app pwd", "`-w work` is no absolute path"),
        ("run -e =x app true", "`-e =x` has no name"),
        ("run --add-host db app true", "`--add-host db`"),
        ("run --shm-size big app true", "`--shm-size big`"),
        ("run -d app true", "it starts one program and ends with it"),
        ("run --mount type=bind app true", "-v SOURCE:TARGET"),
        ("run --privileged app true", "never less"),
        ("run -h", "--help"),
    ] {
        let told = world.fails(line, 125);
        assert!(told.contains(says), "{line}: {told}");
    }
    let none = outcome(world.command().args(["run", "--entrypoint", "", "app"]));
    assert!(
        none.code == 125 && none.stderr.contains("empty `--entrypoint`"),
        "{none:?}"
    );
    let hosts = world.ok("run --add-host db:192.0.2.7 --add-host v6=2001:db8::1 app cat /etc/hosts");
    assert!(
        hosts.contains("192.0.2.7\tdb\n") && hosts.contains("2001:db8::1\tv6\n"),
        "{hosts}"
    );
    let name = world.ok("run -h box app cat /proc/sys/kernel/hostname");
    assert_eq!(name, "box\n");
    let memory = world.ok("run --shm-size 1m app grep /dev/shm /proc/mounts");
    assert!(memory.contains("size=1024k"), "{memory}");
}

#[test]
fn programs_that_cannot_run_are_told_of_with_the_reason() {
    let Some(world) = World::new() else { return };
    // A program for another machine, as far as the kernel looks: ELF, 64 bit, little-endian, machine 0x1f4.
    let mut elf = vec![0u8; 64];
    elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xf4\x01");
    std::fs::write(world.path("context/foreign"), &elf).unwrap();
    world.write("context/script", "#!/usr/bin/no-such-shell\n");
    world.build(
        "FROM scratch\nCOPY --chmod=755 foreign script /\nENTRYPOINT [\"/foreign\"]\n",
        "-q --preflight=off -t bare",
    );
    let told = world.fails("run bare", 126);
    assert!(
        told.contains("`/foreign`: exec format error: it is a program for"),
        "{told}"
    );
    let told = world.fails("run --entrypoint /script bare", 127);
    assert!(
        told.contains("its interpreter `/usr/bin/no-such-shell` is missing"),
        "{told}"
    );
    for shell in ["sh", "/bin/bash"] {
        let told = world.fails(&format!("run --entrypoint {shell} bare"), 127);
        assert!(
            told.contains("hint: the image has no shell: `distil debug bare`"),
            "{told}"
        );
    }
}

#[test]
fn several_services_run_side_by_side_as_one_user_with_read_only_roots() {
    let Some(world) = World::new() else { return };
    world.build(
        "FROM busybox\nRUN mkdir /data && touch /data/of-the-image && chown -R 65532:65532 /data\nVOLUME /data\n\
         CMD [\"sh\", \"-c\", \"touch /new 2>/dev/null || echo $NAME >/data/name; cat /data/name; ls -A /data; id -u; cat\"]\n",
        "-q -t service",
    );
    let mut running = Vec::new();
    for name in ["front", "back", "database"] {
        let mut command = world.command();
        let variable = format!("NAME={name}");
        let child = command
            .args([
                "run",
                "-i",
                "--read-only",
                "-u",
                "65532",
                "--name",
                name,
                "-e",
                &variable,
                "service",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        running.push((name, child));
    }
    for (name, mut child) in running {
        // All of them run until now.
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(text, format!("{name}\nname\nof-the-image\n65532\n"));
        assert!(output.status.success());
    }
    // What they wrote went with them.
    assert_eq!(world.ok("run --read-only service ls -A /data"), "of-the-image\n");
}
