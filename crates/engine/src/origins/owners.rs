//! Debian packages that own files of a stage, from dpkg's lists in it.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use distil_audit::origin::CopiedPackage;
use distil_audit::{Licence, OsRelease};
use distil_debian::deb822::paragraphs;
use distil_rootfs::{Dir, MergedTree, Placed, Tree, TreeError};
use distil_store::LayerId;

const STATUS: &str = "/var/lib/dpkg/status";
const INFO: &str = "/var/lib/dpkg/info";
const STATUS_D: &str = "/var/lib/dpkg/status.d";
/// Largest file that is read of a database; the status of a desktop with 5,000 packages has some 6 MB.
const MAX_FILE: u64 = 64 << 20;
/// Bytes of all lists of a stage that are read; 5,000 packages have some 40 MB.
const MAX_TOTAL: usize = 256 << 20;
/// Directories that a merged /usr has links for: packages may list a file by either path.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// With more copied paths than this they are looked up instead of compared.
const FEW: usize = 8;

/// The lists of the stages of one build, each read once.
#[derive(Default)]
pub(crate) struct OwnerLists {
    read: Mutex<HashMap<Vec<LayerId>, Option<Arc<Owners>>>>,
}

impl OwnerLists {
    /// The lists of a stage; none where it has no packages. `system` is what it is known to be, whatever it says.
    pub(super) fn of(
        &self,
        layers: &[LayerId],
        tree: Arc<MergedTree>,
        system: Option<OsRelease>,
    ) -> Result<Option<Arc<Owners>>, TreeError> {
        let known = || self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(layers) {
            return Ok(found.clone());
        }
        let found = Owners::read(tree, system)?.map(Arc::new);
        known().insert(layers.to_vec(), found.clone());
        Ok(found)
    }
}

/// dpkg's lists of files in one stage.
pub(super) struct Owners {
    tree: Arc<MergedTree>,
    /// What the stage says it is.
    system: Option<OsRelease>,
    /// Top directories that are links to those of the same name in `/usr`.
    merged: Vec<&'static str>,
    /// The stage has dpkg's own database and not that of distroless images.
    is_database: bool,
    lists: Vec<List>,
}

/// The list of one package.
struct List {
    /// `NAME` or `NAME:ARCHITECTURE`.
    package: String,
    text: Vec<u8>,
}

impl Owners {
    /// Reads the lists. Those that are beyond [`MAX_TOTAL`] count as not there.
    pub(super) fn read(tree: Arc<MergedTree>, system: Option<OsRelease>) -> Result<Option<Self>, TreeError> {
        let is_database = tree.lookup(Path::new(STATUS))?.is_some();
        let (folder, ending) = match is_database {
            true => (INFO, ".list"),
            false => (STATUS_D, ".md5sums"),
        };
        let folder = match tree.open_dir(Path::new(folder)) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut lists: Vec<List> = Vec::new();
        let mut total = 0;
        for entry in folder.entries()? {
            let name = entry.name.to_str().and_then(|name| name.strip_suffix(ending));
            let Some(package) = name.filter(|_| entry.node.kind.is_file()) else {
                continue;
            };
            let text = read_file(folder.as_ref(), &entry.name)?;
            total += text.len();
            if total > MAX_TOTAL {
                break;
            }
            lists.push(List {
                package: package.to_owned(),
                text,
            });
        }
        let mut merged = Vec::new();
        for name in MERGED {
            let path = Path::new("/").join(name);
            if tree.resolve(&path)? == Path::new("/usr").join(name) {
                merged.push(name);
            }
        }
        let system = match system {
            Some(system) => Some(system),
            None => read_system(tree.as_ref())?,
        };
        Ok(Some(Self {
            tree,
            system,
            merged,
            is_database,
            lists,
        }))
    }

    /// The packages that own copied files, with the places that these went to. `brought` says whether a file is there.
    pub(super) fn owned(
        &self,
        placed: &[Placed],
        brought: impl Fn(&Path) -> bool,
    ) -> Result<Vec<(CopiedPackage, Vec<PathBuf>)>, TreeError> {
        let targets = Targets::new(placed);
        let mut found: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
        for list in &self.lists {
            let mut files = Vec::new();
            for line in list.text.split(|byte| *byte == b'\n') {
                if let Some(path) = self.path(line) {
                    targets.of(&path, &mut files);
                }
            }
            files.retain(|file| brought(file));
            if !files.is_empty() {
                found.insert(&list.package, files);
            }
        }
        let mut packages = self.packages(&found)?;
        let known = found.into_iter().filter_map(|(name, files)| {
            let package = packages.remove(name)?;
            let told = CopiedPackage {
                system: self.system.clone(),
                licence: self.licence(&package.name),
                ..package
            };
            Some((told, files))
        });
        Ok(known.collect())
    }

    /// What the copyright file of a package says. One that cannot be read tells nothing.
    fn licence(&self, package: &str) -> Option<String> {
        // A name from the record must not lead elsewhere.
        if package.contains('/') || package.starts_with('.') {
            return None;
        }
        let folder = Path::new("/usr/share/doc").join(package);
        // It may be a link to the folder of another package.
        let path = self.tree.resolve(&folder.join("copyright")).ok()?;
        let (folder, name) = (path.parent()?, path.file_name()?);
        let folder = self.tree.open_dir(folder).ok()?;
        let is_file = folder.lookup(name).ok()?.is_some_and(|node| node.kind.is_file());
        let text = is_file.then(|| read_file(folder.as_ref(), name).ok())??;
        Some(Licence::of_copyright(&String::from_utf8_lossy(&text))?.expression)
    }

    /// The real path that a line names, as far as merged directories change it.
    fn path(&self, line: &[u8]) -> Option<PathBuf> {
        let relative = match self.is_database {
            true => line.strip_prefix(b"/")?,
            // 32 digits and two blanks.
            false => line.get(34..)?,
        };
        let first = relative.split(|byte| *byte == b'/').next()?;
        let is_merged = self.merged.iter().any(|name| name.as_bytes() == first);
        let top = if is_merged { "/usr" } else { "/" };
        (!relative.is_empty()).then(|| Path::new(top).join(OsStr::from_bytes(relative)))
    }

    /// What is told of packages, by the names that their lists have.
    fn packages<'n>(
        &self,
        wanted: &BTreeMap<&'n str, Vec<PathBuf>>,
    ) -> Result<HashMap<&'n str, CopiedPackage>, TreeError> {
        let mut known = HashMap::new();
        if wanted.is_empty() {
            return Ok(known);
        }
        if !self.is_database {
            let folder = self.tree.open_dir(Path::new(STATUS_D))?;
            for name in wanted.keys() {
                let text = read_file(folder.as_ref(), OsStr::new(name))?;
                let text = String::from_utf8_lossy(&text);
                let package = paragraphs(&text)
                    .next()
                    .and_then(|paragraph| CopiedPackage::of(&paragraph));
                known.extend(package.map(|package| (*name, package)));
            }
            return Ok(known);
        }
        let folder = self.tree.open_dir(Path::new("/var/lib/dpkg"))?;
        let text = read_file(folder.as_ref(), OsStr::new("status"))?;
        let text = String::from_utf8_lossy(&text);
        for paragraph in paragraphs(&text) {
            let name = paragraph.get("Package").unwrap_or_default();
            let qualified = format!("{name}:{}", paragraph.get("Architecture").unwrap_or_default());
            let wanted = wanted.keys().find(|key| **key == name || **key == qualified);
            if let (Some(key), Some(package)) = (wanted, CopiedPackage::of(&paragraph)) {
                known.insert(*key, package);
            }
        }
        Ok(known)
    }
}

/// Copied paths, to find what lies at or below them.
struct Targets<'p> {
    placed: &'p [Placed],
    /// By source, when there are many.
    by_source: HashMap<&'p Path, Vec<&'p Placed>>,
}

impl<'p> Targets<'p> {
    fn new(placed: &'p [Placed]) -> Self {
        let mut by_source: HashMap<&Path, Vec<&Placed>> = HashMap::new();
        if placed.len() > FEW {
            for one in placed {
                by_source.entry(&one.source).or_default().push(one);
            }
        }
        Self { placed, by_source }
    }

    /// Adds the places that `path` of the stage went to.
    fn of(&self, path: &Path, files: &mut Vec<PathBuf>) {
        if self.by_source.is_empty() {
            files.extend(
                self.placed
                    .iter()
                    .filter_map(|placed| super::copies::moved(path, placed)),
            );
            return;
        }
        for above in path.ancestors() {
            let placed = self.by_source.get(above).into_iter().flatten();
            files.extend(placed.filter_map(|placed| super::copies::moved(path, placed)));
        }
    }
}

/// `os-release` of a stage.
fn read_system(tree: &MergedTree) -> Result<Option<OsRelease>, TreeError> {
    for folder in ["/etc", "/usr/lib"] {
        // It may be a link to the other.
        let real = tree.resolve(&Path::new(folder).join("os-release"))?;
        let (Some(folder), Some(name)) = (real.parent(), real.file_name()) else {
            continue;
        };
        if tree.lookup(&real)?.is_some_and(|node| node.kind.is_file()) {
            let text = read_file(tree.open_dir(folder)?.as_ref(), name)?;
            return Ok(Some(OsRelease::parse(&String::from_utf8_lossy(&text))));
        }
    }
    Ok(None)
}

/// A file of a database; what is larger than any of these counts as empty.
fn read_file(folder: &dyn Dir, name: &OsStr) -> Result<Vec<u8>, TreeError> {
    let mut bytes = Vec::new();
    let failed = |source| TreeError::Io {
        action: "read",
        path: folder.path().join(name),
        source,
    };
    let file = match folder.open_file(name) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(bytes),
        Err(error) => return Err(error),
    };
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
