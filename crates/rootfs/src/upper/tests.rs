//! The writable layer against a plain model in memory and against a real overlay mount.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::mount::{Mount, MountStrategy};
use crate::testing::{Fixture, dump, in_user_namespace, paths, root_or_skip};
use crate::tree::DirTree;

fn mkdir(path: &str, make_parents: bool) -> MkdirSpec {
    MkdirSpec {
        path: path.into(),
        mode: 0o755,
        make_parents,
        owner: None,
        timestamp: None,
    }
}

fn mkfile(path: &str, data: &str) -> MkfileSpec {
    MkfileSpec {
        path: path.into(),
        mode: 0o644,
        data: data.into(),
        owner: None,
        timestamp: None,
    }
}

fn rm(path: &str) -> RmSpec {
    RmSpec {
        path: path.into(),
        allow_not_found: false,
        allow_wildcard: true,
    }
}

fn symlink(target: &str, path: &str) -> SymlinkSpec {
    SymlinkSpec {
        target: target.into(),
        path: path.into(),
        owner: None,
        timestamp: None,
    }
}

#[test]
fn only_what_changed_is_in_the_layer() {
    if !root_or_skip("only_what_changed_is_in_the_layer") {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.layer(&["a/b/c=1 644", "a/ 711", "a/other=1", "gone/x=1", "d/x=1"]);
    let upper = fixture.upper();
    upper.mkdir(&mkdir("/a/b", true)).unwrap();
    assert!(dump(&DirTree::open(upper.dir()).unwrap()).is_empty());
    upper.mkfile(&mkfile("/a/b/new", "2")).unwrap();
    upper.mkfile(&mkfile("/a/b/c", "3")).unwrap();
    upper.rm(&rm("/g*")).unwrap();
    upper.rm(&rm("/d")).unwrap();
    upper.mkdir(&mkdir("/d", false)).unwrap();
    upper.symlink(&symlink("a", "/link")).unwrap();
    let layer = dump(&DirTree::open(upper.dir()).unwrap());
    let want = [
        "/a d 0711 0:0",
        "/a/b d 0755 0:0",
        "/a/b/c f 0644 0:0 3",
        "/a/b/new f 0644 0:0 2",
        "/d d 0755 0:0",
        "/gone c 0000 0:0 0",
        "/link l 0777 0:0 a",
    ];
    assert_eq!(layer, want);
    let seen = ["/a", "/a/b", "/a/b/c", "/a/b/new", "/a/other", "/d", "/link"];
    assert_eq!(paths(&upper), seen);
}

#[test]
fn errors_name_the_path() {
    if !root_or_skip("errors_name_the_path") {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.layer(&["f=1", "d/"]);
    let upper = fixture.upper();
    let text = |result: Result<(), UpperError>| result.unwrap_err().to_string();
    assert_eq!(text(upper.rm(&rm("/"))), "`/` cannot be removed");
    assert_eq!(text(upper.rm(&rm("/none"))), "`/none` does not exist");
    assert_eq!(
        text(upper.mkfile(&mkfile("/d", ""))),
        "cannot replace directory `/d` with a file"
    );
    assert_eq!(text(upper.mkfile(&mkfile("/x/y", ""))), "`/x` does not exist");
    assert_eq!(text(upper.symlink(&symlink("x", "/f"))), "`/f` exists already");
    assert!(upper.mkdir(&mkdir("/f/x", true)).is_err());
    assert!(upper.mkdir(&mkdir("/x/y", false)).is_err());
    upper.mkdir(&mkdir("/f", false)).unwrap();
}

#[test]
fn a_linked_file_is_never_written_through() {
    if !root_or_skip("a_linked_file_is_never_written_through") {
        return;
    }
    let mut fixture = Fixture::new();
    let upper = fixture.upper();
    let kept = fixture.source("earlier", &["f=old 600"]).join("f");
    std::fs::hard_link(&kept, upper.dir().join("f")).unwrap();
    upper.mkfile(&mkfile("/f", "new")).unwrap();
    assert_eq!(std::fs::read(&kept).unwrap(), b"old");
    let meta = std::fs::metadata(upper.dir().join("f")).unwrap();
    assert_eq!(meta.mode() & 0o777, 0o600, "an existing file keeps its mode");
}

#[derive(Clone, Debug)]
enum Op {
    Mkdir(String),
    Mkfile(String, u8),
    Rm(String),
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec("[abc]", 1..4).prop_map(|parts| format!("/{}", parts.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        path().prop_map(Op::Mkdir),
        (path(), any::<u8>()).prop_map(|(path, byte)| Op::Mkfile(path, byte)),
        path().prop_map(Op::Rm),
    ]
}

/// Path to contents; `None` is a directory.
type Model = BTreeMap<String, Option<u8>>;

fn has_parents(model: &Model, path: &str) -> bool {
    path.match_indices('/')
        .skip(1)
        .all(|(at, _)| model.get(&path[..at]) == Some(&None))
}

fn apply(model: &mut Model, op: &Op) {
    match op {
        Op::Mkdir(path) => {
            let ends = path.match_indices('/').skip(1).map(|(at, _)| at);
            let all: Vec<&str> = ends.chain([path.len()]).map(|at| &path[..at]).collect();
            for path in all {
                if model.get(path).is_some_and(Option::is_some) {
                    return;
                }
                model.insert(path.to_owned(), None);
            }
        }
        Op::Mkfile(path, byte) => {
            if has_parents(model, path) && model.get(path) != Some(&None) {
                model.insert(path.clone(), Some(*byte));
            }
        }
        Op::Rm(path) => model.retain(|other, _| other != path && !other.starts_with(&format!("{path}/"))),
    }
}

fn perform(upper: &Upper, op: &Op) {
    // What must fail in the model fails here too; the trees are compared.
    let _ = match op {
        Op::Mkdir(path) => upper.mkdir(&mkdir(path, true)),
        Op::Mkfile(path, byte) => upper.mkfile(&mkfile(path, &byte.to_string())),
        Op::Rm(path) => upper.rm(&rm(path)),
    };
}

fn lines(model: &Model) -> Vec<String> {
    let mut keys: Vec<&String> = model.keys().collect();
    keys.sort_by_key(|path| path.replace('/', "\0"));
    keys.iter()
        .map(|path| match model[*path] {
            None => format!("{path} d 0755 0:0"),
            Some(byte) => format!("{path} f 0644 0:0 {byte}"),
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn layers_behave_like_a_plain_tree_and_like_an_overlay(
        layers in proptest::collection::vec(proptest::collection::vec(op(), 0..8), 1..4)
    ) {
        if !root_or_skip("layers_behave_like_a_plain_tree_and_like_an_overlay") {
            return Ok(());
        }
        let mut fixture = Fixture::new();
        let mut model = Model::new();
        for ops in &layers {
            let upper = fixture.upper();
            for op in ops {
                apply(&mut model, op);
                perform(&upper, op);
            }
            prop_assert_eq!(dump(&upper), lines(&model));
        }
        let target = fixture.source("target", &[]);
        let mount = Mount::Overlay {
            lower: fixture.layers.clone(),
            upper: None,
            work: None,
            userxattr: in_user_namespace(),
        };
        mount.attach_with(Path::new(&target), MountStrategy::Auto).unwrap();
        let mounted = dump(&DirTree::open(&target).unwrap());
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).unwrap();
        prop_assert_eq!(mounted, lines(&model));
    }
}
