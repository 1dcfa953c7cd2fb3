//! Archives of each kind, and hostile ones.

use std::fs;
use std::io::{Seek, Write};
use std::os::unix::fs::MetadataExt;

use tar::{Builder, EntryType, Header};

use super::*;
use crate::copy::{CopyReport, CopySpec};
use crate::testing::{Fixture, dump, inode, root_or_skip};
use crate::tree::DirTree;
use crate::upper::UpperError;

fn put(tar: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, rest: &str, mode: u32) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(3);
    header.set_gid(4);
    header.set_mtime(1_000_000);
    header.set_size(0);
    let raw = &mut header.as_old_mut().name;
    raw[..name.len()].copy_from_slice(name.as_bytes());
    if kind == EntryType::Link || kind == EntryType::Symlink {
        let raw = &mut header.as_old_mut().linkname;
        raw[..rest.len()].copy_from_slice(rest.as_bytes());
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
        return;
    }
    header.set_size(rest.len() as u64);
    header.set_cksum();
    tar.append(&header, rest.as_bytes()).unwrap();
}

fn sample() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "./", EntryType::Directory, "", 0o700);
    put(&mut tar, "d/", EntryType::Directory, "", 0o750);
    put(&mut tar, "d/f", EntryType::Regular, "text", 0o4755);
    put(&mut tar, "d/l", EntryType::Symlink, "f", 0o777);
    put(&mut tar, "d/h", EntryType::Link, "d/f", 0o4755);
    put(&mut tar, "implied/x", EntryType::Regular, "", 0o600);
    tar.into_inner().unwrap()
}

fn packed(tar: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => tar.to_vec(),
        Compression::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(tar).unwrap();
            out.finish().unwrap()
        }
        Compression::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            out.write_all(tar).unwrap();
            out.finish().unwrap()
        }
        Compression::Xz => {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
            out.write_all(tar).unwrap();
            out.finish().unwrap()
        }
        Compression::Zstd => zstd::stream::encode_all(tar, 1).unwrap(),
    }
}

#[test]
fn xz_may_have_several_streams_and_must_be_whole() {
    let packed = |bytes: &[u8]| {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let both = [packed(b"one "), packed(b"two")].concat();
    let read = |bytes: &[u8]| {
        let mut text = String::new();
        decoder(bytes, Compression::Xz)
            .unwrap()
            .read_to_string(&mut text)
            .map(|_| text)
    };
    assert_eq!(read(&both).unwrap(), "one two");
    assert!(read(&both[..both.len() - 5]).is_err());
    assert!(read(&[&both[..], b"other"].concat()).is_err());
}

const ALL: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Bzip2,
    Compression::Xz,
    Compression::Zstd,
];

#[test]
fn archives_are_known_by_their_contents() {
    for compression in ALL {
        let check = |bytes: &[u8]| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let found = detect(&mut file).unwrap();
            assert_eq!(file.stream_position().unwrap(), 0);
            found
        };
        assert_eq!(check(&packed(&sample(), compression)), Some(compression));
        // A compressed file that is no tar, and a header alone.
        assert_eq!(check(&packed(b"plain text", compression)), None);
        assert_eq!(check(&packed(b"plain text", compression)[..4]), None);
    }
}

/// Unpacks `tar` to `/to` on top of `lower`.
fn added(lower: &[&str], tar: &[u8]) -> Result<(Fixture, Vec<String>), UpperError> {
    let mut fixture = Fixture::new();
    if !lower.is_empty() {
        fixture.layer(lower);
    }
    let source = fixture.source("context", &[]);
    fs::write(source.join("a.tar"), tar).unwrap();
    let upper = fixture.upper();
    let tree = DirTree::open(&source).unwrap().into_context();
    let mut spec = CopySpec::new("/a.tar", "/to");
    spec.attempt_unpack = true;
    upper.copy(&tree, &spec, &mut CopyReport::default())?;
    let seen = dump(&upper);
    Ok((fixture, seen))
}

#[test]
fn every_compression_is_unpacked() {
    if !root_or_skip("every_compression_is_unpacked") {
        return;
    }
    for compression in ALL {
        let (fixture, seen) = added(&[], &packed(&sample(), compression)).unwrap();
        let want = [
            "/to d 0755 0:0",
            "/to/d d 0750 3:4",
            "/to/d/f f 4755 3:4 text",
            "/to/d/h f 4755 3:4 text",
            "/to/d/l l 0777 3:4 f",
            "/to/implied d 0755 0:0",
            "/to/implied/x f 0600 3:4 ",
        ];
        assert_eq!(seen, want, "{compression:?}");
        let upper = fixture.layers.last().unwrap();
        assert_eq!(inode(&upper.join("to/d/f")), inode(&upper.join("to/d/h")));
        for path in ["to/d", "to/d/f", "to/d/l"] {
            let meta = fs::symlink_metadata(upper.join(path)).unwrap();
            assert_eq!(meta.mtime(), 1_000_000, "{path}");
        }
    }
}

#[test]
fn hostile_archives_stay_inside() {
    if !root_or_skip("hostile_archives_stay_inside") {
        return;
    }
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "../../up", EntryType::Regular, "1", 0o644);
    put(&mut tar, "/abs", EntryType::Regular, "2", 0o644);
    put(&mut tar, "out", EntryType::Symlink, "../../../..", 0o777);
    put(&mut tar, "out/through", EntryType::Regular, "3", 0o644);
    put(&mut tar, "etc", EntryType::Symlink, "/etc", 0o777);
    put(&mut tar, "hard", EntryType::Link, "../../up", 0o644);
    let (_fixture, seen) = added(
        &["etc/passwd=x 644", "to/d/old=1 644"],
        &tar.into_inner().unwrap(),
    )
    .unwrap();
    let want = [
        "/etc d 0755 0:0",
        "/etc/passwd f 0644 0:0 x",
        "/to d 0755 0:0",
        "/to/abs f 0644 3:4 2",
        "/to/d d 0755 0:0",
        "/to/d/old f 0644 0:0 1",
        "/to/etc l 0777 3:4 /etc",
        "/to/hard f 0644 3:4 1",
        "/to/out l 0777 3:4 ../../../..",
        "/to/through f 0644 3:4 3",
        "/to/up f 0644 3:4 1",
    ];
    assert_eq!(seen, want);
}

#[test]
fn entries_below_a_link_that_leads_nowhere_are_refused() {
    if !root_or_skip("entries_below_a_link_that_leads_nowhere_are_refused") {
        return;
    }
    for (target, name, fine) in [
        ("/tmp", "out/through", false),
        ("/tmp", "out/deep/er", false),
        ("d", "out/deep/er", true),
    ] {
        let mut tar = Builder::new(Vec::new());
        put(&mut tar, "out", EntryType::Symlink, target, 0o777);
        put(&mut tar, name, EntryType::Regular, "1", 0o644);
        let added = added(&["tmp/x=1 644", "to/d/old=1 644"], &tar.into_inner().unwrap());
        assert_eq!(added.is_ok(), fine, "{target} {name}");
    }
}

#[test]
fn entries_replace_what_is_in_lower_layers() {
    if !root_or_skip("entries_replace_what_is_in_lower_layers") {
        return;
    }
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "dir", EntryType::Regular, "now a file", 0o644);
    put(&mut tar, "file", EntryType::Directory, "", 0o755);
    put(&mut tar, "kept/", EntryType::Directory, "", 0o711);
    put(&mut tar, "linked", EntryType::Link, "kept/old", 0o600);
    let lower = ["to/dir/x=1", "to/file=1", "to/kept/old=1 644"];
    let (fixture, seen) = added(&lower, &tar.into_inner().unwrap()).unwrap();
    let want = [
        "/to d 0755 0:0",
        "/to/dir f 0644 3:4 now a file",
        "/to/file d 0755 3:4",
        "/to/kept d 0711 3:4",
        // Attributes of a hard link entry go to the file that both names are.
        "/to/kept/old f 0600 3:4 1",
        "/to/linked f 0600 3:4 1",
    ];
    assert_eq!(seen, want);
    assert_eq!(fs::read(fixture.layers[0].join("to/kept/old")).unwrap(), b"1");
    let mode = fs::metadata(fixture.layers[0].join("to/kept/old"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o644, "the lower layer is not touched");
}

#[test]
fn damaged_archives_are_errors() {
    if !root_or_skip("damaged_archives_are_errors") {
        return;
    }
    let whole = sample();
    let err = added(&[], &packed(&whole[..1300], Compression::Gzip))
        .err()
        .unwrap();
    assert!(err.to_string().contains("archive `/a.tar` is damaged"), "{err}");
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "h", EntryType::Link, "none", 0o600);
    let err = added(&[], &tar.into_inner().unwrap()).err().unwrap();
    assert!(err.to_string().contains("links `/h` to `none`"), "{err}");
    let mut tar = Builder::new(Vec::new());
    put(&mut tar, "c", EntryType::Char, "", 0o600);
    // 0:0 would be a whiteout.
    assert!(added(&[], &tar.into_inner().unwrap()).is_err());
}
