//! A layer of the tree into a directory.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use distil_layer::LinkGroups;
use distil_oci::Digest;
use distil_rootfs::archive::{Compression, decoder};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::tree::{Content, Kind, Meta, Node, Stored};
use super::{AssembleError, Composed};

/// Fewer files than this are not worth another thread.
const FEW: usize = 64;

/// An archive that single files are taken out of.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    /// Where it comes from.
    pub(crate) url: String,
    /// On the host, checked.
    pub(crate) path: PathBuf,
    /// Paths in it that the recipe names.
    pub(crate) members: Vec<String>,
}

/// What is known of a layer that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WrittenLayer {
    /// The hard links within it. Files of packages are links to those of the package
    /// store, so link counts say nothing.
    pub links: LinkGroups,
}

impl Composed {
    /// The number of layers, at least one.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Names the images that differ in what their recipes add alone: they have the same packages, thinned out
    /// and spread over layers in the same way.
    #[must_use]
    pub fn kin(&self) -> &Digest {
        &self.kin
    }

    /// Writes layer `number`, counted from 0, into the empty directory `target`, with
    /// every directory that leads to a file of it.
    ///
    /// # Errors
    /// A file cannot be written, an archive lacks a member, or `cancel` was set.
    pub fn write_layer(
        &self,
        number: usize,
        target: &Path,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<WrittenLayer, AssembleError> {
        self.write_entries(self.layer(number), target, threads, cancel)
    }

    /// Writes what [`Listing::added_to`](super::Listing::added_to) told of a layer into the empty directory
    /// `target`, with every directory that leads there.
    ///
    /// # Errors
    /// A file cannot be written, or `cancel` was set.
    pub fn write_added(
        &self,
        paths: &[&[u8]],
        target: &Path,
        cancel: &AtomicBool,
    ) -> Result<(), AssembleError> {
        let mut chosen = BTreeMap::new();
        for path in paths {
            self.choose(&mut chosen, path);
        }
        self.write_entries(chosen.into_iter().collect(), target, 1, cancel)?;
        Ok(())
    }

    fn write_entries(
        &self,
        entries: Vec<(&[u8], &Node)>,
        target: &Path,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<WrittenLayer, AssembleError> {
        let root = Root::open(target)?;
        let (directories, rest): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(_, node)| matches!(node.kind, Kind::Directory));
        for (path, node) in &directories {
            root.make_directory(path, node.meta.mode)?;
        }
        let (links, files): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|(_, node)| matches!(node.kind, Kind::HardLink(_)));
        root.write_files(&files, threads, cancel)?;
        self.write_members(&root, &files, cancel)?;
        let links = root.write_links(&links)?;
        // Contents before their directory, whose time they change.
        for (path, node) in directories.iter().rev() {
            root.finish_directory(path, &node.meta)?;
        }
        root.finish_directory(b"", &Meta::made(0o755))?;
        Ok(WrittenLayer { links })
    }

    /// The entries of a layer: those of its origin, and the directories on the way.
    pub(super) fn layer(&self, number: usize) -> Vec<(&[u8], &Node)> {
        let nodes = &self.tree.nodes;
        let Some(Some(origin)) = self.layers.get(number) else {
            return nodes.iter().map(|(path, node)| (path.as_slice(), node)).collect();
        };
        let mut chosen = BTreeMap::new();
        for (path, _) in nodes.iter().filter(|(_, node)| node.origin == *origin) {
            self.choose(&mut chosen, path);
        }
        chosen.into_iter().collect()
    }

    /// Adds the entry at `path` and the directories that lead there.
    fn choose<'a>(&'a self, chosen: &mut BTreeMap<&'a [u8], &'a Node>, path: &[u8]) {
        let parents = (0..path.len()).filter(|at| path[*at] == b'/');
        for end in parents.chain([path.len()]) {
            if let Some((path, node)) = self.tree.nodes.get_key_value(&path[..end]) {
                chosen.insert(path, node);
            }
        }
    }

    /// Takes the files out of archives, each archive read once.
    fn write_members(
        &self,
        root: &Root,
        files: &[(&[u8], &Node)],
        cancel: &AtomicBool,
    ) -> Result<(), AssembleError> {
        for (number, archive) in self.inputs.iter().enumerate() {
            let mut wanted: HashMap<&str, Vec<(&[u8], &Node)>> = HashMap::new();
            for (path, node) in files {
                if let Kind::File(Content::Member(input, member)) = &node.kind
                    && *input == number
                {
                    wanted
                        .entry(&archive.members[*member])
                        .or_default()
                        .push((path, node));
                }
            }
            if !wanted.is_empty() {
                root.write_archive(archive, wanted, cancel)?;
            }
        }
        Ok(())
    }
}

/// The directory that a layer is written into.
///
/// The tree has no link among the directories of a path, and the directory was empty:
/// no path leads out of it.
struct Root {
    fd: OwnedFd,
    path: PathBuf,
    /// Whom new files belong to.
    owner: (u32, u32),
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn apply(file: &File, meta: &Meta) -> rustix::io::Result<()> {
    let present = rustix::fs::fstat(file)?;
    // The owner first: changing it drops set-id bits. Looking costs less than changing.
    let moved = (present.st_uid, present.st_gid) != (meta.uid, meta.gid);
    if moved {
        rustix::fs::fchown(file, Some(Uid::from_raw(meta.uid)), Some(Gid::from_raw(meta.gid)))?;
    }
    if moved || present.st_mode & 0o7777 != meta.mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
    }
    rustix::fs::futimens(file, &times(meta.mtime))
}

/// The directory and the name of a path.
fn split(path: &[u8]) -> (&[u8], &OsStr) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], OsStr::from_bytes(&path[at + 1..])),
        None => (b"", OsStr::from_bytes(path)),
    }
}

impl Root {
    fn open(path: &Path) -> Result<Root, AssembleError> {
        let fd = rustix::fs::open(path, directory_flags(), Mode::empty())
            .map_err(|error| AssembleError::io("open", path)(error.into()))?;
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Root {
            fd,
            path: path.to_owned(),
            owner: (user.as_raw(), group.as_raw()),
        })
    }

    fn failed(&self, action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> AssembleError {
        let path = self.path.join(OsStr::from_bytes(path));
        move |source| AssembleError::Io {
            action,
            path,
            source: source.into(),
        }
    }

    /// With the permissions that it is to have where the umask lets it, and always those to fill it.
    fn make_directory(&self, path: &[u8], mode: u32) -> Result<(), AssembleError> {
        let mode = Mode::from_raw_mode(mode & 0o777 | 0o700);
        rustix::fs::mkdirat(&self.fd, path, mode).map_err(self.failed("create", path))
    }

    fn finish_directory(&self, path: &[u8], meta: &Meta) -> Result<(), AssembleError> {
        let finish = || {
            let fd = match path {
                b"" => rustix::fs::openat(&self.fd, ".", directory_flags(), Mode::empty())?,
                _ => rustix::fs::openat(&self.fd, path, directory_flags(), Mode::empty())?,
            };
            apply(&File::from(fd), meta)
        };
        finish().map_err(self.failed("set the mode of", path))
    }

    /// Writes files and symbolic links, in as many threads as are worth it.
    fn write_files(
        &self,
        files: &[(&[u8], &Node)],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<(), AssembleError> {
        let share = files.len().div_ceil(threads.max(1)).max(FEW);
        if files.len() <= share {
            return Directory::new(self).write_all(files, cancel);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = files
                .chunks(share)
                .map(|part| scope.spawn(move || Directory::new(self).write_all(part, cancel)))
                .collect();
            parts.into_iter().try_for_each(|part| match part.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn write_links(&self, links: &[(&[u8], &Node)]) -> Result<LinkGroups, AssembleError> {
        let mut groups: HashMap<&[u8], Vec<PathBuf>> = HashMap::new();
        for (path, node) in links {
            let Kind::HardLink(target) = &node.kind else {
                continue;
            };
            rustix::fs::linkat(&self.fd, target.as_slice(), &self.fd, *path, AtFlags::empty())
                .map_err(self.failed("link", path))?;
            let own = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
            groups
                .entry(target)
                .or_insert_with(|| vec![own(target)])
                .push(own(path));
        }
        Ok(LinkGroups::new(groups.into_values()))
    }

    /// Reads an archive and writes the members that are wanted.
    fn write_archive(
        &self,
        archive: &Archive,
        mut wanted: HashMap<&str, Vec<(&[u8], &Node)>>,
        cancel: &AtomicBool,
    ) -> Result<(), AssembleError> {
        let failed = |error: io::Error| AssembleError::io("read", &archive.path)(error);
        let file = File::open(&archive.path).map_err(failed)?;
        let mut tar = tar::Archive::new(decompress(file).map_err(failed)?);
        for entry in tar.entries().map_err(failed)? {
            let mut entry = entry.map_err(failed)?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let name = name.trim_start_matches("./");
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let Some(places) = wanted.remove(name) else {
                continue;
            };
            let mut first: Option<&[u8]> = None;
            for (path, node) in places {
                match first {
                    None => self.write_stream(path, &node.meta, &mut entry, cancel)?,
                    Some(first) => self.copy_written(first, path, &node.meta)?,
                }
                first = Some(path);
            }
            if wanted.is_empty() {
                return Ok(());
            }
        }
        // The least, so that the same archive gives the same message.
        let member = wanted.into_keys().min().unwrap_or_default();
        Err(AssembleError::MissingMember {
            url: archive.url.clone(),
            member: member.to_owned(),
        })
    }

    fn write_stream(
        &self,
        path: &[u8],
        meta: &Meta,
        content: &mut dyn Read,
        cancel: &AtomicBool,
    ) -> Result<(), AssembleError> {
        let failed = |source: io::Error| AssembleError::Io {
            action: "write",
            path: self.path.join(OsStr::from_bytes(path)),
            source,
        };
        let mut file = create(&self.fd, path).map_err(|error| failed(error.into()))?;
        let mut buffer = vec![0; 128 << 10];
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(failed(io::ErrorKind::Interrupted.into()));
            }
            match content.read(&mut buffer).map_err(failed)? {
                0 => break,
                length => file.write_all(&buffer[..length]).map_err(failed)?,
            }
        }
        apply(&file, meta).map_err(|error| failed(error.into()))
    }

    fn copy_written(&self, from: &[u8], to: &[u8], meta: &Meta) -> Result<(), AssembleError> {
        let mut file = rustix::fs::openat(&self.fd, from, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(self.failed("read", from))?;
        self.write_stream(to, meta, &mut file, &AtomicBool::new(false))
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn create(directory: &OwnedFd, name: impl rustix::path::Arg) -> rustix::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
}

/// The bytes of an archive, packed or not.
fn decompress(mut file: File) -> io::Result<Box<dyn Read>> {
    let mut head = Vec::with_capacity(10);
    Read::by_ref(&mut file).take(10).read_to_end(&mut head)?;
    file.rewind()?;
    decoder(file, Compression::sniff(&head))
}

/// Writes entries one after the other and keeps the directory of the last one open.
struct Directory<'a> {
    root: &'a Root,
    open: Option<(&'a [u8], OwnedFd)>,
}

impl<'a> Directory<'a> {
    fn new(root: &'a Root) -> Self {
        Self { root, open: None }
    }

    fn write_all(mut self, files: &[(&'a [u8], &Node)], cancel: &AtomicBool) -> Result<(), AssembleError> {
        for (path, node) in files {
            if cancel.load(Ordering::Relaxed) {
                return Err(self.root.failed("write", path)(Errno::INTR));
            }
            let (directory, name) = split(path);
            self.enter(directory)?;
            // `enter` left it open.
            let Some((_, fd)) = &self.open else { continue };
            self.root
                .write(fd, name, node)
                .map_err(self.root.failed("write", path))?;
        }
        Ok(())
    }

    fn enter(&mut self, directory: &'a [u8]) -> Result<(), AssembleError> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == directory) {
            return Ok(());
        }
        let name: &[u8] = if directory.is_empty() { b"." } else { directory };
        let fd = rustix::fs::openat(&self.root.fd, name, directory_flags(), Mode::empty())
            .map_err(self.root.failed("open", directory))?;
        self.open = Some((directory, fd));
        Ok(())
    }
}

impl Root {
    fn write(&self, directory: &OwnedFd, name: &OsStr, node: &Node) -> rustix::io::Result<()> {
        match &node.kind {
            Kind::Symlink(_, Some(stored)) | Kind::File(Content::Stored(stored)) => {
                let linked = stored.package.link_into(stored.entry, directory, name);
                linked.map_err(|error| errno(&error))
            }
            Kind::Symlink(target, None) => {
                rustix::fs::symlinkat(target.as_slice(), directory, name)?;
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                if (node.meta.uid, node.meta.gid) != self.owner {
                    let (uid, gid) = (Uid::from_raw(node.meta.uid), Gid::from_raw(node.meta.gid));
                    rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
                }
                rustix::fs::utimensat(directory, name, &times(node.meta.mtime), flags)
            }
            Kind::File(Content::Copied(stored)) => copy(stored, directory, name, &node.meta),
            Kind::File(Content::Bytes(bytes)) => {
                let mut file = create(directory, name)?;
                file.write_all(bytes).map_err(|error| errno(&error))?;
                apply(&file, &node.meta)
            }
            // Written apart.
            Kind::File(Content::Member(..)) | Kind::Directory | Kind::HardLink(_) => Ok(()),
        }
    }
}

fn copy(from: &Stored, directory: &OwnedFd, name: &OsStr, meta: &Meta) -> rustix::io::Result<()> {
    let mut file = create(directory, name)?;
    let source = from.package.open_content(from.entry);
    let mut source = source.map_err(|error| errno(&error))?;
    io::copy(&mut source, &mut file).map_err(|error| errno(&error))?;
    apply(&file, meta)
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
