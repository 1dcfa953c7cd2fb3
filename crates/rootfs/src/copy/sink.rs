//! Consumers that see a layer while it is being written.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

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

/// Receives the changes of a layer in parts that several threads fill at once; put together in
/// the order in which they were begun they are what a [`ChangeSink`] gets.
pub trait ChangeStream: Sync {
    /// Begins the part that follows all that were begun before. It may wait until earlier ones
    /// are ended, so whoever has one fills it without waiting for another to be begun.
    fn part(&self) -> Box<dyn ChangePart>;
}

/// One part. Dropping it without [`ChangePart::end`] gives up the whole stream.
pub trait ChangePart: ChangeSink + Send {
    /// [`ChangeSink::data`] of bytes that others read at the same time.
    fn shared_data(&mut self, bytes: Arc<Vec<u8>>) -> io::Result<()>;

    /// Says that all entries of the part were told.
    ///
    /// # Errors
    /// The last file did not get all its bytes.
    fn end(self: Box<Self>) -> io::Result<()>;
}
