//! What is known of one file without reading it.

use std::ffi::OsString;

/// Extended attributes, sorted by name, without the ones overlayfs keeps for itself.
pub type Xattrs = Vec<(OsString, Vec<u8>)>;

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
}

impl FileKind {
    /// The kind in the `S_IFMT` bits of a `st_mode`; unknown bits count as a regular file.
    pub fn from_mode(mode: u32) -> FileKind {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => FileKind::Dir,
            libc::S_IFLNK => FileKind::Symlink,
            libc::S_IFCHR => FileKind::CharDevice,
            libc::S_IFBLK => FileKind::BlockDevice,
            libc::S_IFIFO => FileKind::Fifo,
            libc::S_IFSOCK => FileKind::Socket,
            _ => FileKind::File,
        }
    }

    /// The `S_IFMT` bits of this kind.
    pub fn mode_bits(self) -> u32 {
        match self {
            FileKind::File => libc::S_IFREG,
            FileKind::Dir => libc::S_IFDIR,
            FileKind::Symlink => libc::S_IFLNK,
            FileKind::CharDevice => libc::S_IFCHR,
            FileKind::BlockDevice => libc::S_IFBLK,
            FileKind::Fifo => libc::S_IFIFO,
            FileKind::Socket => libc::S_IFSOCK,
        }
    }

    /// Whether this is a directory.
    pub fn is_dir(self) -> bool {
        self == FileKind::Dir
    }

    /// Whether this is a regular file.
    pub fn is_file(self) -> bool {
        self == FileKind::File
    }

    /// Whether this is a symbolic link.
    pub fn is_symlink(self) -> bool {
        self == FileKind::Symlink
    }
}

/// A point in time as a file records it: seconds since 1970 and nanoseconds after them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before.
    pub secs: i64,
    /// Nanoseconds after `secs`, below 1e9.
    pub nanos: u32,
}

impl Timestamp {
    /// From nanoseconds since 1970, the form of LLB's `timestamp` fields.
    pub fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp {
            secs: nanos.div_euclid(1_000_000_000),
            // The remainder lies in 0..1e9.
            nanos: nanos.rem_euclid(1_000_000_000) as u32,
        }
    }
}

/// Numeric owner as seen inside the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The metadata of one file (an `lstat`), owner as seen inside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// File type.
    pub kind: FileKind,
    /// Permission, set-id and sticky bits (07777); no type bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Size in bytes; for a symlink the length of its target.
    pub size: u64,
    /// Time of last change of the contents.
    pub mtime: Timestamp,
    /// Device number of a device node in the kernel's `dev_t` encoding, else 0.
    pub rdev: u64,
    /// Number of names of the inode on disk. A layer directory may share inodes with other
    /// snapshots, so this alone never proves a hard link inside the tree.
    pub nlink: u64,
    /// Device the inode lives on.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

impl Node {
    /// `uid` and `gid` together.
    pub fn owner(&self) -> Owner {
        Owner {
            uid: self.uid,
            gid: self.gid,
        }
    }

    /// Whether this is overlayfs' whiteout, a character device 0:0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == FileKind::CharDevice && self.rdev == 0
    }
}
