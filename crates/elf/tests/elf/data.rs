//! What is opened while a program runs.

use crate::build::{Build, library, program};
use crate::tree::{Stage, members};

const LIB: &str = "usr/lib/x86_64-linux-gnu";

fn has(stage: &Stage, paths: &[&str]) -> Vec<bool> {
    let found = stage.members(&["/usr/bin/tool"]);
    paths
        .iter()
        .map(|path| found.contains(&(*path).to_owned()))
        .collect()
}

fn importing(names: &[&'static str], needed: &[&'static str]) -> Build {
    Build {
        imports: names.to_vec(),
        ..program(needed)
    }
}

#[test]
fn name_services_when_they_are_asked() {
    let stage = Stage::debian();
    stage.file(
        "etc/nsswitch.conf",
        b"# x\nhosts: files [!UNAVAIL=return] myhostname dns\npasswd: files systemd\n",
    );
    stage.elf(
        &format!("{LIB}/libnss_myhostname.so.2"),
        &library("libnss_myhostname.so.2", &["libc.so.6"]),
    );
    stage.elf(
        &format!("{LIB}/libnss_files.so.2"),
        &library("libnss_files.so.2", &["libc.so.6"]),
    );
    let paths = [
        "/etc/nsswitch.conf",
        "/usr/lib/x86_64-linux-gnu/libnss_myhostname.so.2",
        "/usr/lib/x86_64-linux-gnu/libnss_files.so.2",
    ];
    stage.elf("usr/bin/tool", &importing(&["puts"], &["libc.so.6"]));
    assert_eq!(has(&stage, &paths), [false, false, false]);
    stage.elf("usr/bin/tool", &importing(&["getaddrinfo"], &["libc.so.6"]));
    // `files` is part of glibc since 2.34.
    assert_eq!(has(&stage, &paths), [true, true, false]);
    let old = Build {
        versions_defined: vec!["GLIBC_2.2.5"],
        ..library("libc.so.6", &["ld-linux-x86-64.so.2"])
    };
    stage.elf(&format!("{LIB}/libc.so.6"), &old);
    assert_eq!(has(&stage, &paths), [true, true, true]);
}

#[test]
fn what_the_c_library_opens() {
    let stage = Stage::debian();
    stage.elf(
        &format!("{LIB}/libgcc_s.so.1"),
        &library("libgcc_s.so.1", &["libc.so.6"]),
    );
    stage.file("usr/lib/locale/C.utf8/LC_CTYPE", b"x");
    let paths = [
        "/usr/lib/x86_64-linux-gnu/libgcc_s.so.1",
        "/usr/lib/locale/C.utf8/LC_CTYPE",
    ];
    stage.elf("usr/bin/tool", &importing(&["setlocale"], &["libc.so.6"]));
    assert_eq!(has(&stage, &paths), [false, true]);
    stage.elf("usr/bin/tool", &importing(&["pthread_exit"], &["libc.so.6"]));
    assert_eq!(has(&stage, &paths), [true, false]);
}

#[test]
fn certificates_and_openssl() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libssl.so.3"]));
    stage.elf(
        &format!("{LIB}/libssl.so.3"),
        &library("libssl.so.3", &["libcrypto.so.3"]),
    );
    let mut crypto = library("libcrypto.so.3", &["libc.so.6"]).bytes();
    crypto.extend(b"\0OPENSSLDIR: \"/usr/lib/ssl\"\0MODULESDIR: \"/usr/lib/ossl-modules\"\0");
    stage.file(&format!("{LIB}/libcrypto.so.3"), &crypto);
    let closure = stage.closure(&["/usr/bin/tool"]).unwrap();
    let notes = closure.notes.iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(notes.contains("install `ca-certificates`"), "{notes}");

    stage.file("etc/ssl/certs/ca-certificates.crt", b"bundle");
    stage.file("etc/ssl/certs/0123abcd.0", b"one");
    stage.file("etc/ssl/openssl.cnf", b".include /etc/ssl/more.cnf\n");
    stage.file("etc/ssl/more.cnf", b"");
    stage.link("usr/lib/ssl/openssl.cnf", "/etc/ssl/openssl.cnf");
    stage.link("usr/lib/ssl/certs", "/etc/ssl/certs");
    stage.file("usr/lib/ossl-modules/legacy.so", b"");
    let closure = stage.closure(&["/usr/bin/tool"]).unwrap();
    let found = members(&closure);
    for path in [
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/lib/ssl/openssl.cnf",
        "/etc/ssl/openssl.cnf",
        "/etc/ssl/more.cnf",
    ] {
        assert!(found.contains(&path.to_owned()), "{path} {found:?}");
    }
    assert!(!found.contains(&"/etc/ssl/certs/0123abcd.0".to_owned()));
    let added: Vec<_> = closure
        .added
        .keys()
        .map(|path| path.display().to_string())
        .collect();
    assert_eq!(added, ["/usr/lib/ssl/cert.pem"]);
    let notes = closure.notes.iter().cloned().collect::<Vec<_>>().join("\n");
    assert!(
        notes.contains("`legacy.so` from `/usr/lib/ossl-modules`"),
        "{notes}"
    );
    // What the stage has itself is taken as it is.
    stage.link("usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt");
    assert!(stage.closure(&["/usr/bin/tool"]).unwrap().added.is_empty());
}

#[test]
fn notes_of_files_about_what_they_load() {
    let stage = Stage::debian();
    let tool = |priority: &str| Build {
        dlopen: Some(match priority {
            "required" => r#"[{"soname":["libz.so.2","libz.so.1"],"priority":"required"}]"#,
            _ => r#"[{"soname":["libz.so.1"],"feature":"compression"}]"#,
        }),
        ..program(&["libc.so.6"])
    };
    stage.elf("usr/bin/tool", &tool("required"));
    let error = stage.closure(&["/usr/bin/tool"]).unwrap_err().to_string();
    assert!(
        error.contains("`libz.so.2` or `libz.so.1`, which `/usr/bin/tool` needs"),
        "{error}"
    );
    stage.elf("usr/lib/libz.so.1", &library("libz.so.1", &["libc.so.6"]));
    assert_eq!(has(&stage, &["/usr/lib/libz.so.1"]), [true]);
    stage.elf("usr/bin/tool", &tool("recommended"));
    let closure = stage.closure(&["/usr/bin/tool"]).unwrap();
    assert!(!members(&closure).contains(&"/usr/lib/libz.so.1".to_owned()));
    let note = "`/usr/bin/tool` may load `libz.so.1` for `compression` (recommended); name it as a source when that \
                is used";
    assert!(closure.notes.contains(note), "{:?}", closure.notes);
}

#[test]
fn python_comes_with_its_modules() {
    let stage = Stage::debian();
    stage.elf("usr/local/bin/python3.12", &program(&["libc.so.6"]));
    stage.link("usr/local/bin/python3", "python3.12");
    let modules = "usr/local/lib/python3.12";
    stage.elf(
        &format!("{modules}/lib-dynload/_z.so"),
        &library("_z.so", &["libz.so.1", "libgone.so"]),
    );
    stage.elf("usr/lib/libz.so.1", &library("libz.so.1", &["libc.so.6"]));
    stage.file(&format!("{modules}/os.py"), b"#!/usr/bin/env gone\n");
    stage.file(&format!("{modules}/test/x.py"), b"");
    stage.file(&format!("{modules}/site-packages/app/test/x.py"), b"");
    stage.file("app/.venv/pyvenv.cfg", b"home = /usr/local/bin\n");
    stage.link("app/.venv/bin/python", "/usr/local/bin/python3");
    stage.file("app/.venv/lib/python3.12/site-packages/web.py", b"");
    stage.file("usr/bin/tool", b"#!/app/.venv/bin/python\n");
    let paths = [
        "/usr/local/lib/python3.12/os.py",
        "/usr/local/lib/python3.12/lib-dynload/_z.so",
        "/usr/local/lib/python3.12/site-packages/app/test/x.py",
        "/usr/lib/libz.so.1",
        "/app/.venv/pyvenv.cfg",
        "/app/.venv/lib/python3.12/site-packages/web.py",
        "/app/.venv/bin/python",
        "/usr/local/lib/python3.12/test/x.py",
    ];
    assert_eq!(
        has(&stage, &paths),
        [true, true, true, true, true, true, true, false]
    );
    let closure = stage.closure(&["/usr/bin/tool"]).unwrap();
    assert!(
        closure.notes.iter().any(|note| note.contains("libgone.so")),
        "{:?}",
        closure.notes
    );
}
