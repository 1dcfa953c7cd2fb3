//! Downloads that are kept for the next time: package indexes, packages as they came and unpacked.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{StoreError, io_error};
use crate::{FileLock, LockMode, Store};

/// Lock of the downloads: shared by those that use them, exclusive for clearing.
const LOCK: &str = "downloads";
/// What clearing keeps: the newest signed dates that were accepted, which protect against old archives.
const KEPT: &str = "release";

impl Store {
    /// The folder of downloads; made by whoever downloads first.
    #[must_use]
    pub fn downloads_dir(&self) -> PathBuf {
        self.root().join("downloads")
    }

    /// Keeps the downloads from being cleared as long as the lock lives.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub fn use_downloads(&self) -> Result<FileLock, StoreError> {
        self.lock(LOCK, LockMode::Shared)
    }

    /// Bytes of downloads that [`Store::clear_downloads`] would free.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn downloads_size(&self) -> Result<u64, StoreError> {
        let mut size = 0;
        for path in self.clearable()? {
            size += bytes_below(&path).map_err(io_error("read", &path))?;
        }
        Ok(size)
    }

    /// Deletes the downloads and gives the bytes that this frees; 0 while somebody uses them.
    ///
    /// # Errors
    /// When they cannot be deleted.
    pub fn clear_downloads(&self) -> Result<u64, StoreError> {
        let Some(_alone) = self.try_lock(LOCK, LockMode::Exclusive)? else {
            return Ok(0);
        };
        let size = self.downloads_size()?;
        for path in self.clearable()? {
            crate::remove_tree(&path).map_err(io_error("delete", &path))?;
        }
        Ok(size)
    }

    fn clearable(&self) -> Result<Vec<PathBuf>, StoreError> {
        let dir = self.downloads_dir();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &dir)(error)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("read", &dir))?;
            if entry.file_name() != KEPT {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }
}

/// What is deleted meanwhile counts as nothing.
fn bytes_below(path: &Path) -> io::Result<u64> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Ok(0),
        _ => Err(error),
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return gone(error),
    };
    if !metadata.is_dir() {
        // A file that a layer has too is counted there, and deleting it here frees nothing.
        let shared = metadata.nlink() > 1;
        return Ok(if shared { 0 } else { metadata.len() });
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    let mut size = 0;
    for entry in entries {
        size += bytes_below(&entry?.path())?;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_keeps_the_accepted_dates_and_waits_for_users() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join("store")).unwrap();
        assert_eq!(store.clear_downloads().unwrap(), 0);
        for name in ["sha256", KEPT] {
            fs::create_dir_all(store.downloads_dir().join(name)).unwrap();
            fs::write(store.downloads_dir().join(name).join("file"), "12345").unwrap();
        }
        assert_eq!(store.downloads_size().unwrap(), 5);
        let shared = store.downloads_dir().join("sha256/shared");
        fs::write(&shared, "a layer has it too").unwrap();
        fs::hard_link(&shared, store.root().join("tmp/shared")).unwrap();
        assert_eq!(store.downloads_size().unwrap(), 5);
        let used = store.use_downloads().unwrap();
        assert_eq!(store.clear_downloads().unwrap(), 0);
        drop(used);
        assert_eq!(store.clear_downloads().unwrap(), 5);
        assert!(store.downloads_dir().join(KEPT).join("file").exists());
        let path = store.root().to_owned();
        drop(store);
        Store::destroy(&path).unwrap();
        assert!(!path.exists());
    }
}
