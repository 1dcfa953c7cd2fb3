//! OCI layouts: a directory with `oci-layout`, `index.json` and `blobs/sha256/<hex>`.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Descriptor, Digest, Digester, Index, Manifest, Platform, Reference, VerifyingReader};
use crate::{annotation, media_type};

/// Largest manifest, index or config that is read into memory, in bytes. Registries cap manifests at 4 MiB; configs
/// of generated images have been seen at a few MiB.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Why a layout cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// Reading or writing a file failed.
    #[error("`{path}`: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no `oci-layout` or `index.json`.
    #[error("`{0}` is not an OCI layout: it has no `{1}`")]
    NotALayout(PathBuf, &'static str),
    /// A layout version other than 1.0.x.
    #[error("`{path}` is an OCI layout of version `{version}`, only 1.0 is supported")]
    Version {
        /// The layout's directory.
        path: PathBuf,
        /// What it says.
        version: String,
    },
    /// A file is not the JSON it should be.
    #[error("`{path}`: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// A manifest, index or config is too large to be one.
    #[error("`{path}` has {size} bytes, more than the {MAX_DOCUMENT} that a manifest or config may have")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// No image in an index runs on the platform.
    #[error("`{digest}` has no image for `{wanted}`, only for {}", listed(.available))]
    Platform {
        /// The index.
        digest: Digest,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What it has.
        available: Vec<String>,
    },
    /// A descriptor's type is neither a manifest nor an index.
    #[error("`{digest}` has the type `{media_type}`, expected an image manifest or index")]
    MediaType {
        /// The blob.
        digest: Digest,
        /// What it says it is.
        media_type: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "no platform at all".to_owned();
    }
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[derive(Serialize, Deserialize)]
struct Marker {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// A layout to read. Every blob is checked against its digest while it is read.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    index: Index,
}

impl Layout {
    /// Opens the layout in a directory.
    ///
    /// # Errors
    /// When it is none, of another version, or its files cannot be read.
    pub fn open(root: &Path) -> Result<Self, LayoutError> {
        let read = |name: &'static str| match fs::read(root.join(name)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LayoutError::NotALayout(root.to_owned(), name))
            }
            Err(source) => Err(LayoutError::Io {
                path: root.join(name),
                source,
            }),
        };
        let json = |name: &str, source| LayoutError::Json {
            path: root.join(name),
            source,
        };
        let marker: Marker =
            serde_json::from_slice(&read("oci-layout")?).map_err(|source| json("oci-layout", source))?;
        if !marker.version.starts_with("1.0.") {
            return Err(LayoutError::Version {
                path: root.to_owned(),
                version: marker.version,
            });
        }
        let index = Index::from_json(&read("index.json")?).map_err(|source| json("index.json", source))?;
        Ok(Self {
            root: root.to_owned(),
            index,
        })
    }

    /// The layout's directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `index.json` says.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The entry with this full name; a reference without tag and digest means `latest`.
    ///
    /// Compared are [`annotation::REF_NAME`] and [`annotation::CONTAINERD_NAME`], both completed as short names
    /// are. A reference name that is a lone word, like `latest`, is a tag and not a name; see
    /// [`Layout::find_tag`]. A digest in the reference must be the entry's.
    #[must_use]
    pub fn find(&self, reference: &Reference) -> Option<&Descriptor> {
        let wanted = reference.clone().or_latest();
        self.index.manifests.iter().find(|entry| {
            let digest_fits = wanted.digest().is_none_or(|digest| digest == entry.digest);
            digest_fits && entry_names(entry).any(|name| same_image(&wanted, &name))
        })
    }

    /// The entry for the text after `oci-layout://DIR:`: the one whose reference name is that text, else the one
    /// whose name has it as its tag.
    #[must_use]
    pub fn find_tag(&self, tag: &str) -> Option<&Descriptor> {
        let entries = &self.index.manifests;
        let exact = entries
            .iter()
            .find(|entry| entry.annotation(annotation::REF_NAME) == Some(tag));
        exact.or_else(|| {
            entries
                .iter()
                .find(|entry| entry_names(entry).any(|name| name.tag() == Some(tag)))
        })
    }

    /// The entry with this digest.
    #[must_use]
    pub fn find_digest(&self, digest: Digest) -> Option<&Descriptor> {
        self.index.manifests.iter().find(|entry| entry.digest == digest)
    }

    /// Where a blob's file is, whether or not it exists.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        blob_path(&self.root, digest)
    }

    /// Opens a blob. The reader fails at the end when digest or length differ.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<VerifyingReader<File>, LayoutError> {
        let path = self.blob_path(descriptor.digest);
        let file = File::open(&path).map_err(|source| LayoutError::Io { path, source })?;
        Ok(VerifyingReader::of(file, descriptor))
    }

    /// Reads a manifest, index or config of at most 16 MiB, checked.
    ///
    /// # Errors
    /// When it is larger, damaged or cannot be read.
    pub fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(descriptor.digest);
        if descriptor.size > MAX_DOCUMENT {
            return Err(LayoutError::TooLarge {
                path,
                size: descriptor.size,
            });
        }
        let mut bytes = Vec::new();
        let read = self.open_blob(descriptor)?.read_to_end(&mut bytes);
        read.map_err(|source| LayoutError::Io { path, source })?;
        Ok(bytes)
    }

    /// The manifest that `descriptor` means for a platform: itself, or the best entry of the index it names.
    /// Returned with its descriptor and its exact bytes.
    ///
    /// # Errors
    /// When there is none for the platform or a blob cannot be read.
    pub fn manifest(
        &self,
        descriptor: &Descriptor,
        platform: &Platform,
    ) -> Result<(Descriptor, Manifest, Vec<u8>), LayoutError> {
        let bytes = self.read_document(descriptor)?;
        let json = |source| LayoutError::Json {
            path: self.blob_path(descriptor.digest),
            source,
        };
        if media_type::is_index(&descriptor.media_type) {
            let index = Index::from_json(&bytes).map_err(json)?;
            let entry = index.choose(platform).ok_or_else(|| LayoutError::Platform {
                digest: descriptor.digest,
                wanted: Box::new(platform.clone()),
                available: index.platforms().into_iter().map(ToString::to_string).collect(),
            })?;
            if media_type::is_index(&entry.media_type) {
                // Nested indexes are legal and unused; following them would need a bound on the depth.
                let media_type = entry.media_type.clone();
                return Err(LayoutError::MediaType {
                    digest: entry.digest,
                    media_type,
                });
            }
            return self.manifest(entry, platform);
        }
        if !media_type::is_manifest(&descriptor.media_type) {
            let media_type = descriptor.media_type.clone();
            return Err(LayoutError::MediaType {
                digest: descriptor.digest,
                media_type,
            });
        }
        let manifest = Manifest::from_json(&bytes).map_err(json)?;
        Ok((descriptor.clone(), manifest, bytes))
    }
}

fn blob_path(root: &Path, digest: Digest) -> PathBuf {
    root.join("blobs/sha256").join(digest.hex())
}

/// The full names of an entry of `index.json`.
fn entry_names(entry: &Descriptor) -> impl Iterator<Item = Reference> {
    let full = |name: &&str| name.contains(['/', ':', '@']);
    let by_spec = entry.annotation(annotation::REF_NAME).filter(full);
    let by_containerd = entry.annotation(annotation::CONTAINERD_NAME);
    [by_containerd, by_spec]
        .into_iter()
        .flatten()
        .filter_map(|name| name.parse().ok())
}

fn same_image(wanted: &Reference, name: &Reference) -> bool {
    let name = name.clone().or_latest();
    let tag_fits = match wanted.tag() {
        Some(tag) => name.tag() == Some(tag),
        None => true,
    };
    wanted.domain() == name.domain() && wanted.repository() == name.repository() && tag_fits
}

/// Writes a layout. Nothing refers to the blobs before [`LayoutWriter::finish`] wrote `index.json`.
#[derive(Debug)]
pub struct LayoutWriter {
    root: PathBuf,
    manifests: Vec<Descriptor>,
}

impl LayoutWriter {
    /// The content of the `oci-layout` file.
    pub const MARKER: &'static [u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

    /// Creates the directory if there is none. An index that is there is replaced at the end, blobs are kept.
    ///
    /// # Errors
    /// When the directories cannot be made.
    pub fn create(root: &Path) -> Result<Self, LayoutError> {
        let path = root.join("blobs/sha256");
        fs::create_dir_all(&path).map_err(|source| LayoutError::Io { path, source })?;
        Ok(Self {
            root: root.to_owned(),
            manifests: Vec::new(),
        })
    }

    /// Writes a small blob.
    ///
    /// # Errors
    /// When writing fails.
    pub fn write_blob(&mut self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        self.copy_blob(media_type, bytes, None)
    }

    /// Copies a blob from a reader, under a temporary name until its digest is known and as expected.
    ///
    /// # Errors
    /// When reading or writing fails or the digest differs.
    pub fn copy_blob(
        &mut self,
        media_type: &str,
        reader: impl Read,
        expected: Option<Digest>,
    ) -> Result<Descriptor, LayoutError> {
        let temporary = self.root.join("blobs/sha256/.incoming");
        let result = Self::copy_checked(reader, expected, &temporary);
        let (digest, size) = result.map_err(|source| {
            // The cause is what the caller needs; a leftover is overwritten by the next blob.
            let _ = fs::remove_file(&temporary);
            LayoutError::Io {
                path: temporary.clone(),
                source,
            }
        })?;
        let path = blob_path(&self.root, digest);
        fs::rename(&temporary, &path).map_err(|source| LayoutError::Io { path, source })?;
        Ok(Descriptor::new(media_type, digest, size))
    }

    fn copy_checked(mut reader: impl Read, expected: Option<Digest>, to: &Path) -> io::Result<(Digest, u64)> {
        let mut file = File::create(to)?;
        let mut digester = Digester::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            digester.update(&buffer[..count]);
            file.write_all(&buffer[..count])?;
        }
        let (size, found) = (digester.length(), digester.finish());
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let mismatch = crate::Mismatch::Digest { expected, found };
            return Err(io::Error::new(io::ErrorKind::InvalidData, mismatch));
        }
        Ok((found, size))
    }

    /// Adds an entry to `index.json`.
    pub fn add(&mut self, entry: Descriptor) {
        self.manifests.push(entry);
    }

    /// Writes `oci-layout` and, by renaming it into place, `index.json`.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(self) -> Result<Index, LayoutError> {
        let index = Index::new(self.manifests);
        let write = |name: &str, bytes: &[u8]| {
            let (path, temporary) = (self.root.join(name), self.root.join(format!(".{name}.new")));
            let result = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
            result.map_err(|source| LayoutError::Io { path, source })
        };
        write("oci-layout", Self::MARKER)?;
        write("index.json", &index.to_json())?;
        Ok(index)
    }
}

#[cfg(test)]
mod tests;
