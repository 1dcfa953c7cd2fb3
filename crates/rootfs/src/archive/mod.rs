//! Archives that `ADD` unpacks: tar, plain or compressed with gzip, bzip2, xz or zstd.

mod detect;
#[cfg(test)]
mod tests;
mod unpack;

use std::io;
use std::path::PathBuf;

pub use detect::{Compression, decoder, detect};
pub(crate) use unpack::unpack_path;

/// An archive cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The bytes are damaged.
    #[error("archive `{}` is damaged: {source}", archive.display())]
    Damaged {
        /// Path of the archive in its tree.
        archive: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },
    /// An entry lies below a symlink that leads nowhere inside the destination.
    #[error("archive `{}` has `{}` below the link `{}`, which leads nowhere", archive.display(), name.display(), link.display())]
    DanglingParent {
        /// Path of the archive in its tree.
        archive: PathBuf,
        /// The entry.
        name: PathBuf,
        /// The link, as a path of the archive.
        link: PathBuf,
    },
    /// A hard link leads to nothing that was unpacked or is there.
    #[error("archive `{}` links `{}` to `{}`, which does not exist", archive.display(), name.display(), target.display())]
    MissingLinkTarget {
        /// Path of the archive in its tree.
        archive: PathBuf,
        /// The entry.
        name: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
}
