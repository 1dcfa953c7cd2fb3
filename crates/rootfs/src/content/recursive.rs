//! Digest of a whole directory, by all cores.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::file::{digest_dir_header, digest_entry};
use super::header::DirDigest;
use super::{ContentError, Context};
use crate::node::Node;
use crate::pool::{self, Queue};
use crate::tree::{Dir, Entry};

/// Files of one directory that one job hashes.
pub(crate) const CHUNK: usize = 128;

thread_local! {
    pub(crate) static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A directory whose children are being hashed.
struct DirHash {
    dir: Box<dyn Dir>,
    /// The directory above and this one's place in it.
    parent: Option<(Arc<DirHash>, usize)>,
    header: [u8; 32],
    names: Vec<OsString>,
    children: Mutex<Vec<[u8; 32]>>,
    /// Children that are not hashed yet.
    pending: AtomicUsize,
}

enum Job {
    /// Open and list a subdirectory, given its parent and its place there.
    Open(Arc<DirHash>, usize),
    /// Hash files of a directory, given their places.
    Files(Arc<DirHash>, Vec<(usize, Node)>),
}

struct Walk<'a> {
    context: &'a Context<'a>,
    result: Mutex<Option<[u8; 32]>>,
}

/// The recursive digest of `dir`.
pub(crate) fn digest_dir(context: &Context<'_>, dir: Box<dyn Dir>) -> Result<[u8; 32], ContentError> {
    let walk = Walk {
        context,
        result: Mutex::new(None),
    };
    let mut first = Vec::new();
    walk.list(dir, None, &mut first)?;
    pool::run(context.threads, first, |job, queue| walk.run(job, queue))?;
    let result = walk.result.into_inner().unwrap_or_else(PoisonError::into_inner);
    // The root finishes last, and only an error (returned above) keeps it from that.
    result.ok_or(ContentError::Cancelled)
}

impl Walk<'_> {
    fn run(&self, job: Job, queue: &Queue<Job, ContentError>) -> Result<(), ContentError> {
        self.context.check()?;
        match job {
            Job::Open(parent, place) => {
                let dir = parent.dir.open_dir(&parent.names[place])?;
                let mut jobs = Vec::new();
                self.list(dir, Some((parent, place)), &mut jobs)?;
                queue.push(jobs);
            }
            Job::Files(dir, files) => {
                let digests = self.digest_files(&dir, files)?;
                self.store(&dir, digests);
            }
        }
        Ok(())
    }

    fn digest_files(
        &self,
        dir: &DirHash,
        files: Vec<(usize, Node)>,
    ) -> Result<Vec<(usize, [u8; 32])>, ContentError> {
        let (path, context) = (dir.dir.path(), self.context);
        let known = context.known(path);
        let mut digests = Vec::with_capacity(files.len());
        let mut read = Vec::new();
        for (place, node) in files {
            let name = &dir.names[place];
            let file = node.kind.is_file();
            if let (true, Some(digest)) = (file, known.and_then(|known| known.get(name))) {
                digests.push((place, *digest));
                continue;
            }
            let digest = BUFFER.with_borrow_mut(|buffer| {
                digest_entry(dir.dir.as_ref(), name, &node, context.transferred, buffer)
            })?;
            if file && context.recorded.is_some() {
                read.push((name.clone(), digest));
            }
            digests.push((place, digest));
        }
        context.record(path, read);
        Ok(digests)
    }

    /// Lists a directory and makes the jobs for what is in it.
    fn list(
        &self,
        dir: Box<dyn Dir>,
        parent: Option<(Arc<DirHash>, usize)>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), ContentError> {
        let entries = dir.entries()?;
        let header = digest_dir_header(dir.as_ref(), self.context.transferred)?;
        let mut names = Vec::with_capacity(entries.len());
        let mut files = Vec::new();
        let mut dirs = Vec::new();
        for (place, Entry { name, node }) in entries.into_iter().enumerate() {
            names.push(name);
            if node.kind.is_dir() {
                dirs.push(place);
            } else {
                files.push((place, node));
            }
        }
        let hash = Arc::new(DirHash {
            dir,
            parent,
            header,
            children: Mutex::new(vec![[0; 32]; names.len()]),
            pending: AtomicUsize::new(names.len()),
            names,
        });
        if hash.names.is_empty() {
            self.finish(hash);
            return Ok(());
        }
        jobs.extend(dirs.into_iter().map(|place| Job::Open(Arc::clone(&hash), place)));
        jobs.extend(
            files
                .chunks(CHUNK)
                .map(|chunk| Job::Files(Arc::clone(&hash), chunk.to_vec())),
        );
        Ok(())
    }

    fn store(&self, dir: &Arc<DirHash>, digests: Vec<(usize, [u8; 32])>) {
        let count = digests.len();
        let mut children = dir.children.lock().unwrap_or_else(PoisonError::into_inner);
        for (place, digest) in digests {
            children[place] = digest;
        }
        drop(children);
        if dir.pending.fetch_sub(count, Ordering::AcqRel) == count {
            self.finish(Arc::clone(dir));
        }
    }

    /// Combines a directory whose children are all hashed, and those above it that this
    /// completes.
    fn finish(&self, dir: Arc<DirHash>) {
        let mut done = dir;
        loop {
            let mut digest = DirDigest::new(&done.header);
            let children = done.children.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, child) in done.names.iter().zip(children.iter()) {
                digest.add(name.as_bytes(), child);
            }
            drop(children);
            let digest = digest.finish();
            let Some((parent, place)) = &done.parent else {
                *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(digest);
                return;
            };
            parent.children.lock().unwrap_or_else(PoisonError::into_inner)[*place] = digest;
            if parent.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            let parent = Arc::clone(parent);
            done = parent;
        }
    }
}
