//! What can go wrong.

use std::io;

/// Why an ELF file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file contradicts itself.
    #[error("it is a damaged ELF file: {0}")]
    Malformed(&'static str),
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}
