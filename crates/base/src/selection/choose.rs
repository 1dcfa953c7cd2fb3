//! Choosing packages from the indexes of an archive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use distil_debian::relation::Relation;
use distil_debian::{IndexError, Indexes, Package, PackageId, PackageIndex, ResolveError, resolve};
use distil_oci::Platform;
use thiserror::Error;

use super::{Reason, SelectedPackage, SelectedRelease, Selection};
use crate::nearest;
use crate::recipe::{ImageSpec, Resolve};
use crate::release::debian_architecture;

/// Packages that cannot be chosen.
#[derive(Debug, Error)]
pub enum SelectError {
    /// The platform is not the one that the recipe was composed for.
    #[error("`{name}` was composed for `{composed}`, not for platform `{platform}`")]
    Platform {
        /// Name of the image.
        name: String,
        /// Architecture of the spec.
        composed: String,
        /// What was asked for.
        platform: String,
    },
    /// The indexes are of another architecture.
    #[error("the indexes are for `{found}`, `{name}` needs `{wanted}`")]
    Architecture {
        /// Name of the image.
        name: String,
        /// Of the image.
        wanted: String,
        /// Of the indexes.
        found: String,
    },
    /// A package does not exist in the suites.
    #[error("package `{package}` of `{name}` is not in {suites}{}", hint(nearest))]
    Missing {
        /// Name of the image.
        name: String,
        /// The package.
        package: String,
        /// The suites that were searched.
        suites: String,
        /// A package whose name is alike.
        nearest: Option<String>,
    },
    /// The packages do not fit together.
    #[error("the packages of `{name}` cannot be chosen")]
    Resolve {
        /// Name of the image.
        name: String,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// An index entry is wrong.
    #[error(transparent)]
    Index(#[from] IndexError),
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// Chooses the packages of `spec` from `indexes`, which must be of the spec's
/// architecture and hold the release's suites and the spec's own sources.
///
/// # Errors
/// A package that does not exist, or packages that do not fit together.
pub fn select(spec: &ImageSpec, platform: &Platform, indexes: &Indexes) -> Result<Selection, SelectError> {
    if debian_architecture(platform) != Some(spec.architecture.as_str()) {
        return Err(SelectError::Platform {
            name: spec.name.clone(),
            composed: spec.architecture.clone(),
            platform: platform.to_string(),
        });
    }
    if indexes.architecture != spec.architecture {
        return Err(SelectError::Architecture {
            name: spec.name.clone(),
            wanted: spec.architecture.clone(),
            found: indexes.architecture.clone(),
        });
    }
    let chooser = Chooser { spec, indexes };
    Ok(Selection {
        spec: spec.clone(),
        platform: platform.normalized(),
        packages: chooser.packages()?,
        releases: chooser.releases(),
        epoch: indexes.date(),
    })
}

struct Chooser<'a> {
    spec: &'a ImageSpec,
    indexes: &'a Indexes,
}

impl Chooser<'_> {
    fn index(&self) -> &PackageIndex {
        &self.indexes.packages
    }

    fn packages(&self) -> Result<Vec<SelectedPackage>, SelectError> {
        let requested = self.requested()?;
        let unpacked = match self.spec.resolve {
            Resolve::Listed => requested.clone(),
            Resolve::Closure => self.closure()?,
        };
        let reasons = reasons(self.index(), &requested, &unpacked)?;
        let installed = Installed::new(self.index(), &unpacked)?;
        let mut chosen = BTreeMap::new();
        for id in &unpacked {
            let reason = reasons.get(id).cloned().unwrap_or(Reason::Requested);
            let mut package = self.describe(*id, reason)?;
            package.omitted = installed.unmet(&self.index().package(*id))?;
            chosen.insert(package.name.clone(), package);
        }
        for name in self.spec.derived.iter().filter_map(|one| one.package()) {
            if !chosen.contains_key(name) {
                let package = self.describe(self.find(name)?, Reason::Data)?;
                chosen.insert(package.name.clone(), package);
            }
        }
        Ok(chosen.into_values().collect())
    }

    /// What the recipe names. For a closure a name may be one that others provide;
    /// such names choose nothing here.
    fn requested(&self) -> Result<BTreeSet<PackageId>, SelectError> {
        let mut found = BTreeSet::new();
        for name in &self.spec.packages {
            let is_virtual =
                self.spec.resolve == Resolve::Closure && !self.index().providers(name)?.is_empty();
            match self.index().find(name)? {
                None if is_virtual => {}
                _ => {
                    found.insert(self.find(name)?);
                }
            }
        }
        Ok(found)
    }

    fn find(&self, name: &str) -> Result<PackageId, SelectError> {
        let index = self.index();
        if let Some(id) = index.find(name)? {
            return Ok(id);
        }
        let newest = index.newest()?;
        let known = newest.into_iter().map(|id| index.package(id).name());
        let releases = self.indexes.releases.iter();
        let suites: Vec<String> = releases.map(|one| format!("`{}`", one.source.suite)).collect();
        Err(SelectError::Missing {
            name: self.spec.name.clone(),
            package: name.to_owned(),
            suites: suites.join(", "),
            nearest: nearest::of(name, known).map(str::to_owned),
        })
    }

    fn closure(&self) -> Result<BTreeSet<PackageId>, SelectError> {
        let wanted: Vec<&str> = self.spec.packages.iter().map(String::as_str).collect();
        let found = resolve(self.index(), &wanted).map_err(|source| SelectError::Resolve {
            name: self.spec.name.clone(),
            source,
        })?;
        Ok(found.into_iter().collect())
    }

    fn describe(&self, id: PackageId, reason: Reason) -> Result<SelectedPackage, IndexError> {
        let package = self.index().package(id);
        let (source, source_version) = source_of(&package);
        let origin = self.indexes.releases.get(package.suite()).map(|one| &one.source);
        Ok(SelectedPackage {
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            architecture: package.architecture().to_owned(),
            source: source.to_owned(),
            source_version: source_version.to_owned(),
            suite: origin.map_or_else(String::new, |one| one.suite.clone()),
            archive_url: origin.and_then(|one| self.own_url(one)),
            filename: package.filename().to_owned(),
            size: package.size()?,
            sha256: package.sha256()?,
            multi_arch: package.multi_arch().to_owned(),
            reason,
            omitted: Vec::new(),
            id: Some(id),
        })
    }

    /// The address of a source that the recipe brought along. Debian's own suites
    /// have none here: every mirror of them is as good.
    fn own_url(&self, source: &distil_debian::Source) -> Option<String> {
        let own = |one: &&crate::recipe::ExtraSource| one.url == source.url && one.suite == source.suite;
        self.spec.sources.iter().find(own).map(|one| one.url.clone())
    }

    fn releases(&self) -> Vec<SelectedRelease> {
        let releases = self.indexes.releases.iter().map(|one| {
            let mut signers = one.signers.clone();
            signers.sort();
            signers.dedup();
            SelectedRelease {
                suite: one.source.suite.clone(),
                archive_url: self.own_url(&one.source),
                components: one.source.components.clone(),
                date: one.release.date,
                valid_until: one.release.valid_until,
                digest: one.digest,
                signers,
            }
        });
        releases.collect()
    }
}

/// Name and version of the source package.
fn source_of<'a>(package: &Package<'a>) -> (&'a str, &'a str) {
    let source = package.source();
    match source.split_once('(') {
        Some((name, version)) => (name.trim(), version.trim_end().trim_end_matches(')').trim()),
        None if source.is_empty() => (package.name(), package.version()),
        None => (source.trim(), package.version()),
    }
}

/// What a set of packages offers to dependencies.
struct Installed<'a> {
    /// Real and provided names, with the version that goes with each.
    offers: BTreeMap<&'a str, Vec<(PackageId, Offer<'a>)>>,
}

#[derive(Clone, Copy)]
enum Offer<'a> {
    Itself(&'a str),
    Provided(Option<&'a str>),
}

impl<'a> Installed<'a> {
    fn new(index: &'a PackageIndex, ids: &BTreeSet<PackageId>) -> Result<Self, IndexError> {
        let mut offers: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for id in ids {
            let package = index.package(*id);
            let own = (*id, Offer::Itself(package.version()));
            offers.entry(package.name()).or_default().push(own);
            for provided in package.provides()? {
                let version = provided.version.map(|(_, version)| version);
                let offer = (*id, Offer::Provided(version));
                offers.entry(provided.name).or_default().push(offer);
            }
        }
        Ok(Installed { offers })
    }

    fn who_meets(&self, relation: &Relation<'_>) -> Option<PackageId> {
        let offers = self.offers.get(relation.name)?;
        let meets = |offer: &Offer<'_>| match *offer {
            Offer::Itself(version) => relation.accepts_version(version),
            Offer::Provided(version) => relation.accepts_provided(version),
        };
        offers.iter().find(|(_, offer)| meets(offer)).map(|(id, _)| *id)
    }

    /// The dependencies of `package` that nothing meets, each as it is written.
    fn unmet(&self, package: &Package<'_>) -> Result<Vec<String>, IndexError> {
        let mut unmet = Vec::new();
        for group in package.depends()? {
            if !group.iter().any(|one| self.who_meets(one).is_some()) {
                let shown: Vec<String> = group.iter().map(ToString::to_string).collect();
                unmet.push(shown.join(" | "));
            }
        }
        unmet.sort();
        unmet.dedup();
        Ok(unmet)
    }
}

/// Why each package is there: the nearest one, counted from those requested, that
/// depends on it.
fn reasons(
    index: &PackageIndex,
    requested: &BTreeSet<PackageId>,
    unpacked: &BTreeSet<PackageId>,
) -> Result<BTreeMap<PackageId, Reason>, IndexError> {
    let installed = Installed::new(index, unpacked)?;
    let mut reasons: BTreeMap<PackageId, Reason> =
        requested.iter().map(|id| (*id, Reason::Requested)).collect();
    let mut first: Vec<PackageId> = requested.iter().copied().collect();
    first.sort_by_key(|id| index.package(*id).name());
    let mut queue = VecDeque::from(first);
    while let Some(id) = queue.pop_front() {
        let package = index.package(id);
        for group in package.depends()? {
            let met = group.iter().find_map(|one| installed.who_meets(one));
            if let Some(needed) = met
                && !reasons.contains_key(&needed)
            {
                reasons.insert(needed, Reason::NeededBy(package.name().to_owned()));
                queue.push_back(needed);
            }
        }
    }
    Ok(reasons)
}
