//! The Debian archive as a build reads it: where from, what is kept, one reader at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use distil_base::recipe::ImageSpec;
use distil_debian::{
    Archive, ArchiveSources, DownloadCache, Indexes, Keyring, PackageId, Source, SourceOrigin,
};
use distil_solver::{CancelRegistration, CancelToken};
use distil_sources::{ImageError, Transfer};
use distil_store::{Store, Timestamp};

/// Where the Debian archive is read from.
#[derive(Debug, Clone, Default)]
pub struct DebianArchive {
    /// One archive for everything, in place of the host's and the built-in ones.
    pub mirror: Option<String>,
    /// Name and text of the host's apt source files.
    pub host_sources: Vec<(String, String)>,
    /// Folder that keeps downloaded indexes and packages.
    pub downloads: PathBuf,
}

/// A cancel token that can also be read as a plain flag, which libraries without a solver take.
pub(crate) struct CancelFlag {
    pub(crate) token: CancelToken,
    pub(crate) flag: Arc<AtomicBool>,
    _registration: CancelRegistration,
}

impl CancelFlag {
    pub(crate) fn new(token: &CancelToken) -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        Self {
            token: token.clone(),
            flag,
            _registration: token.on_cancel(move || set.store(true, Ordering::Relaxed)),
        }
    }
}

/// What goes wrong on the way: errors of the store keep their type.
pub(crate) enum Problem {
    Store(ImageError),
    Other(String),
}

impl<E: Into<ImageError>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// An error with its causes, each told once.
pub(crate) fn other(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    Problem::Other(text)
}

/// Runs a part of the work, shown from its beginning to its end.
pub(crate) fn part<T>(
    report: &(dyn Fn(Transfer) + Sync),
    name: &str,
    work: impl FnOnce() -> Result<T, Problem>,
) -> Result<T, Problem> {
    let tell = |done: bool| {
        report(Transfer {
            name: name.to_owned(),
            current: u64::from(done),
            total: 1,
            done,
        });
    };
    tell(false);
    let result = work()?;
    tell(true);
    Ok(result)
}

/// Reads the archives of Debian's releases. One for each build.
pub(crate) struct PackageArchive {
    pub(crate) store: Store,
    pub(crate) archive: DebianArchive,
    pub(crate) fetcher: Arc<distil_fetch::Client>,
    pub(crate) now: Timestamp,
    pub(crate) cancel: Arc<CancelFlag>,
    alone: Mutex<()>,
}

impl PackageArchive {
    pub(crate) fn new(
        store: Store,
        archive: DebianArchive,
        fetcher: Arc<distil_fetch::Client>,
        now: Timestamp,
        cancel: Arc<CancelFlag>,
    ) -> Self {
        Self {
            store,
            archive,
            fetcher,
            now,
            cancel,
            alone: Mutex::default(),
        }
    }

    /// Works with the archive of a release. One at a time: indexes and the unpacker take their memory once.
    pub(crate) fn read<T>(
        &self,
        codename: &str,
        work: impl FnOnce(&Archive<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let keyring = Keyring::debian();
        self.read_from(&self.sources(codename), &keyring, work)
    }

    /// Works with the archives of the recipes' releases and their own sources, each of which has keys of its own.
    pub(crate) fn read_for<T>(
        &self,
        specs: &[&ImageSpec],
        work: impl FnOnce(&Archive<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut keyring = Keyring::debian();
        let mut sources = ArchiveSources {
            sources: Vec::new(),
            origin: SourceOrigin::BuiltIn,
        };
        for spec in specs {
            let mut debian = self.sources(spec.release.codename());
            sources.origin = debian.origin;
            if !spec.debian_suites {
                debian.sources.clear();
            }
            let extra = spec.sources.iter().map(|extra| Source {
                url: extra.url.clone(),
                suite: extra.suite.clone(),
                components: extra.components.clone(),
            });
            let keyrings = spec.sources.iter().map(|extra| Some(&extra.keyring));
            let debian = debian.sources.into_iter().map(|source| (source, None));
            for (source, keys) in debian.chain(extra.zip(keyrings)) {
                if sources.sources.contains(&source) {
                    continue;
                }
                if let Some(keys) = keys {
                    keyring.add_for(&source, keys).map_err(|error| other(&error))?;
                }
                sources.sources.push(source);
            }
        }
        self.read_from(&sources, &keyring, work)
    }

    fn read_from<T>(
        &self,
        sources: &ArchiveSources,
        keyring: &Keyring,
        work: impl FnOnce(&Archive<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let _used = self.store.use_downloads().map_err(ImageError::from)?;
        let cache = DownloadCache::open(&self.archive.downloads).map_err(|error| other(&error))?;
        work(&Archive {
            sources,
            cache: &cache,
            fetcher: self.fetcher.as_ref(),
            keyring,
            cancel: &self.cancel.flag,
        })
    }

    /// The time of the build in seconds.
    pub(crate) fn seconds(&self) -> i64 {
        self.now.0 / 1_000_000_000
    }

    /// Which archives are read: the one that the user named, else the host's, else the official ones.
    fn sources(&self, codename: &str) -> ArchiveSources {
        let host: Vec<_> = self
            .archive
            .host_sources
            .iter()
            .flat_map(|(name, text)| distil_debian::parse_apt_sources(name, text))
            .collect();
        ArchiveSources::for_release(codename, self.archive.mirror.as_deref(), &host)
    }
}

/// Downloads packages of `total` bytes that the cache lacks; tells the bytes.
pub(crate) fn download(
    archive: &Archive<'_>,
    indexes: &Indexes,
    packages: &[PackageId],
    total: u64,
    report: &(dyn Fn(Transfer) + Sync),
) -> Result<Vec<PathBuf>, Problem> {
    let received = AtomicU64::new(0);
    let tell = |current: u64, done: bool| {
        report(Transfer {
            name: format!("download {} packages", packages.len()),
            current,
            total,
            done,
        });
    };
    tell(0, false);
    let debs = archive
        .download(indexes, packages, &|_, size| {
            tell(received.fetch_add(size, Ordering::Relaxed) + size, false);
        })
        .map_err(|error| other(&error))?;
    tell(total, true);
    Ok(debs)
}
