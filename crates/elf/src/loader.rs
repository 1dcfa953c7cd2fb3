//! Where a loader looks for a library, without running one.
//!
//! glibc (`elf/dl-load.c`): `DT_RPATH` of the object and of what loaded it unless the object has `DT_RUNPATH`, then its
//! `DT_RUNPATH`, then `ld.so.cache`, then the directories that are built into the loader. musl (`ldso/dynlink.c`):
//! the run path of the object and of what loaded it, then `/etc/ld-musl-ARCH.path` or `/lib:/usr/local/lib:/usr/lib`.
//! `LD_LIBRARY_PATH` belongs to a process and is not looked at.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_rootfs::TreeError;

use crate::file::{Abi, Class, Kind};
use crate::stage::{FactsError, Stage};
use crate::{ElfFile, cache, conf, machine};

const MAX_LOADER: usize = 8 << 20;
const MAX_CACHE: usize = 64 << 20;
/// Directories of one run path.
const MAX_RUN_PATHS: usize = 256;

/// Names that musl itself stands for, up to the dot.
const MUSL_OWN: [&str; 7] = [
    "libc.",
    "libpthread.",
    "librt.",
    "libm.",
    "libdl.",
    "libutil.",
    "libxnet.",
];

/// Whose loader it is, and what it knows by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loader {
    /// glibc's.
    Glibc {
        /// The directories built into it, in order.
        directories: Vec<PathBuf>,
    },
    /// musl's, which is the C library too.
    Musl {
        /// Where it stands.
        path: PathBuf,
        /// Where it looks, in order.
        directories: Vec<PathBuf>,
        /// The file that says so, when there is one.
        path_file: Option<PathBuf>,
    },
}

/// How a library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a path that the object itself names.
    Object,
    /// In a directory that every loader of the kind knows.
    Default,
    /// By the machine's configuration: `ld.so.cache` or `ld.so.conf`. Elsewhere it is not found.
    Configuration,
    /// It is the loader.
    Loader,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path by which the loader opens it.
    pub path: PathBuf,
    /// Builds of it for newer processors (`glibc-hwcaps`), which the loader prefers where they run.
    pub for_newer: Vec<PathBuf>,
    /// How.
    pub via: Via,
}

/// An object that is loaded, with what decides where its libraries are looked for.
#[derive(Clone, Debug)]
pub struct Object {
    /// Path by which it was opened; of the program itself the real one.
    pub path: PathBuf,
    /// Its facts.
    pub elf: Arc<ElfFile>,
    /// The run paths of what loaded it, nearest first.
    pub inherited: Vec<PathBuf>,
}

/// The machine's configuration of the loader in one tree, read once.
pub struct Libraries<'s, 't> {
    stage: &'s Stage<'t>,
    cached: HashMap<OsString, Vec<PathBuf>>,
    configured: Vec<PathBuf>,
    built_in: BTreeMap<PathBuf, Option<Vec<PathBuf>>>,
}

impl<'s, 't> Libraries<'s, 't> {
    /// Reads `ld.so.cache` and `ld.so.conf` of the tree.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn new(stage: &'s Stage<'t>) -> Result<Libraries<'s, 't>, TreeError> {
        let mut cached: HashMap<OsString, Vec<PathBuf>> = HashMap::new();
        if let Some(bytes) = stage.read(Path::new("/etc/ld.so.cache"), MAX_CACHE)? {
            for entry in cache::parse(&bytes) {
                cached.entry(entry.name).or_default().push(entry.path);
            }
        }
        Ok(Libraries {
            stage,
            cached,
            configured: conf::ld_so_conf(stage)?,
            built_in: BTreeMap::new(),
        })
    }

    /// The loader of a program, or the one that a library is made for.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn loader(&mut self, elf: &ElfFile) -> Result<Loader, TreeError> {
        let named = elf.interpreter.as_ref().map(PathBuf::from);
        if let Some(path) = named
            .clone()
            .filter(|path| is_musl(path))
            .or_else(|| musl_of(elf))
        {
            return self.musl(path);
        }
        let known = machine::of(elf.abi);
        let path = named.or_else(|| known.map(|machine| PathBuf::from(machine.loader)));
        let own = match path {
            Some(path) => self.built_in(&path)?,
            None => None,
        };
        Ok(Loader::Glibc {
            directories: own.unwrap_or_else(|| usual_directories(elf.abi)),
        })
    }

    fn musl(&self, path: PathBuf) -> Result<Loader, TreeError> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let machine = name.strip_prefix("ld-musl-").unwrap_or(&name);
        let machine = machine.split(".so").next().unwrap_or(machine);
        let file = PathBuf::from(format!("/etc/ld-musl-{machine}.path"));
        let listed = conf::musl_path(self.stage, &file)?;
        let path_file = listed.is_some().then_some(file);
        let usual = || ["/lib", "/usr/local/lib", "/usr/lib"].map(PathBuf::from).to_vec();
        Ok(Loader::Musl {
            path,
            directories: listed.unwrap_or_else(usual),
            path_file,
        })
    }

    fn built_in(&mut self, loader: &Path) -> Result<Option<Vec<PathBuf>>, TreeError> {
        if let Some(known) = self.built_in.get(loader) {
            return Ok(known.clone());
        }
        let bytes = self.stage.read(loader, MAX_LOADER)?;
        let found = bytes.as_deref().and_then(built_in_directories);
        self.built_in.insert(loader.to_owned(), found.clone());
        Ok(found)
    }

    /// Looks for the library `name` that `object` needs.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn find(&self, object: &Object, name: &OsStr, loader: &Loader) -> Result<Option<Found>, TreeError> {
        if name.as_bytes().contains(&b'/') {
            let paths = expand(name, object, loader);
            return self.first(paths.into_iter(), object.elf.abi, Via::Object);
        }
        if let Loader::Musl { path, .. } = loader
            && MUSL_OWN
                .iter()
                .any(|own| name.as_bytes().starts_with(own.as_bytes()))
        {
            return Ok(Some(Found {
                path: path.clone(),
                for_newer: Vec::new(),
                via: Via::Loader,
            }));
        }
        let own = run_paths(object, loader);
        let named = own.iter().chain(inherited(object, loader));
        if let Some(found) = self.search(named, name, object, Via::Object)? {
            return Ok(Some(found));
        }
        match loader {
            Loader::Musl { directories, .. } => self.search(directories.iter(), name, object, Via::Default),
            Loader::Glibc { directories } => {
                let without = object.elf.dynamic.as_ref();
                if without.is_some_and(|dynamic| dynamic.no_default_directories) {
                    return Ok(None);
                }
                self.find_in_system(name, object, directories)
            }
        }
    }

    fn find_in_system(
        &self,
        name: &OsStr,
        object: &Object,
        directories: &[PathBuf],
    ) -> Result<Option<Found>, TreeError> {
        // Those for newer processors are looked for beside the plain one.
        let cached = self.cached.get(name).map(Vec::as_slice).unwrap_or_default();
        for path in cached
            .iter()
            .filter(|path| !path.iter().any(|part| part == "glibc-hwcaps"))
        {
            let Some(directory) = path.parent() else { continue };
            let via = if self.is_among(directory, directories)? {
                Via::Default
            } else {
                Via::Configuration
            };
            let directory = directory.to_owned();
            if let Some(found) = self.search([directory].iter(), name, object, via)? {
                return Ok(Some(found));
            }
        }
        if let Some(found) = self.search(directories.iter(), name, object, Via::Default)? {
            return Ok(Some(found));
        }
        // A cache that was not renewed after the library came.
        self.search(self.configured.iter(), name, object, Via::Configuration)
    }

    fn is_among(&self, directory: &Path, directories: &[PathBuf]) -> Result<bool, TreeError> {
        if directories.iter().any(|known| known == directory) {
            return Ok(true);
        }
        let real = self.stage.trail(directory)?.real;
        for known in directories {
            if self.stage.trail(known)?.real == real {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn search<'d>(
        &self,
        mut directories: impl Iterator<Item = &'d PathBuf>,
        name: &OsStr,
        object: &Object,
        via: Via,
    ) -> Result<Option<Found>, TreeError> {
        let abi = object.elf.abi;
        directories
            .find_map(|directory| {
                let found = self
                    .first(std::iter::once(directory.join(name)), abi, via)
                    .transpose()?;
                Some(found.and_then(|mut found| {
                    found.for_newer = self.for_newer(directory, name, abi)?;
                    Ok(found)
                }))
            })
            .transpose()
    }

    fn for_newer(&self, directory: &Path, name: &OsStr, abi: Abi) -> Result<Vec<PathBuf>, TreeError> {
        let mut found = Vec::new();
        let variants = directory.join("glibc-hwcaps");
        if self.stage.trail(&variants)?.node.is_none() {
            return Ok(found);
        }
        for entry in self.stage.entries(&variants)? {
            let path = variants.join(&entry.name).join(name);
            found.extend(
                self.first(std::iter::once(path), abi, Via::Object)?
                    .map(|found| found.path),
            );
        }
        Ok(found)
    }

    /// The first path at which there is a library for this machine; others are passed over, as loaders do.
    fn first(
        &self,
        paths: impl Iterator<Item = PathBuf>,
        abi: Abi,
        via: Via,
    ) -> Result<Option<Found>, TreeError> {
        for path in paths {
            let trail = match self.stage.trail(&path) {
                Err(TreeError::TooManyLinks { .. }) => continue,
                other => other?,
            };
            if !trail.is_file() {
                continue;
            }
            match self.stage.elf(&trail.real) {
                Ok(Some(elf)) if elf.abi == abi && elf.kind == Kind::Shared => {
                    return Ok(Some(Found {
                        path,
                        for_newer: Vec::new(),
                        via,
                    }));
                }
                Err(FactsError::Tree(error)) => return Err(error),
                Ok(_) | Err(FactsError::Malformed(_)) => {}
            }
        }
        Ok(None)
    }
}

/// The run paths that what `object` loads is looked for in after the object's own: nearest first, for
/// [`Object::inherited`].
pub fn handed_down(object: &Object, loader: &Loader) -> Vec<PathBuf> {
    let Some(dynamic) = &object.elf.dynamic else {
        return object.inherited.clone();
    };
    let own = match loader {
        // DT_RUNPATH is for the object alone.
        Loader::Glibc { .. } if !dynamic.runpath.is_empty() => Vec::new(),
        _ => run_paths(object, loader),
    };
    own.into_iter().chain(object.inherited.iter().cloned()).collect()
}

fn inherited<'o>(object: &'o Object, loader: &Loader) -> &'o [PathBuf] {
    let has_run_path = object
        .elf
        .dynamic
        .as_ref()
        .is_some_and(|dynamic| !dynamic.runpath.is_empty());
    match loader {
        // An object with DT_RUNPATH ignores every DT_RPATH.
        Loader::Glibc { .. } if has_run_path => &[],
        _ => &object.inherited,
    }
}

fn run_paths(object: &Object, loader: &Loader) -> Vec<PathBuf> {
    let Some(dynamic) = &object.elf.dynamic else {
        return Vec::new();
    };
    let own = if dynamic.runpath.is_empty() {
        &dynamic.rpath
    } else {
        &dynamic.runpath
    };
    own.iter()
        .take(MAX_RUN_PATHS)
        .flat_map(|path| expand(path, object, loader))
        .collect()
}

/// Replaces `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces. A path that is not absolute then depends on
/// the directory a process runs in and is left out.
fn expand(text: &OsStr, object: &Object, loader: &Loader) -> Option<PathBuf> {
    let origin = object.path.parent().unwrap_or(Path::new("/"));
    let lib = match loader {
        Loader::Glibc { directories } => directories
            .first()
            .and_then(|first| first.strip_prefix("/").ok())
            .unwrap_or(Path::new("lib")),
        Loader::Musl { .. } => Path::new("lib"),
    };
    let platform = machine::of(object.elf.abi).map_or("", |machine| machine.platform);
    let values: [(&[u8], &[u8]); 3] = [
        (b"ORIGIN", origin.as_os_str().as_bytes()),
        (b"LIB", lib.as_os_str().as_bytes()),
        (b"PLATFORM", platform.as_bytes()),
    ];
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let hit = (*first == b'$').then(|| variable(after, &values)).flatten();
        match hit {
            Some((value, left)) => {
                out.extend_from_slice(value);
                rest = left;
            }
            None => out.push(*first),
        }
    }
    out.starts_with(b"/").then(|| OsString::from_vec(out).into())
}

/// The value of the variable whose name `text` starts with, and what is behind the name.
fn variable<'v, 'x>(text: &'x [u8], values: &[(&[u8], &'v [u8])]) -> Option<(&'v [u8], &'x [u8])> {
    values.iter().find_map(|(name, value)| {
        if let Some(inside) = text.strip_prefix(b"{") {
            let left = inside.strip_prefix(*name)?.strip_prefix(b"}")?;
            return Some((*value, left));
        }
        let left = text.strip_prefix(*name)?;
        let goes_on = left
            .first()
            .is_some_and(|next| next.is_ascii_alphanumeric() || *next == b'_');
        (!goes_on).then_some((*value, left))
    })
}

fn is_musl(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(b"ld-musl-"))
}

/// The loader of a library that is made for musl, which calls its C library `libc.musl-ARCH.so.1`.
fn musl_of(elf: &ElfFile) -> Option<PathBuf> {
    let name = elf
        .needed()
        .iter()
        .find_map(|name| name.as_bytes().strip_prefix(b"libc.musl-"))?;
    Some(PathBuf::from(format!(
        "/lib/ld-musl-{}",
        String::from_utf8_lossy(name)
    )))
}

/// The list of directories in glibc's loader: strings that end in a slash, one behind the other.
fn built_in_directories(loader: &[u8]) -> Option<Vec<PathBuf>> {
    let is_directory = |text: &[u8]| {
        let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/_-.+".contains(byte);
        text.len() > 4
            && text.starts_with(b"/")
            && text.ends_with(b"/")
            && text.windows(3).any(|part| part == b"lib")
            && text.iter().all(safe)
    };
    let mut run: Vec<&[u8]> = Vec::new();
    for text in loader.split(|byte| *byte == 0) {
        if is_directory(text) {
            run.push(text);
        } else if run.len() >= 2 {
            break;
        } else {
            run.clear();
        }
    }
    let trimmed = |text: &&[u8]| PathBuf::from(OsStr::from_bytes(&text[..text.len() - 1]));
    (run.len() >= 2).then(|| run.iter().map(trimmed).collect())
}

/// Where Debian's and Fedora's loaders look, for trees without a loader.
fn usual_directories(abi: Abi) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    if let Some(machine) = machine::of(abi) {
        directories.push(format!("/lib/{}", machine.triplet));
        directories.push(format!("/usr/lib/{}", machine.triplet));
    }
    if abi.class == Class::Elf64 {
        directories.extend(["/lib64", "/usr/lib64"].map(str::to_owned));
    }
    directories.extend(["/lib", "/usr/lib"].map(str::to_owned));
    directories.into_iter().map(PathBuf::from).collect()
}
