//! Reading image archives and layouts into the store.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use distil_layer::decompress;
use distil_oci::{Descriptor, Digest, ImageConfig, Index, Layout, Manifest, Platform, Reference};
use distil_oci::{annotation, media_type};
use distil_snapshot::Snapshotter;
use distil_store::{Store, Timestamp};
use serde::Deserialize;

use crate::error::read_error;
use crate::install::{Parts, install};
use crate::{ExportError, LoadedImage};

/// Largest file of an archive that is read into memory, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
/// Longest chain of links between files of an archive.
const MAX_LINKS: usize = 16;

/// One image in Docker's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// The files of an archive; their bytes are blobs in the store, held by its lease.
#[derive(Default)]
struct Archive {
    files: BTreeMap<String, Descriptor>,
    /// Names that are links to others, as `docker save` of old writes equal layers.
    links: BTreeMap<String, String>,
}

/// Loads all images of an archive in any of the forms that [`crate::save_archive`] writes, and in Docker's older one
/// (`ID/layer.tar`); compressed as a whole or not. Of images for several platforms those for `platform` are taken.
///
/// The archive is read once from start to end. Layers are kept in the form in which they came, so that the image can
/// be saved and pushed unchanged.
///
/// # Errors
/// When it is no such archive, a digest differs, or reading fails. Images before the wrong one are loaded.
pub fn load_archive(
    snapshots: &Snapshotter,
    input: impl Read + Send,
    platform: &Platform,
    now: Timestamp,
) -> Result<Vec<LoadedImage>, ExportError> {
    let images = read_archive(snapshots.store(), input, platform)?;
    images
        .into_iter()
        .map(|image| install(snapshots, &image, now))
        .collect()
}

/// Loads all images of an OCI layout, as [`load_archive`].
///
/// # Errors
/// As [`load_archive`].
pub fn load_layout(
    snapshots: &Snapshotter,
    path: &Path,
    platform: &Platform,
    now: Timestamp,
) -> Result<Vec<LoadedImage>, ExportError> {
    let images = read_layout(snapshots.store(), path, platform)?;
    images
        .into_iter()
        .map(|image| install(snapshots, &image, now))
        .collect()
}

/// The parts of all images of an archive; their blobs are in the store afterwards.
fn read_archive(
    store: &Store,
    input: impl Read + Send,
    platform: &Platform,
) -> Result<Vec<Parts>, ExportError> {
    let archive = Archive::read(store, decompress(input).map_err(read_error("the archive"))?)?;
    if archive.find("index.json").is_some() && archive.find("oci-layout").is_some() {
        return archive.oci_images(store, platform);
    }
    match archive.find("manifest.json") {
        Some(manifest) => archive.docker_images(store, manifest),
        None if archive.find("repositories").is_some() => Err(ExportError::NotAnArchive(
            "it is of Docker before 1.10, save it again with a newer one",
        )),
        None => Err(ExportError::NotAnArchive(
            "it has neither `manifest.json` nor `index.json` and `oci-layout`",
        )),
    }
}

/// The parts of all images of an OCI layout.
fn read_layout(store: &Store, path: &Path, platform: &Platform) -> Result<Vec<Parts>, ExportError> {
    let layout = Layout::open(path)?;
    let mut images = Vec::new();
    for entry in &layout.index().manifests {
        if entry.is_attestation() {
            continue;
        }
        let (descriptor, manifest, bytes) = layout.manifest(entry, platform)?;
        store.blobs().put(&bytes)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if store.blobs().hold(&blob.digest)? {
                continue;
            }
            let mut writer = store.blobs().writer()?;
            let path = layout.blob_path(blob.digest).display().to_string();
            io::copy(&mut layout.open_blob(blob)?, &mut writer).map_err(read_error(path))?;
            writer.commit(Some(blob.digest))?;
        }
        images.push(parts(&manifest, Some(descriptor.digest), names_of(entry)));
    }
    Ok(merged(images))
}

fn parts(manifest: &Manifest, digest: Option<Digest>, names: Vec<Reference>) -> Parts {
    Parts {
        config: manifest.config.digest,
        manifest: digest,
        layers: manifest.layers.clone(),
        names,
    }
}

/// One image per config: archives name an image several times by several entries.
fn merged(images: Vec<Parts>) -> Vec<Parts> {
    let mut merged: Vec<Parts> = Vec::new();
    for image in images {
        match merged.iter_mut().find(|other| other.config == image.config) {
            Some(other) => other.names.extend(image.names),
            None => merged.push(image),
        }
    }
    merged
}

/// The names of an entry of `index.json`: containerd's, else the specification's where it is a full name.
fn names_of(entry: &Descriptor) -> Vec<Reference> {
    let by_spec = entry
        .annotation(annotation::REF_NAME)
        .filter(|name| name.contains(['/', ':']));
    let name = entry.annotation(annotation::CONTAINERD_NAME).or(by_spec);
    name.and_then(|name| name.parse().ok()).into_iter().collect()
}

/// `./a/b` and `/a/b` are `a/b`.
fn clean(path: &Path) -> String {
    let text = path.to_string_lossy();
    let parts = text.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

/// Where a link beside `path` leads, within the archive.
fn joined(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn damaged(path: &str, reason: impl Into<String>) -> ExportError {
    ExportError::Damaged {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

impl Archive {
    /// Streams every file into the store: which of them are layers is known only at the end.
    fn read(store: &Store, input: impl Read) -> Result<Self, ExportError> {
        let mut archive = Self::default();
        let failed = || read_error("the archive");
        let mut input = tar::Archive::new(input);
        for (number, entry) in input.entries().map_err(failed())?.enumerate() {
            let mut entry = match entry {
                // What is no tar at all fails at once, with words about blocks or numbers.
                Err(_) if number == 0 => {
                    return Err(ExportError::NotAnArchive("it does not begin as a tar does"));
                }
                entry => entry.map_err(failed())?,
            };
            let path = clean(&entry.path().map_err(failed())?);
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name().map_err(failed())?.unwrap_or_default();
                let target = target.to_string_lossy();
                // Hard links are named from the root, symbolic ones from beside the link.
                let target = if kind.is_symlink() {
                    joined(&path, &target)
                } else {
                    clean(Path::new(&*target))
                };
                archive.links.insert(path, target);
            } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
                let mut writer = store.blobs().writer()?;
                io::copy(&mut entry, &mut writer).map_err(read_error(path.clone()))?;
                let size = writer.length();
                let digest = writer.commit(None)?;
                archive.files.insert(path, Descriptor::new("", digest, size));
            }
        }
        Ok(archive)
    }

    fn find(&self, path: &str) -> Option<&Descriptor> {
        let mut path = path;
        for _ in 0..MAX_LINKS {
            if let Some(file) = self.files.get(path) {
                return Some(file);
            }
            path = self.links.get(path)?;
        }
        None
    }

    /// The file of a blob, which must have the digest that its name says.
    fn blob(&self, wanted: &Descriptor) -> Result<(), ExportError> {
        let path = format!("blobs/sha256/{}", wanted.digest.hex());
        let found = self.find(&path).ok_or_else(|| damaged(&path, "is missing"))?;
        if found.digest != wanted.digest {
            return Err(damaged(&path, format!("has the digest `{}`", found.digest)));
        }
        if found.size != wanted.size {
            return Err(damaged(
                &path,
                format!("has {} bytes, not {}", found.size, wanted.size),
            ));
        }
        Ok(())
    }

    fn document(store: &Store, path: &str, file: &Descriptor) -> Result<Vec<u8>, ExportError> {
        if file.size > MAX_DOCUMENT {
            return Err(damaged(
                path,
                format!("has {} bytes, more than {MAX_DOCUMENT}", file.size),
            ));
        }
        Ok(store.blobs().read(&file.digest)?)
    }

    fn blob_document(&self, store: &Store, wanted: &Descriptor) -> Result<Vec<u8>, ExportError> {
        self.blob(wanted)?;
        Self::document(store, &format!("blobs/sha256/{}", wanted.digest.hex()), wanted)
    }

    fn oci_images(&self, store: &Store, platform: &Platform) -> Result<Vec<Parts>, ExportError> {
        let file = self
            .find("index.json")
            .ok_or_else(|| damaged("index.json", "is missing"))?;
        let bytes = Self::document(store, "index.json", file)?;
        let index = Index::from_json(&bytes).map_err(|error| damaged("index.json", error.to_string()))?;
        let mut images = Vec::new();
        for entry in index.manifests.iter().filter(|entry| !entry.is_attestation()) {
            let mut bytes = self.blob_document(store, entry)?;
            let mut digest = entry.digest;
            let wrong = |digest: Digest| {
                move |error: serde_json::Error| {
                    damaged(&format!("blobs/sha256/{}", digest.hex()), error.to_string())
                }
            };
            if media_type::is_index(&entry.media_type) {
                let inner = Index::from_json(&bytes).map_err(wrong(digest))?;
                let chosen = inner.choose(platform).ok_or_else(|| {
                    let reason = format!("has no image for `{platform}`");
                    damaged(&format!("blobs/sha256/{}", digest.hex()), reason)
                })?;
                bytes = self.blob_document(store, chosen)?;
                digest = chosen.digest;
            }
            let manifest = Manifest::from_json(&bytes).map_err(wrong(digest))?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.blob(blob)?;
            }
            images.push(parts(&manifest, Some(digest), names_of(entry)));
        }
        Ok(merged(images))
    }

    fn docker_images(&self, store: &Store, manifest: &Descriptor) -> Result<Vec<Parts>, ExportError> {
        let bytes = Self::document(store, "manifest.json", manifest)?;
        let entries: Vec<DockerEntry> =
            serde_json::from_slice(&bytes).map_err(|error| damaged("manifest.json", error.to_string()))?;
        let mut images = Vec::new();
        for entry in entries {
            let file = |path: &String| {
                let clean = clean(Path::new(path));
                self.find(&clean)
                    .cloned()
                    .ok_or_else(|| damaged(path, "is missing"))
            };
            let config = file(&entry.config)?;
            let bytes = Self::document(store, &entry.config, &config)?;
            let parsed =
                ImageConfig::from_json(&bytes).map_err(|error| damaged(&entry.config, error.to_string()))?;
            let layers = entry.layers.unwrap_or_default();
            if layers.len() != parsed.rootfs.diff_ids.len() {
                let reason = format!(
                    "names {} layers, the archive has {}",
                    parsed.rootfs.diff_ids.len(),
                    layers.len()
                );
                return Err(damaged(&entry.config, reason));
            }
            let layers = layers.iter().map(file).collect::<Result<Vec<_>, _>>()?;
            let tags = entry.repo_tags.unwrap_or_default();
            let names = tags.iter().map(|tag| tag.parse::<Reference>());
            let names = names.collect::<Result<Vec<_>, _>>();
            let names = names.map_err(|error| damaged("manifest.json", error.to_string()))?;
            images.push(Parts {
                config: config.digest,
                manifest: None,
                layers,
                names,
            });
        }
        Ok(merged(images))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_archives() {
        assert_eq!(clean(Path::new("./a//b/./c")), "a/b/c");
        assert_eq!(clean(Path::new("/x")), "x");
        assert_eq!(joined("abc/layer.tar", "../def/layer.tar"), "def/layer.tar");
        assert_eq!(joined("a", "../../../b"), "b");
    }
}
