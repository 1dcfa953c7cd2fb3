//! Everything that files of a tree need to run.
//!
//! Libraries follow from the files themselves. What a program opens while it runs does not; `data` is the table of
//! what is brought for well-known libraries, and `script` what an interpreter is not without. What may still be
//! wanted is told in [`Closure::notes`].

mod collect;
mod data;
mod dlopen;
mod names;
mod openssl;
mod program;
mod runtime;
mod script;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use distil_rootfs::{Tree, TreeError};

/// Why a path is part of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for, or lies in a directory that was.
    Named,
    /// A symbolic link on the way to something else.
    Link,
    /// The loader of a program.
    Loader,
    /// A library, and who needs it.
    Library {
        /// Real path of the first that does.
        needed_by: PathBuf,
    },
    /// The interpreter of a script.
    Interpreter {
        /// Real path of the script.
        script: PathBuf,
    },
    /// Something that is opened while it runs, and what it is.
    Data {
        /// For example `trusted certificates`.
        what: &'static str,
    },
}

/// What files need, by path in the tree they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closure {
    /// Every file, link and directory that is part of it, by real path (no parent is a link). Parents of what is
    /// listed belong to it without being listed.
    pub members: BTreeMap<PathBuf, Reason>,
    /// Paths by which something is opened, where links lie on the way, and the real path they must lead to.
    pub aliases: BTreeMap<PathBuf, PathBuf>,
    /// Those of [`Closure::aliases`] at which a loader looks and, where it finds nothing, finds the library in another
    /// of its directories: they only matter where something else stands in the way.
    pub searched: BTreeSet<PathBuf>,
    /// Links that the tree does not have and that stand for its configuration, with the real path they lead to:
    /// a library that is only found by `ld.so.cache` is put where every loader looks.
    pub added: BTreeMap<PathBuf, PathBuf>,
    /// What was not brought and may be wanted, as sentences.
    pub notes: BTreeSet<String>,
}

/// A library that is not in the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// What is missing: a library, a loader or an interpreter, as it was asked for.
    pub name: String,
    /// Real path of who needs it.
    pub needed_by: PathBuf,
}

/// A version of a symbol that a library does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingVersion {
    /// For example `GLIBC_2.38`.
    pub version: String,
    /// Real path of the library.
    pub library: PathBuf,
    /// Real path of who needs it.
    pub needed_by: PathBuf,
}

impl fmt::Display for MissingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (library, needed_by) = (self.library.display(), self.needed_by.display());
        write!(
            f,
            "`{library}` has no `{}`, which `{needed_by}` needs",
            self.version
        )
    }
}

/// Why there is no closure.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClosureError {
    /// A path that was asked for does not exist.
    #[error("`{}` does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A file that was asked for is damaged.
    #[error("`{}` cannot be examined: it is a damaged ELF file: {why}", path.display())]
    Damaged {
        /// Its real path.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// Libraries, loaders, interpreters or versions of symbols are missing.
    #[error("{}", describe_missing(files, versions))]
    Missing {
        /// What is not there at all.
        files: Vec<Missing>,
        /// What is there and too old.
        versions: Vec<MissingVersion>,
    },
    /// More files than any program needs.
    #[error(
        "more than {limit} files are needed; copy the directory without `--closure` and name the programs in it"
    )]
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The caller asked to stop.
    #[error("the search was cancelled")]
    Cancelled,
}

fn describe_missing(files: &[Missing], versions: &[MissingVersion]) -> String {
    let files = files.iter().map(|missing| {
        format!(
            "`{}`, which `{}` needs, is not there",
            missing.name,
            missing.needed_by.display()
        )
    });
    let versions = versions.iter().map(ToString::to_string);
    let mut text: Vec<String> = files.chain(versions).collect();
    text.push("install what is missing in the stage that is copied from".to_owned());
    text.join("; ")
}

impl Closure {
    /// What `named` needs in `tree`: files, links, or directories, which count with all that is in them. The paths are
    /// absolute, wildcards in them are not expanded.
    ///
    /// # Errors
    /// When a named path does not exist, a library is missing, or `cancel` was set: see [`ClosureError`].
    pub fn of(tree: &dyn Tree, named: &[PathBuf], cancel: &AtomicBool) -> Result<Closure, ClosureError> {
        collect::collect(tree, named, cancel)
    }

    /// The files and links by reason, for a log.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }

    fn paths(&self, wanted: impl Fn(&Reason) -> bool) -> Vec<&Path> {
        let members = self.members.iter().filter(|(_, reason)| wanted(reason));
        members.map(|(path, _)| path.as_path()).collect()
    }
}

/// Shows what a [`Closure`] holds, one line a kind, then its notes. Of a directory that is part of it as a whole only
/// the top is shown.
pub struct Summary<'c>(&'c Closure);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closure = self.0;
        let lists = [
            ("loader", closure.paths(|reason| matches!(reason, Reason::Loader))),
            (
                "libraries",
                closure.paths(|reason| matches!(reason, Reason::Library { .. })),
            ),
            (
                "interpreters",
                closure.paths(|reason| matches!(reason, Reason::Interpreter { .. })),
            ),
        ];
        for (title, paths) in lists {
            show(f, title, &paths)?;
        }
        let mut data: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
        for (path, reason) in &closure.members {
            let parent = path.parent().and_then(|parent| self.0.members.get(parent));
            if let Reason::Data { what } = reason
                && parent != Some(reason)
            {
                data.entry(what).or_default().push(path);
            }
        }
        for (what, paths) in &data {
            show(f, what, paths)?;
        }
        let added: Vec<&Path> = closure.added.keys().map(PathBuf::as_path).collect();
        show(f, "links in the loader's own directories", &added)?;
        for note in &closure.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}

/// At most this many paths of a kind are shown one by one.
const SHOWN: usize = 40;

fn show(f: &mut fmt::Formatter<'_>, title: &str, paths: &[&Path]) -> fmt::Result {
    if paths.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = paths
        .iter()
        .take(SHOWN)
        .map(|path| path.display().to_string())
        .collect();
    let more = match paths.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    writeln!(f, "{title}: {}{more}", names.join(" "))
}
