//! `distil debug` and `build --on-error=shell`.

use crate::terminal::Terminal;
use crate::world::{World, fed};

/// An image of one file, without a shell or anything else that could be run.
fn world() -> Option<World> {
    let world = World::new()?;
    world.write("context/file", "contents\n");
    world.build(
        "FROM scratch\nCOPY file /app/file\nENV A=image\nWORKDIR /app\nUSER 1234\n",
        "-q -t app",
    );
    Some(world)
}

fn id(world: &World) -> String {
    world.ok("inspect --format {{.Id}},{{.RepoDigests}},{{.RootFS}} app")
}

#[test]
fn an_image_without_programs_is_looked_into() {
    let Some(world) = world() else { return };
    let before = (id(&world), world.ok("ls -R app"));
    for (line, says) in [
        ("debug --toolbox busybox app -- ls /app", "file\n"),
        ("debug --toolbox busybox app ls", "file\n"),
        ("debug --toolbox busybox app -- id -u", "0\n"),
        ("debug --toolbox busybox -u 7:8 app -- id -u", "7\n"),
        (
            "debug --toolbox busybox -w / -e B=2 app -- sh -c echo${IFS}$A${IFS}$B${IFS}$PWD",
            "image 2 /\n",
        ),
        ("debug --toolbox busybox app -- sh -c cat</app/file", "contents\n"),
    ] {
        assert_eq!(world.ok(line), says, "distil {line}");
    }
    // The tools come last, below a folder of their own.
    let path = world.ok("debug --toolbox busybox app -- sh -c echo${IFS}$PATH");
    assert!(
        path.starts_with("/usr/local/sbin:") && path.ends_with(":/.distil-toolbox/bin\n"),
        "{path}"
    );
    assert_eq!(
        world.ok("debug --toolbox busybox app -- sh -c echo>/app/new;ls"),
        "file\nnew\n"
    );
    let input = b"touch made; ls; exit 3\n";
    let shell = fed(
        world.command().args(["debug", "--toolbox", "busybox", "app"]),
        input,
    );
    assert_eq!(
        (shell.code, shell.stdout.as_str()),
        (3, "file\nmade\n"),
        "{shell:?}"
    );
    // Nothing of it is kept: neither in the image, nor mounted, nor in the store.
    assert_eq!((id(&world), world.ok("ls -R app")), before);
    let store = world.path("store");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(store.to_str().unwrap()), "{mounts}");
    assert_eq!(std::fs::read_dir(store.join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_run_has_dockers_codes() {
    let Some(world) = world() else { return };
    for (line, code, says) in [
        (
            "debug --toolbox busybox app -- no-such-program",
            127,
            "`no-such-program`",
        ),
        (
            "debug --toolbox busybox app -- /app/file",
            126,
            "permission denied",
        ),
        (
            "debug --toolbox app app -- ls",
            125,
            "`app` is no toolbox: it has no `sh`",
        ),
        (
            "debug --toolbox busybox --network nope app",
            125,
            "`--network nope`",
        ),
        (
            "debug --toolbox busybox --bases registry localhost:1/nope",
            125,
            "localhost:1/nope",
        ),
        ("debug --toolbox BUSY app", 125, "--toolbox BUSY"),
    ] {
        let error = world.fails(line, code);
        assert!(error.contains(says), "distil {line}: {error}");
    }
}

#[test]
fn a_shell_on_the_terminal() {
    let Some(world) = world() else { return };
    let mut terminal = Terminal::start(&world, &["debug", "--toolbox", "busybox", "app"], 33, 101);
    terminal.expect("Shell in `app`");
    terminal.expect("# ");
    terminal.type_in("tty; stty size; cat file; exit 5\r");
    terminal.expect("/dev/pts/0");
    terminal.expect("33 101");
    terminal.expect("contents");
    assert_eq!(terminal.end(), 5);
}

const FAILING: &str = "\
FROM busybox
WORKDIR /work
ENV A=step
RUN --mount=type=tmpfs,target=/memory echo kept > left && echo gone > /memory/f && echo said && exit 3
";

#[test]
fn a_failed_step_is_looked_into_where_it_failed() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", FAILING);
    let build = [
        "build",
        "--on-error=shell",
        "--toolbox",
        "busybox",
        "-t",
        "app",
        "context",
    ];
    let mut terminal = Terminal::start(&world, &build, 24, 100);
    terminal.expect("exit code: 3");
    terminal.expect("`exit` or Ctrl-D leaves it");
    terminal.expect("# ");
    terminal.type_in("cat left; echo $A in $PWD; ls -d /memory /.distil-toolbox; stty size\r");
    for shown in ["kept", "step in /work", "/.distil-toolbox", "/memory", "24 100"] {
        terminal.expect(shown);
    }
    // Ctrl-C is the shell's and not the build's.
    terminal.type_in("sleep 60\r");
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.type_in("\x03");
    terminal.expect("# ");
    terminal.type_in("touch /fixed; exit\r");
    terminal.expect("did not complete successfully: exit code: 3");
    assert_eq!(terminal.end(), 1);
    assert!(world.fails("ls app", 1).contains("no such image"));
    // Nothing of the step was kept: it runs again, and fails again.
    assert!(world.fails("build context", 1).contains("exit code: 3"));
}

#[test]
fn a_failed_step_without_a_shell_gets_that_of_the_toolbox() {
    let Some(world) = World::new() else { return };
    let dockerfile = "FROM scratch\nCOPY --from=busybox /bin/busybox /false\nUSER 5\nRUN [\"/false\"]\n";
    world.write("context/Dockerfile", dockerfile);
    let build = [
        "build",
        "--on-error=shell",
        "--toolbox",
        "busybox",
        "--progress=plain",
        "context",
    ];
    let mut terminal = Terminal::start(&world, &build, 24, 100);
    terminal.expect("exit code: 1");
    terminal.expect("$ ");
    terminal.type_in("id -u; ls /\r");
    terminal.expect("5\r\n");
    terminal.expect("false");
    terminal.expect("$ ");
    terminal.type_in("\x04");
    terminal.expect("process `/false` did not complete successfully: exit code: 1");
    assert_eq!(terminal.end(), 1);
}

#[test]
fn a_shell_needs_a_terminal() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", FAILING);
    let error = world.fails("build --on-error=shell context", 2);
    assert!(error.contains("--on-error=shell needs a terminal"), "{error}");
    assert!(world.fails("build --on-error=never context", 2).contains("never"));
}
