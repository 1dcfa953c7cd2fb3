//! Where the files of an image come from, over all stages of its build.
//!
//! A build that makes an image leaves two kinds of records in the store, beside the image and in none of its bytes:
//!
//! - an [`ImageRecord`] under the image's ID: the step that made each layer, and where each step was written;
//! - a [`CopyRecord`] under each layer that COPY or ADD made: what was taken from which stage, the step that made it
//!   there, and the Debian package that owned it there.
//!
//! [`Origins::read`] puts them together. An image that was pulled or loaded has no records, unless the same image was
//! built in this store: then [`Origins::read`] gives `None`, and [`crate::Layer::instruction`] is all there is to know.
//! Records are facts about builds, not parts of images: no digest and no cache key depends on them.

mod copies;
mod path_text;
mod steps;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use distil_oci::Digest;
use distil_store::{LayerId, Store, StoreError};

pub use copies::{CopiedPackage, CopyRecord, PlaceRecord, Stage};
pub use steps::{ImageRecord, LayerStep, Step};

/// What is known of the origins of an image's files.
#[derive(Debug)]
pub struct Origins {
    image: ImageRecord,
    /// Of each layer, lowest first.
    copies: Vec<Option<CopyRecord>>,
}

/// Where one file comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct FileOrigin<'o> {
    /// Where COPY took it from; then, when it had been copied there, where that COPY took it from, and so on. The last
    /// one is where it was made. Never empty.
    pub places: Vec<Place<'o>>,
    /// The Debian package that owned it in one of these places.
    pub package: Option<&'o CopiedPackage>,
}

/// A file in a stage of the build.
#[derive(Debug, PartialEq, Eq)]
pub struct Place<'o> {
    /// The stage, as COPY's `--from` would name it: its name or number, an image, packages, or a build context.
    pub stage: &'o str,
    /// The path there.
    pub path: PathBuf,
    /// The step that made it there; the FROM of the stage for what came with its base image. None for the files of a
    /// build context.
    pub step: Option<&'o Step>,
}

impl Origins {
    /// Reads the records of an image. `None` where there are none: it was not built in this store, or by an older
    /// version. A record that cannot be understood counts as missing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn read(store: &Store, image: &Digest) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = store.image_origins(image)? else {
            return Ok(None);
        };
        let Some(image) = ImageRecord::from_json(&bytes) else {
            return Ok(None);
        };
        let mut copies = Vec::with_capacity(image.layers.len());
        for layer in &image.layers {
            let record = store.layer_origins(layer.layer)?;
            copies.push(record.and_then(|bytes| CopyRecord::from_json(&bytes)));
        }
        for record in copies.iter_mut().flatten() {
            record.place_steps(&image.steps);
        }
        Ok(Some(Self { image, copies }))
    }

    /// Name of the Dockerfile, as it was given to the build.
    #[must_use]
    pub fn dockerfile(&self) -> &str {
        &self.image.dockerfile
    }

    /// The step that made a layer, 0 the lowest; the FROM for the layers of the base image.
    #[must_use]
    pub fn layer(&self, layer: usize) -> Option<&Step> {
        let step = self.image.layers.get(layer)?.step?;
        self.image.steps.get(usize::try_from(step).ok()?)
    }

    /// Where a path of the image comes from that the layer `layer` brought ([`crate::Entry::layer`]). None when no COPY or
    /// ADD brought it: then the layer's step made it, or its base image had it.
    #[must_use]
    pub fn file(&self, layer: usize, path: &Path) -> Option<FileOrigin<'_>> {
        self.copies.get(layer)?.as_ref()?.file(path)
    }

    /// What COPY and ADD brought, for each layer that one of them made, lowest layer first.
    pub fn copies(&self) -> impl Iterator<Item = (usize, &CopyRecord)> {
        let known = self.copies.iter().enumerate();
        known.filter_map(|(layer, record)| Some((layer, record.as_ref()?)))
    }

    /// Debian packages that files of the image belonged to in the stages they were copied from, with the layer and these
    /// files as paths of the image. A file may have been replaced or removed by a later layer.
    pub fn packages(&self) -> impl Iterator<Item = (usize, &CopiedPackage, Vec<PathBuf>)> {
        self.copies().flat_map(|(layer, record)| {
            let packages = record.packages().iter().enumerate();
            packages.map(move |(at, package)| (layer, package, record.files_of(at).collect()))
        })
    }
}

/// Writes the record of an image; an equal one is left alone.
///
/// # Errors
/// When the database cannot be read or written.
pub fn write_image(store: &Store, image: &Digest, record: &ImageRecord) -> Result<(), StoreError> {
    let bytes = record.to_json();
    if store.image_origins(image)?.is_some_and(|known| known == bytes) {
        return Ok(());
    }
    store.set_image_origins(image, &bytes)
}

/// Copies the records of an image to a store that has the same image, under other layers. Does nothing where there are
/// none.
///
/// # Errors
/// When a database cannot be read or written.
pub fn copy(from: &Store, to: &Store, image: &Digest) -> Result<(), StoreError> {
    let Some(bytes) = from.image_origins(image)? else {
        return Ok(());
    };
    for layer in ImageRecord::from_json(&bytes)
        .iter()
        .flat_map(|record| &record.layers)
    {
        // The record goes on naming the layers of the store that it was written in.
        if let Some(record) = from.layer_origins(layer.layer)? {
            to.set_layer_origins(layer.layer, &record)?;
        }
    }
    to.set_image_origins(image, &bytes)
}

/// Writes the record of a layer.
///
/// # Errors
/// When the database cannot be written.
pub fn write_layer(store: &Store, layer: LayerId, record: &CopyRecord) -> Result<(), StoreError> {
    store.set_layer_origins(layer, &record.to_json())
}

/// Reads the record of a layer, of which lines are not known. None where there is none.
///
/// # Errors
/// When the database cannot be read.
pub fn read_layer(store: &Store, layer: LayerId) -> Result<Option<CopyRecord>, StoreError> {
    let bytes = store.layer_origins(layer)?;
    Ok(bytes.and_then(|bytes| CopyRecord::from_json(&bytes)))
}
