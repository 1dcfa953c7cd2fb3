//! Projects and files, and the base of each.

use std::fs;
use std::path::Path;

use super::{Advice, AdviseError, advise, images};
use crate::preflight::testing::{Build, program};

fn advice(files: &[(&str, &[u8])], path: &str) -> Result<Advice, AdviseError> {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    advise(&dir.path().join(path))
}

fn base_of(files: &[(&str, &str)]) -> String {
    let files: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, text)| (*name, text.as_bytes()))
        .collect();
    let advice = advice(&files, "").unwrap();
    let base = advice.base.strip_prefix("gcr.io/distroless/").unwrap();
    assert_eq!(advice.lines[0], format!("FROM {}", advice.base));
    assert!(advice.lines[1].starts_with("COPY ") && !advice.why.is_empty());
    base.strip_suffix(":nonroot").unwrap().to_owned()
}

fn base_of_program(build: &Build) -> Advice {
    advice(&[("tool", &build.bytes())], "tool").unwrap()
}

fn needing(library: &'static str, version: &'static str) -> Build {
    Build {
        versions_needed: vec![(library, version, false)],
        ..program(&["libc.so.6", library])
    }
}

#[test]
fn the_table_is_read_and_sorted_sizes_decide() {
    let names: Vec<&str> = images().iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names.len(), 15, "{names:?}");
    assert!(images().iter().all(|image| image.slim < image.size));
}

/// Files of a project, and its base.
type Project = (&'static [(&'static str, &'static str)], &'static str);

const PROJECTS: &[Project] = &[
    (
        &[("go.mod", "module x\ngo 1.24\n"), ("main.go", "package main\n")],
        "static-debian12",
    ),
    (&[("main.go", "// A program.\npackage main\n")], "static-debian12"),
    (
        &[("go.mod", "module x\n"), ("c.go", "package x\nimport \"C\"\n")],
        "base-nossl-debian12",
    ),
    (
        &[
            ("go.mod", "module x\n"),
            ("c.go", "// #cgo LDFLAGS: -lssl\nimport \"C\"\n"),
        ],
        "base-debian12",
    ),
    (
        &[("go.mod", "module x\n"), ("c.go", "import \"C\"\n"), ("x.cc", "")],
        "cc-debian12",
    ),
    (
        &[(
            "go.mod",
            "module x\nrequire github.com/mattn/go-sqlite3 v1.14.0\n",
        )],
        "base-nossl-debian12",
    ),
    (&[("Cargo.toml", "[package]\nname = \"x\"\n")], "cc-debian12"),
    (
        &[
            ("Cargo.toml", "[package]\n"),
            (
                ".cargo/config.toml",
                "[build]\ntarget = \"x86_64-unknown-linux-musl\"\n",
            ),
        ],
        "static-debian12",
    ),
    (&[("requirements.txt", "flask\n")], "python3-debian12"),
    (
        &[("pyproject.toml", "[project]\nrequires-python = \">=3.12\"\n")],
        "python3-debian13",
    ),
    (
        &[(
            "pyproject.toml",
            "[tool.poetry.dependencies]\npython = \"^3.11\"\n",
        )],
        "python3-debian12",
    ),
    (
        &[("requirements.txt", ""), (".python-version", "3.13.1\n")],
        "python3-debian13",
    ),
    (
        &[("setup.py", "setup(python_requires='>=3.8')")],
        "python3-debian12",
    ),
    (
        &[("package.json", "{\"engines\": {\"node\": \">=20\"}}")],
        "nodejs20-debian13",
    ),
    (&[("package.json", "{}")], "nodejs18-debian12"),
    (
        &[("package.json", "{}"), (".nvmrc", "v20\n")],
        "nodejs20-debian13",
    ),
    (
        &[("pom.xml", "<maven.compiler.release>17</maven.compiler.release>")],
        "java17-debian12",
    ),
    (
        &[("pom.xml", "<java.version>21</java.version>")],
        "java21-debian13",
    ),
    (&[("build.gradle.kts", "jvmToolchain(25)")], "java25-debian13"),
    (&[("Makefile", ""), ("src/x.c", "")], "base-nossl-debian12"),
    (&[("CMakeLists.txt", ""), ("src/x.cpp", "")], "cc-debian12"),
];

#[test]
fn projects() {
    for (files, base) in PROJECTS {
        assert_eq!(base_of(files), *base, "{files:?}");
    }
}

#[test]
fn programs() {
    for (build, base) in [
        (
            Build {
                interpreter: None,
                kind: 2,
                ..program(&[])
            },
            "static-debian12",
        ),
        (needing("libc.so.6", "GLIBC_2.34"), "base-nossl-debian12"),
        (needing("libc.so.6", "GLIBC_2.38"), "base-nossl-debian13"),
        (
            Build {
                versions_needed: vec![
                    ("libc.so.6", "GLIBC_2.38", false),
                    ("libc.so.6", "GLIBC_2.34", false),
                ],
                ..program(&["libc.so.6", "libc.so.6"])
            },
            "base-nossl-debian13",
        ),
        (needing("libssl.so.3", "OPENSSL_3.0.0"), "base-debian12"),
        (needing("libstdc++.so.6", "GLIBCXX_3.4.30"), "cc-debian12"),
        (needing("libstdc++.so.6", "GLIBCXX_3.4.32"), "cc-debian13"),
        (needing("libz.so.1", "ZLIB_1.2.3"), "base-debian13"),
    ] {
        let advice = base_of_program(&build);
        assert_eq!(
            advice.base,
            format!("gcr.io/distroless/{base}:nonroot"),
            "{:?}",
            advice.why
        );
        assert_eq!(
            (&*advice.lines[1], &*advice.start),
            ("COPY tool /tool", "ENTRYPOINT [\"/tool\"]")
        );
    }
    let advice = base_of_program(&needing("libssl.so.3", "OPENSSL_3.0.0"));
    let why = advice.why.join("\n");
    assert!(
        why.contains("`base-nossl-debian13`, has no `libssl.so.3`"),
        "{why}"
    );
}

#[test]
fn libraries_that_no_base_has_come_along() {
    for build in [
        program(&["libours.so.1"]),
        needing("libc.so.6", "GLIBC_2.99"),
        Build {
            interpreter: Some("/lib/ld-musl-x86_64.so.1"),
            ..program(&["libc.musl-x86_64.so.1"])
        },
    ] {
        let advice = base_of_program(&build);
        assert_eq!(advice.base, "gcr.io/distroless/static-debian12:nonroot");
        assert_eq!(advice.lines[1], "COPY --closure --from=build /tool /");
    }
}

#[test]
fn scripts_and_classes() {
    let class = b"\xca\xfe\xba\xbe\0\0\0\x41";
    for (name, bytes, base) in [
        ("x.py", &b"print(1)\n"[..], "python3-debian12"),
        ("x", b"#!/usr/bin/env python3.13\n", "python3-debian13"),
        ("x.mjs", b"", "nodejs18-debian12"),
        ("X.class", class, "java21-debian13"),
    ] {
        let advice = advice(&[(name, bytes)], name).unwrap();
        assert_eq!(advice.base, format!("gcr.io/distroless/{base}:nonroot"), "{name}");
    }
}

#[test]
fn what_cannot_be_answered_is_told_with_a_way_out() {
    for (files, path, parts) in [
        (
            &[("x", &b"#!/bin/sh\n"[..])][..],
            "x",
            &["`sh`", "no distroless base", "debian:12-slim"][..],
        ),
        (
            &[("x", b"\0\0")],
            "x",
            &["neither an ELF program", "package.json"],
        ),
        (&[("x", b"\x7fELF\x02")], "x", &["damaged ELF file"]),
        (&[("README", b"")], "", &["nothing in it says", "go.mod"]),
        (&[("package.json", b"{")], "", &["package.json", "line 1"]),
        (
            &[("package.json", b"{\"engines\":{\"node\":\"?\"}}")],
            "",
            &["engines.node", "no range"],
        ),
        (
            &[("package.json", b"{\"engines\":{\"node\":\">=99\"}}")],
            "",
            &["Node.js", "recipe"],
        ),
        (
            &[("requirements.txt", b""), (".python-version", b"3.7\n")],
            "",
            &["Python", "recipe"],
        ),
        (&[("pyproject.toml", b"[project\n")], "", &["pyproject.toml"]),
        (&[("y", b"")], "none", &["cannot read", "none"]),
    ] {
        let error = advice(files, path).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in `{error}`");
        }
    }
    assert!(advise(Path::new("/dev/null")).is_err());
}
