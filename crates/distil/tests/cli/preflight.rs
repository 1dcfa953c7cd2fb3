//! Preflight: one broken image for each check, built from its Dockerfile.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use crate::elf_file::{Build, library, program};
use crate::world::World;

/// Dockerfile, the check that finds something, and what it says.
const BROKEN: &[(&str, &str, &str)] = &[
    (
        "FROM scratch\nCOPY arm /app\nENTRYPOINT [\"/app\"]",
        "wrong-architecture",
        "arm64",
    ),
    (
        "FROM scratch\nCOPY dynamic /app\nENTRYPOINT [\"/app\"]",
        "missing-loader",
        "statically",
    ),
    (
        "FROM scratch\nCOPY system /\nCOPY ssl /app\nENTRYPOINT [\"/app\"]",
        "missing-library",
        "libssl3",
    ),
    (
        "FROM scratch\nCOPY system /\nCOPY new /app\nENTRYPOINT [\"/app\"]",
        "old-library",
        "GLIBC_2.38",
    ),
    (
        "FROM scratch\nCOPY system /\nENTRYPOINT [\"/app\"]",
        "command-not-found",
        "does not exist",
    ),
    (
        "FROM scratch\nCOPY --chmod=644 static /app\nENTRYPOINT [\"/app\"]",
        "command-not-executable",
        "--chmod",
    ),
    (
        "FROM scratch\nCOPY --chmod=755 text /app\nENTRYPOINT [\"/app\"]",
        "command-format",
        "#!",
    ),
    (
        "FROM scratch\nCOPY --chmod=755 script /app\nCMD [\"/app\"]",
        "missing-interpreter",
        "/bin/sh",
    ),
    (
        "FROM scratch\nCOPY static /app\nCMD /app serve",
        "shell-missing",
        "CMD [\"/app\",\"serve\"]",
    ),
    (
        "FROM scratch\nCOPY static /app\nUSER me\nENTRYPOINT [\"/app\"]",
        "user-unknown",
        "USER 65532",
    ),
    (
        "FROM scratch\nCOPY system python /\nCOPY text /usr/local/lib/python3.12/site-packages/x.py\n\
         ENTRYPOINT [\"/usr/bin/python3.11\"]",
        "python-version",
        "Python 3.11",
    ),
    (
        "FROM scratch\nCOPY system python /\nCOPY text /install/lib/python3.11/site-packages/x.py\n\
         ENTRYPOINT [\"/usr/bin/python3.11\"]",
        "python-path",
        "sys.path",
    ),
    (
        "FROM scratch\nCOPY system java /\nCOPY class /app/Main.class\n\
         ENTRYPOINT [\"/usr/lib/jvm/17/bin/java\", \"-cp\", \"/app\", \"Main\"]",
        "java-version",
        "--release 17",
    ),
    (
        "FROM scratch\nCOPY system node /\nCOPY addon /app/x.node\nENTRYPOINT [\"/usr/bin/node\"]",
        "node-abi",
        "Node.js 18",
    ),
];

fn elf(path: &Path, build: &Build) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, build.bytes()).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn world() -> Option<World> {
    let world = World::new()?;
    let file = |name: &str| world.path("context").join(name);
    let of_libc = |version| Build {
        versions_needed: vec![("libc.so.6", version, false)],
        ..program(&["libc.so.6"])
    };
    let loose = Build {
        interpreter: None,
        ..program(&[])
    };
    elf(&file("static"), &loose);
    elf(
        &file("arm"),
        &Build {
            machine: 183,
            ..loose
        },
    );
    elf(&file("dynamic"), &of_libc("GLIBC_2.34"));
    elf(&file("new"), &of_libc("GLIBC_2.38"));
    elf(&file("ssl"), &program(&["libssl.so.3"]));
    let libc = Build {
        versions_defined: vec!["GLIBC_2.34", "GLIBC_2.36"],
        ..library("libc.so.6", &[])
    };
    elf(
        &file("system/lib64/ld-linux-x86-64.so.2"),
        &library("ld-linux-x86-64.so.2", &[]),
    );
    elf(&file("system/lib/x86_64-linux-gnu/libc.so.6"), &libc);
    elf(&file("python/usr/bin/python3.11"), &of_libc("GLIBC_2.34"));
    elf(&file("java/usr/lib/jvm/17/bin/java"), &of_libc("GLIBC_2.34"));
    let node = Build {
        soname: Some("node_register_module_v115"),
        ..of_libc("GLIBC_2.34")
    };
    elf(&file("node/usr/bin/node"), &node);
    elf(&file("addon"), &library("node_register_module_v108", &[]));
    world.write("context/system/etc/os-release", "ID=debian\nVERSION_ID=12\n");
    world.write("context/java/usr/lib/jvm/17/release", "JAVA_VERSION=\"17.0.9\"\n");
    std::fs::write(file("class"), b"\xca\xfe\xba\xbe\0\0\0\x41").unwrap();
    world.write("context/text", "echo hi\n");
    world.write("context/script", "#!/bin/sh\necho hi\n");
    symlink("text", file("link")).unwrap();
    Some(world)
}

#[test]
fn each_check_finds_its_broken_image() {
    let Some(world) = world() else { return };
    for (dockerfile, id, part) in BROKEN {
        world.write("context/Dockerfile", &format!("{dockerfile}\n"));
        let built = world.distil("build --platform=linux/amd64 --progress=plain -t app context".split(' '));
        let warnings: Vec<&str> = built
            .stderr
            .lines()
            .filter(|line| line.contains(" WARNING: "))
            .collect();
        assert_eq!((built.code, warnings.len()), (0, 1), "{dockerfile}: {built:?}");
        let warning = format!(" WARNING: {id}: ");
        assert!(
            warnings[0].contains(&warning) && warnings[0].contains(part),
            "{dockerfile}: {built:?}"
        );
    }
}

#[test]
fn findings_are_told_again_by_builds_from_the_cache_and_can_end_builds() {
    let Some(world) = world() else { return };
    let dockerfile = "FROM scratch\nCOPY dynamic /app\nCOPY etc /etc\nUSER me\nENTRYPOINT [\"/app\"]\n";
    world.write("context/etc/passwd", "me:x:7:8:::\n");
    world.write("context/Dockerfile", dockerfile);
    let build = |more: &str| world.distil(format!("build --platform=linux/amd64 {more} context").split(' '));
    for _ in 0..2 {
        let told = build("--progress=plain -t app --metadata-file meta.json").stderr;
        assert!(
            told.contains("WARNING: missing-loader: `/app` needs the loader"),
            "{told}"
        );
        assert!(told.contains("(COPY dynamic /app)"), "{told}");
        assert!(
            told.contains("NOTE: user-not-numeric: `USER me`") && told.contains("`USER 7:8`"),
            "{told}"
        );
        let metadata: Value = serde_json::from_str(&world.read("meta.json")).unwrap();
        assert_eq!(metadata["distil.preflight"][0]["id"], "missing-loader");
        assert_eq!(metadata["distil.preflight"][0]["path"], "/app");
    }
    let id = world.ok("inspect --format {{.Id}} app");
    // What is refused leaves the name where it was.
    let refused = build("--build-arg X=1 --label a=b --preflight=error -t app");
    assert_eq!(refused.code, 1, "{refused:?}");
    for part in [
        "preflight found 2 problems",
        "missing-loader",
        "user-not-numeric",
        "--preflight=warn",
    ] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    assert_eq!(world.ok("inspect --format {{.Id}} app"), id);
    let silent = build("--progress=plain --preflight=off -t app");
    assert!(
        silent.code == 0 && !silent.stderr.contains("preflight"),
        "{silent:?}"
    );
    // A folder is no image.
    let folder = build("--progress=plain -o out");
    assert!(
        folder.code == 0 && !folder.stderr.contains("preflight"),
        "{folder:?}"
    );
    world.write("home/.config/distil/config.toml", "preflight = \"error\"\n");
    assert_eq!(build("-t app").code, 1);
    assert_eq!(build("--preflight=warn -t app").code, 0);
}
