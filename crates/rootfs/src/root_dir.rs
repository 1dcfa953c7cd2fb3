//! One directory whose paths cannot lead out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::node::Node;
use crate::sys;
use crate::tree::TreeError;

/// Confined access to one directory that is all in one place (a mounted root, a plain
/// directory): the kernel resolves links inside it (`openat2`, `RESOLVE_IN_ROOT`).
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl RootDir {
    /// Opens the directory `path` of the host.
    pub fn open(path: &Path) -> Result<RootDir, TreeError> {
        let fd = sys::open_host_dir(path).map_err(|err| TreeError::io("open", path, err))?;
        Ok(RootDir {
            fd,
            path: path.to_owned(),
        })
    }

    /// Where it is on the host.
    pub fn host_path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file for reading, links followed inside the root.
    pub fn open_file(&self, path: &Path) -> Result<File, TreeError> {
        let fd = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let node = sys::stat_fd(&fd).map_err(|err| TreeError::io("stat", path, err))?;
        if !node.kind.is_file() {
            return Err(TreeError::WrongKind {
                path: path.to_owned(),
                expected: "regular file",
            });
        }
        Ok(File::from(fd))
    }

    /// Creates or truncates a file with `mode`, links followed inside the root.
    pub fn create_file(&self, path: &Path, mode: u32) -> Result<File, TreeError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
        let fd = self.open_at(path, flags, Mode::from_raw_mode(mode & 0o7777))?;
        Ok(File::from(fd))
    }

    /// Opens `path` itself without access to its contents (`O_PATH`), links followed.
    pub fn open_path(&self, path: &Path) -> Result<OwnedFd, TreeError> {
        self.open_at(path, OFlags::PATH, Mode::empty())
    }

    /// Metadata of `path`; the last component is not followed. `None` when it is not there.
    pub fn lookup(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        match self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => sys::stat_fd(&fd)
                .map(Some)
                .map_err(|err| TreeError::io("stat", path, err)),
            Err(err) if err.is_not_found() => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, TreeError> {
        let relative = path.strip_prefix("/").unwrap_or(path);
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let flags = flags | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.fd, relative, flags, mode, resolve)
            .map_err(|err| TreeError::io("open", path, io::Error::from(err)))
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
