//! What of an image advisories are about: source packages of a distribution, modules of a language's registry.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use serde::Serialize;

use super::CveError;
use super::release::DebianRelease;
use super::version::{Scheme, Version};
use crate::inventory::path_text;
use crate::{ImageView, Inventory, Package, normal_python_name};

/// Whose names and versions an advisory speaks of; the names are OSV's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum Ecosystem {
    /// Source packages of Debian.
    Debian,
    /// Go modules.
    Go,
    /// `group:artifact`.
    Maven,
    /// Packages of Node.
    #[serde(rename = "npm")]
    Npm,
    /// Python packages.
    PyPI,
}

impl Ecosystem {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Debian, Self::Go, Self::Maven, Self::Npm, Self::PyPI];

    /// The name that OSV gives it, without a release.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian",
            Self::Go => "Go",
            Self::Maven => "Maven",
            Self::Npm => "npm",
            Self::PyPI => "PyPI",
        }
    }

    pub(crate) fn scheme(self) -> Scheme {
        match self {
            Self::Debian => Scheme::Debian,
            Self::Go | Self::Npm => Scheme::Semver,
            Self::Maven => Scheme::Maven,
            Self::PyPI => Scheme::Pep440,
        }
    }

    /// A name as it is compared. PyPI takes `Foo.Bar_baz` for `foo-bar-baz` (PEP 503).
    pub(crate) fn normal_name(self, name: &str) -> String {
        match self {
            Self::PyPI => normal_python_name(name),
            _ => name.to_owned(),
        }
    }
}

/// A package that is installed in the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Installed {
    /// Its name: that of the binary package for Debian.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture; empty where it has none.
    pub architecture: String,
    /// The file of the image that says so.
    #[serde(serialize_with = "path_text")]
    pub record: PathBuf,
}

/// One thing that advisories can name, with the packages of the image that come from it.
#[derive(Debug, Clone)]
pub(crate) struct Component {
    pub(crate) ecosystem: Ecosystem,
    /// Name of the source package or module, as the image has it.
    pub(crate) name: String,
    /// Its version, as the image has it.
    pub(crate) version: String,
    /// That version to compare with; none when its ecosystem cannot order it.
    pub(crate) ordered: Option<Version>,
    pub(crate) packages: Vec<Installed>,
}

/// Everything in an image that advisories can name.
#[derive(Debug)]
pub struct Components {
    pub(crate) list: Vec<Component>,
    /// Release of the Debian packages; none without such packages.
    pub(crate) release: Option<DebianRelease>,
    by_name: HashMap<(Ecosystem, String), Vec<usize>>,
}

impl Components {
    /// Sorts the packages of an image by what advisories call them. `release` is that of Debian packages, for an
    /// image that does not tell.
    ///
    /// # Errors
    /// When the image has Debian packages and nothing tells their release, or a file cannot be read.
    pub fn of(
        view: &ImageView,
        inventory: &Inventory,
        release: Option<DebianRelease>,
    ) -> Result<Self, CveError> {
        let packages = inventory.packages();
        let debs: Vec<&Package> = packages.iter().filter(|package| is_deb(package)).collect();
        let release = match release {
            _ if debs.is_empty() => None,
            Some(release) => Some(release),
            None => Some(
                DebianRelease::of(view, &debs)?.map_err(|reason| CveError::NoRelease {
                    packages: debs.len(),
                    reason,
                })?,
            ),
        };
        let named = packages
            .iter()
            .filter_map(|package| Some((named(package)?, package)));
        Ok(Self::from_named(named, release))
    }

    /// Those of an image without packages.
    pub(crate) fn none() -> Self {
        Self::from_named(std::iter::empty(), None)
    }

    /// Components by ecosystem, name and version.
    #[cfg(test)]
    pub(crate) fn of_test(list: &[(Ecosystem, &str, &str)], release: Option<DebianRelease>) -> Self {
        let mut components = Self::none();
        components.release = release;
        for (ecosystem, name, version) in list {
            let key = (*ecosystem, ecosystem.normal_name(name));
            components
                .by_name
                .entry(key)
                .or_default()
                .push(components.list.len());
            components.list.push(Component {
                ecosystem: *ecosystem,
                name: (*name).to_owned(),
                version: (*version).to_owned(),
                ordered: Version::parse(ecosystem.scheme(), version),
                packages: Vec::new(),
            });
        }
        components
    }

    fn from_named<'p>(
        named: impl Iterator<Item = ((Ecosystem, String, String), &'p Package)>,
        release: Option<DebianRelease>,
    ) -> Self {
        let mut grouped: BTreeMap<(Ecosystem, String, String), Vec<Installed>> = BTreeMap::new();
        for (key, package) in named {
            grouped.entry(key).or_default().push(Installed {
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                record: package.record.clone(),
            });
        }
        let mut components = Self {
            list: Vec::with_capacity(grouped.len()),
            release,
            by_name: HashMap::with_capacity(grouped.len()),
        };
        for ((ecosystem, name, version), packages) in grouped {
            let key = (ecosystem, ecosystem.normal_name(&name));
            components
                .by_name
                .entry(key)
                .or_default()
                .push(components.list.len());
            components.list.push(Component {
                ecosystem,
                ordered: Version::parse(ecosystem.scheme(), &version),
                name,
                version,
                packages,
            });
        }
        components
    }

    /// Those with a name in its normal form. Several when a module is there in several versions.
    pub(crate) fn named(&self, ecosystem: Ecosystem, name: &str) -> &[usize] {
        // A lookup without building the key would need a map of maps; records are few beside it.
        self.by_name
            .get(&(ecosystem, ecosystem.normal_name(name)))
            .map_or(&[], Vec::as_slice)
    }

    /// Release of the image's Debian packages; none without such packages.
    #[must_use]
    pub fn release(&self) -> Option<&DebianRelease> {
        self.release.as_ref()
    }

    /// How many packages of the image advisories of `ecosystem` could be about.
    #[must_use]
    pub fn packages(&self, ecosystem: Ecosystem) -> usize {
        let list = self
            .list
            .iter()
            .filter(|component| component.ecosystem == ecosystem);
        list.map(|component| component.packages.len()).sum()
    }
}

fn is_deb(package: &Package) -> bool {
    package.ecosystem == crate::Ecosystem::Deb
}

/// Ecosystem, name and version by which advisories call a package; none for one that no database here is about.
fn named(package: &Package) -> Option<(Ecosystem, String, String)> {
    let (name, version) = (package.name.clone(), package.version.clone());
    Some(match package.ecosystem {
        crate::Ecosystem::Deb => {
            let source = &package.source;
            (Ecosystem::Debian, source.name.clone(), source.version.clone())
        }
        // A program from a folder is its owner's: nothing is published about it.
        crate::Ecosystem::Golang if version == "(devel)" => return None,
        crate::Ecosystem::Golang => (Ecosystem::Go, name, go_version(&version)),
        crate::Ecosystem::Pypi => (Ecosystem::PyPI, name, version),
        crate::Ecosystem::Npm => (Ecosystem::Npm, name, version),
        // Without its group an artifact could be any.
        crate::Ecosystem::Maven if name.contains(':') => (Ecosystem::Maven, name, version),
        crate::Ecosystem::Maven => return None,
    })
}

/// A version of Go's toolchain in the form of modules, as advisories about `stdlib` have it: `go1.22rc1` is
/// `1.22.0-rc.1`. What follows a blank or `-` is of the one who built it.
fn go_version(version: &str) -> String {
    let Some(version) = version.strip_prefix("go") else {
        return version.to_owned();
    };
    let version = version.split([' ', '-', '+']).next().unwrap_or_default();
    let Some(at) = version.find(|c: char| c.is_ascii_alphabetic()) else {
        return version.to_owned();
    };
    let (release, pre) = version.split_at(at);
    let number = pre.find(|c: char| c.is_ascii_digit()).unwrap_or(pre.len());
    let (word, number) = pre.split_at(number);
    let zeros = ".0".repeat(2_usize.saturating_sub(release.matches('.').count()));
    format!("{release}{zeros}-{word}.{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolchains_have_versions_of_modules() {
        for (toolchain, version) in [
            ("go1.22.3", "1.22.3"),
            ("go1.22rc1", "1.22.0-rc.1"),
            ("go1.20", "1.20"),
            ("go1.21.0 X:nocoverageredesign", "1.21.0"),
            ("go1.22.5-bigcorp", "1.22.5"),
            ("v1.2.3", "v1.2.3"),
            ("go", ""),
        ] {
            assert_eq!(go_version(toolchain), version);
        }
    }
}
