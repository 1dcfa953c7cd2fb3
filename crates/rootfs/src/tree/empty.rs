//! The empty root (`scratch`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;

use super::{Dir, Entry, Tree, TreeError};
use crate::node::{FileKind, Node, Timestamp, Xattrs};

/// A root directory with nothing in it, 0755 0:0.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyTree;

impl Tree for EmptyTree {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(EmptyTree))
    }
}

fn not_found(name: &OsStr) -> TreeError {
    TreeError::NotFound {
        path: Path::new("/").join(name),
    }
}

impl Dir for EmptyTree {
    fn path(&self) -> &Path {
        Path::new("/")
    }

    fn node(&self) -> Node {
        Node {
            kind: FileKind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Timestamp::default(),
            rdev: 0,
            nlink: 2,
            dev: 0,
            ino: 0,
        }
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        Ok(Vec::new())
    }

    fn lookup(&self, _name: &OsStr) -> Result<Option<Node>, TreeError> {
        Ok(None)
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        Err(not_found(name))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        Err(not_found(name))
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        Err(not_found(name))
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        Err(not_found(name))
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        Ok(Xattrs::new())
    }
}
