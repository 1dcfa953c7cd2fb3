//! The few raw operations that everything else is built of, all relative to a directory
//! descriptor and without following the last component.

use std::ffi::{CStr, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::node::{FileKind, Node, Timestamp, Xattrs};

/// Flags of a directory descriptor that can be read and searched.
pub(crate) const DIR_FLAGS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens the directory `path` of the host (links followed: the caller chose it).
pub(crate) fn open_host_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a directory below `dir`.
pub(crate) fn open_dir_at(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, DIR_FLAGS, Mode::empty())
}

/// Opens a file below `dir` for reading. Never blocks on a pipe and never opens a device's
/// driver twice: the caller checks the type before or after.
pub(crate) fn open_file_at(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // O_NOATIME is for the owner only.
        Err(Errno::PERM) => rustix::fs::openat(&dir, name, flags, Mode::empty()),
        other => other,
    }
}

/// `lstat` of a name, `None` when it does not exist.
pub(crate) fn stat_at(dir: impl AsFd, name: &OsStr) -> Result<Option<Node>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(node_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

/// `fstat`.
pub(crate) fn stat_fd(fd: impl AsFd) -> Result<Node, Errno> {
    Ok(node_of(&rustix::fs::fstat(fd)?))
}

// The width of several `stat` fields differs between architectures.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn node_of(stat: &Stat) -> Node {
    let kind = FileKind::from_mode(stat.st_mode);
    let device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    Node {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime: Timestamp {
            secs: stat.st_mtime as i64,
            nanos: stat.st_mtime_nsec as u32,
        },
        rdev: if device { stat.st_rdev as u64 } else { 0 },
        nlink: stat.st_nlink as u64,
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
    }
}

/// The names in a directory, unsorted. The descriptor's own offset is left alone, so that one
/// handle may be read by several threads.
pub(crate) fn names(dir: impl AsFd) -> Result<Vec<(OsString, rustix::fs::FileType)>, Errno> {
    let fd = rustix::fs::openat(dir, c".", DIR_FLAGS, Mode::empty())?;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut raw = RawDir::new(&fd, &mut buffer);
    let mut out = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    Ok(out)
}

/// Target of a symbolic link.
pub(crate) fn read_link_at(dir: impl AsFd, name: &OsStr) -> Result<OsString, Errno> {
    let target = rustix::fs::readlinkat(dir, name, Vec::with_capacity(256))?;
    Ok(OsString::from_vec(target.into_bytes()))
}

/// A path by which the `l*xattr` calls reach a name below a descriptor.
pub(crate) fn proc_path(dir: BorrowedFd<'_>, name: &OsStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    path
}

/// Whether an attribute belongs to overlayfs and so to no file.
fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// Extended attributes of a name below `dir`.
pub(crate) fn xattrs_at(dir: impl AsFd, name: &OsStr) -> Result<Xattrs, Errno> {
    let path = proc_path(dir.as_fd(), name);
    collect_xattrs(
        |list| rustix::fs::llistxattr(path.as_slice(), list),
        |attr, value| rustix::fs::lgetxattr(path.as_slice(), attr, value),
    )
}

/// Extended attributes of an open file or directory, sorted by name; empty where the file system has none.
pub fn xattrs_fd(fd: impl AsFd) -> Result<Xattrs, Errno> {
    let fd = fd.as_fd();
    collect_xattrs(
        |list| rustix::fs::flistxattr(fd, list),
        |attr, value| rustix::fs::fgetxattr(fd, attr, value),
    )
}

fn collect_xattrs(
    mut list: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
    mut get: impl FnMut(&CStr, &mut [u8]) -> Result<usize, Errno>,
) -> Result<Xattrs, Errno> {
    let mut small = [0u8; 512];
    let mut large = Vec::new();
    let names: &[u8] = match list(&mut small) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Xattrs::new()),
        Ok(len) => &small[..len.min(small.len())],
        Err(Errno::RANGE) => {
            large.resize(64 * 1024, 0);
            let len = list(&mut large)?;
            &large[..len.min(large.len())]
        }
        Err(err) => return Err(err),
    };
    let mut out = Xattrs::new();
    let mut value = vec![0u8; 64 * 1024];
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(attr) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if is_overlay_xattr(attr.to_bytes()) {
            continue;
        }
        // An attribute that may be listed but not read is not there for us (as in BuildKit).
        if let Ok(len) = get(attr, &mut value) {
            let name = OsStr::from_bytes(attr.to_bytes()).to_owned();
            out.push((name, value[..len.min(value.len())].to_vec()));
        }
    }
    out.sort();
    Ok(out)
}

/// Whether overlayfs treats this directory as opaque.
pub(crate) fn is_opaque(dir: impl AsFd) -> bool {
    let dir = dir.as_fd();
    [c"trusted.overlay.opaque", c"user.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0u8; 4];
            matches!(rustix::fs::fgetxattr(dir, *name, &mut value[..]), Ok(1)) && value[0] == b'y'
        })
}
