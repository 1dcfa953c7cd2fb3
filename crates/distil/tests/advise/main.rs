//! `distil base for`, proved: what it answers is built with the two lines that it gives, passes the preflight and
//! runs; on the next smaller base the same program does not. `DISTIL_TEST_CASE` picks programs by name. Where a compiler or the archive is missing the test says
//! so and passes. With `DISTIL_TEST_ALL=1` all programs are tried.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell what they skip"
)]

mod cases;
#[path = "../distroless/world.rs"]
#[allow(
    dead_code,
    reason = "shared with the tests of distroless images, which use more of it"
)]
mod world;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use cases::{CASES, Case};
use world::World;

/// What a program writes that runs.
const WELL: &str = "all is well";

#[test]
fn answers_run_and_the_next_smaller_base_does_not() {
    let Some(world) = World::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/distroless/programs")) else {
        return;
    };
    let all = std::env::var_os("DISTIL_TEST_ALL").is_some();
    if !all {
        println!("only some programs are tried: `DISTIL_TEST_ALL` is not set");
    }
    if !world.make("static-debian12") {
        return;
    }
    let mut tried = 0;
    let only = std::env::var("DISTIL_TEST_CASE").unwrap_or_default();
    for case in CASES
        .iter()
        .filter(|case| (all || case.always) && case.name.contains(&only))
    {
        if prepare(&world, case) {
            println!("{}: {}", case.name, case.base);
            check(&world, case);
            tried += 1;
        }
    }
    println!("{tried} of {} programs were tried", CASES.len());
}

/// Writes and compiles a program; false, and told, where there is no compiler.
fn prepare(world: &World, case: &Case) -> bool {
    let folder = world.path(case.name);
    for (path, text) in case.files {
        let path = Path::new(&folder).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for line in case.commands {
        let output = Command::new("sh")
            .args(["-ec", line])
            .current_dir(&folder)
            .env("GOFLAGS", "-mod=mod")
            .output()
            .unwrap();
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            println!("skipped: {}: `{line}`: {}", case.name, error.trim());
            return false;
        }
    }
    true
}

fn check(world: &World, case: &Case) {
    let path = format!("{}/{}", world.path(case.name), case.path);
    let advice: Value =
        serde_json::from_str(&world.distil(&["base", "for", "--format", "json", &path])).unwrap();
    let text = |name: &str| advice[name].as_str().unwrap().to_owned();
    assert_eq!(
        text("base"),
        format!("gcr.io/distroless/{}:nonroot", case.base),
        "{advice}"
    );
    let copy = advice["lines"][1].as_str().unwrap();
    let from = advice["lines"][0].as_str().unwrap();
    let built = build(world, case, &[from, copy, &text("start")], "error");
    assert!(built.status.success(), "{}: {}", case.name, stderr(&built));
    let run = world.command(&["run", "--rm", case.name]);
    let stdout = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && stdout.contains(WELL),
        "{}: {stdout}{}",
        case.name,
        stderr(&run)
    );
    let Some(smaller) = next_smaller(world, case.base) else {
        return;
    };
    let from = format!("FROM gcr.io/distroless/{smaller}:nonroot");
    let built = build(
        world,
        case,
        &[&from, copy, &start_in(&text("start"), case.base, &smaller)],
        "off",
    );
    if built.status.success() {
        let run = world.command(&["run", "--rm", case.name]);
        assert!(!run.status.success(), "{} runs on `{smaller}` too", case.name);
    }
}

/// Builds the last stage `lines` after the stages of a case.
fn build(world: &World, case: &Case, lines: &[&str], preflight: &str) -> Output {
    let folder = world.path(case.name);
    fs::write(
        format!("{folder}/Dockerfile"),
        format!("{}\n{}\n", case.stages, lines.join("\n")),
    )
    .unwrap();
    let preflight = format!("--preflight={preflight}");
    world.command(&[
        "build", "--bases", "packages", &preflight, "-t", case.name, &folder,
    ])
}

/// The base before this one when all are sorted by size.
fn next_smaller(world: &World, base: &str) -> Option<String> {
    let list = world.distil(&["base", "list", "--format", "json"]);
    let mut bases: Vec<(u64, String)> = list
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| {
            (
                row["Size"].as_u64().unwrap(),
                row["Name"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    bases.sort();
    let at = bases.iter().position(|(_, name)| name == base).unwrap();
    at.checked_sub(1).map(|before| bases[before].1.clone())
}

/// The start line for another base: one without an interpreter of the same kind is given the path of the one that is
/// not there.
fn start_in(start: &str, base: &str, other: &str) -> String {
    let kind = |name: &str| {
        ["python3", "java", "nodejs"]
            .into_iter()
            .find(|kind| name.starts_with(kind))
    };
    let Some(own) = kind(base).filter(|own| kind(other) != Some(*own)) else {
        return start.to_owned();
    };
    let program = match own {
        "python3" => "\"/usr/bin/python3\"",
        "java" => "\"/usr/bin/java\", \"-jar\"",
        _ => "\"/nodejs/bin/node\"",
    };
    format!("ENTRYPOINT [{program}]\n{start}")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The table behind `base list` and `base for` is what the images are: a package that changed its size by a fifth, or
/// a library that came or went, means that `images.toml` has to be written anew.
#[test]
fn the_table_of_images_is_true() {
    if std::env::var_os("DISTIL_TEST_ALL").is_none() {
        println!("skipped: `DISTIL_TEST_ALL` is not set");
        return;
    }
    let Some(world) = World::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/distroless/programs")) else {
        return;
    };
    for image in distil_audit::advise::images() {
        if !world.make(&image.name) {
            return;
        }
        let name = format!("distil/{}", image.name);
        let size: u64 = world
            .distil(&["inspect", "--format", "{{.Size}}", &name])
            .trim()
            .parse()
            .unwrap();
        assert!(
            size.abs_diff(image.size) < image.size / 20,
            "{name}: {size}, not {}",
            image.size
        );
        let files = world.distil(&["ls", "-R", "--format", "{{.Path}}", &name, "/"]);
        for library in &image.libraries {
            assert!(
                files.lines().any(|file| file.ends_with(&format!("/{library}"))),
                "{name} has no `{library}`"
            );
        }
    }
}
