//! A tree seen through include and exclude patterns, as a client sends a build context.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::follow::follow_links;
use super::{Dir, Entry, Tree, TreeError};
use crate::ignore::{MatchInfo, PatternMatcher};
use crate::node::{Node, Xattrs};

/// What of a tree is visible; the fields of BuildKit's local source.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// When not empty, only paths that match one of these (or lie below one) are visible.
    pub include: Vec<String>,
    /// Paths that match are hidden (`.dockerignore` lines, see [`crate::ignore`]).
    pub exclude: Vec<String>,
    /// Paths that are included together with everything their symbolic links lead to; may
    /// have wildcards. Empty means no restriction.
    pub follow_paths: Vec<String>,
}

#[derive(Default)]
struct Patterns {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// A tree that hides what a [`Filter`] does not let through. A directory that is hidden
/// itself is still there when something in it is visible.
#[derive(Clone)]
pub struct FilteredTree {
    inner: Arc<dyn Tree>,
    patterns: Arc<Patterns>,
}

impl FilteredTree {
    /// Compiles the patterns; links named by `follow_paths` are read now.
    pub fn new(inner: Arc<dyn Tree>, filter: &Filter) -> Result<FilteredTree, TreeError> {
        let mut include = filter.include.clone();
        if !filter.follow_paths.is_empty() {
            match follow_links(inner.as_ref(), &filter.follow_paths)? {
                Some(targets) => include.extend(targets),
                // The root itself is among them: everything is followed.
                None => include.clear(),
            }
        }
        let compile = |patterns: &[String]| match patterns {
            [] => Ok(None),
            some => PatternMatcher::new(some).map(Some),
        };
        Ok(FilteredTree {
            patterns: Arc::new(Patterns {
                include: compile(&include)?,
                exclude: compile(&filter.exclude)?,
            }),
            inner,
        })
    }
}

impl Tree for FilteredTree {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        Ok(Box::new(FilteredDir {
            inner: self.inner.root()?,
            patterns: Arc::clone(&self.patterns),
            above: Above::default(),
        }))
    }

    fn is_transferred(&self) -> bool {
        self.inner.is_transferred()
    }
}

/// Match state of a directory.
#[derive(Clone, Default)]
struct Above {
    include: MatchInfo,
    exclude: MatchInfo,
}

struct FilteredDir {
    inner: Box<dyn Dir>,
    patterns: Arc<Patterns>,
    above: Above,
}

impl FilteredDir {
    /// Whether a name passes the patterns itself, and its state for what is below.
    fn judge(&self, name: &OsStr) -> (bool, Above) {
        let path = self.inner.path().join(name);
        let path = path.as_os_str().as_bytes();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let mut below = Above::default();
        let mut visible = true;
        if let Some(include) = &self.patterns.include {
            let (matched, info) = include.matches_with_parent(path, &self.above.include);
            below.include = info;
            visible = matched;
        }
        if let Some(exclude) = &self.patterns.exclude {
            let (matched, info) = exclude.matches_with_parent(path, &self.above.exclude);
            below.exclude = info;
            visible = visible && !matched;
        }
        (visible, below)
    }

    /// Whether something in this hidden directory could be visible.
    fn may_hold_visible(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let included = match &self.patterns.include {
            Some(include) => {
                include.may_match_below(path, false) || {
                    // Included itself, so what is in it is included too.
                    include.matches_or_parent_matches(path)
                }
            }
            None => true,
        };
        let excluded = match &self.patterns.exclude {
            Some(exclude) => exclude.matches_or_parent_matches(path) && !exclude.may_match_below(path, true),
            None => false,
        };
        included && !excluded
    }

    fn is_visible(&self, name: &OsStr, node: &Node) -> Result<bool, TreeError> {
        if self.patterns.include.is_none() && self.patterns.exclude.is_none() {
            return Ok(true);
        }
        let (visible, above) = self.judge(name);
        if visible || !node.kind.is_dir() {
            return Ok(visible);
        }
        if !self.may_hold_visible(&self.inner.path().join(name)) {
            return Ok(false);
        }
        let dir = FilteredDir {
            inner: self.inner.open_dir(name)?,
            patterns: Arc::clone(&self.patterns),
            above,
        };
        for entry in dir.inner.entries()? {
            if dir.is_visible(&entry.name, &entry.node)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn check(&self, name: &OsStr) -> Result<(), TreeError> {
        match self.lookup(name)? {
            Some(_) => Ok(()),
            None => Err(TreeError::NotFound {
                path: self.inner.path().join(name),
            }),
        }
    }
}

impl Dir for FilteredDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn node(&self) -> Node {
        self.inner.node()
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let mut entries = self.inner.entries()?;
        let mut error = None;
        entries.retain(|entry| match self.is_visible(&entry.name, &entry.node) {
            Ok(visible) => visible,
            Err(err) => {
                error.get_or_insert(err);
                false
            }
        });
        error.map_or(Ok(entries), Err)
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        match self.inner.lookup(name)? {
            Some(node) if self.is_visible(name, &node)? => Ok(Some(node)),
            _ => Ok(None),
        }
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        let inner = self.inner.open_dir(name)?;
        if !self.is_visible(name, &inner.node())? {
            return Err(TreeError::NotFound {
                path: inner.path().to_owned(),
            });
        }
        let (_, above) = self.judge(name);
        Ok(Box::new(FilteredDir {
            inner,
            patterns: Arc::clone(&self.patterns),
            above,
        }))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        // No directory, so the patterns decide without another look at the disk.
        if !self.judge(name).0 {
            return Err(TreeError::NotFound {
                path: self.inner.path().join(name),
            });
        }
        self.inner.open_file(name)
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        self.check(name)?;
        self.inner.read_link(name)
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        self.check(name)?;
        self.inner.xattrs(name)
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        self.inner.own_xattrs()
    }
}

impl std::fmt::Debug for FilteredTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FilteredTree")
            .field("include", &self.patterns.include)
            .field("exclude", &self.patterns.exclude)
            .finish_non_exhaustive()
    }
}
