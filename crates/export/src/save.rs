//! Archives and layouts of images.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use distil_layer::Compression;
use distil_oci::{Descriptor, Digest, Index, LayoutWriter, VerifyingReader, canonical_json};
use distil_snapshot::Snapshotter;
use distil_store::Store;
use serde::Serialize;

use crate::error::write_error;
use crate::image::{Packed, SavedImage};
use crate::{ExportError, LAYOUT_DIRECTORIES};

/// What an archive looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// OCI layout and Docker's `manifest.json` over the same blobs: every program reads it.
    #[default]
    Both,
    /// Only Docker's `manifest.json`, with uncompressed layers.
    Docker,
    /// Only an OCI layout.
    Oci,
}

/// One image in Docker's `manifest.json`. The order of the fields is Docker's.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Where the bytes of a file in an archive come from.
enum Content {
    Bytes(Vec<u8>),
    /// A blob of the store, a file or made on demand.
    Blob(Digest),
}

/// A file of an archive: its length and its bytes.
type Files = BTreeMap<String, (u64, Content)>;

/// Writes images as one archive. Equal images give equal bytes.
///
/// `compression` is that of the layers; [`ArchiveFormat::Docker`] ignores it. Compressed layers are made as blobs
/// in the store first (a tar needs their length before their bytes) and remembered there, so memory stays bounded.
/// Uncompressed ones come from the store's producers: see [`Snapshotter::register_producer`].
///
/// # Errors
/// When a blob is missing or damaged, or writing fails. What was written until then is no archive.
pub fn save_archive(
    snapshots: &Snapshotter,
    images: &[SavedImage],
    format: ArchiveFormat,
    compression: Compression,
    out: &mut dyn Write,
) -> Result<Vec<Descriptor>, ExportError> {
    let docker = format == ArchiveFormat::Docker;
    let compression = if docker {
        Compression::Uncompressed
    } else {
        compression
    };
    let packed = images
        .iter()
        .map(|image| Packed::new(snapshots, image, compression));
    let packed = packed.collect::<Result<Vec<_>, _>>()?;
    let mut files = Files::new();
    let mut entries = Vec::new();
    for image in &packed {
        if docker {
            add_docker_files(image, &mut files);
        } else {
            add_blobs(image, &mut files);
            entries.extend(image.entries());
        }
    }
    if !docker {
        put(&mut files, "index.json", Index::new(entries).to_json());
        put(&mut files, "oci-layout", LayoutWriter::MARKER.to_vec());
    }
    if format != ArchiveFormat::Oci {
        put(&mut files, "manifest.json", docker_manifest(&packed, docker));
    }
    write_files(snapshots.store(), files, !docker, out)?;
    Ok(packed.into_iter().map(|image| image.descriptor).collect())
}

/// Writes images as an OCI layout into a directory; a layout that is there gets the blobs and a new index.
///
/// # Errors
/// When a blob is missing or damaged, or writing fails. The index is written last.
pub fn save_directory(
    snapshots: &Snapshotter,
    images: &[SavedImage],
    compression: Compression,
    target: &Path,
) -> Result<Vec<Descriptor>, ExportError> {
    let mut layout = LayoutWriter::create(target)?;
    let mut descriptors = Vec::new();
    for image in images {
        let packed = Packed::new(snapshots, image, compression)?;
        layout.write_blob(&packed.manifest.config.media_type, &packed.config_bytes)?;
        for layer in &packed.manifest.layers {
            let reader = snapshots.store().blobs().open(&layer.digest)?;
            layout.copy_blob(&layer.media_type, reader, Some(layer.digest))?;
        }
        layout.write_blob(&packed.descriptor.media_type, &packed.manifest_bytes)?;
        packed.entries().into_iter().for_each(|entry| layout.add(entry));
        descriptors.push(packed.descriptor);
    }
    layout.finish()?;
    Ok(descriptors)
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn put(files: &mut Files, path: &str, bytes: Vec<u8>) {
    files.insert(path.to_owned(), (bytes.len() as u64, Content::Bytes(bytes)));
}

fn add_blobs(image: &Packed, files: &mut Files) {
    put(
        files,
        &blob_path(image.descriptor.digest),
        image.manifest_bytes.clone(),
    );
    put(
        files,
        &blob_path(image.manifest.config.digest),
        image.config_bytes.clone(),
    );
    for layer in &image.manifest.layers {
        files.insert(blob_path(layer.digest), (layer.size, Content::Blob(layer.digest)));
    }
}

fn add_docker_files(image: &Packed, files: &mut Files) {
    put(files, &docker_config_path(image), image.config_bytes.clone());
    for layer in &image.manifest.layers {
        files.insert(
            docker_layer_path(layer),
            (layer.size, Content::Blob(layer.digest)),
        );
    }
}

fn docker_layer_path(layer: &Descriptor) -> String {
    format!("{}.tar", layer.digest.hex())
}

fn docker_config_path(image: &Packed) -> String {
    format!("{}.json", image.manifest.config.digest.hex())
}

/// Docker's `manifest.json`; images with the same config are one entry with all names.
fn docker_manifest(images: &[Packed], docker: bool) -> Vec<u8> {
    let mut entries: Vec<DockerEntry> = Vec::new();
    for image in images {
        let layer = |layer: &Descriptor| {
            if docker {
                docker_layer_path(layer)
            } else {
                blob_path(layer.digest)
            }
        };
        let config = if docker {
            docker_config_path(image)
        } else {
            blob_path(image.manifest.config.digest)
        };
        let tags: Vec<String> = image.names.iter().map(distil_oci::Reference::familiar).collect();
        match entries.iter_mut().find(|entry| entry.config == config) {
            Some(entry) => entry.repo_tags.extend(tags),
            None => {
                let layers = image.manifest.layers.iter().map(layer).collect();
                entries.push(DockerEntry {
                    config,
                    repo_tags: tags,
                    layers,
                });
            }
        }
    }
    // Strings and lists only.
    canonical_json(&entries).expect("a list of names is always valid JSON")
}

fn write_files(store: &Store, files: Files, layout: bool, out: &mut dyn Write) -> Result<(), ExportError> {
    let failed = || write_error("the archive");
    let mut archive = tar::Builder::new(out);
    if layout {
        for directory in LAYOUT_DIRECTORIES {
            let header = header(tar::EntryType::Directory, 0o755, 0);
            append(&mut archive, header, directory, io::empty()).map_err(failed())?;
        }
    }
    for (path, (size, content)) in files {
        let header = header(tar::EntryType::Regular, 0o444, size);
        let reader: Box<dyn Read + Send> = match content {
            Content::Bytes(bytes) => Box::new(io::Cursor::new(bytes)),
            Content::Blob(digest) => {
                let reader = store.blobs().open(&digest)?;
                // What is made on demand was checked by its producer.
                let stored = store.blobs().is_stored(&digest)?;
                if stored {
                    Box::new(VerifyingReader::new(reader, digest, Some(size)))
                } else {
                    reader
                }
            }
        };
        let mut exact = Exact { reader, left: size };
        append(&mut archive, header, &path, &mut exact).map_err(failed())?;
        exact.check_end().map_err(failed())?;
    }
    archive.finish().map_err(failed())?;
    let out = archive.into_inner().map_err(failed())?;
    out.flush().map_err(failed())
}

fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    mut header: tar::Header,
    path: &str,
    data: impl Read,
) -> io::Result<()> {
    archive.append_data(&mut header, path, data)
}

/// No names, owners or times: the bytes depend on the images alone.
fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

/// Fails when a reader has fewer or more bytes than its header says; reads to the end, where digests are checked.
struct Exact<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes are missing", self.left),
            ));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl<R: Read> Exact<R> {
    fn check_end(&mut self) -> io::Result<()> {
        match self.reader.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "there are more bytes than its length says",
            )),
        }
    }
}
