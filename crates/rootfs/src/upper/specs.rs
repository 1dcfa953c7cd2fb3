//! What the small file operations are told.

use std::path::PathBuf;

use crate::node::{Owner, Timestamp};

/// Makes a directory (LLB `FileActionMkDir`).
#[derive(Clone, Debug)]
pub struct MkdirSpec {
    /// Absolute path.
    pub path: PathBuf,
    /// Permission bits (0777).
    pub mode: u32,
    /// Create missing parents too, with the same mode and owner.
    pub make_parents: bool,
    /// Owner, else 0:0.
    pub owner: Option<Owner>,
    /// Modification time, else now.
    pub timestamp: Option<Timestamp>,
}

/// Writes a file (LLB `FileActionMkFile`).
#[derive(Clone, Debug)]
pub struct MkfileSpec {
    /// Absolute path; a link at its end is followed.
    pub path: PathBuf,
    /// Permission bits (0777) when it is new; an existing file keeps its mode, as in BuildKit.
    pub mode: u32,
    /// Contents.
    pub data: Vec<u8>,
    /// Owner, else 0:0 or the owner of the file that was there.
    pub owner: Option<Owner>,
    /// Modification time, else now.
    pub timestamp: Option<Timestamp>,
}

/// Removes a path (LLB `FileActionRm`).
#[derive(Clone, Debug)]
pub struct RmSpec {
    /// Absolute path or pattern; a link at its end is removed itself.
    pub path: String,
    /// A path that does not exist is no error.
    pub allow_not_found: bool,
    /// `path` is a Go `filepath.Match` pattern.
    pub allow_wildcard: bool,
}

/// Makes a symbolic link (LLB `FileActionSymlink`).
#[derive(Clone, Debug)]
pub struct SymlinkSpec {
    /// Target of the link, stored as it is.
    pub target: String,
    /// Absolute path of the link.
    pub path: PathBuf,
    /// Owner, else 0:0.
    pub owner: Option<Owner>,
    /// Modification time, else now.
    pub timestamp: Option<Timestamp>,
}
