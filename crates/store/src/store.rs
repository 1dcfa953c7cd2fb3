//! Opening, closing and destroying a store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use distil_oci::Digest;
use rusqlite::{Connection, OptionalExtension, params};

use crate::blob::{BlobProducer, BlobStore};
use crate::cache::BuildCache;
use crate::db::{MetadataDb, lock};
use crate::error::{StoreError, io_error};
use crate::image::ImageStore;
use crate::layers::Layers;
use crate::layout::{ENTRIES, FORMAT_VERSION, Layout};
use crate::lease::{self, Lease, Resource};
use crate::lock::{FileLock, LockMode};
use crate::remove::remove_tree;
use crate::schema::{self, MIGRATIONS};

/// How a store is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Identity of the running system; the kernel's boot id where `None`.
    pub boot_id: Option<String>,
}

/// A handle on one store directory.
///
/// Cheap to clone; usable from many threads, beside other processes. A handle has one
/// [`Lease`]: everything that is written or held through the handle or its clones survives
/// garbage collection until the last of them is dropped. A server takes a handle per build with
/// [`Store::with_new_lease`].
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    lease: Arc<LeaseCell>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) boot: String,
    pub(crate) db: MetadataDb,
    pub(crate) producers: Mutex<Vec<Arc<dyn BlobProducer>>>,
}

/// The lease of a handle, made when first needed: commands that only look need none.
#[derive(Debug)]
struct LeaseCell {
    shared: Arc<Shared>,
    lease: OnceLock<Lease>,
    making: Mutex<()>,
}

impl Drop for LeaseCell {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.get() {
            lease.release(&self.shared.db);
        }
    }
}

impl Store {
    /// Opens the store in directory `root`, making or migrating it where needed.
    ///
    /// # Errors
    /// A store newer than this build, a root on a network filesystem, a directory with other
    /// files; and whatever the disk answers.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, &OpenOptions::default())
    }

    /// Opens the store in directory `root` with options.
    pub fn open_with(root: &Path, options: &OpenOptions) -> Result<Self, StoreError> {
        let absolute = std::path::absolute(root).map_err(io_error("resolve", root))?;
        let layout = Layout::new(&absolute);
        let version = layout.read_version()?;
        let boot = match &options.boot_id {
            Some(boot) => boot.clone(),
            None => boot_id(),
        };
        let db = if version == Some(FORMAT_VERSION) && layout.database().exists() {
            layout.check_filesystem()?;
            MetadataDb::open(&layout.database())?
        } else {
            prepare(&layout, &boot)?
        };
        check_state(&layout, &db, &boot)?;
        Ok(Self::from_shared(Arc::new(Shared {
            layout,
            boot,
            db,
            producers: Mutex::new(Vec::new()),
        })))
    }

    /// Whether directory `root` has a store that needs no making and no migration.
    ///
    /// # Errors
    /// A store newer than this build, a directory with other files.
    pub fn exists(root: &Path) -> Result<bool, StoreError> {
        let layout = Layout::new(root);
        Ok(layout.read_version()? == Some(FORMAT_VERSION) && layout.database().exists())
    }

    /// Opens the store in directory `root` when there is one that needs no making; `None` otherwise.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_existing(root: &Path) -> Result<Option<Self>, StoreError> {
        Self::exists(root)?.then(|| Self::open(root)).transpose()
    }

    fn from_shared(shared: Arc<Shared>) -> Self {
        let lease = Arc::new(LeaseCell {
            shared: Arc::clone(&shared),
            lease: OnceLock::new(),
            making: Mutex::new(()),
        });
        Self { shared, lease }
    }

    /// Another handle on the same store, with a lease of its own.
    #[must_use]
    pub fn with_new_lease(&self) -> Self {
        Self::from_shared(Arc::clone(&self.shared))
    }

    /// The store's directory, absolute.
    pub fn root(&self) -> &Path {
        &self.shared.layout.root
    }

    /// Identity of the running system, as the store was opened with.
    pub fn boot_id(&self) -> &str {
        &self.shared.boot
    }

    /// Directory of all layer directories, `ROOT/snapshots`.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.shared.layout.snapshots()
    }

    /// Content-addressed blobs.
    pub fn blobs(&self) -> BlobStore<'_> {
        BlobStore::new(self)
    }

    /// Rows of the layer directories.
    pub fn layers(&self) -> Layers<'_> {
        Layers::new(self)
    }

    /// Images and their names.
    pub fn images(&self) -> ImageStore<'_> {
        ImageStore::new(self)
    }

    /// Keys, links and records of the build cache.
    pub fn cache(&self) -> BuildCache<'_> {
        BuildCache::new(self)
    }

    /// The metadata database, for transactions over several tables.
    pub fn db(&self) -> &MetadataDb {
        &self.shared.db
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Makes blobs available that are produced on demand, for all handles of this store in
    /// this process.
    pub fn register_producer(&self, producer: Arc<dyn BlobProducer>) {
        lock(&self.shared.producers).push(producer);
    }

    /// The lease of this handle, made now if it was not needed before.
    pub fn lease(&self) -> Result<&Lease, StoreError> {
        let cell = &self.lease;
        if let Some(lease) = cell.lease.get() {
            return Ok(lease);
        }
        let _turn = lock(&cell.making);
        if let Some(lease) = cell.lease.get() {
            return Ok(lease);
        }
        let lease = Lease::create(&self.shared.layout, &self.shared.db)?;
        Ok(cell.lease.get_or_init(|| lease))
    }

    /// Holds resources under this handle's lease, all or none of them.
    ///
    /// Returns whether all of them exist: false when garbage collection was faster.
    pub fn hold(&self, resources: &[Resource]) -> Result<bool, StoreError> {
        let id = self.lease()?.id();
        self.db().with_write(|tx| {
            for resource in resources {
                if !lease::exists(tx, resource)? {
                    return Ok(false);
                }
            }
            for resource in resources {
                lease::hold(tx, id, resource)?;
            }
            Ok(true)
        })
    }

    /// Waits for the lock `name`, which is shared by all processes that use this store.
    ///
    /// Names are free; they are hashed into file names.
    pub fn lock(&self, name: &str, mode: LockMode) -> Result<FileLock, StoreError> {
        FileLock::acquire(&self.lock_path(name), mode)
    }

    /// Takes the lock `name` if nobody excludes it now.
    pub fn try_lock(&self, name: &str, mode: LockMode) -> Result<Option<FileLock>, StoreError> {
        FileLock::try_acquire(&self.lock_path(name), mode)
    }

    fn lock_path(&self, name: &str) -> PathBuf {
        lock_path(&self.shared.layout, name)
    }

    /// A path for a new temporary file or directory, on the filesystem of the store. It is
    /// removed with this handle's lease if it still exists then.
    pub fn temporary(&self) -> Result<PathBuf, StoreError> {
        Ok(self.lease()?.scratch().join(lease::next_number().to_string()))
    }

    /// Value of a key in a bucket of small facts.
    pub fn get_value(&self, bucket: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db().with_read(|tx| {
            let mut select = tx.prepare_cached("SELECT value FROM kv WHERE bucket = ?1 AND key = ?2")?;
            Ok(select
                .query_row(params![bucket, key], |row| row.get(0))
                .optional()?)
        })
    }

    /// Sets a key in a bucket of small facts; `None` removes it.
    pub fn set_value(&self, bucket: &str, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        if let Some(value) = value {
            return self.set_values(&[(bucket, key, value)]);
        }
        self.db().with_write(|tx| {
            tx.prepare_cached("DELETE FROM kv WHERE bucket = ?1 AND key = ?2")?
                .execute(params![bucket, key])?;
            Ok(())
        })
    }

    /// Sets several keys, each after its bucket and before its value, all or none.
    pub fn set_values(&self, facts: &[(&str, &[u8], &[u8])]) -> Result<(), StoreError> {
        self.db().with_write(|tx| {
            let mut insert = tx
                .prepare_cached("INSERT OR REPLACE INTO kv VALUES (?1, ?2, ?3, (SELECT epoch FROM state))")?;
            for (bucket, key, value) in facts {
                insert.execute(params![bucket, key, value])?;
            }
            Ok(())
        })
    }

    /// Carries everything written so far to the disk; a build calls it once, at its end.
    ///
    /// What is not carried so is dropped when the store is next opened under another boot, since
    /// after a power failure its files may be empty.
    pub fn sync(&self) -> Result<(), StoreError> {
        let epoch: Option<i64> = self.db().with_write(|tx| {
            if !has_pending(tx)? {
                return Ok(None);
            }
            let epoch = tx.query_row("SELECT epoch FROM state", [], |row| row.get(0))?;
            tx.execute("UPDATE state SET epoch = epoch + 1", [])?;
            Ok(Some(epoch))
        })?;
        let Some(epoch) = epoch else {
            return Ok(());
        };
        let root = self.root();
        let directory = fs::File::open(root).map_err(io_error("open", root))?;
        rustix::fs::syncfs(&directory).map_err(|errno| io_error("sync", root)(errno.into()))?;
        self.db().with_write(|tx| {
            for table in schema::PENDING_TABLES {
                let sql = format!("UPDATE {table} SET pending = NULL WHERE pending <= ?1");
                tx.prepare_cached(&sql)?.execute([epoch])?;
            }
            Ok(())
        })?;
        self.db().checkpoint()
    }

    /// Whether [`Store::keep_up`] has something to do.
    pub fn needs_upkeep(&self, limit: u64) -> Result<bool, StoreError> {
        Ok(self.db().with_read(|tx| has_pending(tx))? || self.is_above(limit)?)
    }

    /// What is due after a build: [`Store::sync`], and the build cache gives up its least recently used records
    /// until the store takes at most `limit` bytes beside its images.
    pub fn keep_up(&self, limit: u64) -> Result<(), StoreError> {
        self.sync()?;
        self.collect_above(limit).map(drop)
    }

    /// [`Store::keep_up`] of the store in `root`, if there is one. One process at a time does it, and none while
    /// the store is destroyed.
    pub fn keep_up_in(root: &Path, limit: u64) -> Result<(), StoreError> {
        let absolute = std::path::absolute(root).map_err(io_error("resolve", root))?;
        let layout = Layout::new(&absolute);
        if layout.read_version()?.is_none() {
            return Ok(());
        }
        let _turn = FileLock::acquire(&lock_path(&layout, UPKEEP), LockMode::Exclusive)?;
        // Opening would make a new one.
        if layout.read_version()?.is_none() {
            return Ok(());
        }
        Self::open(&absolute)?.keep_up(limit)
    }

    /// Deletes the store in `root`: its own files only, then the directory if it is empty.
    ///
    /// Files of subordinate ids can be deleted only inside the user namespace that has them. Upkeep that is going
    /// on is waited for.
    ///
    /// # Errors
    /// Another process uses the store; `root` is not a store.
    pub fn destroy(root: &Path) -> Result<(), StoreError> {
        let absolute = std::path::absolute(root).map_err(io_error("resolve", root))?;
        let layout = Layout::new(&absolute);
        match layout.read_version() {
            Ok(_) | Err(StoreError::NewerFormat { .. }) => {}
            Err(error) => return Err(error),
        }
        if live_leases(&layout)? {
            return Err(StoreError::InUse { root: absolute });
        }
        let upkeep = lock_path(&layout, UPKEEP);
        let _none = match layout.locks().is_dir() {
            true => Some(FileLock::acquire(&upkeep, LockMode::Exclusive)?),
            false => None,
        };
        doom_volumes(&layout)?;
        for entry in ENTRIES {
            let path = absolute.join(entry);
            remove_tree(&path).map_err(io_error("delete", &path))?;
        }
        match fs::remove_dir(&absolute) {
            Ok(()) => Ok(()),
            // Mount points and directories of others stay; so does a root with other files.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::DirectoryNotEmpty
                        | io::ErrorKind::ResourceBusy
                        | io::ErrorKind::PermissionDenied
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(io_error("delete", &absolute)(error)),
        }
    }
}

/// Puts all volumes among the refuse: killed while they are deleted, a store has them all or none.
fn doom_volumes(layout: &Layout) -> Result<(), StoreError> {
    let (volumes, doomed) = (layout.volumes(), layout.tmp().join("volumes"));
    if !volumes.exists() {
        return Ok(());
    }
    remove_tree(&doomed).map_err(io_error("delete", &doomed))?;
    fs::create_dir_all(layout.tmp()).map_err(io_error("create", &doomed))?;
    fs::rename(&volumes, &doomed).map_err(io_error("delete", &volumes))
}

/// Name of the lock of who does the upkeep.
const UPKEEP: &str = "upkeep";

fn lock_path(layout: &Layout, name: &str) -> PathBuf {
    layout.locks().join(Digest::sha256(name.as_bytes()).hex())
}

/// Makes a new store, or migrates an old one, alone among all processes.
fn prepare(layout: &Layout, boot: &str) -> Result<MetadataDb, StoreError> {
    layout.create()?;
    let _alone = FileLock::acquire(&layout.locks().join("format"), LockMode::Exclusive)?;
    let fresh = !layout.database().exists();
    if fresh {
        discard_orphans(layout)?;
    }
    let db = MetadataDb::open(&layout.database())?;
    db.enable_wal()?;
    let found = db.with_read(|tx| Ok(schema::user_version(tx)?))?;
    if found != 0 && found != FORMAT_VERSION && live_leases(layout)? {
        return Err(StoreError::MigrationBlocked {
            root: layout.root.clone(),
            from: found,
        });
    }
    db.with_write(|tx| {
        schema::migrate(tx, MIGRATIONS)?;
        tx.execute("INSERT OR IGNORE INTO state VALUES (1, ?1, 1)", [boot])?;
        Ok(())
    })?;
    layout.write_version(FORMAT_VERSION)?;
    Ok(db)
}

/// Clears what an interrupted reset left: without a database nothing refers to it, and layer
/// ids start again.
fn discard_orphans(layout: &Layout) -> Result<(), StoreError> {
    for dir in [layout.snapshots(), layout.blobs(), layout.tmp()] {
        for entry in fs::read_dir(&dir).map_err(io_error("read", &dir))? {
            let path = entry.map_err(io_error("read", &dir))?.path();
            remove_tree(&path).map_err(io_error("delete", &path))?;
        }
    }
    Ok(())
}

/// Refuses a database that is newer than its version file says, and drops what another boot
/// left unsynced.
fn check_state(layout: &Layout, db: &MetadataDb, boot: &str) -> Result<(), StoreError> {
    let (version, written_under): (u32, String) = db.with_read(|tx| {
        let version = schema::user_version(tx)?;
        if version > FORMAT_VERSION {
            return Err(StoreError::NewerFormat {
                root: layout.root.clone(),
                found: version,
                supported: FORMAT_VERSION,
            });
        }
        Ok((
            version,
            tx.query_row("SELECT boot FROM state", [], |row| row.get(0))?,
        ))
    })?;
    debug_assert_eq!(version, FORMAT_VERSION);
    if written_under == boot {
        return Ok(());
    }
    db.with_write(|tx| {
        for table in schema::PENDING_TABLES {
            tx.execute(&format!("DELETE FROM {table} WHERE pending IS NOT NULL"), [])?;
        }
        tx.execute("UPDATE state SET boot = ?1", [boot])?;
        Ok(())
    })
}

fn has_pending(connection: &Connection) -> Result<bool, StoreError> {
    for table in schema::PENDING_TABLES {
        let sql = format!("SELECT 1 FROM {table} WHERE pending IS NOT NULL LIMIT 1");
        if connection.prepare_cached(&sql)?.exists([])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether any process holds a lease of this store.
fn live_leases(layout: &Layout) -> Result<bool, StoreError> {
    let dir = layout.leases();
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read", &dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(io_error("read", &dir))?.file_name();
        if name.to_str().is_some_and(|id| lease::is_alive(layout, id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The kernel's id of this boot; empty where it is hidden, so that all boots look alike.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}
