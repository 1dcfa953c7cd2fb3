//! Images in the store, and their names.

use std::collections::BTreeSet;

use distil_oci::{Digest, Reference};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::{LayerId, Store, Timestamp};

/// An image that is to be stored. Its blobs and layers are in the store already, held by the
/// handle's lease.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Digest of the config blob, which is the image's ID.
    pub config: Digest,
    /// Digest of the manifest blob, where there is one.
    pub manifest: Option<Digest>,
    /// Platform, such as `linux/amd64`.
    pub platform: String,
    /// Layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Further blobs that belong to it, such as attestations.
    pub blobs: Vec<Digest>,
    /// When it was built, from its config.
    pub created: Timestamp,
}

/// A stored image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Image ID: digest of the config blob.
    pub id: Digest,
    /// Digest of the manifest blob, where there is one.
    pub manifest: Option<Digest>,
    /// Platform, such as `linux/amd64`.
    pub platform: String,
    /// Layers, lowest first.
    pub layers: Vec<LayerId>,
    /// Bytes of file contents, summed over the layers.
    pub size: u64,
    /// When it was built, from its config.
    pub created: Timestamp,
    /// When it was put into this store.
    pub stored: Timestamp,
    /// Full references with tag, sorted; empty for a `<none>` image.
    pub names: Vec<String>,
    /// Full repository names with the digest that the image has there.
    pub repo_digests: Vec<(String, Digest)>,
}

/// What removing an image did, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away.
    Untagged(String),
    /// The image is gone; its layers go with the next collection unless something else has
    /// them.
    Deleted(Digest),
}

/// The images of a store; see [`Store::images`].
#[derive(Debug, Clone, Copy)]
pub struct ImageStore<'s> {
    store: &'s Store,
}

impl<'s> ImageStore<'s> {
    pub(crate) fn new(store: &'s Store) -> Self {
        Self { store }
    }

    /// Stores an image under `names` (none: a `<none>` image). A name that another image had
    /// moves; that image stays, as `<none>` if it was the last.
    pub fn put(&self, image: &NewImage, names: &[Reference], now: Timestamp) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            insert_image(tx, image, now)?;
            for name in names {
                set_tag(tx, name, &image.config)?;
            }
            Ok(())
        })
    }

    /// Gives an image one more name. The reference's tag, else `latest`, is used.
    pub fn tag(&self, image: &Digest, name: &Reference) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            let known = tx
                .prepare_cached("SELECT 1 FROM images WHERE id = ?1")?
                .exists([image.as_bytes()])?;
            if !known {
                return Err(StoreError::ImageMissing {
                    query: image.to_string(),
                });
            }
            set_tag(tx, name, image)
        })
    }

    /// Takes a name away; false when no image had it. An image without names stays.
    pub fn untag(&self, name: &Reference) -> Result<bool, StoreError> {
        let name = tag_name(name);
        self.store.db().with_write(|tx| {
            Ok(tx
                .prepare_cached("DELETE FROM tags WHERE name = ?1")?
                .execute([name])?
                > 0)
        })
    }

    /// Records the digest (of manifest or index) that an image has in a repository, once it was
    /// pulled from or pushed to it.
    pub fn add_repo_digest(
        &self,
        image: &Digest,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        self.store.db().with_write(|tx| {
            tx.prepare_cached(
                "INSERT OR REPLACE INTO repo_digests
                 VALUES (?1, ?2, ?3, (SELECT epoch FROM state))",
            )?
            .execute(params![
                repository_name(repository),
                digest.as_bytes(),
                image.as_bytes()
            ])?;
            Ok(())
        })
    }

    /// All images, newest first.
    pub fn list(&self) -> Result<Vec<ImageInfo>, StoreError> {
        self.store.db().with_read(|tx| {
            let mut select =
                tx.prepare_cached("SELECT id FROM images ORDER BY created DESC, stored DESC, id")?;
            let ids = select
                .query_map([], |row| row.get(0).map(Digest::from_bytes))?
                .collect::<Result<Vec<_>, _>>()?;
            ids.iter()
                .filter_map(|id| read_image(tx, id).transpose())
                .collect()
        })
    }

    /// The image with this ID.
    pub fn get(&self, id: &Digest) -> Result<Option<ImageInfo>, StoreError> {
        self.store.db().with_read(|tx| read_image(tx, id))
    }

    /// The image that a reference names: by digest if it has one, else by tag (`latest` if it
    /// has none).
    pub fn by_reference(&self, name: &Reference) -> Result<Option<ImageInfo>, StoreError> {
        self.store.db().with_read(|tx| match find_reference(tx, name)? {
            Some(id) => read_image(tx, &id),
            None => Ok(None),
        })
    }

    /// The image that a user means: a name, `name@digest`, or the start of an ID with or
    /// without `sha256:`. A name wins over an ID, as in docker.
    ///
    /// # Errors
    /// `ImageMissing`, or `ImageAmbiguous` when several IDs start so.
    pub fn resolve(&self, query: &str) -> Result<ImageInfo, StoreError> {
        let reference = query.parse::<Reference>().ok();
        let found = self.store.db().with_read(|tx| {
            let named = match &reference {
                Some(reference) if !query.starts_with("sha256:") => find_reference(tx, reference)?,
                _ => None,
            };
            match named.map_or_else(|| find_prefix(tx, query), |id| Ok(Some(id)))? {
                Some(id) => read_image(tx, &id),
                None => Ok(None),
            }
        })?;
        found.ok_or_else(|| StoreError::ImageMissing {
            query: query.to_owned(),
        })
    }

    /// Removes what `query` means: a name, and with its last name the image; or an image by ID,
    /// with all names if it has one or `force` is set.
    ///
    /// A container that runs it is not disturbed: its lease holds the layers.
    pub fn remove(&self, query: &str, force: bool) -> Result<Vec<Removed>, StoreError> {
        let image = self.resolve(query)?;
        let by_name = query.parse::<Reference>().ok().map(|name| tag_name(&name));
        let named = by_name.filter(|name| image.names.contains(name));
        self.store.db().with_write(|tx| match named {
            Some(name) if image.names.len() > 1 => {
                delete_tag(tx, &name)?;
                Ok(vec![Removed::Untagged(name)])
            }
            None if image.names.len() > 1 && !force => Err(StoreError::ImageHasNames {
                id: image.id,
                count: image.names.len(),
            }),
            _ => delete_image(tx, &image),
        })
    }

    /// Removes images that have no name, or with `all` those that nothing uses; here nothing
    /// but names and leases uses images, so `all` means every one.
    pub fn prune(&self, all: bool) -> Result<Vec<Removed>, StoreError> {
        let images = self.list()?;
        self.store.db().with_write(|tx| {
            let mut removed = Vec::new();
            for image in images.iter().filter(|image| all || image.names.is_empty()) {
                removed.extend(delete_image(tx, image)?);
            }
            Ok(removed)
        })
    }
}

fn insert_image(connection: &Connection, image: &NewImage, now: Timestamp) -> Result<(), StoreError> {
    let id = image.config.as_bytes();
    if is_stored(connection, image)? {
        // Nothing to be carried to the disk again.
        connection
            .prepare_cached("UPDATE images SET stored = ?2 WHERE id = ?1")?
            .execute(params![id, now.0])?;
        return Ok(());
    }
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3, ?4, ?5, (SELECT epoch FROM state))",
        )?
        .execute(params![
            id,
            image.manifest.as_ref().map(|digest| digest.as_bytes()),
            image.platform,
            image.created.0,
            now.0
        ])?;
    delete_contents(connection, &image.config)?;
    let mut insert = connection.prepare_cached("INSERT INTO image_layers VALUES (?1, ?2, ?3)")?;
    for (position, layer) in (0i64..).zip(&image.layers) {
        insert.execute(params![id, position, layer.row()])?;
    }
    let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO image_blobs VALUES (?1, ?2)")?;
    for blob in blobs(image) {
        insert.execute(params![id, blob.as_bytes()])?;
    }
    Ok(())
}

/// What an image consists of besides its layers.
fn blobs(image: &NewImage) -> impl Iterator<Item = &Digest> {
    image.blobs.iter().chain(&image.manifest).chain([&image.config])
}

/// Whether the store has the image with the same layers and blobs.
fn is_stored(connection: &Connection, image: &NewImage) -> Result<bool, StoreError> {
    let Some(stored) = read_image(connection, &image.config)? else {
        return Ok(false);
    };
    let same = (stored.manifest, stored.created) == (image.manifest, image.created)
        && stored.platform == image.platform
        && stored.layers == image.layers;
    let found: BTreeSet<Digest> = connection
        .prepare_cached("SELECT digest FROM image_blobs WHERE image = ?1")?
        .query_map([image.config.as_bytes()], |row| {
            row.get(0).map(Digest::from_bytes)
        })?
        .collect::<Result<_, _>>()?;
    Ok(same && found == blobs(image).copied().collect())
}

fn set_tag(connection: &Connection, name: &Reference, image: &Digest) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO tags VALUES (?1, ?2, (SELECT epoch FROM state))
             ON CONFLICT(name) DO UPDATE SET image = excluded.image, pending = excluded.pending
             WHERE image <> excluded.image",
        )?
        .execute(params![tag_name(name), image.as_bytes()])?;
    Ok(())
}

fn delete_tag(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("DELETE FROM tags WHERE name = ?1")?
        .execute([name])?;
    Ok(())
}

fn delete_contents(connection: &Connection, id: &Digest) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM image_layers WHERE image = ?1",
        "DELETE FROM image_blobs WHERE image = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([id.as_bytes()])?;
    }
    Ok(())
}

fn delete_image(connection: &Connection, image: &ImageInfo) -> Result<Vec<Removed>, StoreError> {
    delete_contents(connection, &image.id)?;
    crate::origins::forget_image(connection, &image.id)?;
    for sql in [
        "DELETE FROM tags WHERE image = ?1",
        "DELETE FROM repo_digests WHERE image = ?1",
        "DELETE FROM images WHERE id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([image.id.as_bytes()])?;
    }
    let names = image.names.iter().cloned().map(Removed::Untagged);
    Ok(names.chain([Removed::Deleted(image.id)]).collect())
}

fn find_reference(connection: &Connection, name: &Reference) -> Result<Option<Digest>, StoreError> {
    let found = match name.digest() {
        Some(digest) => connection
            .prepare_cached(
                "SELECT image FROM repo_digests WHERE repository = ?1 AND digest = ?2
                 UNION ALL
                 SELECT images.id FROM images JOIN tags ON tags.image = images.id
                 WHERE images.manifest = ?2 AND substr(tags.name, 1, length(?1) + 1) = ?1 || ':' LIMIT 1",
            )?
            .query_row(params![repository_name(name), digest.as_bytes()], |row| {
                row.get(0)
            })
            .optional()?,
        None => connection
            .prepare_cached("SELECT image FROM tags WHERE name = ?1")?
            .query_row([tag_name(name)], |row| row.get(0))
            .optional()?,
    };
    Ok(found.map(Digest::from_bytes))
}

fn find_prefix(connection: &Connection, query: &str) -> Result<Option<Digest>, StoreError> {
    let prefix = query
        .strip_prefix("sha256:")
        .unwrap_or(query)
        .to_ascii_lowercase();
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut select = connection.prepare_cached("SELECT id FROM images WHERE hex(id) LIKE ?1 || '%'")?;
    let ids = select
        .query_map([&prefix], |row| row.get(0).map(Digest::from_bytes))?
        .collect::<Result<Vec<Digest>, _>>()?;
    match ids.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        _ => Err(StoreError::ImageAmbiguous {
            prefix: query.to_owned(),
            count: ids.len(),
        }),
    }
}

fn read_image(connection: &Connection, id: &Digest) -> Result<Option<ImageInfo>, StoreError> {
    let mut select =
        connection.prepare_cached("SELECT manifest, platform, created, stored FROM images WHERE id = ?1")?;
    let row = select.query_row([id.as_bytes()], |row| {
        Ok(ImageInfo {
            id: *id,
            manifest: row.get::<_, Option<[u8; 32]>>(0)?.map(Digest::from_bytes),
            platform: row.get(1)?,
            layers: Vec::new(),
            size: 0,
            created: Timestamp(row.get(2)?),
            stored: Timestamp(row.get(3)?),
            names: Vec::new(),
            repo_digests: Vec::new(),
        })
    });
    let Some(mut image) = row.optional()? else {
        return Ok(None);
    };
    let mut select = connection.prepare_cached(
        "SELECT image_layers.layer, coalesce(layers.size, 0) FROM image_layers
         LEFT JOIN layers ON layers.id = image_layers.layer
         WHERE image = ?1 ORDER BY position",
    )?;
    let rows = select.query_map([id.as_bytes()], |row| {
        Ok((
            LayerId::from_row(row.get(0)?),
            row.get::<_, i64>(1)?.unsigned_abs(),
        ))
    })?;
    for row in rows {
        let (layer, size) = row?;
        image.layers.push(layer);
        image.size = image.size.saturating_add(size);
    }
    let mut select = connection.prepare_cached("SELECT name FROM tags WHERE image = ?1 ORDER BY name")?;
    for name in select.query_map([id.as_bytes()], |row| row.get(0))? {
        image.names.push(name?);
    }
    let mut select = connection.prepare_cached(
        "SELECT repository, digest FROM repo_digests WHERE image = ?1 ORDER BY repository, digest",
    )?;
    for row in select.query_map([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (repository, digest) = row?;
        image.repo_digests.push((repository, Digest::from_bytes(digest)));
    }
    Ok(Some(image))
}

/// `docker.io/library/debian:bookworm`: domain, repository and tag, `latest` without one.
fn tag_name(name: &Reference) -> String {
    format!("{}:{}", repository_name(name), name.tag().unwrap_or("latest"))
}

fn repository_name(name: &Reference) -> String {
    name.name()
}
