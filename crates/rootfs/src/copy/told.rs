//! A copy that tells what it writes while it writes it, in the order of a layer's tar.
//!
//! The walk goes through the source in that order and gives out the files of one directory after the other; several
//! threads copy them, each into its part of the stream. What a copy cannot tell as it goes (files that replace
//! others, several names of one file, devices, extended attributes) it does all the same: the listener is lost then,
//! and who wants to know what the layer has looks at the layer.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::engine::{Batch, DirCopy, Engine, below_root, lock};
use super::{ChangePart, ChangeStream, CopySpec};
use crate::content::SMALL_FILE;
use crate::node::{FileKind, Node, Timestamp, Xattrs};
use crate::pool::thread_count;
use crate::sys;
use crate::tree::Entry;
use crate::upper::{Metadata, ParentTimes, UpperError, WriteDir};

/// Files that are copied together, and their bytes after which there are enough of them.
const FILES: usize = 128;
const BYTES: u64 = 256 << 10;

/// Who is told what a copy writes.
pub(super) struct Listener<'a> {
    stream: &'a dyn ChangeStream,
    lost: AtomicBool,
}

impl<'a> Listener<'a> {
    pub(super) fn new(stream: &'a dyn ChangeStream) -> Listener<'a> {
        Listener {
            stream,
            lost: AtomicBool::new(false),
        }
    }

    /// Whether something was written that it was not told.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl CopySpec {
    /// Whether [`crate::Upper::copy_told`] may tell of this copy, as far as that is known before.
    pub fn can_be_told(&self) -> bool {
        self.include_patterns.is_empty() && self.exclude_patterns.is_empty() && self.link_from.is_none()
    }
}

/// A directory of the layer.
#[derive(Clone)]
pub(super) struct ToldDir {
    path: PathBuf,
    node: Node,
}

/// The directories from the root of the layer to what is copied.
pub(super) struct Way {
    /// Those that were made, outermost first.
    created: Vec<Arc<WriteDir>>,
    times: ParentTimes,
    dirs: Vec<Arc<WriteDir>>,
    /// What each of them is when the copy is done.
    pub(super) told: Vec<ToldDir>,
}

impl Way {
    /// `times` are those that the directories had before, or which they are to have again.
    pub(super) fn new(created: Vec<Arc<WriteDir>>, times: ParentTimes) -> Way {
        Way {
            created,
            times,
            dirs: Vec::new(),
            told: Vec::new(),
        }
    }
}

/// Files of one directory, and the directories before them in the stream.
struct Files {
    heads: Vec<ToldDir>,
    dir: Arc<DirCopy>,
    entries: Vec<Entry>,
    part: Option<Box<dyn ChangePart>>,
}

/// What is still to be copied.
struct Walk {
    levels: Vec<Level>,
    /// Directories that were made and not told yet.
    heads: Vec<ToldDir>,
}

struct Level {
    dir: Arc<DirCopy>,
    entries: std::iter::Peekable<std::vec::IntoIter<Entry>>,
}

impl Level {
    fn new(dir: Arc<DirCopy>) -> Result<Level, UpperError> {
        // Its own listing, which the files and directories in it outlast.
        dir.pending.fetch_add(1, Ordering::AcqRel);
        let entries = dir.source.entries()?.into_iter().peekable();
        Ok(Level { dir, entries })
    }
}

/// Whether a file is copied alone.
fn is_large(entry: &Entry) -> bool {
    entry.node.kind.is_file() && entry.node.size > SMALL_FILE
}

/// Times that every file system keeps as they are.
fn is_plain(time: Timestamp) -> bool {
    (0..i64::from(i32::MAX)).contains(&time.secs)
}

/// A file of the layer with this metadata.
pub(super) fn layer_node(kind: FileKind, size: u64, meta: &Metadata) -> Node {
    Node {
        kind,
        mode: meta.mode.unwrap_or(0o777),
        uid: meta.owner.uid,
        gid: meta.owner.gid,
        size,
        mtime: meta.mtime.unwrap_or_default(),
        rdev: 0,
        nlink: 1,
        dev: 0,
        ino: 0,
    }
}

impl Engine<'_> {
    fn is_told(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| !listener.is_lost())
    }

    /// From now on nobody is told anything.
    pub(super) fn lose_listener(&self) {
        if let Some(listener) = &self.listener {
            listener.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Begins a part with these directories.
    pub(super) fn part(&self, heads: &[ToldDir]) -> Option<Box<dyn ChangePart>> {
        self.told_heads(self.begin()?, heads)
    }

    fn told_heads(&self, mut part: Box<dyn ChangePart>, heads: &[ToldDir]) -> Option<Box<dyn ChangePart>> {
        for head in heads {
            if part
                .entry(below_root(&head.path), &head.node, None, &Xattrs::new())
                .is_err()
            {
                self.lose_listener();
                return None;
            }
        }
        Some(part)
    }

    /// Tells what was written, if anybody listens; a part that cannot be told so loses the listener.
    pub(super) fn tell(
        &self,
        batch: &mut Batch<'_>,
        say: impl FnOnce(&mut dyn ChangePart) -> std::io::Result<()>,
    ) {
        let Some(part) = &mut batch.part else { return };
        // An error is found again, and told, where the layer is looked at.
        if !self.is_told() || say(part.as_mut()).is_err() {
            self.lose_listener();
            batch.part = None;
        }
    }

    /// Ends the part of files that are copied.
    pub(super) fn end_part(&self, batch: &mut Batch<'_>) {
        if let Some(part) = batch.part.take()
            && part.end().is_err()
        {
            self.lose_listener();
        }
    }

    /// Says what a link is.
    pub(super) fn tell_link(
        &self,
        batch: &mut Batch<'_>,
        path: &Path,
        meta: &Metadata,
        link: (&OsStr, &Xattrs),
    ) {
        let (target, xattrs) = link;
        if !xattrs.is_empty() || !is_plain(meta.mtime.unwrap_or_default()) {
            self.lose_listener();
        }
        let node = layer_node(FileKind::Symlink, 0, meta);
        self.tell(batch, |part| {
            part.entry(below_root(path), &node, Some(target), xattrs)
        });
    }

    /// Whether files that have no extended attributes in the source have none in the layer; one file of many is
    /// looked at, since it is the file system that would give them some.
    pub(super) fn is_bare(&self, batch: &Batch<'_>, to: &File, xattrs: &Xattrs) -> bool {
        if !xattrs.is_empty() {
            return false;
        }
        batch.files > 0 || sys::xattrs_fd(to).is_ok_and(|found| found.is_empty())
    }

    /// Looks at the directories from the root to `last`, which exist by now, and at what they will be. `top` is what
    /// is copied into `last`, with whether that was made by the copy.
    pub(super) fn tell_way(
        &self,
        way: &mut Way,
        last: &Arc<WriteDir>,
        top: Option<(&DirCopy, bool)>,
    ) -> Result<(), UpperError> {
        if self.listener.is_none() {
            return Ok(());
        }
        way.dirs = last.from_root();
        for dir in &way.dirs {
            let (mut node, xattrs) = dir.in_layer()?;
            let made = way.created.iter().any(|created| created.path() == dir.path());
            let stamped = self.spec.timestamp.filter(|_| made);
            node.mtime = stamped.or(way.times.get(dir.path())).unwrap_or(node.mtime);
            if let (true, Some((source, created))) = (Arc::ptr_eq(dir, last), top) {
                node = self.told_top(node, source, created)?;
            }
            if !xattrs.is_empty() || !is_plain(node.mtime) {
                self.lose_listener();
            }
            let path = dir.path().to_owned();
            way.told.push(ToldDir { path, node });
        }
        Ok(())
    }

    /// What the top of the copy will be.
    fn told_top(&self, found: Node, source: &DirCopy, created: bool) -> Result<Node, UpperError> {
        let meta = self.dir_metadata(&source.source.node());
        if !created {
            let mtime = meta.mtime.unwrap_or(found.mtime);
            return Ok(Node { mtime, ..found });
        }
        if !source.source.own_xattrs()?.is_empty() {
            self.lose_listener();
        }
        Ok(layer_node(FileKind::Dir, 0, &meta))
    }

    /// Gives the directories on the way their times, and sees whether they are what was told.
    pub(super) fn finish_way(&self, way: &Way, top: &Path) -> Result<(), UpperError> {
        way.times.restore(self.upper, top)?;
        if let Some(timestamp) = self.spec.timestamp {
            for dir in way.created.iter().rev() {
                dir.set_mtime(timestamp)?;
            }
        }
        if !self.is_told() {
            return Ok(());
        }
        let key = |node: &Node| (node.kind, node.mode, node.owner(), node.mtime.secs);
        for (dir, told) in way.dirs.iter().zip(&way.told) {
            if key(&dir.in_layer()?.0) != key(&told.node) {
                self.lose_listener();
            }
        }
        Ok(())
    }

    /// Copies what is in `top`, after `heads` in the stream.
    pub(super) fn copy_in_order(&self, top: Arc<DirCopy>, heads: Vec<ToldDir>) -> Result<(), UpperError> {
        let levels = vec![Level::new(top)?];
        let walk = Mutex::new(Walk { levels, heads });
        let next = || self.next(&mut lock(&walk));
        let work = || -> Result<(), UpperError> {
            while let Some(files) = next()? {
                self.copy_files(files)?;
            }
            Ok(())
        };
        let failed = Mutex::new(None);
        let careful = || {
            if let Err(err) = work() {
                // The others find nothing more to do.
                lock(&walk).levels.clear();
                failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(err);
            }
        };
        // A small copy stays on the caller's thread.
        if let Some(first) = next()? {
            self.copy_files(first)?;
        }
        let more = !lock(&walk).levels.is_empty();
        thread::scope(|scope| {
            for _ in 1..thread_count(self.spec.threads) {
                if more {
                    scope.spawn(careful);
                }
            }
            careful();
        });
        failed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    /// The files that come next, with their part begun.
    fn next(&self, walk: &mut Walk) -> Result<Option<Files>, UpperError> {
        self.check()?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(level) = walk.levels.last_mut() {
            let next = level.entries.next_if(|entry| {
                let apart = entry.node.kind.is_dir() || is_large(entry);
                entries.is_empty() || !apart && entries.len() < FILES && bytes < BYTES
            });
            match next {
                Some(entry) if entry.node.kind.is_dir() => {
                    let dir = self.enter_below(&level.dir, &entry, &mut walk.heads)?;
                    walk.levels.push(dir);
                }
                Some(entry) => {
                    bytes += entry.node.size;
                    let alone = is_large(&entry);
                    entries.push(entry);
                    if alone {
                        break;
                    }
                }
                None if !entries.is_empty() => break,
                None => {
                    let dir = Arc::clone(&level.dir);
                    walk.levels.pop();
                    if walk.levels.is_empty() {
                        // Empty directories at the end.
                        self.tell_last(&walk.heads);
                    }
                    self.done(&dir)?;
                }
            }
        }
        let Some(level) = walk.levels.last().filter(|_| !entries.is_empty()) else {
            return Ok(None);
        };
        let heads = std::mem::take(&mut walk.heads);
        let dir = Arc::clone(&level.dir);
        dir.pending.fetch_add(1, Ordering::AcqRel);
        let part = self.begin();
        Ok(Some(Files {
            heads,
            dir,
            entries,
            part,
        }))
    }

    fn begin(&self) -> Option<Box<dyn ChangePart>> {
        let listener = self.listener.as_ref().filter(|listener| !listener.is_lost())?;
        Some(listener.stream.part())
    }

    fn tell_last(&self, heads: &[ToldDir]) {
        if !heads.is_empty()
            && let Some(part) = self.part(heads)
            && part.end().is_err()
        {
            self.lose_listener();
        }
    }

    /// Makes the directory `entry` of `parent`.
    fn enter_below(
        &self,
        parent: &Arc<DirCopy>,
        entry: &Entry,
        heads: &mut Vec<ToldDir>,
    ) -> Result<Level, UpperError> {
        let dir = Arc::new(DirCopy::below(parent, entry.name.clone())?);
        parent.pending.fetch_add(1, Ordering::AcqRel);
        let target = self.target(&dir)?;
        let created = lock(&dir.target).as_ref().is_some_and(|target| target.created);
        let level = Level::new(Arc::clone(&dir))?;
        let meta = self.dir_metadata(&dir.source.node());
        if !created || !is_plain(meta.mtime.unwrap_or_default()) || !dir.source.own_xattrs()?.is_empty() {
            self.lose_listener();
        }
        heads.push(ToldDir {
            path: target.path().to_owned(),
            node: layer_node(FileKind::Dir, 0, &meta),
        });
        Ok(level)
    }

    fn copy_files(&self, files: Files) -> Result<(), UpperError> {
        let target = self.target(&files.dir)?;
        let source = files.dir.source.as_ref();
        let mut batch = self.batch(source.path(), target.path());
        batch.part = files.part.and_then(|part| self.told_heads(part, &files.heads));
        for entry in &files.entries {
            self.check()?;
            self.copy_entry(source, entry, &target, &entry.name, &mut batch)?;
        }
        self.add(batch, source.path(), target.path());
        self.done(&files.dir)
    }
}
