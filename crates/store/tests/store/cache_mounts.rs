//! Directories of cache mounts: who gets which, and what prune and no-cache do.

use distil_store::{LayerId, LayerInfo, OpenOptions, Prune, RecordKind, Sharing, Store, Taken, Timestamp};

const NOW: Timestamp = Timestamp(7);

fn stores() -> (tempfile::TempDir, Store, Store) {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    let (one, other) = (
        Store::open(&root).expect("opens"),
        Store::open(&root).expect("opens"),
    );
    (directory, one, other)
}

fn layer(store: &Store) -> LayerId {
    let id = store.layers().create("").expect("creates");
    let info = LayerInfo {
        id,
        diff_id: None,
        tar_size: None,
        size: 3,
        inodes: 1,
        id_map: String::new(),
        base: None,
        extends: None,
    };
    store.layers().commit(&info).expect("commits");
    id
}

/// What a process does that wants a cache mount: `None` while it has to wait.
fn take(store: &Store, id: &str, origin: &str, sharing: Sharing) -> Option<distil_store::CacheMount> {
    let turn = store.cache_mount_turn(id, "").expect("locks").expect("free");
    match turn.take(origin, sharing, NOW).expect("looks") {
        Taken::Mount(mount) => Some(mount),
        Taken::Busy => None,
        Taken::Missing => Some(
            turn.add(origin, sharing, layer(store), "cache".into(), NOW)
                .expect("adds"),
        ),
    }
}

#[test]
fn sharing_decides_who_gets_which() {
    let (_directory, one, other) = stores();
    for (id, first, second, same) in [
        ("a", Sharing::Shared, Sharing::Shared, Some(true)),
        ("b", Sharing::Private, Sharing::Private, Some(false)),
        ("c", Sharing::Locked, Sharing::Locked, None),
        ("d", Sharing::Shared, Sharing::Locked, None),
        ("e", Sharing::Locked, Sharing::Shared, Some(false)),
        ("f", Sharing::Shared, Sharing::Private, Some(false)),
    ] {
        let had = take(&one, id, "", first).expect("a new one");
        let got = take(&other, id, "", second);
        let equal = got.as_ref().map(|mount| mount.layer == had.layer);
        assert_eq!(equal, same, "{id}");
        let layer = had.layer;
        drop((had, got));
        let again = take(&other, id, "", second).expect("free");
        assert_eq!(again.layer, layer, "{id}: the oldest is used again");
    }
}

#[test]
fn ids_maps_and_origins_are_apart() {
    let (_directory, store, _) = stores();
    let mounts: Vec<_> = [("a", ""), ("b", ""), ("a", "sha256:1"), ("a", "sha256:2")]
        .map(|(id, origin)| take(&store, id, origin, Sharing::Shared).expect("new").layer)
        .into();
    let mut unique = mounts.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), mounts.len());
    let turn = store
        .cache_mount_turn("a", "other map")
        .expect("locks")
        .expect("free");
    assert!(matches!(turn.take("", Sharing::Shared, NOW), Ok(Taken::Missing)));
}

#[test]
fn a_turn_is_one_at_a_time() {
    let (_directory, one, other) = stores();
    let turn = one.cache_mount_turn("a", "").expect("locks").expect("free");
    assert!(other.cache_mount_turn("a", "").expect("locks").is_none());
    assert!(other.cache_mount_turn("b", "").expect("locks").is_some());
    drop(turn);
    assert!(other.cache_mount_turn("a", "").expect("locks").is_some());
}

#[test]
fn what_is_in_use_outlives_prune_and_forgetting() {
    let (_directory, one, other) = stores();
    let everything = Prune::Unused {
        all: true,
        before: None,
    };
    let mount = take(&one, "a", "", Sharing::Shared).expect("new");
    let path = one.layers().path(mount.layer);
    let usage = other.usage().expect("usage");
    assert_eq!(usage.records.len(), 1);
    assert_eq!(
        (usage.records[0].kind, usage.records[0].in_use),
        (RecordKind::ExecCacheMount, true)
    );
    other.collect(everything).expect("collects");
    assert!(path.is_dir());
    let turn = other.cache_mount_turn("a", "").expect("locks").expect("free");
    turn.forget().expect("forgets");
    drop(turn);
    other.collect(everything).expect("collects");
    assert!(path.is_dir(), "a forgotten one stays for who has it");
    let next = take(&other, "a", "", Sharing::Shared).expect("new");
    assert_ne!(next.layer, mount.layer);
    drop((mount, one));
    other.collect(everything).expect("collects");
    assert!(!path.exists());
}

#[test]
fn what_was_not_synced_since_the_last_use_is_dropped_under_another_boot() {
    let directory = tempfile::tempdir().expect("temp dir");
    let open = |boot: &str| {
        let options = OpenOptions {
            boot_id: Some(boot.to_owned()),
        };
        Store::open_with(&directory.path().join("store"), &options).expect("opens")
    };
    let layer_of = |store: &Store| take(store, "a", "", Sharing::Shared).expect("free").layer;
    let store = open("one");
    let first = layer_of(&store);
    store.sync().expect("syncs");
    drop(store);
    let store = open("two");
    assert_eq!(layer_of(&store), first, "it was synced after its last use");
    drop(store);
    let store = open("three");
    assert_ne!(layer_of(&store), first, "it was used and not synced");
}
