//! Content-addressed blobs: files named by the sha256 of their bytes, and blobs made on demand.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use distil_oci::{Digest, Digester};
use rusqlite::{Connection, OptionalExtension, params};

use crate::Store;
use crate::db::lock;
use crate::error::{StoreError, io_error};
use crate::lease::{self, Resource};

/// Makes blobs that are not kept as files, such as the tar of a local layer.
///
/// Each time it must yield the very bytes that the digest names, or an error.
pub trait BlobProducer: Send + Sync + std::fmt::Debug {
    /// Size in bytes, or `None` when this producer does not make the blob.
    fn size(&self, store: &Store, digest: &Digest) -> Result<Option<u64>, StoreError>;

    /// The bytes, or `None` when this producer does not make the blob.
    ///
    /// The reader fails at its end if what it gave does not have the digest.
    fn open(&self, store: &Store, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError>;
}

/// The blobs of a store; see [`Store::blobs`].
#[derive(Debug, Clone, Copy)]
pub struct BlobStore<'s> {
    store: &'s Store,
}

impl<'s> BlobStore<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// Whether the blob is a file here or can be made on demand.
    pub fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.size(digest)?.is_some())
    }

    /// Size in bytes; `None` when the blob is neither here nor can be made.
    pub fn size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        if let Some(size) = self.stored_size(digest)? {
            return Ok(Some(size));
        }
        for producer in self.producers() {
            if let Some(size) = producer.size(self.store, digest)? {
                return Ok(Some(size));
            }
        }
        Ok(None)
    }

    /// The bytes of a blob. A file's are not verified again: wrap the reader where it matters.
    pub fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, StoreError> {
        if self.stored_size(digest)?.is_some() {
            let path = self.path(digest);
            return match File::open(&path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(io_error("open", &path)(error)),
            };
        }
        for producer in self.producers() {
            if let Some(reader) = producer.open(self.store, digest)? {
                return Ok(reader);
            }
        }
        Err(StoreError::BlobMissing { digest: *digest })
    }

    /// The whole of a small blob, verified.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        let path = self.path(digest);
        self.open(digest)?
            .read_to_end(&mut bytes)
            .map_err(io_error("read", &path))?;
        let actual = Digest::sha256(&bytes);
        if actual == *digest {
            Ok(bytes)
        } else {
            Err(StoreError::DigestMismatch {
                expected: *digest,
                actual,
            })
        }
    }

    /// Where the blob is, or would be, as a file.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.store.shared().layout.blobs().join(digest.hex())
    }

    /// Whether the blob is a file in the store.
    pub fn is_stored(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.stored_size(digest)?.is_some())
    }

    /// Keeps a blob from garbage collection as long as the handle's lease lives; false when it
    /// is not a file in the store.
    pub fn hold(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.is_stored(digest)? && self.store.hold(&[Resource::Blob(*digest)])?)
    }

    /// Starts a new blob. Nothing is visible before [`BlobWriter::commit`].
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let path = self.store.temporary()?;
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(io_error("create", &path))?;
        Ok(BlobWriter {
            store: self.store.clone(),
            file,
            path,
            digester: Digester::new(),
            length: 0,
        })
    }

    /// Stores a small blob.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let mut writer = self.writer()?;
        writer
            .write_all(bytes)
            .map_err(io_error("write", &writer.path.clone()))?;
        writer.commit(None)
    }

    /// Removes a blob's file now, whoever uses it: for one that turned out to be damaged.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        self.store.db().with_write(|tx| {
            tx.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?
                .execute([digest.as_bytes()])?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(io_error("delete", &path)(error))
                }
                _ => Ok(()),
            }
        })
    }

    /// Size of a blob that is a file here. A row whose file is gone or has another length
    /// counts as absent.
    fn stored_size(&self, digest: &Digest) -> Result<Option<u64>, StoreError> {
        let row = self.store.db().with_read(|tx| stored_row(tx, digest))?;
        Ok(row.filter(|size| fs::metadata(self.path(digest)).is_ok_and(|file| file.len() == *size)))
    }

    fn producers(&self) -> Vec<Arc<dyn BlobProducer>> {
        lock(&self.store.shared().producers).clone()
    }
}

fn stored_row(connection: &Connection, digest: &Digest) -> Result<Option<u64>, StoreError> {
    let mut select = connection.prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?;
    let size: Option<i64> = select
        .query_row([digest.as_bytes()], |row| row.get(0))
        .optional()?;
    Ok(size.map(i64::unsigned_abs))
}

/// A blob being written. Dropping it without [`BlobWriter::commit`] leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    store: Store,
    file: File,
    path: PathBuf,
    digester: Digester,
    length: u64,
}

impl BlobWriter {
    /// Ends the blob, checks its digest, and makes it visible in one step.
    ///
    /// The blob is held by the lease of the handle that it was started with.
    ///
    /// # Errors
    /// `DigestMismatch` when `expected` is given and differs; nothing is stored then.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<Digest, StoreError> {
        let actual = std::mem::take(&mut self.digester).finish();
        if let Some(expected) = expected.filter(|expected| *expected != actual) {
            return Err(StoreError::DigestMismatch { expected, actual });
        }
        let (temporary, size) = (&self.path, i64::try_from(self.length).unwrap_or(i64::MAX));
        let lease = self.store.lease()?.id();
        let target = self.store.blobs().path(&actual);
        self.store.db().with_write(|tx| {
            tx.prepare_cached(
                "INSERT INTO blobs VALUES (?1, ?2, (SELECT epoch FROM state))
                 ON CONFLICT(digest) DO UPDATE SET size = excluded.size, pending = excluded.pending",
            )?
            .execute(params![actual.as_bytes(), size])?;
            lease::hold(tx, lease, &Resource::Blob(actual))?;
            // Inside the transaction, so that a collection that just found the digest
            // unreachable cannot take the new file away.
            fs::rename(temporary, &target).map_err(io_error("rename", &target))
        })?;
        Ok(actual)
    }

    /// Bytes written so far.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.digester.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Gone already after a commit.
        let _ = fs::remove_file(&self.path);
    }
}
