//! The tar of a settled layer directory.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use distil_rootfs::{ChangeSink, Dir, DirTree, Entry, FileKind, Tree, Xattrs};

use crate::error::io_at;
use crate::settle::MAX_DEPTH;
use crate::{LayerError, LinkGroups, TarOptions, TarSummary, TarWriter};

/// Writes the tar of a layer directory that [`crate::settle`] went over (or that is equal to
/// what a [`ChangeSink`] was told).
///
/// The layer's root directory itself has no entry, as in BuildKit.
///
/// # Errors
/// Reading fails, the output fails, or a name starts with `.wh.`.
pub fn write_tar(
    dir: &Path,
    links: &LinkGroups,
    options: TarOptions,
    out: impl Write,
) -> Result<TarSummary, LayerError> {
    let tree = DirTree::open(dir)?;
    let mut walk = Walk {
        tar: TarWriter::new(out, options),
        targets: links.targets(),
        buffer: vec![0; 256 << 10],
        path: PathBuf::new(),
    };
    walk.directory(&*tree.root()?, 0)?;
    let (_, summary) = walk.tar.finish().map_err(|source| LayerError::Stream {
        action: "write",
        source,
    })?;
    Ok(summary)
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
            self.tar
                .data(&self.buffer[..count])
                .map_err(|source| LayerError::Stream {
                    action: "write",
                    source,
                })?;
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry, link: Option<&OsStr>, xattrs: &Xattrs) -> Result<(), LayerError> {
        self.tar
            .entry(&self.path, &entry.node, link, xattrs)
            .map_err(|source| LayerError::Stream {
                action: "write",
                source,
            })
    }
}
