//! Which paths a selected path really needs: itself and what its symbolic links lead to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::resolve::MAX_LINKS;
use super::{Dir, Tree, TreeError};
use crate::ignore::{clean, contains_wildcards, match_path};

/// Include patterns for `paths`, links resolved inside the root. `None` when the whole root
/// is among them.
///
/// Unlike BuildKit's client, every path below one linked directory is followed.
pub(super) fn follow_links(tree: &dyn Tree, paths: &[String]) -> Result<Option<Vec<String>>, TreeError> {
    let mut follow = Follow {
        tree,
        seen: BTreeSet::new(),
        found: BTreeSet::new(),
    };
    for path in paths {
        follow.add(path, 0)?;
    }
    if follow.found.contains(".") {
        return Ok(None);
    }
    let mut kept: Vec<String> = Vec::new();
    for path in follow.found {
        let below = kept
            .last()
            .is_some_and(|last| path.starts_with(&format!("{last}/")));
        if !below {
            kept.push(path);
        }
    }
    Ok(Some(kept))
}

struct Follow<'a> {
    tree: &'a dyn Tree,
    /// Paths already followed.
    seen: BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Follow<'_> {
    fn add(&mut self, path: &str, links: usize) -> Result<(), TreeError> {
        let path = clean(&format!("/{path}"));
        let path = path.trim_start_matches('/');
        if !self.seen.insert(path.to_owned()) || links > MAX_LINKS {
            return Ok(());
        }
        if path.is_empty() {
            self.found.insert(".".to_owned());
            return Ok(());
        }
        let mut from = 0;
        loop {
            let end = path[from..].find('/').map_or(path.len(), |at| from + at);
            let (current, rest) = (&path[..end], &path[end..]);
            let targets = self.links_at(current)?;
            let linked = !targets.is_empty();
            for target in targets {
                self.add(&format!("{target}{rest}"), links + 1)?;
            }
            if linked || rest.is_empty() {
                self.found.insert(current.to_owned());
                return Ok(());
            }
            from = end + 1;
        }
    }

    /// Targets of the links that `path` names; its last component may be a pattern.
    fn links_at(&self, path: &str) -> Result<Vec<String>, TreeError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = match self.open(parent) {
            Ok(Some(dir)) => dir,
            Ok(None) => return Ok(Vec::new()),
            Err(err) if err.is_not_found() => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut targets = Vec::new();
        if contains_wildcards(name) {
            for entry in dir.entries()? {
                let hit = match_path(name.as_bytes(), entry.name.as_bytes()).unwrap_or(false);
                if hit && entry.node.kind.is_symlink() {
                    targets.extend(target(dir.as_ref(), parent, &entry.name)?);
                }
            }
        } else {
            let name = OsStr::new(name);
            if dir.lookup(name)?.is_some_and(|node| node.kind.is_symlink()) {
                targets.extend(target(dir.as_ref(), parent, name)?);
            }
        }
        Ok(targets)
    }

    /// Opens a directory without following links: those were followed on the way.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Dir>>, TreeError> {
        let mut dir = self.tree.root()?;
        for part in Path::new(path).iter() {
            match dir.lookup(part)? {
                Some(node) if node.kind.is_dir() => dir = dir.open_dir(part)?,
                _ => return Ok(None),
            }
        }
        Ok(Some(dir))
    }
}

/// The target of a link as a path from the root. One that is no text is not followed.
fn target(dir: &dyn Dir, parent: &str, name: &OsStr) -> Result<Option<String>, TreeError> {
    let target = dir.read_link(name)?;
    Ok(target.to_str().map(|target| {
        if target.starts_with('/') {
            clean(target)
        } else {
            clean(&format!("/{parent}/{target}"))
        }
    }))
}
