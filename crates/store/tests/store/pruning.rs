//! What a size limit and `prune` take.

use distil_store::{Prune, Timestamp, default_size_limit};

use crate::setup::{app, everything, layer, new_store, record, reopened};

#[test]
fn pruning_takes_the_least_recently_used_first() {
    let (directory, store) = new_store();
    let records: Vec<_> = (0..4u8)
        .map(|key| record(&store, &[key], vec![layer(&store, 100, None)]))
        .collect();
    let store = reopened(&directory, store);
    let user = store.with_new_lease();
    for (number, used) in [(0, 40), (3, 30), (1, 20), (2, 10)] {
        user.cache()
            .hold(records[number], Timestamp(used))
            .expect("holds")
            .expect("whole");
    }
    drop(user);
    let holder = store.with_new_lease();
    holder.cache().hold(records[2], Timestamp(10)).expect("holds");
    let report = store.collect(Prune::ToSize(250)).expect("collects");
    let gone: Vec<_> = report.records.iter().map(|record| record.id).collect();
    assert_eq!(gone, [records[1], records[3]], "the oldest is in use");
    assert_eq!(report.bytes, 200);
    assert_eq!(store.total_size().expect("counts"), 200);
    let usage = store.usage().expect("counts");
    let in_use: Vec<_> = usage
        .records
        .iter()
        .map(|record| (record.id, record.in_use))
        .collect();
    assert_eq!(in_use, [(records[0], false), (records[2], true)]);
    assert_eq!(usage.reclaimable, 100);
    drop(holder);
    assert_eq!(store.collect(everything()).expect("collects").records.len(), 2);
    assert_eq!(store.total_size().expect("counts"), 0);
}

#[test]
fn the_size_limit_is_that_of_the_build_cache_alone() {
    let (directory, store) = new_store();
    let (base, top) = (layer(&store, 1000, None), layer(&store, 500, None));
    let shared = record(&store, b"of an image", vec![base, top]);
    let own: Vec<_> = (0..3u8)
        .map(|key| record(&store, &[key], vec![base, layer(&store, 100, None)]))
        .collect();
    app(&store, vec![base, top]);
    let store = reopened(&directory, store);
    assert_eq!(store.cache_size().expect("counts"), 300);
    assert!(store.collect_above(300).expect("collects").is_none());
    let report = store
        .collect_above(200)
        .expect("collects")
        .expect("is above the limit");
    let gone: Vec<_> = report.records.iter().map(|record| record.id).collect();
    assert_eq!(gone, [own[0]], "a record of an image frees nothing");
    assert!(store.cache().get(shared).expect("gets").is_some());
    assert_eq!(store.usage().expect("counts").cache(), 200);

    store.images().remove("app", true).expect("removes");
    store.collect(Prune::Nothing).expect("collects");
    assert_eq!(
        store.cache_size().expect("counts"),
        1700,
        "without the image its layers are of the cache alone"
    );
}

#[test]
fn pruning_without_all_spares_shared_and_internal_records() {
    let (directory, store) = new_store();
    let shared_layer = layer(&store, 5, None);
    let shared = record(&store, b"shared", vec![shared_layer]);
    record(&store, b"own", vec![shared_layer, layer(&store, 7, None)]);
    app(&store, vec![shared_layer]);
    let store = reopened(&directory, store);
    let report = store
        .collect(Prune::Unused {
            all: false,
            before: None,
        })
        .expect("collects");
    assert_eq!((report.records.len(), report.bytes), (1, 7));
    assert!(store.cache().get(shared).expect("gets").is_some());
    let report = store
        .collect(Prune::Unused {
            all: true,
            before: Some(Timestamp(1)),
        })
        .expect("collects");
    assert!(report.records.is_empty(), "used at 1, not before");
    assert_eq!(store.collect(everything()).expect("collects").records.len(), 1);
    assert!(
        store.layers().get(shared_layer).expect("gets").is_some(),
        "the image has it"
    );
}

#[test]
fn the_default_limit_is_a_tenth_within_bounds() {
    const GIB: u64 = 1 << 30;
    assert_eq!(default_size_limit(GIB), 2 * GIB);
    assert_eq!(default_size_limit(100 * GIB), 10 * GIB);
    assert_eq!(default_size_limit(4000 * GIB), 20 * GIB);
}
