//! The small archive of `testdata/make.sh`, whole and broken.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking and tells what it skips"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use distil_debian::{
    Archive, ArchiveError, ArchiveSources, CacheError, DownloadCache, FetchError, FetchRequest, FetchSink,
    Fetcher, FileFetcher, Indexes, Keyring, PackageId, ReleaseError, Source, SourceOrigin, resolve,
};

/// 2024-01-01.
const NOW: i64 = 1_704_067_200;

static NEVER: AtomicBool = AtomicBool::new(false);

struct Fixture {
    directory: tempfile::TempDir,
    sources: ArchiveSources,
    cache: DownloadCache,
    keyring: Keyring,
}

impl Fixture {
    fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        copy(&testdata.join("archive"), &directory.path().join("archive"));
        let mut keyring = Keyring::default();
        keyring
            .add(&fs::read(testdata.join("keys/good.gpg")).unwrap())
            .unwrap();
        let source = Source {
            url: format!("file:{}/archive", directory.path().display()),
            suite: "test".to_owned(),
            components: vec!["main".to_owned()],
        };
        Fixture {
            sources: ArchiveSources {
                sources: vec![source],
                origin: SourceOrigin::Mirror,
            },
            cache: DownloadCache::open(&directory.path().join("cache")).unwrap(),
            keyring,
            directory,
        }
    }

    fn archive<'a>(&'a self, fetcher: &'a dyn Fetcher) -> Archive<'a> {
        Archive {
            sources: &self.sources,
            cache: &self.cache,
            fetcher,
            keyring: &self.keyring,
            cancel: &NEVER,
        }
    }

    fn update(&self) -> Result<Indexes, ArchiveError> {
        self.archive(&FileFetcher).update("amd64", NOW)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("archive").join(name)
    }

    fn download(&self, fetcher: &dyn Fetcher) -> Result<Vec<PathBuf>, ArchiveError> {
        let indexes = self.update()?;
        let wanted: Vec<PackageId> = resolve(&indexes.packages, &["app"]).unwrap();
        self.archive(fetcher).download(&indexes, &wanted, &|_, _| {})
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn change(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn resolves_and_downloads() {
    let fixture = Fixture::new();
    let indexes = fixture.update().unwrap();
    let names: Vec<&str> = resolve(&indexes.packages, &["app"])
        .unwrap()
        .into_iter()
        .map(|id| indexes.packages.package(id).name())
        .collect();
    assert_eq!(names, ["app", "data", "libv1"]);
    assert_eq!(indexes.releases[0].signers.len(), 1);
    assert_eq!(indexes.date(), 1_701_475_200);
    let files = fixture.download(&FileFetcher).unwrap();
    assert!(files.iter().all(|file| file.is_file()));
    // A file that was damaged in the cache is downloaded again.
    change(&files[0]);
    assert_eq!(fixture.download(&FileFetcher).unwrap(), files);
    // Everything is there now: packages and index are not asked for again.
    fs::remove_dir_all(fixture.path("pool")).unwrap();
    fs::remove_dir_all(fixture.path("dists/test/main")).unwrap();
    assert_eq!(fixture.download(&FileFetcher).unwrap(), files);
}

#[test]
fn refuses_tampered_files() {
    let fixture = Fixture::new();
    change(&fixture.path("dists/test/InRelease"));
    assert!(matches!(fixture.update(), Err(ArchiveError::Signature { .. })));

    let fixture = Fixture::new();
    let index = fixture.path("dists/test/main/binary-amd64");
    fs::remove_dir_all(index.join("by-hash")).unwrap();
    change(&index.join("Packages.xz"));
    let error = fixture.update().unwrap_err();
    assert!(
        matches!(error, ArchiveError::Cache(CacheError::Mismatch { .. })),
        "{error}"
    );

    let fixture = Fixture::new();
    change(&fixture.path("pool/data.deb"));
    let error = fixture.download(&FileFetcher).unwrap_err();
    assert!(error.to_string().contains("data.deb"), "{error}");
    assert!(
        matches!(error, ArchiveError::Cache(CacheError::Mismatch { .. })),
        "{error}"
    );
    // A mirror that was repaired works again.
    change(&fixture.path("pool/data.deb"));
    assert!(fixture.download(&FileFetcher).is_ok());
}

#[test]
fn refuses_truncated_and_missing_packages() {
    let fixture = Fixture::new();
    let deb = fixture.path("pool/app.deb");
    let whole = fs::read(&deb).unwrap();
    fs::write(&deb, &whole[..whole.len() / 2]).unwrap();
    let error = fixture.download(&FileFetcher).unwrap_err();
    assert!(
        matches!(error, ArchiveError::Cache(CacheError::Mismatch { .. })),
        "{error}"
    );
    fs::remove_file(&deb).unwrap();
    let error = fixture.download(&FileFetcher).unwrap_err();
    assert!(matches!(error, ArchiveError::Gone { .. }), "{error}");
}

#[test]
fn refuses_wrong_times_suites_and_architectures() {
    let fixture = Fixture::new();
    let update = |now| {
        fixture
            .archive(&FileFetcher)
            .update("amd64", now)
            .map(drop)
            .unwrap_err()
    };
    assert!(matches!(
        update(NOW + 5 * 31_536_000),
        ArchiveError::Release {
            source: ReleaseError::Expired { .. },
            ..
        }
    ));
    assert!(matches!(update(NOW - 31_536_000), ArchiveError::Signature { .. }));
    let error = fixture.archive(&FileFetcher).update("arm64", NOW).unwrap_err();
    assert!(matches!(error, ArchiveError::MissingIndex { .. }), "{error}");

    let mut fixture = Fixture::new();
    fixture.sources.sources[0].suite = "nowhere".to_owned();
    assert!(matches!(fixture.update(), Err(ArchiveError::UnknownSuite { .. })));
    fs::rename(fixture.path("dists/test"), fixture.path("dists/nowhere")).unwrap();
    assert!(matches!(
        fixture.update(),
        Err(ArchiveError::Release {
            source: ReleaseError::OtherSuite { .. },
            ..
        })
    ));
}

#[test]
fn refuses_expired_and_revoked_keys() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for (key, now, part) in [
        ("short", NOW + 31_536_000, "expired at 2024-02-09"),
        ("revoked", NOW, "is revoked"),
    ] {
        let mut fixture = Fixture::new();
        fixture.keyring = Keyring::default();
        let public = fs::read(testdata.join(format!("keys/{key}.gpg"))).unwrap();
        fixture.keyring.add(&public).unwrap();
        let signed = testdata.join("releases").join(key);
        fs::copy(signed, fixture.path("dists/test/InRelease")).unwrap();
        let error = fixture.archive(&FileFetcher).update("amd64", now).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(part), "{cause}");
    }
}

#[test]
fn refuses_to_go_back_in_time() {
    let fixture = Fixture::new();
    fixture.update().unwrap();
    let older = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/releases/older");
    fs::copy(older, fixture.path("dists/test/InRelease")).unwrap();
    let error = fixture.update().unwrap_err();
    assert!(
        matches!(
            error,
            ArchiveError::Release {
                source: ReleaseError::WentBack { .. },
                ..
            }
        ),
        "{error}"
    );
}

/// Breaks off the first download of each package in its middle and notes the offsets asked for.
#[derive(Default)]
struct Breaking {
    offsets: Mutex<Vec<u64>>,
}

impl Fetcher for Breaking {
    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut dyn FetchSink) -> Result<(), FetchError> {
        self.offsets.lock().unwrap().push(request.offset);
        if request.offset > 0 || !request.url.ends_with(".deb") {
            return FileFetcher.fetch(request, sink);
        }
        let path = request.url.strip_prefix("file:").unwrap();
        let bytes = fs::read(path).unwrap();
        sink.start_at(0).unwrap();
        sink.write_all(&bytes[..bytes.len() / 2]).unwrap();
        Err(FetchError::Interrupted {
            url: request.url.to_owned(),
            received: bytes.len() as u64 / 2,
            reason: "the connection broke".to_owned(),
        })
    }
}

#[test]
fn continues_interrupted_downloads() {
    let fixture = Fixture::new();
    let fetcher = Breaking::default();
    let files = fixture.download(&fetcher).unwrap();
    assert_eq!(files.len(), 3);
    let offsets = fetcher.offsets.into_inner().unwrap();
    assert_eq!(
        offsets.iter().filter(|offset| **offset > 0).count(),
        3,
        "{offsets:?}"
    );
}

struct Unplugged;

impl Fetcher for Unplugged {
    fn fetch(&self, request: &FetchRequest<'_>, _: &mut dyn FetchSink) -> Result<(), FetchError> {
        Err(FetchError::Unreachable {
            url: request.url.to_owned(),
            reason: "no route".to_owned(),
        })
    }
}

#[test]
fn says_when_the_archive_is_unreachable_or_the_user_stops() {
    let fixture = Fixture::new();
    let error = fixture.archive(&Unplugged).update("amd64", NOW).unwrap_err();
    assert!(error.to_string().contains("cannot be reached"), "{error}");
    let indexes = fixture.update().unwrap();
    let wanted = resolve(&indexes.packages, &["app"]).unwrap();
    let cancel = AtomicBool::new(false);
    cancel.store(true, Ordering::Relaxed);
    let archive = Archive {
        cancel: &cancel,
        ..fixture.archive(&FileFetcher)
    };
    let result = archive.download(&indexes, &wanted, &|_, _| {});
    assert!(matches!(result, Err(ArchiveError::Cancelled)));
}
