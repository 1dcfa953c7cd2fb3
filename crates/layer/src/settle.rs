//! Making a layer directory canonical.
//!
//! An overlay's upper directory holds more than changes: files that were only copied up,
//! directories on the way, deletions of what was never below, opaque directories. After
//! [`settle`] it holds the changes alone and every deletion is a single whiteout, so that the
//! layer's tar follows from the directory without the layers below.
//!
//! What counts as unchanged follows BuildKit's overlay differ (owner, mode, device,
//! attributes; for files size and mtime), except that contents are always compared.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_rootfs::{Dir, DirTree, Entry, FileKind, LayerManifest, MergedTree, Node, Tree};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::error::{at, io_at};
use crate::{LayerError, LinkGroups};

/// Directories in directories that a layer may have.
pub(crate) const MAX_DEPTH: usize = 1000;

const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
const FOREIGN: [&str; 4] = [
    "trusted.overlay.redirect",
    "user.overlay.redirect",
    "trusted.overlay.metacopy",
    "user.overlay.metacopy",
];

/// What a layer directory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Bytes of the contents of regular files; hard links count once.
    pub size: u64,
    /// Number of files and directories, deletions and the root not counted.
    pub inodes: u64,
    /// Hard links within the layer.
    pub links: LinkGroups,
}

/// Makes the layer directory `dir`, written on top of `lower`, canonical, and counts it.
///
/// Nothing may be mounted on it or write to it. `links` are its hard links where they are known;
/// else they are found by inode, which is right only for a directory that one process or mount
/// wrote from scratch. `files` is what copies recorded that alone wrote files to it: these files are
/// not looked at again. Done twice, the second time changes nothing.
pub fn settle(
    dir: &Path,
    lower: &MergedTree,
    links: Option<&LinkGroups>,
    files: Option<Arc<LayerManifest>>,
) -> Result<Settled, LayerError> {
    run(&DirTree::open(dir)?.with_files(files), dir, lower, links, false)
}

/// Turns `dir`, a changed copy of all of `lower`, into a layer on top of it.
pub fn settle_copy(dir: &Path, lower: &MergedTree) -> Result<Settled, LayerError> {
    run(&DirTree::open(dir)?, dir, lower, None, true)
}

fn run(
    tree: &DirTree,
    dir: &Path,
    lower: &MergedTree,
    links: Option<&LinkGroups>,
    copy: bool,
) -> Result<Settled, LayerError> {
    let top = tree.root()?;
    let fd = rustix::fs::open(dir, dir_flags(), Mode::empty()).map_err(at("open", Path::new("/")))?;
    let mut walk = Walk {
        path: PathBuf::new(),
        total: Settled::default(),
        seen: HashSet::new(),
        found: links.is_none().then(BTreeMap::new),
    };
    let below = (!lower.layers().is_empty()).then(|| lower.root()).transpose()?;
    walk.directory(
        &Level {
            top: &*top,
            fd: &fd,
            below: below.as_deref(),
            hides: copy,
        },
        0,
    )?;
    walk.total.links = match (links, walk.found) {
        (Some(links), _) => links.clone(),
        (None, found) => LinkGroups::new(found.unwrap_or_default().into_values()),
    };
    Ok(walk.total)
}

fn dir_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// One directory of the layer, with the directory below it where both exist.
struct Level<'d> {
    top: &'d dyn Dir,
    fd: &'d OwnedFd,
    below: Option<&'d dyn Dir>,
    /// Whether what is below is hidden, here and further down.
    hides: bool,
}

struct Walk {
    path: PathBuf,
    total: Settled,
    seen: HashSet<(u64, u64)>,
    /// Names by inode, where links are to be found.
    found: Option<BTreeMap<(u64, u64), Vec<PathBuf>>>,
}

impl Walk {
    /// Settles one directory; says whether anything is left in it.
    fn directory(&mut self, level: &Level<'_>, depth: usize) -> Result<bool, LayerError> {
        if depth > MAX_DEPTH {
            return Err(LayerError::TooDeep {
                path: self.path.clone(),
                limit: MAX_DEPTH,
            });
        }
        let entries = level.top.entries()?;
        let (mut left, mut changed) = (false, false);
        for entry in &entries {
            self.path.push(&entry.name);
            let kept = self.entry(level, entry, depth)?;
            self.path.pop();
            left |= kept;
            changed |= !kept;
        }
        if level.hides {
            let added = self.expand(level, &entries)?;
            left |= added;
            changed |= added;
        }
        if changed {
            self.restore_times(level)?;
        }
        Ok(left)
    }

    /// Whether the entry stays.
    fn entry(&mut self, level: &Level<'_>, entry: &Entry, depth: usize) -> Result<bool, LayerError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        let below = match level.below {
            Some(below) => below.lookup(name)?,
            None => None,
        };
        if node.is_whiteout() {
            return match below {
                Some(_) => Ok(true),
                None => self.remove(level, name, AtFlags::empty()),
            };
        }
        if node.kind == FileKind::Dir {
            return self.subdirectory(level, entry, below, depth);
        }
        if let (Some(below_dir), Some(below)) = (level.below, below)
            && same(level.top, below_dir, name, node, &below)?
        {
            return self.remove(level, name, AtFlags::empty());
        }
        self.count(node);
        Ok(true)
    }

    fn subdirectory(
        &mut self,
        level: &Level<'_>,
        entry: &Entry,
        below: Option<Node>,
        depth: usize,
    ) -> Result<bool, LayerError> {
        let name = entry.name.as_os_str();
        let top = level.top.open_dir(name)?;
        let fd =
            rustix::fs::openat(level.fd, name, dir_flags(), Mode::empty()).map_err(at("open", &self.path))?;
        refuse_foreign(&fd, &self.path)?;
        let opaque = is_opaque(&fd);
        let below_dir = match (level.below, below.filter(|node| node.kind == FileKind::Dir)) {
            (Some(dir), Some(_)) => Some(dir.open_dir(name)?),
            _ => None,
        };
        let inner = Level {
            top: &*top,
            fd: &fd,
            below: below_dir.as_deref(),
            hides: level.hides || opaque,
        };
        let left = self.directory(&inner, depth + 1)?;
        if opaque {
            clear_opaque(&fd, &self.path)?;
        }
        if let (false, Some(below_dir), Some(below)) = (left, &below_dir, below)
            && same_metadata(&entry.node, &below)
            && top.own_xattrs()? == below_dir.own_xattrs()?
        {
            return self.remove(level, name, AtFlags::REMOVEDIR);
        }
        self.total.inodes += 1;
        Ok(true)
    }

    /// Writes a whiteout for everything below that a hiding directory does not have itself.
    fn expand(&self, level: &Level<'_>, entries: &[Entry]) -> Result<bool, LayerError> {
        let Some(below) = level.below else {
            return Ok(false);
        };
        let own: HashSet<&OsString> = entries.iter().map(|entry| &entry.name).collect();
        let mut added = false;
        for entry in below.entries()? {
            if !own.contains(&entry.name) {
                whiteout(level.fd, &entry.name).map_err(at("delete", &self.path.join(&entry.name)))?;
                added = true;
            }
        }
        Ok(added)
    }

    fn remove(&self, level: &Level<'_>, name: &OsStr, flags: AtFlags) -> Result<bool, LayerError> {
        rustix::fs::unlinkat(level.fd, name, flags).map_err(at("remove", &self.path))?;
        Ok(false)
    }

    /// Gives a directory the time back that it had before entries were taken out of it.
    fn restore_times(&self, level: &Level<'_>) -> Result<(), LayerError> {
        let mtime = level.top.node().mtime;
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: mtime.secs,
                tv_nsec: mtime.nanos.into(),
            },
        };
        rustix::fs::futimens(level.fd, &times).map_err(at("set the time of", &self.path))
    }

    fn count(&mut self, node: &Node) {
        let inode = (node.dev, node.ino);
        let linked = node.nlink > 1;
        if linked
            && node.kind == FileKind::File
            && let Some(found) = &mut self.found
        {
            found.entry(inode).or_default().push(self.path.clone());
        }
        if linked && !self.seen.insert(inode) {
            return;
        }
        self.total.inodes += 1;
        if node.kind == FileKind::File {
            self.total.size += node.size;
        }
    }
}

/// Owner, mode and device. Times of directories do not count.
fn same_metadata(top: &Node, below: &Node) -> bool {
    let key = |node: &Node| (node.kind, node.mode, node.uid, node.gid, node.rdev);
    key(top) == key(below)
}

/// Whether a file that is no directory is what is below.
fn same(
    top: &dyn Dir,
    below_dir: &dyn Dir,
    name: &OsStr,
    node: &Node,
    below: &Node,
) -> Result<bool, LayerError> {
    if !same_metadata(node, below) || node.size != below.size || node.mtime != below.mtime {
        return Ok(false);
    }
    if top.xattrs(name)? != below_dir.xattrs(name)? {
        return Ok(false);
    }
    match node.kind {
        FileKind::Symlink => Ok(top.read_link(name)? == below_dir.read_link(name)?),
        FileKind::File => {
            let path = below_dir.path().join(name);
            same_contents(top.open_file(name)?, below_dir.open_file(name)?).map_err(io_at("read", &path))
        }
        _ => Ok(true),
    }
}

fn same_contents(mut first: File, mut second: File) -> io::Result<bool> {
    let (mut one, mut other) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let count = first.read(&mut one)?;
        if count == 0 {
            return Ok(second.read(&mut other)? == 0);
        }
        match second.read_exact(&mut other[..count]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
            Ok(()) if one[..count] != other[..count] => return Ok(false),
            Ok(()) => {}
        }
    }
}

/// Makes overlay's mark for a deleted name, a character device 0:0. No privilege is needed.
pub(crate) fn whiteout(dir: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0)
}

fn is_opaque(fd: &OwnedFd) -> bool {
    let mut value = [0u8; 4];
    OPAQUE.iter().any(|name| {
        rustix::fs::fgetxattr(fd, *name, &mut value[..]).is_ok_and(|length| value[..length.min(4)] == *b"y")
    })
}

fn clear_opaque(fd: &OwnedFd, path: &Path) -> Result<(), LayerError> {
    for name in OPAQUE {
        match rustix::fs::fremovexattr(fd, name) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            // Of the two, one is there, and it could be written.
            Err(Errno::PERM) if name == OPAQUE[0] => {}
            Err(errno) => return Err(at("change attributes of", path)(errno)),
        }
    }
    Ok(())
}

fn refuse_foreign(fd: &OwnedFd, path: &Path) -> Result<(), LayerError> {
    let mut value = [0u8; 0];
    for attribute in FOREIGN {
        if rustix::fs::fgetxattr(fd, attribute, &mut value[..]).is_ok() {
            return Err(LayerError::ForeignOverlay {
                path: path.to_path_buf(),
                attribute,
            });
        }
    }
    Ok(())
}
