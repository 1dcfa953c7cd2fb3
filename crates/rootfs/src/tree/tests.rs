//! Resolving paths and filtering.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::testing::{Fixture, dump, paths};

#[test]
fn links_never_leave_the_root() {
    let fixture = Fixture::new();
    let path = fixture.source(
        "tree",
        &[
            "d/f=1",
            "up->../../..",
            "abs->/d",
            "d/back->../d/f",
            "loop->loop",
            "gone->none/x",
            "f=2",
        ],
    );
    let tree = DirTree::open(&path).unwrap();
    let cases = [
        ("/", "/"),
        ("/d/../../f", "/f"),
        ("/up/d/f", "/d/f"),
        ("/abs/f", "/d/f"),
        ("/abs/back", "/d/f"),
        ("/gone", "/none/x"),
        ("/none/../f", "/f"),
        ("d//./f", "/d/f"),
    ];
    for (from, to) in cases {
        assert_eq!(tree.resolve(Path::new(from)).unwrap(), Path::new(to), "{from}");
    }
    assert_eq!(
        tree.resolve_parent(Path::new("/abs/back")).unwrap(),
        Path::new("/d/back")
    );
    assert!(matches!(
        tree.resolve(Path::new("/loop")),
        Err(TreeError::TooManyLinks { .. })
    ));
    assert!(matches!(
        tree.resolve(Path::new("/f/x")),
        Err(TreeError::NotADirectory { .. })
    ));
    assert!(tree.lookup(Path::new("/f/x")).unwrap().is_none());
    assert!(
        tree.lookup(Path::new("/loop"))
            .unwrap()
            .unwrap()
            .kind
            .is_symlink()
    );
    assert!(matches!(
        tree.open(Path::new("/d")),
        Err(TreeError::WrongKind { .. })
    ));
    assert!(tree.open(Path::new("/abs/back")).is_ok());
    assert!(tree.open_dir(Path::new("/f")).is_err());
}

fn filtered(entries: &[&str], filter: &Filter) -> Vec<String> {
    let fixture = Fixture::new();
    let path = fixture.source("tree", entries);
    let tree = Arc::new(DirTree::open(&path).unwrap());
    paths(&FilteredTree::new(tree, filter).unwrap())
}

fn strings(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

#[test]
fn filters_hide_and_bring_back() {
    let entries = ["a/b/c=1", "a/b/d=1", "a/e=1", "x.log=1", "k/x.log=1", "empty/"];
    let cases: &[(&[&str], &[&str], &[&str])] = &[
        (
            &[],
            &["*.log"],
            &[
                "/a", "/a/b", "/a/b/c", "/a/b/d", "/a/e", "/empty", "/k", "/k/x.log",
            ],
        ),
        (&[], &["*", "!a/b/c"], &["/a", "/a/b", "/a/b/c"]),
        (&[], &["a", "!a/none"], &["/empty", "/k", "/k/x.log", "/x.log"]),
        (
            &[],
            &["a", "!a/b", "a/b/c"],
            &["/a", "/a/b", "/a/b/d", "/empty", "/k", "/k/x.log", "/x.log"],
        ),
        (&[], &["**/*.log", "a/*"], &["/a", "/empty", "/k"]),
        (&["a/b"], &[], &["/a", "/a/b", "/a/b/c", "/a/b/d"]),
        (&["a/*/c"], &["a/b/d"], &["/a", "/a/b", "/a/b/c"]),
        (&["none/x"], &[], &[]),
    ];
    for (include, exclude, want) in cases {
        let filter = Filter {
            include: strings(include),
            exclude: strings(exclude),
            follow_paths: Vec::new(),
        };
        assert_eq!(filtered(&entries, &filter), *want, "{include:?} {exclude:?}");
    }
}

#[test]
fn followed_paths_bring_their_targets() {
    let entries = [
        "real/f=1",
        "real/g=1",
        "l->real",
        "l2->../l/f",
        "abs->/real/g",
        "w1->real/f",
        "other=1",
        "loop->loop",
    ];
    let cases: &[(&[&str], &[&str])] = &[
        (&["/l/f", "/l/g"], &["/l", "/real", "/real/f", "/real/g"]),
        (&["l2"], &["/l", "/l2", "/real", "/real/f"]),
        (&["abs"], &["/abs", "/real", "/real/g"]),
        (&["w*"], &["/real", "/real/f", "/w1"]),
        (&["loop"], &["/loop"]),
        (&["missing"], &[]),
        (&["dir/q*"], &[]),
    ];
    for (follow, want) in cases {
        let filter = Filter {
            follow_paths: strings(follow),
            ..Filter::default()
        };
        assert_eq!(filtered(&entries, &filter), *want, "{follow:?}");
    }
    let all = Filter {
        follow_paths: strings(&["other", "/"]),
        ..Filter::default()
    };
    assert_eq!(filtered(&["a=1", "other=1"], &all), ["/a", "/other"]);
}

#[test]
fn a_listed_tree_is_listed_once() {
    let fixture = Fixture::new();
    let path = fixture.source("tree", &["d/e/f=1", "d/g=22", "l->d", "h/i=3"]);
    let plain: Arc<dyn Tree> = Arc::new(DirTree::open(&path).unwrap());
    let tree = ListedTree::new(Arc::clone(&plain));
    let before = dump(plain.as_ref());
    assert_eq!(dump(&tree), before);
    // What comes, changes and goes later is not seen, except the bytes.
    std::fs::write(path.join("d/new"), "4").unwrap();
    std::fs::write(path.join("d/g"), "changed").unwrap();
    std::fs::remove_dir_all(path.join("h")).unwrap();
    let again = tree.clone();
    let dir = again.open_dir(Path::new("/l")).unwrap();
    let names: Vec<_> = dir
        .entries()
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(names, ["e", "g"]);
    assert_eq!(dir.lookup(OsStr::new("g")).unwrap().unwrap().size, 2);
    assert!(dir.lookup(OsStr::new("new")).unwrap().is_none());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut again.open(Path::new("/d/g")).unwrap(), &mut text).unwrap();
    assert_eq!(text, "changed");
    assert_eq!(again.read_dir(Path::new("/h")).unwrap().len(), 1);
    assert!(again.open(Path::new("/h/i")).unwrap_err().is_not_found());
    // A clone that nobody listed looks for itself.
    assert_ne!(dump(&ListedTree::new(plain)), before);
}

#[test]
fn files_of_a_manifest_are_taken_from_it() {
    let fixture = Fixture::new();
    let path = fixture.source("layer", &["d/a=1", "d/b=22", "d/l->a", "c=4"]);
    let entry = crate::ManifestEntry {
        size: 77,
        mode: 0o640,
        owner: crate::Owner { uid: 5, gid: 6 },
        mtime: crate::Timestamp { secs: 9, nanos: 1 },
        digest: [0; 32],
    };
    let mut files = crate::LayerManifest::default();
    let listed = ["a", "gone", "l"].map(|name| (name.into(), entry));
    files.extend(Path::new("d"), listed.to_vec());
    let tree = DirTree::open(&path).unwrap().with_files(Some(Arc::new(files)));
    let found = tree.read_dir(Path::new("/d")).unwrap();
    let sizes: Vec<_> = found
        .iter()
        .map(|entry| (entry.name.to_str().unwrap(), entry.node.size))
        .collect();
    // A link is no regular file, whatever the manifest says of its name.
    assert_eq!(sizes, [("a", 77), ("b", 2), ("l", 1)]);
    let node = found[0].node;
    assert_eq!((node.mode, node.uid, node.gid, node.nlink), (0o640, 5, 6, 1));
    assert_eq!(tree.read_dir(Path::new("/")).unwrap()[0].node.size, 1);
}

#[test]
fn paths_are_traced_to_their_layers() {
    let mut fixture = Fixture::new();
    fixture.layer(&["usr/lib/a=1", "usr/lib/b=1", "app/x=1", "gone/f=1", "turned/f=1"]);
    fixture.layer(&["usr/lib/b=2", "usr/lib/new/c=2", "app/modules/m=2", "turned=2"]);
    let upper = fixture.upper();
    let rm = |path: &str| crate::RmSpec {
        path: path.to_owned(),
        allow_not_found: false,
        allow_wildcard: false,
    };
    upper.rm(&rm("/gone/f")).unwrap();
    upper.rm(&rm("/app/x")).unwrap();
    drop(upper);
    fixture.layer(&["usr/lib/new/d=4", "usr/lib/link->a", "app/modules/m=4"]);
    let tree = MergedTree::open(&fixture.layers).unwrap();
    let mut finder = LayerFinder::new(&tree);
    let mut traced = |path: &str| -> Vec<String> {
        let mut found = finder.layers_of(Path::new(path), 100).unwrap();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let text = |found: &LayerPath| format!("{} {}", found.path.display(), found.layer);
        found.iter().map(text).collect()
    };
    assert_eq!(traced("/usr/lib/a"), ["/usr/lib/a 0"]);
    assert_eq!(traced("/usr/lib/b"), ["/usr/lib/b 1"]);
    let lib = [
        "/usr/lib 0",
        "/usr/lib/b 1",
        "/usr/lib/link 3",
        "/usr/lib/new 1",
        "/usr/lib/new/d 3",
    ];
    assert_eq!(traced("/usr/lib"), lib);
    assert_eq!(traced("/app"), ["/app 0", "/app/modules 1", "/app/modules/m 3"]);
    assert_eq!(traced("/turned"), ["/turned 1"]);
    assert_eq!(traced("/gone"), ["/gone 0"]);
    for missing in ["/gone/f", "/app/x", "/nope", "/turned/f", "/usr/lib/a/b"] {
        assert!(traced(missing).is_empty(), "{missing}");
    }
    assert_eq!(traced("/").first().map(String::as_str), Some("/ 0"));
    // Cut off, it still begins with the path itself.
    assert_eq!(finder.layers_of(Path::new("/usr/lib"), 1).unwrap().len(), 1);
}
