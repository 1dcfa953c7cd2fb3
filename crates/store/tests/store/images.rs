//! Images, their names and what goes with them.

use distil_oci::{DiffId, Digest};
use distil_store::{LayerBlob, Prune, Removed, Store, StoreError, Timestamp};

use crate::setup::{image, layer, name, new_store, record};

#[test]
fn images_are_found_by_name_digest_and_prefix() {
    let (_directory, store) = new_store();
    let base = layer(&store, 100, None);
    let first = image(&store, b"first", vec![base, layer(&store, 23, None)], 1);
    let second = image(&store, b"second", vec![base], 2);
    let images = store.images();
    images
        .put(&first, &[name("app"), name("app:v1")], Timestamp(9))
        .expect("puts");
    images
        .put(&second, &[name("example.org:5000/team/app:v2")], Timestamp(9))
        .expect("puts");

    let found = images.resolve("app").expect("resolves");
    assert_eq!((found.id, found.size), (first.config, 123));
    assert_eq!(
        found.names,
        ["docker.io/library/app:latest", "docker.io/library/app:v1"]
    );
    assert_eq!(
        images.resolve("docker.io/library/app:v1").expect("resolves").id,
        first.config
    );
    assert_eq!(
        images.resolve(&first.config.hex()[..12]).expect("resolves").id,
        first.config
    );
    assert_eq!(
        images.resolve(&second.config.to_string()).expect("resolves").id,
        second.config
    );
    let by_digest = format!("example.org:5000/team/app@{}", second.manifest.expect("manifest"));
    assert_eq!(images.resolve(&by_digest).expect("resolves").id, second.config);
    assert!(
        images
            .resolve(&format!("app@{}", second.manifest.expect("manifest")))
            .is_err()
    );
    let pulled = Digest::sha256(b"an index");
    images
        .add_repo_digest(&first.config, &name("debian:bookworm"), &pulled)
        .expect("adds");
    assert_eq!(
        images.resolve(&format!("debian@{pulled}")).expect("resolves").id,
        first.config
    );
    assert!(matches!(
        images.resolve("nothing"),
        Err(StoreError::ImageMissing { .. })
    ));
    assert!(matches!(images.resolve(""), Err(StoreError::ImageMissing { .. })));
    let newest: Vec<Digest> = images
        .list()
        .expect("lists")
        .iter()
        .map(|image| image.id)
        .collect();
    assert_eq!(newest, [second.config, first.config]);
}

#[test]
fn removing_untags_until_the_last_name() {
    let (_directory, store) = new_store();
    let images = store.images();
    let first = image(&store, b"first", vec![layer(&store, 1, None)], 1);
    let second = image(&store, b"second", vec![layer(&store, 1, None)], 2);
    images
        .put(&first, &[name("app"), name("app:v1")], Timestamp(0))
        .expect("puts");
    assert!(matches!(
        images.remove(&first.config.hex(), false),
        Err(StoreError::ImageHasNames { count: 2, .. })
    ));
    let removed = images.remove("app", false).expect("removes");
    assert_eq!(
        removed,
        [Removed::Untagged("docker.io/library/app:latest".to_owned())]
    );
    // A tag that moves leaves a nameless image.
    images
        .put(&second, &[name("app:v1")], Timestamp(0))
        .expect("puts");
    assert_eq!(
        images.get(&first.config).expect("gets").expect("stays").names,
        Vec::<String>::new()
    );
    assert_eq!(
        images.prune(false).expect("prunes"),
        [Removed::Deleted(first.config)]
    );
    let removed = images.remove("app:v1", false).expect("removes");
    assert_eq!(
        removed,
        [
            Removed::Untagged("docker.io/library/app:v1".to_owned()),
            Removed::Deleted(second.config)
        ]
    );
    assert!(images.list().expect("lists").is_empty());
}

#[test]
fn compressed_layers_live_with_the_layer() {
    let (directory, store) = new_store();
    let diff_id = DiffId(Digest::sha256(b"tar"));
    let id = layer(&store, 10, Some(diff_id));
    let digest = store.blobs().put(b"compressed").expect("puts");
    let blob = LayerBlob {
        form: "gzip".to_owned(),
        digest,
        size: 10,
        media_type: "x".to_owned(),
    };
    store.layers().add_blob(diff_id, &blob).expect("adds");
    let record = record(&store, b"k", vec![id]);
    drop(store);
    let store = Store::open(&directory.path().join("store")).expect("opens");
    store.collect(Prune::Nothing).expect("collects");
    assert!(store.blobs().contains(&digest).expect("looks"));
    assert_eq!(store.layers().blobs(diff_id).expect("lists"), [blob]);
    store.cache().remove(record).expect("removes");
    let report = store.collect(Prune::Nothing).expect("collects");
    assert_eq!((report.layers, report.blobs, report.bytes), (1, 1, 20));
    assert!(store.layers().blobs(diff_id).expect("lists").is_empty());
}
