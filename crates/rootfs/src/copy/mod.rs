//! Copying files from a tree into a writable layer.

mod engine;
mod file;
mod finish;
mod manifest;
mod mode;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

pub use manifest::{LayerManifest, ManifestEntry, ManifestError};
pub use mode::{FileMode, ModeError, SymbolicMode};
pub use sink::{ChangePart, ChangeSink, ChangeStream};

use crate::content::{FileDigests, SelectorPath};
use crate::ignore::contains_wildcards;
use crate::node::{Owner, Timestamp};

pub(crate) use engine::copy;
pub(crate) use source::resolve_wildcards;

/// What a copy does when the destination exists and has another type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// A directory onto a file, or a file onto a directory, is an error.
    #[default]
    Fail,
    /// The source replaces what is there (LLB's `alwaysReplaceExistingDestPaths`).
    Replace,
}

/// One copy action: the fields of LLB's `FileActionCopy` with names already resolved.
#[derive(Clone, Debug)]
pub struct CopySpec {
    /// Absolute path in the source tree; may be a pattern when `allow_wildcard`.
    pub source: String,
    /// Absolute path in the destination; a trailing `/` makes it a directory.
    pub destination: String,
    /// Owner of everything that is copied or created; `None` keeps the source's owner and
    /// gives created parents to 0:0.
    pub owner: Option<Owner>,
    /// Mode of what is copied.
    pub mode: FileMode,
    /// Modification time of everything that is copied or created; `None` keeps the source's.
    pub timestamp: Option<Timestamp>,
    /// Follow a symbolic link that the source path itself is.
    pub follow_symlink: bool,
    /// Copy what is in a source directory instead of the directory.
    pub dir_copy_contents: bool,
    /// Unpack a source file that is an archive (`ADD`).
    pub attempt_unpack: bool,
    /// Create missing parents of the destination.
    pub create_destination_path: bool,
    /// Treat `source` as a Go `filepath.Match` pattern.
    pub allow_wildcard: bool,
    /// A pattern that matches nothing is no error.
    pub allow_empty_wildcard: bool,
    /// Only paths below the source that match one of these.
    pub include_patterns: Vec<String>,
    /// No paths below the source that match these.
    pub exclude_patterns: Vec<String>,
    /// What happens when types differ.
    pub conflict: Conflict,
    /// Paths that must be among the selected ones (`--parents`). Only the content digest
    /// checks them, as in BuildKit: see [`source_selector`].
    pub required_paths: Vec<String>,
    /// An earlier layer made by such a copy: its directory and its manifest. Regular files
    /// that are equal there (bytes, mode, owner, mtime, attributes) are hard-linked from it.
    pub link_from: Option<LinkSource>,
    /// Digests of the source tree's files that are known already
    /// ([`crate::content::digest_paths_recording`]): such a file is linked without being read
    /// again. What is copied is always hashed anew.
    pub known: Option<Arc<FileDigests>>,
    /// Worker threads; 0 means one a core.
    pub threads: usize,
    /// Ends the copy with [`crate::UpperError::Cancelled`] when it becomes true.
    pub cancel: Option<Arc<AtomicBool>>,
}

impl CopySpec {
    /// A copy with the flags that `COPY source destination` sets: follow links, contents of
    /// directories, create the destination, wildcards allowed and possibly empty.
    pub fn new(source: impl Into<String>, destination: impl Into<String>) -> CopySpec {
        CopySpec {
            source: source.into(),
            destination: destination.into(),
            owner: None,
            mode: FileMode::Keep,
            timestamp: None,
            follow_symlink: true,
            dir_copy_contents: true,
            attempt_unpack: false,
            create_destination_path: true,
            allow_wildcard: true,
            allow_empty_wildcard: true,
            include_patterns: Vec::new(),
            exclude_patterns: Vec::new(),
            conflict: Conflict::Fail,
            required_paths: Vec::new(),
            link_from: None,
            known: None,
            threads: 0,
            cancel: None,
        }
    }
}

/// An earlier layer whose unchanged files may be linked.
#[derive(Clone, Debug)]
pub struct LinkSource {
    /// Its directory, on the same file system as the layer that is written.
    pub dir: PathBuf,
    /// What was recorded when it was made.
    pub manifest: Arc<LayerManifest>,
    /// It is the topmost layer below the one that is written, which adds to it: what is equal there is not
    /// written at all. To be used only for a copy of what [`CopiedTree`] was told for that layer, and together
    /// with the layer it gives what the copy alone would have given, if the [`CopiedTree`] says afterwards that
    /// everything that was there before was found again.
    pub below: bool,
}

/// One directory that was copied to where nothing was before: every file below its destination comes from
/// the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedTree {
    /// Files, links and directories below the destination.
    pub entries: u64,
    /// How many of them were there already in a layer that is [`LinkSource::below`].
    pub found: u64,
    /// How many files and links were written, and not taken from an earlier layer.
    pub written: u64,
}

/// What copies did; one report may collect several copies from one source tree into one
/// layer.
#[derive(Clone, Debug, Default)]
pub struct CopyReport {
    /// Regular files written, links included.
    pub files: u64,
    /// Bytes of regular files written or linked.
    pub bytes: u64,
    /// Files taken from [`CopySpec::link_from`].
    pub linked: u64,
    /// Digests of the files of the source tree as they were copied, for
    /// [`crate::content::digest_paths_known`]: a content key of what was really copied.
    pub digests: FileDigests,
    /// Every regular file written, to be kept beside the layer for later links.
    pub manifest: LayerManifest,
    /// Of a copy of one directory to where nothing was, without device nodes, pipes, sockets and files of
    /// several names.
    pub tree: Option<CopiedTree>,
    /// An archive was unpacked: of its files nothing is in the manifest, and they may have replaced
    /// files that are.
    pub unpacked: bool,
    /// Device nodes of archives that were not made, since a user namespace refuses them: paths in the
    /// destination.
    pub left_out: Vec<PathBuf>,
    /// The last copy told a [`ChangeStream`] everything that it wrote; with nothing else in it, the layer is what
    /// was told.
    pub told: bool,
    /// Where each path went that was copied, in that order. What is below a directory went to the same place
    /// below its target, as far as patterns chose it.
    pub placed: Vec<Placed>,
}

/// A path of the source tree and where it went; both are real paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Path in the source tree.
    pub source: PathBuf,
    /// Path in the destination.
    pub target: PathBuf,
}

/// The selector whose digest covers what `spec` reads from its source (BuildKit's file op).
pub fn source_selector(spec: &CopySpec) -> SelectorPath {
    SelectorPath {
        path: spec.source.clone(),
        wildcard: spec.allow_wildcard && contains_wildcards(&spec.source),
        follow_links: spec.follow_symlink,
        include_patterns: spec.include_patterns.clone(),
        exclude_patterns: spec.exclude_patterns.clone(),
        required_paths: spec.required_paths.clone(),
    }
}
