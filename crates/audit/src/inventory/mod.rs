//! The packages of an image, from the records that package managers leave.

mod copied;
mod dpkg;
pub(crate) mod purl;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use purl::normal_python_name;

use crate::{AuditError, ImageView, OsRelease, manifests};

pub(crate) use dpkg::source as source_of;

/// What kind of package it is: which manager's names and version order it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ecosystem {
    /// A binary package of dpkg.
    Deb,
    /// A Go module. Versions begin with `v`; the standard library is the module `stdlib` with the version of
    /// the toolchain (`go1.22.3`), and a program from a folder has `(devel)`.
    Golang,
    /// A Python distribution, named as its own metadata does; see [`normal_python_name`].
    Pypi,
    /// An npm package, its scope before a `/`.
    Npm,
    /// A Maven artifact, its group before a `:`; without either where the archive does not tell the group.
    Maven,
}

impl Ecosystem {
    /// The type in a package URL: `deb`, `golang`, `pypi`, `npm`, `maven`.
    #[must_use]
    pub fn purl_type(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Golang => "golang",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Maven => "maven",
        }
    }
}

impl std::fmt::Display for Ecosystem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.pad(self.purl_type())
    }
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
    /// Its package URL. That of a Debian package names the distribution of the image.
    pub purl: String,
    /// The licence as its manifest words it, which need not be an SPDX expression. Records of dpkg have none; of
    /// a package that was copied without its record it is what its copyright file said in the stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// What Go's checksum database has for the module: `h1:` and the base64 of a SHA-256 over its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_sum: Option<String>,
    /// The file of the image that says it is installed; the first file of a package that was copied without
    /// its record.
    #[serde(serialize_with = "path_text")]
    pub record: PathBuf,
    /// The path inside of `record` when that is a Java archive with archives in it; `!/` stands between an
    /// archive and what is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
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
    /// Reads the records of the system's package manager: dpkg's `status` and `status.d`.
    ///
    /// # Errors
    /// When a record cannot be read. One that is damaged is read as far as it goes.
    pub fn read(view: &ImageView) -> Result<Self, AuditError> {
        let system = OsRelease::read(view)?;
        Ok(Self::of(dpkg::read(view, system.as_ref())?))
    }

    /// [`Inventory::read`], and the Debian packages of files that COPY took from a stage without their record
    /// ([`crate::origin`]), and the packages of programming languages: modules of Go programs, Python
    /// distributions, npm packages, Maven artifacts in Java archives. A package that stands in several places
    /// is there once for each.
    ///
    /// # Errors
    /// When a file cannot be read. One that is damaged counts as no manifest.
    pub fn read_all(view: &ImageView) -> Result<Self, AuditError> {
        let system = OsRelease::read(view)?;
        let mut found = dpkg::read(view, system.as_ref())?;
        copied::add(view, system.as_ref(), &mut found)?;
        found.extend(manifests::read(view)?);
        Ok(Self::of(found))
    }

    /// The packages, sorted by ecosystem, name, version, architecture and place.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The package that owns `path`, a real path of the image.
    #[must_use]
    pub fn owner(&self, path: &Path) -> Option<&Package> {
        self.owners.get(path).map(|at| &self.packages[*at])
    }

    /// The Debian package that brought a package of a language: its maintainers fix it, under its own version.
    #[must_use]
    pub fn part_of(&self, package: &Package) -> Option<&Package> {
        self.part_of_index(package).map(|at| &self.packages[at])
    }

    /// [`Inventory::part_of`] as an index of [`Inventory::packages`].
    pub(crate) fn part_of_index(&self, package: &Package) -> Option<usize> {
        let at = *self.owners.get(&package.record)?;
        let is_deb = |package: &Package| package.ecosystem == Ecosystem::Deb;
        (is_deb(&self.packages[at]) && !is_deb(package)).then_some(at)
    }

    /// What a package owns: regular files and links, no directories, as far as the record tells. `package` is
    /// an index of [`Inventory::packages`].
    #[must_use]
    pub fn files(&self, package: usize) -> &[OwnedFile] {
        self.files.get(package).map_or(&[], Vec::as_slice)
    }

    fn of(mut found: Vec<(Package, Vec<OwnedFile>)>) -> Self {
        found.sort_by(|(a, _), (b, _)| sort_key(a).cmp(&sort_key(b)));
        let (packages, files): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let mut owners = BTreeMap::new();
        for (at, files) in files.iter().enumerate() {
            for file in files {
                owners.entry(file.path.clone()).or_insert(at);
            }
        }
        Self {
            packages,
            files,
            owners,
        }
    }
}

/// Debian's come first: what they own is theirs, whatever else names it.
fn sort_key(package: &Package) -> (Ecosystem, [&str; 3], &Path, Option<&str>) {
    let Package {
        name,
        version,
        architecture,
        ..
    } = package;
    let member = package.member.as_deref();
    (
        package.ecosystem,
        [name, version, architecture],
        &package.record,
        member,
    )
}

pub(crate) fn path_text<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::printable_path(path))
}
