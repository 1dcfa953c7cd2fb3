//! The tree that is copied: members of a closure at their places in the destination.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_rootfs::{Dir, Entry, Node, Tree, TreeError, Xattrs};

/// What stands at a path of the destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Planned {
    /// What stands at `path` of the source, with the metadata `node`.
    Source { path: PathBuf, node: Node },
    /// A directory of the destination that stays as it is.
    Kept { node: Node },
    /// A new directory.
    Made { node: Node },
    /// A new symbolic link.
    Link { target: OsString, node: Node },
}

impl Planned {
    pub(super) fn node(&self) -> Node {
        match self {
            Self::Source { node, .. }
            | Self::Kept { node }
            | Self::Made { node }
            | Self::Link { node, .. } => *node,
        }
    }
}

/// By path in the destination; each parent is there too, the root included.
pub(super) type Plan = BTreeMap<PathBuf, Planned>;

/// A plan as a tree. Directories of the destination that are only passed through show the destination's own metadata,
/// so that copying this tree onto it leaves them as they are.
pub(super) struct PlanTree {
    shared: Arc<Shared>,
}

struct Shared {
    source: Arc<dyn Tree>,
    target: Arc<dyn Tree>,
    plan: Plan,
    children: BTreeMap<PathBuf, Vec<OsString>>,
}

impl PlanTree {
    pub(super) fn new(source: Arc<dyn Tree>, target: Arc<dyn Tree>, plan: Plan) -> Self {
        let mut children: BTreeMap<PathBuf, Vec<OsString>> = BTreeMap::new();
        for path in plan.keys() {
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                children
                    .entry(parent.to_owned())
                    .or_default()
                    .push(name.to_owned());
            }
        }
        for names in children.values_mut() {
            names.sort_unstable();
        }
        let shared = Shared {
            source,
            target,
            plan,
            children,
        };
        Self {
            shared: Arc::new(shared),
        }
    }
}

impl Tree for PlanTree {
    fn root(&self) -> Result<Box<dyn Dir>, TreeError> {
        PlanDir::open(&self.shared, PathBuf::from("/"))
    }
}

struct PlanDir {
    shared: Arc<Shared>,
    path: PathBuf,
    node: Node,
}

impl PlanDir {
    fn open(shared: &Arc<Shared>, path: PathBuf) -> Result<Box<dyn Dir>, TreeError> {
        match shared.plan.get(&path).map(Planned::node) {
            Some(node) if node.kind.is_dir() => Ok(Box::new(Self {
                shared: Arc::clone(shared),
                path,
                node,
            })),
            Some(_) => Err(TreeError::NotADirectory { path }),
            None => Err(TreeError::NotFound { path }),
        }
    }

    fn planned(&self, name: &OsStr) -> Result<&Planned, TreeError> {
        let path = self.path.join(name);
        self.shared.plan.get(&path).ok_or(TreeError::NotFound { path })
    }

    fn xattrs_of(&self, path: &Path) -> Result<Xattrs, TreeError> {
        match self.shared.plan.get(path) {
            Some(Planned::Source { path, .. }) => self.shared.source.xattrs(path),
            Some(Planned::Kept { .. }) => self.shared.target.xattrs(path),
            _ => Ok(Xattrs::new()),
        }
    }
}

impl Dir for PlanDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self) -> Node {
        self.node
    }

    fn entries(&self) -> Result<Vec<Entry>, TreeError> {
        let names = self
            .shared
            .children
            .get(&self.path)
            .map(Vec::as_slice)
            .unwrap_or_default();
        names
            .iter()
            .map(|name| {
                Ok(Entry {
                    name: name.clone(),
                    node: self.planned(name)?.node(),
                })
            })
            .collect()
    }

    fn lookup(&self, name: &OsStr) -> Result<Option<Node>, TreeError> {
        Ok(self.shared.plan.get(&self.path.join(name)).map(Planned::node))
    }

    fn open_dir(&self, name: &OsStr) -> Result<Box<dyn Dir>, TreeError> {
        Self::open(&self.shared, self.path.join(name))
    }

    fn open_file(&self, name: &OsStr) -> Result<File, TreeError> {
        match self.planned(name)? {
            Planned::Source { path, .. } => self.shared.source.open(path),
            _ => Err(TreeError::WrongKind {
                path: self.path.join(name),
                expected: "regular file",
            }),
        }
    }

    fn read_link(&self, name: &OsStr) -> Result<OsString, TreeError> {
        match self.planned(name)? {
            Planned::Source { path, .. } => self.shared.source.read_link(path),
            Planned::Link { target, .. } => Ok(target.clone()),
            _ => Err(TreeError::WrongKind {
                path: self.path.join(name),
                expected: "symbolic link",
            }),
        }
    }

    fn xattrs(&self, name: &OsStr) -> Result<Xattrs, TreeError> {
        self.xattrs_of(&self.path.join(name))
    }

    fn own_xattrs(&self) -> Result<Xattrs, TreeError> {
        self.xattrs_of(&self.path)
    }
}
