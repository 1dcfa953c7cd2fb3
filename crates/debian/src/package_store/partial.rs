//! A directory that is being filled, by one process at a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{PackageStoreError, failed};

/// Locked, empty at first, and removed when it is dropped. What a killed process left is cleared
/// by the next one that wants the same package.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    /// Locked.
    _directory: File,
    published: bool,
}

impl Partial {
    /// Waits for the lock of the directory that is to become `target`.
    pub(super) fn take(target: &Path) -> Result<Partial, PackageStoreError> {
        let path = target.with_extension("partial");
        let directory = lock(&path).map_err(failed(&path))?;
        let partial = Partial {
            path,
            _directory: directory,
            published: false,
        };
        partial.clear().map_err(failed(&partial.path))?;
        Ok(partial)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes and opens the directory `shard`, which is not there.
    pub(super) fn make_shard(&self, shard: usize) -> io::Result<File> {
        let path = self.path.join(shard.to_string());
        fs::create_dir(&path)?;
        File::open(&path)
    }

    /// Gives it its name. What stands there is damaged, or the caller would have taken it.
    pub(super) fn publish(mut self, target: &Path) -> Result<(), PackageStoreError> {
        match fs::remove_dir_all(target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(target)(error)),
            _ => {}
        }
        fs::rename(&self.path, target).map_err(failed(target))?;
        self.published = true;
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.published {
            // What is left is cleared the next time.
            let _ = self.clear();
            let _ = fs::remove_dir(&self.path);
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    loop {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // Published or removed since.
            Err(rustix::io::Errno::NOENT) => continue,
            Err(error) => return Err(error.into()),
        };
        match rustix::fs::flock(&directory, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        }
        // Who had the lock before has renamed or removed it.
        let opened = directory.metadata()?;
        let same = |named: fs::Metadata| (named.dev(), named.ino()) == (opened.dev(), opened.ino());
        if fs::symlink_metadata(path).is_ok_and(same) {
            return Ok(directory);
        }
    }
}
