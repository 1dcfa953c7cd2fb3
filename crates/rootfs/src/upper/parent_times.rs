//! Keeping the times of directories in which an operation only adds or removes names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Upper, UpperError, WriteDir};
use crate::node::Timestamp;
use crate::tree::{Tree, TreeError};

/// Modification times of the directories on a path, as they were before an operation.
///
/// Adding a file to `/etc` of a lower layer copies `/etc` up; it would be dated now. The time
/// of a directory says nothing about a layer's contents, and with it layers made from equal
/// inputs would differ, so it is given back.
#[derive(Debug, Default)]
pub(crate) struct ParentTimes {
    times: BTreeMap<PathBuf, Timestamp>,
}

impl ParentTimes {
    /// Remembers every existing directory on `path` (no links in it), `path` included,
    /// unless it is remembered already.
    pub(crate) fn record(&mut self, upper: &Upper, path: &Path) -> Result<(), UpperError> {
        let mut dir = upper.tree().root()?;
        self.add(Path::new("/"), dir.node().mtime);
        for name in path.iter().skip(1) {
            match dir.lookup(name)? {
                Some(node) if node.kind.is_dir() => dir = dir.open_dir(name)?,
                _ => break,
            }
            self.add(dir.path(), dir.node().mtime);
        }
        Ok(())
    }

    /// The time that a remembered directory gets back.
    pub(crate) fn get(&self, path: &Path) -> Option<Timestamp> {
        self.times.get(path).copied()
    }

    fn add(&mut self, path: &Path, mtime: Timestamp) {
        self.times.entry(path.to_owned()).or_insert(mtime);
    }

    /// Gives the times back, but for `except`, which the operation dated on purpose.
    pub(crate) fn restore(&self, upper: &Upper, except: &Path) -> Result<(), UpperError> {
        let mut dir: Arc<WriteDir> = Arc::new(upper.write_root()?);
        let mut below = self.times.keys().peekable();
        while let Some(path) = below.next() {
            if path.as_path() != except
                && let Some(mtime) = self.times.get(path)
            {
                dir.date_if_written(*mtime)?;
            }
            let Some(next) = below.peek() else { break };
            // The keys are one path's prefixes, or those of two that branch off.
            let parent = next.parent().unwrap_or(path);
            if parent != dir.path() {
                dir = upper.write_dir(parent)?;
            }
            let name = next.file_name().unwrap_or(OsStr::new("."));
            dir = match dir.child(name) {
                Ok(dir) => dir,
                // Replaced or removed by the operation.
                Err(UpperError::Tree(err)) if err.is_not_found() => break,
                Err(UpperError::Tree(TreeError::Io { .. })) => break,
                Err(err) => return Err(err),
            };
        }
        Ok(())
    }
}
