//! Arguments, variables, config files, closed pipes.

use std::io::Read as _;
use std::process::Stdio;

use crate::world::{World, outcome};

#[test]
fn wrong_arguments_are_named() {
    let world = World::without_builds();
    for (line, code, says) in [
        ("", 2, "Usage: distil"),
        ("nope", 2, "unrecognized subcommand 'nope'"),
        ("build", 2, "<CONTEXT>"),
        ("build --push .", 2, "`--push` is a flag of buildx"),
        ("buildx build --cache-to type=inline .", 2, "`--cache-to`"),
        ("image build --provenance=true .", 2, "`--provenance`"),
        ("build -m 1g .", 2, "`-m`"),
        ("build -o type=nope .", 2, "`nope` is no type"),
        ("build -t A .", 2, "`A` is no image name"),
        ("build --build-arg =x .", 2, "`--build-arg =x`"),
        (
            "build --platform linux/amd64,linux/arm64 .",
            2,
            "several platforms",
        ),
        ("build --network nope .", 2, "`--network nope`"),
        ("build --add-host x .", 2, "`--add-host x`"),
        ("build --add-host x=nope .", 2, "x=nope"),
        ("build --progress nope .", 2, "nope"),
        ("build --jobs 0 .", 2, "0"),
        ("build nowhere", 1, "build context `nowhere` does not exist"),
        ("build -f nofile context", 1, "`nofile`"),
        ("build context", 1, "-f names a Dockerfile"),
        ("build https://example.invalid/x.git", 2, "not supported yet"),
        ("build --build-context x context", 2, "NAME=VALUE"),
        (
            "build --build-context x=nowhere context",
            1,
            "`nowhere` is not a folder",
        ),
        ("images --filter nope=1", 2, "`nope=1` is no filter"),
        ("images --format {{.Nope", 2, "never closed"),
        ("run", 125, "<IMAGE>"),
        (
            "run --privileged x",
            125,
            "`--privileged` is a flag of `docker run`",
        ),
        ("run -p 80:81 x", 125, "`-p 80:81`"),
        ("run -v a:b x", 125, "absolute path"),
        ("rmi nope", 1, "no such image: `nope`"),
        ("tag nope x", 1, "no such image: `nope`"),
        ("history nope", 1, "no such image: `nope`"),
        ("inspect nope", 1, "no such image: `nope`"),
        ("save nope", 1, "no such image: `nope`"),
        ("load -i nofile", 1, "cannot open `nofile`"),
        ("prune", 2, "--force"),
        ("image prune", 2, "--force"),
        ("reset", 2, "--force"),
        ("completions nope", 2, "nope"),
        ("version --format nope", 2, "`nope` is no format"),
    ] {
        let outcome = world.distil(line.split(' ').filter(|word| !word.is_empty()));
        assert_eq!(outcome.code, code, "distil {line}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "distil {line}: {outcome:?}");
    }
}

#[test]
fn help_version_and_completions_are_printed() {
    let world = World::without_builds();
    assert!(world.ok("--help").contains("Exit codes:"));
    assert!(world.ok("image --help").contains("prune"));
    assert!(world.ok("--version").starts_with("distil "));
    assert!(world.ok("version").starts_with("distil "));
    assert!(world.ok("version --format json").contains("\"Version\":"));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(world.ok(&format!("completions {shell}")).contains("distil"));
    }
}

#[test]
fn a_closed_pipe_ends_silently() {
    let world = World::without_builds();
    for line in [
        "--help",
        "images",
        "completions bash",
        "version",
        "du",
        "build --help",
    ] {
        let mut child = world
            .command()
            .args(line.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "distil {line}");
        assert_eq!(said, "", "distil {line}");
    }
}

#[test]
fn config_files_are_read_and_checked() {
    let world = World::without_builds();
    let root = |name: &str| format!("root = \"{}\"\n", world.path(name).display());
    let images = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = world.command();
        command.env_remove("DISTIL_ROOT").arg("images").args(arguments);
        command.envs(variables.iter().copied());
        outcome(&mut command)
    };
    world.write("home/.config/distil/config.toml", &root("from-file"));
    assert_eq!(images(&[], &[]).code, 0);
    assert!(world.path("from-file").exists());
    let xdg = world.path("xdg").display().to_string();
    world.write("xdg/distil/config.toml", &root("from-xdg"));
    assert_eq!(images(&[("XDG_CONFIG_HOME", &xdg)], &[]).code, 0);
    assert!(world.path("from-xdg").exists());
    assert_eq!(images(&[("DISTIL_ROOT", "from-variable")], &[]).code, 0);
    assert!(world.path("from-variable").exists());
    assert_eq!(
        images(&[("DISTIL_ROOT", "unused")], &["--root", "from-flag"]).code,
        0
    );
    assert!(world.path("from-flag").exists() && !world.path("unused").exists());
    assert_eq!(images(&[("DISTIL_ROOT", "")], &[]).code, 0);

    for (text, says) in [
        ("jobs = 4\n\nmirorr = \"x\"\n", "line 3: unknown field `mirorr`"),
        ("jobs = 0\n", "line 1"),
        ("jobs = 4\nbases = \"nope\"\n", "line 2"),
        ("jobs = \n", "line 1"),
    ] {
        world.write("home/.config/distil/config.toml", text);
        let outcome = images(&[], &[]);
        assert_eq!(outcome.code, 2, "{text}");
        assert!(outcome.stderr.contains("config.toml"), "{outcome:?}");
        assert!(outcome.stderr.contains(says), "{text}: {outcome:?}");
    }
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let world = World::without_builds();
    let empty = [
        "DISTIL_PROGRESS",
        "DISTIL_JOBS",
        "DISTIL_BASES",
        "DISTIL_SNAPSHOTTER",
        "DISTIL_MIRROR",
        "DISTIL_IMAGE_LAYOUT",
        "DOCKER_DEFAULT_PLATFORM",
        "BUILDKIT_PROGRESS",
        "SOURCE_DATE_EPOCH",
    ];
    let mut command = world.command();
    command
        .envs(empty.iter().map(|name| (name, "")))
        .args(["build", "nowhere"]);
    let outcome = outcome(&mut command);
    assert_eq!(outcome.stderr, "ERROR: build context `nowhere` does not exist\n");
}
