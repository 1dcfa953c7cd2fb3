//! Contents of files of unpacked packages.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use distil_debian::SmallContents;
use distil_oci::Digest;

use super::AssembleError;
use super::tree::Stored;

/// Reads many files, the small ones of a package with those around them.
#[derive(Debug, Default)]
pub(crate) struct ContentReader {
    /// By package.
    small: HashMap<Digest, SmallContents>,
}

impl ContentReader {
    /// The content of a small file; `None` when it is too large to be read with others.
    pub(crate) fn get(&mut self, stored: &Stored) -> Result<Option<&[u8]>, AssembleError> {
        let package = &stored.package;
        let contents = match self.small.entry(*package.sha256()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => {
                let opened = package.small_contents();
                place.insert(opened.map_err(|error| stored.failed(error))?)
            }
        };
        let content = contents.get(package, stored.entry);
        content.map_err(|error| stored.failed(error))
    }
}
