//! One plain directory of the host as a tree.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Dir, Entry, Tree, TreeError};
use crate::copy::LayerManifest;
use crate::node::{Node, Owner, Xattrs};
use crate::sys;

/// A plain directory, for instance a build context. Whiteouts mean nothing here.
#[derive(Clone, Debug)]
pub struct DirTree {
    root: Arc<OwnedFd>,
    owner: Option<Owner>,
    transferred: bool,
    files: Option<Arc<LayerManifest>>,
}

impl DirTree {
    /// Opens `path` (links in it are followed: the caller chose it).
    pub fn open(path: &Path) -> Result<DirTree, TreeError> {
        let root = sys::open_host_dir(path).map_err(|err| TreeError::io("open", path, err))?;
        Ok(DirTree {
            root: Arc::new(root),
            owner: None,
            transferred: false,
            files: None,
        })
    }

    /// Takes the metadata of the regular files that `files` lists from there instead of asking the
    /// disk for each: for a layer's directory, which nothing but the copies that `files` is of wrote
    /// such files to. Inodes and numbers of names are not known of these; they have one name in the
    /// layer.
    pub fn with_files(mut self, files: Option<Arc<LayerManifest>>) -> DirTree {
        self.files = files;
        self
    }

    /// Makes this a build context, as BuildKit's client sends one: every file belongs to 0:0
    /// and [`Tree::is_transferred`] holds.
    pub fn into_context(mut self) -> DirTree {
        self.transferred = true;
        self.with_owner(Owner::default())
    }

    /// Reports `owner` for every file.
    pub fn with_owner(mut self, owner: Owner) -> DirTree {
        self.owner = Some(owner);
        self
    }
}

impl Tree for DirTree {
    fn is_transferred(&self) -> bool {
        self.transferred
    }

    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(PlainDir {
            fd: Arc::clone(&self.root),
            path: PathBuf::from("/"),
            owner: self.owner,
            files: self.files.clone(),
            node: owned(
                sys::stat_fd(&*self.root).map_err(|err| TreeError::io("stat", Path::new("/"), err))?,
                self.owner,
            ),
        }))
    }
}

fn owned(mut node: Node, owner: Option<Owner>) -> Node {
    if let Some(owner) = owner {
        node.uid = owner.uid;
        node.gid = owner.gid;
    }
    node
}

struct PlainDir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    owner: Option<Owner>,
    files: Option<Arc<LayerManifest>>,
    node: Node,
}

impl PlainDir {
    fn error(&self, action: &'static str, name: &OsStr, err: Errno) -> TreeError {
        TreeError::io(action, &self.path.join(name), err)
    }
}

impl Dir for PlainDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self) -> Node {
        self.node
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let names = sys::names(&*self.fd).map_err(|err| TreeError::io("list", &self.path, err))?;
        let files = self.files.as_deref();
        let below_root = self.path.strip_prefix("/").unwrap_or(&self.path);
        let files = files.and_then(|files| files.dir(below_root));
        let mut entries = Vec::with_capacity(names.len());
        for (name, kind) in names {
            let listed = files.filter(|_| kind == FileType::RegularFile);
            let node = match listed.and_then(|files| files.get(&name)) {
                Some(file) => Some(owned(file.node(), self.owner)),
                None => self.lookup(&name)?,
            };
            // A name that vanished since is simply not listed.
            if let Some(node) = node {
                entries.push(Entry { name, node });
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        let node = sys::stat_at(&*self.fd, name).map_err(|err| self.error("stat", name, err))?;
        Ok(node.map(|node| owned(node, self.owner)))
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        let fd = sys::open_dir_at(&*self.fd, name).map_err(|err| self.error("open", name, err))?;
        let node = sys::stat_fd(&fd).map_err(|err| self.error("stat", name, err))?;
        Ok(Box::new(PlainDir {
            fd: Arc::new(fd),
            path: self.path.join(name),
            owner: self.owner,
            files: self.files.clone(),
            node: owned(node, self.owner),
        }))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        open_regular(&self.fd, &self.path, name)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        sys::read_link_at(&*self.fd, name).map_err(|err| self.error("read link", name, err))
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        sys::xattrs_at(&*self.fd, name).map_err(|err| self.error("list attributes of", name, err))
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        sys::xattrs_fd(&*self.fd).map_err(|err| TreeError::io("list attributes of", &self.path, err))
    }
}

/// Opens `name`, which a look-up said to be a regular file. One that was exchanged for a
/// pipe or device since does not block; the reader sees a wrong size.
pub(super) fn open_regular(dir: &OwnedFd, dir_path: &Path, name: &OsStr) -> Result<File, TreeError> {
    match sys::open_file_at(dir, name) {
        Ok(fd) => Ok(File::from(fd)),
        // A link, a socket or a device without a driver.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => Err(TreeError::WrongKind {
            path: dir_path.join(name),
            expected: "regular file",
        }),
        Err(err) => Err(TreeError::io("open", &dir_path.join(name), err)),
    }
}
