//! Where each member of a closure goes.
//!
//! A merged and a split `/usr` may meet: the stage has a link `/lib -> usr/lib` and the destination a directory
//! `/lib`, or the other way round. Links of the destination are gone through, its directories stay, and where a path
//! that a loader opens would then lead elsewhere, a link is put there.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use distil_elf::closure::Reason;
use distil_elf::{Closure, Stage};
use distil_rootfs::{FileKind, FileMode, Node, Owner, Timestamp, TreeError};

use super::packages::MERGED;
use super::plan::{Plan, Planned};

const MAX_LINKS: usize = 255;

/// Why a closure does not fit onto its destination.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// A directory is in the way.
    #[error(
        "`{}` cannot be put at `{}`, where a directory is; choose another destination",
        member.display(), place.display()
    )]
    Directory { member: PathBuf, place: PathBuf },
    /// Something that is no directory is in the way.
    #[error(
        "`{}` needs a directory at `{}`, where something else is; choose another destination",
        member.display(), place.display()
    )]
    NotADirectory { member: PathBuf, place: PathBuf },
    /// Reading failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// What is placed, and where.
pub(super) struct Placing<'a> {
    pub(super) source: &'a Stage<'a>,
    pub(super) target: &'a Stage<'a>,
    pub(super) closure: &'a Closure,
    /// Absolute.
    pub(super) dest: &'a Path,
    /// New owner of what was named.
    pub(super) owner: Option<Owner>,
    /// New mode of what was named.
    pub(super) mode: &'a FileMode,
}

/// Plans the whole closure.
pub(super) fn place(placing: &Placing<'_>) -> Result<Plan, PlaceError> {
    let mut planner = Planner {
        placing,
        plan: Plan::new(),
        directories: HashMap::new(),
        places: HashMap::new(),
    };
    planner.keep(Path::new("/"))?;
    let dest = planner.make_directory(placing.dest, placing.dest, Timestamp::default())?;
    planner.directories.insert(PathBuf::from("/"), dest);
    let mut later = Vec::new();
    for (path, reason) in &placing.closure.members {
        // Links to directories come first, as the ways of the others lead through them.
        let is_link = placing
            .source
            .node(path)?
            .is_some_and(|node| node.kind.is_symlink());
        if is_link && leads_to_directory(placing.source, path)? {
            planner.directory_link(path)?;
        } else {
            later.push((path, reason));
        }
    }
    for (path, reason) in later {
        planner.member(path, reason)?;
    }
    for (link, real) in &placing.closure.added {
        planner.added_link(link, real)?;
    }
    for (path, real) in &placing.closure.aliases {
        planner.alias(path, real)?;
    }
    Ok(planner.plan)
}

/// Whether `path` is a directory or a link to one.
pub(super) fn leads_to_directory(source: &Stage<'_>, path: &Path) -> Result<bool, TreeError> {
    match source.trail(path) {
        Ok(trail) => Ok(trail.node.is_some_and(|node| node.kind.is_dir())),
        Err(TreeError::TooManyLinks { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

struct Planner<'a> {
    placing: &'a Placing<'a>,
    plan: Plan,
    /// Places of directories of the source.
    directories: HashMap<PathBuf, PathBuf>,
    /// Places of files of the source.
    places: HashMap<PathBuf, PathBuf>,
}

impl Planner<'_> {
    fn node(&self, path: &Path) -> Result<Option<Node>, TreeError> {
        match self.plan.get(path) {
            Some(planned) => Ok(Some(planned.node())),
            None => self.placing.target.node(path),
        }
    }

    fn link_target(&self, path: &Path) -> Result<OsString, TreeError> {
        match self.plan.get(path) {
            Some(Planned::Link { target, .. }) => Ok(target.clone()),
            Some(Planned::Source { path, .. }) => self.placing.source.tree().read_link(path),
            _ => self.placing.target.tree().read_link(path),
        }
    }

    /// Follows all links of `path` in the destination as it will be; what does not exist is kept as it is.
    fn resolve(&self, path: &Path) -> Result<PathBuf, TreeError> {
        let mut todo: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(_)) => {}
                Some(Component::ParentDir) => {
                    at.pop();
                    continue;
                }
                _ => continue,
            }
            let next = at.join(&name);
            if !self.node(&next)?.is_some_and(|node| node.kind.is_symlink()) {
                at = next;
                continue;
            }
            links += 1;
            if links > MAX_LINKS {
                let path = path.to_owned();
                return Err(TreeError::TooManyLinks { path });
            }
            let target = self.link_target(&next)?;
            if target.as_bytes().starts_with(b"/") {
                at = PathBuf::from("/");
            }
            for part in Path::new(&target).iter().rev() {
                todo.push_front(part.to_owned());
            }
        }
        Ok(at)
    }

    /// Notes that a directory of the destination, of which no parent is a link, is passed through.
    fn keep(&mut self, path: &Path) -> Result<(), PlaceError> {
        for parent in path.ancestors() {
            if self.plan.contains_key(parent) {
                break;
            }
            if let Some(node) = self.placing.target.node(parent)? {
                self.plan.insert(parent.to_owned(), Planned::Kept { node });
            }
        }
        Ok(())
    }

    /// The place of the directory `wanted` of the destination, which is made with its parents where it is missing.
    fn make_directory(
        &mut self,
        wanted: &Path,
        member: &Path,
        mtime: Timestamp,
    ) -> Result<PathBuf, PlaceError> {
        let place = self.resolve(wanted)?;
        let mut missing = Vec::new();
        for parent in place.ancestors() {
            match self.node(parent)? {
                Some(node) if node.kind.is_dir() => {
                    self.keep(parent)?;
                    break;
                }
                Some(_) => {
                    return Err(PlaceError::NotADirectory {
                        member: member.to_owned(),
                        place: parent.to_owned(),
                    });
                }
                None => missing.push(parent.to_owned()),
            }
        }
        for path in missing {
            let node = made(FileKind::Dir, 0o755, mtime);
            self.plan.insert(path, Planned::Made { node });
        }
        Ok(place)
    }

    /// The place of a directory of the source (no link in its path). A new one has the source's metadata.
    fn directory(&mut self, path: &Path) -> Result<PathBuf, PlaceError> {
        if let Some(place) = self.directories.get(path) {
            return Ok(place.clone());
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(PathBuf::from("/"));
        };
        let parent = self.directory(parent)?;
        let own = self.placing.source.node(path)?.filter(|node| node.kind.is_dir());
        let mtime = own.map_or_else(Timestamp::default, |node| node.mtime);
        let is_new = self.node(&self.resolve(&parent.join(name))?)?.is_none();
        let place = self.make_directory(&parent.join(name), path, mtime)?;
        if is_new && let Some(node) = own {
            let node = self.changed(path, node);
            let path = path.to_owned();
            self.plan.insert(place.clone(), Planned::Source { path, node });
        }
        self.directories.insert(path.to_owned(), place.clone());
        Ok(place)
    }

    /// The metadata of a member: `--chown` and `--chmod` are for what was named.
    fn changed(&self, path: &Path, mut node: Node) -> Node {
        if self.placing.closure.members.get(path) == Some(&Reason::Named) && !node.kind.is_symlink() {
            node.mode = self.placing.mode.apply(node.mode, node.kind.is_dir());
            if let Some(owner) = self.placing.owner {
                (node.uid, node.gid) = (owner.uid, owner.gid);
            }
        }
        node
    }

    /// Where `path` of the source goes; links in the parents of the destination are followed, its last component not.
    fn place_of(&mut self, path: &Path) -> Result<PathBuf, PlaceError> {
        let parent = self.directory(path.parent().unwrap_or(Path::new("/")))?;
        Ok(parent.join(path.file_name().unwrap_or_default()))
    }

    fn directory_link(&mut self, path: &Path) -> Result<(), PlaceError> {
        let place = self.place_of(path)?;
        match self.node(&place)? {
            // The destination goes its own way.
            Some(node) if node.kind.is_dir() || node.kind.is_symlink() => Ok(()),
            Some(_) => Err(PlaceError::NotADirectory {
                member: path.to_owned(),
                place,
            }),
            None => self.put(path, place),
        }
    }

    fn member(&mut self, path: &Path, reason: &Reason) -> Result<(), PlaceError> {
        if self
            .placing
            .source
            .node(path)?
            .is_some_and(|node| node.kind.is_dir())
        {
            // A directory that was only named as a link's target is there for what is in it.
            let place = self.directory(path)?;
            self.places.insert(path.to_owned(), place);
            return Ok(());
        }
        let place = self.place_of(path)?;
        if self.node(&place)?.is_some_and(|node| node.kind.is_dir()) {
            if *reason == Reason::Link {
                return Ok(());
            }
            return Err(PlaceError::Directory {
                member: path.to_owned(),
                place,
            });
        }
        self.put(path, place)
    }

    fn put(&mut self, path: &Path, place: PathBuf) -> Result<(), PlaceError> {
        let Some(node) = self.placing.source.node(path)? else {
            let path = path.to_owned();
            return Err(TreeError::NotFound { path }.into());
        };
        self.places.insert(path.to_owned(), place.clone());
        if self.is_there_already(path, &node, &place)? {
            return self.keep(place.parent().unwrap_or(Path::new("/")));
        }
        if let Some(same) = self.unmerged(path, &node, &place)? {
            self.keep(same.parent().unwrap_or(Path::new("/")))?;
            self.places.insert(path.to_owned(), same);
            return self.put_link(place, path, path);
        }
        let node = self.changed(path, node);
        let path = path.to_owned();
        self.plan.insert(place, Planned::Source { path, node });
        Ok(())
    }

    /// Where a destination whose `/usr` is split has the same file: `/lib/x` for `/usr/lib/x` of a stage in which
    /// `/lib` is a link to `/usr/lib`. So no library is there twice.
    fn unmerged(&self, path: &Path, node: &Node, place: &Path) -> Result<Option<PathBuf>, PlaceError> {
        if node.kind != FileKind::File || self.node(place)?.is_some() {
            return Ok(None);
        }
        let Some((top, rest)) = path.strip_prefix("/usr").ok().and_then(first_of) else {
            return Ok(None);
        };
        let link = Path::new("/").join(top);
        let is_merged = MERGED.iter().any(|name| top == OsStr::new(name))
            && self
                .placing
                .source
                .node(&link)?
                .is_some_and(|node| node.kind.is_symlink())
            && self.placing.source.trail(&link)?.real == Path::new("/usr").join(top);
        if !is_merged {
            return Ok(None);
        }
        let other = self.resolve(&self.placing.dest.join(top).join(rest))?;
        let same = other != place && self.is_there_already(path, node, &other)?;
        Ok(same.then_some(other))
    }

    /// Whether the destination has the same file or link, so that a layer need not repeat it. What was named is always
    /// written, as any copy is; times do not count.
    fn is_there_already(&self, path: &Path, node: &Node, place: &Path) -> Result<bool, TreeError> {
        let Some(there) = self.placing.target.node(place)? else {
            return Ok(false);
        };
        let alike = |node: &Node| (node.kind, node.mode, node.uid, node.gid, node.size);
        let is_named = self.placing.closure.members.get(path) == Some(&Reason::Named);
        if is_named || self.plan.contains_key(place) || alike(node) != alike(&there) {
            return Ok(false);
        }
        let (source, target) = (self.placing.source.tree(), self.placing.target.tree());
        match node.kind {
            FileKind::Symlink => Ok(source.read_link(path)? == target.read_link(place)?),
            FileKind::File if source.xattrs(path)? == target.xattrs(place)? => {
                same_bytes(source.open(path)?, target.open(place)?).map_err(|error| TreeError::Io {
                    action: "read",
                    path: path.to_owned(),
                    source: error,
                })
            }
            _ => Ok(false),
        }
    }

    fn added_link(&mut self, link: &Path, real: &Path) -> Result<(), PlaceError> {
        let place = self.place_of(link)?;
        self.put_link(place, link, real)
    }

    /// Makes sure that `path` leads to `real` in the destination as it does in the source.
    fn alias(&mut self, path: &Path, real: &Path) -> Result<(), PlaceError> {
        let wanted = self.placing.dest.join(path.strip_prefix("/").unwrap_or(path));
        let Some(place) = self.places.get(real).cloned() else {
            return Ok(());
        };
        if self.resolve(&wanted)? == place {
            return Ok(());
        }
        let (Some(parent), Some(name)) = (wanted.parent(), wanted.file_name()) else {
            return Ok(());
        };
        let in_the_way = self.resolve(parent)?.join(name);
        if self.placing.closure.searched.contains(path) && self.node(&in_the_way)?.is_none() {
            return Ok(());
        }
        let mtime = self
            .node(&place)?
            .map_or_else(Timestamp::default, |node| node.mtime);
        let parent = self.make_directory(parent, path, mtime)?;
        self.put_link(parent.join(name), path, real)
    }

    fn put_link(&mut self, place: PathBuf, member: &Path, real: &Path) -> Result<(), PlaceError> {
        let Some(to) = self.places.get(real) else {
            return Ok(());
        };
        let node = self.node(to)?;
        let is_dir = node.is_some_and(|node| node.kind.is_dir());
        let mtime = node.map_or_else(Timestamp::default, |node| node.mtime);
        if *to == place {
            return Ok(());
        }
        let target = relative(place.parent().unwrap_or(Path::new("/")), to);
        match self.node(&place)? {
            // Two directories of one purpose: each has its own files.
            Some(there) if there.kind.is_dir() && is_dir => return Ok(()),
            Some(there) if there.kind.is_dir() => {
                return Err(PlaceError::Directory {
                    member: member.to_owned(),
                    place,
                });
            }
            _ => {}
        }
        let mut node = made(FileKind::Symlink, 0o777, mtime);
        node.size = target.len() as u64;
        self.plan.insert(place, Planned::Link { target, node });
        Ok(())
    }
}

/// The first component of a relative path, and the rest.
fn first_of(path: &Path) -> Option<(&OsStr, &Path)> {
    let mut parts = path.components();
    match parts.next()? {
        Component::Normal(first) => Some((first, parts.as_path())),
        _ => None,
    }
}

fn made(kind: FileKind, mode: u32, mtime: Timestamp) -> Node {
    Node {
        kind,
        mode,
        uid: 0,
        gid: 0,
        size: 0,
        mtime,
        rdev: 0,
        nlink: 1,
        dev: 0,
        ino: 0,
    }
}

fn same_bytes(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(b.read(&mut right[..1])? == 0);
        }
        match b.read_exact(&mut right[..count]) {
            Ok(()) if left[..count] == right[..count] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// The way from the directory `from` to `to`; both absolute and without links.
fn relative(from: &Path, to: &Path) -> OsString {
    let shared = from.iter().zip(to.iter()).take_while(|(a, b)| a == b).count();
    let up = from.iter().skip(shared).map(|_| OsStr::new(".."));
    up.chain(to.iter().skip(shared))
        .collect::<PathBuf>()
        .into_os_string()
}
