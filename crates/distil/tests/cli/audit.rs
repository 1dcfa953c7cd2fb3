//! Images are audited, and builds that do not pass make nothing.

use serde_json::Value;

use crate::world::{World, outcome};

/// Everything that the built-in policy refuses here.
const DOCKERFILE: &str = "FROM busybox AS tools\n\
    RUN cp /bin/busybox /made-here && printf '#!/bin/sh\\n' > /odd && chmod 6755 /odd\n\
    FROM scratch\n\
    COPY --from=tools /made-here /app/tool\n\
    COPY --from=tools /odd /app/odd\n\
    COPY files /app/\n\
    USER 65532\n\
    ENTRYPOINT [\"/app/tool\"]\n";

fn world() -> Option<World> {
    let world = World::new()?;
    world.write("context/files/.env", "TOKEN=x\n");
    world.write("context/files/new\nline\u{1b}[31m.key", "x");
    world.write("context/files/a", "x");
    std::os::unix::fs::symlink("loop", world.path("context/files/loop")).unwrap();
    world.write("context/Dockerfile", DOCKERFILE);
    Some(world)
}

/// Rules of the errors, with their paths.
fn errors(report: &Value) -> Vec<(&str, &str)> {
    let findings = report["Findings"].as_array().unwrap().iter();
    let errors = findings.filter(|finding| finding["Severity"] == "error");
    errors
        .map(|finding| {
            (
                finding["Rule"].as_str().unwrap(),
                finding["Path"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn findings_have_path_layer_instruction_and_stage() {
    let Some(world) = world() else { return };
    world.ok("build -q -t app context");
    let before = world.ok("images -q --no-trunc");
    let found = world.distil(["audit", "--format", "json", "app"]);
    assert_eq!(found.code, 3, "{found:?}");
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(
        (&report["Policy"], &report["Fails"]),
        (&"distroless".into(), &true.into())
    );
    let key = "/app/new\\nline\\u{1b}[31m.key";
    let expected = [
        ("shell", "/app/tool"),
        ("setuid", "/app/odd"),
        ("setgid", "/app/odd"),
        ("secret", "/app/.env"),
        ("secret", key),
    ];
    assert_eq!(errors(&report), expected);
    let finding = &report["Findings"][0];
    assert_eq!(
        (&finding["Layer"], &finding["From"]["Stage"]),
        (&0.into(), &"tools".into())
    );
    assert_eq!(finding["Instruction"], "COPY /made-here /app/tool");
    assert_eq!(finding["From"]["Path"], "/made-here");
    assert!(
        finding["From"]["Instruction"]
            .as_str()
            .unwrap()
            .starts_with("RUN cp /bin/busybox")
    );

    let table = world.distil(["audit", "app"]);
    for line in [
        "error shell: a shell or a multi-call program\n  `/app/tool` is BusyBox",
        "layer 0: COPY /made-here /app/tool (from `tools` /made-here: RUN cp",
        "warning missing-interpreter: ",
        "`/app/loop` leads to `loop` and back to itself",
        "app: 5 errors, ",
        "fails the policy `distroless`\n",
    ] {
        assert!(table.stdout.contains(line), "{line}: {}", table.stdout);
    }
    // Nothing that would act on a terminal, in no form.
    for format in ["table", "json", "sarif"] {
        let text = world.distil(["audit", "--format", format, "app"]).stdout;
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert_eq!(world.ok("images -q --no-trunc"), before);

    world.ok("save -o app.tar app");
    let again = world.distil(["audit", "--format", "json", "./app.tar"]);
    let again: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(errors(&again), expected);
}

#[test]
fn sarif_has_the_form_of_2_1_0() {
    let Some(world) = world() else { return };
    world.ok("build -q -t app context");
    world.write(
        "policy.toml",
        "extends = \"distroless\"\n[[allow]]\nrule = \"secret\"\npaths = [\"/app/*\"]\nreason = \"a test\"\n",
    );
    let found = world.distil(["audit", "--format", "sarif", "--policy", "policy.toml", "app"]);
    let log: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert!(
        log["$schema"]
            .as_str()
            .unwrap()
            .ends_with("sarif-schema-2.1.0.json")
    );
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert_eq!(driver["name"], "distil");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(
            rule["id"].is_string() && rule["shortDescription"]["text"].is_string(),
            "{rule}"
        );
        assert!(matches!(
            rule["defaultConfiguration"]["level"].as_str(),
            Some("note" | "warning" | "error")
        ));
    }
    let results = runs[0]["results"].as_array().unwrap();
    let mut suppressed = 0;
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], rules[index]["id"]);
        assert!(matches!(
            result["level"].as_str(),
            Some("note" | "warning" | "error")
        ));
        assert!(result["message"]["text"].is_string());
        for location in result["locations"].as_array().into_iter().flatten() {
            let artifact = &location["physicalLocation"]["artifactLocation"];
            let uri = artifact["uri"].as_str().unwrap();
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%".contains(&byte);
            assert!(!uri.starts_with('/') && uri.bytes().all(plain), "{uri}");
        }
        if let Some(all) = result["suppressions"].as_array() {
            assert_eq!(
                (&all[0]["kind"], &all[0]["justification"]),
                (&"external".into(), &"a test".into())
            );
            suppressed += 1;
        }
    }
    assert_eq!(suppressed, 2);
    let shell = results.iter().find(|result| result["ruleId"] == "shell").unwrap();
    let related = &shell["relatedLocations"][0]["physicalLocation"];
    assert_eq!(related["artifactLocation"]["uri"], "Dockerfile");
    assert_eq!(related["region"]["startLine"], 2);
}

#[test]
fn policies_decide_and_mistakes_in_them_are_shown() {
    let Some(world) = world() else { return };
    world.ok("build -q -t app context");
    let rules = "[severity]\nshell = \"off\"\nsetuid = \"note\"\nsetgid = \"note\"\nsecret = \"warning\"\n";
    world.write("lax.toml", &format!("extends = \"distroless\"\n{rules}"));
    let table = world.ok("audit --policy lax.toml app");
    assert!(
        table.contains("passes the policy `lax.toml`") && !table.contains("BusyBox"),
        "{table}"
    );
    world.write("strict.toml", &format!("fail-on = \"note\"\n{rules}"));
    assert_eq!(world.distil(["audit", "--policy", "strict.toml", "app"]).code, 3);
    for (text, says) in [
        (
            "fail-on = \"error\"\n\n[severity]\nshel = \"off\"\n",
            "p.toml:4:1: there is no rule `shel`, did you mean `shell`?",
        ),
        ("fail-on = \n", "p.toml:1:"),
        (
            "[[allow]]\nrule = \"shell\"\nresaon = \"x\"\n",
            " 3 | resaon = \"x\"\n   | ^^^^^^\n",
        ),
    ] {
        world.write("p.toml", text);
        let error = world.fails("audit --policy p.toml app", 2);
        assert!(error.contains(says), "{error}");
        let error = world.fails("build --audit p.toml context", 2);
        assert!(error.contains(says), "{error}");
    }
    for (line, says) in [
        (
            "audit --policy distrolless app",
            "there is no policy `distrolless`, did you mean `distroless`?",
        ),
        (
            "audit --policy ./gone.toml app",
            "cannot read the policy `./gone.toml`",
        ),
        ("audit --policy home app", "cannot read the policy `home`"),
        ("audit", "<IMAGE>"),
    ] {
        let error = world.fails(line, 2);
        assert!(error.contains(says), "distil {line}: {error}");
    }
    assert!(world.ok("audit --rules").contains("shell "));
}

#[test]
fn images_that_cannot_be_read_are_told() {
    let Some(world) = world() else { return };
    assert!(world.fails("audit nope", 1).contains("no such image: `nope`"));
    world.ok("build -q -t app context");
    world.ok("save -o app.tar app");
    world.ok("save --format oci-dir -o layout app");
    let archive = std::fs::read(world.path("app.tar")).unwrap();
    std::fs::write(world.path("cut.tar"), &archive[..archive.len() / 2]).unwrap();
    let index: Value = serde_json::from_str(&world.read("layout/index.json")).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    world.write(&format!("layout/blobs/{}", digest.replace(':', "/")), "{}");
    let before = world.ok("images -q --no-trunc");
    for name in ["./cut.tar", "./layout", "./home"] {
        let error = world.fails(&format!("audit {name}"), 1);
        assert!(error.contains(&format!("`{name}`: ")), "{error}");
    }
    assert_eq!(world.ok("images -q --no-trunc"), before);
}

#[test]
fn a_large_sparse_file_is_not_read() {
    let Some(world) = World::new() else { return };
    world.build(
        "FROM busybox\nRUN truncate -s 1G /opt.key /etc/passwd /etc/os-release && chmod 755 /opt.key\n",
        "-q -t app",
    );
    let start = std::time::Instant::now();
    let found = world.distil(["audit", "app"]);
    assert_eq!(found.code, 3);
    assert!(found.stdout.contains("`/opt.key` is where keys"), "{found:?}");
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn a_build_that_does_not_pass_makes_nothing() {
    let Some(world) = world() else { return };
    let error = world.fails(
        "build --audit distroless -t app --iidfile id --progress plain context",
        1,
    );
    for line in [
        "the image does not pass the policy `distroless`: 5 findings",
        "shell: `/app/tool` is BusyBox\n    stage `stage-1`, COPY /made-here /app/tool (Dockerfile:4)\n    \
         from `tools` /made-here, RUN cp /bin/busybox",
        "(Dockerfile:2)",
        "secret: `/app/.env`",
    ] {
        assert!(error.contains(line), "{line}: {error}");
    }
    assert!(!error.contains('\u{1b}'));
    assert!(!world.path("id").exists());
    assert_eq!(world.ok("images -q"), "");
    world.write("policy.toml", "fail-on = \"never\"\n");
    world.ok("build --audit policy.toml -q -t app context");
    assert_eq!(world.ok("images -q").lines().count(), 1);
}

#[test]
fn a_build_that_is_too_large_names_what_is_large() {
    let Some(world) = world() else { return };
    let error = world.fails("build --max-size 50kB -t app -o out.tar context", 1);
    for line in [
        "the image has 1.98MB, more than `--max-size 50kB`; the largest additions are\n",
        "1.98MB  /app/tool: COPY /made-here /app/tool\n",
    ] {
        assert!(error.contains(line), "{line}: {error}");
    }
    assert!(!world.path("out.tar").exists());
    assert_eq!(world.ok("images -q"), "");
    world.ok("build --max-size 2MB -q -t app context");
    assert!(
        world
            .fails("build --max-size much context", 2)
            .contains("`--max-size much` is no size")
    );
    let mut command = world.command();
    let odd = outcome(command.args(["build", "--max-size", "\u{1b}[31m", "context"]));
    assert!(odd.code == 2 && !odd.stderr.contains('\u{1b}'), "{odd:?}");
}
