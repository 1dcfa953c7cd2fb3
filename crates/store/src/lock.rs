//! Locks between processes that end with their holder: `flock(2)` on files.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::{StoreError, io_error};

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Any number of shared holders.
    Shared,
    /// One holder alone.
    Exclusive,
}

/// A lock held until it is dropped or the process ends, however it ends.
///
/// It belongs to the open file, so that two locks of the same name exclude each other within
/// one process as well. The descriptor is close-on-exec.
#[derive(Debug)]
pub struct FileLock {
    file: File,
    path: PathBuf,
    mode: LockMode,
}

impl FileLock {
    /// Waits for the lock.
    pub(crate) fn acquire(path: &Path, mode: LockMode) -> Result<Self, StoreError> {
        loop {
            if let Some(lock) = Self::attempt(path, mode, false)? {
                return Ok(lock);
            }
        }
    }

    /// `None` when another holder excludes it.
    pub(crate) fn try_acquire(path: &Path, mode: LockMode) -> Result<Option<Self>, StoreError> {
        loop {
            let file = open(path)?;
            match flock(&file, mode, true) {
                Ok(()) if is_current(&file, path) => return Ok(Some(Self::new(file, path, mode))),
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(io_error("lock", path)(errno.into())),
            }
        }
    }

    fn attempt(path: &Path, mode: LockMode, try_only: bool) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        match flock(&file, mode, try_only) {
            Ok(()) if is_current(&file, path) => Ok(Some(Self::new(file, path, mode))),
            // The last holder removed the file while this one waited, or a signal came.
            Ok(()) | Err(rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(io_error("lock", path)(errno.into())),
        }
    }

    fn new(file: File, path: &Path, mode: LockMode) -> Self {
        Self {
            file,
            path: path.to_path_buf(),
            mode,
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The file goes with its last holder; whoever waits on the old one opens it anew.
        let alone = self.mode == LockMode::Exclusive || flock(&self.file, LockMode::Exclusive, true).is_ok();
        if alone && is_current(&self.file, &self.path) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .map(File::from)
        .map_err(|errno| io_error("open", path)(errno.into()))
}

/// Locks an open file or directory; with `try_only` it does not wait.
pub(crate) fn flock(file: &File, mode: LockMode, try_only: bool) -> rustix::io::Result<()> {
    let operation = match (mode, try_only) {
        (LockMode::Shared, false) => FlockOperation::LockShared,
        (LockMode::Shared, true) => FlockOperation::NonBlockingLockShared,
        (LockMode::Exclusive, false) => FlockOperation::LockExclusive,
        (LockMode::Exclusive, true) => FlockOperation::NonBlockingLockExclusive,
    };
    rustix::fs::flock(file, operation)
}

/// Whether `path` still names this open file.
pub(crate) fn is_current(file: &File, path: &Path) -> bool {
    let named = || -> io::Result<bool> {
        let (open, named) = (file.metadata()?, std::fs::symlink_metadata(path)?);
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    };
    named().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn exclusive_excludes_and_shared_shares() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a");
        let first = FileLock::acquire(&path, LockMode::Shared).expect("lock");
        let second = FileLock::try_acquire(&path, LockMode::Shared).expect("lock");
        assert!(second.is_some());
        assert!(
            FileLock::try_acquire(&path, LockMode::Exclusive)
                .expect("lock")
                .is_none()
        );
        drop((first, second));
        assert!(!path.exists(), "the last holder removes the file");
        assert!(
            FileLock::try_acquire(&path, LockMode::Exclusive)
                .expect("lock")
                .is_some()
        );
    }

    #[test]
    fn waiting_locks_take_turns_though_the_file_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = Arc::new(dir.path().join("turn"));
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let (path, inside) = (Arc::clone(&path), Arc::clone(&inside));
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let lock = FileLock::acquire(&path, LockMode::Exclusive).expect("lock");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                        drop(lock);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}
