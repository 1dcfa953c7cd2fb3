//! Read-only file trees.

mod dir_tree;
mod empty;
mod filtered;
mod follow;
mod layers;
mod listed;
mod merged;
mod resolve;
mod scan;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::node::{Node, Xattrs};

pub use dir_tree::DirTree;
pub use empty::EmptyTree;
pub use filtered::{Filter, FilteredTree};
pub use layers::{LayerFinder, LayerPath};
pub use listed::ListedTree;
pub(crate) use merged::MergedDir;
pub use merged::MergedTree;
pub(crate) use resolve::{clean_absolute, resolve as resolve_below};
pub use scan::{ScannedDir, ScannedEntry, scan_layers, scan_listed_layers};

/// Why a tree could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// Nothing has this path.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// Path inside the root.
        path: PathBuf,
    },
    /// A component that must be a directory is something else.
    #[error("`{}` is not a directory", path.display())]
    NotADirectory {
        /// Path inside the root.
        path: PathBuf,
    },
    /// The file is not of the kind that was asked for.
    #[error("`{}` is not a {expected}", path.display())]
    WrongKind {
        /// Path inside the root.
        path: PathBuf,
        /// What was asked for.
        expected: &'static str,
    },
    /// More symbolic links on the way than Linux follows (a loop).
    #[error("`{}` passes through too many symbolic links", path.display())]
    TooManyLinks {
        /// Path inside the root.
        path: PathBuf,
    },
    /// A pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] crate::ignore::PatternError),
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, e.g. `open`.
        action: &'static str,
        /// Path inside the root (of the layer directory itself when opening a tree).
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl TreeError {
    /// Whether the path (or a directory on its way) is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, TreeError::NotFound { .. } | TreeError::NotADirectory { .. })
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> TreeError {
        let source = source.into();
        let path = path.to_owned();
        match source.raw_os_error() {
            Some(libc::ENOENT) => TreeError::NotFound { path },
            Some(libc::ENOTDIR) => TreeError::NotADirectory { path },
            _ => TreeError::Io { action, path, source },
        }
    }
}

/// One name in a directory.
#[derive(Clone, Debug)]
pub struct Entry {
    /// File name, any bytes but `/` and NUL.
    pub name: OsString,
    /// Its metadata.
    pub node: Node,
}

/// One open directory of a [`Tree`]. Names are single components and are never followed.
pub trait Dir: Send + Sync {
    /// Path inside the root, for messages.
    fn path(&self) -> &Path;
    /// Metadata of the directory itself.
    fn node(&self) -> Node;
    /// All names but `.` and `..`, sorted by bytes.
    fn entries(&self) -> Result<Vec<Entry>, TreeError>;
    /// Metadata of one name.
    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError>;
    /// Opens a directory below this one.
    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError>;
    /// Opens for reading what [`Dir::lookup`] or [`Dir::entries`] said to be a regular file.
    fn open_file(&self, name: &OsStr) -> Result<File, TreeError>;
    /// Target of a symbolic link.
    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError>;
    /// Extended attributes of a name; empty where the file system has none.
    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError>;
    /// Extended attributes of the directory itself.
    fn own_xattrs(&self) -> Result<Xattrs, TreeError>;
}

/// A read-only file tree. Paths are absolute inside the root; `..` and symbolic links never
/// lead out of it. Only [`Tree::root`] has to be implemented.
pub trait Tree: Send + Sync {
    /// Opens the root directory.
    fn root(&self) -> Result<Box<dyn Dir>, TreeError>;

    /// Whether this stands for a tree that BuildKit receives from a client (a build context).
    /// Content digests differ there: the root itself has no metadata, device numbers count.
    fn is_transferred(&self) -> bool {
        false
    }

    /// Metadata of `path`: links on the way are followed, the last component is not.
    fn lookup(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        resolve::lookup(self.root()?, path)
    }

    /// The path behind all symbolic links, the last one included. Components that do not
    /// exist are kept as they are, so the result may name nothing.
    fn resolve(&self, path: &Path) -> Result<PathBuf, TreeError> {
        resolve::resolve(self.root()?, path, true)
    }

    /// Like [`Tree::resolve`], but the last component is not followed.
    fn resolve_parent(&self, path: &Path) -> Result<PathBuf, TreeError> {
        resolve::resolve(self.root()?, path, false)
    }

    /// Opens the directory at `path`, all links followed.
    fn open_dir(&self, path: &Path) -> Result<Box<dyn Dir>, TreeError> {
        resolve::open_dir(self.root()?, path)
    }

    /// The entries of the directory at `path`, sorted by bytes.
    fn read_dir(&self, path: &Path) -> Result<Vec<Entry>, TreeError> {
        self.open_dir(path)?.entries()
    }

    /// Opens the regular file at `path`, all links followed.
    fn open(&self, path: &Path) -> Result<File, TreeError> {
        resolve::open_file(self.root()?, path)
    }

    /// Target of the link at `path`.
    fn read_link(&self, path: &Path) -> Result<OsString, TreeError> {
        let (dir, name) = resolve::open_parent(self.root()?, path)?;
        dir.read_link(&name)
    }

    /// Extended attributes of `path` (last component not followed), sorted by name.
    fn xattrs(&self, path: &Path) -> Result<Xattrs, TreeError> {
        resolve::xattrs(self.root()?, path)
    }
}
