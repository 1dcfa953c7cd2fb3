//! Closures over trees of files made by hand.

use distil_elf::closure::Reason;
use distil_elf::{ClosureError, parse_cache};

use crate::build::{Build, library, program};
use crate::tree::{Stage, members, with_c_library};

#[test]
fn a_program_comes_with_its_loader_its_libraries_and_the_links_to_them() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libx.so.1", "libc.so.6"]));
    stage.elf(
        "usr/lib/x86_64-linux-gnu/libx.so.1.2",
        &library("libx.so.1", &["liby.so"]),
    );
    stage.link("usr/lib/x86_64-linux-gnu/libx.so.1", "libx.so.1.2");
    stage.elf("usr/lib/liby.so", &library("liby.so", &["libc.so.6"]));
    stage.elf("usr/lib/unused.so", &library("unused.so", &[]));
    let more = [
        "/usr/lib/x86_64-linux-gnu/libx.so.1",
        "/usr/lib/x86_64-linux-gnu/libx.so.1.2",
        "/usr/lib/liby.so",
    ];
    assert_eq!(stage.members(&["/usr/bin/tool"]), with_c_library(&more));
    // By way of a link the link comes along.
    assert_eq!(
        stage.members(&["/bin/tool"]),
        with_c_library(&[&more[..], &["/bin"]].concat())
    );
    let closure = stage.closure(&["/bin/tool"]).unwrap();
    let alias = |path: &str| {
        closure
            .aliases
            .get(std::path::Path::new(path))
            .map(|real| real.display().to_string())
    };
    assert_eq!(alias("/bin/tool").as_deref(), Some("/usr/bin/tool"));
    // The loader looks in /usr/lib/x86_64-linux-gnu too; the program itself is opened by that path.
    let searched: Vec<_> = closure
        .searched
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let expected = [
        "/lib/liby.so",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libx.so.1",
    ];
    assert_eq!(searched, expected);
    let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    assert_eq!(alias("/lib64/ld-linux-x86-64.so.2").as_deref(), Some(loader));
    let named = closure
        .members
        .values()
        .filter(|reason| **reason == Reason::Named);
    assert_eq!(named.count(), 1);
}

#[test]
fn a_static_program_and_plain_files_come_alone() {
    let stage = Stage::debian();
    let fixed = Build {
        kind: 2,
        ..Build::default()
    };
    stage.elf("usr/bin/tool", &fixed);
    stage.file("etc/data", b"data");
    stage.link("etc/link", "data");
    assert_eq!(stage.members(&["/usr/bin/tool"]), ["/usr/bin/tool"]);
    assert_eq!(stage.members(&["/etc/link"]), ["/etc/data", "/etc/link"]);
}

#[test]
fn run_paths() {
    let in_opt = |needed: &[&'static str], rpath, runpath| Build {
        rpath,
        runpath,
        ..program(needed)
    };
    let stage = Stage::debian();
    stage.elf("opt/lib/liba.so", &library("liba.so", &["libb.so"]));
    stage.elf("opt/lib/libb.so", &library("libb.so", &[]));
    let found = |build: &Build| {
        stage.elf("opt/bin/tool", build);
        stage.closure(&["/opt/bin/tool"])
    };
    // DT_RPATH counts for libraries of libraries, DT_RUNPATH does not, and switches DT_RPATH off.
    assert!(found(&in_opt(&["liba.so"], Some("$ORIGIN/../lib"), None)).is_ok());
    assert!(found(&in_opt(&["liba.so"], Some("${ORIGIN}/../lib"), None)).is_ok());
    let error = found(&in_opt(&["liba.so"], None, Some("$ORIGIN/../lib"))).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`libb.so`, which `/opt/lib/liba.so` needs"),
        "{error}"
    );
    assert!(found(&in_opt(&["liba.so", "libb.so"], None, Some("$ORIGIN/../lib"))).is_ok());
    assert!(found(&in_opt(&["liba.so"], Some("$ORIGIN/../lib"), Some("/nowhere"))).is_err());
    assert!(found(&in_opt(&["liba.so"], Some("$ORIGINAL/../lib"), None)).is_err());
    assert!(found(&in_opt(&["liba.so"], Some("lib:../lib"), None)).is_err());
    // A path instead of a name, and $LIB of Debian's loader.
    assert!(found(&in_opt(&["/opt/lib/libb.so"], None, None)).is_ok());
    stage.elf("opt/lib/x86_64-linux-gnu/libd.so", &library("libd.so", &[]));
    assert!(found(&in_opt(&["libd.so"], Some("/opt/$LIB"), None)).is_ok());
}

#[test]
fn what_is_missing_is_named_with_who_needs_it() {
    let stage = Stage::debian();
    stage.elf(
        "usr/bin/tool",
        &program(&["libgone.so.3", "libx.so", "libc.so.6"]),
    );
    stage.elf("usr/lib/libx.so", &library("libx.so", &["libtoo.so"]));
    let error = stage.closure(&["/bin/tool"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`libgone.so.3`, which `/usr/bin/tool` needs, is not there; `libtoo.so`, which `/usr/lib/libx.so` needs, is \
         not there; install what is missing in the stage that is copied from"
    );
    let error = stage.closure(&["/usr/bin/nothing"]).unwrap_err();
    assert!(matches!(error, ClosureError::NotFound { .. }));
    // No loader.
    let musl = Build {
        interpreter: Some("/lib/ld-musl-x86_64.so.1"),
        ..program(&[])
    };
    stage.elf("usr/bin/tool", &musl);
    let error = stage.closure(&["/bin/tool"]).unwrap_err().to_string();
    assert!(
        error.contains("`/lib/ld-musl-x86_64.so.1`, which `/usr/bin/tool` needs"),
        "{error}"
    );
}

#[test]
fn the_loader_is_found_by_name_where_programs_have_it() {
    let stage = Stage::empty();
    stage.elf(
        "lib64/ld-linux-x86-64.so.2",
        &library("ld-linux-x86-64.so.2", &[]),
    );
    stage.elf(
        "lib/x86_64-linux-gnu/libc.so.6",
        &library("libc.so.6", &["ld-linux-x86-64.so.2"]),
    );
    stage.elf("bin/tool", &program(&["libc.so.6"]));
    // Not a directory that a loader of Debian searches.
    let mut loader = library("ld-linux-x86-64.so.2", &[]).bytes();
    loader.extend(b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0\0");
    stage.file("lib64/ld-linux-x86-64.so.2", &loader);
    let expected = [
        "/bin/tool",
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib64/ld-linux-x86-64.so.2",
    ];
    assert_eq!(stage.members(&["/bin/tool"]), expected);
    assert_eq!(stage.members(&["/lib/x86_64-linux-gnu/libc.so.6"]), expected[1..]);
}

#[test]
fn libraries_of_another_machine_are_passed_over() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libx.so"]));
    let foreign = Build {
        machine: 183,
        ..library("libx.so", &[])
    };
    stage.elf("usr/lib/x86_64-linux-gnu/libx.so", &foreign);
    assert!(stage.closure(&["/usr/bin/tool"]).is_err());
    stage.elf("usr/lib/libx.so", &library("libx.so", &[]));
    assert!(
        stage
            .members(&["/usr/bin/tool"])
            .contains(&"/usr/lib/libx.so".to_owned())
    );
}

#[test]
fn versions_of_symbols() {
    let stage = Stage::debian();
    let needing = |version, weak| Build {
        versions_needed: vec![("libc.so.6", version, weak)],
        ..program(&["libc.so.6"])
    };
    stage.elf("usr/bin/tool", &needing("GLIBC_2.36", false));
    assert!(stage.closure(&["/usr/bin/tool"]).is_ok());
    stage.elf("usr/bin/tool", &needing("GLIBC_2.38", true));
    assert!(stage.closure(&["/usr/bin/tool"]).is_ok());
    stage.elf("usr/bin/tool", &needing("GLIBC_2.38", false));
    let error = stage.closure(&["/usr/bin/tool"]).unwrap_err().to_string();
    let expected = "`/usr/lib/x86_64-linux-gnu/libc.so.6` has no `GLIBC_2.38`, which `/usr/bin/tool` needs";
    assert!(error.starts_with(expected), "{error}");
}

/// A cache with these names and paths.
fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend((entries.len() as u32).to_le_bytes());
    bytes.resize(48, 0);
    let mut strings = Vec::new();
    let base = 48 + entries.len() * 24;
    for (name, path) in entries {
        bytes.extend(0x0303u32.to_le_bytes());
        for text in [name, path] {
            bytes.extend(((base + strings.len()) as u32).to_le_bytes());
            strings.extend(text.as_bytes());
            strings.push(0);
        }
        bytes.resize(bytes.len() + 12, 0);
    }
    bytes.extend(strings);
    bytes
}

#[test]
fn what_only_the_cache_finds_is_linked_where_every_loader_looks() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libx.so.1", "libc.so.6"]));
    stage.elf("opt/vendor/libx.so.1", &library("libx.so.1", &[]));
    assert!(stage.closure(&["/usr/bin/tool"]).is_err());
    let with_link = |stage: &Stage| {
        let closure = stage.closure(&["/usr/bin/tool"]).unwrap();
        assert_eq!(members(&closure), with_c_library(&["/opt/vendor/libx.so.1"]));
        let added: Vec<_> = closure
            .added
            .iter()
            .map(|(link, to)| (link.display(), to.display()))
            .collect();
        let text = format!("{added:?}");
        assert_eq!(
            text,
            r#"[("/usr/lib/x86_64-linux-gnu/libx.so.1", "/opt/vendor/libx.so.1")]"#
        );
    };
    // ld.so.conf, with an include, as if ldconfig had not run.
    stage.file("etc/ld.so.conf", b"# nothing\ninclude ld.so.conf.d/*.conf\n");
    stage.file("etc/ld.so.conf.d/vendor.conf", b"/opt/vendor # here\n");
    with_link(&stage);
    std::fs::remove_file(stage.path("etc/ld.so.conf")).unwrap();
    let paths = [
        ("libx.so.1", "/opt/vendor/libx.so.1"),
        ("libc.so.6", "/lib/x86_64-linux-gnu/libc.so.6"),
    ];
    assert_eq!(parse_cache(&cache(&paths)).len(), 2);
    stage.file("etc/ld.so.cache", &cache(&paths));
    with_link(&stage);
}

#[test]
fn builds_for_newer_processors_come_along() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libx.so.1"]));
    let base = "usr/lib/x86_64-linux-gnu";
    stage.elf(&format!("{base}/libx.so.1"), &library("libx.so.1", &[]));
    stage.elf(
        &format!("{base}/glibc-hwcaps/x86-64-v3/libx.so.1"),
        &library("libx.so.1", &[]),
    );
    let found = stage.members(&["/usr/bin/tool"]);
    assert!(
        found.contains(&format!("/{base}/glibc-hwcaps/x86-64-v3/libx.so.1")),
        "{found:?}"
    );
}

#[test]
fn musl() {
    let stage = Stage::empty();
    stage.elf("lib/ld-musl-x86_64.so.1", &library("libc.musl-x86_64.so.1", &[]));
    stage.link("lib/libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1");
    let tool = Build {
        interpreter: Some("/lib/ld-musl-x86_64.so.1"),
        ..program(&["libx.so.1", "libc.musl-x86_64.so.1"])
    };
    stage.elf("usr/bin/tool", &tool);
    stage.elf(
        "usr/local/lib/libx.so.1",
        &library("libx.so.1", &["libc.musl-x86_64.so.1"]),
    );
    let expected = [
        "/lib/ld-musl-x86_64.so.1",
        "/usr/bin/tool",
        "/usr/local/lib/libx.so.1",
    ];
    assert_eq!(stage.members(&["/usr/bin/tool"]), expected);
    // A library by itself says whose it is by the C library that it names.
    assert_eq!(
        stage.members(&["/usr/local/lib/libx.so.1"]),
        [expected[0], expected[2]]
    );
    // A path file replaces the usual directories, and has to come along.
    stage.file("etc/ld-musl-x86_64.path", b"/lib\n/opt/lib:/usr/lib\n");
    assert!(stage.closure(&["/usr/bin/tool"]).is_err());
    stage.elf("opt/lib/libx.so.1", &library("libx.so.1", &[]));
    let expected = [
        "/etc/ld-musl-x86_64.path",
        "/lib/ld-musl-x86_64.so.1",
        "/opt/lib/libx.so.1",
        "/usr/bin/tool",
    ];
    assert_eq!(stage.members(&["/usr/bin/tool"]), expected);
}

#[test]
fn scripts_bring_their_interpreter() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libc.so.6"]));
    stage.file("usr/bin/script", b"#!/bin/tool -x\n");
    let expected = with_c_library(&["/bin", "/usr/bin/script"]);
    assert_eq!(stage.members(&["/usr/bin/script"]), expected);
    stage.elf("usr/bin/env", &program(&["libc.so.6"]));
    stage.file("usr/bin/script", b"#!/usr/bin/env -S A=1 tool\n");
    let expected = with_c_library(&["/usr/bin/script", "/usr/bin/env"]);
    assert_eq!(stage.members(&["/usr/bin/script"]), expected);
    stage.file("usr/bin/script", b"#!/usr/bin/env gone\n");
    let error = stage.closure(&["/usr/bin/script"]).unwrap_err().to_string();
    assert!(
        error.starts_with("`gone`, which `/usr/bin/script` needs"),
        "{error}"
    );
}

#[test]
fn a_directory_comes_whole_and_its_gaps_are_told() {
    let stage = Stage::debian();
    stage.elf("opt/app/bin/tool", &program(&["libc.so.6"]));
    stage.elf(
        "opt/app/lib/plugin.so",
        &library("plugin.so", &["libgone.so", "libapp.so"]),
    );
    stage.elf("opt/app/lib/server/libapp.so", &library("libapp.so", &[]));
    stage.file("opt/app/empty", b"");
    let closure = stage.closure(&["/opt/app"]).unwrap();
    let found = members(&closure);
    for path in [
        "/opt/app/empty",
        "/opt/app/lib/server/libapp.so",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ] {
        assert!(found.contains(&path.to_owned()), "{path} {found:?}");
    }
    // libapp.so is loaded by what loads the plugin; libgone.so is nowhere.
    let notes: Vec<_> = closure.notes.iter().collect();
    assert_eq!(
        notes,
        ["`/opt/app/lib/plugin.so` needs `libgone.so`, which is not there"]
    );
}

#[test]
fn loops_of_links_and_libraries_end() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["liba.so", "libloop.so"]));
    stage.elf("usr/lib/liba.so", &library("liba.so", &["libb.so"]));
    stage.elf("usr/lib/libb.so", &library("libb.so", &["liba.so"]));
    stage.link("usr/lib/libloop.so", "libloop2.so");
    stage.link("usr/lib/libloop2.so", "libloop.so");
    let error = stage.closure(&["/usr/bin/tool"]).unwrap_err().to_string();
    assert!(
        error.starts_with("`libloop.so`, which `/usr/bin/tool` needs, is not there"),
        "{error}"
    );
    assert!(
        stage
            .closure(&["/usr/lib/libloop.so"])
            .unwrap_err()
            .to_string()
            .contains("too many symbolic links")
    );
    // Links never lead out of the tree.
    stage.link("usr/bin/up", "../../../../../../../../etc/passwd");
    assert!(matches!(
        stage.closure(&["/usr/bin/up"]),
        Err(ClosureError::NotFound { .. })
    ));
}

#[test]
fn a_damaged_program_is_an_error_and_a_damaged_library_is_no_library() {
    let stage = Stage::debian();
    let mut bytes = program(&["libc.so.6"]).bytes();
    bytes.truncate(80);
    stage.file("usr/bin/tool", &bytes);
    let error = stage.closure(&["/usr/bin/tool"]).unwrap_err().to_string();
    assert!(error.starts_with("`/usr/bin/tool` cannot be examined"), "{error}");
    stage.elf("usr/bin/tool", &program(&["libx.so"]));
    stage.file("usr/lib/libx.so", &bytes);
    assert!(matches!(
        stage.closure(&["/usr/bin/tool"]),
        Err(ClosureError::Missing { .. })
    ));
}

#[test]
fn the_search_ends_when_it_is_cancelled() {
    let stage = Stage::debian();
    stage.elf("usr/bin/tool", &program(&["libc.so.6"]));
    stage.elf("opt/dir/tool", &program(&["libc.so.6"]));
    let cancelled = std::sync::atomic::AtomicBool::new(true);
    for named in ["/usr/bin/tool", "/opt/dir"] {
        let found = distil_elf::Closure::of(&stage.tree(), &[named.into()], &cancelled);
        assert!(matches!(found, Err(ClosureError::Cancelled)), "{found:?}");
    }
}
