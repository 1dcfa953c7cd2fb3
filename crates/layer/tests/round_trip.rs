//! Random changes to a tree become a layer, its tar, and the same tree again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use distil_layer::{LinkGroups, TarOptions, UnpackOptions, settle, settle_copy, unpack, write_tar};
use distil_rootfs::{Dir, FileKind, MergedTree, Tree};
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

/// What a tree looks like to a process in it.
type Picture = BTreeMap<PathBuf, String>;

fn picture(tree: &dyn Tree) -> Picture {
    let mut picture = Picture::new();
    draw(&*tree.root().expect("root"), Path::new(""), &mut picture);
    picture
}

fn draw(dir: &dyn Dir, at: &Path, picture: &mut Picture) {
    for entry in dir.entries().expect("entries") {
        let (node, path) = (&entry.node, at.join(&entry.name));
        let mut text = format!(
            "{:?} {:o} {}:{} {}",
            node.kind, node.mode, node.uid, node.gid, node.rdev
        );
        if !node.kind.is_dir() {
            text += &format!(" {}", node.mtime.secs);
        }
        text += &format!(" {:?}", dir.xattrs(&entry.name).expect("xattrs"));
        match node.kind {
            FileKind::File => {
                let mut content = Vec::new();
                dir.open_file(&entry.name)
                    .expect("opens")
                    .read_to_end(&mut content)
                    .expect("reads");
                text += &format!(" {content:?}");
            }
            FileKind::Symlink => text += &format!(" {:?}", dir.read_link(&entry.name).expect("reads")),
            FileKind::Dir => draw(&*dir.open_dir(&entry.name).expect("opens"), &path, picture),
            _ => {}
        }
        picture.insert(path, text);
    }
}

#[derive(Debug, Clone)]
enum Change {
    Dir(u8, u32),
    File(u8, Vec<u8>, u32),
    Symlink(u8, String),
    HardLink(u8, u8),
    Fifo(u8),
    Remove(u8),
    Owner(u8, u32, u32),
    Time(u8, i64),
    Xattr(u8, Vec<u8>),
    /// Written again with nothing changed.
    Touch(u8),
}

/// A few dozen paths, some of them awkward.
fn place(number: u8) -> PathBuf {
    let long = "n".repeat(130);
    let names: [&[u8]; 7] = [
        b"a",
        b"b",
        b"a.b",
        b"\xff\xfe",
        "sch\u{f6}n".as_bytes(),
        b" x\n",
        long.as_bytes(),
    ];
    let mut path = PathBuf::new();
    let mut number = usize::from(number);
    loop {
        path.push(OsString::from(std::ffi::OsStr::from_bytes(names[number % 7])));
        number /= 7;
        if number == 0 {
            return path;
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let mode = prop_oneof![
        Just(0o755u32),
        Just(0o644),
        Just(0o600),
        Just(0o4755),
        Just(0o1777),
        Just(0o2775)
    ];
    let content = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        (500usize..1600).prop_map(|length| vec![b'x'; length])
    ];
    prop_oneof![
        4 => (0u8..120, mode.clone()).prop_map(|(path, mode)| Change::Dir(path, mode)),
        6 => (any::<u8>(), content, mode).prop_map(|(path, content, mode)| Change::File(path, content, mode)),
        2 => (any::<u8>(), "[a-z/.]{1,150}").prop_map(|(path, target)| Change::Symlink(path, target)),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(from, to)| Change::HardLink(from, to)),
        1 => any::<u8>().prop_map(Change::Fifo),
        3 => (0u8..120).prop_map(Change::Remove),
        2 => (any::<u8>(), prop_oneof![Just(0u32), Just(1000), Just(3_000_000)], 0u32..3)
            .prop_map(|(path, uid, gid)| Change::Owner(path, uid, gid)),
        2 => (any::<u8>(), prop_oneof![Just(-5i64), 0i64..2_000_000_000, Just(1 << 34)])
            .prop_map(|(path, time)| Change::Time(path, time)),
        1 => (any::<u8>(), prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(path, value)| Change::Xattr(path, value)),
        1 => any::<u8>().prop_map(Change::Touch),
    ]
}

/// Applies a change to a plain directory; what cannot be done is left.
fn apply(root: &Path, change: &Change) {
    let at = |number: &u8| root.join(place(*number));
    let _ = match change {
        Change::Dir(path, mode) => fs::create_dir_all(at(path))
            .and_then(|()| fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))),
        Change::File(path, content, mode) => {
            let _ = fs::remove_file(at(path));
            fs::write(at(path), content)
                .and_then(|()| fs::set_permissions(at(path), fs::Permissions::from_mode(*mode)))
        }
        Change::Symlink(path, target) => std::os::unix::fs::symlink(target, at(path)),
        Change::HardLink(from, to) => match fs::symlink_metadata(at(from)) {
            Ok(metadata) if metadata.is_file() => fs::hard_link(at(from), at(to)),
            _ => Ok(()),
        },
        Change::Fifo(path) => {
            rustix::fs::mknodat(CWD, at(path), FileType::Fifo, Mode::from_raw_mode(0o640), 0)
                .map_err(Into::into)
        }
        Change::Remove(path) => fs::remove_dir_all(at(path)).or_else(|_| fs::remove_file(at(path))),
        Change::Owner(path, uid, gid) => std::os::unix::fs::lchown(at(path), Some(*uid), Some(*gid)),
        Change::Time(path, seconds) => {
            let time = Timespec {
                tv_sec: *seconds,
                tv_nsec: 0,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW).map_err(Into::into)
        }
        Change::Xattr(path, value) => {
            rustix::fs::lsetxattr(at(path), "user.test", value, rustix::fs::XattrFlags::empty())
                .map_err(Into::into)
        }
        Change::Touch(path) => match fs::symlink_metadata(at(path)) {
            Ok(metadata) if metadata.is_file() => fs::set_permissions(at(path), metadata.permissions()),
            _ => Ok(()),
        },
    };
}

fn is_root() -> bool {
    // Also outside of user namespaces: these tests use all ids and `trusted.` attributes.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    rustix::process::geteuid().is_root() && map.contains("4294967295")
}

struct Places {
    _directory: tempfile::TempDir,
    root: PathBuf,
}

impl Places {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temp dir");
        Self {
            root: directory.path().to_path_buf(),
            _directory: directory,
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(&path).expect("creates");
        path
    }
}

fn tar_of(dir: &Path, links: &LinkGroups) -> Vec<u8> {
    let mut bytes = Vec::new();
    let summary = write_tar(dir, links, TarOptions::default(), &mut bytes).expect("writes");
    assert_eq!(summary.diff_id.0, distil_oci::Digest::sha256(&bytes));
    assert_eq!(summary.size, bytes.len() as u64);
    bytes
}

/// Makes a layer of `copy` (a changed copy of `lower`), its tar, and a layer of that.
fn check(places: &Places, copy: &Path, lower: &MergedTree) {
    let wanted = picture(&MergedTree::open(&[copy]).expect("opens"));
    let settled = settle_copy(copy, lower).expect("settles");
    let mut layers: Vec<PathBuf> = lower.layers().to_vec();
    layers.push(copy.to_path_buf());
    let merged = MergedTree::open(&layers).expect("opens");
    assert_eq!(picture(&merged), wanted, "the layer on its lower");

    let again = settle(copy, lower, Some(&settled.links), None).expect("settles");
    assert_eq!(again, settled, "a settled layer stays as it is");
    let tar = tar_of(copy, &settled.links);
    assert_eq!(tar_of(copy, &settled.links), tar, "the same bytes again");

    let back = places.dir("back");
    let unpacked = unpack(&tar[..], &back, &UnpackOptions::default()).expect("unpacks");
    assert_eq!((unpacked.size, unpacked.inodes), (settled.size, settled.inodes));
    assert_eq!(unpacked.links, settled.links);
    assert!(!unpacked.needs_lower(), "{unpacked:?}");
    assert_eq!(tar_of(&back, &unpacked.links), tar, "its layer has the same tar");
    *layers.last_mut().expect("one") = back;
    let merged = MergedTree::open(&layers).expect("opens");
    assert_eq!(picture(&merged), wanted, "the unpacked layer on the lower");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn changes_survive_diff_and_apply(
        first in prop::collection::vec(change(), 0..40),
        second in prop::collection::vec(change(), 0..40),
    ) {
        if !is_root() {
            println!("skip: needs root");
            return Ok(());
        }
        let places = Places::new();
        let lower = places.dir("lower");
        first.iter().for_each(|change| apply(&lower, change));
        let lower_tree = MergedTree::open(&[&lower]).expect("opens");
        let copy = places.dir("copy");
        let output = std::process::Command::new("cp").arg("-a").arg("--").arg(lower.join(".")).arg(&copy).output();
        assert!(output.expect("cp runs").status.success());
        second.iter().for_each(|change| apply(&copy, change));
        check(&places, &copy, &lower_tree);
    }
}

#[test]
fn the_tar_program_reads_what_is_written() {
    if !is_root() {
        println!("skip: needs root");
        return;
    }
    let places = Places::new();
    let layer = places.dir("layer");
    let long = "very-long-name-".repeat(12);
    fs::create_dir(layer.join("etc")).expect("creates");
    fs::write(layer.join("etc/passwd"), b"root:x:0:0::/:/bin/sh\n").expect("writes");
    fs::hard_link(layer.join("etc/passwd"), layer.join("etc/passwd-")).expect("links");
    fs::write(layer.join(&long), vec![7; 3000]).expect("writes");
    std::os::unix::fs::lchown(layer.join(&long), Some(4_000_000), Some(5)).expect("chown");
    std::os::unix::fs::symlink("etc/passwd", layer.join("link")).expect("links");
    let lower = MergedTree::open::<PathBuf>(&[]).expect("opens");
    let settled = settle(&layer, &lower, None, None).expect("settles");
    assert_eq!((settled.size, settled.inodes), (3022, 4));
    let archive = places.root.join("layer.tar");
    fs::write(&archive, tar_of(&layer, &settled.links)).expect("writes");
    let out = places.dir("out");
    let status = std::process::Command::new("tar")
        .args(["--numeric-owner", "-xpf"])
        .arg(&archive)
        .arg("-C")
        .arg(&out)
        .status()
        .expect("tar runs");
    assert!(status.success());
    let open = |dir: &Path| picture(&MergedTree::open(&[dir]).expect("opens"));
    assert_eq!(open(&out), open(&layer));
    let inode = |name: &str| fs::metadata(out.join(name)).expect("stat").ino();
    assert_eq!(inode("etc/passwd"), inode("etc/passwd-"));
}

#[test]
fn times_are_cut_off_where_asked() {
    let places = Places::new();
    let layer = places.dir("layer");
    let mut file = fs::File::create(layer.join("new")).expect("creates");
    file.write_all(b"x").expect("writes");
    drop(file);
    let links = LinkGroups::default();
    let options = TarOptions {
        latest_mtime: Some(1000),
        ..TarOptions::default()
    };
    let mut bytes = Vec::new();
    let clamped = write_tar(&layer, &links, options, &mut bytes).expect("writes");
    let mut archive = tar::Archive::new(&bytes[..]);
    let entry = archive
        .entries()
        .expect("reads")
        .next()
        .expect("one")
        .expect("entry");
    assert_eq!(entry.header().mtime().expect("time"), 1000);
    let plain = write_tar(&layer, &links, TarOptions::default(), std::io::sink()).expect("writes");
    assert_ne!(plain.diff_id, clamped.diff_id);
}

#[test]
fn deletions_and_unchanged_copies_are_settled() {
    if !is_root() {
        println!("skip: needs root");
        return;
    }
    let places = Places::new();
    let (lower, upper) = (places.dir("lower"), places.dir("upper"));
    for path in ["keep/sub", "opaque/sub", "gone"] {
        fs::create_dir_all(lower.join(path)).expect("creates");
    }
    for path in ["keep/same", "opaque/old", "opaque/sub/deep", "gone/x"] {
        fs::write(lower.join(path), path).expect("writes");
    }
    let copy = |path: &str| {
        let status = std::process::Command::new("cp")
            .arg("-a")
            .arg(lower.join(path))
            .arg(upper.join(path))
            .status();
        assert!(status.expect("cp runs").success());
    };
    fs::create_dir_all(upper.join("keep/sub")).expect("creates");
    copy("keep/same");
    fs::create_dir_all(upper.join("opaque/sub")).expect("creates");
    fs::write(upper.join("opaque/new"), b"new").expect("writes");
    rustix::fs::setxattr(
        upper.join("opaque"),
        "trusted.overlay.opaque",
        b"y",
        rustix::fs::XattrFlags::empty(),
    )
    .expect("sets");
    let time = fs::metadata(upper.join("opaque")).expect("stat").mtime_nsec();
    for name in ["gone", "never"] {
        rustix::fs::mknodat(CWD, upper.join(name), FileType::CharacterDevice, Mode::empty(), 0)
            .expect("mknod");
    }
    let lower = MergedTree::open(&[&lower]).expect("opens");
    let settled = settle(&upper, &lower, None, None).expect("settles");
    assert_eq!(
        fs::metadata(upper.join("opaque")).expect("stat").mtime_nsec(),
        time,
        "as before"
    );
    let tar = tar_of(&upper, &settled.links);
    let mut archive = tar::Archive::new(&tar[..]);
    let names: Vec<String> = archive
        .entries()
        .expect("reads")
        .map(|entry| String::from_utf8_lossy(&entry.expect("entry").path_bytes()).into_owned())
        .collect();
    assert_eq!(
        names,
        [
            ".wh.gone",
            "opaque/",
            "opaque/new",
            "opaque/.wh.old",
            "opaque/sub/",
            "opaque/sub/.wh.deep"
        ]
    );
}
