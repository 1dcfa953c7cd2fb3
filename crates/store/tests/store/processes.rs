//! Several processes on one store, and processes that are killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use distil_oci::Digest;
use distil_store::{LayerInfo, LockMode, NewRecord, Prune, RecordKind, Store, StoreError, Timestamp};

const ROOT: &str = "DISTIL_TEST_STORE";
const ROLE: &str = "DISTIL_TEST_ROLE";

/// Runs this test binary again with a role, as another process.
fn spawn(root: &Path, role: &str) -> Child {
    Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "processes::role_of_a_child", "--nocapture", "--quiet"])
        .env(ROOT, root)
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts")
}

/// Not a test by itself: what children do.
#[test]
fn role_of_a_child() {
    let (Some(root), Ok(role)) = (std::env::var_os(ROOT).map(PathBuf::from), std::env::var(ROLE)) else {
        return;
    };
    match role.as_str() {
        "count" => (0..100).for_each(|_| count_up(&root)),
        "churn" => loop {
            churn(&root);
        },
        "hold" => {
            let store = Store::open(&root).expect("opens");
            store.blobs().put(b"held").expect("puts");
            println!("ready");
            std::thread::sleep(Duration::from_secs(60));
            drop(store);
        }
        "lock" => {
            let store = Store::open(&root).expect("opens");
            let lock = store.lock("one", LockMode::Exclusive).expect("locks");
            println!("ready");
            std::thread::sleep(Duration::from_secs(60));
            drop(lock);
        }
        "fill" => {
            let write = || -> Result<(), StoreError> {
                let store = Store::open(&root)?;
                (0..100u32).try_for_each(|number| {
                    let mut writer = store.blobs().writer()?;
                    let chunk = vec![number.to_le_bytes()[0]; 64 << 10];
                    let path = store.root().to_path_buf();
                    writer.write_all(&chunk).map_err(|source| match source.kind() {
                        std::io::ErrorKind::StorageFull => StoreError::NoSpace { path },
                        _ => StoreError::Io {
                            action: "write",
                            path,
                            source,
                        },
                    })?;
                    writer.commit(None).map(drop)
                })
            };
            println!(
                "result: {}",
                write().map_or_else(|error| error.to_string(), |()| "none".to_owned())
            );
        }
        _ => panic!("unknown role"),
    }
}

fn wait_until_ready(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.as_mut().expect("stdout"));
    let mut line = String::new();
    while !line.contains("ready") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("reads") > 0, "the child ended");
    }
}

fn count_up(root: &Path) {
    let store = Store::open(root).expect("opens");
    store
        .db()
        .with_write(|tx| {
            tx.execute("INSERT OR IGNORE INTO kv VALUES ('test', x'00', 0, NULL)", [])?;
            tx.execute("UPDATE kv SET value = value + 1 WHERE bucket = 'test'", [])?;
            Ok(())
        })
        .expect("counts");
}

/// A little of everything that writes.
fn churn(root: &Path) {
    let store = Store::open(root).expect("opens");
    let mut keys = Vec::new();
    for number in 0..20u32 {
        let content = (std::process::id() ^ number).to_le_bytes();
        let blob = store.blobs().put(&content).expect("puts");
        let layer = store.layers().create("").expect("creates");
        fs::write(store.layers().path(layer).join("fs"), content).expect("writes");
        let info = LayerInfo {
            id: layer,
            diff_id: None,
            tar_size: None,
            size: 4,
            inodes: 1,
            id_map: String::new(),
            base: None,
            extends: None,
        };
        store.layers().commit(&info).expect("commits");
        let record = NewRecord {
            kind: RecordKind::Regular,
            description: number.to_string(),
            layers: vec![layer],
            blobs: vec![blob],
            payload: Vec::new(),
            created: Timestamp(i64::from(number)),
        };
        let key = Digest::sha256(&content);
        let id = store
            .cache()
            .write(|graph| {
                let id = graph.add_record(&record)?;
                graph.name_record(graph.make_root(&key)?, id)?;
                Ok(id)
            })
            .expect("records");
        keys.push(id);
        if number % 7 == 3 {
            store.collect(Prune::ToSize(100)).expect("collects");
        }
    }
    for id in keys {
        let record = store.cache().get(id).expect("gets").expect("held by this lease");
        assert!(store.layers().path(record.layers[0]).join("fs").exists());
        assert!(store.blobs().contains(&record.blobs[0]).expect("looks"));
    }
}

#[test]
fn no_update_is_lost_between_processes() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    // All of them also race for making the store.
    let children: Vec<Child> = (0..4).map(|_| spawn(&root, "count")).collect();
    for mut child in children {
        assert!(child.wait().expect("waits").success());
    }
    let store = Store::open(&root).expect("opens");
    let total: i64 = store
        .db()
        .with_read(|tx| Ok(tx.query_row("SELECT value FROM kv WHERE bucket = 'test'", [], |row| row.get(0))?))
        .expect("reads");
    assert_eq!(total, 400);
}

#[test]
fn a_killed_process_leaves_a_store_that_opens_clean() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    for round in 0..8u64 {
        let mut children = [spawn(&root, "churn"), spawn(&root, "churn")];
        std::thread::sleep(Duration::from_millis(20 + round * 20));
        for child in &mut children {
            assert!(
                child.try_wait().expect("looks").is_none(),
                "it ended by itself: a failure"
            );
            child.kill().expect("kills");
            child.wait().expect("waits");
        }
        let store = Store::open(&root).expect("opens");
        // Whatever a record names is there.
        for usage in store.usage().expect("counts").records {
            let record = store.cache().hold(usage.id, Timestamp(0)).expect("holds");
            assert!(record.is_some(), "round {round}: {usage:?} is not whole");
        }
        drop(store);
    }
    let store = Store::open(&root).expect("opens");
    store
        .collect(Prune::Unused {
            all: true,
            before: None,
        })
        .expect("collects");
    for dir in ["snapshots", "blobs/sha256", "locks"] {
        let left = fs::read_dir(root.join(dir)).expect("reads").count();
        assert_eq!(left, 0, "orphans in {dir}");
    }
    drop(store);
    for dir in ["tmp", "leases"] {
        let left = fs::read_dir(root.join(dir)).expect("reads").count();
        assert_eq!(left, 0, "orphans in {dir}");
    }
}

#[test]
fn a_lease_ends_with_its_process() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    let store = Store::open(&root).expect("opens");
    let mut child = spawn(&root, "hold");
    wait_until_ready(&mut child);
    let digest = Digest::sha256(b"held");
    store
        .collect(Prune::Unused {
            all: true,
            before: None,
        })
        .expect("collects");
    assert!(store.blobs().contains(&digest).expect("looks"));
    assert!(Store::destroy(&root).is_err());
    child.kill().expect("kills");
    child.wait().expect("waits");
    store.collect(Prune::Nothing).expect("collects");
    assert!(!store.blobs().contains(&digest).expect("looks"));
}

#[test]
fn a_lock_ends_with_its_process() {
    let directory = tempfile::tempdir().expect("temp dir");
    let root = directory.path().join("store");
    let store = Store::open(&root).expect("opens");
    let mut child = spawn(&root, "lock");
    wait_until_ready(&mut child);
    assert!(
        store
            .try_lock("one", LockMode::Exclusive)
            .expect("tries")
            .is_none()
    );
    assert!(
        store
            .try_lock("two", LockMode::Exclusive)
            .expect("tries")
            .is_some()
    );
    let start = Instant::now();
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        child.kill().expect("kills");
        let mut rest = String::new();
        let _ = child.stdout.take().map(|mut out| out.read_to_string(&mut rest));
        child.wait().expect("waits");
    });
    drop(store.lock("one", LockMode::Exclusive).expect("takes over"));
    assert!(start.elapsed() < Duration::from_secs(5));
    killer.join().expect("no panic");
}

/// Runs the role "fill" in a mount namespace of its own, on a small disk, after `commands`.
fn fill(root: &Path, commands: &str) -> String {
    let own = std::env::current_exe().expect("own path");
    let script = format!(
        "mount -t tmpfs -o size=2m none \"$1\" && {commands} && \
         exec \"$2\" --exact processes::role_of_a_child --nocapture --quiet"
    );
    let output = Command::new("unshare")
        .args(["-m", "sh", "-ec", &script, "sh"])
        .args([root, &own])
        .env(ROOT, root.join("store"))
        .env(ROLE, "fill")
        .output()
        .expect("unshare runs");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn full_and_read_only_disks_are_told() {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !rustix::process::geteuid().is_root() || !map.contains("4294967295") {
        println!("skip: needs root");
        return;
    }
    let directory = tempfile::tempdir().expect("temp dir");
    let full = fill(directory.path(), "true");
    assert!(full.contains("no space left while writing"), "{full}");
    let read_only = fill(directory.path(), "mount -o remount,ro \"$1\"");
    assert!(read_only.contains("the filesystem is read-only"), "{read_only}");
    let made = "DISTIL_TEST_ROLE=count \"$2\" --exact processes::role_of_a_child --quiet >/dev/null";
    let remounted = fill(directory.path(), &format!("{made} && mount -o remount,ro \"$1\""));
    assert!(remounted.contains("the filesystem is read-only"), "{remounted}");
}
