//! Descriptors, manifests and indexes (OCI image specification; Docker's schema 2 has the same fields).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::json::{indented_json, null_is_default};
use crate::{Digest, Platform};

/// Media types.
pub mod media_type {
    /// OCI image index.
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image config.
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

    /// Whether the type is an index or a manifest list.
    #[must_use]
    pub fn is_index(media_type: &str) -> bool {
        media_type == INDEX || media_type == DOCKER_LIST
    }

    /// Whether the type is an image manifest.
    #[must_use]
    pub fn is_manifest(media_type: &str) -> bool {
        media_type == MANIFEST || media_type == DOCKER_MANIFEST
    }

    /// Whether the type is a filesystem layer, in whatever compression. Foreign (non-distributable) layers count.
    #[must_use]
    pub fn is_layer(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.oci.image.layer.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.")
    }
}

/// Annotation keys.
pub mod annotation {
    /// The name of an entry in a layout's `index.json`.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The full name of an entry, as containerd and `docker load` read it.
    pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
    /// When the image was made.
    pub const CREATED: &str = "org.opencontainers.image.created";
    /// What a manifest in an index is about, other than an image (`attestation-manifest`).
    pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
}

/// Points to a blob: what it is, its digest and its length in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The blob's type; see [`media_type`].
    #[serde(default)]
    pub media_type: String,
    /// The blob's digest.
    pub digest: Digest,
    /// The blob's length in bytes.
    pub size: u64,
    /// Where else the blob can be had.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub urls: Vec<String>,
    /// Free key-value pairs; see [`annotation`].
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
    /// The blob itself in base64, for small ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What the image runs on, for entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The artifact's type, for entries of an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with nothing but the required fields.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            data: None,
            platform: None,
            artifact_type: None,
        }
    }

    /// Describes `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::sha256(bytes), bytes.len() as u64)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Whether this entry of an index is an attestation and not an image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotation(annotation::DOCKER_REFERENCE_TYPE) == Some("attestation-manifest")
    }
}

/// An image manifest: one config and the layers, lowest first.
///
/// A manifest that was read keeps its digest only as long as its bytes are kept: never write it again to
/// forward it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// The manifest's own type. OCI allows it to be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The artifact's type, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// An OCI manifest of an image.
    #[must_use]
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// When the bytes are no JSON of that shape, or name a digest that is no sha256.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The bytes to hash and store: indented by two spaces, as BuildKit writes them.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // All map keys are strings and no `Serialize` of the fields fails.
        indented_json(self).expect("a manifest is always valid JSON")
    }
}

/// An image index: one manifest per platform, and attestations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// The index's own type. OCI allows it to be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The artifact's type, when it is no image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The entries.
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    /// Free key-value pairs.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub annotations: BTreeMap<String, String>,
}

impl Index {
    /// An OCI index.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media_type::INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// When the bytes are no JSON of that shape, or name a digest that is no sha256.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The bytes to hash and store: indented by two spaces, as BuildKit writes them.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // All map keys are strings and no `Serialize` of the fields fails.
        indented_json(self).expect("an index is always valid JSON")
    }

    /// The entry that fits `wanted` best: the most preferred platform (see [`Platform::preference`]), and of
    /// equals the first. Entries without a platform fit nothing; attestations never count.
    #[must_use]
    pub fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let rank = |entry: &&Descriptor| wanted.preference(entry.platform.as_ref()?);
        let images = self.manifests.iter().filter(|entry| !entry.is_attestation());
        images.filter(|entry| rank(entry).is_some()).min_by_key(rank)
    }

    /// The platforms of the images in it.
    #[must_use]
    pub fn platforms(&self) -> Vec<&Platform> {
        let images = self.manifests.iter().filter(|entry| !entry.is_attestation());
        images.filter_map(|entry| entry.platform.as_ref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, platform: &str) -> Descriptor {
        let mut entry = Descriptor::of(media_type::MANIFEST, name.as_bytes());
        entry.platform = Some(platform.parse().unwrap());
        entry
    }

    #[test]
    fn fields_in_gos_order() {
        let mut layer = entry("l", "linux/amd64");
        layer.annotations.insert("k".into(), "<".into());
        let text = String::from_utf8(Index::new(vec![layer.clone()]).to_json()).unwrap();
        let expected = format!(
            r#"{{
  "schemaVersion": 2,
  "mediaType": "application/vnd.oci.image.index.v1+json",
  "manifests": [
    {{
      "mediaType": "application/vnd.oci.image.manifest.v1+json",
      "digest": "{}",
      "size": 1,
      "annotations": {{
        "k": "\u003c"
      }},
      "platform": {{
        "architecture": "amd64",
        "os": "linux"
      }}
    }}
  ]
}}"#,
            layer.digest
        );
        assert_eq!(text, expected);
        assert_eq!(
            Index::from_json(text.as_bytes()).unwrap(),
            Index::new(vec![layer])
        );
    }

    #[test]
    fn chooses_by_preference() {
        let mut attestation = entry("x", "linux/amd64");
        attestation.annotations.insert(
            annotation::DOCKER_REFERENCE_TYPE.into(),
            "attestation-manifest".into(),
        );
        let index = Index::new(vec![
            attestation,
            entry("386", "linux/386"),
            entry("v6", "linux/arm/v6"),
            entry("v7", "linux/arm/v7"),
            entry("amd", "linux/amd64"),
            entry("amd again", "linux/amd64"),
        ]);
        let chosen = |wanted: &str| index.choose(&wanted.parse().unwrap()).map(|entry| entry.digest);
        assert_eq!(chosen("linux/amd64"), Some(Digest::sha256(b"amd")));
        assert_eq!(chosen("linux/arm64"), Some(Digest::sha256(b"v7")));
        assert_eq!(chosen("linux/arm/v6"), Some(Digest::sha256(b"v6")));
        assert_eq!(chosen("linux/arm/v5"), None);
        assert_eq!(chosen("linux/s390x"), None);
        assert_eq!(index.platforms().len(), 5);
    }

    #[test]
    fn null_lists_are_empty() {
        let text = br#"{"schemaVersion":2,"manifests":null,"annotations":null}"#;
        assert!(Index::from_json(text).unwrap().manifests.is_empty());
    }
}
