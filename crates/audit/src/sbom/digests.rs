//! Digests of files and packages.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use distil_oci::{Digest, Digester};
use sha1::{Digest as _, Sha1};

use super::{go_sum_hex, hex};
use crate::manifests::{archive_member, in_parallel};
use crate::{AuditError, Ecosystem, Entry, ImageView, Inventory, Package, printable_path};

/// What a file's contents are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDigests {
    /// Its path in the image.
    pub path: PathBuf,
    /// SHA-1 of its contents, which SPDX wants of every file.
    pub sha1: [u8; 20],
    /// SHA-256 of its contents.
    pub sha256: Digest,
}

/// What identifies the contents of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageDigest {
    /// SHA-256 of its only file: a Java archive or a Go program.
    File(Digest),
    /// What Go's checksum database has for the module, in hex: SHA-256 over the names and SHA-256 of its files.
    GoModule(String),
    /// SHA-256 of what `sha256sum` prints for its files that are in the image, sorted by path.
    Files(Digest),
}

impl PackageDigest {
    /// 64 hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        match self {
            Self::File(digest) | Self::Files(digest) => digest.hex(),
            Self::GoModule(hex) => hex.clone(),
        }
    }
}

/// The digests of the regular files that packages own, sorted by path.
pub(super) fn of_files(view: &ImageView, inventory: &Inventory) -> Result<Vec<FileDigests>, AuditError> {
    let owned = (0..inventory.packages().len()).flat_map(|package| inventory.files(package));
    let paths: BTreeSet<&Path> = owned.map(|file| file.path.as_path()).collect();
    let entries = paths.into_iter().filter_map(|path| view.get(path));
    let entries: Vec<&Entry> = entries.filter(|entry| entry.node.kind.is_file()).collect();
    // Names of one hard link are read once; large files first, so that no thread ends with one.
    let mut first: HashMap<usize, &Path> = HashMap::new();
    let mut jobs: Vec<&Entry> = Vec::new();
    for entry in &entries {
        let known = entry
            .link_group
            .and_then(|group| first.insert(group, &entry.path));
        match known {
            None => jobs.push(entry),
            Some(known) => {
                if let Some(group) = entry.link_group {
                    first.insert(group, known);
                }
            }
        }
    }
    jobs.sort_by_key(|entry| std::cmp::Reverse(entry.size()));
    let read = in_parallel(&jobs, |entry| digests(view, entry))?;
    let read: HashMap<&Path, FileDigests> = jobs.iter().map(|entry| entry.path.as_path()).zip(read).collect();
    let found = entries.into_iter().filter_map(|entry| {
        let place = entry.link_group.and_then(|group| first.get(&group).copied());
        let known = read.get(place.unwrap_or(&entry.path))?;
        Some(FileDigests {
            path: entry.path.clone(),
            ..known.clone()
        })
    });
    Ok(found.collect())
}

/// Both digests in one pass.
#[derive(Default)]
struct Both {
    sha1: Sha1,
    sha256: Digester,
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha1.update(bytes);
        self.sha256.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn digests(view: &ImageView, entry: &Entry) -> Result<FileDigests, AuditError> {
    let mut both = Both::default();
    view.copy(entry, &mut both)?.map_err(|source| AuditError::Read {
        path: entry.path.clone(),
        source,
    })?;
    Ok(FileDigests {
        path: entry.path.clone(),
        sha1: both.sha1.finalize().into(),
        sha256: both.sha256.finish(),
    })
}

/// The digest of each package of the inventory; none where nothing of it is in the image.
pub(super) fn of_packages(
    view: &ImageView,
    inventory: &Inventory,
    files: &[FileDigests],
    numbers: &HashMap<&Path, usize>,
) -> Result<Vec<Option<PackageDigest>>, AuditError> {
    let mut archives: HashMap<(&Path, Option<&str>), usize> = HashMap::new();
    for package in inventory.packages() {
        *archives.entry(archive(package)).or_default() += 1;
    }
    let packages: Vec<(usize, &Package)> = inventory.packages().iter().enumerate().collect();
    in_parallel(&packages, |(at, package)| {
        if let Some(hex) = package.go_sum.as_deref().and_then(go_sum_hex) {
            return Ok(Some(PackageDigest::GoModule(hex)));
        }
        if package.ecosystem == Ecosystem::Maven {
            // An archive that holds several packages is the contents of the one that it is named after.
            let several = archives.get(&archive(package)).is_some_and(|count| *count > 1);
            if several && !is_named_after(package) {
                return Ok(None);
            }
            if package.member.is_some() {
                let bytes = archive_member(view, package)?;
                return Ok(bytes.map(|bytes| PackageDigest::File(Digest::sha256(&bytes))));
            }
        }
        let owned = inventory.files(*at).iter();
        let owned = owned.filter_map(|file| files.get(*numbers.get(file.path.as_path())?));
        Ok(of_list(&owned.collect::<Vec<_>>()))
    })
}

fn archive(package: &Package) -> (&Path, Option<&str>) {
    (&package.record, package.member.as_deref())
}

fn is_named_after(package: &Package) -> bool {
    let record = package.record.to_string_lossy();
    let name = package.member.as_deref().unwrap_or(&record);
    let name = name.rsplit('/').next().unwrap_or_default();
    let artifact = package.name.rsplit(':').next().unwrap_or_default();
    name.starts_with(artifact)
}

fn of_list(files: &[&FileDigests]) -> Option<PackageDigest> {
    match files {
        [] => None,
        [only] => Some(PackageDigest::File(only.sha256)),
        several => {
            let mut digester = Digester::new();
            for file in several {
                let line = format!("{}  {}\n", file.sha256.hex(), printable_path(&file.path));
                digester.update(line.as_bytes());
            }
            Some(PackageDigest::Files(digester.finish()))
        }
    }
}

/// SPDX's verification code: SHA-1 of the sorted SHA-1s of the files, in hex.
pub(super) fn verification_code<'f>(files: impl Iterator<Item = &'f FileDigests>) -> String {
    let mut sums: Vec<String> = files.map(|file| hex(&file.sha1)).collect();
    sums.sort();
    let hash: [u8; 20] = Sha1::new().chain_update(sums.concat()).finalize().into();
    hex(&hash)
}
