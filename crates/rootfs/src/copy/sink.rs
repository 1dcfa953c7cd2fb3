//! A consumer that sees a layer while it is being written.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::node::{Node, Xattrs};

/// Receives the changes of a layer in the order of a layer tar: parents before children,
/// names of one directory in byte order, a directory's subtree right after it.
///
/// It gets exactly what a walk of the finished layer directory would find, so that a digest
/// of the layer can be computed during the copy.
pub trait ChangeSink {
    /// One entry, `path` without a leading `/`. For a symbolic link `link` is its target; for
    /// a regular file that is another name of an earlier entry `link` is that entry's path,
    /// and no data follows. Every other regular file is followed by `node.size` bytes of
    /// [`ChangeSink::data`].
    fn entry(&mut self, path: &Path, node: &Node, link: Option<&OsStr>, xattrs: &Xattrs) -> io::Result<()>;

    /// The next bytes of the file that [`ChangeSink::entry`] announced last.
    fn data(&mut self, bytes: &[u8]) -> io::Result<()>;
}
