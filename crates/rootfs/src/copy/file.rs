//! Copying one file.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};

use rustix::fs::{AtFlags, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::engine::{Batch, Engine, below_root};
use super::told::layer_node;
use super::{ChangePart, Conflict, LinkSource, ManifestEntry};
use crate::content::{SMALL_FILE, header};
use crate::node::{FileKind, Node, Xattrs};
use crate::sys;
use crate::tree::{Dir, Entry, TreeError};
use crate::upper::{Metadata, UpperError, WriteDir, is_portable};

/// Bytes of a large file that are written at once: they stay in the processor's cache, and the kernel finds
/// memory for them among what was just freed, which larger writes do not.
const PIECE: usize = 128 << 10;

/// Pieces that may wait to be hashed.
const AHEAD: usize = 16;

/// Files from this size on are tried to be shared with the source (a reflink).
const REFLINK: u64 = 1 << 20;

thread_local! {
    static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Where a file comes from and goes to.
struct Place<'a> {
    dir: &'a dyn Dir,
    entry: &'a Entry,
    target: &'a WriteDir,
    name: &'a OsStr,
}

impl Place<'_> {
    fn source_error(&self, action: &'static str, err: impl Into<std::io::Error>) -> UpperError {
        TreeError::io(action, &self.dir.path().join(&self.entry.name), err).into()
    }

    /// Path in the layer.
    fn path(&self) -> PathBuf {
        self.target.path().join(self.name)
    }

    fn target_error(&self, action: &'static str, err: impl Into<std::io::Error>) -> UpperError {
        self.target.error(action, self.name, err)
    }
}

impl Engine<'_> {
    /// Copies a file that is no directory to `name` in `target`.
    pub(super) fn copy_entry(
        &self,
        dir: &dyn Dir,
        entry: &Entry,
        target: &WriteDir,
        name: &OsStr,
        batch: &mut Batch<'_>,
    ) -> Result<(), UpperError> {
        // The earlier layer has a file there, and nothing else wrote to this one.
        let is_listed = self.adds() && batch.earlier.is_some_and(|earlier| earlier.get(name).is_some());
        let existing = match is_listed || target.is_fresh() {
            true => None,
            false => target.existing(name)?,
        };
        if existing.is_some() {
            // It may be equal, and then it is not in the layer.
            self.lose_listener();
        }
        if existing.is_some_and(|existing| existing.node.kind.is_dir()) {
            if self.adds() {
                return Err(target.not_below(name));
            }
            if self.spec.conflict == Conflict::Fail {
                let path = target.path().join(name);
                return Err(UpperError::ReplaceDirectory { path });
            }
            target.remove(name)?;
        }
        let place = Place {
            dir,
            entry,
            target,
            name,
        };
        match entry.node.kind {
            FileKind::File if entry.node.nlink > 1 => self.copy_shared(&place, batch),
            FileKind::File => self.copy_regular(&place, batch),
            FileKind::Symlink => self.copy_symlink(&place, batch),
            // Only the callers' directory jobs see directories.
            FileKind::Dir => Ok(()),
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo | FileKind::Socket => {
                self.copy_special(&place, batch)
            }
        }
    }

    fn metadata(&self, node: &Node) -> Metadata {
        Metadata {
            owner: self.owner(node),
            mode: (!node.kind.is_symlink()).then(|| self.spec.mode.apply(node.mode, false)),
            mtime: Some(self.spec.timestamp.unwrap_or(node.mtime)),
        }
    }

    fn copy_symlink(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        let entry = place.entry;
        let link = place.dir.read_link(&entry.name)?;
        let meta = self.metadata(&entry.node);
        let xattrs = place.dir.xattrs(&entry.name)?;
        batch.tree.entries += 1;
        if self.adds()
            && let Some(existing) = place.target.existing(place.name)?
        {
            batch.tree.found += 1;
            let (node, kind) = (existing.node, existing.node.kind);
            if !kind.is_symlink() {
                return Err(place.target.not_below(place.name));
            }
            let equal = (node.owner(), Some(node.mtime)) == (meta.owner, meta.mtime);
            if equal && place.target.lower_link(place.name)? == (link.clone(), xattrs.clone()) {
                return Ok(());
            }
        }
        batch.tree.written += 1;
        let fd = place.target.clear_slot(place.name)?;
        rustix::fs::symlinkat(&link, &*fd, place.name)
            .map_err(|err| place.target_error("create link", err))?;
        place.target.set_metadata(place.name, &meta)?;
        place.target.set_xattrs(place.name, &xattrs)?;
        self.tell_link(batch, &place.path(), &meta, (&link, &xattrs));
        Ok(())
    }

    /// Notes what a later copy cannot leave to this layer.
    fn irregular(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        batch.irregular = true;
        self.lose_listener();
        match self.adds() {
            true => Err(place.target.not_below(place.name)),
            false => Ok(()),
        }
    }

    fn copy_special(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        self.irregular(place, batch)?;
        let node = &place.entry.node;
        // BuildKit's copy clears the socket bit in the type: a block device becomes a
        // character device, a socket an empty file.
        let kind = match node.kind {
            FileKind::BlockDevice => FileKind::CharDevice,
            FileKind::Socket => FileKind::File,
            other => other,
        };
        let fd = place.target.clear_slot(place.name)?;
        // An earlier copy may have left a regular file here.
        let path = place.target.path().join(place.name);
        batch.unlisted.push(below_root(&path).to_owned());
        if kind == FileKind::CharDevice && node.rdev == 0 {
            // That is a whiteout in the layer, and overlayfs refuses it too.
            return Err(place.target_error("create device", Errno::PERM));
        }
        let ownership = &place.target.options().ownership;
        ownership
            .mknod(fd.as_fd(), place.name, kind, node.mode, node.rdev)
            .map_err(|err| place.target_error("create device", err))?;
        let meta = self.metadata(node);
        place.target.set_metadata(place.name, &meta)?;
        let xattrs = place.dir.xattrs(&place.entry.name)?;
        place.target.set_xattrs(place.name, &xattrs)
    }

    /// Copies a file with several names: the names that are copied stay one file.
    fn copy_shared(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        self.irregular(place, batch)?;
        let node = &place.entry.node;
        let to = place.target.path().join(place.name);
        // Held while the first name is copied, so that the second finds it complete.
        let mut inodes = self.inodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = inodes.get(&(node.dev, node.ino)) {
            let fd = place.target.clear_slot(place.name)?;
            let from = below_root(first);
            let root = self.upper.root_fd();
            match rustix::fs::linkat(root, from, &*fd, place.name, AtFlags::empty()) {
                Ok(()) => {
                    batch.files += 1;
                    batch.unlisted.extend([from, below_root(&to)].map(Path::to_owned));
                    return Ok(());
                }
                // Too many names: this one becomes a file of its own.
                Err(Errno::MLINK) => {}
                Err(err) => return Err(place.target_error("link", err)),
            }
        }
        // Linked from an earlier layer, it would share its inode with more than its own names.
        let earlier = batch.earlier.take();
        self.copy_regular(place, batch)?;
        batch.earlier = earlier;
        inodes.insert((node.dev, node.ino), to);
        Ok(())
    }

    fn copy_regular(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        let mut node = place.entry.node;
        let mut meta = self.metadata(&node);
        self.look_below(place, batch)?;
        let linked = self.link_unchanged(place, &meta, batch)?;
        let is_linked = linked.is_some();
        let digest = match linked {
            Some(digest) => digest,
            None if self.spec.known.is_some() => {
                // The directory may have been listed a while ago: what is copied counts.
                node = self.look_again(place)?;
                meta = self.metadata(&node);
                let name = place.entry.name.clone();
                let entry = &Entry { name, node };
                self.copy_contents(&Place { entry, ..*place }, &meta, batch)?
            }
            None => self.copy_contents(place, &meta, batch)?,
        };
        batch.files += 1;
        batch.bytes += node.size;
        batch.linked += u64::from(is_linked);
        batch.tree.entries += 1;
        batch.tree.written += u64::from(!is_linked);
        batch.digests.push((place.entry.name.clone(), digest));
        let entry = ManifestEntry {
            size: node.size,
            mode: meta.mode.unwrap_or_default(),
            owner: meta.owner,
            mtime: meta.mtime.unwrap_or_default(),
            digest,
        };
        batch.manifest.push((place.name.to_owned(), entry));
        Ok(())
    }

    /// Counts a file that the earlier layer has, where this one adds to it.
    fn look_below(&self, place: &Place<'_>, batch: &mut Batch<'_>) -> Result<(), UpperError> {
        if !self.adds() {
            return Ok(());
        }
        if batch
            .earlier
            .is_some_and(|earlier| earlier.get(place.name).is_some())
        {
            batch.tree.found += 1;
        } else if !place.target.is_fresh() && place.target.existing(place.name)?.is_some() {
            // Its files are all listed.
            return Err(place.target.not_below(place.name));
        }
        Ok(())
    }

    /// What the file is now.
    fn look_again(&self, place: &Place<'_>) -> Result<Node, UpperError> {
        let file = place.dir.open_file(&place.entry.name)?;
        let now = sys::stat_fd(&file).map_err(|err| place.source_error("stat", err))?;
        let (size, mode, mtime) = (now.size, now.mode, now.mtime);
        let listed = place.entry.node;
        Ok(Node {
            size,
            mode,
            mtime,
            ..listed
        })
    }

    /// Links the file from the earlier layer when it is equal there, or leaves it to a layer below; gives its
    /// digest then.
    fn link_unchanged(
        &self,
        place: &Place<'_>,
        meta: &Metadata,
        batch: &mut Batch<'_>,
    ) -> Result<Option<[u8; 32]>, UpperError> {
        let (Some(source), Some(old)) = (
            &self.spec.link_from,
            batch.earlier.and_then(|earlier| earlier.get(place.name)),
        ) else {
            return Ok(None);
        };
        let node = &place.entry.node;
        if (old.size, Some(old.mode), old.owner, Some(old.mtime))
            != (node.size, meta.mode, meta.owner, meta.mtime)
        {
            return Ok(None);
        }
        let digest = match batch.known.and_then(|known| known.get(&place.entry.name)) {
            Some(digest) => *digest,
            None => self.hash_only(place)?,
        };
        if digest != old.digest {
            return Ok(None);
        }
        if source.below {
            return Ok(Some(digest));
        }
        let open = || open_earlier_dir(source, place.target.path());
        let Some(dir) = batch.earlier_dir.get_or_insert_with(open) else {
            return Ok(None);
        };
        let fd = place.target.clear_slot(place.name)?;
        match rustix::fs::linkat(&*dir, place.name, &*fd, place.name, AtFlags::empty()) {
            Ok(()) => Ok(Some(digest)),
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::NOENT | Errno::ACCESS) => Ok(None),
            Err(err) => Err(place.target_error("link", err)),
        }
    }

    fn hash_only(&self, place: &Place<'_>) -> Result<[u8; 32], UpperError> {
        let (mut file, _, mut hash) = self.open_source(place)?;
        let size = place.entry.node.size;
        let read = BUFFER
            .with_borrow_mut(|buffer| crate::content::hash_contents(&mut file, size, &mut hash, buffer))
            .map_err(|err| place.source_error("read", err))?;
        self.check_size(place, read)?;
        Ok(hash.finalize().into())
    }

    fn open_source(&self, place: &Place<'_>) -> Result<(File, Xattrs, Sha256), UpperError> {
        let file = place.dir.open_file(&place.entry.name)?;
        let xattrs = sys::xattrs_fd(&file).map_err(|err| place.source_error("list attributes of", err))?;
        let hash = header::start(&place.entry.node, b"", &xattrs, self.transferred);
        Ok((file, xattrs, hash))
    }

    fn check_size(&self, place: &Place<'_>, read: u64) -> Result<(), UpperError> {
        if read == place.entry.node.size {
            return Ok(());
        }
        Err(UpperError::Changed {
            path: place.dir.path().join(&place.entry.name),
        })
    }

    /// Writes a new file and gives the content digest of its source.
    fn copy_contents(
        &self,
        place: &Place<'_>,
        meta: &Metadata,
        batch: &mut Batch<'_>,
    ) -> Result<[u8; 32], UpperError> {
        let (mut from, xattrs, mut hash) = self.open_source(place)?;
        let fd = place.target.clear_slot(place.name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let to = rustix::fs::openat(&*fd, place.name, flags, mode)
            .map_err(|err| place.target_error("create", err))?;
        let mut to = File::from(to);
        if batch.part.is_some() && !self.is_bare(batch, &to, &xattrs) {
            self.lose_listener();
        }
        let size = place.entry.node.size;
        let announce = |part: &mut dyn ChangePart| {
            let node = layer_node(FileKind::File, size, meta);
            part.entry(below_root(&place.path()), &node, None, &Xattrs::new())
        };
        if size > SMALL_FILE {
            self.tell(batch, announce);
            let read = self.copy_large(place, &mut from, &mut to, (&mut hash, batch))?;
            self.check_size(place, read)?;
        } else {
            let read = copy_small(place, &mut from, &mut to, &mut hash)?;
            self.check_size(place, read as u64)?;
            self.tell(batch, |part| {
                announce(part)?;
                BUFFER.with_borrow(|buffer| part.data(&buffer[..read]))
            });
        }
        for (attr, value) in xattrs.iter().filter(|(attr, _)| {
            // After chown, which would drop it.
            is_portable(attr) && attr != "security.capability"
        }) {
            set_xattr(place, &to, attr, value)?;
        }
        self.apply(place, &to, meta, &xattrs)?;
        Ok(hash.finalize().into())
    }

    fn apply(
        &self,
        place: &Place<'_>,
        to: &File,
        meta: &Metadata,
        xattrs: &Xattrs,
    ) -> Result<(), UpperError> {
        let ownership = &place.target.options().ownership;
        let dir = place.target.ensure()?;
        if !place.target.creates_with(meta.owner) {
            ownership
                .chown(dir.as_fd(), place.name, meta.owner)
                .map_err(|err| place.target_error("change the owner of", err))?;
        }
        if let Some(mode) = meta.mode {
            ownership
                .chmod(dir.as_fd(), place.name, mode)
                .map_err(|err| place.target_error("change the mode of", err))?;
        }
        for (attr, value) in xattrs {
            if attr == "security.capability" {
                set_xattr(place, to, attr, value)?;
            }
        }
        if let Some(mtime) = meta.mtime {
            rustix::fs::futimens(to, &crate::upper::times(mtime))
                .map_err(|err| place.target_error("set times of", err))?;
        }
        Ok(())
    }

    /// Reads once; other threads hash while this one writes.
    fn copy_large(
        &self,
        place: &Place<'_>,
        from: &mut File,
        to: &mut File,
        (hash, batch): (&mut Sha256, &mut Batch<'_>),
    ) -> Result<u64, UpperError> {
        if place.entry.node.size >= REFLINK && !self.no_reflink.load(Ordering::Relaxed) {
            if rustix::fs::ioctl_ficlone(&*to, &*from).is_ok() {
                // The clone is read, not the source: what was copied counts.
                let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(to));
                let mut clone = File::open(path).map_err(|err| place.target_error("read", err))?;
                return self.pass_on(place, &mut clone, (hash, batch), |_| Ok(()));
            }
            self.no_reflink.store(true, Ordering::Relaxed);
        }
        self.pass_on(place, from, (hash, batch), |piece| {
            to.write_all(piece)
                .map_err(|err| place.target_error("write", err))
        })
    }

    /// Reads a file, and gives every piece of it to `write`, to the content digest and to who listens.
    fn pass_on(
        &self,
        place: &Place<'_>,
        from: &mut File,
        (hash, batch): (&mut Sha256, &mut Batch<'_>),
        mut write: impl FnMut(&[u8]) -> Result<(), UpperError>,
    ) -> Result<u64, UpperError> {
        let (send, receive) = mpsc::sync_channel::<Arc<Vec<u8>>>(AHEAD);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                while let Ok(piece) = receive.recv() {
                    hash.update(piece.as_slice());
                }
            });
            // Dropped with this closure: that ends the hasher, on errors too.
            let send = send;
            let mut pieces = Pieces::default();
            let mut total = 0u64;
            loop {
                self.check()?;
                let mut piece = pieces.take();
                let read = match Arc::get_mut(&mut piece) {
                    Some(piece) => {
                        piece.resize(PIECE, 0);
                        let read = from.read(piece).map_err(|err| place.source_error("read", err))?;
                        piece.truncate(read);
                        read
                    }
                    // It was just taken.
                    None => 0,
                };
                if read == 0 {
                    return Ok(total);
                }
                total += read as u64;
                write(&piece)?;
                self.tell(batch, |part| part.shared_data(Arc::clone(&piece)));
                // The hasher lives until `send` is dropped.
                let _ = send.send(Arc::clone(&piece));
                pieces.give_back(piece);
            }
        })
    }
}

/// Pieces of a file that others may still read, the oldest first.
#[derive(Default)]
struct Pieces(VecDeque<Arc<Vec<u8>>>);

impl Pieces {
    /// A piece that nobody else has.
    fn take(&mut self) -> Arc<Vec<u8>> {
        if let Some(oldest) = self.0.front_mut()
            && Arc::get_mut(oldest).is_some()
            && let Some(piece) = self.0.pop_front()
        {
            return piece;
        }
        Arc::new(Vec::new())
    }

    fn give_back(&mut self, piece: Arc<Vec<u8>>) {
        self.0.push_back(piece);
    }
}

/// Copies what fits into the thread's buffer, where the bytes stay; gives their number.
fn copy_small(
    place: &Place<'_>,
    from: &mut File,
    to: &mut File,
    hash: &mut Sha256,
) -> Result<usize, UpperError> {
    BUFFER.with_borrow_mut(|buffer| {
        let limit = SMALL_FILE as usize + 1;
        buffer.resize(limit, 0);
        let mut filled = 0;
        loop {
            let read = from
                .read(&mut buffer[filled..])
                .map_err(|err| place.source_error("read", err))?;
            filled += read;
            // The size is known: a read that stops there is the end.
            if read == 0 || filled == limit || filled as u64 == place.entry.node.size {
                break;
            }
        }
        hash.update(&buffer[..filled]);
        to.write_all(&buffer[..filled])
            .map_err(|err| place.target_error("write", err))?;
        Ok(filled)
    })
}

fn set_xattr(place: &Place<'_>, to: &File, attr: &OsStr, value: &[u8]) -> Result<(), UpperError> {
    match rustix::fs::fsetxattr(to, attr.as_bytes(), value, XattrFlags::empty()) {
        Ok(()) | Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS | Errno::INVAL) => Ok(()),
        Err(err) => Err(place.target_error("set attributes of", err)),
    }
}

fn open_earlier_dir(source: &LinkSource, path: &Path) -> Option<OwnedFd> {
    sys::open_host_dir(&source.dir.join(below_root(path))).ok()
}
