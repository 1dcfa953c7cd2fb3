//! Walking paths through a tree in user space: links are followed inside the root.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::{Dir, TreeError};
use crate::node::{Node, Xattrs};

/// Links followed on one path before it counts as a loop. BuildKit's limit; Linux has 40.
pub(crate) const MAX_LINKS: usize = 255;

/// Lexically cleaned absolute form: `..` at the root vanishes.
pub(crate) fn clean_absolute(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

/// Where a walk ended.
pub(super) struct Position {
    /// Open directories from the root down.
    stack: Vec<Box<dyn Dir>>,
    /// Components below the last directory: empty when the walk ended on it.
    tail: Vec<OsString>,
    /// Metadata of `tail[0]`, when it exists and `tail` has one element.
    node: Option<Node>,
}

impl Position {
    fn dir(&self) -> &dyn Dir {
        // The root is never popped.
        self.stack[self.stack.len() - 1].as_ref()
    }

    fn path(&self) -> PathBuf {
        let mut path = self.dir().path().to_owned();
        path.extend(&self.tail);
        path
    }

    fn step(&mut self, name: OsString) -> Result<(), TreeError> {
        if self.tail.is_empty() {
            self.node = self.dir().lookup(&name)?;
        } else if self.node.take().is_some() {
            let path = self.path();
            return Err(TreeError::NotADirectory { path });
        }
        self.tail.push(name);
        Ok(())
    }

    /// Enters the directory the walk stands on, if it is one.
    fn enter(&mut self) -> Result<(), TreeError> {
        if self.node.is_some_and(|node| node.kind.is_dir()) && self.tail.len() == 1 {
            let dir = self.dir().open_dir(&self.tail[0])?;
            self.stack.push(dir);
            self.tail.clear();
            self.node = None;
        }
        Ok(())
    }

    fn up(&mut self) {
        if self.tail.pop().is_some() {
            self.node = None;
        } else if self.stack.len() > 1 {
            self.stack.pop();
        }
    }
}

fn components(path: &Path) -> impl DoubleEndedIterator<Item = &OsStr> {
    path.as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(OsStr::from_bytes)
}

/// Walks `path`. The last component is followed when `follow` says so.
pub(super) fn walk(root: Box<dyn Dir>, path: &Path, follow: bool) -> Result<Position, TreeError> {
    let mut todo: VecDeque<OsString> = components(path).map(OsStr::to_owned).collect();
    let mut at = Position {
        stack: vec![root],
        tail: Vec::new(),
        node: None,
    };
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            at.up();
            continue;
        }
        at.enter()?;
        at.step(name)?;
        let is_link = at.node.is_some_and(|node| node.kind.is_symlink());
        if !is_link || (todo.is_empty() && !follow) {
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            let path = path.to_owned();
            return Err(TreeError::TooManyLinks { path });
        }
        let target = at.dir().read_link(&at.tail[0])?;
        at.up();
        if target.as_bytes().starts_with(b"/") {
            at.stack.truncate(1);
        }
        for part in components(Path::new(&target)).rev() {
            todo.push_front(part.to_owned());
        }
    }
    Ok(at)
}

pub(super) fn lookup(root: Box<dyn Dir>, path: &Path) -> Result<Option<Node>, TreeError> {
    match walk(root, path, false) {
        Ok(at) if at.tail.is_empty() => Ok(Some(at.dir().node())),
        Ok(at) => Ok(at.node),
        Err(TreeError::NotADirectory { .. }) => Ok(None),
        Err(err) => Err(err),
    }
}

/// [`Tree::resolve`](super::Tree::resolve) with `root` as the root; the result is a path of
/// the tree that `root` is in.
pub(crate) fn resolve(root: Box<dyn Dir>, path: &Path, follow: bool) -> Result<PathBuf, TreeError> {
    Ok(walk(root, path, follow)?.path())
}

pub(super) fn open_dir(root: Box<dyn Dir>, path: &Path) -> Result<Box<dyn Dir>, TreeError> {
    let mut at = walk(root, path, true)?;
    at.enter()?;
    if at.tail.is_empty() {
        // The stack always holds the root.
        if let Some(dir) = at.stack.pop() {
            return Ok(dir);
        }
    }
    let path = at.path();
    Err(match at.node {
        Some(_) => TreeError::NotADirectory { path },
        None => TreeError::NotFound { path },
    })
}

pub(super) fn open_file(root: Box<dyn Dir>, path: &Path) -> Result<File, TreeError> {
    let at = walk(root, path, true)?;
    match at.node {
        Some(node) if node.kind.is_file() => at.dir().open_file(&at.tail[0]),
        Some(_) => Err(TreeError::WrongKind {
            path: at.path(),
            expected: "regular file",
        }),
        None if at.tail.is_empty() => Err(TreeError::WrongKind {
            path: at.path(),
            expected: "regular file",
        }),
        None => Err(TreeError::NotFound { path: at.path() }),
    }
}

/// The directory that holds the last component (not followed), and that component.
pub(super) fn open_parent(root: Box<dyn Dir>, path: &Path) -> Result<(Box<dyn Dir>, OsString), TreeError> {
    let mut at = walk(root, path, false)?;
    if at.tail.len() == 1
        && let (Some(name), Some(dir)) = (at.tail.pop(), at.stack.pop())
    {
        return Ok((dir, name));
    }
    let path = at.path();
    Err(if at.tail.is_empty() {
        TreeError::WrongKind {
            path,
            expected: "name in a directory",
        }
    } else {
        TreeError::NotFound { path }
    })
}

pub(super) fn xattrs(root: Box<dyn Dir>, path: &Path) -> Result<Xattrs, TreeError> {
    let at = walk(root, path, false)?;
    if at.tail.is_empty() {
        return at.dir().own_xattrs();
    }
    match at.node {
        Some(_) => at.dir().xattrs(&at.tail[0]),
        None => Err(TreeError::NotFound { path: at.path() }),
    }
}
