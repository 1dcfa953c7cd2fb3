//! `sbom`: bills of materials.

use serde_json::Value;

use crate::world::{World, outcome};

/// A stage with a package, of which the image has one file and not the record.
fn world() -> Option<World> {
    let world = World::new()?;
    let record = "Package: libtool1\nVersion: 1.2-3\nArchitecture: amd64\nSource: toolbox\nStatus: install ok installed\n";
    world.write("context/system/var/lib/dpkg/status", record);
    world.write(
        "context/system/var/lib/dpkg/info/libtool1.list",
        "/.\n/usr/lib/libtool.so.1\n/usr/lib/other\n",
    );
    world.write("context/system/usr/lib/libtool.so.1", "library");
    world.write("context/system/usr/lib/other", "other");
    world.write(
        "context/node_modules/left/package.json",
        r#"{"name": "left", "version": "1.0.0\u001b[31m", "license": "MIT"}"#,
    );
    world.build(
        "FROM busybox AS build\nCOPY system /\nFROM scratch\nCOPY --from=build /usr/lib/libtool.so.1 /lib/\n\
         COPY node_modules /app/node_modules\n",
        "-q -t app",
    );
    Some(world)
}

#[test]
fn packages_of_every_stage_are_listed() {
    let Some(world) = world() else { return };
    let table = world.ok("sbom app");
    for line in [
        "deb   libtool1  1.2-3 ",
        "npm   left      1.0.0\\u{1b}[31m  MIT  ",
        "/lib/libtool.so.1\n",
    ] {
        assert!(table.contains(line), "{line}: {table}");
    }
    let spdx: Value = serde_json::from_str(&world.ok("sbom --format spdx-json app")).unwrap();
    let packages = spdx["packages"].as_array().unwrap();
    let copied = packages
        .iter()
        .find(|package| package["name"] == "libtool1")
        .unwrap();
    assert_eq!(
        copied["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libtool1@1.2-3?arch=amd64&upstream=toolbox"
    );
    let source = copied["sourceInfo"].as_str().unwrap();
    for words in [
        "/lib/libtool.so.1",
        "from stage build",
        "COPY /usr/lib/libtool.so.1",
    ] {
        assert!(source.contains(words), "{source}");
    }
    assert_eq!(spdx["files"].as_array().unwrap().len(), 2);
}

#[test]
fn documents_are_the_same_wherever_they_are_made() {
    let Some(world) = world() else { return };
    let arguments = ["sbom", "--format=cyclonedx-json", "-o", "app.json", "app"];
    let first = outcome(
        world
            .command()
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .args(arguments),
    );
    assert_eq!((first.code, first.stdout.as_str()), (0, ""), "{first:?}");
    let text = world.read("app.json");
    assert!(text.contains("\"timestamp\": \"2023-11-14T22:13:20Z\""), "{text}");
    let again = outcome(world.command().env("SOURCE_DATE_EPOCH", "1700000000").args([
        "sbom",
        "--format=cyclonedx-json",
        "app",
    ]));
    assert_eq!(again.stdout, text);
    // The records of a build count for the archive too, but are not in it.
    world.ok("save -o app.tar app");
    let line = format!("sbom --format cyclonedx-json {}", world.path("app.tar").display());
    let saved: Value = serde_json::from_str(&world.ok(&line)).unwrap();
    assert_eq!(saved["metadata"]["component"]["name"], "app.tar");
    assert_eq!(saved["components"].as_array().unwrap().len(), 2);
    let elsewhere = World::without_builds();
    let saved: Value = serde_json::from_str(&elsewhere.ok(&line)).unwrap();
    assert_eq!(saved["components"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_listed_is_told() {
    let world = World::without_builds();
    let wrong = outcome(
        world
            .command()
            .env("SOURCE_DATE_EPOCH", "soon")
            .args(["sbom", "app"]),
    );
    assert_eq!(wrong.code, 2, "{wrong:?}");
    assert!(wrong.stderr.contains("`soon`"), "{wrong:?}");
    if rustix::process::geteuid().is_root() {
        assert!(world.fails("sbom nothing", 1).contains("`nothing`"));
    }
    assert!(world.fails("sbom --format xml app", 2).contains("spdx-json"));
}
