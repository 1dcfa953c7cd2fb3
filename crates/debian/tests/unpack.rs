//! Packages into a directory: the good ones of `testdata`, and hostile ones made here.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells what it skips"
)]

mod packages;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use distil_debian::{
    DebFile, PathFilter, UnpackError, UnpackOptions, UnpackedPackage, unpack, write_database,
};

use packages::{DIR, Entry, FILE, LINK, SYMLINK, deb};

static NEVER: AtomicBool = AtomicBool::new(false);

fn skip_without_root() -> bool {
    let skip = !rustix::process::geteuid().is_root();
    if skip {
        println!("skipped: needs root to give files away");
    }
    skip
}

fn run(debs: &[PathBuf], target: &Path, filter: &PathFilter) -> Result<Vec<UnpackedPackage>, UnpackError> {
    let options = UnpackOptions {
        filter,
        merged_usr: &["bin", "lib"],
        threads: 2,
        cancel: &NEVER,
    };
    unpack(debs, target, &options)
}

fn testdata(names: &[&str]) -> Vec<PathBuf> {
    let pool = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/archive/pool");
    names
        .iter()
        .map(|name| pool.join(format!("{name}.deb")))
        .collect()
}

#[test]
fn unpacks_every_compression_and_writes_the_database() {
    if skip_without_root() {
        return;
    }
    let target = tempfile::tempdir().unwrap();
    let root = target.path();
    let filter = PathFilter::new(&["/usr/share/doc/*"], &["/usr/share/doc/*/copyright"]);
    let packages = run(&testdata(&["app", "data", "libv1"]), root, &filter).unwrap();
    assert_eq!(fs::read_link(root.join("bin")).unwrap(), Path::new("usr/bin"));
    assert_eq!(fs::read(root.join("usr/lib/libv.so.1")).unwrap(), b"library\n");
    assert_eq!(
        fs::metadata(root.join("usr/share/app/data")).unwrap().len(),
        20_000
    );
    let app = fs::metadata(root.join("usr/bin/app")).unwrap();
    assert_eq!(
        (app.permissions().mode() & 0o7777, app.nlink(), app.mtime()),
        (0o4755, 2, 1_600_000_000)
    );
    assert_eq!(
        fs::read_link(root.join("usr/bin/app-soft")).unwrap(),
        Path::new("app")
    );
    assert!(root.join("usr/share/doc/app/copyright").exists());
    assert!(!root.join("usr/share/doc/app/NEWS").exists());
    let directory = fs::metadata(root.join("etc/app")).unwrap();
    assert_eq!(
        (directory.permissions().mode() & 0o7777, directory.mtime()),
        (0o755, 1_600_000_000)
    );

    write_database(&packages, root).unwrap();
    let read = |name: &str| fs::read_to_string(root.join("var/lib/dpkg").join(name)).unwrap();
    let status = read("status");
    assert!(
        status.contains("Package: app\nStatus: install ok unpacked\nVersion: 1.0-1\n"),
        "{status}"
    );
    assert!(
        status.contains("Conffiles:\n /etc/app/app.conf 2c1d4f59f062ce424618f4d25961fb76\n"),
        "{status}"
    );
    assert!(read("info/app:amd64.list").starts_with("/.\n/bin\n/etc\n/etc/app\n/etc/app/app.conf\n"));
    assert!(read("info/app:amd64.list").contains("/usr/share/doc/app/NEWS\n"));
    assert_eq!(read("triggers/File"), "/usr/share/app app:amd64/noawait\n");
    assert_eq!(read("triggers/app-trigger"), "app:amd64\n");
    let script = fs::metadata(root.join("var/lib/dpkg/info/app:amd64.postinst")).unwrap();
    assert_eq!(script.permissions().mode() & 0o777, 0o755);
}

#[test]
fn stays_inside_the_target() {
    if skip_without_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let outside_text = outside.to_str().unwrap();
    let secret = format!("{outside_text}/secret");
    let relative = "../../outside";
    let cases: &[(&str, Vec<Entry<'_>>)] = &[
        ("upwards", vec![(FILE, "./../outside/new", "x")]),
        (
            "absolute-link",
            vec![(SYMLINK, "./l", outside_text), (FILE, "./l/new", "x")],
        ),
        (
            "relative-link",
            vec![(SYMLINK, "./l", relative), (FILE, "./l/new", "x")],
        ),
        (
            "link-dir",
            vec![(SYMLINK, "./l", outside_text), (DIR, "./l/new", "")],
        ),
        ("hard-link", vec![(LINK, "./h", &secret)]),
        ("hard-link-upwards", vec![(LINK, "./h", "../outside/secret")]),
        (
            "hard-link-by-link",
            vec![(SYMLINK, "./l", outside_text), (LINK, "./h", "l/secret")],
        ),
        (
            "overwrite-by-link",
            vec![(SYMLINK, "./l", &secret), (FILE, "./l", "overwritten")],
        ),
        ("device", vec![(tar::EntryType::Char, "./null", "")]),
        ("fifo", vec![(tar::EntryType::Fifo, "./pipe", "")]),
    ];
    for (name, entries) in cases {
        fs::create_dir(&root).unwrap();
        let package = deb(place.path(), name, "", entries);
        let result = run(&[package], &root, &PathFilter::default());
        // A link that is absolute in the package is so in the image: the kernel
        // resolves it there, where the directory does not exist or is another one.
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "{name}");
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret", "{name}");
        assert_eq!(fs::metadata(outside.join("secret")).unwrap().nlink(), 1, "{name}");
        assert!(result.is_err(), "{name}");
        fs::remove_dir_all(&root).unwrap();
    }
}

#[test]
fn conflicts_and_replacements() {
    if skip_without_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let first = deb(place.path(), "first", "", &[(FILE, "./bin/x", "first")]);
    let second = deb(
        place.path(),
        "second",
        "Replaces: first (<< 2)\n",
        &[(FILE, "./usr/bin/x", "second")],
    );
    let third = deb(place.path(), "third", "", &[(FILE, "./bin/x", "third")]);
    for debs in [[first.clone(), second.clone()], [second, first.clone()]] {
        let target = tempfile::tempdir().unwrap();
        run(&debs, target.path(), &PathFilter::default()).unwrap();
        assert_eq!(fs::read(target.path().join("usr/bin/x")).unwrap(), b"second");
    }
    let target = tempfile::tempdir().unwrap();
    let error = run(&[first, third], target.path(), &PathFilter::default()).unwrap_err();
    assert!(matches!(error, UnpackError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains("/usr/bin/x"), "{error}");
}

#[test]
fn refuses_damaged_packages() {
    let place = tempfile::tempdir().unwrap();
    let good = fs::read(&testdata(&["app"])[0]).unwrap();
    let path = place.path().join("x.deb");
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("no ar", b"hello, this is text".to_vec()),
        ("cut in a header", good[..20].to_vec()),
        ("cut in a member", good[..good.len() - 100].to_vec()),
        ("no data", good[..300].to_vec()),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(DebFile::open(&path).is_err(), "{name}");
    }
    // Damaged compressed data is noticed while it is read.
    let mut damaged = good.clone();
    let at = damaged.len() - 200;
    damaged[at] ^= 0xff;
    fs::write(&path, damaged).unwrap();
    let target = tempfile::tempdir().unwrap();
    assert!(run(&[path], target.path(), &PathFilter::default()).is_err());
}
