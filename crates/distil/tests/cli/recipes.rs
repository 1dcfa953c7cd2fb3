//! `distil base list` and `show`, and what recipe files are told. Nothing is downloaded here.

use crate::world::World;

#[test]
fn the_list_has_every_family() {
    let world = World::without_builds();
    let table = world.ok("base list");
    let heading = table.lines().next().unwrap();
    assert!(
        heading.starts_with("NAME ") && heading.contains("RUNS"),
        "{heading}"
    );
    let names = world.ok("base ls --format {{.Name}}");
    let names: Vec<&str> = names.lines().collect();
    for family in ["static", "base-nossl", "base", "cc", "python3"] {
        for release in [12, 13] {
            assert!(
                names.contains(&format!("{family}-debian{release}").as_str()),
                "{names:?}"
            );
        }
    }
    for name in [
        "java17-debian12",
        "java21-debian13",
        "java25-debian13",
        "nodejs18-debian12",
        "nodejs20-debian13",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert!(
        !names
            .iter()
            .any(|name| name.contains("upstream") || name.contains("java-base"))
    );
    for line in world.ok("base list --format json").lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["Variants"].as_array().unwrap().len(), 8, "{line}");
        assert!(
            row["Size"].as_u64() > row["Slim"].as_u64() && row["Version"].is_string(),
            "{line}"
        );
        assert!(
            row["Packages"].as_array().unwrap().contains(&"tzdata".into()),
            "{line}"
        );
    }
}

#[test]
fn a_spec_is_shown_by_any_of_its_names() {
    let world = World::without_builds();
    let shown = |target: &str| -> serde_json::Value {
        serde_json::from_str(&world.ok(&format!("base show --format json {target}"))).unwrap()
    };
    for (target, name) in [
        ("static", "static-debian13:latest"),
        ("java17", "java17-debian12:latest"),
        ("base-debian12:slim-nonroot", "base-debian12:slim-nonroot"),
        ("gcr.io/distroless/cc-debian12:debug-arm64", "cc-debian12:debug"),
        ("distil/python3", "python3-debian13:latest"),
        (
            "--release 12 --variant nonroot python3",
            "python3-debian12:nonroot",
        ),
        ("--platform linux/arm64 base", "base-debian13:latest"),
    ] {
        assert_eq!(shown(target)["name"], name, "{target}");
    }
    assert_eq!(shown("cc-debian12:debug-arm64")["architecture"], "arm64");
    assert_eq!(shown("--layers per-package static")["layout"], "per-package");
    let text = world.ok("base show java21-debian13:nonroot");
    for expected in [
        "image:        java21-debian13:nonroot\n",
        "\n  openjdk-21-jre-headless\n",
        "\n  entrypoint [\"/usr/bin/java\",\"-jar\"]\n",
        "Eclipse Temurin",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_name_without_recipe_is_told_the_nearest() {
    let world = World::without_builds();
    for (target, expected) in [
        ("java11", "`distil/java17-debian12:latest`"),
        (
            "gcr.io/distroless/java17-debian13",
            "`gcr.io/distroless/java17-debian12:latest`: Debian 12 and not 13",
        ),
        ("nodejs22-debian12", "it is nodejs18 and not nodejs22"),
        ("ubuntu", "`distil base list` shows all"),
    ] {
        let error = world.fails(&format!("base show {target}"), 1);
        assert!(error.contains("there is no recipe for"), "{error}");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for (arguments, code) in [
        ("static --release sid", 2),
        ("static --variant tiny", 2),
        ("static --layers many", 2),
        ("static --format yaml", 2),
        ("static --platform linux/riscv64", 1),
        ("java17 --release 13", 1),
        ("./missing.yaml", 1),
    ] {
        world.fails(&format!("base show {arguments}"), code);
    }
}

#[test]
fn a_mistake_in_a_recipe_is_told_with_its_line() {
    let world = World::without_builds();
    for (text, expected) in [
        (
            "name: a\nextends: base\npakages: [x]\n",
            "my.yaml:3: unknown key `pakages` in the recipe; did you mean `packages`?",
        ),
        (
            "name: a\nextends: bass\n",
            "my.yaml:2: there is no recipe `bass` to extend; did you mean `base`?",
        ),
        ("name: a\nresolve: [\n", "my.yaml:"),
        (
            "name: a\nfiles:\n  - path: etc/a\n    content: x\n",
            "my.yaml:3: `files.path` cannot be `etc/a`",
        ),
    ] {
        world.write("my.yaml", text);
        for command in ["base show", "base build -t x"] {
            let error = world.fails(&format!("{command} my.yaml"), 1);
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
    assert!(
        !world.path("store").exists(),
        "nothing is made of a recipe that is wrong"
    );
}

#[test]
fn a_recipe_file_extends_another() {
    let world = World::without_builds();
    world.write(
        "recipes/my.yaml",
        "name: my/app\nextends: ./shared.yaml\npackages: [libpq5]\n",
    );
    world.write(
        "recipes/shared.yaml",
        "name: shared\nextends: base\nrelease: bookworm\nvariants: {debug: {labels: {a: b}}}\n",
    );
    let text = world.ok("base show recipes/my.yaml --variant debug");
    for expected in [
        "image:        my/app\n",
        "recipes/my.yaml < recipes/shared.yaml < base.yaml",
        "release:      bookworm\n",
        "\n  libpq5\n",
        "\n  label a=b\n",
        "busybox in /busybox",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn the_recipes_of_the_documentation_compose() {
    let world = World::without_builds();
    let text = include_str!("../../../../docs/recipes.md");
    let blocks = text
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let recipes: Vec<&str> = blocks.filter(|block| block.starts_with("name:")).collect();
    assert_eq!(recipes.len(), 2);
    for recipe in recipes {
        world.write(
            "my.yaml",
            &recipe.replace("<64 digits, from SHASUMS256.txt beside it>", &"0".repeat(64)),
        );
        world.ok("base show my.yaml");
    }
}

#[test]
fn the_base_for_a_project_is_named_with_the_lines_to_write() {
    let world = World::without_builds();
    world.write(
        "app/package.json",
        "{\"engines\": {\"node\": \">=20\"}, \"main\": \"server.js\"}",
    );
    let text = world.ok("base for app");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0], "FROM gcr.io/distroless/nodejs20-debian13:nonroot",
        "{text}"
    );
    assert_eq!(lines[1], "COPY --from=build /app /app", "{text}");
    for part in [
        "start: CMD [\"/app/server.js\"]",
        "`package.json` asks for Node.js `>=20`",
        "distil/nodejs20-debian13:slim-nonroot",
        "`nodejs18-debian12`, has Node.js 18",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&world.ok("base for --format json app")).unwrap();
    assert_eq!(json["base"], "gcr.io/distroless/nodejs20-debian13:nonroot");
    assert_eq!(json["lines"][1], "COPY --from=build /app /app");
    world.write("run", "#!/bin/sh\n");
    assert!(world.fails("base for run", 1).contains("no distroless base has"));
    assert!(world.fails("base for context", 1).contains("go.mod"));
    assert!(
        world
            .fails("base for app --format yaml", 2)
            .contains("`text` and `json`")
    );
}
