//! The packages of an image, from the records that package managers leave.

mod dpkg;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{AuditError, ImageView};

pub(crate) use dpkg::source as source_of;

/// What kind of package it is: which manager's names and version order it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ecosystem {
    /// A binary package of dpkg.
    Deb,
}

/// The source package that a binary package was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourcePackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// What kind it is.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version, as its ecosystem writes it.
    pub version: String,
    /// Its architecture (`amd64`, `all`); empty where the ecosystem has none.
    pub architecture: String,
    /// The source package; its own name and version where the record names none.
    pub source: SourcePackage,
    /// Who maintains it; empty when the record does not say.
    pub maintainer: String,
    /// Bytes that it takes once installed, by its own account.
    pub installed_size: Option<u64>,
    /// The file of the image that says it is installed.
    #[serde(serialize_with = "path_text")]
    pub record: PathBuf,
}

/// A file that a package owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedFile {
    /// Its path in the image, links on the way followed. The file need not be there any more.
    pub path: PathBuf,
    /// MD5 of its contents in hex, where the record has it.
    pub md5: Option<String>,
}

/// The packages of an image and what they own.
#[derive(Debug, Default)]
pub struct Inventory {
    packages: Vec<Package>,
    /// Files of each package, in the order of `packages`.
    files: Vec<Vec<OwnedFile>>,
    /// Index of the package for each path.
    owners: BTreeMap<PathBuf, usize>,
}

impl Inventory {
    /// Reads the package records of an image: dpkg's `status` and `status.d`.
    ///
    /// # Errors
    /// When a record cannot be read. One that is damaged is read as far as it goes.
    pub fn read(view: &ImageView) -> Result<Self, AuditError> {
        let mut inventory = Self::default();
        dpkg::read(view, &mut inventory)?;
        Ok(inventory)
    }

    /// The packages, sorted by ecosystem, name, version and architecture.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The package that owns `path`, a real path of the image.
    #[must_use]
    pub fn owner(&self, path: &Path) -> Option<&Package> {
        self.owners.get(path).map(|at| &self.packages[*at])
    }

    /// What a package owns: regular files and links, no directories, as far as the record tells. `package` is
    /// an index of [`Inventory::packages`].
    #[must_use]
    pub fn files(&self, package: usize) -> &[OwnedFile] {
        self.files.get(package).map_or(&[], Vec::as_slice)
    }

    /// Replaces the contents by `found`, sorted.
    fn set(&mut self, mut found: Vec<(Package, Vec<OwnedFile>)>) {
        found.sort_by(|(a, _), (b, _)| sort_key(a).cmp(&sort_key(b)));
        (self.packages, self.files) = found.into_iter().unzip();
        for (at, files) in self.files.iter().enumerate() {
            for file in files {
                self.owners.entry(file.path.clone()).or_insert(at);
            }
        }
    }
}

fn sort_key(package: &Package) -> (Ecosystem, &str, &str, &str) {
    (
        package.ecosystem,
        &package.name,
        &package.version,
        &package.architecture,
    )
}

fn path_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::printable_path(path))
}
