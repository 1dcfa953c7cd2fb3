//! Which layer of a merged tree each path is from.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::{MergedTree, TreeError};
use crate::sys;

/// A path of a merged tree and the layer that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerPath {
    /// Absolute path; a directory stands for everything below it that has no entry of its own.
    pub path: PathBuf,
    /// Index of the layer, 0 the lowest.
    pub layer: usize,
}

/// A directory in the layers that have it.
struct Stack {
    path: PathBuf,
    /// Topmost first, with the index of the layer.
    dirs: Vec<(usize, Arc<OwnedFd>)>,
}

/// What a name in a directory is.
enum Found {
    Directory(Stack),
    /// Anything else, in this layer.
    Other(usize),
}

/// Finds the layers of many paths of one tree. Paths of one directory should come one after the other: it is opened once
/// for them.
pub struct LayerFinder<'t> {
    tree: &'t MergedTree,
    /// The directory of the last path.
    last: Option<Stack>,
}

impl<'t> LayerFinder<'t> {
    /// Nothing is opened yet.
    pub fn new(tree: &'t MergedTree) -> Self {
        Self { tree, last: None }
    }

    /// The layers that `path` and what is below it are from; none when nothing is there. No component of `path` is a
    /// symbolic link. A directory comes before what is in it, and counts as from the lowest layer that has it. Only
    /// directories that several layers have are listed, and of these only the upper ones. After `limit` entries it ends:
    /// what has no entry then counts as from the same layer as the directory that it is in.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn layers_of(&mut self, path: &Path, limit: usize) -> Result<Vec<LayerPath>, TreeError> {
        let at = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => {
                match self.directory(parent)?.map(|dir| dir.find(name)).transpose()? {
                    Some(Some(Found::Directory(stack))) => stack,
                    Some(Some(Found::Other(layer))) => {
                        let path = path.to_owned();
                        return Ok(vec![LayerPath { path, layer }]);
                    }
                    _ => return Ok(Vec::new()),
                }
            }
            _ => self.root(),
        };
        let mut found = Vec::new();
        let Some(layer) = at.lowest() else {
            return Ok(found);
        };
        found.push(LayerPath {
            path: at.path.clone(),
            layer,
        });
        let mut todo = vec![at];
        while let Some(stack) = todo.pop() {
            if found.len() >= limit {
                break;
            }
            stack.list(&mut found, &mut todo)?;
        }
        found.truncate(limit);
        Ok(found)
    }

    fn root(&self) -> Stack {
        Stack {
            path: PathBuf::from("/"),
            dirs: self.tree.open_layers(),
        }
    }

    /// The directory at `path`, where there is one.
    fn directory(&mut self, path: &Path) -> Result<Option<&Stack>, TreeError> {
        if self.last.as_ref().is_none_or(|last| last.path != path) {
            self.last = None;
            let mut at = self.root();
            for part in path.components() {
                if let Component::Normal(name) = part {
                    match at.find(name)? {
                        Some(Found::Directory(next)) => at = next,
                        _ => return Ok(None),
                    }
                }
            }
            self.last = Some(at);
        }
        Ok(self.last.as_ref())
    }
}

impl Stack {
    fn lowest(&self) -> Option<usize> {
        self.dirs.last().map(|(layer, _)| *layer)
    }

    fn error(&self, action: &'static str, name: &OsStr, err: Errno) -> TreeError {
        TreeError::io(action, &self.path.join(name), err)
    }

    fn find(&self, name: &OsStr) -> Result<Option<Found>, TreeError> {
        let mut dirs = Vec::new();
        for (layer, dir) in &self.dirs {
            match sys::open_dir_at(&**dir, name) {
                Ok(fd) => {
                    let opaque = self.dirs.len() > 1 && sys::is_opaque(&fd);
                    dirs.push((*layer, Arc::new(fd)));
                    if opaque {
                        break;
                    }
                }
                Err(Errno::NOENT) => {}
                // Something else hides what is below it.
                Err(Errno::NOTDIR | Errno::LOOP) if !dirs.is_empty() => break,
                Err(Errno::NOTDIR | Errno::LOOP) => {
                    let node = sys::stat_at(&**dir, name).map_err(|err| self.error("stat", name, err))?;
                    let there = node.is_some_and(|node| !node.is_whiteout());
                    return Ok(there.then_some(Found::Other(*layer)));
                }
                Err(err) => return Err(self.error("open", name, err)),
            }
        }
        let path = self.path.join(name);
        Ok((!dirs.is_empty()).then_some(Found::Directory(Stack { path, dirs })))
    }

    /// Adds what upper layers have in this directory to `found`, and directories to be listed to `todo`.
    fn list(&self, found: &mut Vec<LayerPath>, todo: &mut Vec<Stack>) -> Result<(), TreeError> {
        let Some((own, upper)) = self.dirs.split_last() else {
            return Ok(());
        };
        let mut seen: HashSet<OsString> = HashSet::new();
        for (layer, dir) in upper {
            let names = sys::names(&**dir).map_err(|err| TreeError::io("list", &self.path, err))?;
            for (name, kind) in names {
                if !seen.insert(name.clone()) {
                    continue;
                }
                let path = self.path.join(&name);
                let what = match kind {
                    FileType::RegularFile | FileType::Symlink => Some(Found::Other(*layer)),
                    _ => self.find(&name)?,
                };
                match what {
                    Some(Found::Other(layer)) => found.push(LayerPath { path, layer }),
                    Some(Found::Directory(stack)) => {
                        let lowest = stack.lowest().filter(|layer| *layer != own.0);
                        found.extend(lowest.map(|layer| LayerPath { path, layer }));
                        if stack.dirs.len() > 1 {
                            todo.push(stack);
                        }
                    }
                    None => {}
                }
            }
        }
        Ok(())
    }
}
