//! Debian packages that the files of a closure belong to, in the form that scanners read in images without a package
//! manager: `var/lib/dpkg/status.d/PACKAGE` and `PACKAGE.md5sums`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_elf::{Closure, Stage};
use distil_rootfs::TreeError;

use super::place::leads_to_directory;

const STATUS: &str = "/var/lib/dpkg/status";
const INFO: &str = "/var/lib/dpkg/info";
const STATUS_D: &str = "/var/lib/dpkg/status.d";
const MAX_STATUS: usize = 64 << 20;
const MAX_LIST: usize = 16 << 20;
/// Directories that a merged /usr has links for: packages may list a file by either path.
pub(super) const MERGED: [&str; 5] = ["bin", "sbin", "lib", "lib32", "lib64"];

/// Absolute paths.
type Members = BTreeSet<Vec<u8>>;

/// What is told of one package.
pub(super) struct PackageEntry {
    /// Its name, without an architecture.
    pub(super) name: String,
    /// The paragraph, as in the package itself.
    pub(super) control: Vec<u8>,
    /// The lines of the brought files.
    pub(super) md5sums: Vec<u8>,
}

/// The packages that members of the closure belong to, by name. None where the stage has neither form of dpkg's
/// database.
pub(super) fn of(stage: &Stage<'_>, closure: &Closure) -> Result<Vec<PackageEntry>, TreeError> {
    let members = member_paths(stage, closure)?;
    match stage.read(Path::new(STATUS), MAX_STATUS)? {
        Some(status) => of_database(stage, &paragraphs(&status), &members),
        None => of_status_d(stage, &members),
    }
}

fn of_database(
    stage: &Stage<'_>,
    paragraphs: &BTreeMap<String, Vec<u8>>,
    members: &Members,
) -> Result<Vec<PackageEntry>, TreeError> {
    let mut found = BTreeMap::new();
    for entry in stage.entries(Path::new(INFO))? {
        let Some(stem) = entry.name.as_bytes().strip_suffix(b".list") else {
            continue;
        };
        let stem = String::from_utf8_lossy(stem).into_owned();
        let name = stem.split(':').next().unwrap_or(&stem).to_owned();
        let (Some(control), true) = (paragraphs.get(name.as_str()), is_plain(&name)) else {
            continue;
        };
        let list = read(stage, INFO, &entry.name)?;
        let owns = list
            .split(|byte| *byte == b'\n')
            .any(|line| members.contains(line));
        if owns {
            let sums = read(stage, INFO, format!("{stem}.md5sums").as_ref())?;
            let entry = PackageEntry {
                name: name.clone(),
                control: control.clone(),
                md5sums: of_members(&sums, members),
            };
            found.insert(name, entry);
        }
    }
    Ok(found.into_values().collect())
}

/// A stage without a package manager: only regular files that are no configuration are known.
fn of_status_d(stage: &Stage<'_>, members: &Members) -> Result<Vec<PackageEntry>, TreeError> {
    let mut found = Vec::new();
    for entry in stage.entries(Path::new(STATUS_D))? {
        let name = entry.name.to_string_lossy().into_owned();
        if !is_plain(&name) || name.ends_with(".md5sums") {
            continue;
        }
        let sums = read(stage, STATUS_D, format!("{name}.md5sums").as_ref())?;
        let md5sums = of_members(&sums, members);
        if !md5sums.is_empty() {
            found.push(PackageEntry {
                control: read(stage, STATUS_D, &entry.name)?,
                name,
                md5sums,
            });
        }
    }
    Ok(found)
}

fn read(stage: &Stage<'_>, directory: &str, name: &OsStr) -> Result<Vec<u8>, TreeError> {
    let found = stage.read(&Path::new(directory).join(name), MAX_LIST)?;
    Ok(found.unwrap_or_default())
}

/// A name that is safe as a file name.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The files and links of a closure by every path under which a package may list them.
fn member_paths(stage: &Stage<'_>, closure: &Closure) -> Result<Members, TreeError> {
    let mut paths = BTreeSet::new();
    for path in closure.members.keys() {
        // Every package lists the directories that its files are in, and a link may stand in for one.
        if leads_to_directory(stage, path)? {
            continue;
        }
        paths.insert(path.as_os_str().as_bytes().to_vec());
        let below_usr = path.strip_prefix("/usr").ok();
        let first = below_usr.and_then(|rest| rest.iter().next());
        if let (Some(rest), Some(first)) = (below_usr, first)
            && MERGED.iter().any(|name| OsStr::new(name) == first)
        {
            paths.insert(PathBuf::from("/").join(rest).as_os_str().as_bytes().to_vec());
        }
    }
    Ok(paths)
}

/// The paragraphs of installed packages, by name, without what only dpkg's own database has.
fn paragraphs(status: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let text = String::from_utf8_lossy(status);
    let mut found = BTreeMap::new();
    for paragraph in text.split("\n\n") {
        let mut name = None;
        let mut installed = false;
        let mut kept = String::new();
        let mut inside_own = false;
        for line in paragraph.lines() {
            if !line.starts_with([' ', '\t']) {
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                inside_own = matches!(field, "Status" | "Conffiles" | "Config-Version");
                match field {
                    "Package" => name = Some(value.trim().to_owned()),
                    "Status" => installed = value.trim().ends_with(" installed"),
                    _ => {}
                }
            }
            if !inside_own && !line.is_empty() {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        if let (Some(name), true) = (name, installed) {
            found.insert(name, kept.into_bytes());
        }
    }
    found
}

/// The lines of `md5sums` whose file was brought.
fn of_members(sums: &[u8], members: &Members) -> Vec<u8> {
    let mut kept = Vec::new();
    for line in sums.split(|byte| *byte == b'\n') {
        let Some(path) = line.get(34..) else { continue };
        if members.contains(&[b"/", path].concat()) {
            kept.extend_from_slice(line);
            kept.push(b'\n');
        }
    }
    kept
}
