//! Writing a layer's tar entry by entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_oci::{DiffId, Digester};
use distil_rootfs::{ChangeSink, FileKind, Node, Xattrs};

use crate::LinkGroups;
use crate::header::{self, EntryType, Header};

/// Prefix of the name of an entry that deletes.
pub(crate) const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// How a layer's tar is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// Modification times later than this, in seconds since 1970, become this
    /// (`rewrite-timestamp`).
    pub latest_mtime: Option<i64>,
    /// The tar is a whole file tree and no layer: a name that starts with `.wh.` is a name like others.
    pub whole_tree: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TarSummary {
    /// sha256 of all bytes of the tar.
    pub diff_id: DiffId,
    /// Bytes of the tar.
    pub size: u64,
    /// Bytes of file contents in it.
    pub contents: u64,
    /// Number of entries, deletions not counted.
    pub entries: u64,
    /// The hard links.
    pub links: LinkGroups,
}

/// What a part of a tar holds, counted as in [`TarSummary`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) size: u64,
    pub(crate) contents: u64,
    pub(crate) entries: u64,
}

/// Writes and hashes a layer's tar, entry by entry, in the order that [`ChangeSink`] gives.
///
/// The bytes depend on the entries alone: no user names, whole seconds, no access or change
/// times, PAX records only for what the plain header cannot say. Whiteouts become `.wh.` entries
/// with mode and time 0, sockets are left out, as in BuildKit.
#[derive(Debug)]
pub struct TarWriter<W: Write> {
    out: W,
    options: TarOptions,
    /// `None` when the output hashes, in another thread.
    digester: Option<Digester>,
    written: u64,
    contents: u64,
    entries: u64,
    /// Bytes of the current file that have to follow.
    missing: u64,
    /// Zero bytes after them.
    padding: usize,
    links: BTreeMap<PathBuf, Vec<PathBuf>>,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// Starts a tar. To hash without keeping it, write into [`io::sink`].
    pub fn new(out: W, options: TarOptions) -> Self {
        Self::with_digester(out, options, Some(Digester::new()))
    }

    /// Starts a tar that the output hashes.
    pub(crate) fn unhashed(out: W, options: TarOptions) -> Self {
        Self::with_digester(out, options, None)
    }

    fn with_digester(out: W, options: TarOptions, digester: Option<Digester>) -> Self {
        Self {
            out,
            options,
            digester,
            written: 0,
            contents: 0,
            entries: 0,
            missing: 0,
            padding: 0,
            links: BTreeMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Ends the tar and gives back the output.
    ///
    /// # Errors
    /// The last file did not get all its bytes, or the output failed.
    pub fn finish(mut self) -> io::Result<(W, TarSummary)> {
        self.end_file()?;
        self.buffer.resize(2 * header::BLOCK, 0);
        self.flush_buffer()?;
        self.out.flush()?;
        let links = self.links.into_iter().map(|(first, mut others)| {
            others.push(first);
            others
        });
        let summary = TarSummary {
            diff_id: DiffId(self.digester.unwrap_or_default().finish()),
            size: self.written,
            contents: self.contents,
            entries: self.entries,
            links: LinkGroups::new(links),
        };
        Ok((self.out, summary))
    }

    /// Ends a part of a tar that other parts follow; gives its size, contents and entries beside the output.
    ///
    /// # Errors
    /// The last file did not get all its bytes, or the output failed.
    pub(crate) fn end_part(mut self) -> io::Result<(W, Counts)> {
        self.end_file()?;
        let counts = Counts {
            size: self.written,
            contents: self.contents,
            entries: self.entries,
        };
        Ok((self.out, counts))
    }

    /// Ends the last entry and gives the output, for a part that was written apart.
    pub(crate) fn between_entries(&mut self) -> io::Result<&mut W> {
        self.end_file()?;
        Ok(&mut self.out)
    }

    /// Counts bytes of the current file, which the caller gives to the output itself: one that hashes.
    pub(crate) fn count_data(&mut self, length: u64) -> io::Result<&mut W> {
        self.missing = self.missing.checked_sub(length).ok_or_else(|| {
            io::Error::other("file has more bytes than announced: it changed while it was read")
        })?;
        self.written += length;
        Ok(&mut self.out)
    }

    fn end_file(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            return Err(io::Error::other(format!(
                "file lacks {} bytes: it changed while it was read",
                self.missing
            )));
        }
        self.buffer.resize(self.padding, 0);
        self.padding = 0;
        self.flush_buffer()
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        if let Some(digester) = &mut self.digester {
            digester.update(&self.buffer);
        }
        self.written += self.buffer.len() as u64;
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn whiteout(&mut self, path: &Path) -> io::Result<()> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let directory = &path.as_os_str().as_bytes()[..path.as_os_str().len() - name.len()];
        let path = [directory, WHITEOUT_PREFIX, name].concat();
        let header = Header {
            path: &path,
            kind: EntryType::File,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 0,
            link: b"",
            device: (0, 0),
            xattrs: &[],
        };
        header::encode(&header, &mut self.buffer);
        self.flush_buffer()
    }
}

impl<W: Write> ChangeSink for TarWriter<W> {
    fn entry(&mut self, path: &Path, node: &Node, link: Option<&OsStr>, xattrs: &Xattrs) -> io::Result<()> {
        self.end_file()?;
        if node.is_whiteout() {
            return self.whiteout(path);
        }
        let hard = link.filter(|_| node.kind == FileKind::File);
        let Some(kind) = entry_type(node.kind, hard.is_some()) else {
            return Ok(());
        };
        let special = !self.options.whole_tree;
        if special
            && path
                .file_name()
                .is_some_and(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX))
        {
            return Err(io::Error::other(format!(
                "`{}` cannot be in an image: names that start with `.wh.` mean deletions in layers",
                path.display()
            )));
        }
        let mut name = path.as_os_str().as_bytes().to_vec();
        if kind == EntryType::Directory {
            name.push(b'/');
        }
        let size = if kind == EntryType::File { node.size } else { 0 };
        let latest = self.options.latest_mtime.unwrap_or(i64::MAX);
        let has_device = matches!(node.kind, FileKind::CharDevice | FileKind::BlockDevice);
        let header = Header {
            path: &name,
            kind,
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            size,
            mtime: node.mtime.secs.min(latest),
            link: link.map_or(&[], |link| link.as_bytes()),
            device: if has_device {
                (rustix::fs::major(node.rdev), rustix::fs::minor(node.rdev))
            } else {
                (0, 0)
            },
            xattrs: if hard.is_some() { &[] } else { xattrs },
        };
        header::encode(&header, &mut self.buffer);
        self.flush_buffer()?;
        if let Some(target) = hard {
            self.links
                .entry(PathBuf::from(target))
                .or_default()
                .push(path.to_path_buf());
        }
        self.missing = size;
        self.padding = header::padding(size);
        self.contents += size;
        self.entries += 1;
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(digester) = &mut self.digester {
            digester.update(bytes);
        }
        self.count_data(bytes.len() as u64)?.write_all(bytes)
    }
}

fn entry_type(kind: FileKind, linked: bool) -> Option<EntryType> {
    match kind {
        FileKind::File if linked => Some(EntryType::Link),
        FileKind::File => Some(EntryType::File),
        FileKind::Dir => Some(EntryType::Directory),
        FileKind::Symlink => Some(EntryType::Symlink),
        FileKind::CharDevice => Some(EntryType::CharDevice),
        FileKind::BlockDevice => Some(EntryType::BlockDevice),
        FileKind::Fifo => Some(EntryType::Fifo),
        FileKind::Socket => None,
    }
}
