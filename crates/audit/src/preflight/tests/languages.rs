//! Python, Java, Node.js.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::{Put, base, elf, find, one, text, words};
use crate::preflight::id;
use crate::preflight::testing::{Build, library, program};
use crate::{Finding, Severity};

/// A base with Python 3.11 as Debian has it.
fn python() -> Vec<Put> {
    let mut files = base();
    files.push(elf("usr/bin/python3.11", &program(&["libc.so.6"])));
    files.push(Put::Link("usr/bin/python3", "python3.11"));
    files.push(text("usr/lib/python3/dist-packages/README", "", 0o644));
    files.push(text(
        "usr/lib/python3/dist-packages/more.pth",
        "import site; site.addsitedir(\"/usr/local/lib/python3.11/site-packages\")\n",
        0o644,
    ));
    files
}

fn python_with(path: &'static str, environment: &[&str]) -> Vec<Finding> {
    find(&python(), &[text(path, "", 0o644)], |config| {
        config.entrypoint = words(&["python3", "/srv/app.py"]);
        config.env = words(environment);
    })
}

#[test]
fn python_packages_for_another_version() {
    let found = python_with("usr/local/lib/python3.12/site-packages/flask/__init__.py", &[]);
    one(
        &found,
        id::PYTHON_VERSION,
        Severity::Error,
        &["Python 3.12", "Python 3.11"],
    );
    let module = Put::File(
        "usr/local/lib/python3.11/dist-packages/x/fast.cpython-312-x86_64-linux-gnu.so",
        library("fast.so", &[]).bytes(),
        0o644,
    );
    let found = find(&python(), &[module], |_| {});
    one(
        &found,
        id::PYTHON_VERSION,
        Severity::Error,
        &["fast.cpython-312", "Python 3.12"],
    );
}

#[test]
fn python_packages_off_the_path() {
    for path in [
        "usr/local/lib/python3.11/site-packages/flask/__init__.py",
        "usr/local/lib/python3.11/dist-packages/flask/__init__.py",
        "usr/lib/python3/dist-packages/flask/__init__.py",
        "srv/flask-3.0.dist-info/METADATA",
        "root/.local/lib/python3.11/site-packages/flask/__init__.py",
        "usr/lib/python3/dist-packages/pip/_vendor/x-1.dist-info/METADATA",
    ] {
        assert_eq!(python_with(path, &[]), [], "{path}");
    }
    let found = python_with("install/lib/python3.11/site-packages/flask/__init__.py", &[]);
    one(
        &found,
        id::PYTHON_PATH,
        Severity::Warning,
        &["sys.path", "/usr/local/lib/python3.11/site-packages"],
    );
    let found = python_with("deps/flask-3.0.dist-info/METADATA", &[]);
    one(
        &found,
        id::PYTHON_PATH,
        Severity::Warning,
        &["`/deps`", "`ENV PYTHONPATH=/deps`"],
    );
    assert_eq!(
        python_with("deps/flask-3.0.dist-info/METADATA", &["PYTHONPATH=/x:/deps"]),
        []
    );
}

#[test]
fn virtual_environments_have_to_be_started() {
    let files = || {
        vec![
            text("venv/pyvenv.cfg", "home = /usr/bin\n", 0o644),
            Put::Link("venv/bin/python", "/usr/bin/python3.11"),
            text("venv/lib/python3.11/site-packages/flask/__init__.py", "", 0o644),
        ]
    };
    let with = |entrypoint: &[&str]| {
        find(&python(), &files(), |config| {
            config.entrypoint = words(entrypoint);
        })
    };
    assert_eq!(with(&["/venv/bin/python", "/app.py"]), []);
    one(
        &with(&["python3", "/app.py"]),
        id::PYTHON_PATH,
        Severity::Warning,
        &["start `/venv/bin/python`"],
    );
}

/// The first bytes of a class file for a Java.
fn class(java: u16) -> Vec<u8> {
    let mut bytes = b"\xca\xfe\xba\xbe\0\0".to_vec();
    bytes.extend((44 + java).to_be_bytes());
    bytes.extend([0; 60]);
    bytes
}

/// A ZIP archive; `jar` entries are stored, others deflated.
fn zip(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let stored = name.ends_with(".jar");
        let data = if stored {
            bytes.clone()
        } else {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let method = if stored { 0u16 } else { 8 };
        let mut header = Vec::new();
        header.extend(20u16.to_le_bytes());
        header.extend(0u16.to_le_bytes());
        header.extend(method.to_le_bytes());
        header.extend([0; 8]);
        header.extend((data.len() as u32).to_le_bytes());
        header.extend((bytes.len() as u32).to_le_bytes());
        header.extend((name.len() as u16).to_le_bytes());
        header.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&header);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&header);
        out.extend(name.as_bytes());
        out.extend(&data);
    }
    let start = out.len() as u32;
    let count = entries.len() as u16;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0; 2]);
    out
}

fn java_with(path: &'static str, bytes: Vec<u8>) -> Vec<Finding> {
    let mut lower = base();
    lower.push(elf("usr/lib/jvm/java-17/bin/java", &program(&["libc.so.6"])));
    lower.push(text(
        "usr/lib/jvm/java-17/release",
        "JAVA_VERSION=\"17.0.9\"\n",
        0o644,
    ));
    lower.push(Put::Link("usr/bin/java", "/usr/lib/jvm/java-17/bin/java"));
    find(&lower, &[Put::File(path, bytes, 0o644)], |config| {
        config.entrypoint = words(&["/usr/bin/java", "-jar", "/app.jar"]);
    })
}

#[test]
fn classes_newer_than_the_runtime() {
    let java21 = [
        "compiled for Java 21, the image has Java 17",
        "--release 17",
        "`java21`",
    ];
    one(
        &java_with("app/Main.class", class(21)),
        id::JAVA_VERSION,
        Severity::Error,
        &java21,
    );
    let found = java_with(
        "app.jar",
        zip(&[("a/Old.class", class(8)), ("b/New.class", class(21))]),
    );
    one(
        &found,
        id::JAVA_VERSION,
        Severity::Error,
        &["`b/New.class` in `/app.jar`"],
    );
    let inner = zip(&[("x/Lib.class", class(25))]);
    let found = java_with(
        "app.jar",
        zip(&[("a/Main.class", class(17)), ("BOOT-INF/lib/x.jar", inner)]),
    );
    one(
        &found,
        id::JAVA_VERSION,
        Severity::Error,
        &["`BOOT-INF/lib/x.jar!x/Lib.class`", "Java 25"],
    );
    let fine = zip(&[
        ("a/Main.class", class(17)),
        ("module-info.class", class(21)),
        ("META-INF/versions/21/a/Main.class", class(21)),
    ]);
    assert_eq!(java_with("app.jar", fine), []);
    assert_eq!(java_with("app.jar", b"PK\x05\x06 no archive".to_vec()), []);
}

fn node_with(path: &'static str, name: &'static str) -> Vec<Finding> {
    let mut lower = base();
    let node = Build {
        soname: Some("node_register_module_v115"),
        ..program(&["libc.so.6"])
    };
    lower.push(elf("nodejs/bin/node", &node));
    let upper = [elf(path, &library(name, &["libc.so.6"]))];
    find(&lower, &upper, |config| {
        config.entrypoint = words(&["/nodejs/bin/node"]);
    })
}

#[test]
fn addons_for_another_abi() {
    let path = "app/node_modules/sqlite/build/Release/sqlite.node";
    let found = node_with(path, "node_register_module_v108");
    one(
        &found,
        id::NODE_ABI,
        Severity::Error,
        &["Node.js 18 (ABI 108)", "Node.js 20 (ABI 115)", "npm rebuild"],
    );
    assert_eq!(node_with(path, "node_register_module_v115"), []);
    assert_eq!(node_with(path, "napi_register_module_v1"), []);
    let by_path = node_with("app/lib/binding/node-v93-linux-x64/x.node", "x");
    one(&by_path, id::NODE_ABI, Severity::Error, &["Node.js 16 (ABI 93)"]);
}
