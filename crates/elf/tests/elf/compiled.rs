//! Files that a compiler made, and the programs of this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use distil_elf::{Closure, ElfFile};
use distil_rootfs::DirTree;

/// Runs the compiler; false when there is none.
fn compiled(dir: &Path, arguments: &[&str]) -> bool {
    match Command::new("gcc").current_dir(dir).args(arguments).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stderr)
            );
            true
        }
        Err(_) => {
            println!("skipped: there is no gcc");
            false
        }
    }
}

#[test]
fn facts_of_compiled_files() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let file = std::fs::File::open(dir.path().join(name)).unwrap();
        ElfFile::read(&file).unwrap().unwrap()
    };
    std::fs::write(dir.path().join("x.c"), "int x(void) { return 1; }").unwrap();
    std::fs::write(
        dir.path().join("main.c"),
        "#include <netdb.h>\nint x(void); int main(void) { return x() + !getservbyname(\"http\", 0); }",
    )
    .unwrap();
    if !compiled(
        dir.path(),
        &[
            "-shared",
            "-fPIC",
            "-o",
            "libx.so",
            "-Wl,-soname,libx.so.1",
            "x.c",
        ],
    ) {
        return;
    }
    std::fs::copy(dir.path().join("libx.so"), dir.path().join("libx.so.1")).unwrap();
    compiled(
        dir.path(),
        &[
            "-o",
            "main",
            "main.c",
            "-L.",
            "-lx",
            "-Wl,--enable-new-dtags,-rpath,$ORIGIN",
        ],
    );
    compiled(
        dir.path(),
        &[
            "-o",
            "old",
            "main.c",
            "-L.",
            "-lx",
            "-Wl,--disable-new-dtags,-rpath,$ORIGIN",
        ],
    );
    let library = read("libx.so");
    assert_eq!(
        library.soname().map(|name| name.to_string_lossy()),
        Some("libx.so.1".into())
    );
    assert!(library.interpreter.is_none() && !library.is_static_program());
    let main = read("main");
    assert!(main.interpreter.is_some());
    assert!(main.needed().contains(&"libx.so.1".into()), "{main:?}");
    assert!(main.imports("getservbyname") && !main.imports("main"));
    assert_eq!(main.dynamic.as_ref().unwrap().runpath, ["$ORIGIN"]);
    assert_eq!(read("old").dynamic.as_ref().unwrap().rpath, ["$ORIGIN"]);
    std::fs::write(dir.path().join("empty.c"), "int main(void) { return 0; }").unwrap();
    for kind in ["-static", "-static-pie"] {
        if Path::new("/usr/lib/x86_64-linux-gnu/libc.a").exists() {
            compiled(dir.path(), &[kind, "-o", "fixed", "empty.c"]);
            assert!(read("fixed").is_static_program(), "{kind}");
        }
    }
}

/// What the loader of this machine says that a program loads, by real path.
fn by_loader(program: &Path) -> Option<BTreeSet<PathBuf>> {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    let output = Command::new(loader)
        .arg("--list")
        .arg(program)
        .env_clear()
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    output.status.success().then(|| {
        paths
            .filter_map(|path| std::fs::canonicalize(path).ok())
            .collect()
    })
}

#[test]
fn the_same_libraries_as_the_loader_finds() {
    let tree = DirTree::open(Path::new("/")).unwrap();
    let mut compared = 0;
    for name in [
        "curl", "ls", "gcc", "perl", "git", "openssl", "xz", "readelf", "gpg", "bash",
    ] {
        let Ok(program) = std::fs::canonicalize(Path::new("/usr/bin").join(name)) else {
            continue;
        };
        let Some(expected) = by_loader(&program) else {
            continue;
        };
        let closure = Closure::of(&tree, &[program], &std::sync::atomic::AtomicBool::new(false)).unwrap();
        for path in &expected {
            assert!(closure.members.contains_key(path), "{name}: {}", path.display());
        }
        compared += 1;
    }
    if compared == 0 {
        println!("skipped: no program of this machine is for glibc");
    }
}
