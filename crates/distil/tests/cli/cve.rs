//! `cve`: known vulnerabilities of packages, from the databases in `tests/cve`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::{World, outcome};

const STATUS: &str = "Package: libssl3\nStatus: install ok installed\nVersion: 3.0.9-1\nArchitecture: amd64\nSource: openssl\n\n\
    Package: openssl\nStatus: install ok installed\nVersion: 3.0.9-1\nArchitecture: amd64\n\n\
    Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nSource: zlib\n\n\
    Package: libc6\nStatus: install ok installed\nVersion: 2.36-9+deb12u3\nArchitecture: amd64\nSource: glibc\n\n\
    Package: login\nStatus: install ok installed\nVersion: 1:4.13+dfsg1-2+b1\nArchitecture: amd64\nSource: shadow (1:4.13+dfsg1-1)\n\n\
    Package: gone\nStatus: install ok installed\nVersion: 1.0-1\nArchitecture: all\n\n\
    Package: removed\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\nSource: openssl\n\n\
    Package: third-party\nStatus: install ok installed\nVersion: 7\nArchitecture: all\n";

fn databases(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/cve")
        .join(name)
}

/// An image with packages of bookworm; `tracker` and `osv` are copies of the databases.
fn world() -> Option<World> {
    let world = World::new()?;
    world.write("context/files/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n");
    world.write("context/files/var/lib/dpkg/status", STATUS);
    world.build("FROM scratch\nCOPY files /\n", "-q -t app:1");
    std::fs::copy(databases("tracker.json"), world.path("tracker")).unwrap();
    std::fs::create_dir(world.path("osv")).unwrap();
    for file in std::fs::read_dir(databases("osv")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), world.path("osv").join(file.file_name())).unwrap();
    }
    Some(world)
}

#[test]
fn vulnerabilities_are_listed_and_counted() {
    let Some(world) = world() else { return };
    let table = world.ok("cve app:1 --db tracker");
    for line in [
        "database: tracker (Debian security tracker, ",
        "release: Debian bookworm",
        "CVE-2099-0003         high       openssl   3.0.9-1           (no-dsa: postponed)   libssl3 openssl",
        "CVE-2099-0001         unknown    openssl   3.0.9-1           3.0.11-1~deb12u1      libssl3 openssl",
        "8 vulnerabilities: 1 high, 2 medium, 2 low, 3 unknown; 3 with a fix, 5 without; 2 set aside (--all lists them)",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    assert!(world.ok("cve app:1 --db tracker --all").contains("unimportant"));
    let fixed = world.ok("cve app:1 --db tracker --ignore-unfixed");
    assert!(
        fixed.contains("3 vulnerabilities with a fix: 1 medium, 1 low, 1 unknown"),
        "{fixed}"
    );
    assert!(!fixed.contains("CVE-2099-0003"), "{fixed}");

    let json: Value =
        serde_json::from_str(&world.ok("cve app:1 --db tracker --db osv --format json")).unwrap();
    assert_eq!(
        (&json["Release"], &json["Counts"]["Total"]),
        (&"bookworm".into(), &9.into())
    );
    let worst = &json["Vulnerabilities"][0];
    assert_eq!(
        (&worst["ID"], &worst["Severity"]),
        (&"CVE-2099-0001".into(), &"critical".into())
    );
    assert_eq!(worst["Packages"][0]["record"], Value::Null);
    assert_eq!(worst["Packages"][0]["Record"], "/var/lib/dpkg/status");
    assert_eq!(json["Counts"]["BySeverity"]["critical"]["Fixed"], 1);

    let sarif: Value = serde_json::from_str(&world.ok("cve app:1 --db osv --format sarif")).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(
        (&sarif["version"], run["results"].as_array().unwrap().len()),
        (&"2.1.0".into(), 2)
    );
    let result = &run["results"][0];
    let rule = &run["tool"]["driver"]["rules"][result["ruleIndex"].as_u64().unwrap() as usize];
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&rule["id"], &"error".into())
    );
    let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(place, "var/lib/dpkg/status");
}

/// Packages of languages have versions in the order of their own.
#[test]
fn packages_of_languages() {
    let Some(world) = World::new() else { return };
    let python = "context/files/usr/lib/python3/dist-packages/Some_Package-2.0rc1.dist-info";
    world.write(
        &format!("{python}/METADATA"),
        "Metadata-Version: 2.1\nName: Some_Package\nVersion: 2.0rc1\n",
    );
    world.write(&format!("{python}/RECORD"), "");
    let node = r#"{"name": "@scope/thing", "version": "1.10.0"}"#;
    world.write("context/files/app/node_modules/@scope/thing/package.json", node);
    world.build("FROM scratch\nCOPY files /\n", "-q -t langs");
    let record = |id: &str, ecosystem: &str, name: &str, fixed: &str| {
        format!(
            r#"{{"id": "{id}", "modified": "2026-01-01T00:00:00Z", "aliases": ["CVE-2099-7{}"], "affected": [{{
                "package": {{"ecosystem": "{ecosystem}", "name": "{name}"}},
                "ranges": [{{"type": "ECOSYSTEM", "events": [{{"introduced": "0"}}, {{"fixed": "{fixed}"}}]}}]}}]}}"#,
            id.len()
        )
    };
    world.write("db/1.json", &record("PYSEC-1", "PyPI", "some-package", "2.0"));
    world.write("db/2.json", &record("GHSA-1", "npm", "@scope/thing", "1.11.0"));
    world.write("db/3.json", &record("GHSA-22", "npm", "@scope/thing", "1.9.0"));
    let table = world.ok("cve langs --db db");
    for line in [
        "CVE-2099-77   unknown    Some_Package   2.0rc1    2.0",
        "CVE-2099-76   unknown    @scope/thing   1.10.0    1.11.0",
    ] {
        assert!(table.contains(line), "{line}\n{table}");
    }
    assert!(
        table.contains("2 vulnerabilities: 2 unknown; 2 with a fix, 0 without\n"),
        "{table}"
    );
}

#[test]
fn exit_codes_ignore_files_and_openvex() {
    let Some(world) = world() else { return };
    let error = world.fails("cve app:1 --db tracker --fail-on high", 3);
    assert!(
        error.contains("1 vulnerability of severity `high` or worse"),
        "{error}"
    );
    world.ok("cve app:1 --db tracker --fail-on critical");
    world.ok("cve app:1 --db tracker --fail-on high --ignore-unfixed");
    let entry = "[[ignore]]\nid = \"CVE-2099-0003\"\nreason = \"no CMS here\"\n";
    world.write("ignore.toml", &format!("{entry}expires = 2099-12-31\n"));
    world.ok("cve app:1 --db tracker --fail-on high --ignore-file ignore.toml");
    world.write("ignore.toml", &format!("{entry}expires = 2026-01-01\n"));
    let error = world.fails(
        "cve app:1 --db tracker --fail-on high --ignore-file ignore.toml",
        3,
    );
    assert!(
        error.contains("`CVE-2099-0003` is no longer ignored: its entry (line 1) expired on 2026-01-01"),
        "{error}"
    );
    world.write("ignore.toml", &entry.replace("reason", "raeson"));
    let error = world.fails("cve app:1 --db tracker --ignore-file ignore.toml", 2);
    assert!(
        error.contains("`ignore.toml` line 3: unknown field `raeson`"),
        "{error}"
    );
    world.write(
        "vex.json",
        r#"{"@context": "https://openvex.dev/ns/v0.2.0", "timestamp": "2026-01-01T00:00:00Z", "statements": [
            {"vulnerability": {"name": "CVE-2099-0003"}, "products": [{"@id": "pkg:oci/app?tag=1"}],
             "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"}]}"#,
    );
    let table = world.ok("cve app:1 --db tracker --fail-on high --vex vex.json --all");
    assert!(
        table.contains("not affected: vulnerable_code_not_in_execute_path"),
        "{table}"
    );
}

#[test]
fn databases_that_cannot_be_used() {
    let Some(world) = world() else { return };
    let error = world.fails("cve app:1", 1);
    assert!(
        error.contains("no vulnerability database") && error.contains("`distil cve --update`"),
        "{error}"
    );
    world.fails("cve", 2);
    world.fails("cve nope --db tracker", 1);
    let bad = databases("bad");
    for (name, says) in [
        ("missing", "cannot read"),
        ("foreign/package.json", "is no vulnerability database"),
        ("damaged/cut-tracker.json", "is damaged"),
    ] {
        let error = world.fails(&format!("cve app:1 --db {}", bad.join(name).display()), 1);
        assert!(error.contains(says), "{error}");
    }
    // Who fetches from a server that is not there keeps what there is.
    let mut command = world.command();
    command
        .args(["cve", "--update"])
        .env("DISTIL_DEBIAN_TRACKER", "http://127.0.0.1:1/json");
    let update = outcome(&mut command);
    assert_eq!(update.code, 1, "{update:?}");
    assert!(
        update.stderr.contains("the databases stay as they were"),
        "{update:?}"
    );

    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(9 * 86_400);
    std::fs::File::options()
        .append(true)
        .open(world.path("tracker"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let outcome = world.distil(["cve", "app:1", "--db", "tracker"]);
    assert!(
        outcome
            .stderr
            .contains("WARNING: the vulnerability database is 9 days old"),
        "{outcome:?}"
    );
    // A record of 2098 is not of another ecosystem's packages.
    let outcome = world.distil(["cve", "app:1", "--db", "osv", "--release", "trixie"]);
    assert!(
        outcome
            .stderr
            .contains("no database is about Debian: 7 packages were not judged"),
        "{outcome:?}"
    );
}

/// A zip of one file, stored as it is.
fn zip(name: &str, bytes: &[u8]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
    let mut common = [&[20, 0][..], &[0; 12]].concat();
    common.extend([number(bytes.len()), number(bytes.len())].concat());
    common.extend([u8::try_from(name.len()).unwrap(), 0, 0, 0]);
    let mut zip = [b"PK\x03\x04", &common[..], name.as_bytes(), bytes].concat();
    let start = zip.len();
    zip.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 14], name.as_bytes()].concat());
    let length = number(zip.len() - start);
    zip.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    zip.extend([&length[..], &number(start), &[0, 0]].concat());
    zip
}

/// Serves the tracker, and for every other path a zip of one record, for as long as the test process lives.
fn serve() -> String {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let record = std::fs::read(databases("osv/DEBIAN-CVE-2099-0001.json")).unwrap();
    let (tracker, zip) = (
        std::fs::read(databases("tracker.json")).unwrap(),
        zip("a.json", &record),
    );
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap())
                .lines()
                .map_while(Result::ok);
            let body = match lines.next() {
                Some(line) if line.contains("/tracker") => &tracker,
                _ => &zip,
            };
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), body].concat());
        }
    });
    address
}

/// The lines without how old a database is by now: a second may pass from one command to the next.
fn ageless(report: &str) -> Vec<&str> {
    report
        .lines()
        .map(|line| match line.rsplit_once(", ") {
            Some((database, age)) if line.starts_with("database: ") && age.ends_with(" old)") => database,
            _ => line,
        })
        .collect()
}

#[test]
fn fetched_databases_are_the_default() {
    let Some(world) = world() else { return };
    let address = serve();
    world.write(
        "home/.config/distil/config.toml",
        &format!("osv-mirror = \"{address}\"\n"),
    );
    let mut command = world.command();
    command.args(["cve", "--update", "app:1"]);
    let fetched = outcome(command.env("DISTIL_DEBIAN_TRACKER", format!("{address}/tracker")));
    assert_eq!(fetched.code, 0, "{fetched:?}");
    assert!(
        fetched.stderr.contains("tracker.json: ") && fetched.stdout.contains("8 vulnerabilities: 1 critical")
    );
    assert!(world.path("cache/distil/cve/.index").is_file());
    let again = world.distil(["cve", "app:1"]);
    assert_eq!(
        (again.code, ageless(&again.stdout)),
        (0, ageless(&fetched.stdout))
    );
    assert!(!again.stderr.contains("days old"), "{again:?}");
}

/// Debian's own tool, fed from the same database, tells the same.
#[test]
fn the_same_set_as_debsecan() {
    let installed = |line: &str| outcome(Command::new("sh").args(["-c", line])).code == 0;
    if !installed("command -v debsecan python3") || !installed("python3 -c 'import apt_pkg'") {
        println!("skipped: `debsecan` is not installed");
        return;
    }
    let Some(world) = world() else { return };
    std::fs::create_dir(world.path("debsecan")).unwrap();
    let mut convert = Command::new(databases("to-debsecan"));
    convert
        .arg(databases("tracker.json"))
        .arg(world.path("debsecan"))
        .arg("bookworm");
    assert_eq!(outcome(&mut convert).code, 0);
    let mut debsecan = Command::new("debsecan");
    let source = format!("file://{}", world.path("debsecan").display());
    debsecan.args(["--suite", "bookworm", "--format", "simple", "--source", &source]);
    debsecan
        .arg("--config")
        .arg(world.path("none"))
        .arg("--whitelist")
        .arg(world.path("none"));
    debsecan
        .arg("--status")
        .arg(world.path("context/files/var/lib/dpkg/status"));
    let theirs = outcome(&mut debsecan);
    assert_eq!(theirs.code, 0, "{theirs:?}");
    let theirs: BTreeSet<String> = theirs.stdout.lines().map(str::to_owned).collect();
    let json: Value = serde_json::from_str(&world.ok("cve app:1 --db tracker --format json")).unwrap();
    let mut ours = BTreeSet::new();
    for found in json["Vulnerabilities"].as_array().unwrap() {
        for package in found["Packages"].as_array().unwrap() {
            ours.insert(format!(
                "{} {}",
                found["ID"].as_str().unwrap(),
                package["Name"].as_str().unwrap()
            ));
        }
    }
    assert_eq!(ours, theirs);
    assert!(ours.len() > 8, "{ours:?}");
}
