//! `compare`: images side by side.

use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::Value;

use crate::world::World;

/// `before` with a shell, a set-user-id file, a package and a file that a later layer removes; `after` with one
/// file of 1,000 bytes.
fn world() -> Option<World> {
    let world = World::new()?;
    let files = world.path("context/files");
    let dpkg = files.join("var/lib/dpkg/status.d");
    std::fs::create_dir_all(&dpkg).unwrap();
    std::fs::create_dir_all(files.join("bin")).unwrap();
    std::fs::write(files.join("bin/bash"), vec![b'x'; 50_000]).unwrap();
    std::fs::set_permissions(files.join("bin/bash"), PermissionsExt::from_mode(0o4755)).unwrap();
    symlink("bash", files.join("bin/sh")).unwrap();
    std::fs::write(files.join("cache"), vec![b'c'; 40_000]).unwrap();
    std::fs::write(files.join("<em>&"), vec![b'b'; 9000]).unwrap();
    std::fs::write(
        dpkg.join("bash"),
        "Package: bash\nVersion: 1<2\nArchitecture: amd64\n",
    )
    .unwrap();
    std::fs::write(
        dpkg.join("bash.md5sums"),
        "0123456789abcdef0123456789abcdef  bin/bash\n",
    )
    .unwrap();
    std::fs::write(world.path("context/app"), vec![b'a'; 1000]).unwrap();
    world.build(
        "FROM busybox AS tools\nRUN rm -rf /x\nFROM scratch\nCOPY files /\nCOPY --from=tools /bin/busybox /bin/rm\n\
         RUN [\"/bin/rm\", \"/cache\"]\n",
        "-q -t before",
    );
    world.build("FROM scratch\nCOPY app /app\nUSER 65532\n", "-q -t after");
    Some(world)
}

fn figure<'r>(json: &'r Value, row: &str, what: &str) -> &'r Value {
    let rows = json["Rows"].as_array().unwrap();
    let row = rows
        .iter()
        .find(|line| line["Name"] == row)
        .unwrap_or(&Value::Null);
    &row[what]
}

#[test]
fn images_are_told_side_by_side() {
    let Some(world) = world() else { return };
    let json: Value = serde_json::from_str(&world.ok("compare --format json before after")).unwrap();
    let (before, after) = (&json["Images"][0], &json["Images"][1]);
    assert_eq!(
        (&before["Name"], &after["Name"]),
        (&"before".into(), &"after".into())
    );
    assert_eq!(after["Size"]["Stored"], 1000);
    assert_eq!(before["Size"]["Wasted"], 40_000);
    assert_eq!(before["Layers"][0]["Wasted"], 40_000);
    assert_eq!(before["Layers"][2]["Instruction"], "RUN /bin/rm /cache");
    assert_eq!(before["Packages"][0]["Name"], "bash");
    assert_eq!(before["Packages"][0]["Size"], 50_000);
    assert_eq!(before["SetId"][0]["Path"], "/bin/bash");
    let shells = &before["Programs"]["shell"];
    // BusyBox is one whatever it is called; `sh` is another name of `bash`.
    assert_eq!(shells, &serde_json::json!(["/bin/bash", "/bin/rm"]));
    let stages = before["Stages"].as_array().unwrap();
    let tools = stages.iter().find(|stage| stage["Name"] == "tools").unwrap();
    let bytes = |what: &str| tools[what].as_u64().unwrap();
    assert!(
        bytes("Brought") > 100_000 && bytes("Brought") <= bytes("Size"),
        "{tools}"
    );
    assert_eq!(tools["Files"], 1);
    let findings = before["Findings"].as_array().unwrap();
    assert!(
        findings.iter().any(|finding| finding["id"] == "setuid"),
        "{findings:?}"
    );
    for (row, values, changes) in [
        ("Layers", [3, 1], "-2"),
        ("Packages", [1, 0], "-1"),
        ("Shells", [2, 0], "-2"),
        ("SystemTools", [0, 0], "="),
        ("SetID", [1, 0], "-1"),
        ("Wasted", [40_000, 0], "-100 %"),
    ] {
        assert_eq!(figure(&json, row, "Values"), &serde_json::json!(values), "{row}");
        assert_eq!(
            figure(&json, row, "Changes"),
            &serde_json::json!([null, changes]),
            "{row}"
        );
    }
    assert_eq!(figure(&json, "User", "Values")[1], "65532");
    // Compressed sizes are those of what is saved.
    world.ok("save --format oci-dir -o saved after");
    let manifest = std::fs::read_dir(world.path("saved/blobs/sha256")).unwrap();
    let sizes: Vec<u64> = manifest
        .map(|blob| blob.unwrap().metadata().unwrap().len())
        .collect();
    let compressed = after["Size"]["Compressed"].as_u64().unwrap();
    assert!(sizes.contains(&compressed), "{compressed} of {sizes:?}");
    // A copy that was packed elsewhere is as large.
    let json: Value = serde_json::from_str(&world.ok("compare --format json after saved")).unwrap();
    assert_eq!(
        figure(&json, "Compressed", "Changes"),
        &serde_json::json!([null, "="])
    );
    assert_eq!(figure(&json, "Files", "Values"), &serde_json::json!([1, 1]));
}

#[test]
fn the_table_is_text_and_markdown() {
    let Some(world) = world() else { return };
    let text = world.ok("compare before after");
    let first = text.lines().next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    assert_eq!(words, ["before", "after", "change"], "{text}");
    assert!(
        text.lines()
            .any(|line| line.starts_with("Shells ") && line.ends_with(" -2")),
        "{text}"
    );
    let three = world.ok("compare before after after");
    assert!(three.contains("1kB (-"), "{three}");
    let markdown = world.ok("compare --format markdown before after");
    assert!(
        markdown.starts_with("|  | before | after | change |\n| --- | ---: | ---: | ---: |\n"),
        "{markdown}"
    );
    assert!(markdown.contains("| Shells | 2 | 0 | -2 |\n"), "{markdown}");
    assert!(world.ok("compare after").contains("1kB"));
    // The ending of the file says how.
    assert_eq!(world.ok("compare before after -o table.md"), "");
    assert_eq!(world.read("table.md"), markdown);
    assert!(!world.fails("compare before nope", 1).is_empty());
    assert!(world.fails("compare", 2).contains("IMAGE"));
    let many = format!("compare{}", " after".repeat(13));
    assert!(world.fails(&many, 2).contains("at most 12"));
}

#[test]
fn a_page_is_complete_and_escaped() {
    let Some(world) = world() else { return };
    // Images are named by paths too, which hold anything.
    world.ok("save --format oci-dir -o <img>\"onload='x' before");
    let outcome = world.distil(["compare", "<img>\"onload='x'", "after", "-o", "page.html"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let page = world.read("page.html");
    for text in [
        "<!DOCTYPE html>",
        "default-src 'none'",
        "&lt;img&gt;&quot;onload=&#39;x&#39;",
        "/&lt;em&gt;&amp;",
        "1&lt;2",
        "RUN /bin/rm /cache",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for text in [
        "<img", "<em>&", "<script", "http://", "https://", "@import", "url(",
    ] {
        assert!(!page.contains(text), "{text}");
    }
    assert!(page.len() < 200_000, "{} bytes", page.len());
    // The same images give the same page.
    assert_eq!(
        world.ok("compare --format html before after"),
        world.ok("compare --format html before after")
    );
}

#[test]
fn start_up_is_measured_by_running() {
    let Some(world) = world() else { return };
    world.build(
        "FROM busybox\nCMD [\"sh\", \"-c\", \"sleep 0.1\"]\n",
        "-q -t slow",
    );
    world.build(
        "FROM busybox\nCMD [\"sh\", \"-c\", \"echo ready; sleep 30\"]\n",
        "-q -t service",
    );
    world.build("FROM busybox\nCMD [\"sh\", \"-c\", \"exit 3\"]\n", "-q -t broken");
    let json: Value =
        serde_json::from_str(&world.ok("compare --start-up=3 --format json slow broken after")).unwrap();
    let slow = &json["Images"][0]["StartUp"];
    let median = slow["MedianMillis"].as_f64().unwrap();
    assert!((100.0..30_000.0).contains(&median), "{json}");
    assert_eq!((&slow["Runs"], &slow["Until"]), (&3.into(), &"exit".into()));
    assert_eq!(json["Images"][1]["StartUp"]["Error"], "ends with exit code 3");
    let error = json["Images"][2]["StartUp"]["Error"].as_str().unwrap();
    assert!(error.contains("names no program"), "{error}");
    let json: Value =
        serde_json::from_str(&world.ok("compare --ready-output --start-up=1 --format json service slow"))
            .unwrap();
    assert!(
        json["Images"][0]["StartUp"]["MedianMillis"].as_f64().unwrap() < 20_000.0,
        "{json}"
    );
    let error = json["Images"][1]["StartUp"]["Error"].as_str().unwrap();
    assert_eq!(error, "ends with exit code 0 and writes nothing");
    assert!(world.ok("compare --start-up slow").contains("\nStart-up "));
}

#[test]
fn a_service_has_started_when_its_port_answers() {
    let Some(world) = world() else { return };
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let busy = world.fails(&format!("compare --ready-port {port} after"), 1);
    assert!(busy.contains("is in use already"), "{busy}");
    drop(listener);
    let serve = format!("FROM busybox\nCMD [\"busybox\", \"httpd\", \"-f\", \"-p\", \"127.0.0.1:{port}\"]\n");
    world.build(&serve, "-q -t server");
    let line = format!("compare --ready-port {port} --start-up=2 --format json server");
    let json: Value = serde_json::from_str(&world.ok(&line)).unwrap();
    assert_eq!(json["Images"][0]["StartUp"]["Until"], "port", "{json}");
}

#[test]
fn known_vulnerabilities_are_counted_where_there_is_a_database() {
    let Some(world) = world() else { return };
    world.write("context/files/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    world.write(
        "context/files/var/lib/dpkg/status",
        "Package: libssl3\nStatus: install ok installed\nVersion: 3.0.9-1\nArchitecture: amd64\nSource: openssl\n",
    );
    world.build("FROM scratch\nCOPY files /\n", "-q -t vulnerable");
    let tracker = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cve/tracker.json");
    std::fs::copy(tracker, world.path("tracker")).unwrap();
    let line = "compare --db tracker --format json vulnerable after before";
    let json: Value = serde_json::from_str(&world.ok(line)).unwrap();
    let values = figure(&json, "CVEs", "Values");
    assert!(values[0].as_u64().unwrap() > 0, "{values}");
    // Nothing of Debian, and packages of no release.
    assert_eq!((&values[1], &values[2]), (&0.into(), &"not judged".into()));
    let list = json["Images"][0]["Vulnerabilities"]["List"].as_array().unwrap();
    assert_eq!(list.len() as u64, values[0].as_u64().unwrap());
    let page = world.ok("compare --db tracker --format html vulnerable after");
    for text in [
        "Known vulnerabilities",
        "CVE-2099-0003 openssl 3.0.9-1",
        "tracker: ",
    ] {
        assert!(page.contains(text), "{text}");
    }
    std::fs::write(world.path("damaged"), "{\"openssl\": {\"CVE-1").unwrap();
    assert!(!world.fails("compare --db damaged vulnerable after", 1).is_empty());
    assert!(world.ok("compare vulnerable after").contains("no database"));
}
