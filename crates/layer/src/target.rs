//! The directory that a layer is unpacked into, and confined walks in it.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use distil_rootfs::{FileKind, Node, OpaqueXattr, Ownership, Xattrs};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::LayerError;
use crate::copy::{set_xattrs, times};
use crate::error::{at, chown_at};
use crate::settle::MAX_DEPTH;

/// Links that are followed on one path, as in Linux.
const MAX_LINKS: usize = 40;

pub(crate) struct Target {
    root: OwnedFd,
    opaque: OpaqueXattr,
    /// The directory that [`Target::parent_of`] gave last, and its path.
    parent: OwnedFd,
    parent_path: PathBuf,
    implied: BTreeSet<PathBuf>,
}

fn open_dir(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

impl Target {
    pub(crate) fn open(dir: &Path, opaque: OpaqueXattr) -> Result<Self, LayerError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(dir, flags, Mode::empty()).map_err(at("open", dir))?;
        let parent = root.try_clone().map_err(crate::error::io_at("open", dir))?;
        Ok(Self {
            root,
            opaque,
            parent,
            parent_path: PathBuf::new(),
            implied: BTreeSet::new(),
        })
    }

    /// Walks to the directory that `path` lies in, making what is missing, and remembers it for
    /// [`Target::parent_fd`]. Returns where it really is, and the last component.
    pub(crate) fn parent_of(&mut self, path: &Path) -> Result<(PathBuf, OsString), LayerError> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let wanted = path.parent().unwrap_or(Path::new(""));
        // Found directly before: the usual case. Links never enter `parent_path`.
        if wanted != self.parent_path || wanted.as_os_str().is_empty() {
            let (parent, real) = self.walk(wanted, true)?.ok_or_else(|| LayerError::BadEntry {
                path: path.to_path_buf(),
                reason: "it lies in something that is no directory",
            })?;
            (self.parent, self.parent_path) = (parent, real);
        }
        Ok((self.parent_path.clone(), name))
    }

    pub(crate) fn parent_fd(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// Finds an existing file for a hard link: its directory, name and real path.
    pub(crate) fn find(&mut self, path: &Path) -> Result<Option<(OwnedFd, OsString, PathBuf)>, LayerError> {
        let name = path.file_name().unwrap_or_default().to_owned();
        let Some((dir, real)) = self.walk(path.parent().unwrap_or(Path::new("")), false)? else {
            return Ok(None);
        };
        let real = real.join(&name);
        match stat(&dir, &name).map_err(at("examine", &real))? {
            Some(Found { whiteout: true, .. }) | None => Ok(None),
            Some(Found {
                kind: FileKind::Dir, ..
            }) => Err(LayerError::BadEntry {
                path: real,
                reason: "it is a directory, and another entry is a hard link to it",
            }),
            Some(_) => Ok(Some((dir, name, real))),
        }
    }

    /// Opens a directory, following the links of the layer itself inside its root. With `make`
    /// missing directories are made; `None` when something is in the way, or missing.
    fn walk(&mut self, path: &Path, make: bool) -> Result<Option<(OwnedFd, PathBuf)>, LayerError> {
        let mut todo: VecDeque<OsString> = components(path);
        let mut stack: Vec<OwnedFd> = Vec::new();
        let mut real = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                stack.pop();
                real.pop();
                continue;
            }
            if stack.len() >= MAX_DEPTH {
                return Err(LayerError::TooDeep {
                    path: path.to_path_buf(),
                    limit: MAX_DEPTH,
                });
            }
            let here = stack.last().unwrap_or(&self.root);
            let place = real.join(&name);
            let next = match open_dir(here, &name) {
                Ok(next) => next,
                Err(Errno::NOENT) if make => {
                    let next = make_dir(here, &name).map_err(at("create", &place))?;
                    self.implied.insert(place.clone());
                    next
                }
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => match stat(here, &name).map_err(at("examine", &place))? {
                    Some(Found {
                        kind: FileKind::Symlink,
                        ..
                    }) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Ok(None);
                        }
                        let target = rustix::fs::readlinkat(here, &*name, Vec::new())
                            .map_err(at("read link", &place))?;
                        let target = PathBuf::from(OsStr::from_bytes(target.to_bytes()));
                        if target.has_root() {
                            stack.clear();
                            real = PathBuf::new();
                        }
                        for name in components(&target).into_iter().rev() {
                            todo.push_front(name);
                        }
                        continue;
                    }
                    Some(Found { whiteout: true, .. }) if make => {
                        rustix::fs::unlinkat(here, &*name, AtFlags::empty()).map_err(at("remove", &place))?;
                        let next = make_dir(here, &name).map_err(at("create", &place))?;
                        set_opaque(&next, self.opaque).map_err(at("mark", &place))?;
                        self.implied.insert(place.clone());
                        next
                    }
                    _ => return Ok(None),
                },
                Err(errno) => return Err(at("open", &place)(errno)),
            };
            stack.push(next);
            real = place;
        }
        let last = match stack.pop() {
            Some(last) => last,
            None => self.root.try_clone().map_err(crate::error::io_at("open", path))?,
        };
        Ok(Some((last, real)))
    }

    /// Opens a directory that exists.
    pub(crate) fn find_dir(&mut self, path: &Path) -> Result<Option<(OwnedFd, PathBuf)>, LayerError> {
        self.walk(path, false)
    }

    /// Opens a directory, making what is missing; `None` when a file is in the way.
    pub(crate) fn make_dir_all(&mut self, path: &Path) -> Result<Option<(OwnedFd, PathBuf)>, LayerError> {
        self.walk(path, true)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_empty(&mut self, path: &Path) -> Result<(), LayerError> {
        // The remembered parent may be this very directory.
        self.parent_path = PathBuf::new();
        let (_, name) = self.parent_of(path)?;
        rustix::fs::unlinkat(&self.parent, &*name, AtFlags::REMOVEDIR).map_err(at("remove", path))
    }

    /// What is at `name` in the parent; a whiteout counts as nothing.
    pub(crate) fn kind(&self, name: &OsStr) -> Result<Option<FileKind>, LayerError> {
        let found = stat(&self.parent, name).map_err(at("examine", &self.parent_path.join(name)))?;
        Ok(found.filter(|found| !found.whiteout).map(|found| found.kind))
    }

    pub(crate) fn is_whiteout(&self, name: &OsStr) -> Result<bool, LayerError> {
        let found = stat(&self.parent, name).map_err(at("examine", &self.parent_path.join(name)))?;
        Ok(found.is_some_and(|found| found.whiteout))
    }

    /// A directory got its own entry.
    pub(crate) fn declare(&mut self, path: &Path) {
        self.implied.remove(path);
    }

    pub(crate) fn implied(&self) -> impl Iterator<Item = &PathBuf> {
        self.implied.iter()
    }

    pub(crate) fn into_implied(self) -> BTreeSet<PathBuf> {
        self.implied
    }

    pub(crate) fn make_opaque(&mut self, path: &Path) -> Result<(), LayerError> {
        match self.walk(path, true)? {
            Some((dir, _)) => set_opaque(&dir, self.opaque).map_err(at("mark", path)),
            None => Err(LayerError::BadEntry {
                path: path.to_path_buf(),
                reason: "it is opaque, but no directory",
            }),
        }
    }

    /// Removes what is at `path`, whose parent was given last; false when nothing was there.
    pub(crate) fn clear(&mut self, path: &Path) -> Result<bool, LayerError> {
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::unlinkat(&self.parent, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(Errno::ISDIR | Errno::PERM) => {
                remove_dir(self.parent.as_fd(), name, 0).map_err(at("remove", path))?;
                self.implied.retain(|dir| !dir.starts_with(path));
                Ok(true)
            }
            Err(errno) => Err(at("remove", path)(errno)),
        }
    }

    pub(crate) fn set_directory(
        &mut self,
        path: &Path,
        node: &Node,
        xattrs: &Xattrs,
        ownership: &dyn Ownership,
    ) -> Result<(), LayerError> {
        let Some((dir, _)) = self.walk(path, false)? else {
            return Ok(());
        };
        let here = OsStr::new(".");
        ownership
            .chown(dir.as_fd(), here, node.owner())
            .map_err(chown_at(node.owner(), path))?;
        ownership
            .chmod(dir.as_fd(), here, node.mode)
            .map_err(at("chmod", path))?;
        set_xattrs(&dir, xattrs);
        rustix::fs::futimens(&dir, &times(node)).map_err(at("set the time of", path))
    }

    /// Bytes of regular files, and number of files and directories.
    pub(crate) fn count(&self) -> Result<(u64, u64), LayerError> {
        let (mut total, mut seen) = ((0, 0), HashSet::new());
        count(self.root.as_fd(), &mut total, &mut seen, 0).map_err(at("read", Path::new("/")))?;
        Ok(total)
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    let normal = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(normal).collect()
}

fn make_dir(dir: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(dir, name, Mode::RWXU)?;
    open_dir(dir, name)
}

fn set_opaque(dir: &OwnedFd, opaque: OpaqueXattr) -> Result<(), Errno> {
    let name = match opaque {
        OpaqueXattr::Trusted => "trusted.overlay.opaque",
        OpaqueXattr::User => "user.overlay.opaque",
    };
    rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty())
}

struct Found {
    kind: FileKind,
    whiteout: bool,
}

fn stat(dir: impl AsFd, name: &OsStr) -> Result<Option<Found>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => {
            let kind = FileKind::from_mode(stat.st_mode);
            Ok(Some(Found {
                kind,
                whiteout: kind == FileKind::CharDevice && stat.st_rdev == 0,
            }))
        }
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn names(dir: BorrowedFd<'_>) -> Result<Vec<(OsString, FileType)>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Names in a directory.
pub(crate) fn child_names(dir: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    Ok(names(dir)?.into_iter().map(|(name, _)| name).collect())
}

fn remove_dir(parent: BorrowedFd<'_>, name: &OsStr, depth: usize) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    let dir = open_dir(parent, name)?;
    for (child, _) in names(dir.as_fd())? {
        match rustix::fs::unlinkat(&dir, &*child, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => remove_dir(dir.as_fd(), &child, depth + 1)?,
            other => other?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn count(
    dir: BorrowedFd<'_>,
    total: &mut (u64, u64),
    seen: &mut HashSet<(u64, u64)>,
    depth: usize,
) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    for (name, _) in names(dir)? {
        let stat = rustix::fs::statat(dir, &*name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileKind::from_mode(stat.st_mode);
        let whiteout = kind == FileKind::CharDevice && stat.st_rdev == 0;
        let first = stat.st_nlink == 1 || kind.is_dir() || seen.insert((stat.st_dev, stat.st_ino));
        if first && !whiteout {
            total.1 += 1;
            if kind.is_file() {
                total.0 += u64::try_from(stat.st_size).unwrap_or(0);
            }
        }
        if kind.is_dir() {
            count(open_dir(dir, &name)?.as_fd(), total, seen, depth + 1)?;
        }
    }
    Ok(())
}
