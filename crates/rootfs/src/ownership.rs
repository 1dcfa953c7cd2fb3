//! How owners, modes and devices are written, behind one trait.

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::node::{FileKind, Node, Owner};

/// One line of a user namespace's id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id inside the namespace.
    pub inside: u32,
    /// First id outside.
    pub outside: u32,
    /// Number of ids.
    pub count: u32,
}

/// The ids of a user namespace: what is written on disk (`outside`) for an id of an image
/// (`inside`). A process that lives in the namespace sees `inside` ids from the kernel and
/// needs no conversion; this is for reading a store from outside and for recording which map
/// a layer directory was written under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    ranges: Vec<IdRange>,
}

impl IdMap {
    /// From the lines of `/proc/PID/uid_map`; no lines is the identity.
    pub fn new(ranges: Vec<IdRange>) -> IdMap {
        IdMap { ranges }
    }

    /// The map lines.
    pub fn ranges(&self) -> &[IdRange] {
        &self.ranges
    }

    /// Whether every id maps to itself.
    pub fn is_identity(&self) -> bool {
        self.ranges.iter().all(|range| range.inside == range.outside)
    }

    /// The id on disk of an id of the image, `None` when it is not mapped.
    pub fn to_outside(&self, id: u32) -> Option<u32> {
        if self.ranges.is_empty() {
            return Some(id);
        }
        self.ranges
            .iter()
            .find(|range| id >= range.inside && id - range.inside < range.count)
            .and_then(|range| range.outside.checked_add(id - range.inside))
    }

    /// The id inside the image of an id on disk, `None` when it is not mapped.
    pub fn to_inside(&self, id: u32) -> Option<u32> {
        if self.ranges.is_empty() {
            return Some(id);
        }
        self.ranges
            .iter()
            .find(|range| id >= range.outside && id - range.outside < range.count)
            .and_then(|range| range.inside.checked_add(id - range.outside))
    }
}

/// Reads and writes what an unprivileged process may not: owners, special modes, devices.
///
/// `dir` is an open directory and `name` one component in it, never followed.
pub trait Ownership: Send + Sync {
    /// The owner as the image has it, of a file whose `lstat` is `node`.
    fn owner(&self, dir: BorrowedFd<'_>, name: &OsStr, node: &Node) -> Result<Owner, Errno> {
        let _ = (dir, name);
        Ok(node.owner())
    }

    /// Gives a file to `owner`. The kernel drops set-id bits and capabilities then, so this
    /// comes before [`Ownership::chmod`] and before attributes.
    fn chown(&self, dir: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> Result<(), Errno>;

    /// Sets the mode bits (07777) of a file that is no symbolic link.
    fn chmod(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<(), Errno>;

    /// Makes a device, pipe or socket.
    fn mknod(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        kind: FileKind,
        mode: u32,
        rdev: u64,
    ) -> Result<(), Errno>;
}

/// The plain system calls: for root, and inside a user namespace whose ids are the image's.
#[derive(Clone, Copy, Debug, Default)]
pub struct NativeOwnership;

impl Ownership for NativeOwnership {
    fn chown(&self, dir: BorrowedFd<'_>, name: &OsStr, owner: Owner) -> Result<(), Errno> {
        rustix::fs::chownat(
            dir,
            name,
            Some(Uid::from_raw(owner.uid)),
            Some(Gid::from_raw(owner.gid)),
            AtFlags::SYMLINK_NOFOLLOW,
        )
    }

    fn chmod(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> Result<(), Errno> {
        // fchmodat follows links; the caller made this name itself and knows it is none.
        rustix::fs::chmodat(dir, name, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())
    }

    fn mknod(
        &self,
        dir: BorrowedFd<'_>,
        name: &OsStr,
        kind: FileKind,
        mode: u32,
        rdev: u64,
    ) -> Result<(), Errno> {
        let file_type = FileType::from_raw_mode(kind.mode_bits());
        let mode = Mode::from_raw_mode(mode & 0o7777);
        rustix::fs::mknodat(dir, name, file_type, mode, rdev)
    }
}
