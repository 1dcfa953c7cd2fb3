//! Digests against values put together by hand from the documented format.

use std::path::Path;

use super::*;
use crate::testing::Fixture;
use crate::tree::DirTree;

fn sha(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

fn text(digest: [u8; 32]) -> Vec<u8> {
    header::digest_text(&digest).to_vec()
}

fn head(mode: u32, size: usize, kind: char, link: &str) -> String {
    format!("namemode{mode}uid0gid0size{size}typeflag{kind}linkname{link}unamegnamedevmajor0devminor0")
}

/// s/{a, b/{c}, b.d, l -> a} with known metadata.
fn tree(fixture: &Fixture) -> DirTree {
    let entries = [
        "s/ 755",
        "s/a=hello 644",
        "s/b/ 700",
        "s/b/c= 4755",
        "s/b.d=x 600",
        "s/l->a",
    ];
    let path = fixture.source("tree", &entries);
    DirTree::open(&path).unwrap().into_context()
}

fn digest(tree: &DirTree, path: &SelectorPath) -> [u8; 32] {
    digest_path(tree, path, &AtomicBool::new(false)).unwrap()
}

fn plain(path: &str) -> SelectorPath {
    SelectorPath {
        path: path.to_owned(),
        ..SelectorPath::default()
    }
}

#[test]
fn files_directories_and_links() {
    let fixture = Fixture::new();
    let tree = tree(&fixture);
    let a = sha(&[head(0o644, 5, '0', "").as_bytes(), b"hello"]);
    let c = sha(&[head(0o4755, 0, '0', "").as_bytes()]);
    let bd = sha(&[head(0o600, 1, '0', "").as_bytes(), b"x"]);
    let l = sha(&[head(0o777, 0, '2', "a").as_bytes()]);
    let b_head = sha(&[head(0o700, 0, '5', "").as_bytes()]);
    let s_head = sha(&[head(0o755, 0, '5', "").as_bytes()]);
    let b = sha(&[b"\0", &text(b_head), b"\0c", &text(c)]);
    let s = sha(&[
        b"\0",
        &text(s_head),
        b"\0a",
        &text(a),
        b"\0b",
        &text(b),
        b"\0b.d",
        &text(bd),
        b"\0l",
        &text(l),
    ]);
    assert_eq!(digest(&tree, &plain("/s/a")), a);
    assert_eq!(digest(&tree, &plain("/s/l")), l);
    let follow = SelectorPath {
        follow_links: true,
        ..plain("/s/l")
    };
    assert_eq!(digest(&tree, &follow), a);
    assert_eq!(digest(&tree, &plain("/s/")), s);
    // A context's root has no metadata of its own.
    let root = sha(&[b"\0", &text(sha(&[])), b"\0s", &text(s)]);
    assert_eq!(digest(&tree, &plain("/")), root);
    let selector = Selector {
        paths: vec![plain("/s/a"), plain("/s/b")],
    };
    let both = digest_paths(&tree, &selector, &AtomicBool::new(false)).unwrap();
    assert_eq!(both, sha(&[&text(a), b"\0", &text(b)]));

    // Wildcards and filters list what they select, directories by their headers.
    let wildcard = |path: &str| SelectorPath {
        wildcard: true,
        follow_links: true,
        ..plain(path)
    };
    let hits = sha(&[b"\0b", &text(b_head), b"\0b\0c", &text(c), b"\0b.d", &text(bd)]);
    assert_eq!(digest(&tree, &wildcard("/s/b*")), hits);
    assert_eq!(digest(&tree, &wildcard("/s/[l]")), sha(&[b"\0l", &text(a)]));
    assert_eq!(digest(&tree, &wildcard("/s/z*")), sha(&[]));
    let excluded = SelectorPath {
        exclude_patterns: vec!["b".to_owned(), "l".to_owned()],
        ..plain("/s")
    };
    // The selected directory itself comes first, with an empty relative path.
    let kept = sha(&[b"\0", &text(s_head), b"\0a", &text(a), b"\0b.d", &text(bd)]);
    assert_eq!(digest(&tree, &excluded), kept);
    let included = SelectorPath {
        include_patterns: vec!["s/b/c".to_owned()],
        required_paths: vec!["/s/b/c".to_owned()],
        ..plain("/")
    };
    let kept = sha(&[
        b"\0s",
        &text(s_head),
        b"\0s\0b",
        &text(b_head),
        b"\0s\0b\0c",
        &text(c),
    ]);
    assert_eq!(digest(&tree, &included), kept);
    let missing = SelectorPath {
        required_paths: vec!["/s/q".to_owned()],
        ..included
    };
    assert!(digest_path(&tree, &missing, &AtomicBool::new(false)).is_err());
    assert!(digest_path(&tree, &plain("/none"), &AtomicBool::new(false)).is_err());
}

#[test]
fn times_do_not_count_and_recorded_digests_do() {
    let fixture = Fixture::new();
    let tree = tree(&fixture);
    let selector = Selector::default();
    let cancel = AtomicBool::new(false);
    let (first, mut known) = digest_paths_recording(&tree, &selector, &cancel).unwrap();
    assert_eq!(known.len(), 3);
    let file = fixture.dir.path().join("tree/s/a");
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    std::fs::File::open(file).unwrap().set_modified(old).unwrap();
    assert_eq!(digest_paths(&tree, &selector, &cancel).unwrap(), first);
    assert_eq!(
        digest_paths_known(&tree, &selector, &known, &cancel).unwrap(),
        first
    );
    known.extend(Path::new("/s"), vec![("a".into(), [0; 32])]);
    assert_ne!(
        digest_paths_known(&tree, &selector, &known, &cancel).unwrap(),
        first
    );
    cancel.store(true, Ordering::Relaxed);
    let cancelled = digest_paths(&tree, &selector, &cancel);
    assert!(matches!(cancelled, Err(ContentError::Cancelled)));
}

#[test]
fn selectors_are_named_and_deduplicated() {
    let selector = Selector {
        paths: vec![plain("/b"), plain("/a"), plain("/a/x"), plain("/ab"), plain("/a")],
    };
    assert_eq!(selector.id(), sha(&[b"/b\0/ab\0/a/x\0/a\0/a"]));
    let kept: Vec<String> = selector
        .deduplicated()
        .paths
        .into_iter()
        .map(|path| path.path)
        .collect();
    assert_eq!(kept, ["/a", "/ab", "/b"]);
}
