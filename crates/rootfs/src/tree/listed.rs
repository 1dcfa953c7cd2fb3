//! A tree whose directories are listed once.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Dir, Entry, Tree, TreeError};
use crate::node::{Node, Xattrs};

/// A tree that keeps what it listed: names, metadata, and attributes of directories. So several
/// operations on it see the same files, and only the first one asks the disk for them.
///
/// Bytes of files, link targets and attributes of files are read each time. Cloning it shares what
/// it knows.
#[derive(Clone)]
pub struct ListedTree {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Arc<dyn Tree>,
    dirs: Mutex<HashMap<PathBuf, Arc<Listing>>>,
}

/// One directory as it was found.
struct Listing {
    node: Node,
    xattrs: Xattrs,
    /// Sorted by name.
    entries: Vec<Entry>,
}

impl ListedTree {
    /// `inner`, of which nothing is known yet.
    pub fn new(inner: Arc<dyn Tree>) -> ListedTree {
        ListedTree {
            shared: Arc::new(Shared {
                inner,
                dirs: Mutex::default(),
            }),
        }
    }
}

impl std::fmt::Debug for ListedTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListedTree").finish_non_exhaustive()
    }
}

impl Shared {
    fn known(&self, path: &Path) -> Option<Arc<Listing>> {
        let dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        dirs.get(path).cloned()
    }
}

impl Tree for ListedTree {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        ListedDir::open(&self.shared, PathBuf::from("/"), || self.shared.inner.root())
    }

    fn is_transferred(&self) -> bool {
        self.shared.inner.is_transferred()
    }
}

/// A directory that is opened only when something has to be read in it.
struct ListedDir {
    shared: Arc<Shared>,
    path: PathBuf,
    node: Node,
    listing: OnceLock<Arc<Listing>>,
    inner: OnceLock<Box<dyn Dir>>,
}

impl ListedDir {
    /// The directory `path`; `open` is for one that was not listed before.
    fn open(
        shared: &Arc<Shared>,
        path: PathBuf,
        open: impl FnOnce() -> Result<Box<dyn Dir>, TreeError>,
    ) -> Result<Box<dyn Dir>, TreeError> {
        let (node, listing, inner) = match shared.known(&path) {
            Some(listing) => (listing.node, listing.into(), OnceLock::new()),
            None => {
                let inner = open()?;
                (inner.node(), OnceLock::new(), inner.into())
            }
        };
        Ok(Box::new(ListedDir {
            shared: Arc::clone(shared),
            path,
            node,
            listing,
            inner,
        }))
    }

    fn inner(&self) -> Result<&dyn Dir, TreeError> {
        if let Some(inner) = self.inner.get() {
            return Ok(inner.as_ref());
        }
        // No component was a link when the directory was listed.
        let opened = self.shared.inner.open_dir(&self.path)?;
        Ok(self.inner.get_or_init(|| opened).as_ref())
    }

    fn listing(&self) -> Result<&Arc<Listing>, TreeError> {
        if let Some(listing) = self.listing.get() {
            return Ok(listing);
        }
        let inner = self.inner()?;
        let found = Arc::new(Listing {
            node: self.node,
            xattrs: inner.own_xattrs()?,
            entries: inner.entries()?,
        });
        let mut dirs = self.shared.dirs.lock().unwrap_or_else(PoisonError::into_inner);
        // Who came first counts for everybody.
        let found = dirs.entry(self.path.clone()).or_insert(found);
        Ok(self.listing.get_or_init(|| Arc::clone(found)))
    }
}

impl Dir for ListedDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self) -> Node {
        self.node
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        Ok(self.listing()?.entries.clone())
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        let Some(listing) = self.listing.get() else {
            return self.inner()?.lookup(name);
        };
        let found = listing
            .entries
            .binary_search_by(|entry| entry.name.as_os_str().cmp(name));
        Ok(found.ok().map(|at| listing.entries[at].node))
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        ListedDir::open(&self.shared, self.path.join(name), || {
            self.inner()?.open_dir(name)
        })
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        self.inner()?.open_file(name)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        self.inner()?.read_link(name)
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        self.inner()?.xattrs(name)
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        match self.listing.get() {
            Some(listing) => Ok(listing.xattrs.clone()),
            None => self.inner()?.own_xattrs(),
        }
    }
}
