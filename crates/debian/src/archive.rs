//! From an archive's URL to checked indexes and packages.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

mod packages;

pub use packages::{PackageFile, SnapshotMirror};

use distil_oci::Digest;
use thiserror::Error;

use crate::cache::{CacheError, DownloadCache, Expected, RememberedRelease};
use crate::fetcher::{Changed, FetchError, FetchRequest, Fetcher};
use crate::index::{self, IndexError, PackageIndex, StoredIndex};
use crate::keyring::{Keyring, SignatureError, VerifiedText};
use crate::release::{IndexFile, Release, ReleaseError};
use crate::sources::{ArchiveSources, Source};
use crate::time::UnixTime;

/// Real InRelease files have some 150 KB.
const MAX_RELEASE: u64 = 16 << 20;
/// An archive that cannot be used.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// A download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The archive answers but does not have the suite.
    #[error("the archive `{url}` has no suite `{suite}`")]
    UnknownSuite {
        /// Root of the archive.
        url: String,
        /// The suite.
        suite: String,
    },
    /// A suite is asked for that this cache never read.
    #[error("suite `{suite}` of `{url}` was not read before, so nothing is known of it without the network")]
    NotRemembered {
        /// Root of the archive.
        url: String,
        /// The suite.
        suite: String,
    },
    /// A file of the cache is wrong or the cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The signature of a Release file does not count.
    #[error("`{url}` is not trusted")]
    Signature {
        /// The InRelease file.
        url: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// A Release file is not acceptable.
    #[error("`{url}` cannot be used")]
    Release {
        /// The InRelease file.
        url: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// The suite lacks a component or architecture.
    #[error("suite `{suite}` of `{url}` has no packages of component `{component}` for `{architecture}`")]
    MissingIndex {
        /// Root of the archive.
        url: String,
        /// The suite.
        suite: String,
        /// The component.
        component: String,
        /// Debian's name of the architecture.
        architecture: String,
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
    /// The archive has dropped a package, and no other place is known for it.
    #[error("package `{filename}` is not at `{url}` any more; a snapshot mirror may have it")]
    Gone {
        /// Root of the archive.
        url: String,
        /// Path below it.
        filename: String,
    },
    /// Neither the archive nor the snapshot mirror has a package.
    #[error("package `{filename}` is neither at `{url}` nor at `{snapshot}`")]
    GoneEverywhere {
        /// Root of the archive.
        url: String,
        /// Root of the snapshot mirror.
        snapshot: String,
        /// Path below either.
        filename: String,
    },
    /// A package comes from a suite that the sources do not have.
    #[error("package `{filename}` comes from suite `{suite}`, which is not among the sources")]
    NoSource {
        /// The suite.
        suite: String,
        /// Path in its archive.
        filename: String,
    },
    /// The caller asked to stop.
    #[error("the download was cancelled")]
    Cancelled,
}

/// A suite whose Release file was accepted.
#[derive(Debug, Clone)]
pub struct AcceptedRelease {
    /// Where it is from.
    pub source: Source,
    /// What it says.
    pub release: Release,
    /// The InRelease file.
    pub bytes: Vec<u8>,
    /// sha256 of the InRelease file.
    pub digest: Digest,
    /// Fingerprints of the keys whose signatures count.
    pub signers: Vec<String>,
    /// The package indexes that were read: path relative to the directory of the
    /// Release file, size and hash as it gives them. In the order of the components.
    pub indexes: Vec<(String, IndexFile)>,
}

impl AcceptedRelease {
    /// Checks signature, suite and dates of an InRelease file, as of `now`; no index
    /// is read.
    ///
    /// # Errors
    /// When no signature counts, or the file is not one of that suite and time.
    pub fn check(
        source: &Source,
        bytes: &[u8],
        keyring: &Keyring,
        now: UnixTime,
    ) -> Result<AcceptedRelease, ArchiveError> {
        let signed = keyring.of(source).verify(bytes, now);
        AcceptedRelease::from_signed(source, bytes, signed, Some(now))
    }

    /// The same as of the time when the file was made, whenever that was.
    ///
    /// # Errors
    /// When no signature counted then, or the file is not one of that suite.
    pub fn check_as_made(
        source: &Source,
        bytes: &[u8],
        keyring: &Keyring,
    ) -> Result<AcceptedRelease, ArchiveError> {
        let signed = keyring.of(source).verify_as_made(bytes);
        AcceptedRelease::from_signed(source, bytes, signed, None)
    }

    fn from_signed(
        source: &Source,
        bytes: &[u8],
        signed: Result<VerifiedText, SignatureError>,
        now: Option<UnixTime>,
    ) -> Result<AcceptedRelease, ArchiveError> {
        let url = release_url(source);
        let signed = signed.map_err(|source| ArchiveError::Signature {
            url: url.clone(),
            source,
        })?;
        let checked = Release::parse(&signed).and_then(|release| {
            release.check(&source.suite, now.unwrap_or(release.date))?;
            Ok(release)
        });
        Ok(AcceptedRelease {
            source: source.clone(),
            release: checked.map_err(|source| ArchiveError::Release { url, source })?,
            bytes: bytes.to_vec(),
            digest: Digest::sha256(bytes),
            signers: signed.signers,
            indexes: Vec::new(),
        })
    }

    /// The index of a component for an architecture, in the best compression that the suite has.
    fn index_of(&self, component: &str, architecture: &str) -> Result<(String, IndexFile), ArchiveError> {
        let found = ["xz", "gz"].into_iter().find_map(|suffix| {
            let path = format!("{component}/binary-{architecture}/Packages.{suffix}");
            let file = *self.release.file(&path)?;
            Some((path, file))
        });
        found.ok_or_else(|| ArchiveError::MissingIndex {
            url: self.source.url.clone(),
            suite: self.source.suite.clone(),
            component: component.to_owned(),
            architecture: architecture.to_owned(),
        })
    }
}

/// The checked indexes of all suites.
#[derive(Debug)]
pub struct Indexes {
    /// In the order of the sources; [`Package::suite`](crate::Package::suite) counts in it.
    pub releases: Vec<AcceptedRelease>,
    /// All packages.
    pub packages: PackageIndex,
    /// Debian's name of the architecture.
    pub architecture: String,
}

impl Indexes {
    /// The date of the newest Release file.
    #[must_use]
    pub fn date(&self) -> UnixTime {
        let dates = self.releases.iter().map(|one| one.release.date);
        dates.max().unwrap_or(0)
    }
}

/// Access to the archives of a distribution release.
#[derive(Clone, Copy)]
pub struct Archive<'a> {
    /// Which suites, and where.
    pub sources: &'a ArchiveSources,
    /// Where downloads are kept.
    pub cache: &'a DownloadCache,
    /// The network.
    pub fetcher: &'a dyn Fetcher,
    /// Whose signatures count.
    pub keyring: &'a Keyring,
    /// Set by another thread to stop between two files.
    pub cancel: &'a AtomicBool,
}

impl Archive<'_> {
    /// Downloads and checks the Release files and the indexes for
    /// `architecture`. `now` is the caller's clock.
    ///
    /// Every suite must be there, signed, of this time and not older than what
    /// this cache has accepted before; a missing index is an error and never a
    /// reason to go on without it, since that would hide security updates.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub fn update(&self, architecture: &str, now: UnixTime) -> Result<Indexes, ArchiveError> {
        self.load(architecture, &|source| self.accept_release(source, now))
    }

    /// What the last [`Archive::update`] found, without a look at the network. The
    /// signatures and dates are checked again; an index that the cache has lost is
    /// downloaded, for its hash is known.
    ///
    /// # Errors
    /// See [`ArchiveError`]; `NotRemembered` when a suite was never read.
    pub fn remembered(&self, architecture: &str, now: UnixTime) -> Result<Indexes, ArchiveError> {
        self.load(architecture, &|source| {
            let known = self.cache.read_release(&release_name(source))?;
            let known = known.ok_or_else(|| ArchiveError::NotRemembered {
                url: source.url.clone(),
                suite: source.suite.clone(),
            })?;
            AcceptedRelease::check(source, &known.bytes, self.keyring, now)
        })
    }

    fn load(
        &self,
        architecture: &str,
        accept: &(dyn Fn(&Source) -> Result<AcceptedRelease, ArchiveError> + Sync),
    ) -> Result<Indexes, ArchiveError> {
        let sources = &self.sources.sources;
        let loaded = in_parallel(sources.len(), sources.len(), |number| {
            self.load_suite(accept(&sources[number])?, architecture)
        })?;
        let (releases, suites) = loaded.into_iter().unzip();
        Ok(Indexes {
            releases,
            packages: PackageIndex::new(suites),
            architecture: architecture.to_owned(),
        })
    }

    /// Reads the indexes of a suite, one for each component.
    fn load_suite(
        &self,
        mut accepted: AcceptedRelease,
        architecture: &str,
    ) -> Result<(AcceptedRelease, Vec<StoredIndex>), ArchiveError> {
        let mut indexes = Vec::new();
        for component in accepted.source.components.clone() {
            let (path, file) = accepted.index_of(&component, architecture)?;
            indexes.push(self.load_index(&accepted, &path, &file)?);
            accepted.indexes.push((path, file));
        }
        Ok((accepted, indexes))
    }

    /// Downloads the Release file of `source` and checks it; remembers it when it is accepted.
    fn accept_release(&self, source: &Source, now: UnixTime) -> Result<AcceptedRelease, ArchiveError> {
        let url = release_url(source);
        let name = release_name(source);
        let known = self.cache.read_release(&name)?;
        let received = self.fetch_release(source, &url, known.as_ref())?;
        let bytes = match (&received, &known) {
            (Some(received), _) => &received.bytes,
            (None, Some(known)) => &known.bytes,
            (None, None) => &Vec::new(),
        };
        let accepted = AcceptedRelease::check(source, bytes, self.keyring, now)?;
        let Some(received) = received else {
            return Ok(accepted);
        };
        if let Some(known) = known.filter(|known| known.bytes != received.bytes)
            && let Some(date) = self.known_date(source, &known.bytes, now)
        {
            let newer = accepted.release.check_not_before(date);
            newer.map_err(|source| ArchiveError::Release { url, source })?;
        }
        self.cache.write_release(&name, &received)?;
        Ok(accepted)
    }

    /// The Release file as the server has it, `None` when it still has the known one.
    fn fetch_release(
        &self,
        source: &Source,
        url: &str,
        known: Option<&RememberedRelease>,
    ) -> Result<Option<RememberedRelease>, ArchiveError> {
        let request = FetchRequest {
            url,
            offset: 0,
            limit: MAX_RELEASE,
        };
        let validators = known.map(|known| known.validators.clone()).unwrap_or_default();
        let mut bytes = Vec::new();
        let outcome = self.fetcher.fetch_changed(&request, &validators, &mut bytes);
        let changed = outcome.map_err(|error| match error {
            FetchError::NotFound { .. } => ArchiveError::UnknownSuite {
                url: source.url.clone(),
                suite: source.suite.clone(),
            },
            other => ArchiveError::Fetch(other),
        })?;
        match changed {
            Changed::Whole(validators) => Ok(Some(RememberedRelease { bytes, validators })),
            Changed::Unchanged if known.is_some() => Ok(None),
            Changed::Unchanged => Err(ArchiveError::Fetch(FetchError::Refused {
                url: url.to_owned(),
                reason: "it is called unchanged, although nothing is known of it".to_owned(),
            })),
        }
    }

    /// The date of a remembered Release file; one that does not verify any more
    /// says nothing.
    fn known_date(&self, source: &Source, bytes: &[u8], now: UnixTime) -> Option<UnixTime> {
        let signed = self.keyring.of(source).verify(bytes, now).ok()?;
        Release::parse(&signed).ok().map(|release| release.date)
    }

    fn load_index(
        &self,
        accepted: &AcceptedRelease,
        path: &str,
        file: &IndexFile,
    ) -> Result<StoredIndex, ArchiveError> {
        let stored = self.cache.index_path(&file.sha256, index::FORMAT);
        if let Some(index) = StoredIndex::open(&stored) {
            return Ok(index);
        }
        let packed = self.download_index(accepted, path, file)?;
        let failed = |source| ArchiveError::Index {
            suite: accepted.source.suite.clone(),
            source,
        };
        let bytes = index::decode(&packed, path).and_then(|text| index::encode(&text));
        let bytes = bytes.map_err(failed)?;
        self.cache.write_index(&file.sha256, index::FORMAT, &bytes)?;
        StoredIndex::from_bytes(bytes).ok_or(failed(IndexError::TooLarge))
    }

    /// The packed index at `path` of a suite, from the cache or downloaded by its hash.
    ///
    /// # Errors
    /// When it cannot be had, or what comes is another file.
    pub fn download_index(
        &self,
        accepted: &AcceptedRelease,
        path: &str,
        file: &IndexFile,
    ) -> Result<PathBuf, ArchiveError> {
        let root = format!("{}/dists/{}", accepted.source.url, accepted.source.suite);
        let expected = Expected {
            sha256: file.sha256,
            size: file.size,
        };
        if accepted.release.by_hash {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let url = format!("{root}/{directory}/by-hash/SHA256/{}", file.sha256.hex());
            match self.cache.get(self.fetcher, &url, &expected) {
                Err(CacheError::Fetch(FetchError::NotFound { .. })) => {}
                done => return Ok(done?),
            }
        }
        Ok(self
            .cache
            .get(self.fetcher, &format!("{root}/{path}"), &expected)?)
    }
}

fn release_url(source: &Source) -> String {
    format!("{}/dists/{}/InRelease", source.url, source.suite)
}

/// A file name for what is remembered of a suite of an archive. Another mirror
/// may lag behind by hours without harm, so each has its own (as in apt).
fn release_name(source: &Source) -> String {
    let id = Digest::sha256(format!("{} {}", source.url, source.suite).as_bytes());
    format!("{}.InRelease", &id.hex()[..32])
}

/// Runs `work` for 0..`count` on at most `threads` threads. Results come in
/// order; after an error no further one is begun.
fn in_parallel<T: Send, E: Send>(
    count: usize,
    threads: usize,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let run = || {
        let mut done = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let result = work(number);
            stop.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((number, result));
        }
        done
    };
    let mut results: Vec<(usize, Result<T, E>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads.min(count)).map(|_| scope.spawn(run)).collect();
        let joined = handles.into_iter().map(|handle| match handle.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
