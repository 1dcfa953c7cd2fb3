//! The build checks: told at the end of a build, asked for with `--check`.

use serde_json::Value;

use crate::world::{World, stable};

/// One finding of the text alone, one of a lowered stage, one of a stage that is not built.
const HABITS: &str = "FROM scratch AS unused\nWORKDIR rel\nFROM busybox AS App\nENV A=$NOPE\n";

#[test]
fn a_build_lists_what_the_checks_found_also_when_it_is_cached() {
    let Some(world) = World::new() else { return };
    world.write("context/Dockerfile", HABITS);
    let list = "\n 2 warnings found (use --debug to expand):\n \
                - StageNameCasing: Stage name 'App' should be lowercase (line 3)\n \
                - UndefinedVar: Usage of undefined variable '$NOPE' (line 4)\n";
    for round in ["new", "cached"] {
        let built = world.distil(["build", "--progress=plain", "-t", "app", "context"]);
        assert_eq!(built.code, 0, "{built:?}");
        assert!(built.stderr.ends_with(list), "{round}: {}", built.stderr);
        let live = "#1 WARN: StageNameCasing: Stage name 'App' should be lowercase (line 3)\n";
        assert!(stable(&built.stderr).contains(live), "{}", built.stderr);
    }
    let debug = world.distil(["build", "-D", "--progress=plain", "-t", "app", "context"]);
    let expanded = "\n 2 warnings found:\n - StageNameCasing: Stage name 'App' should be lowercase (line 3)\n\
                    Stage names should be lowercase\n\
                    More info: https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n\
                    Dockerfile:3\n--------------------\n";
    assert!(debug.stderr.contains(expanded), "{}", debug.stderr);
    let quiet = world.distil(["build", "-q", "-t", "app", "context"]);
    assert_eq!(quiet.stderr, "");
    let raw = world.distil(["build", "--progress=rawjson", "-t", "app", "context"]);
    let warnings: Vec<Value> = raw
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|status| status["warnings"].is_array())
        .collect();
    assert_eq!(warnings.len(), 2, "{}", raw.stderr);
    let first = &warnings[0]["warnings"][0];
    assert_eq!(first["range"][0]["start"]["line"], 3);
    assert_eq!(first["sourceInfo"]["filename"], "Dockerfile");
    assert_eq!(first["level"], 1);
}

#[test]
fn warnings_refuse_a_build_that_asks_for_it() {
    let world = World::without_builds();
    world.write(
        "context/Dockerfile",
        "# check=error=true\nFROM scratch\nMAINTAINER me\n",
    );
    let refused = world.fails("build --progress=plain context", 1);
    assert!(refused.contains(" - MaintainerDeprecated: "), "{refused}");
    assert!(
        refused.contains("ERROR: lint violation found for rules: MaintainerDeprecated"),
        "{refused}"
    );
    world.fails("build --check context", 1);
    let skipped = "build --check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=all;error=true context";
    assert_eq!(world.ok(skipped), "Check complete, no warnings found.\n");
}

#[test]
fn check_looks_at_every_stage_and_builds_nothing() {
    let world = World::without_builds();
    world.write("context/Dockerfile", HABITS);
    let checked = world.distil(["build", "--check", "context"]);
    assert_eq!(checked.code, 1);
    let expected = "Check complete, 3 warnings have been found!\n\n\
                    WARNING: WorkdirRelativePath - https://docs.docker.com/go/dockerfile/rule/workdir-relative-path/\n\
                    Relative workdir \"rel\" can have unexpected results if the base image changes\n\
                    Dockerfile:2\n--------------------\n";
    assert!(checked.stdout.starts_with(expected), "{}", checked.stdout);
    assert!(!checked.stderr.contains("exporting"), "{}", checked.stderr);
    let target = world.distil(["build", "--check", "--target=app", "context"]);
    assert!(
        target
            .stdout
            .starts_with("Check complete, 2 warnings have been found!\n")
    );
    let json = world.distil(["build", "--call=check,format=json", "context"]);
    assert_eq!(json.code, 1);
    let answer: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(answer["warnings"][0]["ruleName"], "WorkdirRelativePath");
    assert_eq!(answer["warnings"][2]["location"]["ranges"][0]["start"]["line"], 4);
    assert_eq!(answer["sources"][0]["filename"], "Dockerfile");
    world.ok("build --call=check,ignorestatus=true context");
    world.write("context/Dockerfile", "FROM scratch\n");
    assert_eq!(
        world.ok("build --check context"),
        "Check complete, no warnings found.\n"
    );
}

#[test]
fn check_tells_what_a_build_would_be_refused_for() {
    let world = World::without_builds();
    world.write(
        "context/Dockerfile",
        "FROM scratch\nMAINTAINER me\nCOPY --from=later a /\nFROM scratch AS later\n",
    );
    let checked = world.distil(["build", "--call=check,format=json", "context"]);
    assert_eq!(checked.code, 1);
    let answer: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(answer["warnings"][0]["ruleName"], "MaintainerDeprecated");
    assert_eq!(answer["buildError"]["location"]["ranges"][0]["start"]["line"], 3);
    assert!(
        checked.stderr.contains(">>> COPY --from=later a /"),
        "{}",
        checked.stderr
    );
    world.write("context/Dockerfile", "FROM scratch\nRAN x\n");
    let wrong = world.fails("build --check context", 1);
    assert!(wrong.contains("did you mean `RUN`?"), "{wrong}");
}

#[test]
fn check_asks_no_registry_for_what_does_not_matter() {
    let world = World::without_builds();
    // Nobody has this image; a look-up would say so.
    world.write(
        "context/Dockerfile",
        "FROM registry.invalid/none:1 AS App\nENV A=1\nENV B=$A\nCMD [\"x\"]\n",
    );
    let checked = world.distil(["build", "--check", "--progress=plain", "context"]);
    assert!(
        checked
            .stdout
            .starts_with("Check complete, 1 warning has been found!\n"),
        "{checked:?}"
    );
    assert!(!checked.stderr.contains("registry.invalid"), "{}", checked.stderr);
    // The variable may come from the base.
    world.write(
        "context/Dockerfile",
        "FROM registry.invalid/none:1\nENV B=$FROM_BASE\n",
    );
    let checked = world.distil(["build", "--check", "--progress=plain", "context"]);
    assert!(checked.stdout.contains("WARNING: UndefinedVar"), "{checked:?}");
    assert!(
        checked
            .stderr
            .contains("the checks do not know what its config sets"),
        "{}",
        checked.stderr
    );
}

#[test]
fn targets_are_listed() {
    let world = World::without_builds();
    world.write(
        "context/Dockerfile",
        "# build makes the program\nFROM golang AS build\nFROM scratch\n# release is small\nFROM scratch AS Release\n",
    );
    assert_eq!(
        world.ok("build --call=targets context"),
        "TARGET            DESCRIPTION\n\
         build             makes the program\n\
         \n\
         release (default) is small\n"
    );
    let answer: Value = serde_json::from_str(&world.ok("build --call=targets,format=json context")).unwrap();
    assert_eq!(answer["targets"][0]["base"], "golang");
    assert_eq!(answer["targets"][2]["default"], true);
    assert_eq!(answer["targets"][2]["location"]["ranges"][0]["start"]["line"], 5);
    for (call, word) in [
        ("subrequests.describe", "not supported yet"),
        ("nothing", "no method"),
        ("check,color=red", "not known"),
        ("check,targets", "two methods"),
    ] {
        let refused = world.fails(&format!("build --call={call} context"), 2);
        assert!(refused.contains(word), "{refused}");
    }
}

#[test]
fn an_outline_has_what_the_target_can_be_given() {
    let world = World::without_builds();
    world.write(
        "context/Dockerfile",
        "ARG DISTRO=debian\n# VERSION of the base\nARG VERSION=12\nARG IMAGE=${DISTRO}:${VERSION}\nARG OTHER=1\n\
         FROM ${IMAGE} AS build\nARG TARGETARCH\n# MODE fast or small\nARG MODE=fast\n\
         RUN --mount=type=secret,id=token,required=true --mount=type=ssh true\n\
         FROM scratch AS unused\nARG NEVER=1\n\
         # app the program\nFROM scratch AS app\nARG LATE\nCOPY --from=build /x /\n",
    );
    assert_eq!(
        world.ok("build --call=outline --build-arg MODE=small context"),
        "TARGET:      app\nDESCRIPTION: the program\n\n\
         BUILD ARG   VALUE       DESCRIPTION\n\
         DISTRO      debian\n\
         VERSION     12          of the base\n\
         IMAGE       debian:12\n\
         MODE        small       fast or small\n\
         LATE\n\n\
         SECRET   REQUIRED\n\
         token    true\n\n\
         SSH       REQUIRED\n\
         default\n\n"
    );
    let answer: Value =
        serde_json::from_str(&world.ok("build --call=outline,format=json --target=unused context")).unwrap();
    assert_eq!(answer["args"][0]["name"], "NEVER");
    assert_eq!(answer["args"][1], Value::Null);
    assert_eq!(answer["secrets"], Value::Null);
}
