//! The tar of a settled layer directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use distil_oci::{DiffId, Digester};

use distil_rootfs::{ChangeSink, Dir, DirTree, Entry, FileKind, Tree, Xattrs, xattrs_fd};

use crate::chunks::{CHUNK, Chunks, Spare};
use crate::error::{at, io_at};
use crate::settle::MAX_DEPTH;
use crate::writer::Counts;
use crate::{LayerError, LinkGroups, TarOptions, TarSummary, TarWriter};

/// Pieces that may wait, so that memory stays bounded.
const AHEAD: usize = 8;

/// Files up to this size go into batches.
const SMALL: u64 = 128 << 10;

/// Names of a batch, and bytes of files after which it is full.
const BATCH_NAMES: usize = 64;
const BATCH_BYTES: u64 = 256 << 10;

/// Fewer names than this are not worth another thread.
const FEW: usize = 8;

/// Writes the tar of a layer directory that [`crate::settle`] went over (or that is equal to
/// what a [`ChangeSink`] was told). Small files are read on all cores, hashing and writing has a
/// thread of its own.
///
/// The layer's root directory itself has no entry, as in BuildKit.
///
/// # Errors
/// Reading fails, the output fails, or a name starts with `.wh.`.
pub fn write_tar(
    dir: &Path,
    links: &LinkGroups,
    options: TarOptions,
    out: impl Write + Send,
) -> Result<TarSummary, LayerError> {
    write_tree(&DirTree::open(dir)?, links, options, out)
}

/// [`write_tar`] of a layer that is open, and may know its files ([`DirTree::with_files`]).
///
/// # Errors
/// As [`write_tar`].
pub fn write_tree(
    tree: &dyn Tree,
    links: &LinkGroups,
    options: TarOptions,
    out: impl Write + Send,
) -> Result<TarSummary, LayerError> {
    let targets = links.targets();
    let (sender, receiver) = sync_channel(AHEAD);
    let spare = Arc::new(Spare::default());
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(receiver, &spare, out));
        let chunks = Chunks::new(sender, Arc::clone(&spare));
        let walked = walk(tree, options, Readers::new(scope, &targets, &spare), chunks);
        let hashed = hashing
            .join()
            .unwrap_or_else(|_| Err(stream_error(io::Error::other("hashing stopped"))));
        // An output that failed is why the walk could not go on.
        let (diff_id, parts) = hashed?;
        let walked = walked?;
        Ok(TarSummary {
            diff_id,
            size: walked.size + parts.size,
            contents: walked.contents + parts.contents,
            entries: walked.entries + parts.entries,
            links: links.clone(),
        })
    })
}

/// Writes the tar of what `feed` tells, in the order that [`ChangeSink`] wants; hashing and writing
/// has a thread of its own.
///
/// # Errors
/// Those of `feed`; the output fails.
pub fn write_tar_of<E: From<LayerError> + Send>(
    options: TarOptions,
    out: impl Write + Send,
    feed: impl FnOnce(&mut dyn ChangeSink) -> Result<(), E>,
) -> Result<TarSummary, E> {
    let (sender, receiver) = sync_channel(AHEAD);
    let spare = Arc::new(Spare::default());
    std::thread::scope(|scope| {
        let hashing = scope.spawn(|| hash(receiver, &spare, out));
        let mut tar = TarWriter::unhashed(Chunks::new(sender, Arc::clone(&spare)), options);
        let fed = feed(&mut tar);
        // Dropping the output ends the hashing thread.
        let finished = tar.finish().map(|(_, summary)| summary);
        let hashed = hashing
            .join()
            .unwrap_or_else(|_| Err(stream_error(io::Error::other("hashing stopped"))));
        // An output that failed is why the rest could not go on.
        let (diff_id, _) = hashed?;
        fed?;
        let summary = finished.map_err(stream_error)?;
        Ok(TarSummary { diff_id, ..summary })
    })
}

fn walk(
    tree: &dyn Tree,
    options: TarOptions,
    readers: Readers<'_, '_>,
    chunks: Chunks<Piece>,
) -> Result<TarSummary, LayerError> {
    let mut walk = Walk {
        encoder: Encoder {
            tar: TarWriter::unhashed(chunks, options),
            targets: readers.targets,
            buffer: Vec::new(),
            path: PathBuf::new(),
        },
        options,
        readers,
    };
    walk.directory(&Arc::from(tree.root()?), 0)?;
    let (_, summary) = walk.encoder.tar.finish().map_err(stream_error)?;
    Ok(summary)
}

/// A part of the tar, in order.
enum Piece {
    Bytes(Vec<u8>),
    /// One that another thread is writing.
    Batch(Receiver<Result<(Vec<u8>, Counts), LayerError>>),
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Piece::Bytes(bytes)
    }
}

/// Hashes and writes all pieces; counts the batches.
fn hash(pieces: Receiver<Piece>, spare: &Spare, mut out: impl Write) -> Result<(DiffId, Counts), LayerError> {
    let mut digester = Digester::new();
    let mut total = Counts::default();
    for piece in pieces {
        let bytes = match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::Batch(part) => {
                let stopped = |_| Err(stream_error(io::Error::other("reading stopped")));
                let (bytes, counts) = part.recv().unwrap_or_else(stopped)?;
                total.size += counts.size;
                total.contents += counts.contents;
                total.entries += counts.entries;
                bytes
            }
        };
        digester.update(&bytes);
        out.write_all(&bytes).map_err(stream_error)?;
        spare.give_back(bytes);
    }
    out.flush().map_err(stream_error)?;
    Ok((DiffId(digester.finish()), total))
}

fn stream_error(source: io::Error) -> LayerError {
    LayerError::Stream {
        action: "write",
        source,
    }
}

/// Small files of one directory that follow each other in the tar.
struct Batch {
    dir: Arc<dyn Dir>,
    /// Path of the directory in the layer.
    path: PathBuf,
    entries: Vec<Entry>,
    options: TarOptions,
    part: SyncSender<Result<(Vec<u8>, Counts), LayerError>>,
}

/// The threads that read batches, started as there is work for them.
struct Readers<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    targets: &'env HashMap<&'env Path, &'env Path>,
    spare: &'env Spare,
    batches: Sender<Batch>,
    waiting: Arc<Mutex<Receiver<Batch>>>,
    running: usize,
    /// Threads that may run; asking for it costs several reads of files.
    limit: usize,
}

impl<'scope, 'env> Readers<'scope, 'env> {
    fn new(
        scope: &'scope Scope<'scope, 'env>,
        targets: &'env HashMap<&'env Path, &'env Path>,
        spare: &'env Spare,
    ) -> Self {
        let (batches, waiting) = channel();
        Self {
            scope,
            targets,
            spare,
            batches,
            waiting: Arc::new(Mutex::new(waiting)),
            running: 0,
            limit: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    fn read(&mut self, batch: Batch) {
        // The receiver lives as long as this value.
        let _ = self.batches.send(batch);
        if self.running >= self.limit {
            return;
        }
        self.running += 1;
        let (waiting, targets, spare) = (Arc::clone(&self.waiting), self.targets, self.spare);
        self.scope.spawn(move || {
            let mut buffer = Vec::new();
            let next = || {
                let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.recv().ok()
            };
            while let Some(batch) = next() {
                let part = batch.part.clone();
                // The hashing thread stops listening after an error.
                let _ = part.send(encode(batch, targets, spare.take(), &mut buffer));
            }
        });
    }
}

fn encode(
    batch: Batch,
    targets: &HashMap<&Path, &Path>,
    part: Vec<u8>,
    buffer: &mut Vec<u8>,
) -> Result<(Vec<u8>, Counts), LayerError> {
    let mut encoder = Encoder {
        tar: TarWriter::unhashed(part, batch.options),
        targets,
        buffer: std::mem::take(buffer),
        path: batch.path,
    };
    for entry in &batch.entries {
        encoder.entry(&*batch.dir, entry)?;
    }
    *buffer = encoder.buffer;
    encoder.tar.end_part().map_err(stream_error)
}

struct Walk<'l, 'scope, 'env> {
    encoder: Encoder<'l, Chunks<Piece>>,
    options: TarOptions,
    readers: Readers<'scope, 'env>,
}

impl Walk<'_, '_, '_> {
    fn directory(&mut self, dir: &Arc<dyn Dir>, depth: usize) -> Result<(), LayerError> {
        if depth > MAX_DEPTH {
            return Err(LayerError::TooDeep {
                path: self.encoder.path.clone(),
                limit: MAX_DEPTH,
            });
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in dir.entries()? {
            let large = entry.node.kind.is_file() && entry.node.size > SMALL;
            if entry.node.kind.is_dir() || large || batch.len() == BATCH_NAMES || bytes > BATCH_BYTES {
                self.send(dir, std::mem::take(&mut batch))?;
                bytes = 0;
            }
            if entry.node.kind.is_dir() {
                self.subdirectory(dir, &entry, depth)?;
            } else if large {
                self.encoder.entry(&**dir, &entry)?;
            } else {
                bytes += entry.node.size;
                batch.push(entry);
            }
        }
        self.send(dir, batch)
    }

    fn subdirectory(&mut self, dir: &Arc<dyn Dir>, entry: &Entry, depth: usize) -> Result<(), LayerError> {
        let child = dir.open_dir(&entry.name)?;
        self.encoder.path.push(&entry.name);
        self.encoder.put(entry, None, &child.own_xattrs()?)?;
        self.directory(&Arc::from(child), depth + 1)?;
        self.encoder.path.pop();
        Ok(())
    }

    /// Has a batch written, in its place.
    fn send(&mut self, dir: &Arc<dyn Dir>, entries: Vec<Entry>) -> Result<(), LayerError> {
        if entries.len() < FEW {
            return entries
                .iter()
                .try_for_each(|entry| self.encoder.entry(&**dir, entry));
        }
        let (part, receiver) = sync_channel(1);
        let out = self.encoder.tar.between_entries().map_err(stream_error)?;
        out.flush().map_err(stream_error)?;
        // Waits while too much is on its way.
        out.send(Piece::Batch(receiver)).map_err(stream_error)?;
        self.readers.read(Batch {
            dir: Arc::clone(dir),
            path: self.encoder.path.clone(),
            entries,
            options: self.options,
            part,
        });
        Ok(())
    }
}

/// Writes entries of one directory.
struct Encoder<'l, W: Write> {
    tar: TarWriter<W>,
    targets: &'l HashMap<&'l Path, &'l Path>,
    buffer: Vec<u8>,
    /// Path of the directory in the layer, and of the entry while it is written.
    path: PathBuf,
}

impl<W: Write> Encoder<'_, W> {
    /// Writes an entry that is no directory.
    fn entry(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), LayerError> {
        self.path.push(&entry.name);
        self.leaf(dir, entry)?;
        self.path.pop();
        Ok(())
    }

    fn leaf(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), LayerError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        match node.kind {
            // The walk goes into them.
            FileKind::Dir | FileKind::Socket => Ok(()),
            FileKind::File => match self.targets.get(self.path.as_path()).copied() {
                Some(target) => self.put(entry, Some(target.as_os_str()), &Xattrs::new()),
                None => self.file(dir, entry),
            },
            FileKind::Symlink => {
                let target = dir.read_link(name)?;
                self.put(entry, Some(&target), &dir.xattrs(name)?)
            }
            FileKind::CharDevice if node.is_whiteout() => self.put(entry, None, &Xattrs::new()),
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo => {
                self.put(entry, None, &dir.xattrs(name)?)
            }
        }
    }

    fn file(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), LayerError> {
        let mut file = dir.open_file(&entry.name)?;
        let xattrs = xattrs_fd(&file).map_err(at("read attributes of", &self.path))?;
        self.put(entry, None, &xattrs)?;
        let mut left = entry.node.size;
        let piece = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK);
        if self.buffer.len() < piece {
            self.buffer.resize(piece, 0);
        }
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = file
                .read(&mut self.buffer[..want])
                .map_err(io_at("read", &self.path))?;
            if count == 0 {
                break;
            }
            left -= count as u64;
            self.tar.data(&self.buffer[..count]).map_err(stream_error)?;
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry, link: Option<&OsStr>, xattrs: &Xattrs) -> Result<(), LayerError> {
        self.tar
            .entry(&self.path, &entry.node, link, xattrs)
            .map_err(stream_error)
    }
}
