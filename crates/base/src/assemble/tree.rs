//! The file tree of an image, before anything is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use distil_debian::StoredPackage;

use super::AssembleError;

/// How many links are followed in one path, as in Linux.
const MAX_LINKS: usize = 40;

/// An entry of an unpacked package.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) package: Arc<StoredPackage>,
    /// Its number in the package.
    pub(crate) entry: usize,
}

impl Stored {
    pub(crate) fn open(&self) -> Result<File, AssembleError> {
        let opened = self.package.open_content(self.entry);
        opened.map_err(|error| self.failed(error))
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, AssembleError> {
        let content = self.package.read_content(self.entry);
        content.map_err(|error| self.failed(error))
    }

    /// What reading it ran into.
    pub(crate) fn failed(&self, source: std::io::Error) -> AssembleError {
        let path = self.package.content_path(self.entry).unwrap_or_default();
        AssembleError::io("read", &path)(source)
    }

    /// Whether both are the same file.
    pub(crate) fn is_file(&self, other: &Stored) -> bool {
        self.package.sha256() == other.package.sha256()
            && self.package.content_path(self.entry) == other.package.content_path(other.entry)
    }
}

/// What a file holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Bytes made here.
    Bytes(Arc<Vec<u8>>),
    /// A file of an unpacked package, which has this mode, owner and time already.
    Stored(Stored),
    /// The bytes of a file of an unpacked package, but not what goes with them.
    Copied(Stored),
    /// A member of an archive from elsewhere: its number among the inputs of the
    /// recipe, and its number among the members.
    Member(usize, usize),
}

/// What stands at a path.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Directory,
    File(Content),
    /// With what stands in it, and the link of an unpacked package that has this owner and time
    /// already.
    Symlink(Vec<u8>, Option<Stored>),
    /// Another name of the file at this path.
    HardLink(Vec<u8>),
}

/// Mode, owner and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permission bits with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
}

impl Meta {
    /// Of what no package brings: root's, of 1970, as upstream's images have it.
    pub(crate) fn made(mode: u32) -> Meta {
        Meta {
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
        }
    }
}

/// An entry of the tree.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
    pub(crate) origin: Origin,
}

/// Who brought an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A package, by its number in the selection.
    Package(usize),
    /// The recipe.
    Recipe,
}

/// Entries by path, without a slash before it; the root itself has none.
///
/// No entry has a link among the directories of its path: where a package names one
/// through a link, it gets the path that the link leads to. So no layer can hold a
/// directory where another has a link.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<Vec<u8>, Node>,
}

impl Tree {
    /// The real path of `path`, whose last component is not followed.
    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, AssembleError> {
        self.walk(path, false)
    }

    /// The real path of `path`, links followed to the end.
    pub(crate) fn follow(&self, path: &[u8]) -> Result<Vec<u8>, AssembleError> {
        self.walk(path, true)
    }

    fn walk(&self, path: &[u8], follow_last: bool) -> Result<Vec<u8>, AssembleError> {
        let mut pending: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        let mut real: Vec<u8> = Vec::with_capacity(path.len());
        let mut links = 0;
        while let Some(name) = pending.pop() {
            if name == b".." {
                let parent = real.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                real.truncate(parent);
                continue;
            }
            let parent = real.len();
            if parent > 0 {
                real.push(b'/');
            }
            real.extend_from_slice(&name);
            let is_last = pending.is_empty();
            let Some(Kind::Symlink(target, _)) = self.nodes.get(&real).map(|node| &node.kind) else {
                continue;
            };
            if is_last && !follow_last {
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                return Err(AssembleError::Links { path: shown(path) });
            }
            real.truncate(if target.starts_with(b"/") { 0 } else { parent });
            pending.extend(components(target).rev().map(<[u8]>::to_vec));
        }
        Ok(real)
    }

    /// Puts an entry at a path that [`Tree::resolve`] gave, and the directories that
    /// lead there where they are missing.
    pub(crate) fn put(&mut self, path: Vec<u8>, node: Node) -> Result<(), AssembleError> {
        self.make_parents(&path, node.origin)?;
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Adds the directories that lead to `path` where they are missing.
    pub(super) fn make_parents(&mut self, path: &[u8], origin: Origin) -> Result<(), AssembleError> {
        let slashes: Vec<usize> = (0..path.len()).filter(|at| path[*at] == b'/').collect();
        for at in slashes.into_iter().rev() {
            match self.nodes.get(&path[..at]).map(|node| &node.kind) {
                // Its own parents are there too.
                Some(Kind::Directory) => break,
                Some(_) => {
                    return Err(AssembleError::NoDirectory {
                        path: shown(path),
                        parent: shown(&path[..at]),
                    });
                }
                None => {
                    let node = Node {
                        kind: Kind::Directory,
                        meta: Meta::made(0o755),
                        origin,
                    };
                    self.nodes.insert(path[..at].to_vec(), node);
                }
            }
        }
        Ok(())
    }

    /// Whether anything is below the directory.
    pub(crate) fn has_children(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        self.nodes
            .range(below.clone()..)
            .next()
            .is_some_and(|(next, _)| next.starts_with(&below))
    }

    /// The entry at `path` after following links; `None` where there is none.
    pub(crate) fn get(&self, path: &[u8]) -> Option<&Node> {
        self.nodes.get(&self.follow(path).ok()?)
    }
}

/// The names in a path; empty ones and `.` are none.
pub(crate) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

/// A path as users know it.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}
