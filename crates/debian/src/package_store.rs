//! Unpacked packages, kept so that the next image only links their files.
//!
//! ```text
//! DIR/<map>/<sha256>/list     control data and entries of the package with this sha256
//! DIR/<map>/<sha256>/<s>/<n>  its entry number n, a file or a symbolic link, with mode, owner and time;
//!                             s is 4 * (n / 256) + n % 4: threads that make files wait for each other in
//!                             one directory, and a large directory is searched from its start
//! DIR/<map>/<sha256>/small     contents of its smallest files, one after the other in the order of the list
//! DIR/<map>/<sha256>/boot     boot in which all of it was written or checked last
//! DIR/<map>/<sha256>.partial  one that is being unpacked; locked by who does it
//! ```
//! `<map>` names the user namespace's id map, for owners on disk depend on it. No name of a package
//! becomes a name in this directory, so nothing in a package can lead out of it. Nothing is synced:
//! under another boot the contents are hashed once before they are trusted.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use distil_oci::{Digest, Digester};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

use crate::deb::{DebError, DebFile, PackageIdentity};

mod contents;
mod list;
mod partial;
mod small;
mod writer;

pub use small::SmallContents;

use list::List;
use partial::Partial;

/// A package that cannot be unpacked into the store, or not be read from it.
#[derive(Debug, Error)]
pub enum PackageStoreError {
    /// The package itself.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A file of the store cannot be made.
    #[error("`{entry}` of package `{package}` cannot be unpacked into `{}`", path.display())]
    Unpack {
        /// The package.
        package: String,
        /// Path in the package.
        entry: String,
        /// File of the store.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The store's directory cannot be used.
    #[error("the store of unpacked packages `{}` cannot be used", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The caller asked to stop.
    #[error("unpacking was cancelled")]
    Cancelled,
}

/// Directories that entries next to each other are spread over.
const SPREAD: usize = 4;
/// Entries that share these directories.
const GROUP: usize = 256;

/// Number of the directory that entry `number` is in.
fn shard(number: usize) -> usize {
    number / GROUP * SPREAD + number % SPREAD
}

/// Where entry `number` of the package in `directory` is.
fn entry_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(shard(number).to_string()).join(number.to_string())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> PackageStoreError + '_ {
    move |source| PackageStoreError::Io {
        path: path.to_owned(),
        source,
    }
}

/// A package to be had unpacked.
#[derive(Debug, Clone)]
pub struct WantedPackage {
    /// The package file. Its bytes have this sha256: who downloaded it has checked them.
    pub deb: PathBuf,
    /// sha256 of the file.
    pub sha256: Digest,
    /// What the index says that it is.
    pub identity: PackageIdentity,
}

/// One entry of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageEntry {
    /// Without a leading `/`; empty for the root. No part of it is `.` or `..`, and no entry lies
    /// below one that is not a directory.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: PackageEntryKind,
    /// Permissions, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in seconds since 1970.
    pub mtime: i64,
}

/// What an entry of a package is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageEntryKind {
    /// A directory.
    Directory,
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// sha256 of its bytes.
        sha256: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads, as it stands in the package.
        target: Vec<u8>,
    },
    /// Another name of a file.
    HardLink {
        /// Number of the entry that is the file; it comes earlier.
        file: usize,
    },
}

/// A package in the store. Its files stay as long as the lock lives under which the store may be
/// used; they must never be written to, for layers share them.
#[derive(Debug)]
pub struct StoredPackage {
    /// The directory of all packages: a path from there is found sooner than a whole one.
    root: Arc<File>,
    sha256: Digest,
    directory: PathBuf,
    list: List,
}

impl StoredPackage {
    /// sha256 of the package file.
    #[must_use]
    pub fn sha256(&self) -> &Digest {
        &self.sha256
    }

    /// The control file as it stands in the package.
    #[must_use]
    pub fn control(&self) -> &[u8] {
        &self.list.control
    }

    /// When the control file was made, in seconds since 1970.
    #[must_use]
    pub fn control_mtime(&self) -> i64 {
        self.list.control_mtime
    }

    /// The control archive's `md5sums`, if it has one.
    #[must_use]
    pub fn md5sums(&self) -> Option<&[u8]> {
        self.list.md5sums.as_deref()
    }

    /// All entries in the package's order.
    #[must_use]
    pub fn entries(&self) -> &[PackageEntry] {
        &self.list.entries
    }

    /// Number of the entry with this path, which has no leading `/`.
    #[must_use]
    pub fn find(&self, path: &[u8]) -> Option<usize> {
        self.list.entries.iter().position(|entry| entry.path == path)
    }

    /// The file that holds the content of an entry; `None` when it is neither a file nor a hard link.
    #[must_use]
    pub fn content_path(&self, entry: usize) -> Option<PathBuf> {
        Some(entry_path(&self.directory, self.content_entry(entry)?))
    }

    /// The entry that is the file of an entry.
    fn content_entry(&self, entry: usize) -> Option<usize> {
        match self.list.entries.get(entry)?.kind {
            PackageEntryKind::File { .. } => Some(entry),
            PackageEntryKind::HardLink { file } => Some(file),
            PackageEntryKind::Directory | PackageEntryKind::Symlink { .. } => None,
        }
    }

    /// Bytes of an entry's content; `None` when it is neither a file nor a hard link.
    #[must_use]
    pub fn content_size(&self, entry: usize) -> Option<u64> {
        match self.list.entries.get(self.content_entry(entry)?)?.kind {
            PackageEntryKind::File { size, .. } => Some(size),
            _ => None,
        }
    }

    /// The path of entry `number` from the directory of all packages.
    fn location(&self, number: usize) -> String {
        format!("{}/{}/{number}", self.sha256.hex(), shard(number))
    }

    /// Opens the content of an entry.
    ///
    /// # Errors
    /// `InvalidInput` when it has none; else opening failed.
    pub fn open_content(&self, entry: usize) -> io::Result<File> {
        let number = self.content_entry(entry).ok_or(io::ErrorKind::InvalidInput)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.root, self.location(number), flags, Mode::empty())?;
        Ok(File::from(fd))
    }

    /// The content of an entry, whole.
    ///
    /// # Errors
    /// As [`StoredPackage::open_content`], and when reading fails.
    pub fn read_content(&self, entry: usize) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_content(entry)?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// What images link for an entry, with its mode, owner and time: a file, or a symbolic link;
    /// `None` for a directory.
    #[must_use]
    pub fn link_path(&self, entry: usize) -> Option<PathBuf> {
        match self.list.entries.get(entry)?.kind {
            PackageEntryKind::Symlink { .. } => Some(entry_path(&self.directory, entry)),
            _ => self.content_path(entry),
        }
    }

    /// Puts an entry into the directory `parent` under `name`: as a hard link to the store's file
    /// or symbolic link, or copied where the filesystem makes none.
    ///
    /// # Errors
    /// `AlreadyExists` when there is such a name, `InvalidInput` when the entry is a directory;
    /// else linking or copying failed.
    pub fn link_into(&self, entry: usize, parent: impl AsFd, name: &std::ffi::OsStr) -> io::Result<()> {
        let number = match self.list.entries.get(entry).map(|entry| &entry.kind) {
            Some(PackageEntryKind::Symlink { .. }) => Some(entry),
            _ => self.content_entry(entry),
        };
        let number = number.ok_or(io::ErrorKind::InvalidInput)?;
        if writer::link(&self.root, &self.location(number), parent.as_fd(), name)? {
            return Ok(());
        }
        writer::copy(&entry_path(&self.directory, number), parent.as_fd(), name)
    }

    /// Whether the contents are still what the list says; reads them all.
    fn is_whole(&self) -> bool {
        let mut buffer = vec![0; 128 << 10];
        let mut whole = |number: usize, entry: &PackageEntry| {
            let (size, sha256) = match &entry.kind {
                PackageEntryKind::File { size, sha256 } => (size, sha256),
                PackageEntryKind::Symlink { target } => {
                    let found = fs::read_link(entry_path(&self.directory, number))?;
                    return Ok(found.as_os_str().as_encoded_bytes() == target);
                }
                PackageEntryKind::Directory | PackageEntryKind::HardLink { .. } => return Ok(true),
            };
            let mut file = self.open_content(number)?;
            let mut digester = Digester::new();
            loop {
                let count = file.read(&mut buffer)?;
                let Some(piece) = buffer.get(..count).filter(|piece| !piece.is_empty()) else {
                    break;
                };
                digester.update(piece);
            }
            io::Result::Ok(digester.length() == *size && digester.finish() == *sha256)
        };
        let mut numbered = self.list.entries.iter().enumerate();
        numbered.all(|(number, entry)| whole(number, entry).unwrap_or(false))
            && small::is_whole(self).unwrap_or(false)
    }
}

/// Threads for one package.
#[derive(Debug, Clone, Copy)]
struct Threads {
    /// That make its files, while others decode.
    making: usize,
    /// That decode blocks of it side by side.
    decoding: usize,
}

/// A directory of unpacked packages. Several processes may share one.
#[derive(Debug, Clone)]
pub struct PackageStore {
    root: PathBuf,
    directory: Arc<File>,
    boot: String,
}

impl PackageStore {
    /// Uses (and creates) the directory `directory`. `id_map` names the user namespace's id map,
    /// empty outside of one; `boot` names this boot of the machine.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(directory: &Path, id_map: &str, boot: &str) -> Result<PackageStore, PackageStoreError> {
        let map = match id_map {
            "" => "host".to_owned(),
            map => Digest::sha256(map.as_bytes()).hex().chars().take(16).collect(),
        };
        let root = directory.join(map);
        fs::create_dir_all(&root).map_err(failed(&root))?;
        let opened = File::open(&root).map_err(failed(&root))?;
        Ok(PackageStore {
            root,
            directory: Arc::new(opened),
            boot: boot.to_owned(),
        })
    }

    /// The package with this sha256, when the store holds it whole.
    #[must_use]
    pub fn find(&self, sha256: &Digest) -> Option<Arc<StoredPackage>> {
        let directory = self.root.join(sha256.hex());
        let list = List::decode(&fs::read(directory.join("list")).ok()?)?;
        let package = self.package(sha256, directory, list);
        let boot = package.directory.join("boot");
        if fs::read(&boot).ok()? != self.boot.as_bytes() {
            if !package.is_whole() {
                return None;
            }
            // Another one that checks it at the same time writes the same.
            let fresh = package.directory.join(format!("boot.{}", std::process::id()));
            let written = fs::write(&fresh, &self.boot).and_then(|()| fs::rename(&fresh, &boot));
            // Not written, it is checked again the next time.
            drop(written);
        }
        Some(Arc::new(package))
    }

    /// The package from the store, or unpacked into it. Blocks of a large one are decoded by up to
    /// `threads` threads.
    ///
    /// # Errors
    /// When the file is no package or another one than the index says, when it cannot be unpacked,
    /// or `cancel` was set. The store is then as it was.
    pub fn get(
        &self,
        wanted: &WantedPackage,
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Arc<StoredPackage>, PackageStoreError> {
        let threads = Threads {
            making: threads,
            decoding: threads,
        };
        self.get_in(wanted, threads, cancel)
    }

    fn get_in(
        &self,
        wanted: &WantedPackage,
        threads: Threads,
        cancel: &AtomicBool,
    ) -> Result<Arc<StoredPackage>, PackageStoreError> {
        if let Some(package) = self.find(&wanted.sha256) {
            return Ok(package);
        }
        let directory = self.root.join(wanted.sha256.hex());
        let partial = Partial::take(&directory)?;
        // Whoever had the lock before may have unpacked it.
        if let Some(package) = self.find(&wanted.sha256) {
            return Ok(package);
        }
        let deb = DebFile::open_as(&wanted.deb, &wanted.identity.to_string())?;
        let list = writer::unpack(&deb, &wanted.identity, &partial, threads, cancel)?;
        for (name, bytes) in [("list", &*list.encode()), ("boot", self.boot.as_bytes())] {
            let path = partial.path().join(name);
            fs::write(&path, bytes).map_err(failed(&path))?;
        }
        partial.publish(&directory)?;
        Ok(Arc::new(self.package(&wanted.sha256, directory, list)))
    }

    fn package(&self, sha256: &Digest, directory: PathBuf, list: List) -> StoredPackage {
        StoredPackage {
            root: Arc::clone(&self.directory),
            sha256: *sha256,
            directory,
            list,
        }
    }

    /// All packages, in the order of `wanted`; `threads` of them are unpacked side by side.
    ///
    /// # Errors
    /// As [`PackageStore::get`], the first one.
    pub fn get_all(
        &self,
        wanted: &[WantedPackage],
        threads: usize,
        cancel: &AtomicBool,
    ) -> Result<Vec<Arc<StoredPackage>>, PackageStoreError> {
        let size = |number: &usize| wanted.get(*number).and_then(|one| fs::metadata(&one.deb).ok());
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        // The largest first, so that no thread is left alone with one at the end.
        order.sort_by_cached_key(|number| std::cmp::Reverse(size(number).map_or(0, |meta| meta.len())));
        let workers = threads.min(wanted.len()).max(1);
        let next = AtomicUsize::new(workers);
        let stop = AtomicBool::new(false);
        let found = Mutex::new(Vec::with_capacity(wanted.len()));
        let work = |worker: usize| {
            let threads = Threads {
                making: threads,
                // Blocks side by side take much memory: only the worker that has the largest package
                // decodes so.
                decoding: if worker == 0 { threads } else { 1 },
            };
            let mut place = worker;
            while let Some(number) = order.get(place)
                && let Some(one) = wanted.get(*number)
                && !stop.load(Ordering::Relaxed)
            {
                let result = self.get_in(one, threads, cancel);
                stop.fetch_or(result.is_err(), Ordering::Relaxed);
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push((*number, result));
                place = next.fetch_add(1, Ordering::Relaxed);
            }
        };
        let work = &work;
        std::thread::scope(|scope| {
            for worker in 1..workers {
                scope.spawn(move || work(worker));
            }
            work(0);
        });
        let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, result)| result).collect()
    }
}
