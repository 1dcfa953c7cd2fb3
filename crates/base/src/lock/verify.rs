//! Repeating the chain from the signatures to the packages of a lockfile.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use distil_debian::{
    AcceptedRelease, Archive, ArchiveError, Expected, IndexError, IndexFile, Package, PackageIndex, Source,
    UnixTime,
};
use distil_oci::{Digest, Digester};
use thiserror::Error;

use super::{LockedIndex, LockedPackage, LockedSuite, Lockfile};

/// A lockfile whose contents cannot be traced back to signatures.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// An InRelease file is not beside the lockfile.
    #[error("the Release file `{}` of suite `{suite}` cannot be read", path.display())]
    Unreadable {
        /// The suite.
        suite: String,
        /// Where it should be.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is another one than the lockfile was made from.
    #[error("`{}` is not the Release file of suite `{suite}` that the lockfile names", path.display())]
    OtherRelease {
        /// The suite.
        suite: String,
        /// The file.
        path: PathBuf,
    },
    /// It is not trusted, or of another suite.
    #[error("suite `{suite}` of the lockfile is not trusted")]
    Release {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// The lockfile says something else of a suite than the signed file.
    #[error("the lockfile gives suite `{suite}` another {field} than the signed Release file")]
    Field {
        /// The suite.
        suite: String,
        /// `date`, `index` or the like.
        field: &'static str,
    },
    /// An index is neither beside the lockfile nor in the download cache.
    #[error(
        "index `{path}` of suite `{suite}` is not on this machine; without `--offline` it is downloaded, and `distil base lock --keep-indexes` keeps it beside the lockfile"
    )]
    IndexMissing {
        /// The suite.
        suite: String,
        /// Path in the suite.
        path: String,
    },
    /// An index cannot be had.
    #[error("index `{path}` of suite `{suite}` cannot be checked")]
    Download {
        /// The suite.
        suite: String,
        /// Path in the suite.
        path: String,
        /// Why.
        #[source]
        source: ArchiveError,
    },
    /// A file beside the lockfile is not the index that the signed Release file names.
    #[error("`{}` is not the index `{path}` that the signed Release file of suite `{suite}` names", file.display())]
    OtherIndex {
        /// The suite.
        suite: String,
        /// Path in the suite.
        path: String,
        /// The file.
        file: PathBuf,
    },
    /// An index cannot be read.
    #[error("the package index of suite `{suite}` cannot be used")]
    Index {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: IndexError,
    },
    /// No index of its suite lists a package as the lockfile does.
    #[error("package `{name}` `{version}` is not in suite `{suite}` with the hash that the lockfile gives")]
    Package {
        /// Package name.
        name: String,
        /// Version.
        version: String,
        /// The suite.
        suite: String,
    },
    /// A package is of a suite that the lockfile does not hold.
    #[error("package `{name}` is of suite `{suite}`, which is not in the lockfile")]
    NoSuite {
        /// Package name.
        name: String,
        /// The suite.
        suite: String,
    },
}

/// A suite whose whole chain holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSuite {
    /// Its name.
    pub name: String,
    /// `Date` of its Release file.
    pub date: UnixTime,
    /// Fingerprints of the keys whose signatures count.
    pub signers: Vec<String>,
    /// How many packages of the lockfile it vouches for.
    pub packages: usize,
}

impl Lockfile {
    /// Checks that trusted keys signed the Release files in `folder`, that these
    /// name the indexes of the lockfile, and that the indexes list its packages with
    /// their hashes. Signatures and keys are judged as of when the Release file was
    /// signed: a lockfile does not become wrong when a suite or a key expires.
    ///
    /// Indexes are read from `folder`, else from the cache of `archive`; with `fetch`
    /// they are otherwise downloaded by their hash.
    ///
    /// # Errors
    /// The first link of the chain that does not hold.
    pub fn verify(
        &self,
        folder: &Path,
        archive: &Archive<'_>,
        fetch: bool,
    ) -> Result<Vec<VerifiedSuite>, VerifyError> {
        let mut left: BTreeMap<(&str, Option<&str>), Vec<&LockedPackage>> = BTreeMap::new();
        for package in &self.packages {
            let suite = (package.suite.as_str(), package.archive.as_deref());
            left.entry(suite).or_default().push(package);
        }
        let mut verified = Vec::with_capacity(self.suites.len());
        for suite in &self.suites {
            let key = (suite.name.as_str(), suite.archive.as_deref());
            let packages = left.remove(&key).unwrap_or_default();
            verified.push(
                SuiteCheck {
                    suite,
                    folder,
                    archive,
                }
                .run(&packages, fetch)?,
            );
        }
        match left.into_values().flatten().next() {
            None => Ok(verified),
            Some(package) => Err(VerifyError::NoSuite {
                name: package.name.clone(),
                suite: package.suite.clone(),
            }),
        }
    }
}

struct SuiteCheck<'a> {
    suite: &'a LockedSuite,
    folder: &'a Path,
    archive: &'a Archive<'a>,
}

impl SuiteCheck<'_> {
    fn run(&self, packages: &[&LockedPackage], fetch: bool) -> Result<VerifiedSuite, VerifyError> {
        let accepted = self.release()?;
        let mut left = packages.to_vec();
        for index in &self.suite.indexes {
            if left.is_empty() {
                break;
            }
            let packed = self.index(&accepted, index, fetch)?;
            let failed = |source| VerifyError::Index {
                suite: self.name(),
                source,
            };
            let read = PackageIndex::from_packed(&packed, &index.path).map_err(failed)?;
            let mut unlisted = Vec::new();
            for package in left {
                if !is_listed(&read, package).map_err(failed)? {
                    unlisted.push(package);
                }
            }
            left = unlisted;
        }
        match left.first() {
            None => Ok(VerifiedSuite {
                name: self.name(),
                date: accepted.release.date,
                signers: accepted.signers,
                packages: packages.len(),
            }),
            Some(package) => Err(VerifyError::Package {
                name: package.name.clone(),
                version: package.version.clone(),
                suite: self.name(),
            }),
        }
    }

    fn name(&self) -> String {
        self.suite.name.clone()
    }

    /// The Release file beside the lockfile, when it is the one, signed, and says
    /// what the lockfile says.
    fn release(&self) -> Result<AcceptedRelease, VerifyError> {
        let path = self.folder.join(self.suite.file_name());
        let bytes = fs::read(&path).map_err(|source| VerifyError::Unreadable {
            suite: self.name(),
            path: path.clone(),
            source,
        })?;
        if Digest::sha256(&bytes) != self.suite.in_release {
            return Err(VerifyError::OtherRelease {
                suite: self.name(),
                path,
            });
        }
        let (source, keyring) = (self.source(), self.archive.keyring);
        let checked = AcceptedRelease::check_as_made(&source, &bytes, keyring);
        let accepted = checked.map_err(|source| VerifyError::Release {
            suite: self.name(),
            source,
        })?;
        self.compare(&accepted)?;
        Ok(accepted)
    }

    fn compare(&self, accepted: &AcceptedRelease) -> Result<(), VerifyError> {
        let (suite, release) = (self.suite, &accepted.release);
        let mut signers = accepted.signers.clone();
        signers.sort();
        signers.dedup();
        let listed = |index: &LockedIndex| {
            let file = IndexFile {
                size: index.size,
                sha256: index.sha256,
            };
            release.file(&index.path) == Some(&file)
        };
        let field = if release.date != suite.date {
            "date"
        } else if release.valid_until != suite.valid_until {
            "end of validity"
        } else if release.version != suite.version {
            "version"
        } else if signers != suite.signers {
            "list of signers"
        } else if !suite.indexes.iter().all(listed) {
            "index"
        } else {
            return Ok(());
        };
        Err(VerifyError::Field {
            suite: self.name(),
            field,
        })
    }

    /// Where the suite is read from when something of it must be downloaded.
    fn source(&self) -> Source {
        let sources = &self.archive.sources.sources;
        let found = sources.iter().find(|source| source.suite == self.suite.name);
        let url = match &self.suite.archive {
            Some(archive) => archive.clone(),
            None => found.map_or_else(|| "debian".to_owned(), |source| source.url.clone()),
        };
        Source {
            url,
            suite: self.name(),
            components: self.suite.components.clone(),
        }
    }

    /// The path of a packed index with the right hash.
    fn index(
        &self,
        accepted: &AcceptedRelease,
        index: &LockedIndex,
        fetch: bool,
    ) -> Result<PathBuf, VerifyError> {
        let kept = self.folder.join(self.suite.index_file_name(index));
        if kept.exists() {
            return match hash_file(&kept) {
                Ok(actual) if actual == index.sha256 => Ok(kept),
                _ => Err(VerifyError::OtherIndex {
                    suite: self.name(),
                    path: index.path.clone(),
                    file: kept,
                }),
            };
        }
        let expected = Expected {
            sha256: index.sha256,
            size: index.size,
        };
        if let Some(path) = self.archive.cache.find(&expected) {
            return Ok(path);
        }
        if !fetch {
            return Err(VerifyError::IndexMissing {
                suite: self.name(),
                path: index.path.clone(),
            });
        }
        let file = IndexFile {
            size: index.size,
            sha256: index.sha256,
        };
        let downloaded = self.archive.download_index(accepted, &index.path, &file);
        downloaded.map_err(|source| VerifyError::Download {
            suite: self.name(),
            path: index.path.clone(),
            source,
        })
    }
}

/// Whether the index lists the package with exactly the file that was locked.
fn is_listed(index: &PackageIndex, locked: &LockedPackage) -> Result<bool, IndexError> {
    let same = |package: Package<'_>| {
        package.version() == locked.version
            && package.architecture() == locked.architecture
            && package.filename() == locked.filename
            && package.size().is_ok_and(|size| size == locked.size)
            && package.sha256().is_ok_and(|sha256| sha256 == locked.sha256)
    };
    let versions = index.versions(&locked.name)?;
    Ok(versions.iter().any(|id| same(index.package(*id))))
}

fn hash_file(path: &Path) -> io::Result<Digest> {
    let mut digester = Digester::new();
    io::copy(&mut fs::File::open(path)?, &mut digester)?;
    Ok(digester.finish())
}
