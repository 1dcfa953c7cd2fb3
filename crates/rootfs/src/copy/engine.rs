//! The copy itself: directories are shared out to threads, each one's metadata is set when
//! everything in it is done.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::resolve_wildcards;
use super::told::{Listener, Way};
use super::{ChangePart, ChangeStream, Conflict, CopiedTree, CopyReport, CopySpec, ManifestEntry, Placed};
use crate::by_name::{ByName, Found};
use crate::ignore::{MatchInfo, PatternMatcher};
use crate::node::{Node, Owner};
use crate::pool::{self, Queue};
use crate::tree::{Dir, Entry, Tree, TreeError, clean_absolute};
use crate::upper::{ParentTimes, Upper, UpperError, WriteDir};

/// Files of one directory that one job copies.
const CHUNK: usize = 128;

/// One copy action while it runs.
pub(super) struct Engine<'a> {
    pub(super) upper: &'a Upper,
    pub(super) source: &'a dyn Tree,
    pub(super) spec: &'a CopySpec,
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
    pub(super) transferred: bool,
    /// First place of every source inode with several names, by device and inode.
    pub(super) inodes: Mutex<HashMap<(u64, u64), PathBuf>>,
    pub(super) no_reflink: AtomicBool,
    totals: Mutex<Totals>,
    /// Who is told what is written.
    pub(super) listener: Option<Listener<'a>>,
}

/// What happened so far.
#[derive(Default)]
struct Totals {
    files: u64,
    bytes: u64,
    linked: u64,
    /// By source directory.
    digests: Vec<(PathBuf, Found<[u8; 32]>)>,
    /// By destination directory, without a leading `/`.
    manifest: Vec<(PathBuf, Found<ManifestEntry>)>,
    /// Destinations that must not be in the manifest: hard links of each other, and what is no plain file.
    unlisted: Vec<PathBuf>,
    /// The top is a directory, and nothing was where it went.
    fresh: bool,
    /// See [`Batch::irregular`].
    irregular: bool,
    tree: CopiedTree,
}

/// Files that go from one directory to one directory: what is known before and after.
#[derive(Default)]
pub(super) struct Batch<'a> {
    /// Digests of the source directory's files.
    pub(super) known: Option<&'a ByName<[u8; 32]>>,
    /// What an earlier layer had in the destination directory.
    pub(super) earlier: Option<&'a ByName<ManifestEntry>>,
    /// The earlier layer's directory; the inner `None` is one that cannot be opened.
    pub(super) earlier_dir: Option<Option<OwnedFd>>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) linked: u64,
    pub(super) tree: CopiedTree,
    /// A file of several names, a device, a pipe or a socket was among them.
    pub(super) irregular: bool,
    pub(super) digests: Found<[u8; 32]>,
    pub(super) manifest: Found<ManifestEntry>,
    /// See [`Totals::unlisted`].
    pub(super) unlisted: Vec<PathBuf>,
    /// What of the stream these files are.
    pub(super) part: Option<Box<dyn ChangePart>>,
}

/// A source directory that is being copied.
pub(super) struct DirCopy {
    pub(super) source: Box<dyn Dir>,
    pub(super) parent: Option<Arc<DirCopy>>,
    name: OsString,
    /// Path below the top of the copy, which patterns see.
    relative: Vec<u8>,
    include: MatchInfo,
    exclude: MatchInfo,
    /// Chosen by the patterns itself, and not only for something in it.
    pub(super) selected: bool,
    pub(super) target: Mutex<Option<Target>>,
    /// Jobs that still work in it.
    pub(super) pending: AtomicUsize,
}

impl DirCopy {
    /// The directory `name` in `parent`, all of which is copied.
    pub(super) fn below(parent: &Arc<DirCopy>, name: OsString) -> Result<DirCopy, TreeError> {
        Ok(DirCopy {
            source: parent.source.open_dir(&name)?,
            relative: join(&parent.relative, &name),
            parent: Some(Arc::clone(parent)),
            name,
            include: MatchInfo::default(),
            exclude: MatchInfo::default(),
            selected: true,
            target: Mutex::new(None),
            pending: AtomicUsize::new(0),
        })
    }
}

#[derive(Clone)]
pub(super) struct Target {
    pub(super) dir: Arc<WriteDir>,
    pub(super) created: bool,
}

enum Job {
    Open {
        parent: Arc<DirCopy>,
        name: OsString,
        verdict: Verdict,
    },
    Files {
        dir: Arc<DirCopy>,
        entries: Vec<Entry>,
    },
}

/// What the patterns say about a path.
struct Verdict {
    selected: bool,
    include: MatchInfo,
    exclude: MatchInfo,
}

/// A path of a layer as manifests have it.
pub(super) fn below_root(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies from `source` into `upper`; see [`Upper::copy`] and [`Upper::copy_told`].
pub(crate) fn copy(
    upper: &Upper,
    source: &dyn Tree,
    spec: &CopySpec,
    report: &mut CopyReport,
    stream: Option<&dyn ChangeStream>,
) -> Result<(), UpperError> {
    report.told = false;
    if !spec.create_destination_path {
        let path = upper.tree().resolve(Path::new(&spec.destination))?;
        let parent = path.parent().unwrap_or(&path).to_owned();
        if upper.tree().lookup(&parent)?.is_none() {
            return Err(TreeError::NotFound { path: parent }.into());
        }
    }
    let sources = if spec.allow_wildcard {
        resolve_wildcards(source, &spec.source, spec.follow_symlink)?
    } else {
        vec![clean_absolute(Path::new(&spec.source))]
    };
    if sources.is_empty() && !spec.allow_empty_wildcard {
        return Err(UpperError::NoMatch {
            source_path: spec.source.clone(),
        });
    }
    let stream = stream.filter(|_| sources.len() == 1 && spec.can_be_told());
    for path in sources {
        if spec.attempt_unpack && crate::archive::unpack_path(upper, source, &path, spec, report)? {
            continue;
        }
        let mut engine = Engine::new(upper, source, spec)?;
        engine.listener = stream.map(Listener::new);
        report.placed.push(engine.copy_path(&path)?);
        engine.report(report);
    }
    Ok(())
}

impl<'a> Engine<'a> {
    fn new(upper: &'a Upper, source: &'a dyn Tree, spec: &'a CopySpec) -> Result<Engine<'a>, UpperError> {
        let compile = |patterns: &[String]| match patterns {
            [] => Ok(None),
            some => PatternMatcher::new(some).map(Some),
        };
        Ok(Engine {
            upper,
            source,
            spec,
            include: compile(&spec.include_patterns).map_err(TreeError::from)?,
            exclude: compile(&spec.exclude_patterns).map_err(TreeError::from)?,
            transferred: source.is_transferred(),
            inodes: Mutex::default(),
            no_reflink: AtomicBool::new(false),
            totals: Mutex::default(),
            listener: None,
        })
    }

    fn report(self, report: &mut CopyReport) {
        let told = self.listener.as_ref().is_some_and(|listener| !listener.is_lost());
        let totals = self.totals.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.files += totals.files;
        report.bytes += totals.bytes;
        report.linked += totals.linked;
        let alone = report.placed.len() == 1 && totals.fresh && !totals.irregular;
        report.tree = alone.then_some(totals.tree);
        // Without anything in them, directories on the way may go again.
        report.told = told && totals.tree.entries > 0;
        for (dir, digests) in totals.digests {
            report.digests.extend(&dir, digests);
        }
        for (dir, files) in totals.manifest {
            report.manifest.extend(&dir, files);
        }
        for path in totals.unlisted {
            report.manifest.remove(&path);
        }
    }

    pub(super) fn add(&self, mut batch: Batch<'_>, source: &Path, target: &Path) {
        self.end_part(&mut batch);
        let target = below_root(target).to_owned();
        let mut totals = lock(&self.totals);
        totals.files += batch.files;
        totals.bytes += batch.bytes;
        totals.linked += batch.linked;
        totals.irregular |= batch.irregular;
        totals.tree.entries += batch.tree.entries;
        totals.tree.found += batch.tree.found;
        totals.tree.written += batch.tree.written;
        totals.digests.push((source.to_owned(), batch.digests));
        totals.manifest.push((target, batch.manifest));
        totals.unlisted.extend(batch.unlisted);
    }

    /// For files that go from the directory `source` to the directory `target`.
    pub(super) fn batch(&self, source: &Path, target: &Path) -> Batch<'_> {
        let known = self.spec.known.as_ref();
        let earlier = self.spec.link_from.as_ref();
        Batch {
            known: known.and_then(|known| known.dir(source)),
            earlier: earlier.and_then(|earlier| earlier.manifest.dir(below_root(target))),
            ..Batch::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), UpperError> {
        match &self.spec.cancel {
            Some(cancel) if cancel.load(Ordering::Relaxed) => Err(UpperError::Cancelled),
            _ => Ok(()),
        }
    }

    /// Whether the layer adds to the earlier one.
    pub(super) fn adds(&self) -> bool {
        self.spec.link_from.as_ref().is_some_and(|earlier| earlier.below)
    }

    pub(super) fn owner(&self, node: &Node) -> Owner {
        self.spec.owner.unwrap_or(node.owner())
    }

    /// Copies one source path to the destination.
    fn copy_path(&self, path: &Path) -> Result<Placed, UpperError> {
        let spec = self.spec;
        let tree = self.upper.tree();
        let mode = spec.mode.of_parents();
        let clean = clean_absolute(Path::new(&spec.destination));
        let is_dir = spec.destination.ends_with('/') || spec.destination.ends_with("/.");
        let ensure = match clean.parent() {
            Some(parent) if !is_dir => parent,
            _ => &clean,
        };
        let mut times = ParentTimes::default();
        let ensure = tree.resolve(ensure)?;
        times.record(self.upper, &ensure)?;
        let mut created = self.upper.make_dirs(&ensure, mode, spec.owner)?.1;

        let mut target = tree.resolve(&clean)?;
        times.record(self.upper, &target)?;
        let real = if spec.follow_symlink {
            self.source.resolve(path)?
        } else {
            self.source.resolve_parent(path)?
        };
        let node = self.source.lookup(&real)?.ok_or(TreeError::NotFound {
            path: path.to_owned(),
        })?;
        let existing = tree.lookup(&target)?;
        let into_contents = spec.dir_copy_contents && node.kind.is_dir();
        let existing_dir = existing.is_some_and(|node| node.kind.is_dir());
        if ((node.kind.is_dir() && !into_contents && existing.is_some())
            || (!node.kind.is_dir() && existing_dir))
            && let Some(name) = path.file_name()
        {
            target.push(name);
        }
        let parent = if into_contents && existing.is_none() {
            target.as_path()
        } else {
            target.parent().unwrap_or(&target)
        };
        let (parent_dir, more) = self.upper.make_dirs(parent, mode, spec.owner)?;
        created.extend(more);

        let mut way = Way::new(created, times);
        if node.kind.is_dir() {
            self.copy_top_dir(&real, &target, parent == target, parent_dir, &mut way)?;
        } else {
            self.copy_top_file(&real, node, &parent_dir, &target, &mut way)?;
        }
        self.finish_way(&way, &target)?;
        Ok(Placed { source: real, target })
    }

    fn copy_top_file(
        &self,
        real: &Path,
        node: Node,
        parent: &Arc<WriteDir>,
        target: &Path,
        way: &mut Way,
    ) -> Result<(), UpperError> {
        let (Some(from), Some(name), Some(to)) = (real.parent(), real.file_name(), target.file_name()) else {
            // Only the root has no name, and it is a directory on both sides.
            return Err(UpperError::ReplaceDirectory {
                path: target.to_owned(),
            });
        };
        let dir = self.source.open_dir(from)?;
        let entry = Entry {
            name: name.to_owned(),
            node,
        };
        let mut batch = self.batch(from, parent.path());
        self.tell_way(way, parent, None)?;
        batch.part = self.part(&way.told);
        self.copy_entry(dir.as_ref(), &entry, parent, to, &mut batch)?;
        self.add(batch, from, parent.path());
        Ok(())
    }

    fn copy_top_dir(
        &self,
        real: &Path,
        target: &Path,
        is_target: bool,
        parent: Arc<WriteDir>,
        way: &mut Way,
    ) -> Result<(), UpperError> {
        let top = Target {
            dir: parent,
            created: false,
        };
        let top = match target.file_name() {
            Some(name) if !is_target => self.enter(&top.dir, name)?,
            _ => top,
        };
        lock(&self.totals).fresh = self.adds() || top.dir.is_empty()?;
        let dir = Arc::new(DirCopy {
            source: self.source.open_dir(real)?,
            parent: None,
            name: OsString::new(),
            relative: Vec::new(),
            include: MatchInfo::default(),
            exclude: MatchInfo::default(),
            selected: true,
            target: Mutex::new(Some(top)),
            pending: AtomicUsize::new(0),
        });
        if self.listener.is_some() {
            let top = lock(&dir.target).clone();
            if let Some(top) = top {
                self.tell_way(way, &top.dir, Some((&dir, top.created)))?;
            }
            return self.copy_in_order(dir, way.told.clone());
        }
        let mut first = Vec::new();
        self.list(&dir, &mut first)?;
        pool::run(self.spec.threads, first, |job, queue| self.run(job, queue))
    }

    /// Opens or makes the directory `name` in the destination.
    fn enter(&self, parent: &Arc<WriteDir>, name: &OsStr) -> Result<Target, UpperError> {
        let existing = if parent.is_fresh() {
            None
        } else {
            parent.existing(name)?
        };
        match existing {
            Some(existing) if existing.node.kind.is_dir() => {
                return Ok(Target {
                    dir: parent.child(name)?,
                    created: false,
                });
            }
            Some(_) if self.adds() => {
                let path = parent.path().join(name);
                return Err(UpperError::NotBelow { path });
            }
            Some(_) if self.spec.conflict == Conflict::Replace => parent.remove(name)?,
            Some(_) => {
                let path = parent.path().join(name);
                return Err(UpperError::NotADirectory { path });
            }
            None => {}
        }
        Ok(Target {
            dir: parent.create_dir(name)?,
            created: true,
        })
    }

    /// The destination of a source directory, made now if something must go there.
    pub(super) fn target(&self, dir: &DirCopy) -> Result<Arc<WriteDir>, UpperError> {
        let mut target = lock(&dir.target);
        if let Some(target) = &*target {
            return Ok(Arc::clone(&target.dir));
        }
        let Some(parent) = &dir.parent else {
            // The top always has one.
            let path = dir.source.path().to_owned();
            return Err(TreeError::NotFound { path }.into());
        };
        let parent = self.target(parent)?;
        let made = self.enter(&parent, &dir.name)?;
        let mut totals = lock(&self.totals);
        totals.tree.entries += 1;
        totals.tree.found += u64::from(!made.created);
        drop(totals);
        *target = Some(made.clone());
        Ok(made.dir)
    }

    fn judge(&self, dir: &DirCopy, path: &[u8]) -> Verdict {
        let mut verdict = Verdict {
            selected: true,
            include: MatchInfo::default(),
            exclude: MatchInfo::default(),
        };
        if let Some(include) = &self.include {
            let (matched, info) = include.matches_with_parent(path, &dir.include);
            verdict.include = info;
            verdict.selected = matched;
        }
        if let Some(exclude) = &self.exclude {
            let (matched, info) = exclude.matches_with_parent(path, &dir.exclude);
            verdict.exclude = info;
            verdict.selected &= !matched;
        }
        verdict
    }

    /// Whether something below a directory that is not selected can be.
    fn may_select_below(&self, path: &[u8], dir: &DirCopy) -> bool {
        let included = match &self.include {
            Some(include) => {
                include.matches_with_parent(path, &dir.include).0 || include.may_match_below(path, false)
            }
            None => true,
        };
        let excluded = match &self.exclude {
            Some(exclude) => {
                exclude.matches_with_parent(path, &dir.exclude).0 && !exclude.may_match_below(path, true)
            }
            None => false,
        };
        included && !excluded
    }

    /// Lists a source directory and makes the jobs for what is in it.
    fn list(&self, dir: &Arc<DirCopy>, jobs: &mut Vec<Job>) -> Result<(), UpperError> {
        let filtered = self.include.is_some() || self.exclude.is_some();
        let mut files = Vec::new();
        let mut found = Vec::new();
        for entry in dir.source.entries()? {
            let path = join(&dir.relative, &entry.name);
            let verdict = self.judge(dir, &path);
            if entry.node.kind.is_dir() {
                if verdict.selected || (filtered && self.may_select_below(&path, dir)) {
                    found.push(Job::Open {
                        parent: Arc::clone(dir),
                        name: entry.name,
                        verdict,
                    });
                }
            } else if verdict.selected {
                files.push(entry);
            }
        }
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            found.push(Job::Files {
                dir: Arc::clone(dir),
                entries: files.by_ref().take(CHUNK).collect(),
            });
        }
        if found.is_empty() {
            return self.finish(dir);
        }
        dir.pending.store(found.len(), Ordering::Release);
        jobs.extend(found);
        Ok(())
    }

    fn run(&self, job: Job, queue: &Queue<Job, UpperError>) -> Result<(), UpperError> {
        self.check()?;
        match job {
            Job::Open {
                parent,
                name,
                verdict,
            } => {
                let dir = Arc::new(DirCopy {
                    include: verdict.include,
                    exclude: verdict.exclude,
                    selected: verdict.selected,
                    ..DirCopy::below(&parent, name)?
                });
                if dir.selected {
                    self.target(&dir)?;
                }
                let mut jobs = Vec::new();
                self.list(&dir, &mut jobs)?;
                queue.push(jobs);
                Ok(())
            }
            Job::Files { dir, entries } => {
                let target = self.target(&dir)?;
                let source = dir.source.as_ref();
                let mut batch = self.batch(source.path(), target.path());
                for entry in &entries {
                    self.check()?;
                    self.copy_entry(source, entry, &target, &entry.name, &mut batch)?;
                }
                self.add(batch, source.path(), target.path());
                self.done(&dir)
            }
        }
    }
}

fn join(dir: &[u8], name: &OsStr) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + name.len());
    path.extend_from_slice(dir);
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.as_bytes());
    path
}
