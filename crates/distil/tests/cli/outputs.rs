//! `-o`, `--iidfile`, `--metadata-file`, `-q`.

use serde_json::Value;

use crate::world::{World, outcome};

const DOCKERFILE: &str = "FROM scratch\nCOPY f /dir/f\nLABEL a=b\n";

fn world() -> Option<World> {
    let world = World::new()?;
    world.write("context/f", "content\n");
    world.write("context/Dockerfile", DOCKERFILE);
    Some(world)
}

fn names(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[test]
fn without_name_and_output_the_image_is_stored_and_its_id_printed() {
    let Some(world) = world() else { return };
    let id = world.ok("build context");
    assert_eq!(world.ok("images --no-trunc --format {{.ID}}"), id);
    assert_eq!(
        world.ok("images --format {{.Repository}}:{{.Tag}}"),
        "<none>:<none>\n"
    );
    assert_eq!(world.ok("build -t app context"), "");
    assert_eq!(world.ok("build -q -t app context"), id);
    let quiet = outcome(world.command().args(["build", "-q", "context"]));
    assert_eq!(quiet.stderr, "");
}

#[test]
fn archives_leave_no_image_behind() {
    let Some(world) = world() else { return };
    for (output, member) in [
        ("type=oci,dest=image.tar", "oci-layout"),
        ("type=docker,dest=image.tar", "manifest.json"),
        ("type=tar,dest=image.tar", "dir/f"),
    ] {
        let id = world.ok(&format!(
            "build -q -o {output} --metadata-file m.json --iidfile iid context"
        ));
        let archive = std::fs::read(world.path("image.tar")).unwrap();
        let names = names(&archive);
        assert!(names.iter().any(|name| name == member), "{output}: {names:?}");
        assert_eq!(world.ok("images -aq"), "", "{output}");
        let metadata: Value = serde_json::from_str(&world.read("m.json")).unwrap();
        if output.starts_with("type=tar") {
            assert_eq!(id, "");
            assert!(
                !world.path("iid").exists(),
                "a file of an earlier build must not stay"
            );
            continue;
        }
        assert_eq!(metadata["containerimage.config.digest"], id.trim());
        assert_eq!(world.read("iid"), id.trim());
        let manifest = metadata["containerimage.digest"].as_str().unwrap();
        assert_eq!(metadata["containerimage.descriptor"]["digest"], manifest);
        let blob = format!("blobs/sha256/{}", &manifest["sha256:".len()..]);
        assert!(
            names.contains(&blob),
            "the manifest of the archive is named: {output}"
        );
    }
}

#[test]
fn several_outputs_are_written_at_once() {
    let Some(world) = world() else { return };
    let line = "build -t app -o type=local,dest=out -o type=oci,dest=a.tar -o type=image --metadata-file m.json context";
    world.ok(line);
    assert_eq!(world.read("out/dir/f"), "content\n");
    assert!(world.path("a.tar").exists());
    assert_eq!(world.ok("images --format {{.Repository}}"), "app\n");
    let metadata: Value = serde_json::from_str(&world.read("m.json")).unwrap();
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");
    world.ok("build -o out2 context");
    assert_eq!(world.read("out2/dir/f"), "content\n");
}

#[test]
fn standard_output_takes_one_archive_and_nothing_else() {
    let Some(world) = world() else { return };
    for output in ["-", "type=tar,dest=-", "type=oci", "type=docker,dest=-"] {
        let output = world
            .command()
            .args(["build", "-o", output, "context"])
            .output()
            .unwrap();
        assert!(output.status.success());
        assert!(!names(&output.stdout).is_empty());
    }
    assert!(
        world
            .fails("build -o - -o type=oci context", 2)
            .contains("only one output")
    );
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let Some(world) = world() else { return };
    let error = world.fails("build -o type=oci,dest=missing/a.tar context", 1);
    assert!(error.contains("cannot write `missing/a.tar`"), "{error}");
    let error = world.fails("build --iidfile missing/iid context", 1);
    assert!(error.contains("cannot write `missing/iid`"), "{error}");
}
