//! Mount points that the root does not have: made before the program, taken away after it.
//!
//! The helper's root is the program's root here, so that the kernel itself confines every path.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// As many symlinks as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// Times of a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Times {
    accessed: (i64, i64),
    modified: (i64, i64),
}

impl Times {
    fn of(directory: &Path) -> io::Result<Times> {
        let metadata = fs::symlink_metadata(directory)?;
        Ok(Times {
            accessed: (metadata.atime(), metadata.atime_nsec()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }

    fn restore(self, directory: &Path) -> io::Result<()> {
        let timespec = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
        let times = Timestamps {
            last_access: timespec(self.accessed),
            last_modification: timespec(self.modified),
        };
        Ok(rustix::fs::utimensat(
            CWD,
            directory,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// One created file or directory.
struct Stub {
    path: PathBuf,
    parent: PathBuf,
    before: Times,
    after: Times,
}

/// What was created, in order.
#[derive(Default)]
pub(super) struct Stubs {
    made: Vec<Stub>,
}

impl Stubs {
    /// Whether nothing was created.
    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// The real path of the directory `path`, which is created with its parents when missing, and
    /// whether it was.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<(PathBuf, bool)> {
        self.place(path, |path| fs::DirBuilder::new().mode(0o755).create(path))
    }

    /// The real path of the file `path`, which is created empty when missing.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<(PathBuf, bool)> {
        self.place(path, |path| create_file(path).map(drop))
    }

    fn place(
        &mut self,
        path: &Path,
        create_last: impl Fn(&Path) -> io::Result<()>,
    ) -> io::Result<(PathBuf, bool)> {
        let (mut current, missing) = resolve(path)?;
        for (index, name) in missing.iter().enumerate() {
            let parent = current.clone();
            let before = Times::of(&parent)?;
            current.push(name);
            match index + 1 == missing.len() {
                true => create_last(&current)?,
                false => fs::DirBuilder::new().mode(0o755).create(&current)?,
            }
            self.made.push(Stub {
                path: current.clone(),
                after: Times::of(&parent)?,
                parent,
                before,
            });
        }
        Ok((current, !missing.is_empty()))
    }

    /// Takes away what is still there and empty. A parent directory that the program did not
    /// change gets its times back, one that it changed keeps those. What cannot be removed stays:
    /// the program's result counts, not its stubs.
    pub(super) fn remove(&mut self) {
        for stub in self.made.drain(..).rev() {
            let _ = stub.remove();
        }
    }
}

impl Stub {
    fn remove(&self) -> io::Result<()> {
        let metadata = fs::symlink_metadata(&self.path)?;
        let now = Times::of(&self.parent)?;
        if metadata.is_dir() {
            fs::remove_dir(&self.path)?;
        } else if metadata.is_file() && metadata.len() == 0 {
            fs::remove_file(&self.path)?;
        } else {
            return Ok(());
        }
        let untouched = now.modified == self.after.modified;
        let times = if untouched { self.before } else { now };
        times.restore(&self.parent)
    }
}

/// Creates an empty file, never through a symlink.
fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)
}

/// Follows `path` as far as it exists: the real path of that part, and the names that are missing
/// below it. The missing target of a symlink counts as missing names; `..` after a missing name takes
/// that away.
pub(super) fn resolve(path: &Path) -> io::Result<(PathBuf, Vec<OsString>)> {
    let mut pending: Vec<PathStep> = steps(path);
    let mut current = PathBuf::from("/");
    let mut missing: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(step) = pending.pop() {
        let name = match step {
            PathStep::Root => {
                current = PathBuf::from("/");
                missing.clear();
                continue;
            }
            PathStep::Parent => {
                if missing.pop().is_none() {
                    current.pop();
                }
                continue;
            }
            PathStep::Name(name) => name,
        };
        if !missing.is_empty() {
            missing.push(name);
            continue;
        }
        let candidate = current.join(&name);
        match fs::symlink_metadata(&candidate) {
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::from_raw_os_error(libc::ELOOP));
                }
                pending.extend(steps(&fs::read_link(&candidate)?));
            }
            Ok(_) => current = candidate,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(name),
            Err(error) => return Err(error),
        }
    }
    Ok((current, missing))
}

/// `path` with `..` taken away by its text alone.
pub(super) fn tidied(path: &Path) -> PathBuf {
    let mut tidy = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => tidy.push(name),
            Component::ParentDir => drop(tidy.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    tidy
}

enum PathStep {
    Root,
    Parent,
    Name(OsString),
}

/// The parts of `path`, last first.
fn steps(path: &Path) -> Vec<PathStep> {
    let step = |component| match component {
        Component::RootDir => Some(PathStep::Root),
        Component::ParentDir => Some(PathStep::Parent),
        Component::Normal(name) => Some(PathStep::Name(name.to_owned())),
        Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(step).collect()
}
