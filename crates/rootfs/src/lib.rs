//! File operations confined to one root.
//!
//! Everything that reads or changes files of an image goes through this crate: trees that are
//! read without mounting ([`Tree`], [`MergedTree`], [`DirTree`]), the writable top layer
//! ([`Upper`]) with the semantics of BuildKit's file operations, content digests
//! ([`content`]), ignore patterns ([`ignore`]), archives ([`archive`]), user names ([`users`])
//! and root mounts ([`Mount`]).
//!
//! Layer directories have the format of Linux overlayfs: a character device 0:0 hides the name
//! below it, a directory with `trusted.overlay.opaque` or `user.overlay.opaque` = `y` hides
//! the directory below it.

pub mod archive;
mod by_name;
pub mod content;
mod copy;
pub mod ignore;
mod mount;
mod node;
mod ownership;
mod pool;
mod root_dir;
mod sparse;
mod sys;
#[cfg(test)]
mod testing;
mod tree;
mod upper;
pub mod users;

pub use by_name::ByName;
pub use copy::{
    ChangePart, ChangeSink, ChangeStream, Conflict, CopiedTree, CopyReport, CopySpec, FileMode,
    LayerManifest, LinkSource, ManifestEntry, ManifestError, ModeError, Placed, SymbolicMode,
    source_selector,
};
pub use mount::{DetachedMount, Mount, MountError, MountStrategy};
pub use node::{FileKind, Node, Owner, Timestamp, Xattrs};
pub use ownership::{IdMap, IdRange, NativeOwnership, Ownership};
pub use root_dir::RootDir;
pub use sparse::{copy_with_holes, same_contents};
pub use sys::xattrs_fd;
pub use tree::{
    Dir, DirTree, EmptyTree, Entry, Filter, FilteredTree, LayerFinder, LayerPath, ListedTree, MergedTree,
    ScannedDir, ScannedEntry, Tree, TreeError, scan_layers, scan_listed_layers,
};
pub use upper::{MkdirSpec, MkfileSpec, OpaqueXattr, RmSpec, SymlinkSpec, Upper, UpperError, UpperOptions};
