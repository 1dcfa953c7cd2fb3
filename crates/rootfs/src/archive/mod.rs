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
