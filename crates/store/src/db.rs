//! The metadata database: SQLite in WAL mode, shared by several processes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::StoreError;

/// How long a writer waits for other processes. Transactions take well below a millisecond, so
/// that only a stopped process makes anyone wait this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

const STATEMENTS: usize = 96;

/// Transactions on the metadata database.
///
/// Connections are kept and reused; threads of one process queue for writing here instead of
/// polling SQLite's lock.
#[derive(Debug)]
pub struct MetadataDb {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    writing: Mutex<()>,
}

impl MetadataDb {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = Self {
            path: path.to_path_buf(),
            idle: Mutex::new(Vec::new()),
            writing: Mutex::new(()),
        };
        let connection = db.connect()?;
        db.give_back(connection);
        Ok(db)
    }

    /// Runs a transaction that only reads; it sees one moment of the database throughout.
    pub fn with_read<T>(
        &self,
        action: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transact(TransactionBehavior::Deferred, action)
    }

    /// Runs a transaction that holds the only write lock from its start (`BEGIN IMMEDIATE`).
    ///
    /// It is committed when `action` returns `Ok`, else undone. It must be short: no hashing,
    /// no copying, no waiting inside.
    pub fn with_write<T>(
        &self,
        action: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _turn = lock(&self.writing);
        self.transact(TransactionBehavior::Immediate, action)
    }

    fn transact<T>(
        &self,
        behavior: TransactionBehavior,
        action: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let taken = lock(&self.idle).pop();
        let mut connection = match taken {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let result = run(&mut connection, behavior, action).map_err(|error| self.explain(error));
        self.give_back(connection);
        result
    }

    fn give_back(&self, connection: Connection) {
        lock(&self.idle).push(connection);
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let configure = || -> rusqlite::Result<Connection> {
            let connection = Connection::open_with_flags(&self.path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS);
            // Losing the last transactions to a power failure costs a rebuild, no more.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            // A checkpoint at exit would make every short command wait for the disk.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            Ok(connection)
        };
        configure().map_err(|error| self.explain(StoreError::Sqlite(error)))
    }

    /// Turns on WAL mode, which stays with the file. Only for a new database.
    pub(crate) fn enable_wal(&self) -> Result<(), StoreError> {
        let connection = self.connect()?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(|error| self.explain(StoreError::Sqlite(error)))?;
        self.give_back(connection);
        Ok(())
    }

    /// Moves the write-ahead log into the database file and begins a new one, as far as other processes allow: nobody
    /// is waited for.
    ///
    /// The first process that opens a database reads its whole log, which SQLite itself shortens only after a
    /// thousand pages.
    pub(crate) fn checkpoint(&self) -> Result<(), StoreError> {
        let connection = self.connect()?;
        let run = |sql| connection.query_row(sql, [], |row| row.get::<_, bool>(0));
        // The first one writes to the disk and keeps no writer out; it leaves the second no more than to cut.
        let is_cut = connection
            .busy_timeout(Duration::ZERO)
            .and_then(|()| run("PRAGMA wal_checkpoint(PASSIVE)"))
            .and_then(|_| run("PRAGMA wal_checkpoint(TRUNCATE)"))
            .map(|is_busy| !is_busy);
        let done = is_cut.and_then(|is_cut| {
            connection.busy_timeout(BUSY_TIMEOUT)?;
            if is_cut {
                // Whoever writes the first page of a log waits for the disk: better here than in the next build.
                connection.execute("UPDATE state SET epoch = epoch + 1", [])?;
            }
            Ok(())
        });
        done.map_err(|error| self.explain(StoreError::Sqlite(error)))?;
        self.give_back(connection);
        Ok(())
    }

    /// Gives an SQLite error its place and, for common causes, its own variant.
    fn explain(&self, error: StoreError) -> StoreError {
        let StoreError::Sqlite(source) = error else {
            return error;
        };
        let path = self.path.clone();
        match source.sqlite_error_code() {
            // What SQLite says of a full or read-only disk depends on the file it was at.
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) if self.is_read_only() => {
                StoreError::ReadOnly { path }
            }
            Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) if self.is_full() => {
                StoreError::NoSpace { path }
            }
            Some(ErrorCode::DiskFull) => StoreError::NoSpace { path },
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreError::Corrupt {
                path,
                detail: source.to_string(),
            },
            Some(ErrorCode::CannotOpen) => StoreError::Denied { action: "open", path },
            _ => StoreError::Database { path, source },
        }
    }

    fn is_read_only(&self) -> bool {
        let stat = self.path.parent().map(rustix::fs::statvfs);
        stat.is_some_and(|stat| {
            stat.is_ok_and(|stat| stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
        })
    }

    fn is_full(&self) -> bool {
        let stat = self.path.parent().map(rustix::fs::statvfs);
        stat.is_some_and(|stat| stat.is_ok_and(|stat| stat.f_bavail < 16))
    }
}

fn run<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    action: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let value = action(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Takes a mutex also when a thread panicked while it held it: the data behind the ones used
/// here is whole at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
