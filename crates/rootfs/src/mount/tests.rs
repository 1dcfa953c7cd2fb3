//! Real overlays, by each way, and compared with what [`MergedTree`] shows.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::testing::{Fixture, dump, in_user_namespace, root_or_skip};
use crate::tree::{DirTree, MergedTree};

/// Mounts, looks, unmounts.
fn seen(mount: &Mount, target: &Path, strategy: MountStrategy) -> Vec<String> {
    mount.attach_with(target, strategy).unwrap();
    let seen = dump(&DirTree::open(target).unwrap());
    while rustix::mount::unmount(target, UnmountFlags::DETACH).is_ok() {}
    seen
}

fn overlay(lower: &[PathBuf]) -> Mount {
    Mount::Overlay {
        lower: lower.to_vec(),
        upper: None,
        work: None,
        userxattr: in_user_namespace(),
    }
}

#[test]
fn every_strategy_shows_what_the_merged_tree_shows() {
    if !root_or_skip("every_strategy_shows_what_the_merged_tree_shows") {
        return;
    }
    let mut fixture = Fixture::new();
    fixture.layer(&["a=1 644", "d/x=1 644", "d/y=1 644", "gone/z=1", "f/in=1"]);
    let second = fixture.layer(&["d/ 700", "d/x=2 600", "f=file 644", "op/", "op/n=1"]);
    let upper = fixture.upper();
    upper
        .rm(&crate::RmSpec {
            path: "/gone".to_owned(),
            allow_not_found: false,
            allow_wildcard: false,
        })
        .unwrap();
    let _ = second;
    let target = fixture.dir.path().join("target");
    fs::create_dir(&target).unwrap();
    let merged = dump(&MergedTree::open(&fixture.layers).unwrap());
    assert!(merged.iter().all(|line| !line.contains("gone")), "{merged:?}");
    let mount = overlay(&fixture.layers);
    for strategy in [
        MountStrategy::Auto,
        MountStrategy::LayerByLayer,
        MountStrategy::OptionString,
    ] {
        assert_eq!(seen(&mount, &target, strategy), merged, "{strategy:?}");
        let detached = mount.detached(strategy).unwrap();
        let path = format!("/proc/self/fd/{}", detached.as_fd().as_raw_fd());
        assert_eq!(dump(&DirTree::open(Path::new(&path)).unwrap()), merged);
    }
}

#[test]
fn many_layers_and_odd_names() {
    if !root_or_skip("many_layers_and_odd_names") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("a:b,c\\d");
    fs::create_dir(&odd).unwrap();
    let layers: Vec<PathBuf> = (0..600)
        .map(|index| {
            let layer = odd.join(format!("{index:03}"));
            fs::create_dir(&layer).unwrap();
            fs::write(layer.join(format!("f{}", index % 7)), index.to_string()).unwrap();
            layer
        })
        .collect();
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    for count in [1, 2, 400, 401, 600] {
        let layers = &layers[..count];
        let mount = overlay(layers);
        let merged = dump(&MergedTree::open(layers).unwrap());
        assert_eq!(seen(&mount, &target, MountStrategy::Auto), merged, "{count}");
        if count <= 401 {
            let strategy = MountStrategy::OptionString;
            assert_eq!(seen(&mount, &target, strategy), merged, "{count}");
        }
    }
}

#[test]
fn an_upper_directory_takes_the_changes_twice() {
    if !root_or_skip("an_upper_directory_takes_the_changes_twice") {
        return;
    }
    let mut fixture = Fixture::new();
    let lower = fixture.layer(&["a=1"]);
    let upper = fixture.source("upper", &[]);
    let work = fixture.source("work", &[]);
    let target = fixture.source("target", &[]);
    let mount = Mount::Overlay {
        lower: vec![lower],
        upper: Some(upper.clone()),
        work: Some(work),
        userxattr: in_user_namespace(),
    };
    for (round, strategy) in [MountStrategy::LayerByLayer, MountStrategy::OptionString]
        .into_iter()
        .enumerate()
    {
        mount.attach_with(&target, strategy).unwrap();
        fs::write(target.join(format!("new{round}")), "x").unwrap();
        unmount(&target).unwrap();
        assert!(upper.join(format!("new{round}")).exists());
    }
}

#[test]
fn binds_and_empty_roots() {
    if !root_or_skip("binds_and_empty_roots") {
        return;
    }
    let fixture = Fixture::new();
    let path = fixture.source("bound", &["a=1 644"]);
    let target = fixture.source("target", &[]);
    for (mount, want) in [
        (
            Mount::Bind {
                path: path.clone(),
                readonly: true,
            },
            vec!["/a f 0644 0:0 1"],
        ),
        (overlay(std::slice::from_ref(&path)), vec!["/a f 0644 0:0 1"]),
        (overlay(&[]), vec![]),
    ] {
        mount.attach(&target).unwrap();
        let shown = dump(&DirTree::open(&target).unwrap());
        let written = fs::write(target.join("b"), "x");
        unmount(&target).unwrap();
        assert_eq!(shown, want, "{mount:?}");
        let refused = written.unwrap_err().raw_os_error();
        assert_eq!(refused, Some(libc::EROFS), "{mount:?}");
    }
    assert!(matches!(
        Mount::Bind {
            path: path.join("none"),
            readonly: false
        }
        .attach(&target),
        Err(MountError::Io { .. })
    ));
}
