//! Reading the parts of an image where it was found.

use std::io::Read;

use distil_oci::{Descriptor, Layout};
use distil_store::Store;

use crate::ImageError;

/// A place that has the parts of an image.
pub(crate) enum Place<'a> {
    Layout(&'a Layout),
    Store(&'a Store),
}

impl Place<'_> {
    /// A small document, checked against its digest.
    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        Ok(match self {
            Self::Layout(layout) => layout.read_document(descriptor)?,
            Self::Store(store) => store.blobs().read(&descriptor.digest)?,
        })
    }

    /// A layer as it is stored there; the reader fails at its end when the digest differs.
    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send>, ImageError> {
        Ok(match self {
            Self::Layout(layout) => Box::new(layout.open_blob(descriptor)?),
            Self::Store(store) => store.blobs().open(&descriptor.digest)?,
        })
    }
}
