//! Content digests of paths, BuildKit's `contenthash` byte for byte.
//!
//! A digest covers names, types, modes, owners, sizes, link targets, device numbers (of
//! contexts), extended attributes (no `security.*` but `security.capability`, no `system.*`)
//! and bytes; never times.

mod file;
mod filtered;
pub(crate) mod header;
mod recursive;
mod selector;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::by_name::ByName;
use crate::tree::{Tree, TreeError};

pub(crate) use file::{SMALL_FILE, hash_contents};
pub use selector::{Selector, SelectorPath};

/// Why no digest could be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// Reading the tree failed; a literal path that is missing is [`TreeError::NotFound`].
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file shrank or grew while it was read.
    #[error("`{}` changed while it was hashed: build again when nothing writes to it", path.display())]
    Changed {
        /// Path in the tree.
        path: PathBuf,
    },
    /// The cancel flag became true.
    #[error("cancelled")]
    Cancelled,
}

/// Digests of regular files of one tree that are known already, by real path: those of an
/// earlier [`digest_paths_recording`], or of a copy (of the bytes that were copied).
#[derive(Clone, Debug, Default)]
pub struct FileDigests {
    /// By directory, then by name.
    dirs: HashMap<PathBuf, ByName<[u8; 32]>>,
}

impl FileDigests {
    /// The digests in the directory `dir` (absolute, no links in it), if there are any.
    pub fn dir(&self, dir: &Path) -> Option<&ByName<[u8; 32]>> {
        self.dirs.get(dir)
    }

    /// The digest of the file `name` in the directory `dir`.
    pub fn get(&self, dir: &Path, name: &OsStr) -> Option<[u8; 32]> {
        self.dir(dir)?.get(name).copied()
    }

    /// Adds or replaces digests of files in `dir`.
    pub fn extend(&mut self, dir: &Path, digests: Vec<(OsString, [u8; 32])>) {
        match self.dirs.get_mut(dir) {
            Some(names) => names.extend(digests),
            None => self.dirs.entry(dir.to_owned()).or_default().extend(digests),
        }
    }

    /// Number of files.
    pub fn len(&self) -> usize {
        self.dirs.values().map(ByName::len).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.dirs.values().all(ByName::is_empty)
    }
}

/// What one computation works with.
pub(crate) struct Context<'a> {
    tree: &'a dyn Tree,
    transferred: bool,
    threads: usize,
    cancel: &'a AtomicBool,
    known: Option<&'a FileDigests>,
    recorded: Option<&'a Mutex<FileDigests>>,
}

impl<'a> Context<'a> {
    fn new(tree: &'a dyn Tree, cancel: &'a AtomicBool) -> Context<'a> {
        Context {
            tree,
            transferred: tree.is_transferred(),
            threads: 0,
            cancel,
            known: None,
            recorded: None,
        }
    }

    fn check(&self) -> Result<(), ContentError> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(ContentError::Cancelled);
        }
        Ok(())
    }

    fn known(&self, dir: &Path) -> Option<&'a ByName<[u8; 32]>> {
        self.known?.dir(dir)
    }

    /// Keeps digests of regular files of one directory.
    fn record(&self, dir: &Path, digests: Vec<(OsString, [u8; 32])>) {
        if let (Some(recorded), false) = (self.recorded, digests.is_empty()) {
            let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.extend(dir, digests);
        }
    }
}

/// The digest of everything `selector` names in `tree`: sha256 of the path digests (as
/// `sha256:HEX`) joined by NUL, as BuildKit's file and exec ops combine them. Runs on all
/// cores. The selector is used as it is; see [`Selector::deduplicated`].
pub fn digest_paths(
    tree: &dyn Tree,
    selector: &Selector,
    cancel: &AtomicBool,
) -> Result<[u8; 32], ContentError> {
    combine(&Context::new(tree, cancel), selector)
}

/// [`digest_paths`] that keeps the digest of every regular file, so that a copy of the same
/// tree right afterwards need not hash again what it links from an earlier layer.
pub fn digest_paths_recording(
    tree: &dyn Tree,
    selector: &Selector,
    cancel: &AtomicBool,
) -> Result<([u8; 32], FileDigests), ContentError> {
    let recorded = Mutex::new(FileDigests::default());
    let mut context = Context::new(tree, cancel);
    context.recorded = Some(&recorded);
    let digest = combine(&context, selector)?;
    let recorded = recorded.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok((digest, recorded))
}

/// [`digest_paths`] that takes the digests of regular files from `known` where it has them
/// and reads only the others.
pub fn digest_paths_known(
    tree: &dyn Tree,
    selector: &Selector,
    known: &FileDigests,
    cancel: &AtomicBool,
) -> Result<[u8; 32], ContentError> {
    let mut context = Context::new(tree, cancel);
    context.known = Some(known);
    combine(&context, selector)
}

/// The digest of one selected path (not yet combined by [`digest_paths`]).
pub fn digest_path(
    tree: &dyn Tree,
    path: &SelectorPath,
    cancel: &AtomicBool,
) -> Result<[u8; 32], ContentError> {
    digest_selected(&Context::new(tree, cancel), path)
}

fn combine(context: &Context<'_>, selector: &Selector) -> Result<[u8; 32], ContentError> {
    let root = [SelectorPath {
        path: "/".to_owned(),
        ..SelectorPath::default()
    }];
    let paths = if selector.paths.is_empty() {
        &root[..]
    } else {
        &selector.paths
    };
    let mut hash = Sha256::new();
    for (index, path) in paths.iter().enumerate() {
        if index > 0 {
            hash.update(b"\0");
        }
        hash.update(header::digest_text(&digest_selected(context, path)?));
    }
    Ok(hash.finalize().into())
}

fn digest_selected(context: &Context<'_>, path: &SelectorPath) -> Result<[u8; 32], ContentError> {
    context.check()?;
    if path.has_wildcard_or_filters() {
        filtered::digest_filtered(context, path)
    } else {
        digest_plain(context, &key_path(&path.path), path.follow_links)
    }
}

/// The digest of a literal path; a directory counts with everything in it.
fn digest_plain(context: &Context<'_>, path: &[u8], follow: bool) -> Result<[u8; 32], ContentError> {
    let given = Path::new("/").join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(path)));
    let real = if follow {
        context.tree.resolve(&given)?
    } else {
        context.tree.resolve_parent(&given)?
    };
    let node = context
        .tree
        .lookup(&real)?
        .ok_or(TreeError::NotFound { path: given })?;
    if node.kind.is_dir() {
        let dir = context.tree.open_dir(&real)?;
        return recursive::digest_dir(context, dir);
    }
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(TreeError::NotFound { path: real }.into());
    };
    if node.kind.is_file()
        && let Some(known) = context.known(parent).and_then(|dir| dir.get(name))
    {
        return Ok(*known);
    }
    let dir = context.tree.open_dir(parent)?;
    let mut buffer = Vec::new();
    let digest = file::digest_entry(dir.as_ref(), name, &node, context.transferred, &mut buffer)?;
    if node.kind.is_file() {
        context.record(parent, vec![(name.to_owned(), digest)]);
    }
    Ok(digest)
}

/// The cleaned absolute form of a selected path; empty for the root.
pub(crate) fn key_path(path: &str) -> Vec<u8> {
    let clean = crate::tree::clean_absolute(Path::new(path));
    match clean.as_os_str().as_bytes() {
        b"/" => Vec::new(),
        other => other.to_vec(),
    }
}
