//! What image names stood for when they were last looked up, so that a cached build needs no network.

use distil_oci::{Digest, Platform, Reference};
use distil_store::Store;
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::image::{Image, Origin};

/// Bucket of answers by `REFERENCE PLATFORM`.
const RESOLVED: &str = "resolved-images";
/// Bucket of config digests of images that are here as bases only; `distil images` hides them.
const BASES: &str = "base-images";

#[derive(Serialize, Deserialize)]
struct Record {
    root: Digest,
    manifest: String,
    config: String,
    assembled: bool,
}

fn key(reference: &Reference, platform: &Platform) -> Vec<u8> {
    format!("{reference} {platform}").into_bytes()
}

/// Remembers what a name stood for.
pub(crate) fn remember(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
    image: &Image,
) -> Result<(), ImageError> {
    let record = Record {
        root: image.root,
        manifest: String::from_utf8_lossy(&image.manifest_bytes).into_owned(),
        config: String::from_utf8_lossy(&image.config_bytes).into_owned(),
        assembled: image.origin == Origin::Assembled,
    };
    let value = serde_json::to_vec(&record).map_err(|error| ImageError::Damaged {
        name: reference.to_string(),
        detail: error.to_string(),
    })?;
    store.set_value(RESOLVED, &key(reference, platform), Some(&value))?;
    let pinned = reference.clone().with_digest(image.root);
    store.set_value(RESOLVED, &key(&pinned, platform), Some(&value))?;
    Ok(())
}

/// What a name stood for; an unreadable record counts as none.
pub(crate) fn recall(
    store: &Store,
    reference: &Reference,
    platform: &Platform,
) -> Result<Option<Image>, ImageError> {
    let Some(value) = store.get_value(RESOLVED, &key(reference, platform))? else {
        return Ok(None);
    };
    let Ok(record) = serde_json::from_slice::<Record>(&value) else {
        return Ok(None);
    };
    let origin = if record.assembled {
        Origin::Assembled
    } else {
        Origin::Registry
    };
    Ok(Image::new(
        reference.clone(),
        record.root,
        record.manifest.into_bytes(),
        record.config.into_bytes(),
        origin,
    )
    .ok())
}

/// Marks an image as a base that no user named.
pub fn mark_base(store: &Store, config: &Digest) -> Result<(), ImageError> {
    Ok(store.set_value(BASES, config.as_bytes(), Some(b""))?)
}

/// Takes the mark away: the image was built or loaded by the user after all.
pub fn unmark_base(store: &Store, config: &Digest) -> Result<(), ImageError> {
    // Asking costs less than writing, and it hardly ever is one.
    if is_base(store, config)? {
        store.set_value(BASES, config.as_bytes(), None)?;
    }
    Ok(())
}

/// Whether an image is here only as a base.
pub fn is_base(store: &Store, config: &Digest) -> Result<bool, ImageError> {
    Ok(store.get_value(BASES, config.as_bytes())?.is_some())
}
