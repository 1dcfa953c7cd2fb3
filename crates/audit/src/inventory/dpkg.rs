//! dpkg's records: `var/lib/dpkg/status` of a full system, `var/lib/dpkg/status.d/*` of images that were
//! assembled without dpkg, and the lists of files beside each.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_debian::deb822::{Paragraph, paragraphs};

use super::{Ecosystem, OwnedFile, Package, SourcePackage, purl};
use crate::view::RealPaths;
use crate::{AuditError, Entry, ImageView, OsRelease};

const DATABASE: &str = "/var/lib/dpkg";
/// Largest record that is read. The status file of a desktop with 5,000 packages has some 6 MB.
const LIMIT: u64 = 256 * 1024 * 1024;

/// The packages with what each owns; `system` is that of the image.
pub(super) fn read(
    view: &ImageView,
    system: Option<&OsRelease>,
) -> Result<Vec<(Package, Vec<OwnedFile>)>, AuditError> {
    let Some(database) = view.resolve(Path::new(DATABASE), true) else {
        return Ok(Vec::new());
    };
    let mut reader = Reader {
        view,
        system,
        real: view.real_paths(),
        found: BTreeMap::new(),
    };
    let status = database.join("status");
    if let Some(entry) = file(view, &status) {
        let text = text(view, entry)?;
        for paragraph in paragraphs(&text).filter(is_installed) {
            reader.add(&paragraph, &entry.path, &database.join("info"))?;
        }
    }
    let folder = database.join("status.d");
    let records: Vec<&Entry> = view.children(&folder).collect();
    for entry in records {
        let is_list = entry.path.extension().is_some_and(|name| name == "md5sums");
        if is_list || !entry.node.kind.is_file() {
            continue;
        }
        let text = text(view, entry)?;
        for paragraph in paragraphs(&text).filter(is_installed) {
            reader.add(&paragraph, &entry.path, &folder)?;
        }
    }
    Ok(reader.found.into_values().collect())
}

/// Whether a paragraph is about a package whose files are here. One without a status is: `status.d` has none.
fn is_installed(paragraph: &Paragraph<'_>) -> bool {
    let state = paragraph
        .get("Status")
        .map(|text| text.split_ascii_whitespace().last());
    !matches!(state.flatten(), Some("not-installed" | "config-files"))
}

/// A regular file, links followed.
fn file<'v>(view: &'v ImageView, path: &Path) -> Option<&'v Entry> {
    view.find(path, true).filter(|entry| entry.node.kind.is_file())
}

fn text(view: &ImageView, entry: &Entry) -> Result<String, AuditError> {
    Ok(String::from_utf8_lossy(&view.read(entry, LIMIT)?).into_owned())
}

struct Reader<'v> {
    view: &'v ImageView,
    system: Option<&'v OsRelease>,
    real: RealPaths<'v>,
    /// By name and architecture: `status` and `status.d` may both have a package.
    found: BTreeMap<(String, String), (Package, Vec<OwnedFile>)>,
}

impl Reader<'_> {
    /// Adds the package of a paragraph; its lists of files are in `lists`.
    fn add(&mut self, paragraph: &Paragraph<'_>, record: &Path, lists: &Path) -> Result<(), AuditError> {
        let Some(mut package) = package(paragraph, record) else {
            return Ok(());
        };
        package.purl = purl::of_deb(&package, self.system);
        let mut files: BTreeMap<PathBuf, Option<String>> = BTreeMap::new();
        let qualified = format!("{}:{}", package.name, package.architecture);
        for name in [&qualified, &package.name] {
            // A name from the record must not lead elsewhere.
            if name.contains('/') {
                continue;
            }
            self.listed(&lists.join(format!("{name}.list")), &mut files)?;
            self.sums(&lists.join(format!("{name}.md5sums")), &mut files)?;
            if !files.is_empty() {
                break;
            }
        }
        self.conffiles(paragraph, &mut files);
        let files = files.into_iter().map(|(path, md5)| OwnedFile { path, md5 });
        let key = (package.name.clone(), package.architecture.clone());
        self.found
            .entry(key)
            .or_insert_with(|| (package, files.collect()));
        Ok(())
    }

    /// `NAME.list`: a path a line, directories too.
    fn listed(
        &mut self,
        list: &Path,
        files: &mut BTreeMap<PathBuf, Option<String>>,
    ) -> Result<(), AuditError> {
        let Some(entry) = file(self.view, list) else {
            return Ok(());
        };
        let bytes = self.view.read(entry, LIMIT)?;
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| line.len() > 1) {
            let Some(path) = self.real.of(Path::new(OsStr::from_bytes(line))) else {
                continue;
            };
            let is_dir = self.view.get(&path).is_some_and(|entry| entry.node.kind.is_dir());
            // A directory that became a link belongs to the package that ships the link.
            if !is_dir {
                files.entry(path).or_default();
            }
        }
        Ok(())
    }

    /// `NAME.md5sums`: 32 hex digits, two blanks, a path without leading `/`.
    fn sums(&mut self, list: &Path, files: &mut BTreeMap<PathBuf, Option<String>>) -> Result<(), AuditError> {
        let Some(entry) = file(self.view, list) else {
            return Ok(());
        };
        let bytes = self.view.read(entry, LIMIT)?;
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some((sum, path)) = line.split_at_checked(32) else {
                continue;
            };
            let Some(path) = path.strip_prefix(b"  ").or(path.strip_prefix(b" *")) else {
                continue;
            };
            let sum = match std::str::from_utf8(sum) {
                Ok(sum) if sum.bytes().all(|byte| byte.is_ascii_hexdigit()) => sum.to_ascii_lowercase(),
                _ => continue,
            };
            if let Some(path) = self.real.of(&Path::new("/").join(OsStr::from_bytes(path))) {
                files.insert(path, Some(sum));
            }
        }
        Ok(())
    }

    /// The field `Conffiles`: path and MD5 a line; `md5sums` leaves these files out.
    fn conffiles(&mut self, paragraph: &Paragraph<'_>, files: &mut BTreeMap<PathBuf, Option<String>>) {
        for line in paragraph.get("Conffiles").unwrap_or_default().lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some(path), Some(sum)) = (words.next(), words.next()) else {
                continue;
            };
            let kept = !words.any(|word| word == "obsolete" || word == "remove-on-upgrade");
            if let Some(path) = self.real.of(Path::new(path)).filter(|_| kept) {
                files.insert(path, Some(sum.to_owned()));
            }
        }
    }
}

fn package(paragraph: &Paragraph<'_>, record: &Path) -> Option<Package> {
    let field = |name: &str| paragraph.get(name).unwrap_or_default().to_owned();
    let (name, version) = (field("Package"), field("Version"));
    if name.is_empty() || version.is_empty() {
        return None;
    }
    let kibibytes: Option<u64> = paragraph.get("Installed-Size").and_then(|size| size.parse().ok());
    Some(Package {
        ecosystem: Ecosystem::Deb,
        source: source(paragraph.get("Source"), &name, &version),
        architecture: field("Architecture"),
        maintainer: field("Maintainer"),
        installed_size: kibibytes.and_then(|size| size.checked_mul(1024)),
        purl: String::new(),
        licence: None,
        go_sum: None,
        record: record.to_owned(),
        member: None,
        name,
        version,
    })
}

/// `Source: NAME` or `NAME (VERSION)`; the binary package's own where it says nothing.
pub(crate) fn source(field: Option<&str>, name: &str, version: &str) -> SourcePackage {
    let field = field.unwrap_or(name);
    let (source, inner) = field.split_once('(').unwrap_or((field, version));
    SourcePackage {
        name: source.trim().to_owned(),
        version: inner.trim_end().trim_end_matches(')').trim().to_owned(),
    }
}
