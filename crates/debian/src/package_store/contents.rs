//! Files and links of one package, written by several threads.
//!
//! Making a small file takes longer than decoding it. So the thread that reads the package hands
//! small ones over, many at once, and writes only large ones itself, and the file that has the
//! contents of all the smallest.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

use distil_oci::{Digest, Digester};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

use super::partial::Partial;
use super::small::{self, SMALLEST};
use super::{GROUP, PackageStoreError, SPREAD, entry_path, shard};
use crate::deb::{Content, DataEntry, DebFile, Meta};

/// Files up to this many bytes are handed over.
const SMALL: u64 = 64 << 10;
/// Entries that are handed over at once: to wake a thread for each takes as long as to make it.
const BATCH: usize = 16;
/// Batches that wait for a thread, so that memory stays bounded.
const WAITING: usize = 4;
/// Bytes of the smallest files that are written at once.
const WRITTEN_AT_ONCE: usize = 128 << 10;
/// Packages with fewer packed bytes are written sooner than a thread starts.
const WORTH_THREADS: u64 = 64 << 10;

/// What is to be made.
enum Job {
    File(Vec<u8>),
    Symlink,
}

/// An entry to be made by another thread.
struct Handed {
    number: usize,
    entry: DataEntry,
    /// Where it goes.
    directory: Arc<File>,
    job: Job,
}

/// What the threads share.
#[derive(Debug, Default)]
pub(super) struct Written {
    digests: HashMap<usize, Digest>,
    error: Option<PackageStoreError>,
}

/// Makes the files of a package.
pub(super) struct Contents<'a> {
    place: Place<'a>,
    /// Directories of the entries that come now, by their numbers.
    shards: HashMap<usize, Arc<File>>,
    /// To the threads, where there are any.
    makers: Option<SyncSender<Vec<Handed>>>,
    batch: Vec<Handed>,
    written: &'a Mutex<Written>,
    /// The contents of the smallest files so far.
    smallest: Option<BufWriter<File>>,
}

/// Where they are made.
#[derive(Clone, Copy)]
struct Place<'a> {
    deb: &'a DebFile,
    partial: &'a Partial,
    /// Whom new files belong to.
    owner: (Uid, Gid),
}

impl<'a> Contents<'a> {
    /// Starts up to `threads` threads in `scope`, which end when this value goes. What they made is in
    /// `written` then.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        deb: &'a DebFile,
        partial: &'a Partial,
        written: &'a Mutex<Written>,
        threads: usize,
    ) -> Contents<'a>
    where
        'a: 'scope,
    {
        let place = Place {
            deb,
            partial,
            owner: (rustix::process::geteuid(), rustix::process::getegid()),
        };
        let mut makers = None;
        if threads > 1 && deb.packed_size() >= WORTH_THREADS {
            let (sender, receiver) = sync_channel(WAITING);
            let receiver = Arc::new(Mutex::new(receiver));
            for _ in 0..threads {
                let receiver = Arc::clone(&receiver);
                scope.spawn(move || place.make_all(&receiver, written));
            }
            makers = Some(sender);
        }
        Contents {
            place,
            shards: HashMap::new(),
            makers,
            batch: Vec::new(),
            written,
            smallest: None,
        }
    }

    /// Makes file `number`.
    pub(super) fn file(
        &mut self,
        number: usize,
        entry: &DataEntry,
        content: &mut Content<'_>,
    ) -> Result<(), PackageStoreError> {
        let is_smallest = entry.size <= SMALLEST;
        if is_smallest || self.makers.is_some() && entry.size <= SMALL {
            let mut bytes = Vec::with_capacity(usize::try_from(entry.size).unwrap_or(0));
            content.each_piece(|piece| {
                bytes.extend_from_slice(piece);
                Ok::<(), PackageStoreError>(())
            })?;
            if is_smallest {
                self.add_smallest(&bytes)
                    .map_err(|error| self.place.failed(number, entry, error))?;
            }
            return self.hand(number, entry, Job::File(bytes));
        }
        let directory = self.directory(number, entry)?;
        let failed = |error| self.place.failed(number, entry, error);
        let mut file = create_numbered(&directory, number, entry).map_err(failed)?;
        let mut digester = Digester::new();
        content.each_piece(|bytes| {
            digester.update(bytes);
            file.write_all(bytes).map_err(failed)
        })?;
        self.place.finish(&file, &entry.meta).map_err(failed)?;
        lock(self.written).digests.insert(number, digester.finish());
        Ok(())
    }

    /// Adds the content of one of the smallest files to that of the others.
    fn add_smallest(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.smallest {
            Some(file) => file,
            none => {
                let file = File::create_new(self.place.partial.path().join(small::NAME))?;
                none.insert(BufWriter::with_capacity(WRITTEN_AT_ONCE, file))
            }
        };
        file.write_all(bytes)
    }

    /// Has everything made that is still to be made.
    pub(super) fn finish(&mut self) -> Result<(), PackageStoreError> {
        self.hand_over()?;
        let Some(mut file) = self.smallest.take() else {
            return Ok(());
        };
        let path = self.place.partial.path().join(small::NAME);
        file.flush().map_err(super::failed(&path))
    }

    /// Makes link `number`, which images share as they do files.
    pub(super) fn symlink(&mut self, number: usize, entry: &DataEntry) -> Result<(), PackageStoreError> {
        self.hand(number, entry, Job::Symlink)
    }

    /// Has an entry made by another thread, where there is one.
    fn hand(&mut self, number: usize, entry: &DataEntry, job: Job) -> Result<(), PackageStoreError> {
        let handed = Handed {
            number,
            entry: entry.clone(),
            directory: self.directory(number, entry)?,
            job,
        };
        self.batch.push(handed);
        if self.makers.is_some() && self.batch.len() < BATCH {
            return Ok(());
        }
        self.hand_over()
    }

    /// Hands over what was collected.
    fn hand_over(&mut self) -> Result<(), PackageStoreError> {
        let batch = std::mem::take(&mut self.batch);
        match &self.makers {
            // They listen as long as this value lives.
            Some(makers) => drop(makers.send(batch)),
            None => self.place.make_batch(batch, self.written),
        }
        match lock(self.written).error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl Contents<'_> {
    /// The open directory that an entry goes into, made when it is the first there.
    fn directory(&mut self, number: usize, entry: &DataEntry) -> Result<Arc<File>, PackageStoreError> {
        let wanted = shard(number);
        if let Some(directory) = self.shards.get(&wanted) {
            return Ok(Arc::clone(directory));
        }
        // Entries come in order: those of earlier groups are not needed any more.
        self.shards.retain(|shard, _| shard / SPREAD == number / GROUP);
        let made = self.place.partial.make_shard(wanted);
        let made = Arc::new(made.map_err(|error| self.place.failed(number, entry, error))?);
        self.shards.insert(wanted, Arc::clone(&made));
        Ok(made)
    }
}

/// Takes what the threads made, once they have ended: sha256 of each file by number.
///
/// # Errors
/// The first that one of them met.
pub(super) fn digests(written: Mutex<Written>) -> Result<HashMap<usize, Digest>, PackageStoreError> {
    let written = written.into_inner().unwrap_or_else(PoisonError::into_inner);
    match written.error {
        Some(error) => Err(error),
        None => Ok(written.digests),
    }
}

fn lock(written: &Mutex<Written>) -> std::sync::MutexGuard<'_, Written> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place<'_> {
    fn make_all(self, handed: &Mutex<Receiver<Vec<Handed>>>, written: &Mutex<Written>) {
        let next = || {
            let handed = handed.lock().unwrap_or_else(PoisonError::into_inner);
            handed.recv().ok()
        };
        while let Some(batch) = next() {
            self.make_batch(batch, written);
        }
    }

    fn make_batch(self, batch: Vec<Handed>, written: &Mutex<Written>) {
        let mut digests = Vec::with_capacity(batch.len());
        let made = batch.into_iter().try_for_each(|handed| {
            let number = handed.number;
            digests.extend(self.make(handed)?.map(|digest| (number, digest)));
            Ok(())
        });
        let mut written = lock(written);
        written.digests.extend(digests);
        if let Err(error) = made {
            written.error.get_or_insert(error);
        }
    }

    /// sha256 of the content, when it is a file.
    fn make(self, handed: Handed) -> Result<Option<Digest>, PackageStoreError> {
        let Handed {
            number,
            entry,
            directory,
            job,
        } = handed;
        let failed = |error| self.failed(number, &entry, error);
        match job {
            Job::Symlink => {
                self.link(&directory, number, &entry).map_err(failed)?;
                Ok(None)
            }
            Job::File(bytes) => {
                let mut file = create_numbered(&directory, number, &entry).map_err(failed)?;
                file.write_all(&bytes).map_err(failed)?;
                self.finish(&file, &entry.meta).map_err(failed)?;
                Ok(Some(Digest::sha256(&bytes)))
            }
        }
    }

    fn finish(&self, file: &File, meta: &Meta) -> io::Result<()> {
        finish(file, self.other_owner(meta), meta.mode, meta.mtime)
    }

    fn link(&self, directory: &File, number: usize, entry: &DataEntry) -> io::Result<()> {
        let name = number.to_string();
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::symlinkat(entry.link.as_slice(), directory, &name)?;
        if let Some((uid, gid)) = self.other_owner(&entry.meta) {
            rustix::fs::chownat(directory, &name, Some(uid), Some(gid), flags)?;
        }
        Ok(rustix::fs::utimensat(
            directory,
            &name,
            &times(entry.meta.mtime),
            flags,
        )?)
    }

    /// The owner that an entry gets, when it is another than that of new files.
    fn other_owner(&self, meta: &Meta) -> Option<(Uid, Gid)> {
        let owner = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
        (owner != self.owner).then_some(owner)
    }

    fn failed(&self, number: usize, entry: &DataEntry, source: io::Error) -> PackageStoreError {
        PackageStoreError::Unpack {
            package: self.deb.label().to_owned(),
            entry: String::from_utf8_lossy(&entry.path).into_owned(),
            path: entry_path(self.partial.path(), number),
            source,
        }
    }
}

fn create_numbered(directory: &File, number: usize, entry: &DataEntry) -> io::Result<File> {
    create(directory, OsStr::new(&number.to_string()), entry.meta.mode)
}

/// Creates a file that has the permissions of `mode` at once where the umask lets it.
pub(super) fn create(directory: impl AsFd, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(mode & 0o777))?;
    Ok(File::from(fd))
}

/// Owner, mode and time, in the order that keeps set-id bits.
pub(super) fn finish(file: &File, owner: Option<(Uid, Gid)>, mode: u32, mtime: i64) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        rustix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    // Looking costs less than changing.
    if rustix::fs::fstat(file)?.st_mode & 0o7777 != mode & 0o7777 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))?;
    }
    Ok(rustix::fs::futimens(file, &times(mtime))?)
}

pub(super) fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
