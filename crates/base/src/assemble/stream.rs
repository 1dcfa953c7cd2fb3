//! The tar of a layer of the tree, made without looking at the directory.
//!
//! It has the bytes that the tar of the written directory has, so that it can be hashed while
//! the directory is written.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_layer::{LayerError, LinkGroups, TarOptions, TarSummary, TarWriter, write_tar_of};
use distil_rootfs::{ChangeSink, FileKind, Node as FileNode, Timestamp, Xattrs};

use super::contents::ContentReader;
use super::tree::{Content, Kind, Meta, Node, Stored};
use super::{AssembleError, Composed};

const CHUNK: usize = 128 << 10;
/// Files of so many bytes are hashed sooner than handed over to another thread that does it.
const FEW: u64 = 4 << 20;

impl From<LayerError> for AssembleError {
    fn from(error: LayerError) -> Self {
        AssembleError::Tar(error)
    }
}

impl Composed {
    /// Hashes the tar of layer `number`; `None` when it holds members of archives, whose bytes are
    /// known only once they are written.
    ///
    /// # Errors
    /// A file of a package cannot be read, or `is_cancelled` says so, which is asked for every entry.
    pub fn layer_tar(
        &self,
        number: usize,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Option<TarSummary>, AssembleError> {
        let entries = self.layer(number);
        let is_member = |node: &Node| matches!(node.kind, Kind::File(Content::Member(..)));
        if entries.iter().any(|(_, node)| is_member(node)) {
            return Ok(None);
        }
        let links = links_of(&entries);
        let write = |sink: &mut dyn ChangeSink| {
            let mut feed = Feed {
                composed: self,
                sink,
                links: &links,
                small: ContentReader::default(),
                buffer: vec![0; CHUNK],
            };
            let mut ordered: Vec<(&Path, &Node)> = entries
                .iter()
                .map(|(path, node)| (as_path(path), *node))
                .collect();
            // By components: everything in a directory comes right after it.
            ordered.sort_unstable_by(|(a, _), (b, _)| by_components(a, b));
            for (path, node) in ordered {
                if is_cancelled() {
                    return Err(AssembleError::io("read", path)(io::ErrorKind::Interrupted.into()));
                }
                feed.entry(path, node)?;
            }
            Ok(())
        };
        let bytes = entries.iter().map(|(_, node)| content_size(node)).sum::<u64>();
        if bytes > FEW {
            return write_tar_of(TarOptions::default(), io::sink(), write).map(Some);
        }
        let mut tar = TarWriter::new(io::sink(), TarOptions::default());
        write(&mut tar)?;
        let finished = tar.finish().map_err(AssembleError::io("write", Path::new("")));
        finished.map(|(_, summary)| Some(summary))
    }
}

/// Bytes of a file as its package or its maker has them; 0 of everything else.
fn content_size(node: &Node) -> u64 {
    match &node.kind {
        Kind::File(Content::Bytes(bytes)) => bytes.len() as u64,
        Kind::File(Content::Stored(stored) | Content::Copied(stored)) => {
            stored.package.content_size(stored.entry).unwrap_or(0)
        }
        _ => 0,
    }
}

/// The order of paths, without taking them apart: a component ends before it goes on.
fn by_components(a: &Path, b: &Path) -> std::cmp::Ordering {
    let ends_first = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    let (a, b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    a.iter().map(ends_first).cmp(b.iter().map(ends_first))
}

fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

/// For every name of a file that has several, the first of them in the tar.
fn links_of(entries: &[(&[u8], &Node)]) -> HashMap<PathBuf, PathBuf> {
    let mut groups: HashMap<&[u8], Vec<PathBuf>> = HashMap::new();
    for (path, node) in entries {
        if let Kind::HardLink(target) = &node.kind {
            let group = groups
                .entry(target)
                .or_insert_with(|| vec![as_path(target).to_owned()]);
            group.push(as_path(path).to_owned());
        }
    }
    let groups = LinkGroups::new(groups.into_values());
    let mut firsts = HashMap::new();
    for group in groups.groups() {
        if let Some(first) = group.first() {
            firsts.extend(group.iter().map(|name| (name.clone(), first.clone())));
        }
    }
    firsts
}

/// Tells a layer to who makes its tar.
struct Feed<'a> {
    composed: &'a Composed,
    sink: &'a mut dyn ChangeSink,
    links: &'a HashMap<PathBuf, PathBuf>,
    small: ContentReader,
    buffer: Vec<u8>,
}

impl Feed<'_> {
    fn entry(&mut self, path: &Path, node: &Node) -> Result<(), AssembleError> {
        if let Some(first) = self.links.get(path)
            && first != path
        {
            return self.put(
                path,
                &file_node(FileKind::File, &node.meta, 0),
                Some(first.as_os_str()),
            );
        }
        match &node.kind {
            Kind::Directory => self.put(path, &file_node(FileKind::Dir, &node.meta, 0), None),
            Kind::Symlink(target, _) => {
                let meta = Meta {
                    mode: 0o777,
                    ..node.meta
                };
                let size = target.len() as u64;
                self.put(
                    path,
                    &file_node(FileKind::Symlink, &meta, size),
                    Some(OsStr::from_bytes(target)),
                )
            }
            Kind::File(content) => self.file(path, &node.meta, content),
            // The first name of a file that the tree has under another one.
            Kind::HardLink(target) => match self.composed.tree.nodes.get(target) {
                Some(Node {
                    kind: Kind::File(content),
                    meta,
                    ..
                }) => self.file(path, meta, content),
                _ => Err(AssembleError::io("read", path)(io::ErrorKind::NotFound.into())),
            },
        }
    }

    fn put(&mut self, path: &Path, node: &FileNode, link: Option<&OsStr>) -> Result<(), AssembleError> {
        let put = self.sink.entry(path, node, link, &Xattrs::new());
        put.map_err(AssembleError::io("write", path))
    }

    fn file(&mut self, path: &Path, meta: &Meta, content: &Content) -> Result<(), AssembleError> {
        let source = match content {
            Content::Bytes(bytes) => {
                self.put(path, &file_node(FileKind::File, meta, bytes.len() as u64), None)?;
                return self.sink.data(bytes).map_err(AssembleError::io("write", path));
            }
            Content::Stored(stored) | Content::Copied(stored) => stored,
            // The layer has none.
            Content::Member(..) => return Ok(()),
        };
        if self.small_file(path, meta, source)? {
            return Ok(());
        }
        self.large_file(path, meta, source)
    }

    /// A file whose content is read with that of others; `false` when it is too large for that.
    fn small_file(&mut self, path: &Path, meta: &Meta, source: &Stored) -> Result<bool, AssembleError> {
        let Some(bytes) = self.small.get(source)? else {
            return Ok(false);
        };
        let node = file_node(FileKind::File, meta, bytes.len() as u64);
        self.sink
            .entry(path, &node, None, &Xattrs::new())
            .and_then(|()| self.sink.data(bytes))
            .map_err(AssembleError::io("write", path))?;
        Ok(true)
    }

    fn large_file(&mut self, path: &Path, meta: &Meta, source: &Stored) -> Result<(), AssembleError> {
        let mut file = source.open()?;
        let size = source.package.content_size(source.entry).unwrap_or(0);
        self.put(path, &file_node(FileKind::File, meta, size), None)?;
        let mut left = size;
        while left > 0 {
            // Not past the size that the tar has for it.
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = file
                .read(&mut self.buffer[..want])
                .map_err(|error| source.failed(error))?;
            if count == 0 {
                return Err(source.failed(io::ErrorKind::UnexpectedEof.into()));
            }
            left = left.saturating_sub(count as u64);
            self.sink
                .data(&self.buffer[..count])
                .map_err(AssembleError::io("write", path))?;
        }
        Ok(())
    }
}

fn file_node(kind: FileKind, meta: &Meta, size: u64) -> FileNode {
    FileNode {
        kind,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        size,
        mtime: Timestamp {
            secs: meta.mtime,
            nanos: 0,
        },
        rdev: 0,
        nlink: 1,
        dev: 0,
        ino: 0,
    }
}
