//! A merged file tree as one tar (`-o type=tar`).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use distil_layer::{LinkGroups, TarOptions, TarSummary, TarWriter};
use distil_rootfs::{ChangeSink, Dir, Entry, FileKind, Timestamp, Tree, Xattrs};
use distil_store::{LayerId, Store};

use crate::ExportError;
use crate::error::{read_error, write_error};

/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// Writes a tree as one tar, sorted by name, always the same bytes for the same tree.
///
/// `links` are the tree's hard links; with an `epoch` (seconds since 1970) every time is that, as BuildKit does it.
///
/// # Errors
/// When the tree cannot be read or the output fails.
pub fn write_tree(
    tree: &dyn Tree,
    links: &LinkGroups,
    epoch: Option<i64>,
    out: &mut dyn Write,
) -> Result<TarSummary, ExportError> {
    let options = TarOptions {
        whole_tree: true,
        ..TarOptions::default()
    };
    let mut walk = Walk {
        tar: TarWriter::new(out, options),
        links: LinkTargets::new(links),
        epoch,
        buffer: vec![0; BUFFER],
        path: PathBuf::new(),
    };
    walk.directory(&*tree.root()?)?;
    let (_, summary) = walk.tar.finish().map_err(write_error("the tar"))?;
    Ok(summary)
}

/// The hard links of a snapshot: those of its layers.
///
/// # Errors
/// When they cannot be read.
pub fn tree_links(store: &Store, layers: &[LayerId]) -> Result<LinkGroups, ExportError> {
    let mut groups = Vec::new();
    for layer in layers {
        let path = store.layers().path(*layer).join("links");
        match fs::read(&path) {
            Ok(bytes) => groups.extend_from_slice(LinkGroups::decode(&bytes)?.groups()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(read_error(path.display().to_string())(error)),
        }
    }
    Ok(LinkGroups::new(groups))
}

/// Finds the first name of a linked file.
pub(crate) struct LinkTargets<'l> {
    numbers: HashMap<&'l Path, usize>,
    /// Names of one group may have been replaced one by one in upper layers, so the inode counts too.
    first: HashMap<(usize, u64, u64), PathBuf>,
}

impl<'l> LinkTargets<'l> {
    pub(crate) fn new(links: &'l LinkGroups) -> Self {
        let groups = links.groups().iter().enumerate();
        let numbers =
            groups.flat_map(|(number, group)| group.iter().map(move |path| (path.as_path(), number)));
        Self {
            numbers: numbers.collect(),
            first: HashMap::new(),
        }
    }

    /// The name that `path` is to be linked to, or `None` when it is the first or has no others.
    pub(crate) fn target(&mut self, path: &Path, entry: &Entry) -> Option<PathBuf> {
        let number = *self.numbers.get(path)?;
        let key = (number, entry.node.dev, entry.node.ino);
        if let Some(first) = self.first.get(&key) {
            return Some(first.clone());
        }
        self.first.insert(key, path.to_owned());
        None
    }
}

struct Walk<'l, W: Write> {
    tar: TarWriter<W>,
    links: LinkTargets<'l>,
    epoch: Option<i64>,
    buffer: Vec<u8>,
    path: PathBuf,
}

impl<W: Write> Walk<'_, W> {
    fn directory(&mut self, dir: &dyn Dir) -> Result<(), ExportError> {
        for mut entry in dir.entries()? {
            if let Some(epoch) = self.epoch {
                entry.node.mtime = Timestamp {
                    secs: epoch,
                    nanos: 0,
                };
            }
            self.path.push(&entry.name);
            self.entry(dir, &entry)?;
            self.path.pop();
        }
        Ok(())
    }

    fn entry(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), ExportError> {
        let name = entry.name.as_os_str();
        match entry.node.kind {
            FileKind::Dir => {
                let child = dir.open_dir(name)?;
                self.put(entry, None, &child.own_xattrs()?)?;
                self.directory(&*child)
            }
            FileKind::File => match self.links.target(&self.path, entry) {
                Some(target) => self.put(entry, Some(target.as_os_str()), &Xattrs::new()),
                None => self.file(dir, entry),
            },
            FileKind::Symlink => {
                let target = dir.read_link(name)?;
                self.put(entry, Some(&target), &dir.xattrs(name)?)
            }
            FileKind::Socket => Ok(()),
            _ => self.put(entry, None, &dir.xattrs(name)?),
        }
    }

    fn file(&mut self, dir: &dyn Dir, entry: &Entry) -> Result<(), ExportError> {
        let mut file = dir.open_file(&entry.name)?;
        self.put(entry, None, &dir.xattrs(&entry.name)?)?;
        let mut left = entry.node.size;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let shown = || self.path.display().to_string();
            let count = file.read(&mut self.buffer[..most]).map_err(read_error(shown()))?;
            if count == 0 {
                // The writer says that bytes are missing.
                break;
            }
            left -= count as u64;
            self.tar
                .data(&self.buffer[..count])
                .map_err(write_error("the tar"))?;
        }
        Ok(())
    }

    fn put(&mut self, entry: &Entry, link: Option<&OsStr>, xattrs: &Xattrs) -> Result<(), ExportError> {
        self.tar
            .entry(&self.path, &entry.node, link, xattrs)
            .map_err(write_error("the tar"))
    }
}
