//! Lockfiles: the exact packages of images, and the signed files that name them.
//!
//! A [`Lockfile`] is made [from selections](Lockfile::of), kept as a text that is
//! [read](Lockfile::parse) and [written](Lockfile::to_text) in one canonical form,
//! and gives [the same selections](Lockfile::selection) again without an archive's
//! indexes. The InRelease files it was made from lie in a folder beside it, so that
//! [`Lockfile::verify`] can repeat the whole chain: signature, hash of the index,
//! hash of the package. The format is described in `docs/lockfile.md`.

mod changes;
mod files;
mod make;
mod parse;
mod text;
mod verify;

use distil_debian::{SnapshotMirror, UnixTime};
use distil_oci::{Digest, Platform};
use thiserror::Error;

use crate::recipe::{ImageSpec, Layout, Variant};
use crate::release::{DebianRelease, debian_architecture};
use crate::selection::{Reason, SelectedPackage, SelectedRelease, Selection};

pub use changes::{Change, Subject};
pub use files::{FileError, file_name, folder_of};
pub use make::{Locking, MakeError};
pub use parse::ParseError;
pub use verify::{VerifiedSuite, VerifyError};

/// Version of the format; a lockfile of another one is refused.
pub const VERSION: u32 = 1;

/// A lockfile that does not fit what is asked of it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LockError {
    /// It does not hold the image.
    #[error(
        "the lockfile does not hold `{name}` for `{architecture}`, only {known}; lock it with `distil base lock`"
    )]
    NoImage {
        /// Name of the image.
        name: String,
        /// Debian's name of the architecture.
        architecture: String,
        /// What it holds.
        known: String,
    },
    /// The recipe says something else than when it was locked.
    #[error(
        "the recipe of `{name}` for `{architecture}` changed since it was locked; lock it again with `distil base update`"
    )]
    RecipeChanged {
        /// Name of the image.
        name: String,
        /// Debian's name of the architecture.
        architecture: String,
    },
    /// A file beside the recipe has other bytes than when it was locked.
    #[error(
        "file `{source_file}` of the recipe of `{name}` for `{architecture}` changed since it was locked; lock it again with `distil base update`"
    )]
    FileChanged {
        /// Name of the image.
        name: String,
        /// Debian's name of the architecture.
        architecture: String,
        /// The file, as the recipe names it.
        source_file: String,
    },
    /// The image came out other than recorded.
    #[error(
        "`{name}` for `{architecture}` came out as `{actual}`, the lockfile expects `{expected}`; it was made by another version of distil, or something is not reproducible"
    )]
    Output {
        /// Name of the image.
        name: String,
        /// Debian's name of the architecture.
        architecture: String,
        /// Digest of the manifest in the lockfile.
        expected: Digest,
        /// Digest of the manifest that was made.
        actual: Digest,
    },
    /// A suite is older than the lockfile.
    #[error(
        "suite `{suite}` is of {}, older than the lockfile's {}; the mirror has gone back in time",
        distil_debian::format_time(*.found),
        distil_debian::format_time(*.locked)
    )]
    WentBack {
        /// The suite.
        suite: String,
        /// Date of its Release file.
        found: UnixTime,
        /// Date in the lockfile.
        locked: UnixTime,
    },
}

/// What images are made of, exactly. Every list is sorted; equal contents, equal text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lockfile {
    /// By name and architecture.
    pub images: Vec<LockedImage>,
    /// By name, version and architecture; each once, whichever images use it.
    pub packages: Vec<LockedPackage>,
    /// By name.
    pub suites: Vec<LockedSuite>,
}

/// One image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedImage {
    /// Its canonical name: `java17-debian12:debug`.
    pub name: String,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// How the recipe was named when it was locked: a built-in name, or a path
    /// relative to the folder of the lockfile.
    pub recipe: String,
    /// Release of Debian that it is composed for.
    pub release: DebianRelease,
    /// Variant that it is composed for.
    pub variant: Variant,
    /// Layers that it is composed with.
    pub layout: Layout,
    /// [`ImageSpec::digest`] of the recipe.
    pub spec: Digest,
    /// No file of the image is newer.
    pub epoch: UnixTime,
    /// Its suites in the order of the sources, with the archive of those that are
    /// not Debian's.
    pub suites: Vec<(String, Option<String>)>,
    /// By name.
    pub packages: Vec<PackageUse>,
    /// Archives from elsewhere, by name.
    pub inputs: Vec<LockedInput>,
    /// Files that come from beside the recipe, by path.
    pub files: Vec<LockedFile>,
    /// What it comes out as, once it was made.
    pub output: Option<Output>,
}

/// A package in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageUse {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Why it is there.
    pub reason: Reason,
    /// Its dependencies that the image leaves out on purpose.
    pub omitted: Vec<String>,
}

/// A file that does not come from Debian.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedInput {
    /// What it is: `node`.
    pub name: String,
    /// Its version, for records alone.
    pub version: String,
    /// Where it is fetched from.
    pub url: String,
    /// Bytes, when known.
    pub size: Option<u64>,
    /// Of the file as fetched.
    pub sha256: Digest,
    /// Its package URL; empty in lockfiles of old.
    pub purl: String,
    /// Its licence, where the recipe says.
    pub license: Option<String>,
    /// Who publishes it, where the recipe says.
    pub supplier: Option<String>,
}

/// A file of the image that is beside the recipe.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedFile {
    /// Absolute path in the image.
    pub path: String,
    /// The file, as the recipe names it.
    pub source: String,
    /// Of its bytes.
    pub sha256: Digest,
}

/// What an image comes out as; a check of reproducibility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Digest of the manifest.
    pub manifest: Digest,
    /// sha256 of the uncompressed layers.
    pub layers: Vec<Digest>,
}

/// A package file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedPackage {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian's architecture, or `all`.
    pub architecture: String,
    /// Name of the source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
    /// Suite that it comes from.
    pub suite: String,
    /// Root of its archive when that is not Debian's.
    pub archive: Option<String>,
    /// Path below the root of the archive.
    pub filename: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Of the `.deb`.
    pub sha256: Digest,
    /// `Multi-Arch` field, or empty.
    pub multi_arch: String,
}

/// A suite as it was when it was locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedSuite {
    /// `bookworm-security`.
    pub name: String,
    /// Root of its archive when that is not Debian's.
    pub archive: Option<String>,
    /// Components that were read.
    pub components: Vec<String>,
    /// `12.12`; empty where the suite has no versions.
    pub version: String,
    /// `Date` of its Release file.
    pub date: UnixTime,
    /// `Valid-Until`, where it has one.
    pub valid_until: Option<UnixTime>,
    /// sha256 of the InRelease file.
    pub in_release: Digest,
    /// Fingerprints of the keys that signed it, sorted.
    pub signers: Vec<String>,
    /// Package indexes that were read, by path.
    pub indexes: Vec<LockedIndex>,
}

/// A package index as the Release file of its suite names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedIndex {
    /// Relative to the directory of the Release file.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Of the compressed file.
    pub sha256: Digest,
}

impl Lockfile {
    /// The packages that were locked for `spec`, as [`crate::selection::select`]
    /// gave them; no index is needed.
    ///
    /// # Errors
    /// When the image is not in the lockfile, or its recipe says something else now.
    pub fn selection(&self, spec: &ImageSpec, platform: &Platform) -> Result<Selection, LockError> {
        let architecture = debian_architecture(platform).unwrap_or(&spec.architecture);
        let image = self.image(&spec.name, architecture)?;
        if image.spec != spec.digest() {
            if let Some(file) = image.changed_file(spec) {
                return Err(LockError::FileChanged {
                    name: image.name.clone(),
                    architecture: image.architecture.clone(),
                    source_file: file.source.clone(),
                });
            }
            return Err(LockError::RecipeChanged {
                name: image.name.clone(),
                architecture: image.architecture.clone(),
            });
        }
        let packages = image.packages.iter().filter_map(|one| {
            let package = self.package(one, &image.architecture)?;
            Some(package.selected(one))
        });
        let releases = image.suites.iter().filter_map(|(name, archive)| {
            let mut suites = self.suites.iter();
            let suite = suites.find(|suite| suite.name == *name && suite.archive == *archive)?;
            Some(suite.selected())
        });
        Ok(Selection {
            spec: spec.clone(),
            platform: platform.normalized(),
            packages: packages.collect(),
            releases: releases.collect(),
            epoch: image.epoch,
        })
    }

    /// The image `name` for an architecture.
    ///
    /// # Errors
    /// When the lockfile does not hold it.
    pub fn image(&self, name: &str, architecture: &str) -> Result<&LockedImage, LockError> {
        let is_it = |image: &&LockedImage| image.name == name && image.architecture == architecture;
        self.images.iter().find(is_it).ok_or_else(|| {
            let known = self
                .images
                .iter()
                .map(|image| format!("`{}` for `{}`", image.name, image.architecture));
            let known: Vec<String> = known.collect();
            LockError::NoImage {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                known: if known.is_empty() {
                    "nothing".to_owned()
                } else {
                    known.join(", ")
                },
            }
        })
    }

    /// The file of a package that an image of `architecture` uses.
    fn package(&self, used: &PackageUse, architecture: &str) -> Option<&LockedPackage> {
        self.packages.iter().find(|package| {
            package.name == used.name
                && package.version == used.version
                && (package.architecture == architecture || package.architecture == "all")
        })
    }

    /// The places that keep what archives have dropped, for this lockfile's suites.
    #[must_use]
    pub fn snapshot_mirror(&self, url: &str) -> SnapshotMirror {
        let own = self.suites.iter().filter(|suite| suite.archive.is_none());
        let dates: Vec<(String, UnixTime)> = own.map(|suite| (suite.name.clone(), suite.date)).collect();
        SnapshotMirror::new(url, &dates)
    }

    /// Records what an image comes out as.
    ///
    /// # Errors
    /// When the lockfile does not hold the image.
    pub fn set_output(&mut self, name: &str, architecture: &str, output: Output) -> Result<(), LockError> {
        self.image(name, architecture)?;
        let mut images = self.images.iter_mut();
        let image = images.find(|image| image.name == name && image.architecture == architecture);
        if let Some(image) = image {
            image.output = Some(output);
        }
        Ok(())
    }

    /// Checks that an image came out as recorded, where something is recorded.
    ///
    /// # Errors
    /// When the lockfile does not hold the image, or records another manifest.
    pub fn check_output(&self, name: &str, architecture: &str, manifest: &Digest) -> Result<(), LockError> {
        let image = self.image(name, architecture)?;
        match &image.output {
            Some(output) if output.manifest != *manifest => Err(LockError::Output {
                name: name.to_owned(),
                architecture: architecture.to_owned(),
                expected: output.manifest,
                actual: *manifest,
            }),
            _ => Ok(()),
        }
    }
}

impl LockedImage {
    /// The first file whose bytes are others in `spec`.
    fn changed_file(&self, spec: &ImageSpec) -> Option<&LockedFile> {
        let files = make::files(spec);
        self.files.iter().find(|locked| {
            let mut files = files.iter();
            files.any(|file| {
                (&file.path, &file.source) == (&locked.path, &locked.source) && file.sha256 != locked.sha256
            })
        })
    }
}

impl LockedPackage {
    fn selected(&self, used: &PackageUse) -> SelectedPackage {
        SelectedPackage {
            name: self.name.clone(),
            version: self.version.clone(),
            architecture: self.architecture.clone(),
            source: self.source.clone(),
            source_version: self.source_version.clone(),
            suite: self.suite.clone(),
            archive_url: self.archive.clone(),
            filename: self.filename.clone(),
            size: self.size,
            sha256: self.sha256,
            multi_arch: self.multi_arch.clone(),
            reason: used.reason.clone(),
            omitted: used.omitted.clone(),
            id: None,
        }
    }
}

impl LockedSuite {
    fn selected(&self) -> SelectedRelease {
        SelectedRelease {
            suite: self.name.clone(),
            archive_url: self.archive.clone(),
            components: self.components.clone(),
            date: self.date,
            valid_until: self.valid_until,
            digest: self.in_release,
            signers: self.signers.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
