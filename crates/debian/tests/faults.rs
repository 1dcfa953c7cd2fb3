//! Archives that are tampered with, broken, old or slow: refused in words, and nothing half-made stays.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use distil_debian::{
    Archive, ArchiveError, ArchiveSources, CacheError, DownloadCache, Indexes, Keyring, PackageFile,
    ReleaseError, SnapshotMirror, resolve,
};
use distil_fetch::{Client, ClientConfig, RetryPolicy};
use support::server::{Answer, Server};
use support::{TestArchive, now};

static NEVER: AtomicBool = AtomicBool::new(false);
const DAY: i64 = 86_400;

/// A client that reads an archive.
struct Reader {
    directory: tempfile::TempDir,
    sources: ArchiveSources,
    cache: DownloadCache,
    keyring: Keyring,
    client: Client,
}

impl Reader {
    fn new(archive: &TestArchive, url: &str) -> Reader {
        let directory = tempfile::tempdir().unwrap();
        let retry = RetryPolicy {
            attempts: 2,
            first_delay: Duration::from_millis(1),
            ..RetryPolicy::default()
        };
        Reader {
            sources: ArchiveSources::for_release("bookworm", Some(url), &[]),
            cache: DownloadCache::open(directory.path()).unwrap(),
            keyring: archive.key.keyring(),
            client: Client::new(ClientConfig {
                retry,
                ..ClientConfig::default()
            }),
            directory,
        }
    }

    fn archive(&self) -> Archive<'_> {
        Archive {
            sources: &self.sources,
            cache: &self.cache,
            fetcher: &self.client,
            keyring: &self.keyring,
            cancel: &NEVER,
        }
    }

    fn update(&self) -> Result<Indexes, ArchiveError> {
        self.archive().update("amd64", now())
    }

    fn files(&self, indexes: &Indexes, names: &[&str]) -> Vec<PackageFile> {
        let found = resolve(&indexes.packages, names).unwrap();
        let file = |id| {
            let package = indexes.packages.package(id);
            PackageFile {
                suite: indexes.releases[package.suite()].source.suite.clone(),
                archive_url: None,
                filename: package.filename().to_owned(),
                size: package.size().unwrap(),
                sha256: package.sha256().unwrap(),
            }
        };
        found.into_iter().map(file).collect()
    }

    fn download(&self, names: &[&str]) -> Result<Vec<PathBuf>, ArchiveError> {
        let indexes = self.update()?;
        let files = self.files(&indexes, names);
        self.archive().download_files(&files, None, &|_, _| {})
    }

    /// Names of complete files of a part of the cache.
    fn kept(&self, part: &str) -> usize {
        let entries = fs::read_dir(self.directory.path().join(part)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".partial")).count()
    }
}

/// An archive with `app`, which needs `lib`; the newer `lib` is in the security suite.
fn archive() -> TestArchive {
    let mut archive = TestArchive::new();
    archive.add("bookworm", "app", "1.0", "Depends: lib (>= 1)\n");
    archive.add("bookworm", "lib", "1.0", "");
    archive.add("bookworm-security", "lib", "1.0+deb12u1", "");
    archive.publish(now() - DAY);
    archive
}

fn serve(
    archive: &TestArchive,
    answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
) -> (Server, Reader) {
    let server = Server::start(archive.path(), move |seen, before| answer(&seen.path, before));
    let reader = Reader::new(archive, &format!("{}/debian", server.url));
    (server, reader)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_unchanged_suite_costs_one_small_answer() {
    let archive = archive();
    let (server, reader) = serve(&archive, |_, _| Answer::File);
    let first = reader.update().unwrap();
    assert_eq!(first.releases[2].indexes[0].0, "main/binary-amd64/Packages.gz");
    server.forget();
    let second = reader.update().unwrap();
    let statuses: Vec<u16> = server.seen().iter().map(|seen| seen.status).collect();
    assert_eq!(statuses, [304, 304, 304]);
    assert_eq!(second.releases[0].bytes, first.releases[0].bytes);
    server.forget();
    let remembered = reader.archive().remembered("amd64", now()).unwrap();
    assert_eq!(remembered.packages.len(), 3);
    assert!(server.seen().is_empty());
    archive.publish_suite("bookworm-updates", now(), now() + DAY);
    let third = reader.update().unwrap();
    assert_ne!(third.releases[1].digest, first.releases[1].digest);
    // What a cache never saw it cannot remember.
    let other = Reader::new(&archive, &archive.url());
    let error = other.archive().remembered("amd64", now()).unwrap_err();
    assert!(error.to_string().contains("`bookworm"), "{error}");
}

#[test]
fn refuses_an_in_release_with_one_byte_changed() {
    let archive = archive();
    let path = archive.in_release("bookworm-security");
    let length = fs::metadata(&path).unwrap().len();
    let length = usize::try_from(length).unwrap();
    for at in [1, 60, 100, length / 2, length - 60] {
        flip(&path, at);
        let reader = Reader::new(&archive, &archive.url());
        let error = reader.update().unwrap_err();
        assert!(
            matches!(error, ArchiveError::Signature { .. }),
            "byte {at}: {error}"
        );
        assert!(
            error.to_string().contains("bookworm-security/InRelease"),
            "{error}"
        );
        flip(&path, at);
    }
    assert!(Reader::new(&archive, &archive.url()).update().is_ok());
}

#[test]
fn refuses_text_outside_of_the_signed_block() {
    let archive = archive();
    let path = archive.in_release("bookworm");
    let signed = fs::read_to_string(&path).unwrap();
    for text in [
        format!("Codename: bookworm\n{signed}"),
        format!("{signed}Codename: bookworm\n"),
        format!("{signed}{signed}"),
    ] {
        fs::write(&path, text).unwrap();
        let error = Reader::new(&archive, &archive.url()).update().unwrap_err();
        assert!(matches!(error, ArchiveError::Signature { .. }), "{error}");
    }
}

#[test]
fn refuses_unknown_keys_and_keys_of_another_source() {
    let (archive, other) = (archive(), TestArchive::new());
    let mut reader = Reader::new(&archive, &archive.url());
    reader.keyring = other.key.keyring();
    let error = reader.update().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("is not trusted for this archive"), "{cause}");
    assert_eq!(reader.kept("release"), 0);
    // The keys of one source count for that one alone.
    let sources = reader.sources.sources.clone();
    reader
        .keyring
        .add_for(&sources[0], &archive.key.public())
        .unwrap();
    let error = reader.update().unwrap_err();
    assert!(!error.to_string().contains("/bookworm/"), "{error}");
    for source in &sources[1..] {
        reader.keyring.add_for(source, &archive.key.public()).unwrap();
    }
    assert!(reader.update().is_ok());
    // And others do not count for it any more.
    reader.keyring = archive.key.keyring();
    reader.keyring.add_for(&sources[0], &other.key.public()).unwrap();
    assert!(matches!(reader.update(), Err(ArchiveError::Signature { .. })));
}

#[test]
fn refuses_what_has_expired_or_goes_back() {
    let archive = archive();
    let reader = Reader::new(&archive, &archive.url());
    reader.update().unwrap();
    archive.publish_suite("bookworm-updates", now() - 2 * DAY, now() + DAY);
    let error = reader.update().unwrap_err();
    let is_back = matches!(
        error,
        ArchiveError::Release {
            source: ReleaseError::WentBack { .. },
            ..
        }
    );
    assert!(is_back, "{error}");
    archive.publish_suite("bookworm-updates", now() - 3 * DAY, now() - DAY);
    let error = Reader::new(&archive, &archive.url()).update().unwrap_err();
    let is_expired = matches!(
        error,
        ArchiveError::Release {
            source: ReleaseError::Expired { .. },
            ..
        }
    );
    assert!(is_expired, "{error}");
}

#[test]
fn a_missing_or_wrong_index_is_fatal() {
    let archive = archive();
    let index = |suite: &str| {
        let dists = archive.archive_of(suite).join("dists").join(suite);
        dists.join("main/binary-amd64/Packages.gz")
    };
    let security = index("bookworm-security");
    let whole = fs::read(&security).unwrap();
    let middle = whole.len() / 2;
    flip(&security, middle);
    let reader = Reader::new(&archive, &archive.url());
    let error = reader.update().unwrap_err();
    assert!(
        matches!(error, ArchiveError::Cache(CacheError::Mismatch { .. })),
        "{error}"
    );
    assert_eq!(reader.kept("sha256") + reader.kept("index"), 4);
    fs::remove_file(&security).unwrap();
    assert!(
        reader
            .update()
            .unwrap_err()
            .to_string()
            .contains("bookworm-security")
    );
    fs::write(&security, whole).unwrap();
    assert!(reader.update().is_ok());
    fs::remove_file(archive.in_release("bookworm-security")).unwrap();
    let error = reader.update().unwrap_err();
    assert!(matches!(error, ArchiveError::UnknownSuite { .. }), "{error}");
    let error = reader.archive().update("riscv64", now()).unwrap_err();
    assert!(matches!(error, ArchiveError::MissingIndex { .. }), "{error}");
}

#[test]
fn refuses_another_package_than_the_index_names() {
    let archive = archive();
    let (_server, reader) = serve(&archive, |path, _| match path.ends_with("app_1.0_all.deb") {
        true => Answer::Bytes(b"another".to_vec()),
        false => Answer::File,
    });
    let error = reader.download(&["app"]).unwrap_err();
    assert!(
        matches!(error, ArchiveError::Cache(CacheError::Mismatch { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("app_1.0_all.deb"), "{error}");
    // Neither it nor a part of it is kept.
    let entries = fs::read_dir(reader.directory.path().join("sha256")).unwrap();
    assert!(
        entries
            .flatten()
            .all(|entry| entry.metadata().unwrap().len() != 7)
    );
}

#[test]
fn continues_after_an_interruption() {
    let archive = archive();
    let (server, reader) = serve(&archive, |path, before| {
        match path.ends_with(".deb") && before == 0 {
            true => Answer::Broken(100),
            false => Answer::File,
        }
    });
    assert_eq!(reader.download(&["app"]).unwrap().len(), 2);
    let ranges = server.seen();
    let ranges: Vec<&str> = ranges.iter().filter_map(|seen| seen.header("range")).collect();
    assert_eq!(ranges, ["bytes=100-", "bytes=100-"]);
}

#[test]
fn gives_up_on_redirects_in_a_circle() {
    let archive = archive();
    let (server, reader) = serve(&archive, |path, _| Answer::Redirect(path.to_owned()));
    let error = reader.update().unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
    assert!(server.seen().len() < 60, "{}", server.seen().len());
}

#[test]
fn what_was_dropped_comes_from_a_snapshot() {
    let mut archive = archive();
    let reader = Reader::new(&archive, &archive.url());
    let indexes = reader.update().unwrap();
    let files = reader.files(&indexes, &["app"]);
    let security = archive.archive_of("bookworm-security").join(&files[1].filename);
    let bytes = fs::read(&security).unwrap();
    fs::remove_file(&security).unwrap();
    let error = reader
        .archive()
        .download_files(&files, None, &|_, _| {})
        .unwrap_err();
    assert!(matches!(error, ArchiveError::Gone { .. }), "{error}");

    let snapshots = tempfile::tempdir().unwrap();
    let dates: Vec<_> = indexes
        .releases
        .iter()
        .map(|one| (one.source.suite.clone(), one.release.date))
        .collect();
    let url = format!("file:{}", snapshots.path().display());
    let mirror = SnapshotMirror::new(&url, &dates);
    let download = || reader.archive().download_files(&files, Some(&mirror), &|_, _| {});
    let error = download().unwrap_err();
    assert!(matches!(error, ArchiveError::GoneEverywhere { .. }), "{error}");
    let time = distil_debian::format_compact(dates[2].1 + 36 * 3_600);
    let place = snapshots
        .path()
        .join("archive/debian-security")
        .join(time)
        .join(&files[1].filename);
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, b"another").unwrap();
    assert!(download().is_err());
    fs::write(&place, &bytes).unwrap();
    assert_eq!(fs::read(&download().unwrap()[1]).unwrap(), bytes);
    // An archive that has other bytes under the name is passed over too.
    archive.clear("bookworm");
    fs::write(&security, b"rebuilt").unwrap();
    let fresh = Reader::new(&archive, &archive.url());
    let done = fresh.archive().download_files(&files, Some(&mirror), &|_, _| {});
    assert_eq!(fs::read(&done.unwrap()[1]).unwrap(), bytes);
}

#[test]
fn an_impossible_set_is_explained() {
    let mut archive = archive();
    archive.add("bookworm", "old", "1", "Depends: lib (<< 1)\n");
    archive.add("bookworm", "rival", "1", "Conflicts: lib\n");
    archive.publish(now());
    let reader = Reader::new(&archive, &archive.url());
    let indexes = reader.update().unwrap();
    let explain = |names: &[&str]| resolve(&indexes.packages, names).unwrap_err().to_string();
    let shown = explain(&["old"]);
    assert!(shown.contains("old") && shown.contains("lib (<< 1)"), "{shown}");
    let shown = explain(&["app", "rival"]);
    assert!(shown.contains("rival") && shown.contains("lib"), "{shown}");
}
