//! Downloading packages, from the archive or from where dropped ones are kept.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use distil_oci::Digest;

use super::{Archive, ArchiveError, Indexes, in_parallel};
use crate::cache::{CacheError, Expected};
use crate::fetcher::FetchError;
use crate::index::PackageId;
use crate::time::{UnixTime, format_compact};

/// Downloads at once.
const CONNECTIONS: usize = 6;
/// A snapshot that holds what a Release file names is taken some hours after its
/// date; a package that is replaced stays in the pool for more than a day.
const SNAPSHOT_DELAYS: [UnixTime; 3] = [12 * 3_600, 36 * 3_600, 0];

/// A package as a lockfile or a selection names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageFile {
    /// The suite whose archive has it.
    pub suite: String,
    /// Root of its archive when that is none of the sources'.
    pub archive_url: Option<String>,
    /// Path below the root of the archive.
    pub filename: String,
    /// Size of the `.deb` in bytes.
    pub size: u64,
    /// sha256 of the `.deb`.
    pub sha256: Digest,
}

/// Keeps every state that Debian's archives had, in the layout of
/// snapshot.debian.org: `URL/archive/debian/20250906T120000Z/pool/...`. A time
/// between two states leads to the earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMirror {
    /// Its root, without a slash at the end.
    url: String,
    /// Suite to the times to ask for, the best first.
    times: Vec<(String, Vec<String>)>,
}

impl SnapshotMirror {
    /// The mirror at `url` for suites whose Release files have these dates.
    #[must_use]
    pub fn new(url: &str, suites: &[(String, UnixTime)]) -> SnapshotMirror {
        let times = |date: UnixTime| SNAPSHOT_DELAYS.map(|delay| format_compact(date + delay)).to_vec();
        SnapshotMirror {
            url: url.trim_end_matches('/').to_owned(),
            times: suites
                .iter()
                .map(|(suite, date)| (suite.clone(), times(*date)))
                .collect(),
        }
    }

    /// The addresses to try for a file of a suite; none for a suite without a date.
    fn addresses(&self, suite: &str, filename: &str) -> Vec<String> {
        let archive = if suite.ends_with("-security") {
            "debian-security"
        } else {
            "debian"
        };
        let known = self.times.iter().find(|(name, _)| name == suite);
        let times = known.map_or(&[][..], |(_, times)| times);
        let address = |time: &String| format!("{}/archive/{archive}/{time}/{filename}", self.url);
        times.iter().map(address).collect()
    }
}

impl Archive<'_> {
    /// Downloads packages, several at once, and gives their paths in the order
    /// of `wanted`. `on_done` hears of each one when it is there: its place in
    /// `wanted` and its size in bytes.
    ///
    /// # Errors
    /// The first that cannot be had; what is complete stays in the cache.
    pub fn download(
        &self,
        indexes: &Indexes,
        wanted: &[PackageId],
        on_done: &(dyn Fn(usize, u64) + Sync),
    ) -> Result<Vec<PathBuf>, ArchiveError> {
        let file = |id: &PackageId| {
            let package = indexes.packages.package(*id);
            let source = &indexes.releases[package.suite()].source;
            let unusable = |error| ArchiveError::Index {
                suite: source.suite.clone(),
                source: error,
            };
            Ok(PackageFile {
                suite: source.suite.clone(),
                archive_url: Some(source.url.clone()),
                filename: package.filename().to_owned(),
                size: package.size().map_err(unusable)?,
                sha256: package.sha256().map_err(unusable)?,
            })
        };
        let files: Result<Vec<PackageFile>, ArchiveError> = wanted.iter().map(file).collect();
        self.download_files(&files?, None, on_done)
    }

    /// Downloads packages that are known without an index, several at once, and
    /// gives their paths in the order of `wanted`. What the archive has dropped
    /// comes from `snapshot`; whatever the place, only the right bytes are accepted.
    ///
    /// # Errors
    /// The first that cannot be had; what is complete stays in the cache.
    pub fn download_files(
        &self,
        wanted: &[PackageFile],
        snapshot: Option<&SnapshotMirror>,
        on_done: &(dyn Fn(usize, u64) + Sync),
    ) -> Result<Vec<PathBuf>, ArchiveError> {
        in_parallel(wanted.len(), CONNECTIONS, |number| {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(ArchiveError::Cancelled);
            }
            let package = &wanted[number];
            let path = self.download_file(package, snapshot)?;
            on_done(number, package.size);
            Ok(path)
        })
    }

    fn download_file(
        &self,
        package: &PackageFile,
        snapshot: Option<&SnapshotMirror>,
    ) -> Result<PathBuf, ArchiveError> {
        let expected = Expected {
            sha256: package.sha256,
            size: package.size,
        };
        if let Some(path) = self.cache.find(&expected) {
            return Ok(path);
        }
        let root = self.root_of(package)?;
        let url = format!("{root}/{}", package.filename);
        let missing = match self.cache.get(self.fetcher, &url, &expected) {
            Ok(path) => return Ok(path),
            Err(error) if is_dropped(&error) => error,
            Err(error) => return Err(error.into()),
        };
        let Some(snapshot) = snapshot.filter(|_| package.archive_url.is_none()) else {
            return Err(match missing {
                CacheError::Mismatch { .. } => missing.into(),
                _ => ArchiveError::Gone {
                    url: root,
                    filename: package.filename.clone(),
                },
            });
        };
        for url in snapshot.addresses(&package.suite, &package.filename) {
            match self.cache.get(self.fetcher, &url, &expected) {
                Err(error) if is_dropped(&error) => {}
                done => return Ok(done?),
            }
        }
        Err(ArchiveError::GoneEverywhere {
            url: root,
            snapshot: snapshot.url.clone(),
            filename: package.filename.clone(),
        })
    }

    fn root_of(&self, package: &PackageFile) -> Result<String, ArchiveError> {
        if let Some(url) = &package.archive_url {
            return Ok(url.clone());
        }
        let mut sources = self.sources.sources.iter();
        let found = sources.find(|source| source.suite == package.suite);
        let source = found.ok_or_else(|| ArchiveError::NoSource {
            suite: package.suite.clone(),
            filename: package.filename.clone(),
        })?;
        Ok(source.url.clone())
    }
}

/// Whether the place does not have these bytes, though it answers.
fn is_dropped(error: &CacheError) -> bool {
    matches!(
        error,
        CacheError::Fetch(FetchError::NotFound { .. }) | CacheError::Mismatch { .. }
    )
}
