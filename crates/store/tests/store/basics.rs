//! Opening, blobs, images, locks, durability.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use distil_oci::{DiffId, Digest, Reference};
use distil_store::{
    BlobProducer, CacheLink, FORMAT_VERSION, LayerBlob, LayerInfo, NewImage, NewRecord, OpenOptions, Prune,
    RecordKind, Removed, Store, StoreError, Timestamp, default_size_limit,
};

fn new_store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().expect("temp dir");
    let store = Store::open(&directory.path().join("store")).expect("opens");
    (directory, store)
}

fn everything() -> Prune<'static> {
    Prune::Unused {
        all: true,
        before: None,
    }
}

#[test]
fn blobs_appear_whole_or_not_at_all() {
    let (_directory, store) = new_store();
    let mut writer = store.blobs().writer().expect("starts");
    writer.write_all(b"hello").expect("writes");
    let digest = Digest::sha256(b"hello");
    assert!(!store.blobs().contains(&digest).expect("looks"));
    assert_eq!(writer.commit(Some(digest)).expect("commits"), digest);
    assert_eq!(store.blobs().read(&digest).expect("reads"), b"hello");
    assert_eq!(store.blobs().size(&digest).expect("looks"), Some(5));

    let mut writer = store.blobs().writer().expect("starts");
    writer.write_all(b"other").expect("writes");
    let error = writer.commit(Some(digest)).expect_err("another digest");
    assert!(matches!(error, StoreError::DigestMismatch { .. }), "{error}");
    assert!(!store.blobs().contains(&Digest::sha256(b"other")).expect("looks"));
}

#[test]
fn a_cut_off_blob_counts_as_absent() {
    let (_directory, store) = new_store();
    let digest = store.blobs().put(b"0123456789").expect("puts");
    fs::write(store.blobs().path(&digest), b"01234").expect("damages");
    assert!(!store.blobs().contains(&digest).expect("looks"));
    assert!(matches!(
        store.blobs().open(&digest),
        Err(StoreError::BlobMissing { .. })
    ));
    store.blobs().put(b"0123456789").expect("puts again");
    assert_eq!(store.blobs().read(&digest).expect("reads"), b"0123456789");
}

#[derive(Debug)]
struct Tens;

impl BlobProducer for Tens {
    fn size(&self, _: &Store, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok((*digest == Digest::sha256(&[10; 10])).then_some(10))
    }

    fn open(&self, store: &Store, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        Ok(self
            .size(store, digest)?
            .map(|_| Box::new(&[10u8; 10][..]) as Box<dyn Read + Send>))
    }
}

#[test]
fn producers_make_blobs_on_demand() {
    let (_directory, store) = new_store();
    let digest = Digest::sha256(&[10; 10]);
    assert!(!store.blobs().contains(&digest).expect("looks"));
    store.register_producer(Arc::new(Tens));
    assert!(store.blobs().contains(&digest).expect("looks"));
    assert!(!store.blobs().is_stored(&digest).expect("looks"));
    assert_eq!(store.blobs().read(&digest).expect("reads"), [10; 10]);
}

#[test]
fn a_newer_store_is_refused_unchanged() {
    let (directory, store) = new_store();
    let root = directory.path().join("store");
    drop(store);
    let newer = format!("distil-store {}\n", FORMAT_VERSION + 1);
    fs::write(root.join("version"), &newer).expect("writes");
    let before = fs::metadata(root.join("distil.db"))
        .expect("stat")
        .modified()
        .expect("time");
    let error = Store::open(&root).expect_err("newer");
    assert!(matches!(error, StoreError::NewerFormat { .. }), "{error}");
    assert_eq!(fs::read_to_string(root.join("version")).expect("reads"), newer);
    assert_eq!(
        fs::metadata(root.join("distil.db"))
            .expect("stat")
            .modified()
            .expect("time"),
        before
    );
    // A migration that was killed before it wrote the version file.
    fs::write(root.join("version"), format!("distil-store {FORMAT_VERSION}\n")).expect("writes");
    let connection = rusqlite::Connection::open(root.join("distil.db")).expect("opens");
    connection
        .pragma_update(None, "user_version", FORMAT_VERSION + 1)
        .expect("sets");
    drop(connection);
    assert!(matches!(Store::open(&root), Err(StoreError::NewerFormat { .. })));
}

#[test]
fn foreign_directories_are_left_alone() {
    let directory = tempfile::tempdir().expect("temp dir");
    fs::write(directory.path().join("letter.txt"), b"dear").expect("writes");
    assert!(matches!(
        Store::open(directory.path()),
        Err(StoreError::NotAStore { .. })
    ));
    assert!(matches!(
        Store::destroy(directory.path()),
        Err(StoreError::NotAStore { .. })
    ));
    assert!(directory.path().join("letter.txt").exists());
}

#[test]
fn a_store_of_format_1_opens_with_all_it_has() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    // Any store of the same layout, with the database of the fixture in it.
    drop(Store::open(&root).expect("opens"));
    for name in ["distil.db", "distil.db-wal", "distil.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    let connection = rusqlite::Connection::open(root.join("distil.db")).expect("opens");
    connection
        .execute_batch(include_str!("../fixtures/format-1.sql"))
        .expect("loads");
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .expect("sets");
    drop(connection);
    fs::write(root.join("version"), "distil-store 1\n").expect("writes");
    fs::write(root.join("blobs/sha256").join(Digest::sha256(b"{}").hex()), b"{}").expect("writes");
    fs::create_dir(root.join("snapshots/1")).expect("creates");

    let store = Store::open(&root).expect("opens");
    let image = store.images().resolve("calculator").expect("resolves");
    assert_eq!(image.id, Digest::sha256(b"{}"));
    assert_eq!(image.size, 1234);
    let layer = store
        .layers()
        .get(image.layers[0])
        .expect("gets")
        .expect("exists");
    assert_eq!(layer.diff_id, Some(DiffId(Digest::sha256(b"tar"))));
    let records = store
        .cache()
        .read(|graph| {
            let root = graph.root(&Digest::sha256(b"root"))?.expect("root");
            let record = Digest::sha256(b"step");
            let link = CacheLink {
                input: 0,
                record: &record,
                selector: None,
            };
            graph.records(graph.targets(root, &link)?[0])
        })
        .expect("reads");
    assert_eq!(records.len(), 1);
    let record = store
        .cache()
        .hold(records[0].0, Timestamp(5))
        .expect("holds")
        .expect("whole");
    assert_eq!(
        (record.description.as_str(), record.layers),
        ("RUN make", image.layers)
    );
}

fn record(store: &Store, key: &[u8], layers: Vec<distil_store::LayerId>) -> distil_store::RecordId {
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

fn layer(store: &Store, size: u64, diff_id: Option<DiffId>) -> distil_store::LayerId {
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

#[test]
fn what_was_not_synced_is_dropped_under_another_boot() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    let boot = |id: &str| OpenOptions {
        boot_id: Some(id.to_owned()),
    };
    let store = Store::open_with(&root, &boot("one")).expect("opens");
    let kept = store.blobs().put(b"kept").expect("puts");
    let kept_record = record(&store, b"a", vec![layer(&store, 1, None)]);
    store.sync().expect("syncs");
    let lost = store.blobs().put(b"lost").expect("puts");
    let lost_record = record(&store, b"b", vec![layer(&store, 1, None)]);
    drop(store);
    let same = Store::open_with(&root, &boot("one")).expect("opens");
    assert!(same.blobs().contains(&lost).expect("looks"));
    drop(same);
    let other = Store::open_with(&root, &boot("two")).expect("opens");
    assert!(other.blobs().contains(&kept).expect("looks"));
    assert!(!other.blobs().contains(&lost).expect("looks"));
    assert!(other.cache().get(kept_record).expect("gets").is_some());
    assert!(other.cache().get(lost_record).expect("gets").is_none());
    other.collect(Prune::Nothing).expect("collects");
    assert_eq!(fs::read_dir(root.join("snapshots")).expect("reads").count(), 1);
}

#[test]
fn a_sync_leaves_one_page_of_log_unless_somebody_reads_it() {
    let (directory, store) = new_store();
    let length = || {
        let log = fs::metadata(directory.path().join("store/distil.db-wal"));
        log.expect("a log").len()
    };
    const ONE_PAGE: u64 = 32 + 24 + 4096;
    layer(&store, 1, None);
    assert!(length() > ONE_PAGE);
    store.sync().expect("syncs");
    assert_eq!(length(), ONE_PAGE);
    layer(&store, 1, None);
    let reader = Store::open(&directory.path().join("store")).expect("opens");
    let seen = reader.db().with_read(|tx| {
        let count = || tx.query_row("SELECT count(*) FROM layers", [], |row| row.get::<_, i64>(0));
        let before = count()?;
        layer(&store, 1, None);
        store.sync().expect("does not wait for the reader");
        assert!(length() > ONE_PAGE);
        assert_eq!(before, count()?);
        Ok(before)
    });
    assert_eq!(seen.expect("reads"), 2);
}

fn image(store: &Store, config: &[u8], layers: Vec<distil_store::LayerId>, created: i64) -> NewImage {
    NewImage {
        config: store.blobs().put(config).expect("puts"),
        manifest: Some(store.blobs().put(&[config, b" manifest"].concat()).expect("puts")),
        platform: "linux/amd64".to_owned(),
        layers,
        blobs: Vec::new(),
        created: Timestamp(created),
    }
}

fn name(text: &str) -> Reference {
    text.parse().expect("a reference")
}

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

#[test]
fn pruning_takes_the_least_recently_used_first() {
    let (directory, store) = new_store();
    let records: Vec<_> = (0..4u8)
        .map(|key| record(&store, &[key], vec![layer(&store, 100, None)]))
        .collect();
    drop(store);
    let store = Store::open(&directory.path().join("store")).expect("opens");
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
    let image = image(&store, b"config", vec![base, top], 1);
    store
        .images()
        .put(&image, &[name("app")], Timestamp(0))
        .expect("puts");
    drop(store);
    let store = Store::open(&directory.path().join("store")).expect("opens");
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
    let image = image(&store, b"config", vec![shared_layer], 1);
    store
        .images()
        .put(&image, &[name("app")], Timestamp(0))
        .expect("puts");
    drop(store);
    let store = Store::open(&directory.path().join("store")).expect("opens");
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
fn destroy_removes_the_store_and_nothing_else() {
    let (directory, store) = new_store();
    let root = directory.path().join("store");
    let id = layer(&store, 1, None);
    let closed = store.layers().path(id).join("work/work");
    fs::create_dir_all(&closed).expect("creates");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("closes");
    assert!(matches!(Store::destroy(&root), Err(StoreError::InUse { .. })));
    drop(store);
    fs::write(root.join("mine.txt"), b"keep").expect("writes");
    Store::destroy(&root).expect("destroys");
    let left: Vec<_> = fs::read_dir(&root)
        .expect("reads")
        .map(|entry| entry.expect("entry").file_name())
        .collect();
    assert_eq!(left, ["mine.txt"]);
    fs::remove_file(root.join("mine.txt")).expect("removes");
    Store::destroy(&root).expect("destroys an empty one");
    assert!(!root.exists());
    Store::destroy(&root).expect("destroys none");
}

#[test]
fn an_interrupted_reset_leaves_an_empty_store() {
    let (directory, store) = new_store();
    let root = directory.path().join("store");
    layer(&store, 1, None);
    store.blobs().put(b"x").expect("puts");
    drop(store);
    // A reset goes in this order, and ends somewhere.
    for name in ["distil.db", "distil.db-wal", "distil.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    let store = Store::open(&root).expect("opens");
    assert_eq!(fs::read_dir(root.join("snapshots")).expect("reads").count(), 0);
    assert_eq!(fs::read_dir(root.join("blobs/sha256")).expect("reads").count(), 0);
    layer(&store, 1, None);
}

#[test]
fn a_file_without_write_permission_is_named() {
    if rustix::process::geteuid().is_root() {
        println!("skip: root may write everywhere");
        return;
    }
    let directory = tempfile::tempdir().expect("temp dir");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).expect("closes");
    let error = Store::open(&directory.path().join("store")).expect_err("refused");
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
}

#[test]
fn a_damaged_database_is_told_with_the_way_out() {
    let (directory, store) = new_store();
    let root = directory.path().join("store");
    drop(store);
    for name in ["distil.db-wal", "distil.db-shm"] {
        let _ = fs::remove_file(root.join(name));
    }
    fs::write(root.join("distil.db"), vec![7u8; 8192]).expect("damages");
    let error = Store::open(&root).expect_err("damaged");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("distil reset"), "{error}");
    Store::destroy(&root).expect("destroys");
}

#[test]
fn the_default_limit_is_a_tenth_within_bounds() {
    const GIB: u64 = 1 << 30;
    assert_eq!(default_size_limit(GIB), 2 * GIB);
    assert_eq!(default_size_limit(100 * GIB), 10 * GIB);
    assert_eq!(default_size_limit(4000 * GIB), 20 * GIB);
}

#[test]
fn values_are_kept_in_buckets() {
    let (_directory, store) = new_store();
    store.set_value("a", b"k", Some(b"1")).expect("sets");
    store.set_value("b", b"k", Some(b"2")).expect("sets");
    assert_eq!(
        store.get_value("a", b"k").expect("gets").as_deref(),
        Some(&b"1"[..])
    );
    store.set_value("a", b"k", None).expect("removes");
    assert_eq!(store.get_value("a", b"k").expect("gets"), None);
    assert_eq!(
        store.get_value("b", b"k").expect("gets").as_deref(),
        Some(&b"2"[..])
    );
}

#[test]
fn opening_an_existing_store_makes_none() {
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path().join("store");
    assert!(Store::open_existing(&root).expect("no store").is_none());
    assert!(!root.exists());
    drop(Store::open(&root).expect("new store"));
    assert!(Store::open_existing(&root).expect("a store").is_some());
}
