//! What the build itself brought into the image, as far as checks look at it: the layers of the base image are not
//! listed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_elf::Stage;
use distil_rootfs::{Node, ScannedDir, scan_listed_layers};

use super::image::{LayerDir, Subject};
use crate::{AuditError, Instruction};

/// Databases of package managers: who brings one brings a whole system, in which every file has its dependencies.
const SYSTEMS: [&str; 5] = [
    "/var/lib/dpkg",
    "/lib/apk/db",
    "/usr/lib/apk/db",
    "/var/lib/rpm",
    "/var/lib/pacman",
];

/// A file of a layer above the base.
#[derive(Debug, Clone)]
pub(super) struct BroughtFile {
    /// Real path.
    pub(super) path: PathBuf,
    /// It may be an ELF file that an instruction copied in, so that nothing has looked after what it needs.
    pub(super) is_copied: bool,
}

/// Files and directories above the base image, sorted by path.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Programs, libraries and addons.
    pub(super) binaries: Vec<BroughtFile>,
    /// Archives of Java classes, and of each directory one class file.
    pub(super) classes: Vec<PathBuf>,
    /// Directories of Python packages: `site-packages` and `dist-packages`.
    pub(super) site_directories: Vec<PathBuf>,
    /// Directories with metadata of an installed Python package in them, whatever their name.
    pub(super) package_directories: BTreeSet<PathBuf>,
}

impl Brought {
    pub(super) fn of(subject: &Subject<'_>, stage: &Stage<'_>) -> Result<Self, AuditError> {
        let above = |dir: &&LayerDir| dir.layer >= subject.base_layers;
        let above: Vec<&LayerDir> = subject.dirs.iter().filter(above).collect();
        let listed: Vec<_> = above.iter().map(|dir| (&dir.path, dir.files.clone())).collect();
        let scanned = scan_listed_layers(&listed, 0)?;
        let mut brought = Self::default();
        for (dir, directories) in above.iter().zip(&scanned) {
            let instruction = subject.instructions.get(dir.layer).and_then(Option::as_ref);
            let is_copied = instruction.is_none_or(is_copy) && !is_system(directories);
            for directory in directories {
                brought.add(stage, directory, is_copied)?;
            }
        }
        brought.binaries.sort_by(|a, b| a.path.cmp(&b.path));
        brought.binaries.dedup_by(|a, b| a.path == b.path);
        brought.classes.sort();
        brought.classes.dedup();
        brought.site_directories.sort();
        brought.site_directories.dedup();
        Ok(brought)
    }

    fn add(&mut self, stage: &Stage<'_>, directory: &ScannedDir, is_copied: bool) -> Result<(), AuditError> {
        if directory.path.file_name().is_some_and(is_site) && is_seen(stage, &directory.path, None)? {
            self.site_directories.push(directory.path.clone());
        }
        let mut has_class = false;
        for entry in &directory.entries {
            let name = entry.name.as_bytes();
            if entry.node.kind.is_dir() {
                if name.ends_with(b".dist-info") && is_seen(stage, &directory.path, None)? {
                    self.package_directories.insert(directory.path.clone());
                }
                continue;
            }
            if !entry.node.kind.is_file() {
                continue;
            }
            let is_class = name.ends_with(b".class");
            let is_archive = has_ending(name, &[b".jar", b".war", b".ear"]);
            let wanted = match is_class {
                true => !has_class,
                false => is_archive || is_binary(name, &entry.node),
            };
            if !wanted {
                continue;
            }
            let path = directory.path.join(&entry.name);
            if !is_seen(stage, &path, Some(&entry.node))? {
                continue;
            }
            if is_archive || is_class {
                has_class |= is_class;
                self.classes.push(path);
            } else {
                self.binaries.push(BroughtFile { path, is_copied });
            }
        }
        Ok(())
    }
}

/// Whether what a layer has is what the image shows.
fn is_seen(stage: &Stage<'_>, path: &Path, node: Option<&Node>) -> Result<bool, AuditError> {
    let seen = stage.node(path)?;
    Ok(match (seen, node) {
        // One that was listed, and not looked at.
        (Some(seen), Some(node)) if node.ino == 0 => {
            let key = |node: &Node| (node.kind, node.size, node.mode, node.owner(), node.mtime);
            key(&seen) == key(node)
        }
        (Some(seen), Some(node)) => (seen.dev, seen.ino) == (node.dev, node.ino),
        (seen, _) => seen.is_some_and(|seen| seen.kind.is_dir()),
    })
}

fn is_copy(instruction: &Instruction) -> bool {
    let word = instruction.as_str().split_whitespace().next().unwrap_or_default();
    ["COPY", "ADD"].iter().any(|copy| word.eq_ignore_ascii_case(copy))
}

fn is_system(directories: &[ScannedDir]) -> bool {
    let mut paths = directories.iter().map(|directory| &directory.path);
    paths.any(|path| SYSTEMS.iter().any(|system| path == Path::new(system)))
}

fn is_site(name: &OsStr) -> bool {
    name == "site-packages" || name == "dist-packages"
}

fn has_ending(name: &[u8], endings: &[&[u8]]) -> bool {
    endings.iter().any(|ending| name.ends_with(ending))
}

/// Whether a file may be an ELF file that something loads.
fn is_binary(name: &[u8], node: &Node) -> bool {
    let is_library = name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.");
    // An ELF header alone has 52 bytes.
    node.size > 52 && (node.mode & 0o111 != 0 || is_library || name.ends_with(b".node"))
}
