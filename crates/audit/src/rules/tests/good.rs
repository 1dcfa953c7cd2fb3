//! An image that has nothing that it should not have, and lacks nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{audited, places};
use crate::preflight::testing::Build;
use crate::testing::World;

/// Writes a file with its directories.
pub(super) fn put(root: &Path, path: &str, contents: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// The same, as a program.
pub(super) fn put_program(root: &Path, path: &str, contents: impl AsRef<[u8]>) {
    put(root, path, contents);
    mode(root, path, 0o755);
}

pub(super) fn mode(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// A static program.
pub(super) fn static_program() -> Vec<u8> {
    Build {
        kind: 2,
        ..Build::default()
    }
    .bytes()
}

/// As much of a certificate as says when it ends.
pub(super) fn certificate(serial: u8, end: &str) -> String {
    let element = |tag: u8, contents: &[u8]| {
        let length = u8::try_from(contents.len()).unwrap();
        [&[tag, length], contents].concat()
    };
    let validity = [element(23, b"000101000000Z"), element(23, end.as_bytes())].concat();
    let fields = [
        element(0xa0, &element(2, &[2])),
        element(2, &[serial]),
        element(48, b""),
        element(48, b""),
        element(48, &validity),
    ];
    let whole = element(48, &element(48, &fields.concat()));
    let text = BASE64_STANDARD.encode(whole);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

pub(super) fn bundle() -> String {
    (0..120)
        .map(|serial| certificate(serial, "400101000000Z"))
        .collect()
}

/// The lowest layer and the config of a good image. `merged` has `/bin` and the like as links.
pub(super) fn base(root: &Path) {
    for (path, text) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n",
        ),
        ("etc/group", "root:x:0:\nnonroot:x:65532:\n"),
        ("etc/nsswitch.conf", "passwd: files\nhosts:          files dns\n"),
        ("etc/services", "http 80/tcp\n"),
        ("etc/protocols", "tcp 6 TCP\n"),
        ("etc/mime.types", "text/html html\n"),
        ("usr/lib/os-release", "ID=\"debian\"\nVERSION_ID=\"13\"\n"),
        ("etc/debian_version", "13.2\n"),
        ("usr/share/zoneinfo/US/Eastern", "TZif2"),
        ("usr/lib/locale/C.utf8/LC_CTYPE", "x"),
        ("usr/share/doc/libx1/copyright", "free"),
        (
            "var/lib/dpkg/status.d/libx1",
            "Package: libx1\nVersion: 1-1\nArchitecture: amd64\n",
        ),
        (
            "var/lib/dpkg/status.d/libx1.md5sums",
            "0123456789abcdef0123456789abcdef  app/server\n",
        ),
    ] {
        put(root, path, text);
    }
    put(root, "etc/ssl/certs/ca-certificates.crt", bundle());
    put_program(root, "app/server", static_program());
    for directory in ["tmp", "root", "home/nonroot", "usr/bin", "usr/sbin", "usr/lib64"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    mode(root, "tmp", 0o1777);
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    symlink("/proc/mounts", root.join("etc/mtab")).unwrap();
}

/// A good image, but for the owner of the home where the tests do not run as root.
pub(super) fn world() -> World {
    let mut world = World::new();
    world.layer("COPY base /", base, |_| {});
    let config = &mut world.config.config;
    config.env = vec![
        "PATH=/usr/bin".into(),
        "LANG=C.UTF-8".into(),
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt".into(),
    ];
    config.entrypoint = vec!["/app/server".into()];
    // Whoever runs the tests, so that the files belong to the user of the image.
    config.user = "0:0".into();
    world
}

/// What every image of these tests is found to have.
pub(super) fn is_of_the_tests(id: &str) -> bool {
    id == "user-root" || id == "sticky-directory" || (!root() && (id == "owner" || id == "home-directory"))
}

/// Whether the tests run as root. Other users cannot make files of several owners.
pub(super) fn root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn a_good_image_has_no_findings() {
    let found = audited(&world());
    let rest: Vec<_> = places(&found)
        .into_iter()
        .filter(|place| !is_of_the_tests(place.0))
        .collect();
    assert_eq!(rest, [], "{found:#?}");
    let own: Vec<&str> = found.iter().map(|finding| finding.id).collect();
    assert!(own.contains(&"user-root") && own.contains(&"sticky-directory"));
}
