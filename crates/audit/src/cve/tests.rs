use std::path::{Path, PathBuf};

use super::{
    Components, CveError, DebianRelease, ImageNames, Report, SetAsideBy, Severity, State, Statements,
    Vulnerability, read_ignore_file, read_vex,
};
use super::{Ecosystem, Sources, update};
use crate::Inventory;
use crate::manifests::tests::zip;
use crate::testing::World;
use proptest::prelude::*;

const DEBIAN_12: &str = "ID=debian\nVERSION_ID=\"12\"\n";
const STATUS: &str = "Package: libssl3\nVersion: 3.0.9-1\nArchitecture: amd64\nSource: openssl\n\n\
    Package: openssl\nVersion: 3.0.9-1\nArchitecture: amd64\n\n\
    Package: zlib1g\nVersion: 1:1.2.13.dfsg-1\nArchitecture: amd64\nSource: zlib\n\n\
    Package: libc6\nVersion: 2.36-9+deb12u3\nArchitecture: amd64\nSource: glibc\n\n\
    Package: login\nVersion: 1:4.13+dfsg1-2+b1\nArchitecture: amd64\nSource: shadow (1:4.13+dfsg1-1)\n\n\
    Package: gone\nVersion: 1.0-1\nArchitecture: all\n\n\
    Package: third-party\nVersion: 7\nArchitecture: all\n";

fn databases(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/cve")
        .join(name)
}

fn components(os_release: &str, status: &str) -> Result<Components, CveError> {
    let mut world = World::new();
    let mut files = vec![("var/lib/dpkg/status.d/all", status)];
    if !os_release.is_empty() {
        files.push(("etc/os-release", os_release));
    }
    world.files("COPY", &files);
    let view = world.view();
    Components::of(&view, &Inventory::read(&view).unwrap(), None)
}

fn report(paths: &[&str], status: &str, statements: &Statements) -> Result<Report, CveError> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| databases(path)).collect();
    Report::of(&components(DEBIAN_12, status)?, &paths, statements, 0)
}

fn found(report: &Report) -> Vec<(&str, &str, State, Option<&str>)> {
    let mut found: Vec<_> = report
        .vulnerabilities
        .iter()
        .map(|found| {
            (
                &*found.id,
                &*found.component,
                found.state,
                found.fixed_in.as_deref(),
            )
        })
        .collect();
    found.sort_unstable();
    found
}

fn named<'r>(report: &'r Report, id: &str) -> &'r Vulnerability {
    report
        .vulnerabilities
        .iter()
        .find(|found| found.id == id)
        .unwrap()
}

#[test]
fn the_tracker_decides_as_debsecan_does() {
    let report = report(&["tracker.json"], STATUS, &Statements::default()).unwrap();
    assert_eq!(
        found(&report),
        [
            ("CVE-2099-0001", "openssl", State::Fixed, Some("3.0.11-1~deb12u1")),
            ("CVE-2099-0003", "openssl", State::NoDsa, None),
            ("CVE-2099-0005", "glibc", State::Undetermined, None),
            ("CVE-2099-0007", "zlib", State::Open, None),
            ("CVE-2099-0010", "glibc", State::Open, None),
            ("CVE-2099-0011", "shadow", State::Fixed, Some("1:4.13+dfsg1-2")),
            ("CVE-2099-0012", "gone", State::Open, None),
            (
                "TEMP-0000000-A1B2C3",
                "glibc",
                State::Fixed,
                Some("2.36-9+deb12u4")
            ),
        ]
    );
    let postponed = named(&report, "CVE-2099-0003");
    assert_eq!(
        (postponed.severity, postponed.note.as_str()),
        (Severity::High, "postponed")
    );
    assert_eq!(postponed.summary, "without a fix, postponed\\u{1b}[31m");
    let names: Vec<&str> = postponed
        .packages
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(names, ["libssl3", "openssl"]);
    let aside: Vec<_> = report
        .set_aside
        .iter()
        .map(|aside| (&*aside.vulnerability.id, &*aside.reason))
        .collect();
    assert_eq!(
        aside,
        [("CVE-2099-0004", "unimportant"), ("CVE-2099-0009", "end-of-life")]
    );
    assert_eq!(report.counts().total(), (3, 5));
    assert_eq!(report.vulnerabilities[0].severity, Severity::High);
}

#[test]
fn a_version_from_a_newer_release_has_its_fix() {
    let status = "Package: openssl\nVersion: 3.5.1-1\nArchitecture: amd64\n";
    let report = report(&["tracker.json"], status, &Statements::default()).unwrap();
    assert_eq!(found(&report), []);
}

#[test]
fn records_of_osv_are_one_with_those_of_the_tracker() {
    let all = report(&["tracker.json", "osv"], STATUS, &Statements::default()).unwrap();
    let first = named(&all, "CVE-2099-0001");
    assert_eq!(first.aliases, ["DEBIAN-CVE-2099-0001"]);
    assert_eq!(
        (first.severity, first.score.map(f64::round)),
        (Severity::Critical, Some(10.0))
    );
    // Only the advisory knows it; a withdrawn record is nothing.
    assert_eq!(
        named(&all, "CVE-2099-0014").fixed_in.as_deref(),
        Some("3.0.11-1~deb12u1")
    );
    assert_eq!(all.vulnerabilities.len(), 9);
    let osv = report(&["osv"], STATUS, &Statements::default()).unwrap();
    let ids: Vec<&str> = found(&osv).iter().map(|found| found.0).collect();
    assert_eq!(ids, ["CVE-2099-0001", "CVE-2099-0014"]);
    let date = distil_debian::parse_rfc3339("2099-01-02T03:04:05Z");
    assert_eq!((osv.databases.len(), osv.databases[0].date), (1, date));
}

#[test]
fn what_is_not_a_database_is_told() {
    for (folder, says) in [
        ("bad/foreign", "is no vulnerability database"),
        ("bad/damaged", "is damaged"),
    ] {
        let files = std::fs::read_dir(databases(folder)).unwrap();
        for file in files.map(|file| file.unwrap().path()) {
            let components = components(DEBIAN_12, STATUS).unwrap();
            let error = Report::of(
                &components,
                std::slice::from_ref(&file),
                &Statements::default(),
                0,
            )
            .unwrap_err();
            let text = error.to_string();
            assert!(text.contains(says), "{file:?}: {text}");
        }
    }
    let empty = tempfile::tempdir().unwrap();
    let components = components(DEBIAN_12, STATUS).unwrap();
    for path in [empty.path().to_owned(), empty.path().join("missing")] {
        assert!(Report::of(&components, &[path], &Statements::default(), 0).is_err());
    }
}

#[test]
fn the_release_must_be_known() {
    let of = |os_release, status| components(os_release, status).map(|found| found.release().cloned());
    assert_eq!(
        of("", STATUS).unwrap(),
        Some(DebianRelease::named("bookworm")),
        "by the update of libc6"
    );
    let plain = "Package: a\nVersion: 1-1\nArchitecture: all\n";
    for os_release in ["", "ID=ubuntu\nVERSION_ID=24.04\n"] {
        let text = of(os_release, plain).unwrap_err().to_string();
        assert!(text.contains("--release bookworm"), "{text}");
    }
    assert_eq!(of("", "").unwrap(), None);
    let buster = components("ID=debian\nVERSION_ID=10\n", plain).unwrap();
    let error = Report::of(&buster, &[databases("tracker.json")], &Statements::default(), 0).unwrap_err();
    assert!(
        error.to_string().contains("it has bookworm, sid, trixie"),
        "{error}"
    );
    let uncovered = Report::of(&buster, &[databases("osv")], &Statements::default(), 0)
        .unwrap()
        .uncovered;
    assert_eq!(uncovered, [(Ecosystem::Debian, 1)]);
}

#[test]
fn ignored_until_their_last_day() {
    let text = "[[ignore]]\nid = \"cve-2099-0001\"\npackage = \"libssl3\"\nreason = \"r\"\nexpires = 1970-01-01\n\
        [[ignore]]\nid = \"CVE-2099-0003\"\npackage = \"zlib\"\nreason = \"r\"\n";
    let at = |now| {
        let statements = Statements {
            ignore: read_ignore_file(text, Path::new("i")).unwrap(),
            ..Statements::default()
        };
        Report::of(
            &components(DEBIAN_12, STATUS).unwrap(),
            &[databases("tracker.json")],
            &statements,
            now,
        )
        .unwrap()
    };
    let last = at(86_399);
    let aside: Vec<_> = last
        .set_aside
        .iter()
        .filter(|aside| aside.by == SetAsideBy::IgnoreFile)
        .collect();
    assert_eq!((aside.len(), &*aside[0].vulnerability.id), (1, "CVE-2099-0001"));
    assert_eq!((last.expired.len(), last.unused.len()), (0, 1));
    let over = at(86_400);
    assert_eq!(
        (over.expired.len(), over.vulnerabilities.len()),
        (1, last.vulnerabilities.len() + 1)
    );
}

#[test]
fn statements_of_openvex() {
    let cleared = |statements: &str| {
        let text = format!(
            "{{\"@context\": \"https://openvex.dev/ns/v0.2.0\", \"timestamp\": \"2026-01-01T00:00:00Z\", \"statements\": [{statements}]}}"
        );
        let mut vex = super::Vex::default();
        vex.extend(read_vex(text.as_bytes(), Path::new("v")).unwrap());
        let image = ImageNames {
            names: vec!["app".to_owned(), "app:1".to_owned()],
            digests: vec!["sha256:1234".to_owned()],
        };
        let statements = Statements {
            vex,
            image,
            ..Statements::default()
        };
        let report = report(&["tracker.json"], STATUS, &statements).unwrap();
        let aside = report
            .set_aside
            .into_iter()
            .filter(|aside| aside.by == SetAsideBy::Vex);
        aside
            .map(|aside| (aside.vulnerability.id, aside.reason))
            .collect::<Vec<_>>()
    };
    let statement = |product: &str, status: &str, time: &str| {
        format!(
            "{{\"vulnerability\": {{\"name\": \"CVE-2099-0003\"}}, \"products\": [{product}], \"status\": \"{status}\", \
             \"justification\": \"vulnerable_code_not_present\", \"timestamp\": \"{time}\"}}"
        )
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    for (product, clears) in [
        ("{\"@id\": \"app\"}", true),
        ("{\"@id\": \"pkg:oci/app?tag=1\"}", true),
        ("{\"@id\": \"pkg:oci/app@sha256%3A1234\"}", true),
        ("{\"@id\": \"pkg:oci/app@sha256:5678\"}", false),
        ("{\"@id\": \"pkg:oci/app?tag=2\"}", false),
        ("{\"@id\": \"other\"}", false),
        (
            "{\"@id\": \"app\", \"subcomponents\": [{\"@id\": \"pkg:deb/debian/libssl3@3.0.9-1?arch=amd64\"}]}",
            true,
        ),
        (
            "{\"@id\": \"app\", \"subcomponents\": [{\"@id\": \"pkg:deb/debian/zlib1g\"}]}",
            false,
        ),
        ("{\"@id\": \"pkg:deb/debian/openssl@3.0.9-1\"}", true),
        ("{\"@id\": \"pkg:deb/debian/openssl@3.0.11-1\"}", false),
        ("{\"identifiers\": {\"purl\": \"pkg:deb/debian/openssl\"}}", true),
        ("\"pkg:npm/openssl\"", false),
    ] {
        let found = cleared(&statement(product, "not_affected", early));
        assert_eq!(!found.is_empty(), clears, "{product}");
    }
    let app = "{\"@id\": \"app\"}";
    let both = |first: &str, second: &str| {
        cleared(&[statement(app, first, early), statement(app, second, late)].join(","))
    };
    assert!(both("not_affected", "affected").is_empty());
    assert_eq!(both("under_investigation", "fixed").len(), 1);
    let old = "{\"vulnerability\": \"CVE-2099-0003\", \"products\": [\"app:1\"], \"status\": \"fixed\"}";
    assert_eq!(cleared(old), [("CVE-2099-0003".to_owned(), "fixed".to_owned())]);
    for bad in [
        "{}",
        "[]",
        "x",
        "{\"@context\": \"https://spdx.org\", \"statements\": []}",
    ] {
        assert!(read_vex(bad.as_bytes(), Path::new("v")).is_err(), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn damaged_databases_do_no_harm(name in 0_usize..3, at in any::<prop::sample::Index>(), bytes in "[\\PC]{0,3}") {
        let name = ["tracker.json", "osv/DEBIAN-CVE-2099-0001.json", "osv/DSA-9999-1.json"][name];
        let mut text = std::fs::read(databases(name)).unwrap();
        let at = at.index(text.len());
        text.splice(at..(at + bytes.len()).min(text.len()), bytes.bytes());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &text).unwrap();
        let list = [(Ecosystem::Debian, "openssl", "3.0.9-1"), (Ecosystem::Debian, "zlib", "1:1.2.13.dfsg-1")];
        let components = Components::of_test(&list, Some(DebianRelease::named("12")));
        let path = file.path().to_owned();
        if let Ok(report) = Report::of(&components, &[path], &Statements::default(), 0) {
            for found in &report.vulnerabilities {
                prop_assert!(!found.summary.contains(char::is_control) && !found.id.contains(char::is_control));
            }
        }
    }
}

/// What a server of databases has, and what it was asked.
#[derive(Default)]
struct Server {
    files: std::sync::Mutex<std::collections::BTreeMap<String, Vec<u8>>>,
    log: std::sync::Mutex<Vec<String>>,
}

impl Server {
    /// Serves the files on the loopback; each has its length as its tag.
    fn start(files: &[(&str, Vec<u8>)]) -> (std::sync::Arc<Self>, Sources) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::sync::Arc::new(Self::default());
        for (name, bytes) in files {
            server.put(name, bytes.clone());
        }
        let shared = std::sync::Arc::clone(&server);
        std::thread::spawn(move || {
            listener
                .incoming()
                .flatten()
                .for_each(|stream| shared.answer(stream));
        });
        let sources = Sources {
            osv: format!("http://{address}/osv/"),
            tracker: format!("http://{address}/tracker"),
        };
        (server, sources)
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(name.to_owned(), bytes);
    }

    fn answer(&self, stream: std::net::TcpStream) {
        use std::io::{BufRead, BufReader, Write};
        let mut lines = BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok);
        let path = lines.next().unwrap_or_default();
        let path = path.split(' ').nth(1).unwrap_or_default().to_owned();
        let known = lines.by_ref().take_while(|line| !line.is_empty());
        let known = known
            .filter_map(|line| Some(line.to_lowercase().strip_prefix("if-none-match: ")?.to_owned()))
            .last();
        let files = self.files.lock().unwrap();
        let (status, tag, body) = match files.get(&path) {
            None => ("404 Not Found", String::new(), &[][..]),
            Some(bytes) => {
                let tag = format!("\"{}\"", bytes.len());
                let same = known.as_ref() == Some(&tag);
                (
                    if same { "304 Not Modified" } else { "200 OK" },
                    tag,
                    if same { &[] } else { bytes.as_slice() },
                )
            }
        };
        self.log.lock().unwrap().push(format!("{path} {}", &status[..3]));
        let head = format!(
            "HTTP/1.1 {status}\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
    }
}

fn record(id: &str, ecosystem: &str, name: &str) -> Vec<u8> {
    format!(
        "{{\"id\": \"{id}\", \"modified\": \"2026-01-01T00:00:00Z\", \"affected\": [{{\"package\": {{\"ecosystem\": \"{ecosystem}\", \
         \"name\": \"{name}\"}}, \"ranges\": [{{\"type\": \"ECOSYSTEM\", \"events\": [{{\"introduced\": \"0\"}}]}}]}}]}}"
    )
    .into_bytes()
}

fn served() -> Vec<(&'static str, Vec<u8>)> {
    let tracker = std::fs::read(databases("tracker.json")).unwrap();
    let debian = std::fs::read(databases("osv/DEBIAN-CVE-2099-0001.json")).unwrap();
    let of = |id, ecosystem, name| zip(&[("GHSA.json", &record(id, ecosystem, name)), ("README", b"")]);
    vec![
        ("/tracker", tracker),
        (
            "/osv/Debian:12/all.zip",
            zip(&[
                ("+a.json", &debian),
                ("b.json", &record("DSA-2-1", "Debian:12", "zlib")),
            ]),
        ),
        ("/osv/Debian:13/all.zip", of("CVE-2099-1000", "Debian:13", "zlib")),
        ("/osv/Go/all.zip", of("GO-2099-1", "Go", "example.com/m")),
        ("/osv/Maven/all.zip", of("GHSA-1", "Maven", "g:a")),
        ("/osv/PyPI/all.zip", of("PYSEC-1", "PyPI", "Some.Package")),
        ("/osv/npm/all.zip", of("GHSA-2", "npm", "@s/p")),
    ]
}

/// Components of every ecosystem.
fn everything() -> Components {
    let list = [
        (Ecosystem::Debian, "openssl", "3.0.9-1"),
        (Ecosystem::Debian, "zlib", "1:1.2.13.dfsg-1"),
        (Ecosystem::Go, "example.com/m", "v1.0.0"),
        (Ecosystem::Maven, "g:a", "1"),
        (Ecosystem::Npm, "@s/p", "1.0.0"),
        (Ecosystem::PyPI, "some-package", "1"),
        (Ecosystem::PyPI, "other", "1"),
    ];
    Components::of_test(&list, Some(DebianRelease::named("bookworm")))
}

#[test]
fn databases_are_fetched_replaced_and_indexed() {
    let (server, sources) = Server::start(&served());
    let client = distil_fetch::Client::new(distil_fetch::ClientConfig::default());
    let folder = tempfile::tempdir().unwrap();
    let run = |now| update(&client, &sources, folder.path(), now, &mut |_| {});
    let all = |names: &mut Vec<String>| {
        let report = Report::of(
            &everything(),
            &[folder.path().to_owned()],
            &Statements::default(),
            0,
        )
        .unwrap();
        assert_eq!((report.uncovered, report.databases.len()), (Vec::new(), 7));
        names.extend(
            report
                .vulnerabilities
                .iter()
                .map(|found| format!("{} {}", found.id, found.component)),
        );
        report
            .databases
            .iter()
            .map(|database| database.date)
            .collect::<Vec<_>>()
    };
    assert!(!super::is_fetched(folder.path()));
    assert!(run(1000).unwrap().iter().all(|file| file.changed));
    assert!(super::is_fetched(folder.path()));
    assert!(super::index::Index::open(folder.path()).is_some());
    let (mut indexed, mut read) = (Vec::new(), Vec::new());
    assert_eq!(all(&mut indexed), vec![Some(1000); 7]);
    std::fs::rename(folder.path().join(".index"), folder.path().join(".kept")).unwrap();
    assert_eq!(all(&mut read), vec![Some(1000); 7]);
    assert_eq!(indexed, read);
    let expected = [
        "DSA-2-1 zlib",
        "GO-2099-1 example.com/m",
        "GHSA-1 g:a",
        "GHSA-2 @s/p",
        "PYSEC-1 some-package",
    ];
    for name in expected {
        assert!(indexed.iter().any(|found| found == name), "{name}: {indexed:?}");
    }
    assert_eq!(indexed.len(), 8, "{indexed:?}");

    // Nothing has changed: nothing is sent, but it is known to be of today.
    server.log.lock().unwrap().clear();
    assert!(run(2000).unwrap().iter().all(|file| !file.changed));
    assert!(
        server
            .log
            .lock()
            .unwrap()
            .iter()
            .all(|line| line.ends_with(" 304"))
    );
    assert_eq!(all(&mut Vec::new()), vec![Some(2000); 7]);

    // An index of other files is not believed.
    let mut zip = served().remove(1).1;
    std::fs::write(folder.path().join("osv-Debian-12.zip"), &zip).unwrap();
    let mut after = Vec::new();
    all(&mut after);
    assert_eq!(after, indexed);

    // One that is damaged, foreign or missing changes nothing.
    zip.truncate(zip.len() / 2);
    server.put("/osv/npm/all.zip", zip);
    server.put("/tracker", b"{\"a\": {}}".to_vec());
    assert!(run(3000).is_err());
    server.put("/tracker", served().remove(0).1);
    assert!(run(3000).unwrap_err().to_string().contains("damaged"));
    server.files.lock().unwrap().remove("/osv/npm/all.zip");
    let error = run(3000).unwrap_err().to_string();
    assert!(
        error.contains("`osv-npm.zip`") && error.contains("stay as they were"),
        "{error}"
    );
    let mut now = Vec::new();
    assert_eq!(all(&mut now), vec![Some(2000); 7]);
    assert_eq!(now, indexed);
    assert!(!folder.path().join(".partial").exists());
}
