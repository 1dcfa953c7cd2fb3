//! Packages into the tree, as dpkg would unpack them into an empty root.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use distil_debian::{PackageEntry, PackageEntryKind, PathFilter, StoredPackage, deb822, relation};

use super::AssembleError;
use super::tree::{Content, Kind, Meta, Node, Origin, Stored, Tree, shown};
use crate::recipe::{Exclude, ImageSpec};

/// Where images without dpkg's database say what is in them; what scanners read.
pub(crate) const STATUS: &str = "var/lib/dpkg/status.d";

/// The top directories of a tree whose `/usr` is merged, which are links there.
fn merged_directories(architecture: &str) -> &'static [&'static str] {
    match architecture {
        // The loader of these has a path of its own.
        "amd64" => &["bin", "lib", "lib64", "sbin"],
        _ => &["bin", "lib", "sbin"],
    }
}

/// What one package is called, and its files.
#[derive(Clone, Copy)]
pub(crate) struct Package<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) origin: Origin,
    pub(crate) files: &'a Arc<StoredPackage>,
}

impl Package<'_> {
    /// Entry `number`.
    fn stored(&self, number: usize) -> Stored {
        Stored {
            package: Arc::clone(self.files),
            entry: number,
        }
    }

    /// The file that entry `number` is or has another name for.
    pub(crate) fn content(&self, number: usize) -> Option<Stored> {
        self.files.content_size(number).map(|_| self.stored(number))
    }
}

/// Unpacks all packages. Links come first, whatever the order of the packages, so
/// that what others ship below a link goes to where it leads.
pub(crate) fn unpack(
    tree: &mut Tree,
    spec: &ImageSpec,
    packages: &[Package<'_>],
) -> Result<(), AssembleError> {
    if spec.merged_usr {
        merge_usr(tree, &spec.architecture)?;
    }
    let excludes = Excludes::new(&spec.excludes);
    let mut thinned = BTreeSet::new();
    let mut entries: Vec<(usize, usize, &PackageEntry)> = Vec::new();
    for (owner, package) in packages.iter().enumerate() {
        for (number, entry) in package.files.entries().iter().enumerate() {
            if entry.path.is_empty() {
                continue;
            }
            if excludes.skips(entry) {
                thinned.extend(ancestors(&entry.path).map(<[u8]>::to_vec));
            } else {
                entries.push((owner, number, entry));
            }
        }
    }
    let depth = |entry: &PackageEntry| entry.path.iter().filter(|byte| **byte == b'/').count();
    let mut links: Vec<_> = entries.iter().filter(|(_, _, entry)| is_symlink(entry)).collect();
    links.sort_by_key(|(_, _, entry)| depth(entry));
    let mut unpacking = Unpacking {
        tree,
        packages,
        parent: None,
    };
    for (owner, number, _) in links {
        unpacking.entry(*owner, *number)?;
    }
    for (owner, number, entry) in &entries {
        if !is_symlink(entry) {
            unpacking.entry(*owner, *number)?;
        }
    }
    remove_emptied(tree, thinned);
    for package in packages {
        register(tree, package)?;
    }
    Ok(())
}

fn is_symlink(entry: &PackageEntry) -> bool {
    matches!(entry.kind, PackageEntryKind::Symlink { .. })
}

fn merge_usr(tree: &mut Tree, architecture: &str) -> Result<(), AssembleError> {
    for name in merged_directories(architecture) {
        let target = format!("usr/{name}").into_bytes();
        let node = |kind, mode| Node {
            kind,
            meta: Meta::made(mode),
            origin: Origin::Recipe,
        };
        tree.put(target.clone(), node(Kind::Directory, 0o755))?;
        tree.put(name.as_bytes().to_vec(), node(Kind::Symlink(target, None), 0o777))?;
    }
    Ok(())
}

/// A hard link whose other name was left out, or is the file of another package or of the recipe
/// now, is the file itself, and the ones after it are links to it. Comes when no file is replaced
/// any more.
pub(super) fn mend_links(tree: &mut Tree, package: &Package<'_>) -> Result<(), AssembleError> {
    let mut firsts: HashMap<usize, Vec<u8>> = HashMap::new();
    for (number, entry) in package.files.entries().iter().enumerate() {
        let (PackageEntryKind::HardLink { file }, Some(content)) = (&entry.kind, package.content(number))
        else {
            continue;
        };
        let path = tree.resolve(&entry.path)?;
        let Some(Node {
            kind: Kind::HardLink(target),
            origin,
            ..
        }) = tree.nodes.get(&path)
        else {
            continue;
        };
        let present = tree.nodes.get(target).map(|node| &node.kind);
        let is_file = matches!(present, Some(Kind::File(Content::Stored(one))) if one.is_file(&content));
        if *origin != package.origin || is_file {
            continue;
        }
        let kind = match firsts.get(file) {
            Some(first) => Kind::HardLink(first.clone()),
            None => Kind::File(Content::Stored(content)),
        };
        firsts.entry(*file).or_insert_with(|| path.clone());
        if let Some(node) = tree.nodes.get_mut(&path) {
            node.kind = kind;
        }
    }
    Ok(())
}

/// Directories out of which all was excluded say nothing.
fn remove_emptied(tree: &mut Tree, thinned: BTreeSet<Vec<u8>>) {
    // The deepest first, so that a parent is looked at without them.
    for path in thinned.into_iter().rev() {
        let Ok(path) = tree.resolve(&path) else { continue };
        let is_directory = matches!(
            tree.nodes.get(&path).map(|node| &node.kind),
            Some(Kind::Directory)
        );
        if is_directory && !tree.has_children(&path) {
            tree.nodes.remove(&path);
        }
    }
}

/// The directories that lead to a path, the nearest last.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..path.len())
        .filter(|at| path[*at] == b'/')
        .map(|at| &path[..at])
}

/// Adds `control` and `md5sums` of a package to the list of what is installed.
pub(crate) fn register(tree: &mut Tree, package: &Package<'_>) -> Result<(), AssembleError> {
    let files = package.files;
    for (suffix, content) in [
        ("", files.control()),
        (".md5sums", files.md5sums().unwrap_or_default()),
    ] {
        if suffix.is_empty() || !content.is_empty() {
            let path = tree.resolve(format!("{STATUS}/{}{suffix}", package.name).as_bytes())?;
            let node = Node {
                kind: Kind::File(Content::Bytes(Arc::new(content.to_vec()))),
                meta: Meta {
                    mtime: files.control_mtime(),
                    ..Meta::made(0o644)
                },
                origin: package.origin,
            };
            tree.put(path, node)?;
        }
    }
    Ok(())
}

/// Entry `number` of a package as an entry of the tree.
pub(crate) fn node_of(package: &Package<'_>, number: usize) -> Option<Node> {
    let entry = package.files.entries().get(number)?;
    let kind = match &entry.kind {
        PackageEntryKind::Directory => Kind::Directory,
        PackageEntryKind::File { .. } => Kind::File(Content::Stored(package.stored(number))),
        PackageEntryKind::Symlink { target } => Kind::Symlink(target.clone(), Some(package.stored(number))),
        PackageEntryKind::HardLink { file } => {
            Kind::HardLink(package.files.entries().get(*file)?.path.clone())
        }
    };
    Some(Node {
        kind,
        meta: Meta {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
        },
        origin: package.origin,
    })
}

struct Unpacking<'a> {
    tree: &'a mut Tree,
    packages: &'a [Package<'a>],
    /// The directory of the last path, and what it is without links, as long as no link is replaced. All directories
    /// that lead there are in the tree, which no entry takes out again: a link that is added is none of them.
    parent: Option<(&'a [u8], Vec<u8>)>,
}

impl<'a> Unpacking<'a> {
    /// As [`Tree::resolve`], and whether the directories that lead there are known to be in the tree. Entries come one
    /// directory after the other, so that most have the one of the entry before.
    fn resolve(&mut self, path: &'a [u8]) -> Result<(Vec<u8>, bool), AssembleError> {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else {
            return Ok((self.tree.resolve(path)?, false));
        };
        let (parent, name) = (&path[..slash], &path[slash..]);
        match &self.parent {
            Some((last, real)) if *last == parent => Ok(([real.as_slice(), name].concat(), true)),
            _ => {
                let real = self.tree.resolve(path)?;
                // The last component stays as it is.
                self.parent = real.strip_suffix(name).map(|real| (parent, real.to_vec()));
                Ok((real, false))
            }
        }
    }

    /// Puts entry `entry` of package `number` into the tree.
    fn entry(&mut self, number: usize, entry: usize) -> Result<(), AssembleError> {
        let package = self.packages[number];
        let (Some(mut node), Some(entry)) = (node_of(&package, entry), package.files.entries().get(entry))
        else {
            return Ok(());
        };
        let (path, has_parents) = self.resolve(&entry.path)?;
        if path.is_empty() {
            return Ok(());
        }
        if let Kind::HardLink(target) = &mut node.kind {
            *target = self.tree.resolve(target)?;
        }
        let Some(present) = self.tree.nodes.get(&path) else {
            if !has_parents {
                self.tree.make_parents(&path, node.origin)?;
            }
            self.tree.nodes.insert(path, node);
            return Ok(());
        };
        match (&present.kind, &node.kind) {
            (Kind::Directory, Kind::Directory) => {
                // Those made to lead somewhere give way to what a package says of them.
                if present.origin == Origin::Recipe || present.meta == Meta::made(0o755) {
                    self.tree.nodes.insert(path, node);
                }
                Ok(())
            }
            (Kind::Symlink(..), Kind::Directory) => self.directory_over_link(number, &path),
            (Kind::Symlink(old, _), Kind::Symlink(new, _)) if old == new => {
                self.tree.nodes.insert(path, node);
                Ok(())
            }
            (Kind::Directory, _) | (_, Kind::Directory) => Err(self.conflict(number, &path)),
            _ => self.replace(number, path, node),
        }
    }

    /// The link stays, as on a system where dpkg unpacks over one; what the package
    /// has below goes where it leads.
    fn directory_over_link(&self, number: usize, path: &[u8]) -> Result<(), AssembleError> {
        let real = self.tree.follow(path)?;
        match self.tree.nodes.get(&real).map(|node| &node.kind) {
            None | Some(Kind::Directory) => Ok(()),
            Some(_) => Err(self.conflict(number, path)),
        }
    }

    /// Of two files, the one of the package wins that says it replaces the other.
    fn replace(&mut self, number: usize, path: Vec<u8>, node: Node) -> Result<(), AssembleError> {
        let later = &self.packages[number];
        let present = self.tree.nodes.get(&path).map(|node| node.origin);
        let earlier = self.packages.iter().find(|one| Some(one.origin) == present);
        let Some(earlier) = earlier else {
            // A link that was made for the merged tree stays.
            return Err(self.conflict(number, &path));
        };
        if replaces(earlier, later) {
            return Ok(());
        }
        if !replaces(later, earlier) {
            return Err(self.conflict(number, &path));
        }
        self.tree.nodes.insert(path, node);
        self.parent = None;
        Ok(())
    }

    fn conflict(&self, number: usize, path: &[u8]) -> AssembleError {
        let origin = self.tree.nodes.get(path).map(|node| node.origin);
        let first = self.packages.iter().find(|one| Some(one.origin) == origin);
        AssembleError::Conflict {
            first: first.map_or_else(
                || "the recipe".to_owned(),
                |one| format!("package `{}`", one.name),
            ),
            second: self.packages[number].name.to_owned(),
            path: shown(path),
        }
    }
}

/// Whether `winner` says that it replaces files of `loser` (Policy 7.6.1).
fn replaces(winner: &Package<'_>, loser: &Package<'_>) -> bool {
    let field = control_field(winner, "Replaces");
    let groups = relation::parse(&field).unwrap_or_default();
    groups
        .iter()
        .flatten()
        .any(|one| one.name == loser.name && one.accepts_version(loser.version))
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A field of the control file, empty when it is not there.
fn control_field(package: &Package<'_>, name: &str) -> String {
    let text = String::from_utf8_lossy(package.files.control());
    let paragraph = deb822::paragraphs(&text).next();
    paragraph.and_then(|one| one.get(name)).unwrap_or("").to_owned()
}

/// All sets of excludes; a path is left out when one of them leaves it out.
struct Excludes {
    filters: Vec<PathFilter>,
}

impl Excludes {
    fn new(excludes: &[Exclude]) -> Self {
        let filter = |one: &Exclude| PathFilter::new(&borrowed(&one.patterns), &borrowed(&one.except));
        Self {
            filters: excludes.iter().map(filter).collect(),
        }
    }

    fn skips(&self, entry: &PackageEntry) -> bool {
        let path = [b"/", entry.path.as_slice()].concat();
        let is_parent = matches!(
            entry.kind,
            PackageEntryKind::Directory | PackageEntryKind::Symlink { .. }
        );
        self.filters.iter().any(|filter| filter.skips(&path, is_parent))
    }
}
