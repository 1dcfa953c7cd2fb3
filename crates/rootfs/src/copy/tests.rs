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

#[test]
fn places_files_and_directories_as_buildkit_does() {
    if !root_or_skip("places_files_and_directories_as_buildkit_does") {
        return;
    }
    let cases: &[(&str, &[&str], &[&str], &str, &str, &[&str])] = &[
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
            &["cannot copy a directory onto `/t`, which is not a directory"],
        ),
        (
            "nested dir onto file",
            &["t/n=x"],
            &["s/n/f=x"],
            "/s",
            "/t",
            &["cannot copy a directory onto `/t/n`, which is not a directory"],
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
    for (name, lower, source, from, to, want) in cases {
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
