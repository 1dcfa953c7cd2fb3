//! Whatever layers hold, a view shows what overlayfs would.

use std::path::{Path, PathBuf};

use distil_rootfs::{FileKind, MkdirSpec, MkfileSpec, RmSpec, SymlinkSpec, Tree, Upper};
use proptest::prelude::*;

use super::ImageView;
use crate::layer_changes;
use crate::testing::World;

/// One change of a layer. Those that are not possible are left out.
#[derive(Debug, Clone)]
enum Step {
    File(String, u8),
    Dir(String, u32),
    Link(String, String),
    Remove(String),
}

fn step() -> impl Strategy<Value = Step> {
    let path = || "/[ab](/[ab.-]{1,2}){0,2}".prop_filter("no dots", |path| !path.contains("/."));
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, size)| Step::File(path, size)),
        2 => (path(), prop_oneof![Just(0o755), Just(0o700)]).prop_map(|(path, mode)| Step::Dir(path, mode)),
        1 => (path(), path()).prop_map(|(path, target)| Step::Link(path, target)),
        3 => path().prop_map(Step::Remove),
    ]
}

fn apply(upper: &Upper, step: &Step) {
    let (owner, timestamp) = (None, None);
    // An error is one of a step that makes no sense here.
    let _ = match step.clone() {
        Step::File(path, size) => upper.mkfile(&MkfileSpec {
            path: path.into(),
            mode: 0o644,
            data: vec![size; usize::from(size)],
            owner,
            timestamp,
        }),
        Step::Dir(path, mode) => upper.mkdir(&MkdirSpec {
            path: path.into(),
            mode,
            make_parents: true,
            owner,
            timestamp,
        }),
        Step::Link(path, target) => upper.symlink(&SymlinkSpec {
            target,
            path: path.into(),
            owner,
            timestamp,
        }),
        Step::Remove(path) => upper.rm(&RmSpec {
            path,
            allow_not_found: true,
            allow_wildcard: false,
        }),
    };
}

type Fact = (PathBuf, FileKind, u32, u64);

fn walk(tree: &dyn Tree, path: &Path, found: &mut Vec<Fact>) {
    for entry in tree.read_dir(path).unwrap() {
        let path = path.join(&entry.name);
        let size = if entry.node.kind.is_file() {
            entry.node.size
        } else {
            0
        };
        found.push((path.clone(), entry.node.kind, entry.node.mode, size));
        if entry.node.kind.is_dir() {
            walk(tree, &path, found);
        }
    }
}

/// Everything that is seen is stored by its layer, and what layers change adds up to what is seen.
fn check(view: &ImageView) {
    let mut expected = Vec::new();
    walk(view.tree(), Path::new("/"), &mut expected);
    expected.sort_by(|a, b| a.0.as_os_str().cmp(b.0.as_os_str()));
    let fact = |entry: &crate::Entry| (entry.path.clone(), entry.node.kind, entry.node.mode, entry.size());
    assert_eq!(view.entries().iter().map(fact).collect::<Vec<_>>(), expected);
    for entry in view.entries().iter().filter(|entry| entry.node.kind.is_file()) {
        assert_eq!(view.read(entry, 1 << 20).unwrap().len() as u64, entry.size());
    }
    let stored: u64 = view.layers().iter().map(|layer| layer.size).sum();
    let seen: u64 = view.entries().iter().map(crate::Entry::size).sum();
    let hidden: u64 = view.hidden().iter().map(|hidden| hidden.wasted).sum();
    assert_eq!((stored - hidden, view.size()), (seen, seen));
    let mut sum = std::collections::BTreeMap::new();
    for change in (0..view.layers().len()).flat_map(|layer| layer_changes(view, layer)) {
        match change.after {
            Some(node) => sum.insert(change.path.into_os_string(), node.mode),
            None => sum.remove(change.path.as_os_str()),
        };
    }
    let seen = view
        .entries()
        .iter()
        .map(|entry| (entry.path.clone().into_os_string(), entry.node.mode));
    assert_eq!(sum, seen.collect());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn views_show_what_overlayfs_would(layers in prop::collection::vec(prop::collection::vec(step(), 0..12), 0..5)) {
        let mut world = World::new();
        for steps in &layers {
            world.layer("RUN", |_| {}, |upper| steps.iter().for_each(|step| apply(upper, step)));
        }
        check(&world.view());
    }
}
