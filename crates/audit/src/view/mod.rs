//! An image as one tree of files.

mod merge;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use distil_oci::{DiffId, Digest, Digester, ImageConfig};
use distil_rootfs::{MergedTree, Node, RootDir, Tree, TreeError, Xattrs, scan_layers};
use distil_snapshot::{LayerId, Snapshotter};
use distil_store::{ImageInfo, Store};

use crate::preflight::LayerDir;
use crate::{AuditError, Instruction, instruction};

/// Links followed on one path before it counts as a loop, as in Linux.
const MAX_LINKS: usize = 40;

/// A path of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Absolute path. No directory on the way is a symbolic link.
    pub path: PathBuf,
    /// Type, mode, owner, size and time. The inode and its number of names say nothing about the image.
    pub node: Node,
    /// Index of the layer that it is from, 0 the lowest. A directory is from the lowest layer that has it with
    /// the mode and owner that are seen.
    pub layer: usize,
    /// Index of the layer whose directory holds it on disk; differs from `layer` for directories alone.
    disk: usize,
    /// Target of a symbolic link.
    pub target: Option<OsString>,
    /// The other names of a hard link in the same layer share this number; the layer stores them once.
    pub link_group: Option<usize>,
}

impl Entry {
    /// Bytes of contents: those of a regular file, 0 for everything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        if self.node.kind.is_file() {
            self.node.size
        } else {
            0
        }
    }
}

/// A path of a layer that no one sees any more, or a directory that got another mode or owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Absolute path.
    pub path: PathBuf,
    /// What is stored there.
    pub node: Node,
    /// Bytes that it wastes: its size, or 0 when a hard link of the same layer is still seen or was counted.
    pub wasted: u64,
    /// Index of the layer that stores it.
    pub layer: usize,
    /// Index of the layer that hides it.
    pub by: usize,
    /// It was removed; else something else stands in its place.
    pub removed: bool,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The layer in the store.
    pub id: LayerId,
    /// Digest of its tar, from the image config.
    pub diff_id: Option<DiffId>,
    /// The instruction that made it, where the history tells.
    pub instruction: Option<Instruction>,
    /// Regular files that it stores, each name of a hard link counted.
    pub files: u64,
    /// Bytes of their contents, hard links counted once.
    pub size: u64,
    /// Bytes of those that later layers replace or remove.
    pub wasted: u64,
}

/// An image, listed once. The store's lease that the snapshotter has keeps its layers while this lives.
#[derive(Debug)]
pub struct ImageView {
    id: Digest,
    config: ImageConfig,
    layers: Vec<Layer>,
    /// Sorted by the bytes of the path.
    entries: Vec<Entry>,
    hidden: Vec<Hidden>,
    tree: MergedTree,
    /// The directories of each layer, topmost first.
    roots: Vec<Vec<RootDir>>,
    /// Holds the layers.
    snapshots: Snapshotter,
}

impl ImageView {
    /// Lists the files of `image` with one thread a core. No file is opened.
    ///
    /// # Errors
    /// When the config or a layer is missing or damaged, or this process is outside of the user namespace
    /// that the layers were written in.
    pub fn open(snapshots: &Snapshotter, image: &ImageInfo) -> Result<Self, AuditError> {
        let bytes = snapshots.store().blobs().read(&image.id)?;
        let broken = |reason: String| AuditError::Config { id: image.id, reason };
        let config = ImageConfig::from_json(&bytes).map_err(|error| broken(error.to_string()))?;
        let (named, stored) = (config.rootfs.diff_ids.len(), image.layers.len());
        if named != stored {
            return Err(broken(format!("it names {named} layers, the store has {stored}")));
        }
        // This also holds the layers and checks whose ids they were written with.
        let tree = snapshots.tree(&image.layers)?;
        let places = snapshots.places(&image.layers);
        let scanned = merge::by_layer(&places, scan_layers(tree.layers(), 0)?, stored);
        let mut links = Vec::with_capacity(stored);
        for layer in &image.layers {
            links.push(snapshots.links(*layer)?);
        }
        let merged = merge::merge(&scanned, &links);
        let instructions = instruction::of_layers(&config, stored);
        let ids = image.layers.iter().zip(&config.rootfs.diff_ids);
        let layers = ids.zip(instructions).zip(&merged.totals);
        let layers = layers.map(|(((id, diff_id), instruction), totals)| Layer {
            id: *id,
            diff_id: Some(*diff_id),
            instruction,
            files: totals.files,
            size: totals.size,
            wasted: totals.wasted,
        });
        let mut roots: Vec<Vec<RootDir>> = (0..stored).map(|_| Vec::new()).collect();
        for (layer, dir) in places.iter().rev() {
            roots[*layer].push(RootDir::open(dir)?);
        }
        Ok(Self {
            id: image.id,
            layers: layers.collect(),
            roots,
            config,
            entries: merged.entries,
            hidden: merged.hidden,
            tree,
            snapshots: snapshots.clone(),
        })
    }

    /// The store that the layers are in.
    pub(crate) fn store(&self) -> &Store {
        self.snapshots.store()
    }

    /// The directories of its layers, lowest first.
    pub(crate) fn dirs(&self) -> Vec<LayerDir> {
        let layers: Vec<LayerId> = self.layers.iter().map(|layer| layer.id).collect();
        let places = self.snapshots.places(&layers).into_iter();
        let dir = |(layer, path)| LayerDir {
            layer,
            path,
            files: None,
        };
        places.map(dir).collect()
    }

    /// Where the store is that the layers are in.
    pub(crate) fn store_root(&self) -> &Path {
        self.snapshots.store().root()
    }

    /// Image ID: digest of its config.
    #[must_use]
    pub fn id(&self) -> Digest {
        self.id
    }

    /// The image config.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// Its layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Every path but the root, sorted by its bytes.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What later layers replaced or removed, in the order in which that happened.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        &self.hidden
    }

    /// The same files as a tree, for code that walks paths itself.
    #[must_use]
    pub fn tree(&self) -> &MergedTree {
        &self.tree
    }

    /// Bytes of contents that are seen, hard links counted once.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size - layer.wasted).sum()
    }

    /// What is at `path`, no link followed.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Entry> {
        self.position(path).map(|at| &self.entries[at])
    }

    fn position(&self, path: &Path) -> Option<usize> {
        let wanted = path.as_os_str().as_bytes();
        self.entries
            .binary_search_by(|entry| bytes(entry).cmp(wanted))
            .ok()
    }

    /// Everything below the directory `path`, at any depth, sorted by the bytes of the path. All of the image
    /// for `/`.
    #[must_use]
    pub fn below(&self, path: &Path) -> &[Entry] {
        let mut prefix = path.as_os_str().as_bytes().to_vec();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        let start = self.entries.partition_point(|entry| bytes(entry) < &prefix[..]);
        let found = self.entries[start..].partition_point(|entry| bytes(entry).starts_with(&prefix));
        &self.entries[start..start + found]
    }

    /// What is directly in the directory `path`, sorted by the bytes of the name.
    pub fn children(&self, path: &Path) -> impl Iterator<Item = &Entry> + use<'_> {
        let length = path.as_os_str().len();
        let below = self.below(path).iter();
        below.filter(move |entry| !bytes(entry)[length + 1..].contains(&b'/'))
    }

    /// The real path that `path` leads to, every link followed inside the image; the last one only if
    /// `follow`. None when nothing is there, or links go in a circle. The root is `/`.
    #[must_use]
    pub fn resolve(&self, path: &Path, follow: bool) -> Option<PathBuf> {
        let mut todo = parts(path);
        todo.reverse();
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                at.pop();
                continue;
            }
            at.push(&part);
            let entry = self.get(&at)?;
            match &entry.target {
                Some(target) if follow || !todo.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    at.pop();
                    if target.as_bytes().starts_with(b"/") {
                        at = PathBuf::from("/");
                    }
                    todo.extend(parts(Path::new(target)).into_iter().rev());
                }
                None if !todo.is_empty() && !entry.node.kind.is_dir() => return None,
                _ => {}
            }
        }
        Some(at)
    }

    /// [`ImageView::resolve`] and then [`ImageView::get`]; the root has no entry.
    #[must_use]
    pub fn find(&self, path: &Path, follow: bool) -> Option<&Entry> {
        self.get(&self.resolve(path, follow)?)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// When it is something else, or the layer's directory has changed.
    pub fn open_file(&self, entry: &Entry) -> Result<File, AuditError> {
        self.open_in(entry.disk, &entry.path)
    }

    fn open_in(&self, layer: usize, path: &Path) -> Result<File, AuditError> {
        let mut file = Err(TreeError::NotFound {
            path: path.to_owned(),
        });
        for root in &self.roots[layer] {
            file = root.open_file(path);
            if !matches!(&file, Err(error) if error.is_not_found()) {
                break;
            }
        }
        Ok(file?)
    }

    /// Opens a regular file that no one sees any more, but that its layer still stores.
    ///
    /// # Errors
    /// When it is something else, or the layer's directory has changed.
    pub fn open_hidden(&self, hidden: &Hidden) -> Result<File, AuditError> {
        self.open_in(hidden.layer, &hidden.path)
    }

    /// The contents of a regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is larger (nothing is read then), or cannot be read.
    pub fn read(&self, entry: &Entry, limit: u64) -> Result<Vec<u8>, AuditError> {
        let size = entry.size();
        if size > limit {
            let path = entry.path.clone();
            return Err(AuditError::TooLarge { path, size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let file = self.open_file(entry)?;
        file.take(limit).read_to_end(&mut bytes).map_err(failed(entry))?;
        Ok(bytes)
    }

    /// Up to `length` bytes from the start of a regular file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_start(&self, entry: &Entry, length: u64) -> Result<Vec<u8>, AuditError> {
        let mut bytes = Vec::new();
        let file = self.open_file(entry)?;
        file.take(length).read_to_end(&mut bytes).map_err(failed(entry))?;
        Ok(bytes)
    }

    /// SHA-256 of the contents of a regular file, holes of a sparse one counted as zeros.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&self, entry: &Entry) -> Result<Digest, AuditError> {
        let mut digester = Digester::new();
        self.copy(entry, &mut digester)?.map_err(failed(entry))?;
        Ok(digester.finish())
    }

    /// Writes the contents of a regular file to `out`. The inner error is one of `out` or of reading.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn copy(&self, entry: &Entry, out: &mut dyn Write) -> Result<io::Result<u64>, AuditError> {
        let mut file = self.open_file(entry)?;
        let mut buffer = vec![0; 256 * 1024];
        let mut copied = 0;
        Ok(loop {
            match file.read(&mut buffer) {
                Ok(0) => break Ok(copied),
                Ok(length) => match out.write_all(&buffer[..length]) {
                    Ok(()) => copied += length as u64,
                    Err(error) => break Err(error),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        })
    }

    /// Extended attributes, sorted by name, without those of overlayfs.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn xattrs(&self, entry: &Entry) -> Result<Xattrs, AuditError> {
        Ok(self.tree.xattrs(&entry.path)?)
    }

    /// The real paths of many directories, each resolved once.
    #[must_use]
    pub fn real_paths(&self) -> RealPaths<'_> {
        RealPaths {
            view: self,
            known: HashMap::new(),
        }
    }
}

/// Resolves many paths of one image; see [`ImageView::real_paths`].
#[derive(Debug)]
pub struct RealPaths<'v> {
    view: &'v ImageView,
    /// Real path of a directory.
    known: HashMap<PathBuf, Option<PathBuf>>,
}

impl RealPaths<'_> {
    /// `path` with every link on the way to its last component followed; the last one is kept as it is and
    /// need not exist. None when its directory does not exist.
    pub fn of(&mut self, path: &Path) -> Option<PathBuf> {
        let (parent, name) = (path.parent()?, path.file_name()?);
        if let Some(known) = self.known.get(parent) {
            return known.as_ref().map(|parent| parent.join(name));
        }
        let real = self.view.resolve(parent, true);
        let result = real.as_ref().map(|parent| parent.join(name));
        self.known.insert(parent.to_owned(), real);
        result
    }
}

fn bytes(entry: &Entry) -> &[u8] {
    entry.path.as_os_str().as_bytes()
}

fn failed(entry: &Entry) -> impl FnOnce(io::Error) -> AuditError {
    let path = entry.path.clone();
    move |source| AuditError::Read { path, source }
}

/// The names and `..` of a path.
fn parts(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    parts.collect()
}
