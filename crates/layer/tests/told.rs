//! The diff ID that a copy finds while it writes is the one that a look at the layer finds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a panic is how they fail"
)]

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use distil_layer::{LinkGroups, TarOptions, TarSummary, hash_told, settle, write_tree};
use distil_rootfs::{
    CopyReport, CopySpec, Dir, DirTree, Entry, MergedTree, Node, Owner, Timestamp, Tree, TreeError, Upper,
    UpperError, UpperOptions, Xattrs,
};

/// A lower layer and a source folder, filled by the test.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        for name in ["lower", "source", "layer"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        Place { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Place {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn make_dir(&self, name: &str) -> &Place {
        fs::create_dir_all(self.path(name)).unwrap();
        self
    }

    fn lower(&self) -> MergedTree {
        MergedTree::open(&[self.path("lower")]).unwrap()
    }

    /// A copy whose files this user may make.
    fn spec(&self, from: &str, to: &str) -> CopySpec {
        let own = fs::metadata(self.folder.path()).unwrap();
        let mut spec = CopySpec::new(from, to);
        spec.owner = Some(Owner {
            uid: own.uid(),
            gid: own.gid(),
        });
        spec
    }

    /// Copies, and gives what was told, if everything was.
    fn told(
        &self,
        tree: &dyn Tree,
        spec: &CopySpec,
        options: TarOptions,
    ) -> Result<(CopyReport, Option<TarSummary>), UpperError> {
        let upper = Upper::open(&self.lower(), &self.path("layer"), UpperOptions::default())?;
        let mut report = CopyReport::default();
        let (copied, tar) = hash_told(options, |stream| upper.copy_told(tree, spec, &mut report, stream));
        copied?;
        let tar = tar.filter(|_| report.told);
        Ok((report, tar))
    }

    /// What a look at the layer finds.
    fn found(&self, options: TarOptions) -> TarSummary {
        let layer = self.path("layer");
        let settled = settle(&layer, &self.lower(), None, None).unwrap();
        let tree = DirTree::open(&layer).unwrap();
        let tar = write_tree(&tree, &settled.links, options, io::sink()).unwrap();
        assert_eq!((tar.contents, tar.entries), (settled.size, settled.inodes));
        tar
    }

    fn source(&self) -> DirTree {
        DirTree::open(&self.path("source")).unwrap()
    }

    /// Copies, and wants everything told and right.
    fn check(&self, spec: &CopySpec) {
        let options = TarOptions::default();
        let (_, tar) = self.told(&self.source(), spec, options).unwrap();
        assert_eq!(tar, Some(self.found(options)), "{spec:?}");
    }

    /// Copies, and wants it left to a look at the layer.
    fn check_lost(&self, spec: &CopySpec) {
        let (_, tar) = self.told(&self.source(), spec, TarOptions::default()).unwrap();
        assert_eq!(tar, None, "{spec:?}");
    }
}

/// Files of many sizes in folders that follow each other in every order.
fn fill(place: &Place) {
    for number in 0..180usize {
        let path = format!(
            "source/d{}/{}f{number}",
            number % 7,
            ["", "deep/er/", "z/"][number % 3]
        );
        place.write(&path, vec![b'a' + (number % 26) as u8; number * number % 3000]);
    }
    for (name, size) in [
        ("d1/deep", 300 << 10),
        ("d3", 256 << 10),
        ("", 1300 << 10),
        ("d9", 1),
    ] {
        place.write(&format!("source/{name}/large"), vec![b'x'; size]);
    }
    for name in ["d1/deep.d", "d1/empty", "zz/empty/empty", "a.d"] {
        place.make_dir(&format!("source/{name}"));
    }
    symlink("../d2", place.path("source/d1/link")).unwrap();
    symlink("x".repeat(300), place.path("source/d9/long")).unwrap();
    let mode = |name: &str, mode| {
        fs::set_permissions(place.path("source").join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("d2", 0o1711);
    mode("d3/large", 0o4755);
    place.write(
        &format!("source/{}/{}", "n".repeat(120), "m".repeat(140)),
        "long names",
    );
}

#[test]
fn a_folder() {
    for to in ["/files", "/", "/new/below/", "/old", "/old/deep/new"] {
        let place = Place::new();
        fill(&place);
        place.write("lower/old/deep/file", "old").make_dir("lower/usr");
        let shared = fs::Permissions::from_mode(0o2775);
        fs::set_permissions(place.path("lower/old/deep"), shared).unwrap();
        place.check(&place.spec("/", to));
    }
}

#[test]
fn a_folder_in_a_folder() {
    let place = Place::new();
    fill(&place);
    let mut spec = place.spec("/d1", "/to/");
    spec.dir_copy_contents = false;
    place.check(&spec);
}

#[test]
fn a_file() {
    for (name, to) in [
        ("large", "/large"),
        ("d9/large", "/a/b/c"),
        ("d9/large", "/old/deep/"),
        ("d9/long", "/l"),
    ] {
        let place = Place::new();
        fill(&place);
        place.write("lower/old/deep/file", "old");
        let mut spec = place.spec(name, to);
        spec.follow_symlink = false;
        place.check(&spec);
    }
}

#[test]
fn other_owners_modes_and_times() {
    let place = Place::new();
    fill(&place);
    let mut spec = place.spec("/", "/new/below/");
    spec.mode = distil_rootfs::FileMode::Octal(0o700);
    spec.timestamp = Some(Timestamp {
        secs: 86_400,
        nanos: 5,
    });
    place.check(&spec);
    for latest in [1000, i64::MAX] {
        let place = Place::new();
        fill(&place);
        let options = TarOptions {
            latest_mtime: Some(latest),
            ..TarOptions::default()
        };
        let spec = place.spec("/", "/files");
        let (_, tar) = place.told(&place.source(), &spec, options).unwrap();
        assert_eq!(tar, Some(place.found(options)));
    }
}

#[test]
fn one_thread_or_many() {
    for threads in [1, 2, 9] {
        let place = Place::new();
        fill(&place);
        let mut spec = place.spec("/", "/files");
        spec.threads = threads;
        place.check(&spec);
    }
}

#[test]
fn what_is_left_to_a_look_at_the_layer() {
    type Prepare = fn(&Place);
    let cases: [(&str, &str, Prepare); 8] = [
        ("/", "/files", |place| {
            fs::hard_link(place.path("source/d9/large"), place.path("source/d9/other")).unwrap();
        }),
        ("/", "/files", |place| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                place.path("source/pipe"),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RUSR,
                0,
            )
            .unwrap();
        }),
        // One file is there already, perhaps the same.
        ("/", "/files", |place| {
            place.write("lower/files/large", "other");
        }),
        ("/", "/files", |place| {
            place.make_dir("lower/files/d1");
        }),
        ("/large", "/large", |place| {
            place.write("lower/large", "other");
        }),
        // Nothing is in it.
        ("/a.d", "/usr", |place| {
            place.make_dir("lower/usr");
        }),
        ("/d*", "/files/", |_| {}),
        ("/", "/files", |place| {
            place.write("source/.wh.name", "");
        }),
    ];
    for (from, to, prepare) in cases {
        let place = Place::new();
        fill(&place);
        prepare(&place);
        let mut spec = place.spec(from, to);
        spec.allow_wildcard = true;
        place.check_lost(&spec);
    }
    let place = Place::new();
    fill(&place);
    let mut spec = place.spec("/", "/files");
    spec.exclude_patterns = vec!["d1".into()];
    place.check_lost(&spec);
}

#[test]
fn attributes_are_left_to_a_look_at_the_layer() {
    for name in ["source/d9/large", "source/large", "source/d1", "lower/usr"] {
        let place = Place::new();
        fill(&place);
        place.make_dir("lower/usr");
        let path = place.path(name);
        if rustix::fs::setxattr(&path, c"user.test", b"x", rustix::fs::XattrFlags::empty()).is_err() {
            println!(
                "skipped: no extended attributes in {}",
                place.folder.path().display()
            );
            return;
        }
        place.check_lost(&place.spec("/", "/usr/files"));
    }
}

/// A tree that counts how often files are opened, and may say that they are longer than they are.
struct Counting {
    inner: DirTree,
    opened: Arc<Mutex<BTreeMap<PathBuf, u32>>>,
    grown: u64,
}

struct CountingDir {
    inner: Box<dyn Dir>,
    opened: Arc<Mutex<BTreeMap<PathBuf, u32>>>,
    grown: u64,
}

impl Tree for Counting {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(CountingDir {
            inner: self.inner.root()?,
            opened: Arc::clone(&self.opened),
            grown: self.grown,
        }))
    }
}

impl CountingDir {
    fn grow(&self, mut node: Node) -> Node {
        node.size += if node.kind.is_file() { self.grown } else { 0 };
        node
    }
}

impl Dir for CountingDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn node(&self) -> Node {
        self.inner.node()
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let entries = self.inner.entries()?.into_iter();
        Ok(entries
            .map(|entry| Entry {
                node: self.grow(entry.node),
                ..entry
            })
            .collect())
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        Ok(self.inner.lookup(name)?.map(|node| self.grow(node)))
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(CountingDir {
            inner: self.inner.open_dir(name)?,
            opened: Arc::clone(&self.opened),
            grown: self.grown,
        }))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        *self
            .opened
            .lock()
            .unwrap()
            .entry(self.path().join(name))
            .or_default() += 1;
        self.inner.open_file(name)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        self.inner.read_link(name)
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        self.inner.xattrs(name)
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        self.inner.own_xattrs()
    }
}

fn counting(place: &Place, grown: u64) -> Counting {
    Counting {
        inner: place.source(),
        opened: Arc::default(),
        grown,
    }
}

#[test]
fn every_file_is_read_once() {
    let place = Place::new();
    fill(&place);
    let tree = counting(&place, 0);
    let options = TarOptions::default();
    let (report, tar) = place.told(&tree, &place.spec("/", "/files"), options).unwrap();
    let tar = tar.expect("told");
    let opened = tree.opened.lock().unwrap();
    assert_eq!(opened.len() as u64, report.files);
    assert!(opened.values().all(|times| *times == 1), "{opened:?}");
    // The files of the layer are not opened at all: what is told does not change when they are gone.
    fs::write(place.path("layer/files/large"), "").unwrap();
    assert_ne!(tar, place.found(options));
    assert_eq!(tar.links, LinkGroups::default());
}

#[test]
fn a_file_that_changes_meanwhile_fails_the_copy() {
    for name in ["/large", "/d9/large", "/"] {
        let place = Place::new();
        fill(&place);
        let tree = counting(&place, 1);
        let copied = place.told(&tree, &place.spec(name, "/files/"), TarOptions::default());
        assert!(matches!(copied, Err(UpperError::Changed { .. })), "{copied:?}");
    }
}
