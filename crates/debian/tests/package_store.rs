//! Packages in the store: what is kept of them, several users, damage, and hostile ones.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod packages;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::AtomicBool;

use distil_debian::{PackageEntryKind, PackageStore, PackageStoreError};
use distil_oci::Digest;
use liblzma::bufread::XzEncoder;
use liblzma::stream::{Check, MtStreamBuilder};
use packages::{
    Entry, FILE, LINK, NEVER, SAMPLE, SYMLINK, chain, deb, deb_of, get, header, held, packed, store, tarball,
    wanted, write,
};

#[test]
fn entries_are_kept_and_their_contents_linked() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    let package = get(place.path(), &one).unwrap();
    let paths: Vec<&[u8]> = package.entries().iter().map(|entry| &*entry.path).collect();
    assert_eq!(
        paths,
        [
            &b""[..],
            b"usr",
            b"usr/one",
            b"usr/two",
            b"usr/three",
            b"etc/empty"
        ]
    );
    let file = package.find(b"usr/one").unwrap();
    let expected = PackageEntryKind::File {
        size: 5,
        sha256: Digest::sha256(b"first"),
    };
    assert_eq!(package.entries()[file].kind, expected);
    assert_eq!(
        package.entries()[file + 1].kind,
        PackageEntryKind::HardLink { file }
    );
    let target = b"../etc/none".to_vec();
    assert_eq!(
        package.entries()[file + 2].kind,
        PackageEntryKind::Symlink { target }
    );
    assert_eq!(package.control(), packages::control_text("one", "").as_bytes());
    assert_eq!(
        (package.control_mtime(), package.md5sums()),
        (1_600_000_000, None)
    );

    let parent = fs::File::open(place.path()).unwrap();
    package.link_into(file, &parent, OsStr::new("a")).unwrap();
    package.link_into(file + 1, &parent, OsStr::new("b")).unwrap();
    let (a, b) = (
        fs::metadata(place.path().join("a")).unwrap(),
        fs::metadata(place.path().join("b")).unwrap(),
    );
    assert_eq!(
        (a.ino(), a.mode() & 0o7777, a.mtime()),
        (b.ino(), 0o644, 1_600_000_000)
    );
    assert_eq!(fs::read(place.path().join("a")).unwrap(), b"first");
    assert!(package.link_into(file, &parent, OsStr::new("a")).is_err());
    assert!(package.link_into(0, &parent, OsStr::new("c")).is_err());
    package.link_into(file + 2, &parent, OsStr::new("d")).unwrap();
    let link = place.path().join("d");
    assert_eq!(fs::read_link(&link).unwrap().as_os_str(), "../etc/none");
    assert_eq!(fs::symlink_metadata(link).unwrap().mtime(), 1_600_000_000);
}

#[test]
fn a_package_is_unpacked_once() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| get(place.path(), &one).unwrap());
        }
    });
    assert_eq!(held(place.path()), [one.sha256.hex()]);
    // The file itself is not needed any more.
    fs::remove_file(&one.deb).unwrap();
    let all = store(place.path()).get_all(&[one.clone(), one.clone()], 2, &NEVER);
    assert_eq!(all.unwrap().len(), 2);
    // Another id map has its own.
    let other = PackageStore::open(&place.path().join("store"), "0:100000:65536", "this boot").unwrap();
    assert!(other.find(&one.sha256).is_none());
}

#[test]
fn small_contents_are_read_together() {
    let place = tempfile::tempdir().unwrap();
    let contents: Vec<String> = (0..300).map(|number| number.to_string().repeat(number)).collect();
    let large = "l".repeat(20_000);
    let names: Vec<String> = (0..300).map(|number| format!("f{number}")).collect();
    let small = names.iter().zip(&contents);
    let mut entries: Vec<Entry<'_>> = small.map(|(name, content)| (FILE, &**name, &**content)).collect();
    entries.insert(150, (FILE, "large", &large));
    entries.push((LINK, "again", "f7"));
    entries.push((SYMLINK, "link", "f7"));
    for threads in [1, 3] {
        let one = wanted(&deb(place.path(), "one", "", &entries), "one");
        let store = PackageStore::open(&place.path().join(threads.to_string()), "", "this boot").unwrap();
        let package = store.get(&one, threads, &NEVER).unwrap();
        let mut small = package.small_contents().unwrap();
        let count = package.entries().len();
        // In the order of the list, and in another.
        for number in (0..count).chain((0..count).map(|number| number * 97 % count)) {
            let found = small.get(&package, number).unwrap().map(<[u8]>::to_vec);
            let whole = package.read_content(number).ok();
            assert_eq!(
                found,
                whole.filter(|content| content.len() <= 16 << 10),
                "{number}"
            );
        }
        let file = place
            .path()
            .join(format!("{threads}/host/{}/small", one.sha256.hex()));
        assert!(fs::metadata(&file).unwrap().len() > 100_000);
        // Under another boot its bytes are checked too.
        let mut bytes = fs::read(&file).unwrap();
        bytes[50_000] ^= 1;
        fs::write(&file, &bytes).unwrap();
        let next =
            |boot: &str| PackageStore::open(&place.path().join(threads.to_string()), "", boot).unwrap();
        assert!(next("another").find(&one.sha256).is_none());
        fs::write(&file, &bytes[..60_000]).unwrap();
        assert!(next("another").find(&one.sha256).is_none());
        assert!(next("another").get(&one, threads, &NEVER).is_ok());
        assert!(next("another").find(&one.sha256).is_some());
    }
}

#[test]
fn what_a_killed_process_left_is_replaced() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    store(place.path());
    let left = place
        .path()
        .join(format!("store/host/{}.partial", one.sha256.hex()));
    fs::create_dir(&left).unwrap();
    fs::write(left.join("2"), "half").unwrap();
    let package = get(place.path(), &one).unwrap();
    assert_eq!(package.read_content(2).unwrap(), b"first");
    assert_eq!(held(place.path()), [one.sha256.hex()]);
}

#[test]
fn another_boot_checks_the_contents() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    let package = get(place.path(), &one).unwrap();
    let later = PackageStore::open(&place.path().join("store"), "", "next boot").unwrap();
    assert!(later.find(&one.sha256).is_some());
    // Checked under this boot, it is trusted.
    fs::write(package.content_path(2).unwrap(), "other").unwrap();
    assert!(later.find(&one.sha256).is_some());
    let lost = PackageStore::open(&place.path().join("store"), "", "third boot").unwrap();
    assert!(lost.find(&one.sha256).is_none());
    assert_eq!(
        lost.get(&one, 1, &NEVER).unwrap().read_content(2).unwrap(),
        b"first"
    );
    // So does a damaged list.
    let list = place.path().join(format!("store/host/{}/list", one.sha256.hex()));
    let mut bytes = fs::read(&list).unwrap();
    bytes[40] ^= 1;
    fs::write(&list, bytes).unwrap();
    assert!(lost.find(&one.sha256).is_none());
    assert!(lost.get(&one, 1, &NEVER).is_ok());
    assert!(lost.find(&one.sha256).is_some());
}

#[test]
fn every_compression_is_read_and_its_damage_found() {
    let place = tempfile::tempdir().unwrap();
    let plain = tarball(&[(FILE, "./usr/one", &"text ".repeat(500)), (FILE, "./two", "2")]);
    for suffix in ["", ".xz", ".gz", ".bz2", ".zst"] {
        let data = packed(suffix, &plain);
        let good = write(place.path(), "one", &deb_of("one", suffix, &data));
        let package = get(place.path(), &wanted(&good, "one")).unwrap();
        assert_eq!(package.read_content(0).unwrap().len(), 2500, "{suffix}");

        let cut = deb_of("one", suffix, &data[..data.len() / 2]);
        let damaged = write(place.path(), "one", &cut);
        let error = get(place.path(), &wanted(&damaged, "one")).unwrap_err();
        let text = chain(&error);
        let expected = format!("`data.tar{suffix}` of package `one_1_all` is damaged");
        assert!(text.contains(&expected), "{suffix}: {text}");
        if suffix.is_empty() {
            continue;
        }
        // Whatever follows the compressed data hides from other readers.
        let followed = [&*data, &b"hidden"[..]].concat();
        let followed = write(place.path(), "one", &deb_of("one", suffix, &followed));
        assert!(get(place.path(), &wanted(&followed, "one")).is_err(), "{suffix}");
        // The checksum at the end counts, though the tar has ended before it.
        if matches!(suffix, ".xz" | ".gz" | ".bz2") {
            let mut changed = data.clone();
            let at = changed.len() - if suffix == ".xz" { 45 } else { 6 };
            changed[at] ^= 0x55;
            let changed = write(place.path(), "one", &deb_of("one", suffix, &changed));
            assert!(get(place.path(), &wanted(&changed, "one")).is_err(), "{suffix}");
        }
    }
    assert_eq!(held(place.path()).len(), 5, "nothing half-made stays");
    let unknown = write(place.path(), "one", &deb_of("one", ".rar", &plain));
    let text = chain(&get(place.path(), &wanted(&unknown, "one")).unwrap_err());
    assert!(
        text.contains("compression of its member `data.tar.rar`"),
        "{text}"
    );
}

/// Small files are made by several threads.
#[test]
fn many_files_come_out_the_same() {
    let place = tempfile::tempdir().unwrap();
    let mut builder = tar::Builder::new(Vec::new());
    let content = |number: usize| format!("{number} ").repeat(1 + number % 40);
    for number in 0..300 {
        let text = content(number);
        let mut file = header(FILE, "x", text.len() as u64);
        builder
            .append_data(&mut file, format!("d/{number}"), text.as_bytes())
            .unwrap();
        let mut link = header(SYMLINK, "x", 0);
        builder
            .append_link(&mut link, format!("l/{number}"), format!("../d/{number}"))
            .unwrap();
    }
    let data = builder.into_inner().unwrap();
    let deb = write(place.path(), "one", &deb_of("one", "", &data));
    let package = get(place.path(), &wanted(&deb, "one")).unwrap();
    for number in 0..300 {
        let entry = &package.entries()[2 * number];
        let text = content(number);
        assert_eq!(entry.path, format!("d/{number}").as_bytes());
        let expected = PackageEntryKind::File {
            size: text.len() as u64,
            sha256: Digest::sha256(text.as_bytes()),
        };
        assert_eq!(entry.kind, expected);
        assert_eq!(package.read_content(2 * number).unwrap(), text.as_bytes());
        let link = fs::read_link(package.link_path(2 * number + 1).unwrap()).unwrap();
        assert_eq!(link.to_str().unwrap(), format!("../d/{number}"));
    }
    // All of it is there under another boot too.
    let later = PackageStore::open(&place.path().join("store"), "", "next boot").unwrap();
    assert!(later.find(&wanted(&deb, "one").sha256).is_some());
}

/// Blocks of a large package are decoded side by side.
#[test]
fn large_packages_come_out_the_same() {
    let place = tempfile::tempdir().unwrap();
    let mut noise = Vec::new();
    let mut state = 1_u64;
    while noise.len() < 9 << 19 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.extend_from_slice(&state.to_le_bytes()[2..7]);
    }
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append(&header(FILE, "./noise", noise.len() as u64), &*noise)
        .unwrap();
    let plain = builder.into_inner().unwrap();
    let blocks = MtStreamBuilder::new()
        .preset(0)
        .block_size(1 << 20)
        .check(Check::Crc64)
        .encoder()
        .unwrap();
    let mut data = Vec::new();
    XzEncoder::new_stream(&*plain, blocks)
        .read_to_end(&mut data)
        .unwrap();
    assert!(data.len() > 4 << 20);
    let large = write(place.path(), "one", &deb_of("one", ".xz", &data));
    let package = get(place.path(), &wanted(&large, "one")).unwrap();
    assert!(package.read_content(0).unwrap() == noise);

    let mut damaged = data;
    let at = damaged.len() / 2;
    damaged[at] ^= 1;
    let damaged = write(place.path(), "one", &deb_of("one", ".xz", &damaged));
    let text = chain(&get(place.path(), &wanted(&damaged, "one")).unwrap_err());
    assert!(text.contains("is damaged"), "{text}");
}

#[test]
fn cancelling_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let one = wanted(&deb(place.path(), "one", "", SAMPLE), "one");
    let error = store(place.path())
        .get(&one, 1, &AtomicBool::new(true))
        .unwrap_err();
    assert!(matches!(error, PackageStoreError::Cancelled));
    assert!(held(place.path()).is_empty());
}
