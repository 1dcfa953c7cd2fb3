//! Copies, compared with what BuildKit's file op leaves behind (ids of the golden cases'
//! facts in brackets).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::content::{Selector, digest_paths, digest_paths_known, digest_paths_recording};
use crate::testing::{Fixture, dump, inode, paths, root_or_skip};
use crate::tree::{DirTree, Tree};
use crate::upper::{Upper, UpperError};

fn context(path: &Path) -> DirTree {
    DirTree::open(path).unwrap().into_context()
}

fn run(upper: &Upper, tree: &dyn Tree, spec: &CopySpec) -> Result<CopyReport, UpperError> {
    let mut report = CopyReport::default();
    upper.copy(tree, spec, &mut report).map(|()| report)
}

/// Copies `from` to `to` out of a context and gives the resulting tree.
fn copied(lower: &[&str], source: &[&str], from: &str, to: &str) -> Vec<String> {
    let mut fixture = Fixture::new();
    if !lower.is_empty() {
        fixture.layer(lower);
    }
    let source = fixture.source("context", source);
    let upper = fixture.upper();
    match run(&upper, &context(&source), &CopySpec::new(from, to)) {
        Ok(_) => dump(&upper),
        Err(err) => vec![err.to_string()],
    }
}

/// What a case is about, lower layer, context, source, destination, resulting tree or error.
type Case = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static str,
    &'static str,
    &'static [&'static str],
);

const CASES: &[Case] = &[
    (
        "file to name",
        &[],
        &["f=x 600"],
        "/f",
        "/a/b",
        &["/a d 0755 0:0", "/a/b f 0600 0:0 x"],
    ),
    (
        "file to slash",
        &[],
        &["f=x 644"],
        "/f",
        "/a/",
        &["/a d 0755 0:0", "/a/f f 0644 0:0 x"],
    ),
    (
        "file into dir",
        &["d/ 1777"],
        &["f=x 644"],
        "/f",
        "/d",
        &["/d d 1777 0:0", "/d/f f 0644 0:0 x"],
    ),
    (
        "dir contents",
        &[],
        &["s/ 700", "s/n/ 711", "s/n/f=x 644"],
        "/s",
        "/t",
        &["/t d 0755 0:0", "/t/n d 0711 0:0", "/t/n/f f 0644 0:0 x"],
    ),
    ("root to root", &[], &["a=1 644"], "/", "/", &["/a f 0644 0:0 1"]),
    (
        "nested mode wins",
        &["t/n/ 1777"],
        &["s/n/ 700"],
        "/s",
        "/t",
        &["/t d 0755 0:0", "/t/n d 0700 0:0"],
    ),
    (
        "link source followed",
        &[],
        &["l->f", "f=x 644"],
        "/l",
        "/o",
        &["/o f 0644 0:0 x"],
    ),
    (
        "link inside kept",
        &[],
        &["s/l->f", "s/f=x 644"],
        "/s",
        "/o",
        &["/o d 0755 0:0", "/o/f f 0644 0:0 x", "/o/l l 0777 0:0 f"],
    ),
    (
        "target link followed",
        &["real/", "l->real"],
        &["f=x 644"],
        "/f",
        "/l/",
        &["/l l 0777 0:0 real", "/real d 0755 0:0", "/real/f f 0644 0:0 x"],
    ),
    (
        "target link to file",
        &["real=old 644", "l->/real"],
        &["f=x 644"],
        "/f",
        "/l",
        &["/l l 0777 0:0 /real", "/real f 0644 0:0 x"],
    ),
    (
        "escaping link stays inside",
        &["l->../../.."],
        &["f=x 644"],
        "/f",
        "/l/in",
        &["/in f 0644 0:0 x", "/l l 0777 0:0 ../../.."],
    ),
    (
        "dir onto file",
        &["t=x"],
        &["s/f=x"],
        "/s",
        "/t",
        &["a directory is needed at `/t`, where something else is"],
    ),
    (
        "nested dir onto file",
        &["t/n=x"],
        &["s/n/f=x"],
        "/s",
        "/t",
        &["a directory is needed at `/t/n`, where something else is"],
    ),
    (
        "nested file onto dir",
        &["t/n/"],
        &["s/n=x"],
        "/s",
        "/t",
        &["cannot replace directory `/t/n` with a file"],
    ),
    (
        "wildcard",
        &[],
        &["a.c=1 644", "b.c=2 644", "x=3"],
        "/*.c",
        "/d/",
        &["/d d 0755 0:0", "/d/a.c f 0644 0:0 1", "/d/b.c f 0644 0:0 2"],
    ),
    (
        "wildcard dir contents merge",
        &[],
        &["d1/f=1 644", "d2/g=2 644"],
        "/d*",
        "/t",
        &["/t d 0755 0:0", "/t/f f 0644 0:0 1", "/t/g f 0644 0:0 2"],
    ),
    ("no hit", &[], &["x=3"], "/*.c", "/d/", &[]),
    ("missing", &[], &["x=3"], "/y", "/d/", &["`/y` does not exist"]),
    (
        "missing wildcard dir",
        &[],
        &["x=3"],
        "/y/*",
        "/d/",
        &["`/y` does not exist"],
    ),
    (
        "source above root",
        &[],
        &["x=3 644"],
        "/../../x",
        "/",
        &["/x f 0644 0:0 3"],
    ),
    (
        "looping link",
        &[],
        &["l->l"],
        "/l",
        "/x",
        &["`/l` passes through too many symbolic links"],
    ),
];

#[test]
fn places_files_and_directories_as_buildkit_does() {
    if !root_or_skip("places_files_and_directories_as_buildkit_does") {
        return;
    }
    for (name, lower, source, from, to, want) in CASES {
        let got = copied(lower, source, from, to);
        assert_eq!(
            &got.iter().map(String::as_str).collect::<Vec<_>>(),
            want,
            "{name}"
        );
    }
}

#[test]
fn keeps_hard_links_and_reports_equal_digests() {
    if !root_or_skip("keeps_hard_links_and_reports_equal_digests") {
        return;
    }
    let mut fixture = Fixture::new();
    let source = fixture.source("context", &["s/a=same", "s/d/b=other", "s/l->a"]);
    std::fs::hard_link(source.join("s/a"), source.join("s/d/a2")).unwrap();
    let upper = fixture.upper();
    let tree = context(&source);
    let spec = CopySpec::new("/s", "/t");
    let report = run(&upper, &tree, &spec).unwrap();
    assert_eq!(
        inode(&upper.dir().join("t/a")),
        inode(&upper.dir().join("t/d/a2"))
    );
    assert_eq!((report.files, report.linked), (3, 0));
    let selector = Selector {
        paths: vec![source_selector(&spec)],
    };
    let cancel = Default::default();
    let full = digest_paths(&tree, &selector, &cancel).unwrap();
    let known = digest_paths_known(&tree, &selector, &report.digests, &cancel).unwrap();
    assert_eq!(full, known);
    // Linked names are in no manifest.
    let names: Vec<bool> = ["t/a", "t/d/a2", "t/d/b"]
        .iter()
        .map(|path| report.manifest.get(Path::new(path)).is_some())
        .collect();
    assert_eq!(names, [false, false, true]);
}

#[test]
fn links_unchanged_files_from_an_earlier_layer() {
    if !root_or_skip("links_unchanged_files_from_an_earlier_layer") {
        return;
    }
    let mut fixture = Fixture::new();
    let source = fixture.source("context", &["a=1", "d/b=2", "d/c=3"]);
    let first = fixture.upper();
    let tree = context(&source);
    let mut spec = CopySpec::new("/", "/t/");
    let report = run(&first, &tree, &spec).unwrap();
    let manifest = LayerManifest::decode(&report.manifest.encode()).unwrap();
    assert_eq!(manifest, report.manifest);

    // Same size and time, other bytes.
    let c = source.join("d/c");
    let time = std::fs::metadata(&c).unwrap().modified().unwrap();
    std::fs::write(&c, "4").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&c)
        .unwrap()
        .set_modified(time)
        .unwrap();

    for known in [false, true] {
        fixture.layers.clear();
        let dir = tempfile::tempdir_in(fixture.dir.path()).unwrap();
        let lower = crate::tree::MergedTree::open::<&Path>(&[]).unwrap();
        let second = Upper::open(&lower, dir.path(), Default::default()).unwrap();
        let selector = Selector {
            paths: vec![source_selector(&spec)],
        };
        let (digest, digests) = digest_paths_recording(&tree, &selector, &Default::default()).unwrap();
        spec.known = known.then(|| Arc::new(digests));
        spec.link_from = Some(LinkSource {
            dir: first.dir().to_owned(),
            manifest: Arc::new(manifest.clone()),
            below: false,
        });
        let report = run(&second, &tree, &spec).unwrap();
        assert_eq!((report.files, report.linked), (3, 2));
        assert_eq!(inode(&first.dir().join("t/a")), inode(&second.dir().join("t/a")));
        assert_ne!(
            inode(&first.dir().join("t/d/c")),
            inode(&second.dir().join("t/d/c"))
        );
        assert_eq!(std::fs::read(second.dir().join("t/d/c")).unwrap(), b"4");
        let again = digest_paths_known(&tree, &selector, &report.digests, &Default::default());
        assert_eq!(again.unwrap(), digest);
    }
}

#[test]
fn what_replaced_a_file_is_in_no_manifest() {
    if !root_or_skip("what_replaced_a_file_is_in_no_manifest") {
        return;
    }
    let mut fixture = Fixture::new();
    let source = fixture.source("context", &["one/a=1", "one/b=2", "two/"]);
    let _socket = std::os::unix::net::UnixListener::bind(source.join("two/a")).unwrap();
    let upper = fixture.upper();
    let tree = context(&source);
    let mut report = CopyReport::default();
    for path in ["/one", "/two"] {
        upper
            .copy(&tree, &CopySpec::new(path, "/t/"), &mut report)
            .unwrap();
    }
    // A socket becomes an empty file.
    assert_eq!(std::fs::read(upper.dir().join("t/a")).unwrap(), b"");
    assert!(report.manifest.get(Path::new("t/a")).is_none());
    assert!(report.manifest.get(Path::new("t/b")).is_some());
}

#[test]
fn times_of_the_source_are_kept_and_parents_are_not_dated() {
    if !root_or_skip("times_of_the_source_are_kept_and_parents_are_not_dated") {
        return;
    }
    let mut fixture = Fixture::new();
    let lower = fixture.layer(&["etc/x=1"]);
    let source = fixture.source("context", &["s/f=1"]);
    let old = std::time::UNIX_EPOCH + std::time::Duration::new(1000, 123_456_789);
    for path in [lower.join("etc"), source.join("s/f"), source.join("s")] {
        std::fs::File::open(path).unwrap().set_modified(old).unwrap();
    }
    let upper = fixture.upper();
    run(&upper, &context(&source), &CopySpec::new("/s/f", "/etc/")).unwrap();
    run(&upper, &context(&source), &CopySpec::new("/s", "/new/")).unwrap();
    for path in ["etc", "etc/f", "new", "new/f"] {
        let meta = std::fs::metadata(upper.dir().join(path)).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1000, 123_456_789), "{path}");
    }
    assert_eq!(paths(&upper), ["/etc", "/etc/f", "/etc/x", "/new", "/new/f"]);
}

#[test]
fn files_of_every_size_arrive_whole() {
    if !root_or_skip("files_of_every_size_arrive_whole") {
        return;
    }
    let mut fixture = Fixture::new();
    let source = fixture.source("context", &["s/"]);
    let small = crate::content::SMALL_FILE as usize;
    for size in [0, 1, small - 1, small, small + 1, (1 << 20) + 1, 5 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        std::fs::write(source.join(format!("s/{size}")), bytes).unwrap();
    }
    let upper = fixture.upper();
    let tree = context(&source);
    let spec = CopySpec::new("/", "/");
    let report = run(&upper, &tree, &spec).unwrap();
    assert_eq!(report.files, 7);
    let selector = Selector::default();
    let cancel = Default::default();
    let full = digest_paths(&tree, &selector, &cancel).unwrap();
    let known = digest_paths_known(&tree, &selector, &report.digests, &cancel).unwrap();
    assert_eq!(full, known);
    let copied = DirTree::open(upper.dir()).unwrap().into_context();
    assert_eq!(digest_paths(&copied, &selector, &cancel).unwrap(), full);
}

#[test]
fn patterns_choose_and_excluded_parents_are_made_only_when_needed() {
    if !root_or_skip("patterns_choose_and_excluded_parents_are_made_only_when_needed") {
        return;
    }
    let entries = ["a/b/c=1 644", "a/b/d=1 644", "a/ 700", "a/e/f=1", "x=1 644"];
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&["a/b/c"], &[], &["/t/a", "/t/a/b", "/t/a/b/c"]),
        (&["a/*/c", "x"], &[], &["/t/a", "/t/a/b", "/t/a/b/c", "/t/x"]),
        (
            &[],
            &["a", "!a/b"],
            &["/t/a", "/t/a/b", "/t/a/b/c", "/t/a/b/d", "/t/x"],
        ),
        (&["none"], &[], &[]),
    ];
    for (include, exclude, want) in cases {
        let mut fixture = Fixture::new();
        fixture.layer(&["t/a/ 1777"]);
        let source = fixture.source("context", &entries);
        let upper = fixture.upper();
        let mut spec = CopySpec::new("/", "/t");
        spec.include_patterns = include.iter().map(|text| (*text).to_owned()).collect();
        spec.exclude_patterns = exclude.iter().map(|text| (*text).to_owned()).collect();
        run(&upper, &context(&source), &spec).unwrap();
        let seen = paths(&upper);
        let mut want: Vec<&str> = want.to_vec();
        if want.is_empty() {
            want.push("/t/a");
        }
        want.insert(0, "/t");
        assert_eq!(seen, want, "{include:?} {exclude:?}");
        let mode = std::fs::metadata(upper.dir().join("t/a")).map(|meta| meta.mode() & 0o7777);
        if !include.contains(&"none") {
            // On the way to something chosen, an existing directory takes the source's mode.
            assert_eq!(mode.unwrap(), 0o700);
        }
    }
}

#[test]
fn modes_and_owners_are_changed_as_asked() {
    if !root_or_skip("modes_and_owners_are_changed_as_asked") {
        return;
    }
    let symbolic = |text: &str| FileMode::Symbolic(SymbolicMode::parse(text).unwrap());
    let cases = [
        (
            FileMode::Octal(0o1400),
            "/p d 0400 7:8",
            "/p/q d 0400 7:8",
            "/p/q/f f 1400 7:8 x",
        ),
        (
            symbolic("u=rwX,go=rX"),
            "/p d 0755 7:8",
            "/p/q d 0755 7:8",
            "/p/q/f f 0755 7:8 x",
        ),
        (
            symbolic("o-x,g+w"),
            "/p d 0755 7:8",
            "/p/q d 0755 7:8",
            "/p/q/f f 4774 7:8 x",
        ),
    ];
    for (mode, p, q, f) in cases {
        let mut fixture = Fixture::new();
        let source = fixture.source("context", &["f=x 4755"]);
        let upper = fixture.upper();
        let mut spec = CopySpec::new("/f", "/p/q/f");
        spec.mode = mode;
        spec.owner = Some(Owner { uid: 7, gid: 8 });
        run(&upper, &context(&source), &spec).unwrap();
        assert_eq!(dump(&upper), [p, q, f]);
    }
}

#[test]
fn mode_changes_follow_chmod() {
    let cases: [(&str, u32, bool, u32); 14] = [
        ("644", 0o777, false, 0o644),
        ("7777", 0, false, 0o7777),
        ("u+x", 0o644, false, 0o744),
        ("a+X", 0o644, false, 0o644),
        ("a+X", 0o644, true, 0o755),
        ("a+X", 0o744, false, 0o755),
        ("go=", 0o777, false, 0o700),
        ("go=u-w", 0o640, false, 0o644),
        ("=r", 0o777, false, 0o444),
        ("u+s,g+s", 0o755, false, 0o6755),
        ("o+t,o+s", 0o755, false, 0o755),
        ("+t", 0o755, true, 0o1755),
        ("u=g", 0o750, false, 0o550),
        ("a-x,u+x", 0o777, false, 0o766),
    ];
    for (text, before, is_dir, after) in cases {
        let mode = SymbolicMode::parse(text).unwrap();
        assert_eq!(mode.apply(before, is_dir), after, "{text} on {before:o}");
    }
    for bad in ["", "8", "77777", "u", "z+x", "u+y", "u+x,", "+é"] {
        assert!(SymbolicMode::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn damaged_manifests_are_refused() {
    let mut manifest = LayerManifest::default();
    let entry = |size| ManifestEntry {
        size,
        mode: 0o644,
        owner: Owner::default(),
        mtime: Timestamp { secs: -1, nanos: 5 },
        digest: [7; 32],
    };
    manifest.extend(Path::new("b"), vec![("\n".into(), entry(1))]);
    manifest.extend(Path::new("b/c"), vec![("d".into(), entry(1))]);
    let twice = vec![("z".into(), entry(4)), ("a".into(), entry(u64::MAX))];
    manifest.extend(Path::new(""), twice);
    manifest.extend(Path::new(""), vec![("a".into(), entry(3))]);
    assert_eq!(manifest.get(Path::new("a")).unwrap().size, 3);
    assert_eq!(manifest.get(Path::new("z")).unwrap().size, 4);
    assert_eq!(manifest.len(), 4);
    let mut less = manifest.clone();
    less.remove(Path::new("b"));
    less.remove(Path::new("a"));
    assert_eq!(less.len(), 1);
    less.remove(Path::new("z"));
    assert!(less.is_empty());
    let bytes = manifest.encode();
    assert_eq!(LayerManifest::decode(&bytes).unwrap(), manifest);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(LayerManifest::decode(&damaged).is_err(), "byte {at}");
        assert!(LayerManifest::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn hostile_sources_are_copied_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    if !root_or_skip("hostile_sources_are_copied_as_they_are") {
        return;
    }
    let mut fixture = Fixture::new();
    let source = fixture.source("context", &["l->l", "dangling->/none", "out->../../../etc"]);
    for name in [&b"new\nline"[..], b"back\\slash", b"\xff\xfe", b"*[?"] {
        std::fs::write(source.join(std::ffi::OsStr::from_bytes(name)), "1").unwrap();
    }
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o622);
    rustix::fs::mknodat(rustix::fs::CWD, source.join("fifo"), fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();
    let upper = fixture.upper();
    let tree = context(&source);
    run(&upper, &tree, &CopySpec::new("/", "/in/")).unwrap();
    let below = crate::testing::dump(&upper);
    assert_eq!(below.len(), 1 + 9, "{below:?}");
    for want in [
        "/in/l l 0777 0:0 l",
        "/in/out l 0777 0:0 ../../../etc",
        "/in/dangling l 0777 0:0 /none",
    ] {
        assert!(below.iter().any(|line| line == want), "{want}");
    }
    assert!(below.iter().any(|line| line.starts_with("/in/fifo p ")));
    // As in BuildKit a socket becomes an empty file.
    assert!(below.iter().any(|line| line.starts_with("/in/socket f ")));
    let zero = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, source.join("white"), zero, mode, 0).unwrap();
    assert!(run(&upper, &tree, &CopySpec::new("/", "/in/")).is_err());
}

#[test]
fn copies_tell_where_each_path_went() {
    let mut fixture = Fixture::new();
    fixture.layer(&["there/", "link->there"]);
    let source = fixture.source("context", &["d/f=1", "d/sub/g=2", "a.txt=3", "b.txt=4", "l->d"]);
    let upper = fixture.upper();
    let placed = |from: &str, to: &str| -> Vec<(String, String)> {
        let report = run(&upper, &context(&source), &CopySpec::new(from, to)).unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let pair = |placed: &Placed| (text(&placed.source), text(&placed.target));
        report.placed.iter().map(pair).collect()
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(placed("/d", "/new"), [pair("/d", "/new")]);
    assert_eq!(placed("/l", "/link/x"), [pair("/d", "/there/x")]);
    assert_eq!(placed("/d/f", "/link/"), [pair("/d/f", "/there/f")]);
    let both = [pair("/a.txt", "/there/a.txt"), pair("/b.txt", "/there/b.txt")];
    assert_eq!(placed("/*.txt", "/there/"), both);
    assert_eq!(placed("/", "/"), [pair("/", "/")]);
}
