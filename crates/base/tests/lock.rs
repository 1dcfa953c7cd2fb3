//! Lockfiles of a small signed archive: made, kept, verified, updated.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../debian/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use distil_base::lock::{LockError, Lockfile, Locking, MakeError, Output, VerifyError, folder_of};
use distil_base::recipe::{ImageSpec, RecipeChain, Request, Variant};
use distil_base::selection::{Selection, select};
use distil_debian::{
    AcceptedRelease, Archive, ArchiveError, ArchiveSources, DownloadCache, FileFetcher, Keyring,
};
use distil_oci::{Digest, Platform};
use support::{TestArchive, now};

static NEVER: AtomicBool = AtomicBool::new(false);
const DAY: i64 = 86_400;
const RECIPE: &str =
    "name: app\ndescription: test\nruns: nothing\nrelease: bookworm\nresolve: closure\npackages: [app]\n";

struct World {
    archive: TestArchive,
    directory: tempfile::TempDir,
    cache: DownloadCache,
    keyring: Keyring,
    sources: ArchiveSources,
}

impl World {
    fn new() -> World {
        let mut archive = TestArchive::new();
        archive.add("bookworm", "app", "1.0", "Depends: lib (>= 1)\n");
        archive.add("bookworm", "lib", "1.0", "");
        archive.add("bookworm-security", "lib", "1.0+deb12u1", "Source: libsource\n");
        archive.publish(now() - 2 * DAY);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("app.yaml"), RECIPE).unwrap();
        World {
            cache: DownloadCache::open(&directory.path().join("cache")).unwrap(),
            keyring: archive.key.keyring(),
            sources: ArchiveSources::for_release("bookworm", Some(&archive.url()), &[]),
            directory,
            archive,
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("app.lock")
    }

    fn archive(&self) -> Archive<'_> {
        Archive {
            sources: &self.sources,
            cache: &self.cache,
            fetcher: &FileFetcher,
            keyring: &self.keyring,
            cancel: &NEVER,
        }
    }

    fn spec(&self, architecture: &str) -> ImageSpec {
        let chain = RecipeChain::open(&self.directory.path().join("app.yaml")).unwrap();
        let request = Request {
            release: None,
            architecture,
            variant: Variant::default(),
        };
        chain.compose(&request).unwrap()
    }

    fn select(&self, architecture: &str) -> (Selection, Vec<AcceptedRelease>) {
        let indexes = self.archive().update(architecture, now()).unwrap();
        let selection = select(&self.spec(architecture), &platform(architecture), &indexes).unwrap();
        (selection, indexes.releases)
    }

    fn lock(&self) -> Lockfile {
        let (amd64, first) = self.select("amd64");
        let (arm64, second) = self.select("arm64");
        let lockfile = Lockfile::of(&[locking(&amd64, &first), locking(&arm64, &second)]).unwrap();
        let files: Vec<(String, &[u8])> = lockfile
            .suites
            .iter()
            .map(|suite| {
                let release = first.iter().find(|one| one.source.suite == suite.name).unwrap();
                (suite.file_name(), release.bytes.as_slice())
            })
            .collect();
        lockfile.save(&self.path(), &files).unwrap();
        lockfile
    }

    fn verify(&self, lockfile: &Lockfile, fetch: bool) -> Result<usize, VerifyError> {
        let verified = lockfile.verify(&folder_of(&self.path()), &self.archive(), fetch)?;
        Ok(verified.iter().map(|suite| suite.packages).sum())
    }
}

fn platform(architecture: &str) -> Platform {
    format!("linux/{architecture}").parse().unwrap()
}

fn locking<'a>(selection: &'a Selection, releases: &'a [AcceptedRelease]) -> Locking<'a> {
    Locking {
        recipe: "app.yaml",
        selection,
        releases,
    }
}

#[test]
fn gives_the_same_selection_without_an_archive() {
    let world = World::new();
    let lockfile = world.lock();
    assert_eq!(Lockfile::load(&world.path()).unwrap(), lockfile);
    assert_eq!((lockfile.images.len(), lockfile.packages.len()), (2, 2));
    assert_eq!(lockfile.suites[0].indexes.len(), 2);
    assert!(
        !lockfile.to_text().contains(&world.archive.url()),
        "a lockfile names no host"
    );
    for architecture in ["amd64", "arm64"] {
        let (mut chosen, _) = world.select(architecture);
        let locked = lockfile
            .selection(&world.spec(architecture), &platform(architecture))
            .unwrap();
        chosen.packages.iter_mut().for_each(|package| package.id = None);
        assert_eq!(locked, chosen);
        assert_eq!(locked.key(), chosen.key());
        assert_eq!(locked.packages[1].source, "libsource");
    }
    let recipe = RECIPE.replace("[app]", "[app, lib]");
    fs::write(world.directory.path().join("app.yaml"), recipe).unwrap();
    let error = lockfile
        .selection(&world.spec("amd64"), &platform("amd64"))
        .unwrap_err();
    assert!(matches!(error, LockError::RecipeChanged { .. }), "{error}");
}

#[test]
fn verifies_down_to_the_signatures() {
    let world = World::new();
    let lockfile = world.lock();
    assert_eq!(world.verify(&lockfile, false).unwrap(), 2);
    // A year later the suites have expired; the lockfile is as good as ever. Without the cache
    // the indexes come by their hash.
    fs::remove_dir_all(world.directory.path().join("cache")).unwrap();
    DownloadCache::open(&world.directory.path().join("cache")).unwrap();
    let error = world.verify(&lockfile, false).unwrap_err();
    assert!(matches!(error, VerifyError::IndexMissing { .. }), "{error}");
    assert_eq!(world.verify(&lockfile, true).unwrap(), 2);

    let is = |change: &dyn Fn(&mut Lockfile), wanted: &str| {
        let mut changed = lockfile.clone();
        change(&mut changed);
        let error = world.verify(&changed, true).unwrap_err().to_string();
        assert!(error.contains(wanted), "{wanted}: {error}");
    };
    let other = Digest::sha256(b"other");
    is(
        &|lock| lock.packages[1].sha256 = other,
        "package `lib` `1.0+deb12u1` is not in suite",
    );
    is(&|lock| lock.packages[0].size += 1, "package `app`");
    is(
        &|lock| lock.packages[0].filename = "pool/x.deb".to_owned(),
        "package `app`",
    );
    is(
        &|lock| lock.packages[0].suite = "sid".to_owned(),
        "which is not in the lockfile",
    );
    is(&|lock| lock.suites[1].date += 1, "another date");
    is(&|lock| lock.suites[1].valid_until = None, "end of validity");
    is(&|lock| lock.suites[1].indexes[0].sha256 = other, "another index");
    is(&|lock| lock.suites[1].signers.clear(), "list of signers");
    is(&|lock| lock.suites[0].in_release = other, "cannot be read");
}

#[test]
fn trusts_nothing_beside_the_lockfile_unseen() {
    let mut world = World::new();
    let mut lockfile = world.lock();
    let folder = folder_of(&world.path());
    let release = folder.join(lockfile.suites[0].file_name());
    let signed = fs::read(&release).unwrap();
    let mut changed = signed.clone();
    changed[80] ^= 1;
    fs::write(&release, &changed).unwrap();
    let error = world.verify(&lockfile, true).unwrap_err();
    assert!(matches!(error, VerifyError::OtherRelease { .. }), "{error}");
    // Whoever changes lockfile and Release file alike lacks the signature.
    lockfile.suites[0].in_release = Digest::sha256(&changed);
    fs::write(folder.join(lockfile.suites[0].file_name()), &changed).unwrap();
    let error = world.verify(&lockfile, true).unwrap_err();
    let untrusted = matches!(
        error,
        VerifyError::Release {
            source: ArchiveError::Signature { .. },
            ..
        }
    );
    assert!(untrusted, "{error}");
    let lockfile = world.lock();
    world.keyring = support::SigningKey::generate().keyring();
    assert!(matches!(
        world.verify(&lockfile, true),
        Err(VerifyError::Release { .. })
    ));
    world.keyring = world.archive.key.keyring();
    let suite = &lockfile.suites[1];
    let index = folder.join(suite.index_file_name(&suite.indexes[0]));
    fs::write(&index, b"another").unwrap();
    let error = world.verify(&lockfile, true).unwrap_err();
    assert!(matches!(error, VerifyError::OtherIndex { .. }), "{error}");
}

#[test]
fn an_update_keeps_what_did_not_change() {
    let mut world = World::new();
    let mut old = world.lock();
    let output = Output {
        manifest: Digest::sha256(b"manifest"),
        layers: vec![Digest::sha256(b"layer")],
    };
    old.set_output("app", "amd64", output.clone()).unwrap();
    world.archive.publish(now() - DAY);
    let mut new = world.lock();
    assert_ne!(new.suites, old.suites);
    assert_ne!(new.images[0].epoch, old.images[0].epoch);
    new.keep_unchanged(&old);
    assert_eq!(new.images, old.images);
    assert!(old.changes(&new).is_empty());

    world.archive.add("bookworm-security", "lib", "1.0+deb12u2", "");
    world.archive.publish(now());
    let mut new = world.lock();
    new.keep_unchanged(&old);
    assert_eq!(new.images[0].output, None);
    let changes = old.changes(&new);
    assert_eq!(changes.len(), 1);
    assert!(changes[0].is_security());
    assert_eq!(changes[0].architectures, ["amd64", "arm64"]);
    // A mirror that lags behind is not followed, even by a machine that never saw the newer one.
    let (_, releases) = world.select("amd64");
    new.check_not_before(&releases).unwrap();
    new.suites[0].date += DAY;
    let error = new.check_not_before(&releases).unwrap_err();
    assert!(matches!(error, LockError::WentBack { .. }), "{error}");
}

#[test]
fn refuses_suites_that_changed_in_between() {
    let world = World::new();
    let (amd64, first) = world.select("amd64");
    world
        .archive
        .publish_suite("bookworm-updates", now(), now() + DAY);
    let (arm64, second) = world.select("arm64");
    let error = Lockfile::of(&[locking(&amd64, &first), locking(&arm64, &second)]).unwrap_err();
    let suite = "bookworm-updates".to_owned();
    assert_eq!(error, MakeError::SuiteChanged { suite });
    let twice = Lockfile::of(&[locking(&amd64, &first), locking(&amd64, &first)]).unwrap_err();
    assert!(matches!(twice, MakeError::Twice { .. }), "{twice}");
}
