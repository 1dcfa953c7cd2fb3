//! One broken image for each check, beside one that runs.

mod languages;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use distil_oci::{ContainerConfig, Healthcheck};

use super::testing::{Build, library, program};
use super::{Subject, id, preflight};
use crate::testing::World;
use crate::{Finding, Severity};

/// A file to put into a layer.
enum Put {
    File(&'static str, Vec<u8>, u32),
    Link(&'static str, &'static str),
}

fn text(path: &'static str, text: &str, mode: u32) -> Put {
    Put::File(path, text.as_bytes().to_vec(), mode)
}

fn elf(path: &'static str, build: &Build) -> Put {
    Put::File(path, build.bytes(), 0o755)
}

const DEBIAN: &str = "ID=debian\nVERSION_ID=\"12\"\n";

/// What a base of Debian 12 has, as far as checks look at it.
fn base() -> Vec<Put> {
    let libc = Build {
        versions_defined: vec!["GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.36"],
        ..library("libc.so.6", &[])
    };
    let passwd = "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n";
    vec![
        elf(
            "lib64/ld-linux-x86-64.so.2",
            &library("ld-linux-x86-64.so.2", &[]),
        ),
        elf("usr/lib/x86_64-linux-gnu/libc.so.6", &libc),
        text("etc/os-release", DEBIAN, 0o644),
        text("etc/passwd", passwd, 0o644),
        text("etc/group", "root:x:0:\nnonroot:x:65532:\n", 0o644),
    ]
}

fn put(root: &Path, files: &[Put]) {
    let prepare = |path: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for file in files {
        match file {
            Put::File(path, bytes, mode) => {
                let path = prepare(path);
                fs::write(&path, bytes).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Put::Link(path, target) => symlink(target, prepare(path)).unwrap(),
        }
    }
}

/// What is found in an image of two layers, the lower one a base.
fn find(lower: &[Put], upper: &[Put], set: impl FnOnce(&mut ContainerConfig)) -> Vec<Finding> {
    let mut world = World::new();
    world.layer("base", |root| put(root, lower), |_| {});
    world.layer("COPY files /", |root| put(root, upper), |_| {});
    set(&mut world.config().config);
    let view = world.view();
    preflight(&Subject::new(view.tree(), view.dirs(), view.config(), 1)).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Wants exactly one finding, of this id, with these parts in its message or fix.
fn one(found: &[Finding], id: &str, severity: Severity, parts: &[&str]) {
    assert_eq!(found.len(), 1, "{found:#?}");
    let finding = &found[0];
    assert_eq!((finding.id, finding.severity), (id, severity), "{found:#?}");
    let text = format!("{}; {}", finding.message, finding.fix.clone().unwrap_or_default());
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in `{text}`");
    }
}

/// [`find`] with `/app` as the command, on [`base`].
fn app(files: &[Put]) -> Vec<Finding> {
    find(&base(), files, |config| config.entrypoint = words(&["/app"]))
}

/// [`app`] with a program as `/app`.
fn app_of(build: &Build) -> Vec<Finding> {
    app(&[elf("app", build)])
}

#[test]
fn an_image_that_runs_gives_nothing() {
    let build = Build {
        versions_needed: vec![("libc.so.6", "GLIBC_2.34", false)],
        ..program(&["libc.so.6"])
    };
    assert_eq!(app_of(&build), []);
    let found = find(&base(), &[elf("usr/bin/app", &build)], |config| {
        config.entrypoint = words(&["app"]);
        config.user = "65532:65532".to_owned();
    });
    assert_eq!(found, []);
    assert_eq!(
        find(&[], &[], |_| {}),
        [],
        "an image without a command is for others to copy from"
    );
}

#[test]
fn programs_for_another_machine() {
    let build = Build {
        machine: 183,
        interpreter: None,
        ..program(&[])
    };
    let parts = [
        "`/app` is a program for arm64, the image is for amd64",
        "GOARCH=amd64",
    ];
    let found = app_of(&build);
    one(&found, id::WRONG_ARCHITECTURE, Severity::Error, &parts);
    assert_eq!(found[0].layer, Some(1));
    assert_eq!(found[0].instruction.as_ref().unwrap().as_str(), "COPY files /");
}

#[test]
fn loaders_and_libraries() {
    let musl = Build {
        interpreter: Some("/lib/ld-musl-x86_64.so.1"),
        ..program(&["libc.musl-x86_64.so.1"])
    };
    one(
        &app_of(&musl),
        id::MISSING_LOADER,
        Severity::Error,
        &["ld-musl-x86_64.so.1", "Alpine"],
    );
    let found = find(&[], &[elf("app", &program(&["libc.so.6"]))], |config| {
        config.cmd = words(&["/app"]);
    });
    one(
        &found,
        id::MISSING_LOADER,
        Severity::Error,
        &["/lib64/ld-linux-x86-64.so.2", "statically"],
    );
    let found = app_of(&program(&["libssl.so.3", "libc.so.6"]));
    one(
        &found,
        id::MISSING_LIBRARY,
        Severity::Error,
        &["`libssl.so.3`", "`/app`", "`libssl3`", "base `base`"],
    );
    let found = app_of(&program(&["libpq.so.5", "libc.so.6"]));
    one(
        &found,
        id::MISSING_LIBRARY,
        Severity::Error,
        &["`libpq5`", "COPY --from=deb:bookworm/libpq5 / /"],
    );
    let found = app_of(&program(&["libours.so.1"]));
    one(
        &found,
        id::MISSING_LIBRARY,
        Severity::Error,
        &["`libours.so.1`", "--closure"],
    );
}

#[test]
fn libraries_that_are_too_old() {
    let build = Build {
        versions_needed: vec![
            ("libc.so.6", "GLIBC_2.38", false),
            ("libc.so.6", "GLIBC_2.40", false),
        ],
        ..program(&["libc.so.6"])
    };
    let parts = [
        "`GLIBC_2.40`",
        "up to `GLIBC_2.36`",
        "build it on Debian 12",
        "a base of Debian 13",
    ];
    one(&app_of(&build), id::OLD_LIBRARY, Severity::Error, &parts);
}

#[test]
fn what_the_build_copied_is_looked_into() {
    let mut lower = base();
    // A plugin of the base is its own matter.
    lower.push(elf("usr/lib/plugin.so", &library("plugin.so", &["libnone.so.1"])));
    let lacking = library("libx.so", &["libours.so.1"]);
    let upper = [
        elf("opt/one.so", &lacking),
        elf("opt/two.so", &lacking),
        elf("opt/three.so", &library("three.so", &["libx.so", "libcuda.so.1"])),
        elf("opt/libx.so", &library("libx.so", &[])),
    ];
    let found = find(&lower, &upper, |_| {});
    one(
        &found,
        id::MISSING_LIBRARY,
        Severity::Warning,
        &["`libours.so.1`", "another file does"],
    );
    let java = [
        elf("opt/java/lib/libawt_xawt.so", &library("x", &["libX11.so.6"])),
        text("opt/java/lib/jvm.cfg", "", 0o644),
    ];
    assert_eq!(find(&lower, &java, |_| {}), []);
}

#[test]
fn commands_that_are_not_there() {
    for (command, files, part) in [
        ("/app", vec![], "`/app` of ENTRYPOINT does not exist"),
        ("./run", vec![], "`/srv/run` of ENTRYPOINT does not exist"),
        ("app", vec![], "in no directory of `PATH` (/bin:/usr/bin)"),
        (
            "/app",
            vec![Put::Link("app", "gone/app")],
            "is a link to `/gone/app`",
        ),
        ("/app", vec![text("app/x", "", 0o755)], "is a directory"),
    ] {
        let found = find(&base(), &files, |config| {
            config.entrypoint = words(&[command]);
            config.env = words(&["PATH=/bin:/usr/bin"]);
            config.working_dir = "/srv".to_owned();
        });
        one(&found, id::COMMAND_NOT_FOUND, Severity::Error, &[part]);
    }
    // What a volume holds is not known.
    let found = find(&base(), &[], |config| {
        config.cmd = words(&["/data/run"]);
        config.volumes.insert("/data".to_owned());
    });
    assert_eq!(found, []);
}

#[test]
fn commands_that_may_not_be_executed() {
    let bytes = program(&["libc.so.6"]).bytes();
    let found = app(&[Put::File("app", bytes.clone(), 0o644)]);
    one(
        &found,
        id::COMMAND_NOT_EXECUTABLE,
        Severity::Error,
        &["mode 0644", "--chmod=755"],
    );
    let closed = [Put::File("app", bytes, 0o700)];
    let found = find(&base(), &closed, |config| {
        config.entrypoint = words(&["/app"]);
        config.user = "65532".to_owned();
    });
    // Files of tests belong to whoever runs them.
    if rustix_is_root() {
        one(
            &found,
            id::COMMAND_NOT_EXECUTABLE,
            Severity::Error,
            &["user `65532`"],
        );
    }
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn files_that_no_kernel_starts() {
    for (bytes, part) in [
        (&b"echo hi\n"[..], "text without `#!`"),
        (b"", "empty"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "macOS"),
        (b"PK\x03\x04\0\0", "java"),
        (b"\x7fELF\x02\x01", "damaged ELF"),
    ] {
        let found = app(&[Put::File("app", bytes.to_vec(), 0o755)]);
        one(&found, id::COMMAND_FORMAT, Severity::Error, &[part]);
    }
}

#[test]
fn scripts_and_their_interpreters() {
    for (script, part) in [
        ("#!/bin/sh\n", "`/app` is a script for `/bin/sh`"),
        ("#!/usr/bin/python3 -u\n", "`/usr/bin/python3`"),
        ("#!/bin/sh\r\n", "carriage return"),
    ] {
        one(
            &app(&[text("app", script, 0o755)]),
            id::MISSING_INTERPRETER,
            Severity::Error,
            &[part],
        );
    }
    let env = |script: &str| {
        vec![
            text("app", script, 0o755),
            elf("usr/bin/env", &program(&["libc.so.6"])),
        ]
    };
    let found = app(&env("#!/usr/bin/env -S node --x\n"));
    one(
        &found,
        id::MISSING_INTERPRETER,
        Severity::Error,
        &["`node`", "PATH"],
    );
    let mut files = env("#!/usr/bin/env node\n");
    files.push(elf("usr/bin/node", &program(&["libz.so.1"])));
    one(
        &app(&files),
        id::MISSING_LIBRARY,
        Severity::Error,
        &["`libz.so.1`", "`/usr/bin/node`"],
    );
    // The program behind an init.
    let files = [
        elf("usr/bin/tini", &program(&[])),
        text("run", "#!/bin/none\n", 0o755),
    ];
    let found = find(&base(), &files, |config| {
        config.entrypoint = words(&["tini", "--"]);
        config.cmd = words(&["/run"]);
    });
    one(
        &found,
        id::MISSING_INTERPRETER,
        Severity::Error,
        &["`/run`", "`/bin/none`"],
    );
}

#[test]
fn shell_forms() {
    let shell = |text: &str| words(&["/bin/sh", "-c", text]);
    let found = find(&base(), &[], |config| config.cmd = shell("node server.js"));
    one(
        &found,
        id::SHELL_MISSING,
        Severity::Error,
        &["`/bin/sh`", "`CMD [\"node\",\"server.js\"]`"],
    );
    let found = find(&base(), &[elf("app", &program(&[]))], |config| {
        config.entrypoint = words(&["/app"]);
        config.cmd = shell("a | b");
    });
    one(
        &found,
        id::SHELL_MISSING,
        Severity::Error,
        &["`CMD a | b`", "exec form"],
    );
    let found = find(&base(), &[elf("app", &program(&[]))], |config| {
        config.entrypoint = words(&["/app"]);
        config.healthcheck = Some(Healthcheck {
            test: words(&["CMD-SHELL", "/app check"]),
            ..Healthcheck::default()
        });
    });
    one(
        &found,
        id::SHELL_MISSING,
        Severity::Note,
        &["`HEALTHCHECK CMD [\"/app\",\"check\"]`"],
    );
    let files = [elf("bin/sh", &program(&[]))];
    let found = find(&base(), &files, |config| {
        config.entrypoint = shell("exec node server.js");
    });
    one(
        &found,
        id::COMMAND_NOT_FOUND,
        Severity::Error,
        &["`node` of ENTRYPOINT"],
    );
    for fine in ["echo hi", "cd / && node", "A=1 node"] {
        assert_eq!(
            find(&base(), &files, |config| config.cmd = shell(fine)),
            [],
            "{fine}"
        );
    }
}

#[test]
fn users() {
    let found = |user: &str| find(&base(), &[], |config| config.user = user.to_owned());
    one(
        &found("nobody"),
        id::USER_UNKNOWN,
        Severity::Error,
        &["no user `nobody`", "65532"],
    );
    one(
        &found("65532:staff"),
        id::USER_UNKNOWN,
        Severity::Error,
        &["no group `staff`"],
    );
    one(
        &found("nonroot"),
        id::USER_NOT_NUMERIC,
        Severity::Note,
        &["runAsNonRoot", "`USER 65532:65532`"],
    );
    for fine in ["", "root", "0", "65532", "1234:5678"] {
        assert_eq!(found(fine), [], "{fine}");
    }
}

#[test]
fn names_are_never_printed_raw() {
    let found = app(&[text("app", "#!/bin/\u{1b}[31msh\n", 0o755)]);
    one(
        &found,
        id::MISSING_INTERPRETER,
        Severity::Error,
        &["\\u{1b}[31msh"],
    );
}
