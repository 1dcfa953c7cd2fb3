//! Leases: what a running process uses survives garbage collection.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use distil_oci::Digest;
use rusqlite::{Connection, params};

use crate::db::MetadataDb;
use crate::error::{StoreError, io_error};
use crate::lock::{LockMode, flock, is_current};
use crate::remove::remove_tree;
use crate::{LayerId, RecordId, layout::Layout};

/// Something that a lease can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A layer directory.
    Layer(LayerId),
    /// A blob.
    Blob(Digest),
    /// A record of the build cache, with all its layers and blobs.
    Record(RecordId),
}

/// A claim on resources that ends with its process, however that ends.
///
/// Its liveness is the lock on `leases/ID`; what it holds stands in the database. Dropping it
/// releases everything. Its scratch directory `tmp/ID` is removed with it.
#[derive(Debug)]
pub struct Lease {
    id: String,
    path: PathBuf,
    scratch: PathBuf,
    _lock: File,
}

impl Lease {
    pub(crate) fn create(layout: &Layout, db: &MetadataDb) -> Result<Self, StoreError> {
        let (id, path, lock) = loop {
            let id = random_id();
            let path = layout.leases().join(&id);
            if let Some(lock) = lock_new_file(&path)? {
                break (id, path, lock);
            }
        };
        let scratch = layout.tmp().join(&id);
        std::fs::create_dir(&scratch).map_err(io_error("create", &scratch))?;
        db.with_write(|tx| {
            tx.prepare_cached("INSERT INTO leases VALUES (?1)")?
                .execute([&id])?;
            Ok(())
        })?;
        Ok(Self {
            id,
            path,
            scratch,
            _lock: lock,
        })
    }

    /// Name of the lease, unique in its store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Directory for unfinished files, on the filesystem of the store.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Releases what is held, as far as that is possible: a lease that cannot be removed now is
    /// found dead by the next collection.
    pub(crate) fn release(&self, db: &MetadataDb) {
        let _ = db.with_write(|tx| forget(tx, &self.id));
        let _ = remove_tree(&self.scratch);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Makes and locks a file; `None` when another process had the name or took it away.
fn lock_new_file(path: &Path) -> Result<Option<File>, StoreError> {
    let file = match File::options().read(true).write(true).create_new(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(io_error("create", path)(error)),
    };
    flock(&file, LockMode::Exclusive, false).map_err(|errno| io_error("lock", path)(errno.into()))?;
    Ok(is_current(&file, path).then_some(file))
}

/// Whether the holder of lease `id` lives. A dead lease's file is removed.
pub(crate) fn is_alive(layout: &Layout, id: &str) -> bool {
    let path = layout.leases().join(id);
    let Ok(file) = File::open(&path) else {
        return false;
    };
    if flock(&file, LockMode::Exclusive, true).is_err() {
        return true;
    }
    let _ = std::fs::remove_file(&path);
    false
}

/// Deletes a lease and what it holds from the database.
pub(crate) fn forget(connection: &Connection, id: &str) -> Result<(), StoreError> {
    for table in ["held_layers", "held_blobs", "held_records"] {
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE lease = ?1"))?
            .execute([id])?;
    }
    connection
        .prepare_cached("DELETE FROM leases WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}

/// Whether the database knows `resource`.
pub(crate) fn exists(connection: &Connection, resource: &Resource) -> Result<bool, StoreError> {
    let found = match resource {
        Resource::Layer(layer) => connection
            .prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?
            .exists([layer.row()])?,
        Resource::Blob(digest) => connection
            .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?
            .exists([digest.as_bytes()])?,
        Resource::Record(record) => connection
            .prepare_cached("SELECT 1 FROM records WHERE id = ?1")?
            .exists([record.0])?,
    };
    Ok(found)
}

/// Holds `resource`, which exists, under lease `id`.
pub(crate) fn hold(connection: &Connection, id: &str, resource: &Resource) -> Result<(), StoreError> {
    match resource {
        Resource::Layer(layer) => connection
            .prepare_cached("INSERT OR IGNORE INTO held_layers VALUES (?1, ?2)")?
            .execute(params![id, layer.row()])?,
        Resource::Blob(digest) => connection
            .prepare_cached("INSERT OR IGNORE INTO held_blobs VALUES (?1, ?2)")?
            .execute(params![id, digest.as_bytes()])?,
        Resource::Record(record) => connection
            .prepare_cached("INSERT OR IGNORE INTO held_records VALUES (?1, ?2)")?
            .execute(params![id, record.0])?,
    };
    Ok(())
}

/// 16 hexadecimal digits.
fn random_id() -> String {
    let mut bytes = [0u8; 8];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        // A kernel without entropy at boot: names need only be unlikely to meet, and a name in
        // use is refused anyway.
        bytes = (u64::from(std::process::id()) << 32 | next_number()).to_le_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Counts up within this process.
pub(crate) fn next_number() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}
