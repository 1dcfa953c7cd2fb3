//! What builds tell of the origins of images and layers: bytes of the caller's, which go with the image or the layer.

use distil_oci::Digest;
use rusqlite::Connection;

use crate::error::StoreError;
use crate::{LayerId, Store};

const OF_IMAGES: &str = "origins of images";
const OF_LAYERS: &str = "origins of layers";

impl Store {
    /// What is told of the origins of an image.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn image_origins(&self, image: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_value(OF_IMAGES, image.as_bytes())
    }

    /// Tells of the origins of an image. It goes when the image is removed, and with the next collection if the store
    /// never had the image, as when only an archive of it was written.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_image_origins(&self, image: &Digest, origins: &[u8]) -> Result<(), StoreError> {
        self.set_value(OF_IMAGES, image.as_bytes(), Some(origins))
    }

    /// What is told of the origins of a layer's files.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn layer_origins(&self, layer: LayerId) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_value(OF_LAYERS, layer.to_string().as_bytes())
    }

    /// Tells of the origins of a layer's files. It goes with the layer.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_layer_origins(&self, layer: LayerId, origins: &[u8]) -> Result<(), StoreError> {
        self.set_value(OF_LAYERS, layer.to_string().as_bytes(), Some(origins))
    }
}

/// Deletes what is told of an image.
pub(crate) fn forget_image(connection: &Connection, image: &Digest) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM kv WHERE bucket = ?1 AND key = ?2")?
        .execute(rusqlite::params![OF_IMAGES, image.as_bytes()])?;
    Ok(())
}

/// Deletes what is told of images and layers that are not there any more.
pub(crate) fn forget_dead(connection: &Connection) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM kv WHERE bucket = ?1 AND key NOT IN (SELECT id FROM images)")?
        .execute([OF_IMAGES])?;
    connection
        .prepare_cached(
            "DELETE FROM kv WHERE bucket = ?1
             AND key NOT IN (SELECT CAST(CAST(id AS TEXT) AS BLOB) FROM layers)",
        )?
        .execute([OF_LAYERS])?;
    Ok(())
}
