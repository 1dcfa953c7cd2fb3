//! A tar of anyone into a layer directory in overlayfs format.
//!
//! The archive is untrusted. Every path is walked component by component from the layer's root
//! and no link is ever followed by the kernel; links of the archive itself are followed as the
//! finished image would, `..` stops at the root, and overlay's own attributes are dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use distil_oci::{DiffId, Digester};
use distil_rootfs::{FileKind, NativeOwnership, Node, OpaqueXattr, Ownership, Timestamp, Xattrs};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::copy::{set_xattrs, times};
use crate::error::{at, chown_at, io_at};
use crate::reader::{Member, MemberKind, Members};
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
    let mut members = Members::new(&mut stream);
    while let Some(member) = members.next().map_err(read_error)? {
        job.member(&member, &mut members)?;
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
    fn member(&mut self, member: &Member, contents: &mut dyn Read) -> Result<(), LayerError> {
        let Some(path) = clean(&member.path)? else {
            // The layer's root.
            let node = node_of(member, FileKind::Dir, Path::new("/"))?;
            self.dirs.insert(PathBuf::new(), (node, member.xattrs.clone()));
            return Ok(());
        };
        let (parent, name) = self.target.parent_of(&path)?;
        let path = parent.join(&name);
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT_PREFIX) {
            return self.deletion(&parent, OsStr::from_bytes(hidden), &path);
        }
        let special = match member.kind {
            MemberKind::Directory => return self.directory(member, &path, &name),
            MemberKind::HardLink => return self.hard_link(member, &path, &name),
            MemberKind::File => return self.file(member, contents, &path, &name),
            MemberKind::Symlink => return self.symlink(member, &path, &name),
            MemberKind::CharDevice => FileKind::CharDevice,
            MemberKind::BlockDevice => FileKind::BlockDevice,
            MemberKind::Fifo => FileKind::Fifo,
            MemberKind::Other => {
                return Err(LayerError::BadEntry {
                    path,
                    reason: "its type is unknown",
                });
            }
        };
        self.special(member, special, &path, &name)
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

    fn directory(&mut self, member: &Member, path: &Path, name: &OsStr) -> Result<(), LayerError> {
        if self.target.kind(name)? != Some(FileKind::Dir) {
            let deleted = self.target.is_whiteout(name)?;
            self.forget(path)?;
            rustix::fs::mkdirat(self.target.parent_fd(), name, Mode::RWXU).map_err(at("create", path))?;
            if deleted {
                self.target.make_opaque(path)?;
            }
        }
        self.target.declare(path);
        let node = node_of(member, FileKind::Dir, path)?;
        self.dirs
            .insert(path.to_path_buf(), (node, member.xattrs.clone()));
        Ok(())
    }

    fn file(
        &mut self,
        member: &Member,
        contents: &mut dyn Read,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let node = node_of(member, FileKind::File, path)?;
        self.forget(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.target.parent_fd(), name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(at("create", path))?;
        let mut file = File::from(fd);
        loop {
            let count = match contents.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_error(error)),
            };
            file.write_all(&self.buffer[..count])
                .map_err(io_at("write", path))?;
        }
        self.owner_and_mode(path, name, &node)?;
        set_xattrs(&file, &member.xattrs);
        rustix::fs::futimens(&file, &times(&node)).map_err(at("set the time of", path))
    }

    fn hard_link(&mut self, member: &Member, path: &Path, name: &OsStr) -> Result<(), LayerError> {
        let target = clean(link_name(member, path)?)?.ok_or_else(|| LayerError::BadEntry {
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

    fn symlink(&mut self, member: &Member, path: &Path, name: &OsStr) -> Result<(), LayerError> {
        let target = OsStr::from_bytes(link_name(member, path)?);
        let node = node_of(member, FileKind::Symlink, path)?;
        self.forget(path)?;
        let parent = self.target.parent_fd();
        rustix::fs::symlinkat(target, parent, name).map_err(at("create", path))?;
        self.options
            .ownership
            .chown(parent.as_fd(), name, node.owner())
            .map_err(chown_at(node.owner(), path))?;
        rustix::fs::utimensat(parent, name, &times(&node), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(at("set the time of", path))
    }

    fn special(
        &mut self,
        member: &Member,
        kind: FileKind,
        path: &Path,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let node = node_of(member, kind, path)?;
        self.forget(path)?;
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
            .map_err(chown_at(node.owner(), path))?;
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

fn link_name<'m>(member: &'m Member, path: &Path) -> Result<&'m [u8], LayerError> {
    if member.link.is_empty() || member.link.contains(&0) {
        return Err(LayerError::BadEntry {
            path: path.to_path_buf(),
            reason: "it is a link without a target",
        });
    }
    Ok(&member.link)
}

/// Mode, owner, time and device of a member.
fn node_of(member: &Member, kind: FileKind, path: &Path) -> Result<Node, LayerError> {
    let id = |id: u64, reason| {
        u32::try_from(id).map_err(|_| LayerError::BadEntry {
            path: path.to_path_buf(),
            reason,
        })
    };
    let (major, minor) = member.device;
    let is_device = matches!(kind, FileKind::CharDevice | FileKind::BlockDevice);
    Ok(Node {
        kind,
        mode: member.mode,
        uid: id(member.uid, "its user id is no 32-bit number")?,
        gid: id(member.gid, "its group id is no 32-bit number")?,
        size: 0,
        mtime: member.mtime,
        rdev: if is_device {
            rustix::fs::makedev(major, minor)
        } else {
            0
        },
        nlink: 1,
        dev: 0,
        ino: 0,
    })
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;
