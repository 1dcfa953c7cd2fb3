//! Programs and libraries: the loader, and the libraries one after the other.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::collect::{Collector, Need, Task};
use super::{ClosureError, Reason};
use crate::file::{Abi, Kind};
use crate::loader::{Found, Loader, Object, Via, handed_down};
use crate::{ElfFile, machine};

/// What one program (or one library that was named) loads.
pub(super) struct Loaded {
    pub(super) loader: Loader,
    /// Objects in the order in which they are loaded, the program first.
    pub(super) objects: Vec<(PathBuf, Arc<ElfFile>)>,
    /// Real path by every name under which an object is known.
    by_name: HashMap<OsString, PathBuf>,
}

impl Loaded {
    /// The object that goes by the name `name`.
    pub(super) fn object(&self, name: &OsStr) -> Option<(&PathBuf, &Arc<ElfFile>)> {
        let real = self.by_name.get(name)?;
        let object = self.objects.iter().find(|(path, _)| path == real)?;
        Some((&object.0, &object.1))
    }

    /// Whether an object other than those whose name starts with one of `but` imports one of `names`.
    pub(super) fn imports(&self, names: &[&str], but: &[&str]) -> bool {
        let counts = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !but.iter().any(|prefix| name.starts_with(prefix))
        };
        let objects = self.objects.iter().filter(|(path, _)| counts(path));
        objects
            .into_iter()
            .any(|(_, elf)| names.iter().any(|name| elf.imports(name)))
    }
}

impl Collector<'_, '_> {
    pub(super) fn examine_elf(&mut self, task: &Task, elf: Arc<ElfFile>) -> Result<(), ClosureError> {
        if elf.dynamic.is_none() && elf.interpreter.is_none()
            || !matches!(elf.kind, Kind::Executable | Kind::Shared)
        {
            return Ok(());
        }
        if let Some(path) = elf.interpreter.clone()
            && self.bring(Path::new(&path), &Reason::Loader)?.is_none()
        {
            self.lacks(task.need, &path, &task.real);
            return Ok(());
        }
        let loader = self.libraries.loader(&elf)?;
        let loaded = self.load(task, elf, loader)?;
        self.check_versions(task, &loaded);
        self.bring_data(task, &loaded)?;
        self.bring_dlopen(task, &loaded)
    }

    /// Loads the object and everything it needs, breadth first as loaders do.
    fn load(&mut self, task: &Task, elf: Arc<ElfFile>, loader: Loader) -> Result<Loaded, ClosureError> {
        let mut loaded = Loaded {
            loader,
            objects: Vec::new(),
            by_name: HashMap::new(),
        };
        let mut queue = VecDeque::from([Object {
            path: task.real.clone(),
            elf: Arc::clone(&elf),
            inherited: Vec::new(),
        }]);
        self.load_loader(&elf, &mut loaded)?;
        loaded.objects.push((task.real.clone(), elf));
        while let Some(object) = queue.pop_front() {
            for name in object.elf.needed().to_vec() {
                if !loaded.by_name.contains_key(&name)
                    && let Some(next) = self.load_one(task, &object, &name, &mut loaded)?
                {
                    queue.push_back(next);
                }
            }
        }
        Ok(loaded)
    }

    /// The loader of a program is there before anything else, under its own name: the C library needs it by that.
    fn load_loader(&mut self, program: &ElfFile, loaded: &mut Loaded) -> Result<(), ClosureError> {
        let Some(path) = &program.interpreter else {
            return Ok(());
        };
        let trail = self.stage.trail(Path::new(path))?;
        if trail.is_file()
            && let Ok(Some(elf)) = self.stage.elf(&trail.real)
            && let Some(soname) = elf.soname()
        {
            loaded.by_name.insert(soname.clone(), trail.real);
        }
        Ok(())
    }

    /// Brings the loader that a library needs by name, from where programs have it. False when it is not there, or
    /// `name` is something else.
    fn bring_usual_loader(&mut self, abi: Abi, name: &OsStr) -> Result<bool, ClosureError> {
        match machine::of(abi).map(|machine| Path::new(machine.loader)) {
            Some(path) if path.file_name() == Some(name) => Ok(self.bring(path, &Reason::Loader)?.is_some()),
            _ => Ok(false),
        }
    }

    /// Finds and brings one library; `None` when it is missing or was loaded under another name.
    fn load_one(
        &mut self,
        task: &Task,
        object: &Object,
        name: &OsStr,
        loaded: &mut Loaded,
    ) -> Result<Option<Object>, ClosureError> {
        let Some(found) = self.libraries.find(object, name, &loaded.loader)? else {
            if !self.is_at_home(task.home.as_ref(), name) && !self.bring_usual_loader(object.elf.abi, name)? {
                let needed_by = self.stage.trail(&object.path)?.real;
                self.lacks(task.need, name, &needed_by);
            }
            return Ok(None);
        };
        let Some(real) = self.bring_library(&found, &object.path)? else {
            self.lacks(task.need, name, &object.path);
            return Ok(None);
        };
        match found.via {
            Via::Configuration => self.make_findable(name, &real, &loaded.loader)?,
            Via::Default => self.note_search(&found.path, &real, &loaded.loader)?,
            Via::Object | Via::Loader => {}
        }
        loaded.by_name.insert(name.to_owned(), real.clone());
        if loaded.objects.iter().any(|(path, _)| *path == real) {
            return Ok(None);
        }
        // The search has looked into it already.
        let Ok(Some(elf)) = self.stage.elf(&real) else {
            return Ok(None);
        };
        if let Some(soname) = elf.soname() {
            loaded
                .by_name
                .entry(soname.clone())
                .or_insert_with(|| real.clone());
        }
        loaded.objects.push((real, Arc::clone(&elf)));
        Ok(Some(Object {
            path: found.path,
            elf,
            inherited: handed_down(object, &loaded.loader),
        }))
    }

    /// Brings a library with its builds for newer processors.
    pub(super) fn bring_library(
        &mut self,
        found: &Found,
        needed_by: &Path,
    ) -> Result<Option<PathBuf>, ClosureError> {
        let reason = match found.via {
            Via::Loader => Reason::Loader,
            _ => Reason::Library {
                needed_by: self.stage.trail(needed_by)?.real,
            },
        };
        for path in &found.for_newer {
            self.bring(path, &reason)?;
        }
        self.bring(&found.path, &reason)
    }

    /// Notes that the loader finds the library `real` without the link that leads to it through `path`, as in a
    /// merged /usr: `/lib/TRIPLET` is `/usr/lib/TRIPLET`, and both are searched.
    fn note_search(&mut self, path: &Path, real: &Path, loader: &Loader) -> Result<(), ClosureError> {
        let (Loader::Glibc { directories } | Loader::Musl { directories, .. }) = loader;
        let Some(name) = path.file_name() else {
            return Ok(());
        };
        for directory in directories {
            let is_real = self.stage.trail(directory)?.real == *directory;
            if is_real && self.stage.trail(&directory.join(name))?.real == real {
                self.out.searched.insert(path.to_owned());
                break;
            }
        }
        Ok(())
    }

    /// A link in the loader's own directory to a library that only the stage's configuration finds.
    fn make_findable(&mut self, name: &OsStr, real: &Path, loader: &Loader) -> Result<(), ClosureError> {
        let Loader::Glibc { directories } = loader else {
            return Ok(());
        };
        // The one below /usr, where all systems have one.
        let directory = directories
            .iter()
            .find(|path| path.starts_with("/usr"))
            .or(directories.first());
        if let Some(directory) = directory {
            let link = self.stage.trail(directory)?.real.join(name);
            self.out.added.insert(link, real.to_owned());
        }
        Ok(())
    }

    /// Brings a library that is loaded while the program runs, with what it needs; says whether it is there.
    pub(super) fn bring_plugin(
        &mut self,
        task: &Task,
        loaded: &Loaded,
        name: &str,
        need: Need,
    ) -> Result<bool, ClosureError> {
        let Some((program, elf)) = loaded.objects.first().cloned() else {
            return Ok(false);
        };
        let object = Object {
            path: program.clone(),
            elf,
            inherited: Vec::new(),
        };
        let Some(found) = self.libraries.find(&object, OsStr::new(name), &loaded.loader)? else {
            return Ok(false);
        };
        let Some(real) = self.bring_library(&found, &program)? else {
            return Ok(false);
        };
        if found.via == Via::Configuration {
            self.make_findable(OsStr::new(name), &real, &loaded.loader)?;
        }
        self.task(real, need, task.home.clone());
        Ok(true)
    }
}
