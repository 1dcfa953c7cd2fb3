//! Opening, blobs, locks, durability.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use distil_oci::{DiffId, Digest};
use distil_store::{
    BlobProducer, CacheLink, FORMAT_VERSION, OpenOptions, Prune, Store, StoreError, Timestamp,
};

use crate::setup::{layer, new_store, record};

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
