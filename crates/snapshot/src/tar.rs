//! Tars of layers: diff IDs, bytes on demand, compressed forms.

use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use distil_layer::{
    Compression, LayerError, LinkGroups, TarOptions, TarSummary, compress, decompress, write_tree,
};
use distil_oci::{DiffId, Digest, Digester, VerifyingReader, media_type};
use distil_rootfs::{DirTree, LayerManifest, MergedTree, Tree, TreeError};
use distil_store::{BlobProducer, LayerBlob, LayerId, LayerInfo, LockMode, Resource, Store, StoreError};

use crate::error::{in_layer, io_error};
use crate::snapshotter::read_manifest;
use crate::{SnapshotError, Snapshotter};

impl Snapshotter {
    /// The layer's diff ID, computed when it is first asked for.
    pub fn diff_id(&self, layer: LayerId) -> Result<DiffId, SnapshotError> {
        if let Some(diff_id) = self.info(layer)?.diff_id {
            return Ok(diff_id);
        }
        let _alone = self
            .store()
            .lock(&format!("diff ID of layer {layer}"), LockMode::Exclusive)?;
        if let Some(diff_id) = self.info(layer)?.diff_id {
            return Ok(diff_id);
        }
        let summary = self.hash(layer, TarOptions::default())?;
        self.store()
            .layers()
            .set_diff_id(layer, summary.diff_id, summary.size)?;
        Ok(summary.diff_id)
    }

    /// The diff ID that the layer has when times later than `latest_mtime` (seconds since 1970)
    /// are cut off (`rewrite-timestamp`). Its tar can be had as a blob too.
    pub fn clamped_diff_id(&self, layer: LayerId, latest_mtime: i64) -> Result<DiffId, SnapshotError> {
        self.info(layer)?;
        let layers = self.store().layers();
        if let Some((diff_id, _)) = layers.clamped(layer, latest_mtime)? {
            return Ok(diff_id);
        }
        let options = TarOptions {
            latest_mtime: Some(latest_mtime),
            ..TarOptions::default()
        };
        let summary = self.hash(layer, options)?;
        layers.set_clamped(layer, latest_mtime, summary.diff_id, summary.size)?;
        Ok(summary.diff_id)
    }

    fn hash(&self, layer: LayerId, options: TarOptions) -> Result<TarSummary, SnapshotError> {
        self.check_inside()?;
        let files = self.manifest(layer);
        let tree = open_tree(self.store(), layer, self.info(layer)?.extends, files)?;
        write_tree(&*tree, &self.links(layer)?, options, io::sink()).map_err(in_layer(layer))
    }

    /// Lets the store hand out the tars of layers as blobs, named by diff ID.
    pub fn register_producer(&self) {
        self.store().register_producer(Arc::new(LayerTars));
    }

    /// A compressed form of the layer with this diff ID, made now if it is not there, and
    /// remembered as long as the layer lives.
    ///
    /// With `keep_original`, the form that the layer was pulled in is taken if its bytes are
    /// here, whatever its compression.
    pub fn compressed(
        &self,
        diff_id: DiffId,
        compression: Compression,
        keep_original: bool,
    ) -> Result<LayerBlob, SnapshotError> {
        let store = self.store();
        if let Some(blob) = find_form(store, diff_id, compression, keep_original)? {
            return Ok(blob);
        }
        if compression == Compression::Uncompressed {
            return self.uncompressed(diff_id);
        }
        let name = format!("compress {diff_id} {}", compression.form());
        let _alone = store.lock(&name, LockMode::Exclusive)?;
        if let Some(blob) = find_form(store, diff_id, compression, keep_original)? {
            return Ok(blob);
        }
        let tar = LayerTars
            .open(store, &diff_id.0)?
            .ok_or(SnapshotError::DiffIdMissing { diff_id })?;
        let mut writer = store.blobs().writer()?;
        compress(tar, &mut writer, compression, 0).map_err(io_error("compress into", store.root()))?;
        let size = writer.length();
        let blob = LayerBlob {
            form: compression.form().to_owned(),
            digest: writer.commit(None)?,
            size,
            media_type: media_type_of(compression).to_owned(),
        };
        store.layers().add_blob(diff_id, &blob)?;
        Ok(blob)
    }

    /// Bytes that a registry stores for the layer with this diff ID: those of the compressed form that it was
    /// pulled in, else those of `compression`. A form that is not known yet is made to be measured, with `threads`
    /// threads (0: one a core); its digest and size are remembered, its bytes are not kept.
    ///
    /// # Errors
    /// When no layer here has this diff ID, or its files cannot be read.
    pub fn compressed_size(
        &self,
        diff_id: DiffId,
        compression: Compression,
        threads: usize,
    ) -> Result<u64, SnapshotError> {
        let store = self.store();
        let plain = [media_type::LAYER, media_type::DOCKER_LAYER];
        let known = store.layers().blobs(diff_id)?;
        let pulled = |blob: &&LayerBlob| blob.form == ORIGINAL && !plain.contains(&blob.media_type.as_str());
        let wanted = |blob: &&LayerBlob| blob.form == compression.form();
        if let Some(blob) = known.iter().find(pulled).or_else(|| known.iter().find(wanted)) {
            return Ok(blob.size);
        }
        if compression == Compression::Uncompressed {
            return self.uncompressed(diff_id).map(|blob| blob.size);
        }
        let tar = LayerTars
            .open(store, &diff_id.0)?
            .ok_or(SnapshotError::DiffIdMissing { diff_id })?;
        let mut packed = Digester::new();
        compress(tar, &mut packed, compression, threads).map_err(io_error("compress", store.root()))?;
        let blob = LayerBlob {
            form: compression.form().to_owned(),
            size: packed.length(),
            digest: packed.finish(),
            media_type: media_type_of(compression).to_owned(),
        };
        store.layers().add_blob(diff_id, &blob)?;
        Ok(blob.size)
    }

    fn uncompressed(&self, diff_id: DiffId) -> Result<LayerBlob, SnapshotError> {
        let size = LayerTars.size(self.store(), &diff_id.0)?;
        Ok(LayerBlob {
            form: Compression::Uncompressed.form().to_owned(),
            digest: diff_id.0,
            size: size.ok_or(SnapshotError::DiffIdMissing { diff_id })?,
            media_type: media_type::LAYER.to_owned(),
        })
    }

    /// Remembers the form that a layer was pulled in, whether or not its bytes are kept.
    pub fn add_original(
        &self,
        diff_id: DiffId,
        digest: Digest,
        size: u64,
        media_type: &str,
    ) -> Result<(), SnapshotError> {
        let blob = LayerBlob {
            form: ORIGINAL.to_owned(),
            digest,
            size,
            media_type: media_type.to_owned(),
        };
        Ok(self.store().layers().add_blob(diff_id, &blob)?)
    }
}

const ORIGINAL: &str = "original";

fn media_type_of(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => media_type::LAYER,
        Compression::Gzip => media_type::LAYER_GZIP,
        Compression::Zstd => media_type::LAYER_ZSTD,
    }
}

fn find_form(
    store: &Store,
    diff_id: DiffId,
    compression: Compression,
    keep_original: bool,
) -> Result<Option<LayerBlob>, StoreError> {
    for blob in store.layers().blobs(diff_id)? {
        let fits = blob.form == compression.form() || keep_original && blob.form == ORIGINAL;
        if fits && store.blobs().hold(&blob.digest)? {
            return Ok(Some(blob));
        }
    }
    Ok(None)
}

/// Makes the tars of layers.
///
/// A layer of this store gives its tar from its directory. One that was pulled may have had a
/// tar of another style, so its original form is read where that was kept. Either way the reader
/// checks the diff ID.
#[derive(Debug)]
struct LayerTars;

/// Where the tar of a diff ID can come from.
struct Origin {
    layer: LayerInfo,
    options: TarOptions,
    tar_size: u64,
}

fn origin(store: &Store, digest: &Digest) -> Result<Option<Origin>, StoreError> {
    let (layers, diff_id) = (store.layers(), DiffId(*digest));
    for layer in layers.all_with_diff_id(diff_id)? {
        if let Some(tar_size) = layer.tar_size.filter(|_| layers.path(layer.id).is_dir()) {
            return Ok(Some(Origin {
                layer,
                options: TarOptions::default(),
                tar_size,
            }));
        }
    }
    for (id, latest_mtime, tar_size) in layers.clamped_with_diff_id(diff_id)? {
        if let Some(layer) = layers.get(id)? {
            let options = TarOptions {
                latest_mtime: Some(latest_mtime),
                ..TarOptions::default()
            };
            return Ok(Some(Origin {
                layer,
                options,
                tar_size,
            }));
        }
    }
    Ok(None)
}

/// A layer with its whiteouts.
fn open_tree(
    store: &Store,
    layer: LayerId,
    extends: Option<LayerId>,
    files: Option<Arc<LayerManifest>>,
) -> Result<Box<dyn Tree>, TreeError> {
    let dir = |layer| store.layers().path(layer).join("fs");
    Ok(match extends {
        None => Box::new(DirTree::open(&dir(layer))?.with_files(files)),
        // There are no whiteouts in these two.
        Some(extended) => Box::new(MergedTree::open(&[dir(extended), dir(layer)])?.with_files(files)),
    })
}

impl BlobProducer for LayerTars {
    fn size(&self, store: &Store, digest: &Digest) -> Result<Option<u64>, StoreError> {
        Ok(origin(store, digest)?.map(|origin| origin.tar_size))
    }

    fn open(&self, store: &Store, digest: &Digest) -> Result<Option<Box<dyn Read + Send>>, StoreError> {
        let Some(origin) = origin(store, digest)? else {
            return Ok(None);
        };
        for blob in store.layers().blobs(DiffId(*digest))? {
            if blob.form == ORIGINAL && store.blobs().hold(&blob.digest)? {
                let path = store.blobs().path(&blob.digest);
                let io = |source| StoreError::Io {
                    action: "read",
                    path: path.clone(),
                    source,
                };
                let plain = decompress(File::open(&path).map_err(io)?).map_err(io)?;
                return Ok(Some(Box::new(VerifyingReader::new(
                    plain,
                    *digest,
                    Some(origin.tar_size),
                ))));
            }
        }
        if !store.hold(&[Resource::Layer(origin.layer.id)])? {
            return Ok(None);
        }
        let reader = tar_reader(store, &origin)?;
        Ok(Some(Box::new(VerifyingReader::new(
            reader,
            *digest,
            Some(origin.tar_size),
        ))))
    }
}

/// Writes the tar in a thread, into a pipe.
fn tar_reader(store: &Store, origin: &Origin) -> Result<TarReader, StoreError> {
    let (dir, options) = (store.layers().path(origin.layer.id), origin.options);
    let failed = |action, source| StoreError::Io {
        action,
        path: dir.clone(),
        source,
    };
    let links = match std::fs::read(dir.join("links")) {
        Ok(bytes) => LinkGroups::decode(&bytes).map_err(|error| failed("read", io::Error::other(error)))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => LinkGroups::default(),
        Err(error) => return Err(failed("read", error)),
    };
    let (reader, writer) = io::pipe().map_err(|error| failed("make a pipe for", error))?;
    // The handle keeps the layer until the tar is written.
    let (store, layer, extends) = (store.clone(), origin.layer.id, origin.layer.extends);
    let files = read_manifest(&dir);
    let thread = thread::Builder::new()
        .name("layer tar".to_owned())
        .spawn(move || {
            let tree = open_tree(&store, layer, extends, files)?;
            write_tree(
                &*tree,
                &links,
                options,
                BufWriter::with_capacity(256 << 10, writer),
            )
            .map(drop)
        });
    Ok(TarReader {
        reader,
        thread: Some(thread.map_err(|error| failed("start a thread for", error))?),
    })
}

struct TarReader {
    reader: io::PipeReader,
    thread: Option<JoinHandle<Result<(), LayerError>>>,
}

impl Read for TarReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        // The end, or an error in the thread.
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(0),
            Some(Ok(Err(error))) => Err(io::Error::other(error)),
            Some(Err(_)) => Err(io::Error::other("writing a layer's tar stopped")),
        }
    }
}
