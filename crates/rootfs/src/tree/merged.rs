//! Overlay layers merged in user space, without a mount.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::dir_tree::open_regular;
use super::{Dir, Entry, Tree, TreeError};
use crate::copy::LayerManifest;
use crate::node::{Node, Xattrs};
use crate::sys;

/// Layer directories of overlayfs' format seen as one tree, as an overlay mount of them
/// would show it.
///
/// Holds one descriptor a layer while it lives, and one for every layer that has a directory
/// while that directory is open.
#[derive(Clone, Debug)]
pub struct MergedTree {
    /// Lowest first.
    paths: Vec<PathBuf>,
    /// Topmost first.
    layers: Vec<Arc<OwnedFd>>,
    files: Option<Arc<LayerManifest>>,
}

impl MergedTree {
    /// Opens the layers, lowest first. No layers at all is an empty root.
    pub fn open<P: AsRef<Path>>(lowest_first: &[P]) -> Result<MergedTree, TreeError> {
        let mut layers = Vec::with_capacity(lowest_first.len());
        for path in lowest_first.iter().rev().map(AsRef::as_ref) {
            let fd = sys::open_host_dir(path).map_err(|err| TreeError::io("open", path, err))?;
            layers.push(Arc::new(fd));
        }
        Ok(MergedTree {
            paths: lowest_first.iter().map(|path| path.as_ref().to_owned()).collect(),
            layers,
            files: None,
        })
    }

    /// As [`super::DirTree::with_files`]: `files` lists what the tree as a whole has.
    pub fn with_files(mut self, files: Option<Arc<LayerManifest>>) -> MergedTree {
        self.files = files;
        self
    }

    /// The layer directories, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.paths
    }

    /// This tree with one more layer on top.
    pub(crate) fn with_top(&self, path: &Path, fd: Arc<OwnedFd>) -> MergedTree {
        let mut tree = self.clone().with_files(None);
        tree.paths.push(path.to_owned());
        tree.layers.insert(0, fd);
        tree
    }

    /// Roots of the layers with their indices, topmost first.
    pub(super) fn open_layers(&self) -> Vec<(usize, Arc<OwnedFd>)> {
        let numbers = (0..self.layers.len()).rev();
        numbers.zip(self.layers.iter().map(Arc::clone)).collect()
    }

    pub(crate) fn root_dir(&self) -> Result<Option<MergedDir>, TreeError> {
        let path = Path::new("/");
        let Some(top) = self.layers.first() else {
            return Ok(None);
        };
        let node = sys::stat_fd(&**top).map_err(|err| TreeError::io("stat", path, err))?;
        // The kernel does not look whether a root is opaque, so neither does this.
        Ok(Some(MergedDir {
            layers: self.layers.clone(),
            path: path.to_owned(),
            node,
            files: self.files.clone(),
        }))
    }
}

impl Tree for MergedTree {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        Ok(match self.root_dir()? {
            Some(dir) => Box::new(dir),
            None => Box::new(super::EmptyTree),
        })
    }
}

/// One directory of a merged tree.
pub(crate) struct MergedDir {
    /// Topmost first, never empty.
    layers: Vec<Arc<OwnedFd>>,
    path: PathBuf,
    node: Node,
    files: Option<Arc<LayerManifest>>,
}

impl MergedDir {
    /// The first layer that says something about `name`: its descriptor, and the node there.
    fn find(&self, name: &OsStr) -> Result<Option<(&Arc<OwnedFd>, Node)>, TreeError> {
        for layer in &self.layers {
            match sys::stat_at(&**layer, name) {
                Ok(Some(node)) if node.is_whiteout() => return Ok(None),
                Ok(Some(node)) => return Ok(Some((layer, node))),
                Ok(None) => {}
                Err(err) => return Err(self.error("stat", name, err)),
            }
        }
        Ok(None)
    }

    fn found(&self, name: &OsStr) -> Result<(&Arc<OwnedFd>, Node), TreeError> {
        self.find(name)?.ok_or_else(|| TreeError::NotFound {
            path: self.path.join(name),
        })
    }

    fn error(&self, action: &'static str, name: &OsStr, err: Errno) -> TreeError {
        TreeError::io(action, &self.path.join(name), err)
    }

    /// Opens a directory below this one, or says that the name is none.
    pub(crate) fn descend(&self, name: &OsStr) -> Result<MergedDir, TreeError> {
        let mut layers = Vec::new();
        let mut top = None;
        for layer in &self.layers {
            let fd = match sys::open_dir_at(&**layer, name) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                // A whiteout or another file hides what is below it.
                Err(Errno::NOTDIR | Errno::LOOP) => break,
                Err(err) => return Err(self.error("open", name, err)),
            };
            if top.is_none() {
                let node = sys::stat_fd(&fd).map_err(|err| self.error("stat", name, err))?;
                top = Some(node);
            }
            let opaque = self.layers.len() > 1 && sys::is_opaque(&fd);
            layers.push(Arc::new(fd));
            if opaque {
                break;
            }
        }
        let path = self.path.join(name);
        match top {
            Some(node) => Ok(MergedDir {
                layers,
                path,
                node,
                files: self.files.clone(),
            }),
            None if self.find(name)?.is_some() => Err(TreeError::NotADirectory { path }),
            None => Err(TreeError::NotFound { path }),
        }
    }
}

impl Dir for MergedDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self) -> Node {
        self.node
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let single = self.layers.len() == 1;
        let listed = self.files.as_deref();
        let listed = listed.and_then(|files| files.dir(self.path.strip_prefix("/").unwrap_or(&self.path)));
        let mut hidden: HashSet<OsString> = HashSet::new();
        let mut found: BTreeMap<OsString, Node> = BTreeMap::new();
        let mut flat = Vec::new();
        for layer in &self.layers {
            let names = sys::names(&**layer).map_err(|err| TreeError::io("list", &self.path, err))?;
            for (name, kind) in names {
                if !single && (hidden.contains(&name) || found.contains_key(&name)) {
                    continue;
                }
                let known = listed.filter(|_| kind == FileType::RegularFile);
                let node = match known.and_then(|files| files.get(&name)) {
                    Some(file) => Some(file.node()),
                    None => sys::stat_at(&**layer, &name).map_err(|err| self.error("stat", &name, err))?,
                };
                match node {
                    None => {}
                    Some(node) if node.is_whiteout() => {
                        hidden.insert(name);
                    }
                    Some(node) if single => flat.push(Entry { name, node }),
                    Some(node) => {
                        found.insert(name, node);
                    }
                }
            }
        }
        if single {
            flat.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            return Ok(flat);
        }
        Ok(found
            .into_iter()
            .map(|(name, node)| Entry { name, node })
            .collect())
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        Ok(self.find(name)?.map(|(_, node)| node))
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(self.descend(name)?))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        let layer = match &self.layers[..] {
            [only] => only,
            _ => self.found(name)?.0,
        };
        open_regular(layer, &self.path, name)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        let (layer, _) = self.found(name)?;
        sys::read_link_at(&**layer, name).map_err(|err| self.error("read link", name, err))
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        let (layer, _) = self.found(name)?;
        sys::xattrs_at(&**layer, name).map_err(|err| self.error("list attributes of", name, err))
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        sys::xattrs_fd(&*self.layers[0]).map_err(|err| TreeError::io("list attributes of", &self.path, err))
    }
}
