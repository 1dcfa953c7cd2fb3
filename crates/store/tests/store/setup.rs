//! What the tests put into a store.

use distil_oci::{DiffId, Digest, Reference};
use distil_store::{LayerInfo, NewImage, NewRecord, Prune, RecordKind, Store, Timestamp};

pub(crate) fn new_store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&directory.path().join("store")).expect("opens");
    (directory, store)
}

pub(crate) fn everything() -> Prune<'static> {
    Prune::Unused {
        all: true,
        before: None,
    }
}

pub(crate) fn record(
    store: &Store,
    key: &[u8],
    layers: Vec<distil_store::LayerId>,
) -> distil_store::RecordId {
    let new = NewRecord {
        kind: RecordKind::Regular,
        description: "RUN true".to_owned(),
        layers,
        blobs: Vec::new(),
        payload: Vec::new(),
        created: Timestamp(1),
    };
    let key = Digest::sha256(key);
    let write = |graph: &distil_store::CacheGraph<'_>| {
        let id = graph.add_record(&new)?;
        graph.name_record(graph.make_root(&key)?, id)?;
        Ok(id)
    };
    store.cache().write(write).expect("writes")
}

pub(crate) fn layer(store: &Store, size: u64, diff_id: Option<DiffId>) -> distil_store::LayerId {
    let id = store.layers().create("").expect("creates");
    let info = LayerInfo {
        id,
        diff_id,
        tar_size: diff_id.map(|_| size + 1024),
        size,
        inodes: 1,
        id_map: String::new(),
        base: None,
        extends: None,
    };
    store.layers().commit(&info).expect("commits");
    id
}

pub(crate) fn image(
    store: &Store,
    config: &[u8],
    layers: Vec<distil_store::LayerId>,
    created: i64,
) -> NewImage {
    NewImage {
        config: store.blobs().put(config).expect("puts"),
        manifest: Some(store.blobs().put(&[config, b" manifest"].concat()).expect("puts")),
        platform: "linux/amd64".to_owned(),
        layers,
        blobs: Vec::new(),
        created: Timestamp(created),
    }
}

/// Puts an image of these layers into the store, as `app`.
pub(crate) fn app(store: &Store, layers: Vec<distil_store::LayerId>) {
    let image = image(store, b"config", layers, 1);
    let put = store.images().put(&image, &[name("app")], Timestamp(0));
    put.expect("puts");
}

/// The store in `directory` under a handle that holds nothing.
pub(crate) fn reopened(directory: &tempfile::TempDir, store: Store) -> Store {
    drop(store);
    Store::open(&directory.path().join("store")).expect("opens")
}

pub(crate) fn name(text: &str) -> Reference {
    text.parse().expect("a reference")
}
