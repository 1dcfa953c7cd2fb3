//! A tar of anyone into a layer directory in overlayfs format.
//!
//! The archive is untrusted. Every path is walked component by component from the layer's root
//! and no link is ever followed by the kernel; links of the archive itself are followed as the
//! finished image would, `..` stops at the root, and overlay's own attributes are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use distil_oci::{DiffId, Digester};
use distil_rootfs::{FileKind, NativeOwnership, Node, OpaqueXattr, Owner, Ownership, Timestamp, Xattrs};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::copy::{set_xattrs, times};
use crate::error::{at, io_at};
use crate::settle::whiteout;
use crate::target::Target;
use crate::writer::WHITEOUT_PREFIX;
use crate::{LayerError, LinkGroups};

/// How a layer is unpacked.
#[derive(Clone)]
pub struct UnpackOptions {
    /// Attribute for opaque directories.
    pub opaque: OpaqueXattr,
    /// How owners and devices are written.
    pub ownership: Arc<dyn Ownership>,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self {
            opaque: OpaqueXattr::default(),
            ownership: Arc::new(NativeOwnership),
        }
    }
}

/// What was unpacked. Paths have no leading `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// sha256 of the uncompressed stream, to its very end.
    pub diff_id: DiffId,
    /// Bytes of the uncompressed stream.
    pub tar_size: u64,
    /// Bytes of the contents of regular files.
    pub size: u64,
    /// Number of files and directories.
    pub inodes: u64,
    /// Hard links within the layer.
    pub links: LinkGroups,
    /// Directories that entries lie in but that have no entry themselves. Below them there may
    /// be a directory whose owner and mode they must keep, or a link that leads elsewhere:
    /// see [`crate::complete`].
    pub implied: BTreeSet<PathBuf>,
    /// Hard links to files that this layer does not have, as (new name, existing file): in the
    /// layers below, see [`crate::complete`].
    pub foreign_links: Vec<(PathBuf, PathBuf)>,
    /// Devices that this process may not make; they are left out.
    pub refused_devices: Vec<PathBuf>,
}

impl Unpacked {
    /// Whether the directory is right only on top of certain layers: [`crate::complete`] has to
    /// run with them.
    pub fn needs_lower(&self) -> bool {
        !self.implied.is_empty() || !self.foreign_links.is_empty()
    }
}

/// Unpacks an uncompressed tar into the empty directory `dir`, as a layer in overlayfs format:
/// `.wh.NAME` becomes a whiteout and `.wh..wh..opq` an opaque directory. The stream is read to
/// its end and hashed.
///
/// # Errors
/// A damaged stream, an entry that no layer may have, and what the disk answers. The caller
/// compares the diff ID and removes the directory after an error.
pub fn unpack(reader: impl Read, dir: &Path, options: &UnpackOptions) -> Result<Unpacked, LayerError> {
    let mut stream = Hashed {
        reader,
        digester: Digester::new(),
        length: 0,
    };
    let mut job = Unpack {
        target: Target::open(dir, options.opaque)?,
        options,
        dirs: BTreeMap::new(),
        links: BTreeMap::new(),
        foreign_links: Vec::new(),
        refused_devices: Vec::new(),
        buffer: vec![0; 256 << 10],
    };
    {
        let mut archive = tar::Archive::new(&mut stream);
        for entry in archive.entries().map_err(read_error)? {
            job.entry(&mut entry.map_err(read_error)?)?;
        }
    }
    // Whatever follows the end mark is hashed too.
    io::copy(&mut stream, &mut io::sink()).map_err(read_error)?;
    job.finish_directories()?;
    let (size, inodes) = job.target.count()?;
    let groups = job.links.into_iter().map(|(first, mut others)| {
        others.push(first);
        others
    });
    Ok(Unpacked {
        diff_id: DiffId(stream.digester.finish()),
        tar_size: stream.length,
        size,
        inodes,
        links: LinkGroups::new(groups),
        implied: job.target.into_implied(),
        foreign_links: job.foreign_links,
        refused_devices: job.refused_devices,
    })
}

fn read_error(source: io::Error) -> LayerError {
    LayerError::Stream {
        action: "read",
        source,
    }
}

struct Hashed<R> {
    reader: R,
    digester: Digester,
    length: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.digester.update(&buffer[..count]);
        self.length += count as u64;
        Ok(count)
    }
}

struct Unpack<'o> {
    target: Target,
    options: &'o UnpackOptions,
    /// Directories with an entry, whose metadata is set at the end.
    dirs: BTreeMap<PathBuf, (Node, Xattrs)>,
    /// First name of an inode to its others.
    links: BTreeMap<PathBuf, Vec<PathBuf>>,
    foreign_links: Vec<(PathBuf, PathBuf)>,
    refused_devices: Vec<PathBuf>,
    buffer: Vec<u8>,
}

impl Unpack<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), LayerError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let raw = entry.path_bytes().into_owned();
        let Some(path) = clean(&raw)? else {
            // The layer's root.
            let (node, xattrs) = metadata(entry, FileKind::Dir, Path::new("/"))?;
            self.dirs.insert(PathBuf::new(), (node, xattrs));
            return Ok(());
        };
        let (parent, name) = self.target.parent_of(&path)?;
        let path = parent.join(&name);
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return self.deletion(&parent, OsStr::from_bytes(hidden), &path);
        }
        if kind.is_dir() {
            return self.directory(entry, &path, &name);
        }
        if kind.is_hard_link() {
            return self.hard_link(entry, &path, &name);
        }
        self.forget(&path)?;
        if kind.is_symlink() {
            return self.symlink(entry, &path, &name);
        }
        let special = match kind {
            tar::EntryType::Char => FileKind::CharDevice,
            tar::EntryType::Block => FileKind::BlockDevice,
            tar::EntryType::Fifo => FileKind::Fifo,
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                return self.file(entry, &path, &name);
            }
            _ => {
                return Err(LayerError::BadEntry {
                    path,
                    reason: "its type is unknown",
                });
            }
        };
        self.special(entry, special, &path, &name)
    }

    fn deletion(&mut self, parent: &Path, name: &OsStr, path: &Path) -> Result<(), LayerError> {
        match name.as_bytes() {
            b".wh..opq" => return self.target.make_opaque(parent),
            // Notes that AUFS kept for itself.
            bytes if bytes.starts_with(WHITEOUT_PREFIX) => return Ok(()),
            b"" | b"." | b".." => {
                return Err(LayerError::BadEntry {
                    path: path.to_path_buf(),
                    reason: "it deletes nothing that can have a name",
                });
            }
            _ => {}
        }
        let path = parent.join(name);
        match self.target.kind(name)? {
            // An entry of this very layer came before: only what is below it goes.
            Some(FileKind::Dir) => self.target.make_opaque(&path),
            Some(_) => Ok(()),
            None => whiteout(self.target.parent_fd(), name).map_err(at("delete", &path)),
        }
    }

    fn directory(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        if self.target.kind(name)? != Some(FileKind::Dir) {
            let deleted = self.target.is_whiteout(name)?;
            self.forget(path)?;
            rustix::fs::mkdirat(self.target.parent_fd(), name, Mode::RWXU).map_err(at("create", path))?;
            if deleted {
                self.target.make_opaque(path)?;
            }
        }
        self.target.declare(path);
        self.dirs
            .insert(path.to_path_buf(), metadata(entry, FileKind::Dir, path)?);
        Ok(())
    }

    fn file(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let (node, xattrs) = metadata(entry, FileKind::File, path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.target.parent_fd(), name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(at("create", path))?;
        let mut file = File::from(fd);
        loop {
            let count = match entry.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            file.write_all(&self.buffer[..count])
                .map_err(io_at("write", path))?;
        }
        self.owner_and_mode(path, name, &node)?;
        set_xattrs(&file, &xattrs);
        rustix::fs::futimens(&file, &times(&node)).map_err(at("set the time of", path))
    }

    fn hard_link(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let raw = link_name(entry, path)?;
        let target = clean(&raw)?.ok_or_else(|| LayerError::BadEntry {
            path: path.to_path_buf(),
            reason: "it is a hard link to the root directory",
        })?;
        let Some((dir, file_name, target)) = self.target.find(&target)? else {
            self.forget(path)?;
            self.foreign_links.push((path.to_path_buf(), target));
            return Ok(());
        };
        if target == path {
            return Ok(());
        }
        self.forget(path)?;
        // Linking the name itself, never what a link at its end leads to.
        rustix::fs::linkat(&dir, &file_name, self.target.parent_fd(), name, AtFlags::empty())
            .map_err(at("link", path))?;
        let first = self.first_name(&target);
        self.links.entry(first).or_default().push(path.to_path_buf());
        Ok(())
    }

    /// The name under which the group of `path` is recorded.
    fn first_name(&self, path: &Path) -> PathBuf {
        let group = self
            .links
            .iter()
            .find(|(_, others)| others.iter().any(|other| other == path));
        group.map_or_else(|| path.to_path_buf(), |(first, _)| first.clone())
    }

    fn symlink(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let target = OsString::from_vec(link_name(entry, path)?);
        let (node, _) = metadata(entry, FileKind::Symlink, path)?;
        let parent = self.target.parent_fd();
        rustix::fs::symlinkat(target.as_os_str(), parent, name).map_err(at("create", path))?;
        self.options
            .ownership
            .chown(parent.as_fd(), name, node.owner())
            .map_err(at("chown", path))?;
        rustix::fs::utimensat(parent, name, &times(&node), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(at("set the time of", path))
    }

    fn special(
        &mut self,
        entry: &mut tar::Entry<'_, impl Read>,
        kind: FileKind,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let (node, _) = metadata(entry, kind, path)?;
        if node.is_whiteout() {
            return Err(LayerError::BadEntry {
                path: path.to_path_buf(),
                reason: "device 0:0 would delete what is below",
            });
        }
        let parent = self.target.parent_fd();
        match self
            .options
            .ownership
            .mknod(parent.as_fd(), name, kind, node.mode, node.rdev)
        {
            Ok(()) => {}
            Err(Errno::PERM) if kind != FileKind::Fifo => {
                self.refused_devices.push(path.to_path_buf());
                return Ok(());
            }
            Err(errno) => return Err(at("create", path)(errno)),
        }
        self.owner_and_mode(path, name, &node)?;
        rustix::fs::utimensat(
            self.target.parent_fd(),
            name,
            &times(&node),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(at("set the time of", path))
    }

    /// Takes away what an earlier entry put at `path`.
    fn forget(&mut self, path: &Path) -> Result<(), LayerError> {
        if !self.target.clear(path)? {
            return Ok(());
        }
        self.dirs.retain(|dir, _| !dir.starts_with(path));
        self.foreign_links.retain(|(link, _)| !link.starts_with(path));
        let links = std::mem::take(&mut self.links);
        for (first, mut names) in links {
            names.insert(0, first);
            names.retain(|name| !name.starts_with(path));
            let mut names = names.into_iter();
            if let Some(first) = names.next() {
                self.links.insert(first, names.collect());
            }
        }
        Ok(())
    }

    fn owner_and_mode(&self, path: &Path, name: &OsStr, node: &Node) -> Result<(), LayerError> {
        let parent = self.target.parent_fd();
        self.options
            .ownership
            .chown(parent.as_fd(), name, node.owner())
            .map_err(at("chown", path))?;
        self.options
            .ownership
            .chmod(parent.as_fd(), name, node.mode)
            .map_err(at("chmod", path))
    }

    /// Metadata of directories, deepest first, once nothing is written into them any more.
    fn finish_directories(&mut self) -> Result<(), LayerError> {
        // The root gets the same wherever it has no entry: not what is below, so that the layer
        // fits onto anything.
        self.dirs
            .entry(PathBuf::new())
            .or_insert_with(|| (implied_node(), Xattrs::new()));
        for path in self.target.implied() {
            self.dirs
                .entry(path.clone())
                .or_insert_with(|| (implied_node(), Xattrs::new()));
        }
        for (path, (node, xattrs)) in self.dirs.iter().rev() {
            self.target
                .set_directory(path, node, xattrs, &*self.options.ownership)?;
        }
        Ok(())
    }
}

/// What a directory without an entry gets: the same for every unpacking.
fn implied_node() -> Node {
    Node {
        kind: FileKind::Dir,
        mode: 0o755,
        uid: 0,
        gid: 0,
        size: 0,
        mtime: Timestamp::default(),
        rdev: 0,
        nlink: 1,
        dev: 0,
        ino: 0,
    }
}

/// The path below the root; `None` for the root itself.
fn clean(raw: &[u8]) -> Result<Option<PathBuf>, LayerError> {
    let path = Path::new(OsStr::from_bytes(raw));
    let bad = |reason| LayerError::BadEntry {
        path: path.to_path_buf(),
        reason,
    };
    if raw.contains(&0) {
        return Err(bad("its name has a NUL byte"));
    }
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => return Err(bad("its name has `..`")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}

fn link_name(entry: &tar::Entry<'_, impl Read>, path: &Path) -> Result<Vec<u8>, LayerError> {
    match entry.link_name_bytes() {
        Some(name) if !name.is_empty() && !name.contains(&0) => Ok(name.into_owned()),
        _ => Err(LayerError::BadEntry {
            path: path.to_path_buf(),
            reason: "it is a link without a target",
        }),
    }
}

/// Mode, owner, time, device and attributes from header and PAX records.
fn metadata(
    entry: &mut tar::Entry<'_, impl Read>,
    kind: FileKind,
    path: &Path,
) -> Result<(Node, Xattrs), LayerError> {
    let bad = |reason| LayerError::BadEntry {
        path: path.to_path_buf(),
        reason,
    };
    let header = entry.header();
    let id = |id: io::Result<u64>| id.ok().and_then(|id| u32::try_from(id).ok());
    let owner = Owner {
        uid: id(header.uid()).ok_or_else(|| bad("its user id is no 32-bit number"))?,
        gid: id(header.gid()).ok_or_else(|| bad("its group id is no 32-bit number"))?,
    };
    let mode = header.mode().map_err(|_| bad("its mode is no number"))? & 0o7777;
    let seconds = header.mtime().map_err(|_| bad("its time is no number"))?;
    let device = |part: io::Result<Option<u32>>| part.ok().flatten().unwrap_or(0);
    let rdev = match kind {
        FileKind::CharDevice | FileKind::BlockDevice => {
            rustix::fs::makedev(device(header.device_major()), device(header.device_minor()))
        }
        _ => 0,
    };
    let mut mtime = Timestamp {
        secs: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: 0,
    };
    let mut xattrs = Xattrs::new();
    let records = entry.pax_extensions().map_err(read_error)?;
    for record in records.into_iter().flatten() {
        let record = record.map_err(read_error)?;
        let key = record.key_bytes();
        if key == b"mtime" {
            mtime = parse_time(record.value_bytes()).ok_or_else(|| bad("its time is no number"))?;
        } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.")
            && !is_overlay(name)
        {
            xattrs.push((OsString::from_vec(name.to_vec()), record.value_bytes().to_vec()));
        }
    }
    let node = Node {
        kind,
        mode,
        uid: owner.uid,
        gid: owner.gid,
        size: 0,
        mtime,
        rdev,
        nlink: 1,
        dev: 0,
        ino: 0,
    };
    Ok((node, xattrs))
}

/// Attributes that would speak to the overlay that the layer is later part of.
fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// PAX time: seconds, possibly negative, with any number of decimals.
fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if !whole.starts_with('-') || nanos == 0 {
        return Some(Timestamp { secs, nanos });
    }
    Some(Timestamp {
        secs: secs.checked_sub(1)?,
        nanos: 1_000_000_000 - nanos,
    })
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
