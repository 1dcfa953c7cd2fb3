//! The walk: files that are known to be needed, and what each of them adds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use distil_rootfs::ignore::match_path;
use distil_rootfs::{Tree, TreeError};

use super::{Closure, ClosureError, Missing, MissingVersion, Reason};
use crate::loader::Libraries;
use crate::stage::{FactsError, Stage};

/// A file system of a few gigabytes has fewer.
const MAX_MEMBERS: usize = 200_000;

/// What is missing in it does not end the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It was asked for, or something that was asked for cannot start without it.
    Strict,
    /// One of the files of a directory that was asked for: some of them may never be used.
    Lenient,
    /// It came along with something else. What is missing for it is told, scripts are data.
    Along,
}

/// A file to look into.
pub(super) struct Task {
    pub(super) real: PathBuf,
    pub(super) need: Need,
    /// The directory with which it came along: what it needs may stand anywhere in there, for what loads it has
    /// loaded that too.
    pub(super) home: Option<PathBuf>,
}

/// Names of the files in a directory tree.
type Names = BTreeSet<std::ffi::OsString>;

pub(super) struct Collector<'s, 't> {
    pub(super) stage: &'s Stage<'t>,
    pub(super) libraries: Libraries<'s, 't>,
    pub(super) out: Closure,
    pub(super) missing: BTreeSet<Missing>,
    pub(super) missing_versions: BTreeSet<MissingVersion>,
    tasks: VecDeque<Task>,
    /// What was looked into, and how strictly.
    done: BTreeMap<PathBuf, Need>,
    homes: BTreeMap<PathBuf, Names>,
    /// What was brought for a rule of the data table, by the rule's name.
    pub(super) rules: BTreeSet<String>,
    cancel: &'s AtomicBool,
}

pub(super) fn collect(
    tree: &dyn Tree,
    named: &[PathBuf],
    cancel: &AtomicBool,
) -> Result<Closure, ClosureError> {
    let stage = Stage::new(tree);
    let mut collector = Collector {
        libraries: Libraries::new(&stage)?,
        stage: &stage,
        out: Closure::default(),
        missing: BTreeSet::new(),
        missing_versions: BTreeSet::new(),
        tasks: VecDeque::new(),
        done: BTreeMap::new(),
        homes: BTreeMap::new(),
        rules: BTreeSet::new(),
        cancel,
    };
    for path in named {
        collector.name(path)?;
    }
    while let Some(task) = collector.tasks.pop_front() {
        collector.examine(&task)?;
    }
    collector.finish()
}

impl Collector<'_, '_> {
    fn name(&mut self, path: &Path) -> Result<(), ClosureError> {
        let Some(real) = self.bring(path, &Reason::Named)? else {
            let path = path.to_owned();
            return Err(ClosureError::NotFound { path });
        };
        if self.is_dir(&real)? {
            self.bring_tree(&real, &Reason::Named, &[], Need::Lenient)?;
        } else {
            self.task(real, Need::Strict, None);
        }
        Ok(())
    }

    fn is_dir(&self, real: &Path) -> Result<bool, TreeError> {
        Ok(self.stage.node(real)?.is_some_and(|node| node.kind.is_dir()))
    }

    pub(super) fn task(&mut self, real: PathBuf, need: Need, home: Option<PathBuf>) {
        // Strictly once is enough, and makes up for leniently before.
        if self.done.get(&real).is_none_or(|before| *before > need) {
            self.done.insert(real.clone(), need);
            self.tasks.push_back(Task { real, need, home });
        }
    }

    /// Makes `path` a member with every link on the way; gives its real path, or `None` when it does not exist.
    pub(super) fn bring(&mut self, path: &Path, reason: &Reason) -> Result<Option<PathBuf>, ClosureError> {
        let trail = self.stage.trail(path)?;
        if trail.node.is_none() {
            return Ok(None);
        }
        for link in trail.links {
            self.out.members.entry(link).or_insert(Reason::Link);
        }
        if self.out.members.len() > MAX_MEMBERS {
            return Err(ClosureError::TooMany { limit: MAX_MEMBERS });
        }
        self.out
            .members
            .entry(trail.real.clone())
            .or_insert_with(|| reason.clone());
        if trail.real != path {
            self.out.aliases.insert(path.to_owned(), trail.real.clone());
        }
        Ok(Some(trail.real))
    }

    /// Makes the directory `real` a member with everything in it but the names directly in it that match `without`,
    /// and looks into its files. Files that links in it lead to are brought along.
    pub(super) fn bring_tree(
        &mut self,
        real: &Path,
        reason: &Reason,
        without: &[&str],
        need: Need,
    ) -> Result<(), ClosureError> {
        if self.homes.contains_key(real) {
            return Ok(());
        }
        let mut directories = vec![real.to_owned()];
        let mut names = Names::new();
        let mut files = Vec::new();
        while let Some(directory) = directories.pop() {
            self.check_cancelled()?;
            self.out
                .members
                .entry(directory.clone())
                .or_insert_with(|| reason.clone());
            for entry in self.stage.entries(&directory)? {
                if directory == real && is_left_out(&entry.name, without)? {
                    continue;
                }
                let path = directory.join(&entry.name);
                self.out
                    .members
                    .entry(path.clone())
                    .or_insert_with(|| reason.clone());
                if entry.node.kind.is_dir() {
                    directories.push(path);
                } else {
                    names.insert(entry.name);
                    files.push((path, entry.node.kind.is_symlink()));
                }
            }
            if self.out.members.len() > MAX_MEMBERS {
                return Err(ClosureError::TooMany { limit: MAX_MEMBERS });
            }
        }
        self.homes.insert(real.to_owned(), names);
        for (path, is_link) in files {
            let target = if is_link {
                self.link_target(&path, real)?
            } else {
                Some(path)
            };
            if let Some(target) = target {
                self.task(target, need, Some(real.to_owned()));
            }
        }
        Ok(())
    }

    /// What a link in the tree at `home` leads to, brought along when it is a file elsewhere.
    fn link_target(&mut self, link: &Path, home: &Path) -> Result<Option<PathBuf>, ClosureError> {
        let trail = match self.stage.trail(link) {
            Err(TreeError::TooManyLinks { .. }) => return Ok(None),
            other => other?,
        };
        if !trail.is_file() || trail.real.starts_with(home) {
            return Ok(None);
        }
        let what = "targets of links";
        self.bring(link, &Reason::Data { what })
    }

    /// Whether the tree that a file came along with has a file of this name.
    pub(super) fn is_at_home(&self, home: Option<&PathBuf>, name: &OsStr) -> bool {
        let names = home.and_then(|home| self.homes.get(home));
        names.is_some_and(|names| names.contains(name))
    }

    fn check_cancelled(&self) -> Result<(), ClosureError> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(ClosureError::Cancelled),
            false => Ok(()),
        }
    }

    fn examine(&mut self, task: &Task) -> Result<(), ClosureError> {
        self.check_cancelled()?;
        if !self
            .stage
            .node(&task.real)?
            .is_some_and(|node| node.kind.is_file())
        {
            return Ok(());
        }
        match self.stage.elf(&task.real) {
            Ok(Some(elf)) => self.examine_elf(task, elf),
            Ok(None) if task.need != Need::Along => self.examine_script(task),
            Ok(None) => Ok(()),
            Err(FactsError::Tree(error)) => Err(error.into()),
            Err(FactsError::Malformed(_)) if task.need != Need::Strict => Ok(()),
            Err(FactsError::Malformed(why)) => Err(ClosureError::Damaged {
                path: task.real.clone(),
                why,
            }),
        }
    }

    /// Something is missing: an error or a note.
    pub(super) fn lacks(&mut self, need: Need, name: &OsStr, needed_by: &Path) {
        let name = name.to_string_lossy().into_owned();
        if need == Need::Strict {
            self.missing.insert(Missing {
                name,
                needed_by: needed_by.to_owned(),
            });
        } else {
            let note = format!("`{}` needs `{name}`, which is not there", needed_by.display());
            self.out.notes.insert(note);
        }
    }

    fn finish(self) -> Result<Closure, ClosureError> {
        let mut out = self.out;
        if !self.missing.is_empty() || !self.missing_versions.is_empty() {
            return Err(ClosureError::Missing {
                files: self.missing.into_iter().collect(),
                versions: self.missing_versions.into_iter().collect(),
            });
        }
        // A link that the tree has after all, or that would hide something, is not added.
        out.added.retain(|link, _| !out.members.contains_key(link));
        // Nobody opens a file by a path with `..`.
        out.aliases
            .retain(|path, _| path.as_os_str().as_bytes().starts_with(b"/"));
        Ok(out)
    }
}

fn is_left_out(name: &OsStr, without: &[&str]) -> Result<bool, TreeError> {
    for pattern in without {
        if match_path(pattern.as_bytes(), name.as_bytes())? {
            return Ok(true);
        }
    }
    Ok(false)
}
