//! What ELF files of an image lack to be loaded: loaders, libraries, versions of symbols.
//!
//! The search is that of [`distil_elf::Libraries`], with the directories of `LD_LIBRARY_PATH` before it, which a
//! container gets from the image config.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_elf::{ElfFile, FactsError, Libraries, Loader, Object, Stage, handed_down, machine};
use distil_rootfs::TreeError;

/// Objects that one program loads; the largest have some hundred.
const MAX_OBJECTS: usize = 4096;

/// Something without which an ELF file is not loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// The loader that a program names (`PT_INTERP`) is not in the image.
    Loader {
        /// Where it would have to be.
        loader: PathBuf,
        /// Real path of the program.
        needed_by: PathBuf,
    },
    /// No directory that the loader searches has a library for this machine.
    Library {
        /// The library as it is named.
        name: OsString,
        /// Real path of the first file that needs it.
        needed_by: PathBuf,
    },
    /// A library is there, but lacks a version of its symbols: it is older than the one at build time.
    Version {
        /// For example `GLIBC_2.38`.
        version: String,
        /// Real path of the library.
        library: PathBuf,
        /// Real path of the file that needs it.
        needed_by: PathBuf,
        /// The newest version of that family which the library has, such as `GLIBC_2.36`.
        newest: Option<String>,
    },
}

impl Lack {
    /// Real path of the file that needs it.
    #[must_use]
    pub fn needed_by(&self) -> &Path {
        match self {
            Self::Loader { needed_by, .. }
            | Self::Library { needed_by, .. }
            | Self::Version { needed_by, .. } => needed_by,
        }
    }
}

/// An ELF file with everything that is loaded for it.
#[derive(Debug, Default)]
pub struct Linked {
    /// Real path and facts of each object, the file itself first.
    pub objects: Vec<(PathBuf, Arc<ElfFile>)>,
    /// What is missing, in the order of loading.
    pub lacks: Vec<Lack>,
    /// Real path by every name under which an object is known.
    by_name: HashMap<OsString, PathBuf>,
}

impl Linked {
    /// The object that goes by the name `name`.
    #[must_use]
    pub fn object(&self, name: &OsStr) -> Option<(&Path, &ElfFile)> {
        let real = self.by_name.get(name)?;
        let object = self.objects.iter().find(|(path, _)| path == real)?;
        Some((&object.0, &object.1))
    }

    fn add(&mut self, name: &OsStr, real: &Path, elf: &Arc<ElfFile>) -> bool {
        self.by_name.insert(name.to_owned(), real.to_owned());
        if self.objects.iter().any(|(path, _)| path == real) {
            return false;
        }
        if let Some(soname) = elf.soname() {
            let known = self.by_name.entry(soname.clone());
            known.or_insert_with(|| real.to_owned());
        }
        self.objects.push((real.to_owned(), Arc::clone(elf)));
        true
    }
}

/// How far libraries of libraries are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What the file itself names. Enough where every library of the image is looked at anyway.
    Own,
    /// Everything that the loader would load.
    All,
}

/// Looks up what ELF files of one tree load. Nothing is run.
pub struct Linkage<'s, 't> {
    stage: &'s Stage<'t>,
    libraries: Libraries<'s, 't>,
    library_path: Vec<PathBuf>,
}

impl<'s, 't> Linkage<'s, 't> {
    /// Reads the loader's configuration of the tree. `environment` is that of the image config (`KEY=value`), of
    /// which `LD_LIBRARY_PATH` counts.
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn new(stage: &'s Stage<'t>, environment: &[String]) -> Result<Self, TreeError> {
        let path = environment
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("LD_LIBRARY_PATH="));
        let directories = path.unwrap_or_default().split([':', ';']);
        Ok(Self {
            stage,
            libraries: Libraries::new(stage)?,
            // Others depend on the directory that the process is in.
            library_path: directories
                .filter(|directory| directory.starts_with('/'))
                .map(PathBuf::from)
                .collect(),
        })
    }

    /// The ELF file at the real path `path`, linked as its loader would; `None` when it is none, is damaged, or is
    /// not for a loader (object files, static programs).
    ///
    /// # Errors
    /// When the tree cannot be read.
    pub fn link(&mut self, path: &Path, depth: Depth) -> Result<Option<Linked>, TreeError> {
        let Some(elf) = self.facts(path)? else {
            return Ok(None);
        };
        if elf.dynamic.is_none() && elf.interpreter.is_none() {
            return Ok(None);
        }
        let mut linked = Linked::default();
        if let Some(interpreter) = &elf.interpreter
            && !self.load_loader(Path::new(interpreter), &mut linked)?
        {
            linked.lacks.push(Lack::Loader {
                loader: PathBuf::from(interpreter),
                needed_by: path.to_owned(),
            });
            linked.objects.push((path.to_owned(), elf));
            return Ok(Some(linked));
        }
        let loader = self.libraries.loader(&elf)?;
        self.load(path, elf, &loader, depth, &mut linked)?;
        if matches!(loader, Loader::Glibc { .. }) {
            versions(&mut linked, depth);
        }
        Ok(Some(linked))
    }

    /// Facts of an ELF file; `None` for everything else.
    fn facts(&self, real: &Path) -> Result<Option<Arc<ElfFile>>, TreeError> {
        match self.stage.elf(real) {
            Ok(found) => Ok(found),
            Err(FactsError::Tree(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// The C library needs the loader by its own name, under which it is there before anything else.
    fn load_loader(&self, path: &Path, linked: &mut Linked) -> Result<bool, TreeError> {
        let Some(real) = self.file(path)? else {
            return Ok(false);
        };
        if let Some(elf) = self.facts(&real)?
            && let Some(soname) = elf.soname()
        {
            linked.by_name.insert(soname.clone(), real);
        }
        Ok(true)
    }

    /// The real path of a regular file; `None` where there is none.
    fn file(&self, path: &Path) -> Result<Option<PathBuf>, TreeError> {
        match self.stage.trail(path) {
            Err(TreeError::TooManyLinks { .. }) => Ok(None),
            other => other.map(|trail| trail.is_file().then_some(trail.real)),
        }
    }

    /// Breadth first, as loaders do.
    fn load(
        &mut self,
        path: &Path,
        elf: Arc<ElfFile>,
        loader: &Loader,
        depth: Depth,
        linked: &mut Linked,
    ) -> Result<(), TreeError> {
        linked.objects.push((path.to_owned(), Arc::clone(&elf)));
        let mut queue = VecDeque::from([Object {
            path: path.to_owned(),
            elf,
            inherited: Vec::new(),
        }]);
        while let Some(object) = queue.pop_front() {
            for name in object.elf.needed() {
                if linked.by_name.contains_key(name) || linked.objects.len() > MAX_OBJECTS {
                    continue;
                }
                if let Some(next) = self.load_one(&object, name, loader, linked)?
                    && depth == Depth::All
                {
                    queue.push_back(next);
                }
            }
        }
        Ok(())
    }

    /// Finds one library; `None` when it is missing or was loaded under another name.
    fn load_one(
        &mut self,
        object: &Object,
        name: &OsStr,
        loader: &Loader,
        linked: &mut Linked,
    ) -> Result<Option<Object>, TreeError> {
        let Some(path) = self.find(object, name, loader)? else {
            linked.lacks.push(Lack::Library {
                name: name.to_owned(),
                needed_by: self.stage.trail(&object.path)?.real,
            });
            // Told once for all that need it.
            linked.by_name.insert(name.to_owned(), PathBuf::new());
            return Ok(None);
        };
        let real = self.stage.trail(&path)?.real;
        let Some(elf) = self.facts(&real)? else {
            return Ok(None);
        };
        let is_new = linked.add(name, &real, &elf);
        Ok(is_new.then(|| Object {
            path,
            elf,
            inherited: handed_down(object, loader),
        }))
    }

    fn find(&self, object: &Object, name: &OsStr, loader: &Loader) -> Result<Option<PathBuf>, TreeError> {
        let has_rpath = object
            .elf
            .dynamic
            .as_ref()
            .is_some_and(|dynamic| dynamic.runpath.is_empty() && !dynamic.rpath.is_empty());
        if !has_rpath && let Some(path) = self.find_in_library_path(object, name)? {
            return Ok(Some(path));
        }
        if let Some(found) = self.libraries.find(object, name, loader)? {
            return Ok(Some(found.path));
        }
        if has_rpath && let Some(path) = self.find_in_library_path(object, name)? {
            return Ok(Some(path));
        }
        // A library that needs the loader by name has it from the program.
        let usual = machine::of(object.elf.abi).map(|machine| Path::new(machine.loader));
        Ok(match usual.filter(|path| path.file_name() == Some(name)) {
            Some(path) => self.file(path)?,
            None => None,
        })
    }

    fn find_in_library_path(&self, object: &Object, name: &OsStr) -> Result<Option<PathBuf>, TreeError> {
        if name.as_bytes().contains(&b'/') {
            return Ok(None);
        }
        for directory in &self.library_path {
            let path = directory.join(name);
            if let Some(real) = self.file(&path)?
                && self.facts(&real)?.is_some_and(|elf| elf.abi == object.elf.abi)
            {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}

/// Compares as glibc does when it loads: a library without any version table is trusted.
fn versions(linked: &mut Linked, depth: Depth) {
    let mut lacks = Vec::new();
    let users = match depth {
        Depth::Own => 1,
        Depth::All => linked.objects.len(),
    };
    for (path, elf) in &linked.objects[..users] {
        for need in elf.dynamic.iter().flat_map(|dynamic| &dynamic.versions_needed) {
            let Some((library, facts)) = linked.object(&need.library) else {
                continue;
            };
            let defined = facts
                .dynamic
                .as_ref()
                .map_or(&[][..], |dynamic| &dynamic.versions_defined);
            let absent = need.versions.iter().filter(|version| !defined.contains(version));
            lacks.extend(
                absent
                    .filter(|_| !defined.is_empty())
                    .map(|version| Lack::Version {
                        version: version.clone(),
                        library: library.to_owned(),
                        needed_by: path.clone(),
                        newest: newest(defined, version),
                    }),
            );
        }
    }
    linked.lacks.extend(lacks);
}

/// The newest of `defined` that has the family of `version`: what stands before the underscore.
fn newest(defined: &[String], version: &str) -> Option<String> {
    let family = family(version)?;
    let same = defined
        .iter()
        .filter_map(|one| Some((numbers(one, family)?, one)));
    same.max().map(|(_, one)| one.clone())
}

/// `GLIBC` of `GLIBC_2.38`.
pub(crate) fn family(version: &str) -> Option<&str> {
    let (family, number) = version.rsplit_once('_')?;
    number
        .starts_with(|first: char| first.is_ascii_digit())
        .then_some(family)
}

/// `[2, 38]` of `GLIBC_2.38` in the family `GLIBC`.
pub(crate) fn numbers(version: &str, family: &str) -> Option<Vec<u32>> {
    let number = version.strip_prefix(family)?.strip_prefix('_')?;
    number.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use distil_rootfs::DirTree;

    use super::*;
    use crate::preflight::testing::{Build, library, program};

    fn lacks(files: &[(&str, Build)], environment: &[&str], depth: Depth) -> Vec<Lack> {
        let dir = tempfile::tempdir().unwrap();
        for (path, build) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, build.bytes()).unwrap();
        }
        let tree = DirTree::open(dir.path()).unwrap();
        let stage = Stage::new(&tree);
        let environment: Vec<String> = environment.iter().map(|&entry| entry.to_owned()).collect();
        let mut linkage = Linkage::new(&stage, &environment).unwrap();
        linkage.link(Path::new("/app"), depth).unwrap().unwrap().lacks
    }

    fn missing(name: &str, needed_by: &str) -> Lack {
        Lack::Library {
            name: name.into(),
            needed_by: needed_by.into(),
        }
    }

    const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

    #[test]
    fn a_loader_that_is_missing_is_all_that_is_told() {
        let lack = Lack::Loader {
            loader: "/lib64/ld-linux-x86-64.so.2".into(),
            needed_by: "/app".into(),
        };
        assert_eq!(
            lacks(&[("app", program(&["libc.so.6"]))], &[], Depth::All),
            [lack]
        );
    }

    #[test]
    fn libraries_of_libraries_are_followed_where_asked() {
        let files = [
            ("app", program(&["liba.so.1", "libgone.so.2"])),
            (LOADER, library("ld-linux-x86-64.so.2", &[])),
            (
                "usr/lib/liba.so.1",
                library("liba.so.1", &["libb.so.1", "ld-linux-x86-64.so.2"]),
            ),
        ];
        let own = missing("libgone.so.2", "/app");
        assert_eq!(lacks(&files, &[], Depth::Own), std::slice::from_ref(&own));
        let all = [own, missing("libb.so.1", "/usr/lib/liba.so.1")];
        assert_eq!(lacks(&files, &[], Depth::All), all);
    }

    #[test]
    fn the_library_path_of_the_config_counts() {
        let files = [
            ("app", program(&["liba.so.1"])),
            (LOADER, library("ld-linux-x86-64.so.2", &[])),
            ("opt/x/liba.so.1", library("liba.so.1", &[])),
        ];
        assert_eq!(lacks(&files, &["LD_LIBRARY_PATH=/opt/x"], Depth::All), []);
        assert_eq!(lacks(&files, &[], Depth::All), [missing("liba.so.1", "/app")]);
    }

    #[test]
    fn versions_name_what_there_is() {
        let app = Build {
            versions_needed: vec![
                ("libc.so.6", "GLIBC_2.38", false),
                ("libc.so.6", "GLIBC_2.34", false),
            ],
            ..program(&["libc.so.6"])
        };
        let libc = Build {
            versions_defined: vec!["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.36", "GLIBC_PRIVATE"],
            ..library("libc.so.6", &[])
        };
        let files = [
            ("app", app),
            (LOADER, library("ld-linux-x86-64.so.2", &[])),
            ("lib/x86_64-linux-gnu/libc.so.6", libc),
        ];
        let lack = Lack::Version {
            version: "GLIBC_2.38".to_owned(),
            library: "/lib/x86_64-linux-gnu/libc.so.6".into(),
            needed_by: "/app".into(),
            newest: Some("GLIBC_2.36".to_owned()),
        };
        assert_eq!(lacks(&files, &[], Depth::All), [lack]);
    }
}
