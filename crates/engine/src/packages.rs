//! Debian packages as a source: `deb:bookworm/libpq5`.
//!
//! Which packages a source stands for is decided once and kept in the store as a lockfile, so that a build that is
//! cached needs no network; `--pull` decides anew. The source's cache key is the digest of that choice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distil_base::lock::{Lockfile, Locking};
use distil_base::recipe::{Derived, ImageSpec, Layout, Resolve, RunSettings, Variant};
use distil_base::selection::{self, Reason, SelectedPackage, Selection};
use distil_base::{DebianRelease, debian_architecture};
use distil_debian::Indexes;
use distil_llb::DebSource;
use distil_oci::{Digest, Platform};
use distil_sources::{ImageError, Transfer};
use distil_store::{LayerId, LockMode};

use crate::archive::{Problem, other, part};
use crate::bases::BaseMaker;

/// Bucket of lockfiles by `SOURCE PLATFORM`.
const LOCKS: &str = "package-locks";
/// Bucket of layers by key of the selection.
const LAYERS: &str = "package-layers";

/// Packages of one platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PackageRequest {
    source: DebSource,
    platform: Platform,
    release: DebianRelease,
    architecture: &'static str,
    /// What is remembered does not count (`--pull`).
    pull: bool,
}

impl PackageRequest {
    /// Checks what can be known without an archive.
    pub(crate) fn new(source: DebSource, platform: &Platform, pull: bool) -> Result<Self, String> {
        let release = DebianRelease::ALL
            .into_iter()
            .find(|release| release.codename() == source.suite())
            .ok_or_else(|| unknown_suite(&source))?;
        let architecture = debian_architecture(platform).ok_or_else(|| {
            format!("`{source}` cannot be had for {platform}: packages are for linux/amd64 and linux/arm64")
        })?;
        Ok(Self {
            source,
            platform: platform.normalized(),
            release,
            architecture,
            pull,
        })
    }

    fn name(&self) -> Vec<u8> {
        format!("{} {}", self.source, self.platform).into_bytes()
    }

    /// The selection that a lockfile of this source holds.
    fn selection_of(&self, lock: &Lockfile) -> Option<Selection> {
        let mut specs = self.specs().into_iter();
        specs.find_map(|spec| lock.selection(&spec, &self.platform).ok())
    }

    /// The specs that a source can have: without anything computed, with the bundle of `ca-certificates`, whose
    /// package has no file for it, and with that as Java's keystore too.
    fn specs(&self) -> [ImageSpec; 3] {
        let with = |java_keystore: bool| ImageSpec {
            derived: vec![Derived::CaBundle { java_keystore }],
            ..self.spec()
        };
        [self.spec(), with(false), with(true)]
    }

    /// The packages as an image that has nothing else. Files of Debian 12 stay where its packages have them; those
    /// of later releases are all below `/usr`, and the links that lead there come along.
    fn spec(&self) -> ImageSpec {
        ImageSpec {
            name: self.source.to_string(),
            recipes: Vec::new(),
            release: self.release,
            architecture: self.architecture.to_owned(),
            variant: Variant::default(),
            debian_suites: true,
            sources: Vec::new(),
            packages: self.source.packages().to_vec(),
            resolve: Resolve::Closure,
            derived: Vec::new(),
            inputs: Vec::new(),
            accounts: distil_base::recipe::Accounts::default(),
            files: Vec::new(),
            directories: Vec::new(),
            symlinks: Vec::new(),
            excludes: Vec::new(),
            run: RunSettings::default(),
            notes: Vec::new(),
            differs: None,
            merged_usr: self.release != DebianRelease::Bookworm,
            layout: Layout::Merged,
        }
    }
}

fn unknown_suite(source: &DebSource) -> String {
    let written =
        |release: DebianRelease| format!("`deb:{}/{}`", release.codename(), source.packages().join(","));
    let suite = source.suite();
    let meant = match suite {
        "oldstable" => Some(DebianRelease::Bookworm),
        "stable" => Some(DebianRelease::Trixie),
        _ => {
            let part_of = |release: &DebianRelease| suite.starts_with(release.codename());
            DebianRelease::ALL.into_iter().find(part_of)
        }
    };
    let known: Vec<&str> = DebianRelease::ALL.iter().map(|one| one.codename()).collect();
    match meant {
        Some(release) => format!(
            "the suite `{suite}` of `{source}` is not known: write {}, which has updates and security updates too",
            written(release)
        ),
        None => format!(
            "the suite `{suite}` of `{source}` is not known: there are {}",
            known.join(" and ")
        ),
    }
}

/// Answers for the package sources of one build.
pub(crate) struct PackageSources {
    maker: BaseMaker,
    chosen: Mutex<HashMap<(DebSource, Platform), Arc<Selection>>>,
}

impl PackageSources {
    pub(crate) fn new(maker: BaseMaker) -> Self {
        Self {
            maker,
            chosen: Mutex::default(),
        }
    }

    /// The packages that a source stands for. With `local_only` no archive is asked.
    ///
    /// # Errors
    /// [`ImageError::NotLocal`] with `local_only`; otherwise when packages cannot be chosen.
    pub(crate) fn selection(
        &self,
        request: &PackageRequest,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Arc<Selection>, ImageError> {
        // Whoever asks for the same waits for the answer.
        let mut chosen = lock(&self.chosen);
        let place = (request.source.clone(), request.platform.clone());
        if let Some(known) = chosen.get(&place) {
            return Ok(Arc::clone(known));
        }
        let before = self.remembered(request)?;
        let known = before.as_ref().and_then(|lock| request.selection_of(lock));
        let found = match known {
            Some(selection) if !request.pull => selection,
            _ if local_only => return Err(ImageError::NotLocal),
            _ => self.choose(request, before.as_ref(), report)?,
        };
        let found = Arc::new(found);
        chosen.insert(place, Arc::clone(&found));
        Ok(found)
    }

    /// The layer with the packages of a source, made where the store lacks it.
    ///
    /// # Errors
    /// [`ImageError::NotLocal`] with `local_only`; otherwise when a package cannot be had or unpacked.
    pub(crate) fn layer(
        &self,
        request: &PackageRequest,
        local_only: bool,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<LayerId, ImageError> {
        let selection = self.selection(request, local_only, report)?;
        let key = selection.key();
        if let Some(layer) = self.stored(&key)? {
            return Ok(layer);
        }
        if local_only {
            return Err(ImageError::NotLocal);
        }
        let store = &self.maker.packages.store;
        // One process makes it, the others find it.
        let _turn = store.lock(&format!("packages {key}"), LockMode::Exclusive)?;
        if let Some(layer) = self.stored(&key)? {
            return Ok(layer);
        }
        let layer = self.told(self.make(&selection, report))?;
        store.set_value(LAYERS, key.as_bytes(), Some(layer.to_string().as_bytes()))?;
        Ok(layer)
    }

    /// What was chosen before; a lockfile that cannot be read, or is of another form, counts as none.
    fn remembered(&self, request: &PackageRequest) -> Result<Option<Lockfile>, ImageError> {
        let value = self.maker.packages.store.get_value(LOCKS, &request.name())?;
        Ok(value
            .and_then(|value| String::from_utf8(value).ok())
            .and_then(|text| Lockfile::parse(&text).ok()))
    }

    fn stored(&self, key: &Digest) -> Result<Option<LayerId>, ImageError> {
        let value = self.maker.packages.store.get_value(LAYERS, key.as_bytes())?;
        let layer = value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        Ok(layer.filter(|layer| self.maker.snapshotter.has(&[*layer])))
    }

    /// Asks the archive, and remembers the answer. Where the packages are those of `before`, everything else is
    /// too: their files keep their dates although the suites were published anew.
    fn choose(
        &self,
        request: &PackageRequest,
        before: Option<&Lockfile>,
        report: &(dyn Fn(Transfer) + Sync),
    ) -> Result<Selection, ImageError> {
        let packages = &self.maker.packages;
        let chosen = packages.read(request.release.codename(), |archive| {
            part(report, "read package indexes", || {
                let indexes = archive
                    .update(request.architecture, packages.seconds())
                    .map_err(|error| other(&error))?;
                let selection = select(request, &indexes)?;
                let recipe = request.source.to_string();
                let locking = Locking {
                    recipe: &recipe,
                    selection: &selection,
                    releases: &indexes.releases,
                };
                let mut lock = Lockfile::of(&[locking]).map_err(|error| other(&error))?;
                if let Some(before) = before {
                    lock.keep_unchanged(before);
                }
                let kept = lock.selection(&selection.spec, &request.platform);
                Ok((kept.map_err(|error| other(&error))?, lock.to_text()))
            })
        });
        let (selection, text) = self.told(chosen)?;
        packages
            .store
            .set_value(LOCKS, &request.name(), Some(text.as_bytes()))?;
        Ok(selection)
    }

    fn make(&self, selection: &Selection, report: &(dyn Fn(Transfer) + Sync)) -> Result<LayerId, Problem> {
        let layers = self.maker.make_layers(selection, report)?;
        // The layout of the spec is one layer.
        let nothing = || Problem::Other("the packages gave no layer".into());
        layers.first().copied().ok_or_else(nothing)
    }

    fn told<T>(&self, result: Result<T, Problem>) -> Result<T, ImageError> {
        if self.maker.packages.cancel.token.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        result.map_err(|error| match error {
            Problem::Store(error) => error,
            Problem::Other(detail) => ImageError::Packages { detail },
        })
    }
}

/// The packages of a layer, a line each, for the log of a build.
pub(crate) fn list(selection: &Selection) -> String {
    let line = |package: &SelectedPackage| {
        let reason = match &package.reason {
            Reason::NeededBy(name) => format!(", for {name}"),
            Reason::Requested | Reason::Data => String::new(),
        };
        format!(
            "{} {} ({}){reason}\n",
            package.name, package.version, package.suite
        )
    };
    selection.packages.iter().map(line).collect()
}

/// Chooses the packages, and what stands for their maintainer scripts.
fn select(request: &PackageRequest, indexes: &Indexes) -> Result<Selection, Problem> {
    let choose =
        |spec: &ImageSpec| selection::select(spec, &request.platform, indexes).map_err(|error| other(&error));
    let [plain, certificates, keystore] = request.specs();
    let selection = choose(&plain)?;
    match selection.package("ca-certificates") {
        None => Ok(selection),
        Some(_) if selection.package("ca-certificates-java").is_some() => choose(&keystore),
        Some(_) => choose(&certificates),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(source: &str, platform: &str) -> String {
        let source = source.parse().unwrap();
        PackageRequest::new(source, &platform.parse().unwrap(), false).unwrap_err()
    }

    #[test]
    fn suites_and_platforms_are_checked_without_an_archive() {
        for (source, platform, part) in [
            (
                "deb:bullseye/hello",
                "linux/amd64",
                "there are bookworm and trixie",
            ),
            ("deb:stable/hello", "linux/amd64", "write `deb:trixie/hello`"),
            ("deb:oldstable/hello", "linux/amd64", "write `deb:bookworm/hello`"),
            (
                "deb:bookworm-security/hello",
                "linux/amd64",
                "write `deb:bookworm/hello`",
            ),
            ("deb:trixie/hello", "linux/riscv64", "linux/amd64 and linux/arm64"),
            ("deb:trixie/hello", "windows/amd64", "linux/amd64 and linux/arm64"),
        ] {
            let error = refused(source, platform);
            assert!(error.contains(part), "{source} {platform}: {error}");
        }
    }

    #[test]
    fn one_order_of_packages_is_one_request() {
        let request = |text: &str| {
            let platform = "linux/arm64/v8".parse().unwrap();
            PackageRequest::new(text.parse().unwrap(), &platform, false).unwrap()
        };
        let (one, other) = (
            request("deb:trixie/bash,curl"),
            request("deb:trixie/curl,bash,curl"),
        );
        assert_eq!(one.name(), other.name());
        assert_eq!(one.spec().digest(), other.spec().digest());
        assert!(one.spec().merged_usr && !request("deb:bookworm/bash").spec().merged_usr);
    }
}
