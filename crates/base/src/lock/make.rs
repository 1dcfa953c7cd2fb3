//! Making a lockfile from selections.

use std::collections::BTreeMap;

use distil_debian::AcceptedRelease;
use thiserror::Error;

use super::{
    LockError, LockedFile, LockedImage, LockedIndex, LockedInput, LockedPackage, LockedSuite, Lockfile,
    PackageUse,
};
use crate::recipe::{FileContent, ImageSpec};
use crate::selection::Selection;

/// One image to lock.
#[derive(Debug, Clone, Copy)]
pub struct Locking<'a> {
    /// How its recipe is named in the lockfile: see [`LockedImage::recipe`].
    pub recipe: &'a str,
    /// The packages chosen.
    pub selection: &'a Selection,
    /// The suites that they were chosen from, in the order of the selection's.
    pub releases: &'a [AcceptedRelease],
}

/// Selections that do not fit into one lockfile.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MakeError {
    /// A suite was published anew between two reads.
    #[error("suite `{suite}` changed while it was read; try again")]
    SuiteChanged {
        /// The suite.
        suite: String,
    },
    /// Two archives have different files of the same name and version.
    #[error(
        "package `{name}` `{version}` comes as two different files; lock the recipes that use them in two lockfiles"
    )]
    Ambiguous {
        /// Package name.
        name: String,
        /// Version.
        version: String,
    },
    /// An image is named twice.
    #[error("`{name}` for `{architecture}` is to be locked twice; give the recipes different names")]
    Twice {
        /// Name of the image.
        name: String,
        /// Debian's name of the architecture.
        architecture: String,
    },
}

impl Lockfile {
    /// A lockfile of these images.
    ///
    /// # Errors
    /// When two of them do not go together, see [`MakeError`].
    pub fn of(images: &[Locking<'_>]) -> Result<Lockfile, MakeError> {
        let mut packages: BTreeMap<(String, String, String), LockedPackage> = BTreeMap::new();
        let mut suites: BTreeMap<(String, Option<String>), LockedSuite> = BTreeMap::new();
        let mut locked: BTreeMap<(String, String), LockedImage> = BTreeMap::new();
        for one in images {
            for package in packages_of(one.selection) {
                add_package(&mut packages, package)?;
            }
            for (chosen, accepted) in one.selection.releases.iter().zip(one.releases) {
                add_suite(&mut suites, suite(chosen.archive_url.clone(), accepted))?;
            }
            let image = image(one);
            let name = (image.name.clone(), image.architecture.clone());
            if locked.contains_key(&name) {
                let (name, architecture) = name;
                return Err(MakeError::Twice { name, architecture });
            }
            locked.insert(name, image);
        }
        Ok(Lockfile {
            images: locked.into_values().collect(),
            packages: packages.into_values().collect(),
            suites: suites.into_values().collect(),
        })
    }

    /// Takes over from `old` the epoch and the recorded output of images whose
    /// recipe and packages are the same, so that they stay the same byte for byte
    /// although their suites were published anew.
    pub fn keep_unchanged(&mut self, old: &Lockfile) {
        let files = |lock: &Lockfile, image: &LockedImage| -> Vec<_> {
            let uses = image.packages.iter();
            uses.map(|one| lock.package(one, &image.architecture).map(|file| file.sha256))
                .collect()
        };
        let kept: Vec<_> = self
            .images
            .iter()
            .map(|image| {
                let known = old.image(&image.name, &image.architecture).ok()?;
                let same = image.spec == known.spec && files(self, image) == files(old, known);
                same.then(|| (known.epoch, known.output.clone()))
            })
            .collect();
        for (image, kept) in self.images.iter_mut().zip(kept) {
            if let Some((epoch, output)) = kept {
                (image.epoch, image.output) = (epoch, output);
            }
        }
    }

    /// Checks that none of these suites is older than it is here.
    ///
    /// # Errors
    /// The first suite that is.
    pub fn check_not_before(&self, releases: &[AcceptedRelease]) -> Result<(), LockError> {
        for accepted in releases {
            let found = accepted.release.date;
            let named = || {
                self.suites
                    .iter()
                    .filter(|suite| suite.name == accepted.source.suite)
            };
            // An archive of somebody else may call a suite as Debian does.
            let own = named().find(|suite| suite.archive.as_ref() == Some(&accepted.source.url));
            let known = own.or_else(|| named().find(|suite| suite.archive.is_none()));
            if let Some(suite) = known.filter(|suite| found < suite.date) {
                return Err(LockError::WentBack {
                    suite: suite.name.clone(),
                    found,
                    locked: suite.date,
                });
            }
        }
        Ok(())
    }
}

fn packages_of(selection: &Selection) -> impl Iterator<Item = LockedPackage> {
    selection.packages.iter().map(|package| LockedPackage {
        name: package.name.clone(),
        version: package.version.clone(),
        architecture: package.architecture.clone(),
        source: package.source.clone(),
        source_version: package.source_version.clone(),
        suite: package.suite.clone(),
        archive: package.archive_url.clone(),
        filename: package.filename.clone(),
        size: package.size,
        sha256: package.sha256,
        multi_arch: package.multi_arch.clone(),
    })
}

fn add_package(
    packages: &mut BTreeMap<(String, String, String), LockedPackage>,
    package: LockedPackage,
) -> Result<(), MakeError> {
    let key = (
        package.name.clone(),
        package.version.clone(),
        package.architecture.clone(),
    );
    let same_version = packages
        .range((key.0.clone(), key.1.clone(), String::new())..)
        .take_while(|(other, _)| other.0 == key.0 && other.1 == key.1);
    let is_all = |architecture: &str| architecture == "all";
    let mixed = same_version
        .map(|(other, _)| is_all(&other.2))
        .any(|other| other != is_all(&key.2));
    match packages.get(&key) {
        _ if mixed => Err(MakeError::Ambiguous {
            name: package.name,
            version: package.version,
        }),
        Some(known) if known.sha256 != package.sha256 => Err(MakeError::Ambiguous {
            name: package.name,
            version: package.version,
        }),
        Some(_) => Ok(()),
        None => {
            packages.insert(key, package);
            Ok(())
        }
    }
}

fn suite(archive: Option<String>, accepted: &AcceptedRelease) -> LockedSuite {
    let mut signers = accepted.signers.clone();
    signers.sort();
    signers.dedup();
    let indexes = accepted.indexes.iter().map(|(path, file)| LockedIndex {
        path: path.clone(),
        size: file.size,
        sha256: file.sha256,
    });
    LockedSuite {
        name: accepted.source.suite.clone(),
        archive,
        components: accepted.source.components.clone(),
        version: accepted.release.version.clone(),
        date: accepted.release.date,
        valid_until: accepted.release.valid_until,
        in_release: accepted.digest,
        signers,
        indexes: indexes.collect(),
    }
}

/// Adds a suite, or the indexes of a further architecture to it.
fn add_suite(
    suites: &mut BTreeMap<(String, Option<String>), LockedSuite>,
    suite: LockedSuite,
) -> Result<(), MakeError> {
    let key = (suite.name.clone(), suite.archive.clone());
    let Some(known) = suites.get_mut(&key) else {
        suites.insert(key, suite);
        return Ok(());
    };
    if known.in_release != suite.in_release {
        return Err(MakeError::SuiteChanged { suite: suite.name });
    }
    known.indexes.extend(suite.indexes);
    known.indexes.sort();
    known.indexes.dedup();
    Ok(())
}

fn image(one: &Locking<'_>) -> LockedImage {
    let selection = one.selection;
    let packages = selection.packages.iter().map(|package| PackageUse {
        name: package.name.clone(),
        version: package.version.clone(),
        reason: package.reason.clone(),
        omitted: package.omitted.clone(),
    });
    let inputs = selection.spec.inputs.iter().map(|input| LockedInput {
        name: input.name.clone(),
        version: input.version.clone(),
        url: input.url.clone(),
        size: input.size,
        sha256: input.sha256,
        purl: input.purl(),
        license: input.license.clone(),
        supplier: input.supplier.clone(),
    });
    let mut inputs: Vec<LockedInput> = inputs.collect();
    inputs.sort_by(|a, b| (&a.name, &a.url).cmp(&(&b.name, &b.url)));
    let releases = selection.releases.iter();
    LockedImage {
        name: selection.spec.name.clone(),
        architecture: selection.spec.architecture.clone(),
        recipe: one.recipe.to_owned(),
        release: selection.spec.release,
        variant: selection.spec.variant,
        layout: selection.spec.layout,
        spec: selection.spec.digest(),
        epoch: selection.epoch,
        suites: releases
            .map(|release| (release.suite.clone(), release.archive_url.clone()))
            .collect(),
        packages: packages.collect(),
        inputs,
        files: files(&selection.spec),
        output: None,
    }
}

/// The files of `spec` that come from beside its recipe, by path.
pub(super) fn files(spec: &ImageSpec) -> Vec<LockedFile> {
    let files = spec.files.iter().filter_map(|file| match &file.content {
        FileContent::Text(_) => None,
        FileContent::Source { source, sha256, .. } => Some(LockedFile {
            path: file.path.clone(),
            source: source.clone(),
            sha256: *sha256,
        }),
    });
    files.collect()
}
