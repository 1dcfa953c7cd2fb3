//! Packages that are damaged, are not what the index says, or try to reach out of the image.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod packages;

use distil_debian::{DebError, PackageEntryKind, PackageStoreError, WantedPackage};
use packages::{
    DIR, Entry, FILE, LINK, SAMPLE, SYMLINK, chain, deb, deb_of, get, header, held, packed, tarball, wanted,
    write,
};
use proptest::prelude::*;

/// Name, part of the error, entries.
const REFUSED: &[(&str, &str, &[Entry<'_>])] = &[
    ("upwards", "leads upwards", &[(FILE, "./usr/../../new", "x")]),
    (
        "below a link",
        "below a file or a link",
        &[(SYMLINK, "./l", "/tmp"), (FILE, "./l/new", "x")],
    ),
    (
        "dir below a link",
        "below a file or a link",
        &[(SYMLINK, "./l", "/tmp"), (DIR, "./l/new", "")],
    ),
    (
        "below a file",
        "below a file or a link",
        &[(FILE, "./f", ""), (FILE, "./f/a/b", "x")],
    ),
    (
        "link over a directory",
        "has it twice",
        &[(FILE, "./d/x", ""), (SYMLINK, "./d", "/tmp")],
    ),
    ("twice", "has it twice", &[(FILE, "./f", "1"), (FILE, "./f", "2")]),
    (
        "file over a link",
        "has it twice",
        &[(SYMLINK, "./l", "/tmp/x"), (FILE, "./l", "2")],
    ),
    (
        "directory over a file",
        "has it twice",
        &[(FILE, "./f", ""), (DIR, "./f", "")],
    ),
    (
        "hard link out",
        "no earlier file",
        &[(LINK, "./h", "/etc/passwd")],
    ),
    (
        "hard link upwards",
        "leads upwards",
        &[(LINK, "./h", "../etc/passwd")],
    ),
    (
        "hard link to a link",
        "no earlier file",
        &[(SYMLINK, "./l", "/etc/passwd"), (LINK, "./h", "l")],
    ),
    ("hard link to itself", "no earlier file", &[(LINK, "./h", "h")]),
    ("link to nowhere", "link to nowhere", &[(SYMLINK, "./l", "")]),
    (
        "root as a file",
        "the root is no file",
        &[(FILE, "./", "x"), (FILE, ".", "x")],
    ),
    (
        "character device",
        "it is a device",
        &[(tar::EntryType::Char, "./null", "")],
    ),
    (
        "block device",
        "it is a device",
        &[(tar::EntryType::Block, "./sda", "")],
    ),
    ("pipe", "named pipe", &[(tar::EntryType::Fifo, "./pipe", "")]),
    (
        "pax",
        "pax headers",
        &[(tar::EntryType::XHeader, "./x", "12 path=abc\n")],
    ),
    ("whiteout", "deletions", &[(FILE, "./usr/.wh.bin", "")]),
    (
        "sparse",
        "neither a file",
        &[(tar::EntryType::GNUSparse, "./s", "")],
    ),
];

#[test]
fn entries_that_lead_elsewhere_are_refused() {
    let place = tempfile::tempdir().unwrap();
    for (name, reason, entries) in REFUSED {
        let path = deb(place.path(), "one", "", entries);
        let error = get(place.path(), &wanted(&path, "one")).unwrap_err();
        let text = chain(&error);
        assert!(
            matches!(error, PackageStoreError::Deb(DebError::Refused { .. })),
            "{name}: {text}"
        );
        assert!(
            text.contains(reason) && text.contains("`one_1_all`"),
            "{name}: {text}"
        );
        assert!(held(place.path()).is_empty(), "{name}");
    }
}

#[test]
fn headers_out_of_range_are_refused() {
    let place = tempfile::tempdir().unwrap();
    type Change = fn(&mut tar::Header);
    let cases: &[(&str, &str, Change)] = &[
        ("size", "16 GiB", |header| header.set_size(1 << 60)),
        ("half a file", "damaged", |header| header.set_size(100_000)),
        ("owner", "out of range", |header| header.set_uid(1 << 40)),
        ("group", "out of range", |header| {
            header.set_gid(u64::from(u32::MAX));
        }),
        ("time", "out of range", |header| header.set_mtime(u64::MAX)),
        ("long name", "too long", |header| {
            header.set_entry_type(tar::EntryType::GNULongName);
            header.set_size(1 << 30);
        }),
    ];
    for (name, reason, change) in cases {
        let mut header = header(FILE, "./file", 0);
        change(&mut header);
        header.set_cksum();
        let mut data = header.as_bytes().to_vec();
        data.extend_from_slice(&vec![b'x'; 8192]);
        let path = write(place.path(), "one", &deb_of("one", "", &data));
        let text = chain(&get(place.path(), &wanted(&path, "one")).unwrap_err());
        assert!(text.contains(reason), "{name}: {text}");
        assert!(held(place.path()).is_empty(), "{name}");
    }
}

#[test]
fn long_names_are_read_within_limits() {
    let place = tempfile::tempdir().unwrap();
    let long = format!("{}/{}", "d".repeat(150), "f".repeat(255));
    for (path, reason) in [
        (long.clone(), None),
        (format!("{long}f"), Some("its name is too long")),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        builder
            .append_data(&mut header(FILE, "x", 1), &path, &b"1"[..])
            .unwrap();
        builder
            .append_link(&mut header(SYMLINK, "l", 0), "link", &path)
            .unwrap();
        let data = builder.into_inner().unwrap();
        let deb = write(place.path(), "one", &deb_of("one", "", &data));
        match (get(place.path(), &wanted(&deb, "one")), reason) {
            (Ok(package), None) => {
                assert_eq!(package.entries()[0].path, path.as_bytes());
                let target = path.into_bytes();
                assert_eq!(package.entries()[1].kind, PackageEntryKind::Symlink { target });
            }
            (Err(error), Some(reason)) => assert!(chain(&error).contains(reason)),
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[test]
fn another_package_than_the_index_says_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    type Change = fn(&mut WantedPackage);
    let changes: [(&str, Change); 3] = [
        ("`Package: one`", |one| one.identity.name = "two".to_owned()),
        ("`Version: 1`", |one| one.identity.version = "1.0".to_owned()),
        ("`Architecture: all`", |one| {
            one.identity.architecture = "amd64".to_owned();
        }),
    ];
    for (found, change) in changes {
        let mut other = one.clone();
        change(&mut other);
        let text = chain(&get(place.path(), &other).unwrap_err());
        assert!(text.contains(found) && text.contains("index says"), "{text}");
        assert!(held(place.path()).is_empty());
    }
}

#[test]
fn the_outer_structure_is_checked() {
    let place = tempfile::tempdir().unwrap();
    let (control, data) = (packages::control("one", ""), tarball(SAMPLE));
    let binary = ("debian-binary", &b"2.0\n"[..]);
    let (control, data) = (("control.tar", &*control), ("data.tar", &*data));
    let twice = tarball(&[
        (FILE, "./control", &packages::control_text("one", "")),
        (FILE, "control", &packages::control_text("two", "")),
    ]);
    let escape = tarball(&[(FILE, "../control", "")]);
    let good = packages::ar(&[binary, control, data]);
    let mut size = good.clone();
    size[8 + 48..8 + 58].copy_from_slice(b"-1        ");
    let mut large = good.clone();
    large[8 + 48..8 + 58].copy_from_slice(b"9999999999");
    let cases: &[(&str, Vec<u8>)] = &[
        ("is no ar archive", b"no archive at all".to_vec()),
        ("is cut off", good[..good.len() - 1000].to_vec()),
        ("is cut off", large),
        ("ar header is damaged", size),
        (
            "format version",
            packages::ar(&[("debian-binary", b"3.0\n"), control, data]),
        ),
        (
            "`debian-binary` is missing",
            packages::ar(&[control, binary, data]),
        ),
        ("`control.tar` is missing", packages::ar(&[binary, data, control])),
        ("`data.tar` is missing", packages::ar(&[binary, control])),
        (
            "two members `data.tar`",
            packages::ar(&[binary, control, data, ("data.tar.xz", b"")]),
        ),
        (
            "two files `control`",
            packages::ar(&[binary, ("control.tar", &twice), data]),
        ),
        (
            "no control file",
            packages::ar(&[binary, ("control.tar", &escape), data]),
        ),
        (
            "names no package",
            packages::ar(&[binary, ("control.tar", b""), data]),
        ),
        (
            "`control.tar.xz` of package",
            packages::ar(&[binary, ("control.tar.xz", b"no xz"), data]),
        ),
    ];
    for (reason, bytes) in cases {
        let path = write(place.path(), "one", bytes);
        let text = chain(&get(place.path(), &wanted(&path, "one")).unwrap_err());
        assert!(
            text.contains(reason) && text.contains("`one_1_all`"),
            "{reason}: {text}"
        );
        assert!(held(place.path()).is_empty(), "{reason}");
    }
    let path = write(place.path(), "one", &good);
    assert!(get(place.path(), &wanted(&path, "one")).is_ok());
}

/// A good package in every compression.
fn samples() -> Vec<Vec<u8>> {
    let plain = tarball(SAMPLE);
    let suffixes = ["", ".xz", ".gz", ".bz2", ".zst"];
    suffixes
        .iter()
        .map(|suffix| deb_of("one", suffix, &packed(suffix, &plain)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Nothing that is done to a package makes reading it panic or leaves anything half-made.
    #[test]
    fn damaged_packages_never_panic(
        which in 0_usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let place = tempfile::tempdir().unwrap();
        let one = wanted(&write(place.path(), "one", &bytes), "one");
        match get(place.path(), &one) {
            Ok(package) => prop_assert!(package.entries().iter().all(|entry| !entry.path.starts_with(b"/"))),
            Err(_) => prop_assert!(held(place.path()).is_empty()),
        }
    }
}
