//! The tar of a settled layer directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use distil_oci::{DiffId, Digester};

use distil_rootfs::{ChangeSink, Dir, DirTree, Entry, FileKind, Tree, Xattrs};

use crate::error::io_at;
use crate::settle::MAX_DEPTH;
use crate::{LayerError, LinkGroups, TarOptions, TarSummary, TarWriter};

/// Bytes that go from the walk to the hashing thread at once.
const CHUNK: usize = 512 << 10;

/// Chunks that may wait, so that memory stays bounded.
const AHEAD: usize = 6;

/// Writes the tar of a layer directory that [`crate::settle`] went over (or that is equal to
/// what a [`ChangeSink`] was told). Files are read in this thread, hashed and written in another.
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
    let (sender, receiver) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || hash(&receiver, out));
        let walked = walk(dir, links, options, sender);
        let hashed = hashing
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("hashing stopped")));
        // An output that failed is why the walk could not go on.
        let diff_id = hashed.map_err(stream_error)?;
        Ok(TarSummary { diff_id, ..walked? })
    })
}

fn walk(
    dir: &Path,
    links: &LinkGroups,
    options: TarOptions,
    sender: SyncSender<Vec<u8>>,
) -> Result<TarSummary, LayerError> {
    let tree = DirTree::open(dir)?;
    let chunks = Chunks {
        sender,
        chunk: Vec::with_capacity(CHUNK),
    };
    let mut walk = Walk {
        tar: TarWriter::unhashed(chunks, options),
        targets: links.targets(),
        buffer: vec![0; 256 << 10],
        path: PathBuf::new(),
    };
    walk.directory(&*tree.root()?, 0)?;
    let (_, summary) = walk.tar.finish().map_err(stream_error)?;
    Ok(summary)
}

fn hash(chunks: &Receiver<Vec<u8>>, mut out: impl Write) -> io::Result<DiffId> {
    let mut digester = Digester::new();
    for chunk in chunks {
        digester.update(&chunk);
        out.write_all(&chunk)?;
    }
    out.flush()?;
    Ok(DiffId(digester.finish()))
}

fn stream_error(source: io::Error) -> LayerError {
    LayerError::Stream {
        action: "write",
        source,
    }
}

/// Collects bytes and hands them to the hashing thread.
struct Chunks {
    sender: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender
            .send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct Walk<'l, W: Write> {
    tar: TarWriter<W>,
    targets: HashMap<&'l Path, &'l Path>,
    buffer: Vec<u8>,
    path: PathBuf,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, dir: &dyn Dir, depth: usize) -> Result<(), LayerError> {
        if depth > MAX_DEPTH {
            return Err(LayerError::TooDeep {
                path: self.path.clone(),
                limit: MAX_DEPTH,
            });
        }
        for entry in dir.entries()? {
            self.path.push(&entry.name);
            self.entry(dir, &entry, depth)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, dir: &dyn Dir, entry: &Entry, depth: usize) -> Result<(), LayerError> {
        let (name, node) = (entry.name.as_os_str(), &entry.node);
        match node.kind {
            FileKind::Dir => {
                let child = dir.open_dir(name)?;
                self.put(entry, None, &child.own_xattrs()?)?;
                self.directory(&*child, depth + 1)
            }
            FileKind::File => match self.targets.get(self.path.as_path()).copied() {
                Some(target) => self.put(entry, Some(target.as_os_str()), &Xattrs::new()),
                None => self.file(dir, entry),
            },
            FileKind::Symlink => {
                let target = dir.read_link(name)?;
                self.put(entry, Some(&target), &dir.xattrs(name)?)
            }
            FileKind::CharDevice if node.is_whiteout() => self.put(entry, None, &Xattrs::new()),
            FileKind::Socket => Ok(()),
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo => {
                self.put(entry, None, &dir.xattrs(name)?)
            }
        }
    }

    fn file(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), LayerError> {
        let mut file = dir.open_file(&entry.name)?;
        self.put(entry, None, &dir.xattrs(&entry.name)?)?;
        let mut left = entry.node.size;
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
