//! Packages into a directory.
//!
//! Packages are decoded side by side; what two of them bring (directories, files
//! that one replaces) is decided afterwards by their order, so the result does
//! not depend on timing. Every path is resolved inside the target.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use distil_rootfs::{RootDir, TreeError};
use rustix::fs::Mode;
use thiserror::Error;

use crate::deb::{ControlFiles, DebError, DebFile, Meta};
use crate::filter::PathFilter;
use crate::relation;

mod entries;

use entries::{Unpacker, apply_meta};

/// A package that cannot be unpacked.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The package file itself.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// The target directory cannot be used.
    #[error("the target directory cannot be used")]
    Target(#[from] TreeError),
    /// A file cannot be written.
    #[error("`{path}` of package `{package}` cannot be unpacked")]
    Io {
        /// Name of the package.
        package: String,
        /// Path in the package.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// An entry that packages must not hold.
    #[error("`{path}` of package `{package}` is refused: {reason}")]
    Refused {
        /// Name of the package.
        package: String,
        /// Path in the package.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// Two packages bring the same file, and neither replaces the other.
    #[error("packages `{first}` and `{second}` both contain `{path}`")]
    Conflict {
        /// One package.
        first: String,
        /// The other.
        second: String,
        /// The file.
        path: String,
    },
    /// The caller asked to stop.
    #[error("unpacking was cancelled")]
    Cancelled,
}

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// What to leave out.
    pub filter: &'a PathFilter,
    /// Top directories that are links into `usr`, made before anything else:
    /// `bin`, `sbin`, `lib`, `lib64`. Empty for a tree that is not merged.
    pub merged_usr: &'a [&'a str],
    /// Threads to decode with; at least one is used.
    pub threads: usize,
    /// Set by another thread to stop.
    pub cancel: &'a AtomicBool,
}

/// What unpacking learned of a package.
#[derive(Debug, Clone, Default)]
pub struct UnpackedPackage {
    /// Package name.
    pub name: String,
    /// The control archive.
    pub control: ControlFiles,
    /// Paths of all entries in their order, `/.` first, excluded ones too (as
    /// dpkg lists them).
    pub list: Vec<Vec<u8>>,
    /// md5 of each conffile as shipped, in hex, by path. An excluded one is not here.
    pub conffiles: BTreeMap<String, String>,
}

/// Metadata of a directory as a package ships it.
#[derive(Debug, Clone)]
struct DirectoryEntry {
    path: PathBuf,
    meta: Meta,
}

/// Everything one package brought.
#[derive(Debug, Default)]
struct Outcome {
    package: UnpackedPackage,
    directories: Vec<DirectoryEntry>,
    /// Files that were there already.
    collisions: Vec<PathBuf>,
    /// Files and links that this package made.
    created: Vec<PathBuf>,
}

/// Unpacks packages into the existing directory `target`; `debs` in the order in
/// which the first decides over a shared directory's mode, owner and time.
///
/// # Errors
/// The first package that cannot be unpacked; the target is then half filled and
/// of no use.
pub fn unpack(
    debs: &[PathBuf],
    target: &Path,
    options: &UnpackOptions<'_>,
) -> Result<Vec<UnpackedPackage>, UnpackError> {
    let root = RootDir::open(target)?;
    for name in options.merged_usr {
        make_merged_link(&root, name)?;
    }
    let files: Vec<DebFile> = debs
        .iter()
        .map(|path| DebFile::open(path))
        .collect::<Result<_, _>>()?;
    let mut outcomes = unpack_all(&files, &root, options)?;
    resolve_collisions(&files, &root, options, &mut outcomes)?;
    let mut seen = BTreeSet::new();
    for outcome in &outcomes {
        for directory in &outcome.directories {
            if seen.insert(directory.path.clone()) {
                finish_directory(&root, &outcome.package.name, directory)?;
            }
        }
    }
    Ok(outcomes.into_iter().map(|outcome| outcome.package).collect())
}

fn make_merged_link(root: &RootDir, name: &str) -> Result<(), UnpackError> {
    let failed = |source: rustix::io::Errno| UnpackError::Io {
        package: "base".to_owned(),
        path: name.to_owned(),
        source: source.into(),
    };
    let target = format!("usr/{name}");
    for directory in ["usr", &target] {
        match rustix::fs::mkdirat(root, directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    rustix::fs::symlinkat(&target, root, name).map_err(failed)
}

fn unpack_all(
    files: &[DebFile],
    root: &RootDir,
    options: &UnpackOptions<'_>,
) -> Result<Vec<Outcome>, UnpackError> {
    // The largest first, so that no thread is left alone with one at the end.
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|number| std::cmp::Reverse(files[*number].packed_size()));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let work = || {
        let mut done = Vec::new();
        while let Some(number) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let result = Unpacker::new(root, options).package(&files[*number], None);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((*number, result));
        }
        done
    };
    let mut results: Vec<(usize, Result<Outcome, UnpackError>)> = std::thread::scope(|scope| {
        let threads = options.threads.clamp(1, files.len().max(1));
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = handles.into_iter().map(|handle| match handle.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Decides about files that two packages bring: one that `Replaces` the other wins.
fn resolve_collisions(
    files: &[DebFile],
    root: &RootDir,
    options: &UnpackOptions<'_>,
    outcomes: &mut [Outcome],
) -> Result<(), UnpackError> {
    let mut owners: HashMap<PathBuf, usize> = HashMap::new();
    for (number, outcome) in outcomes.iter().enumerate() {
        if outcomes.iter().any(|other| !other.collisions.is_empty()) {
            owners.extend(outcome.created.iter().map(|path| (path.clone(), number)));
        }
    }
    for later in 0..outcomes.len() {
        for path in std::mem::take(&mut outcomes[later].collisions) {
            let owner = owners.get(&path).copied();
            let conflict = |owner: Option<usize>| UnpackError::Conflict {
                first: owner.map_or_else(|| "base".to_owned(), |n| outcomes[n].package.name.clone()),
                second: outcomes[later].package.name.clone(),
                path: path.display().to_string(),
            };
            let Some(earlier) = owner else {
                return Err(conflict(None));
            };
            if replaces(&outcomes[earlier].package, &outcomes[later].package) {
                continue;
            }
            if !replaces(&outcomes[later].package, &outcomes[earlier].package) {
                return Err(conflict(owner));
            }
            Unpacker::new(root, options).package(&files[later], Some(&path))?;
            owners.insert(path, later);
        }
    }
    Ok(())
}

/// Whether `winner` says that it replaces files of `loser`.
fn replaces(winner: &UnpackedPackage, loser: &UnpackedPackage) -> bool {
    let field = winner.control.field("Replaces");
    let version = loser.control.field("Version");
    let groups = relation::parse(&field).unwrap_or_default();
    groups
        .iter()
        .flatten()
        .any(|one| one.name == loser.name && one.accepts_version(&version))
}

fn finish_directory(root: &RootDir, package: &str, directory: &DirectoryEntry) -> Result<(), UnpackError> {
    let failed = |source: io::Error| UnpackError::Io {
        package: package.to_owned(),
        path: directory.path.display().to_string(),
        source,
    };
    let fd = root.open_path(&directory.path)?;
    apply_meta(&fd, &directory.meta).map_err(|error| failed(error.into()))
}
