//! A file tree as a loader walks it: every symbolic link on the way is remembered.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_rootfs::ignore::{contains_wildcards, match_path};
use distil_rootfs::{Entry, Node, Tree, TreeError};

use crate::read;
use crate::{ElfError, ElfFile};

/// As Linux and BuildKit have it for a loop of links.
const MAX_LINKS: usize = 255;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// The links that were followed, in order, each by its real path.
    pub links: Vec<PathBuf>,
    /// Where the path ends; no component of it is a link.
    pub real: PathBuf,
    /// What is there; `None` when nothing is.
    pub node: Option<Node>,
}

impl Trail {
    /// Whether it ends at a regular file.
    pub fn is_file(&self) -> bool {
        self.node.is_some_and(|node| node.kind.is_file())
    }
}

type Parsed = Result<Option<Arc<ElfFile>>, &'static str>;

/// A tree with what was read of it.
pub struct Stage<'t> {
    tree: &'t dyn Tree,
    nodes: RefCell<HashMap<PathBuf, Option<Node>>>,
    elf: RefCell<HashMap<PathBuf, Parsed>>,
}

impl<'t> Stage<'t> {
    /// Wraps `tree`, which must not change meanwhile.
    pub fn new(tree: &'t dyn Tree) -> Stage<'t> {
        Stage {
            tree,
            nodes: RefCell::default(),
            elf: RefCell::default(),
        }
    }

    /// The tree itself.
    pub fn tree(&self) -> &'t dyn Tree {
        self.tree
    }

    /// What is at `path`, of which no parent may be a link.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        if let Some(known) = self.nodes.borrow().get(path) {
            return Ok(*known);
        }
        let node = match self.tree.lookup(path) {
            Err(error) if error.is_not_found() => None,
            other => other?,
        };
        self.nodes.borrow_mut().insert(path.to_owned(), node);
        Ok(node)
    }

    /// Follows every link of `path`, the last component's too. `..` at the root stays there.
    ///
    /// # Errors
    /// A loop of links, or a tree that cannot be read.
    pub fn trail(&self, path: &Path) -> Result<Trail, TreeError> {
        let mut todo: VecDeque<OsString> = components(path.as_os_str()).map(OsStr::to_owned).collect();
        let mut trail = Trail {
            links: Vec::new(),
            real: PathBuf::from("/"),
            node: self.node(Path::new("/"))?,
        };
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                trail.real.pop();
                trail.node = self.node(&trail.real)?;
                continue;
            }
            let next = trail.real.join(&name);
            let inside = trail.node.is_some_and(|node| node.kind.is_dir());
            let node = if inside { self.node(&next)? } else { None };
            if node.is_some_and(|node| node.kind.is_symlink()) {
                if trail.links.len() >= MAX_LINKS {
                    let path = path.to_owned();
                    return Err(TreeError::TooManyLinks { path });
                }
                let target = self.tree.read_link(&next)?;
                trail.links.push(next);
                if target.as_bytes().starts_with(b"/") {
                    trail.real = PathBuf::from("/");
                }
                trail.node = self.node(&trail.real)?;
                for part in components(&target).rev() {
                    todo.push_front(part.to_owned());
                }
            } else {
                trail.real = next;
                trail.node = node;
            }
        }
        Ok(trail)
    }

    /// The entries of a directory, sorted; none when there is no such directory.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn entries(&self, path: &Path) -> Result<Vec<Entry>, TreeError> {
        match self.tree.read_dir(path) {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// The first `limit` bytes of a file, links followed; `None` when there is no such file.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn read(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, TreeError> {
        if !self.trail(path)?.is_file() {
            return Ok(None);
        }
        let file = self.tree.open(path)?;
        match read::some(&file, 0, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(ElfError::Io(source)) => Err(TreeError::Io {
                action: "read",
                path: path.to_owned(),
                source,
            }),
            Err(ElfError::Malformed(_)) => Ok(None),
        }
    }

    /// The facts of the regular file at `real`; `None` for one that is no ELF file.
    ///
    /// # Errors
    /// The tree's, or ([`FactsError::Malformed`]) that the file is damaged.
    pub fn elf(&self, real: &Path) -> Result<Option<Arc<ElfFile>>, FactsError> {
        if let Some(known) = self.elf.borrow().get(real) {
            return known.clone().map_err(FactsError::Malformed);
        }
        let parsed = match ElfFile::read(&self.tree.open(real)?) {
            Ok(elf) => Ok(elf.map(Arc::new)),
            Err(ElfError::Malformed(why)) => Err(why),
            Err(ElfError::Io(source)) => {
                let path = real.to_owned();
                return Err(FactsError::Tree(TreeError::Io {
                    action: "read",
                    path,
                    source,
                }));
            }
        };
        self.elf.borrow_mut().insert(real.to_owned(), parsed.clone());
        parsed.map_err(FactsError::Malformed)
    }

    /// The existing paths that a shell's pattern matches, sorted; a pattern is one component of the path at a time
    /// and never matches a dot at the start of a name.
    ///
    /// # Errors
    /// A malformed pattern, or a tree that cannot be read.
    pub fn matches(&self, pattern: &Path) -> Result<Vec<PathBuf>, TreeError> {
        let mut found = vec![PathBuf::from("/")];
        for part in components(pattern.as_os_str()) {
            let text = part.to_string_lossy();
            let mut next = Vec::new();
            for directory in found {
                if !contains_wildcards(&text) {
                    next.push(directory.join(part));
                    continue;
                }
                for entry in self.entries(&directory)? {
                    let name = entry.name.as_bytes();
                    let hidden = name.starts_with(b".") && !part.as_bytes().starts_with(b".");
                    if !hidden && match_path(part.as_bytes(), name)? {
                        next.push(directory.join(&entry.name));
                    }
                }
            }
            found = next;
        }
        let mut existing = Vec::new();
        for path in found {
            if self.trail(&path)?.node.is_some() {
                existing.push(path);
            }
        }
        Ok(existing)
    }
}

/// Why the facts of a file are not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The file is damaged.
    #[error("it is a damaged ELF file: {0}")]
    Malformed(&'static str),
}

fn components(path: &OsStr) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(OsStr::from_bytes)
}
