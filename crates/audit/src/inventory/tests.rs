use std::path::Path;

use super::{Inventory, SourcePackage};
use crate::testing::World;
use proptest::prelude::*;

fn inventory(files: &[(&str, &str)]) -> Inventory {
    let mut world = World::new();
    let link = |root: &Path| {
        std::fs::create_dir_all(root.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", root.join("lib")).unwrap();
    };
    world.layer("ADD", link, |_| {});
    world.files("RUN", files);
    Inventory::read(&world.view()).unwrap()
}

#[test]
fn packages_of_a_system_with_dpkg() {
    let status = "Package: libc6\nStatus: install ok installed\nInstalled-Size: 13000\nSource: glibc (2.36-9)\n\
        Version: 2.36-9+b1\nArchitecture: amd64\nMaintainer: A B <a@b>\nConffiles:\n /etc/ld.so.conf.d/x.conf \
        0123456789abcdef0123456789abcdef\n /etc/old 0123456789abcdef0123456789abcdef obsolete\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\
        Package: noversion\n\nnonsense\n\nPackage: app\nStatus: install ok installed\nVersion: 2\n";
    let found = inventory(&[
        ("var/lib/dpkg/status", status),
        (
            "var/lib/dpkg/info/libc6:amd64.list",
            "/.\n/lib\n/lib/libc.so.6\n/usr/lib/x\n/etc/ld.so.conf.d/x.conf\n",
        ),
        (
            "var/lib/dpkg/info/libc6:amd64.md5sums",
            "D41D8CD98F00B204E9800998ECF8427E  lib/libc.so.6\nshort\nzz1d8cd98f00b204e9800998ecf8427e  lib/q\n",
        ),
        ("usr/lib/libc.so.6", ""),
        ("usr/lib/x/y", ""),
        ("etc/ld.so.conf.d/x.conf", "x"),
    ]);
    let names: Vec<&str> = found
        .packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(names, ["app", "libc6"]);
    let libc = &found.packages()[1];
    let source = SourcePackage {
        name: "glibc".to_owned(),
        version: "2.36-9".to_owned(),
    };
    assert_eq!((&libc.source, libc.installed_size), (&source, Some(13_312_000)));
    assert_eq!(found.packages()[0].source.version, "2");
    let files: Vec<_> = found
        .files(1)
        .iter()
        .map(|file| (file.path.to_str().unwrap(), file.md5.is_some()))
        .collect();
    assert_eq!(
        files,
        [
            ("/etc/ld.so.conf.d/x.conf", true),
            ("/lib", false),
            ("/usr/lib/libc.so.6", true)
        ]
    );
    let owner = |path: &str| found.owner(Path::new(path)).map(|package| package.name.as_str());
    assert_eq!(owner("/usr/lib/libc.so.6"), Some("libc6"));
    assert_eq!(owner("/usr/lib/x"), None);
    assert_eq!(owner("/etc/old"), None);
}

#[test]
fn packages_of_a_distroless_image() {
    let found = inventory(&[
        (
            "var/lib/dpkg/status.d/base",
            "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n",
        ),
        (
            "var/lib/dpkg/status.d/base-files.md5sums",
            "d41d8cd98f00b204e9800998ecf8427e  lib/os-release\n",
        ),
        (
            "var/lib/dpkg/status.d/odd",
            "Package: ../../etc/passwd\nVersion: 1\n",
        ),
        ("var/lib/dpkg/status.d/empty", ""),
        ("var/lib/dpkg/status.d/sub/dir", "Package: sub\nVersion: 1\n"),
    ]);
    let names: Vec<&str> = found
        .packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(names, ["../../etc/passwd", "base-files"]);
    assert_eq!(
        found.packages()[1].record,
        Path::new("/var/lib/dpkg/status.d/base")
    );
    assert!(found.owner(Path::new("/usr/lib/os-release")).is_some());
    assert!(inventory(&[]).packages().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn damaged_records_are_read_as_far_as_they_go(
        status in "(Package|Version|Status|Source|Conffiles|Installed-Size|\\PC{0,4})?: ?[\\PC ]{0,12}\n{0,2}",
        list in "[\\PC/\n]{0,40}",
    ) {
        let status = format!("Package: a\nVersion: 1\n{status}{status}");
        let found = inventory(&[
            ("var/lib/dpkg/status", &status),
            ("var/lib/dpkg/info/a.list", &list),
            ("var/lib/dpkg/status.d/b.md5sums", &list),
            ("var/lib/dpkg/status.d/b", &status),
        ]);
        for (at, _) in found.packages().iter().enumerate() {
            prop_assert!(found.files(at).iter().all(|file| file.path.is_absolute()));
        }
    }
}
