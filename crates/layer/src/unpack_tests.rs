//! Tars of others: what is accepted, what is refused, and where it ends up.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::*;
use crate::complete;
use distil_rootfs::{MergedTree, Tree};

fn is_root() -> bool {
    // Also outside of user namespaces: these tests use all ids and `trusted.` attributes.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let root = rustix::process::geteuid().is_root() && map.contains("4294967295");
    if !root {
        println!("skip: needs root");
    }
    root
}

/// One entry of an archive for a test.
struct Entry<'a>(&'a str, tar::EntryType, &'a str, &'a [(&'a str, &'a [u8])]);

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for Entry(path, kind, content, pax) in entries {
        if !pax.is_empty() {
            builder
                .append_pax_extensions(pax.iter().copied())
                .expect("appends");
        }
        let mut header = tar::Header::new_ustar();
        // As bytes: the library refuses what these tests are about.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        let is_link = kind.is_symlink() || kind.is_hard_link();
        if is_link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        let data = if is_link { "" } else { content };
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data.as_bytes()).expect("appends");
    }
    builder.into_inner().expect("ends")
}

const DIR: tar::EntryType = tar::EntryType::Directory;
const FILE: tar::EntryType = tar::EntryType::Regular;
const SYMLINK: tar::EntryType = tar::EntryType::Symlink;
const LINK: tar::EntryType = tar::EntryType::Link;

fn unpacked(entries: &[Entry<'_>]) -> (tempfile::TempDir, Result<Unpacked, LayerError>) {
    let directory = tempfile::tempdir().expect("temp dir");
    let layer = directory.path().join("layer");
    fs::create_dir(&layer).expect("creates");
    let bytes = archive(entries);
    let result = unpack(&bytes[..], &layer, &UnpackOptions::default());
    if let Ok(unpacked) = &result {
        assert_eq!(unpacked.diff_id.0, distil_oci::Digest::sha256(&bytes));
        assert_eq!(unpacked.tar_size, bytes.len() as u64);
    }
    (directory, result)
}

#[test]
fn hostile_paths_stay_inside() {
    if !is_root() {
        return;
    }
    let refused: &[&[Entry<'_>]] = &[
        &[Entry("../evil", FILE, "x", &[])],
        &[Entry("a/../../evil", FILE, "x", &[])],
        &[Entry("a", LINK, "../../evil", &[])],
        &[Entry("a", LINK, "/", &[])],
        &[Entry("f", FILE, "x", &[]), Entry("f/evil", FILE, "x", &[])],
        &[
            Entry("loop", SYMLINK, "loop", &[]),
            Entry("loop/evil", FILE, "x", &[]),
        ],
        &[Entry("x/.wh...", FILE, "", &[])],
        &[Entry(".wh.", FILE, "", &[])],
        &[Entry("z", tar::EntryType::Char, "", &[])],
    ];
    for entries in refused {
        let (directory, result) = unpacked(entries);
        let error = result.expect_err(entries[entries.len() - 1].0);
        assert!(matches!(error, LayerError::BadEntry { .. }), "{error}");
        assert!(!directory.path().join("evil").exists());
    }
    // Links of the archive lead to places inside.
    for target in ["/", "../../..", "/outside", "../../outside"] {
        let (directory, result) = unpacked(&[
            Entry("link", SYMLINK, target, &[]),
            Entry("link/evil", FILE, "x", &[]),
        ]);
        result.expect("unpacks inside");
        let root = directory.path();
        assert!(!root.join("evil").exists() && !root.join("outside").exists());
        let inside = [root.join("layer/evil"), root.join("layer/outside/evil")];
        assert!(inside.iter().any(|path| path.exists()), "{target}");
    }
}

#[test]
fn overlay_attributes_of_an_archive_are_dropped() {
    if !is_root() {
        return;
    }
    let pax: &[(&str, &[u8])] = &[
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.kept", b"yes"),
    ];
    let (directory, result) = unpacked(&[Entry("d/", DIR, "", pax), Entry("f", FILE, "x", pax)]);
    result.expect("unpacks");
    for name in ["d", "f"] {
        let path = directory.path().join("layer").join(name);
        let mut value = [0u8; 16];
        assert!(rustix::fs::getxattr(&path, "trusted.overlay.opaque", &mut value[..]).is_err());
        assert!(rustix::fs::getxattr(&path, "user.overlay.redirect", &mut value[..]).is_err());
        if let Ok(length) = rustix::fs::getxattr(&path, "user.kept", &mut value[..]) {
            assert_eq!(&value[..length], b"yes");
        }
    }
}

#[test]
fn deletions_become_whiteouts_and_opaque_directories() {
    if !is_root() {
        return;
    }
    let (directory, result) = unpacked(&[
        Entry("etc/", DIR, "", &[]),
        Entry("etc/.wh.gone", FILE, "", &[]),
        Entry("var/", DIR, "", &[]),
        Entry("var/.wh..wh..opq", FILE, "", &[]),
        Entry("var/new", FILE, "x", &[]),
        Entry(".wh.replaced", FILE, "", &[]),
        Entry("replaced/", DIR, "", &[]),
        Entry("early/", DIR, "", &[]),
        Entry(".wh.early", FILE, "", &[]),
        Entry(".wh..wh.plnk", FILE, "", &[]),
    ]);
    let unpacked = result.expect("unpacks");
    assert_eq!(unpacked.inodes, 5);
    let layer = directory.path().join("layer");
    let gone = fs::symlink_metadata(layer.join("etc/gone")).expect("whiteout");
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    for name in ["var", "replaced", "early"] {
        let mut value = [0u8; 4];
        let length = rustix::fs::getxattr(layer.join(name), "trusted.overlay.opaque", &mut value[..]);
        assert_eq!(
            length.map(|length| value[..length].to_vec()),
            Ok(b"y".to_vec()),
            "{name}"
        );
    }
    assert!(!layer.join(".wh..wh.plnk").exists());
}

#[test]
fn later_entries_replace_earlier_ones() {
    if !is_root() {
        return;
    }
    let (directory, result) = unpacked(&[
        Entry("a/", DIR, "", &[]),
        Entry("a/b", FILE, "1", &[]),
        Entry("l", LINK, "a/b", &[]),
        Entry("a", FILE, "now a file", &[]),
        Entry("s", SYMLINK, "a", &[]),
        Entry("s", FILE, "not through the link", &[]),
        Entry("l", FILE, "own", &[]),
    ]);
    let unpacked = result.expect("unpacks");
    let layer = directory.path().join("layer");
    assert_eq!(fs::read(layer.join("a")).expect("reads"), b"now a file");
    assert_eq!(fs::read(layer.join("s")).expect("reads"), b"not through the link");
    assert!(unpacked.links.is_empty());
    assert_eq!(unpacked.inodes, 3);
}

#[test]
fn metadata_is_kept_in_full() {
    if !is_root() {
        return;
    }
    let mut builder = tar::Builder::new(Vec::new());
    // A binary value with line ends in it, as file capabilities have.
    let binary: &[u8] = b"\n\0=\n7 a=b\n";
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    let pax: [(&str, &[u8]); 3] = [
        ("mtime", b"-1.25"),
        ("uid", b"3000000"),
        ("path", long.as_bytes()),
    ];
    builder.append_pax_extensions(pax).expect("appends");
    let mut header = tar::Header::new_ustar();
    header.set_path("short").expect("sets");
    header.set_mode(0o4755);
    header.set_uid(0);
    header.set_gid(7);
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"x"[..]).expect("appends");
    let bytes = builder.into_inner().expect("ends");
    let directory = tempfile::tempdir().expect("temp dir");
    unpack(&bytes[..], directory.path(), &UnpackOptions::default()).expect("unpacks");
    let file = fs::metadata(directory.path().join(&long)).expect("stat");
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (3_000_000, 7, 0o4755)
    );
    assert_eq!((file.mtime(), file.mtime_nsec()), (-2, 750_000_000));
    let mut value = [0u8; 32];
    if let Ok(length) = rustix::fs::getxattr(directory.path().join(&long), "user.binary", &mut value[..]) {
        assert_eq!(&value[..length], binary);
    }
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    if !is_root() {
        return;
    }
    let bytes = archive(&[
        Entry("a/", DIR, "", &[]),
        Entry("a/b", FILE, "hello", &[("mtime", b"5.5")]),
    ]);
    for end in (0..bytes.len() - 1024).step_by(61) {
        let directory = tempfile::tempdir().expect("temp dir");
        let _ = unpack(&bytes[..end], directory.path(), &UnpackOptions::default());
    }
    for place in (0..bytes.len() - 1024).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        let directory = tempfile::tempdir().expect("temp dir");
        let _ = unpack(&damaged[..], directory.path(), &UnpackOptions::default());
    }
}

#[test]
fn a_layer_is_completed_from_the_layers_below() {
    if !is_root() {
        return;
    }
    let (below, result) = unpacked(&[
        Entry("usr/", DIR, "", &[]),
        Entry("usr/lib/", DIR, "", &[("mtime", b"77")]),
        Entry("usr/lib/old", FILE, "old", &[]),
        Entry("lib", SYMLINK, "usr/lib", &[]),
        Entry("tmp/", DIR, "", &[("SCHILY.xattr.user.a", b"b")]),
    ]);
    result.expect("unpacks");
    fs::set_permissions(
        below.path().join("layer/tmp"),
        std::os::unix::fs::PermissionsExt::from_mode(0o1777),
    )
    .expect("chmod");
    let (above, result) = unpacked(&[
        Entry("lib/new", FILE, "new", &[]),
        Entry("lib/same", LINK, "lib/new", &[]),
        Entry("tmp/x", FILE, "x", &[]),
        Entry("hard", LINK, "lib/old", &[]),
        Entry("hard2", LINK, "lib/old", &[]),
    ]);
    let half = result.expect("unpacks");
    assert!(half.needs_lower());
    let lower = MergedTree::open(&[below.path().join("layer")]).expect("opens");
    let layer = above.path().join("layer");
    let done = complete(&layer, half, &lower, &UnpackOptions::default()).expect("completes");
    assert!(!layer.join("lib").exists(), "the link below stays");
    let merged = MergedTree::open(&[below.path().join("layer"), layer.clone()]).expect("opens");
    let mut text = String::new();
    merged
        .open(Path::new("/lib/new"))
        .expect("opens")
        .read_to_string(&mut text)
        .expect("reads");
    assert_eq!(text, "new");
    assert_eq!(
        merged
            .lookup(Path::new("/tmp"))
            .expect("looks")
            .expect("exists")
            .mode,
        0o1777
    );
    assert_eq!(
        merged
            .lookup(Path::new("/usr/lib"))
            .expect("looks")
            .expect("exists")
            .mtime
            .secs,
        77
    );
    assert_eq!(fs::read(layer.join("hard")).expect("reads"), b"old");
    let groups: Vec<Vec<&str>> = done
        .links
        .groups()
        .iter()
        .map(|group| group.iter().filter_map(|path| path.to_str()).collect())
        .collect();
    assert_eq!(
        groups,
        [vec!["hard", "hard2"], vec!["usr/lib/new", "usr/lib/same"]]
    );
}
