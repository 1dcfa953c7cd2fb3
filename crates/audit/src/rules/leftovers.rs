//! What building and installing leave behind. One finding for a directory or kind of file, with its bytes.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::catalog::{LEFTOVER, PACKAGE_MANAGER_DATA, Rule};
use super::{Image, file_name, quoted};
use crate::{Entry, Finding, ImageView};

/// Directories whose contents no program reads.
const LEFT: [&str; 9] = [
    "/var/lib/dpkg/info",
    "/var/cache",
    "/var/log",
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/bug",
    "/usr/share/locale",
];
/// Directories of package managers.
const MANAGERS: [&str; 11] = [
    "/var/lib/apt",
    "/var/cache/apt",
    "/etc/apt",
    "/lib/apk",
    "/usr/lib/apk",
    "/etc/apk",
    "/var/cache/apk",
    "/var/lib/rpm",
    "/var/cache/dnf",
    "/var/cache/yum",
    "/usr/share/python-wheels",
];

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) {
    let mut sums: BTreeMap<(Kind, PathBuf), Sum<'_>> = BTreeMap::new();
    for entry in image.view.entries() {
        if let Some(key) = key(image.view, entry) {
            sums.entry(key).or_default().add(entry);
        }
    }
    // The same files in many places, such as compiled modules, are one finding each.
    let mut kinds: BTreeMap<Kind, Vec<(PathBuf, Sum<'_>)>> = BTreeMap::new();
    for ((kind, path), sum) in sums {
        kinds.entry(kind).or_default().push((path, sum));
    }
    for (kind, mut all) in kinds {
        if kind.is_scattered() && all.len() > 1 {
            let mut whole = Sum::default();
            let paths: Vec<PathBuf> = all.iter().map(|(path, _)| path.clone()).collect();
            all.into_iter().for_each(|(_, sum)| whole.merge(sum));
            all = vec![(common(&paths), whole)];
        }
        for (path, sum) in all {
            report(image, kind, path, &sum, found);
        }
    }
}

/// What is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// The contents of a directory.
    Directory,
    /// The contents of a package manager's directory.
    Manager,
    /// dpkg's list of packages, in an image without dpkg.
    Status,
    /// Python's compiled modules.
    Compiled,
    /// Libraries for linking, and libtool's descriptions of them.
    Static,
    /// Headers of C.
    Headers,
}

impl Kind {
    fn is_scattered(self) -> bool {
        matches!(self, Self::Compiled | Self::Static | Self::Headers)
    }

    fn rule(self) -> &'static Rule {
        match self {
            Self::Manager => PACKAGE_MANAGER_DATA,
            _ => LEFTOVER,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Directory => "no program needs what is in it",
            Self::Manager => "data of a package manager",
            Self::Status => "dpkg's own list of packages",
            Self::Compiled => "compiled Python modules, which Python makes again",
            Self::Static => "libraries that only a linker reads",
            Self::Headers => "headers that only a compiler reads",
        }
    }
}

/// What an entry counts for: the kind, and the directory or file that the finding is about.
fn key(view: &ImageView, entry: &Entry) -> Option<(Kind, PathBuf)> {
    if entry.node.kind.is_dir() {
        return None;
    }
    let (path, name) = (entry.path.as_path(), file_name(entry));
    let under = |places: &[&str]| {
        places
            .iter()
            .find(|place| path.starts_with(place))
            .map(PathBuf::from)
    };
    if let Some(place) = under(&MANAGERS).or_else(|| bundled_wheels(path)) {
        return Some((Kind::Manager, place));
    }
    if let Some(place) = under(&LEFT) {
        // Licences have to stay, also where one is a link to another package's.
        let licence =
            place == Path::new("/usr/share/doc") && (name == b"copyright" || entry.target.is_some());
        return (!licence).then_some((Kind::Directory, place));
    }
    if path == Path::new("/var/lib/dpkg/status") && entry.size() > 0 {
        let dpkg = view.find(Path::new("/usr/bin/dpkg"), true).is_some();
        return (!dpkg).then(|| (Kind::Status, path.to_owned()));
    }
    let ancestor = |wanted: &str| {
        let above = path.ancestors().skip(1);
        let named = above.filter(|above| above.file_name().is_some_and(|name| name == wanted));
        named.last().map(Path::to_owned)
    };
    if let Some(place) = ancestor("__pycache__") {
        return Some((Kind::Compiled, place));
    }
    if name.ends_with(b".la") || name.ends_with(b".a") && entry.node.kind.is_file() {
        return Some((Kind::Static, path.to_owned()));
    }
    let place = ancestor("include").filter(|_| name.ends_with(b".h") || name.ends_with(b".hpp"))?;
    Some((Kind::Headers, place))
}

/// `ensurepip/_bundled` of a Python.
fn bundled_wheels(path: &Path) -> Option<PathBuf> {
    let parent = path
        .parent()
        .filter(|parent| parent.ends_with("ensurepip/_bundled"))?;
    let wheel = path.extension().is_some_and(|end| end == "whl");
    wheel.then(|| parent.to_owned())
}

/// Files that count together.
#[derive(Debug, Default)]
struct Sum<'v> {
    files: u64,
    bytes: u64,
    first: Option<&'v Entry>,
    /// Bytes and files by layer.
    layers: BTreeMap<usize, (u64, u64)>,
}

impl<'v> Sum<'v> {
    fn add(&mut self, entry: &'v Entry) {
        self.files += 1;
        self.bytes += entry.size();
        self.first.get_or_insert(entry);
        let layer = self.layers.entry(entry.layer).or_default();
        *layer = (layer.0 + entry.size(), layer.1 + 1);
    }

    fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.first = self.first.or(other.first);
        for (at, (bytes, files)) in other.layers {
            let layer = self.layers.entry(at).or_default();
            *layer = (layer.0 + bytes, layer.1 + files);
        }
    }

    /// The layer that has most of it.
    fn layer(&self) -> Option<usize> {
        let most = self
            .layers
            .iter()
            .max_by_key(|(at, sum)| (**sum, std::cmp::Reverse(**at)));
        most.map(|(at, _)| *at)
    }
}

fn report(image: &Image<'_>, kind: Kind, path: PathBuf, sum: &Sum<'_>, found: &mut Vec<Finding>) {
    let files = match sum.files {
        1 => "1 file".to_owned(),
        count => format!("{count} files"),
    };
    let message = format!(
        "{}: {} ({files}, {} bytes)",
        quoted(&path),
        kind.text(),
        sum.bytes
    );
    let mut finding = kind.rule().about(message);
    finding.path = Some(path);
    finding.layer = sum.layer();
    finding.instruction = finding.layer.and_then(|layer| image.instruction(layer));
    found.push(finding);
}

/// The directory that several paths are in.
fn common(paths: &[PathBuf]) -> PathBuf {
    let Some((first, rest)) = paths.split_first() else {
        return PathBuf::from("/");
    };
    let all = first.ancestors();
    let shared = all.filter(|above| rest.iter().all(|path| path.starts_with(above)));
    let found = shared.max_by_key(|above| above.as_os_str().as_bytes().len());
    found.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}
