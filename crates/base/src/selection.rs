//! The exact packages of an image.

use distil_debian::{PackageId, UnixTime};
use distil_oci::{Digest, Platform};
use serde::Serialize;

use crate::recipe::ImageSpec;

mod choose;

pub use choose::{SelectError, select};

/// Bump when the same inputs give other bytes than before.
const FORMAT: u32 = 1;

/// Why a package is in an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "package")]
pub enum Reason {
    /// The recipe names it.
    Requested,
    /// The package named here depends on it.
    NeededBy(String),
    /// It is not unpacked: something is computed from it.
    Data,
}

/// One package of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelectedPackage {
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian's architecture, or `all`.
    pub architecture: String,
    /// Source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: String,
    /// Suite that it comes from: `bookworm-security`.
    pub suite: String,
    /// Root of its archive when that is not Debian's.
    pub archive_url: Option<String>,
    /// Path in the archive.
    pub filename: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// Of the `.deb`.
    pub sha256: Digest,
    /// `Multi-Arch` field, or empty.
    pub multi_arch: String,
    /// Why it is here.
    pub reason: Reason,
    /// Dependencies that it declares and the image does not fulfil.
    pub omitted: Vec<String>,
    /// Where it stands in the indexes it was chosen from; `None` from a lockfile.
    #[serde(skip)]
    pub id: Option<PackageId>,
}

/// A signed suite that packages were chosen from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SelectedRelease {
    /// `bookworm-security`.
    pub suite: String,
    /// Root of the archive when that is not Debian's.
    pub archive_url: Option<String>,
    /// Components.
    pub components: Vec<String>,
    /// `Date` of the Release file.
    pub date: UnixTime,
    /// `Valid-Until`, where it has one.
    pub valid_until: Option<UnixTime>,
    /// sha256 of the InRelease file.
    pub digest: Digest,
    /// Fingerprints of the keys that signed it, sorted.
    pub signers: Vec<String>,
}

/// What an image is made of, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The recipe.
    pub spec: ImageSpec,
    /// The platform, normalised.
    pub platform: Platform,
    /// Sorted by name.
    pub packages: Vec<SelectedPackage>,
    /// In the order of the sources.
    pub releases: Vec<SelectedRelease>,
    /// The newest `Date` of the releases: no file of the image is newer.
    pub epoch: UnixTime,
}

impl Selection {
    /// sha256 over all that decides the bytes of the image: equal keys, equal images.
    /// The releases do not count, nor their dates: a suite that changed elsewhere
    /// makes no other image, and a build on it stays cached.
    #[must_use]
    pub fn key(&self) -> Digest {
        let mut text = format!(
            "format {FORMAT}\nspec {}\nplatform {}\n",
            self.spec.digest(),
            self.platform
        );
        for package in &self.packages {
            text.push_str(&format!("{} {}\n", package.name, package.sha256));
        }
        Digest::sha256(text.as_bytes())
    }

    /// Bytes to download when nothing is cached, archives from elsewhere of unknown
    /// size not counted.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        let packages: u64 = self.packages.iter().map(|package| package.size).sum();
        let inputs: u64 = self.spec.inputs.iter().filter_map(|input| input.size).sum();
        packages + inputs
    }

    /// The package `name`.
    #[must_use]
    pub fn package(&self, name: &str) -> Option<&SelectedPackage> {
        self.packages.iter().find(|package| package.name == name)
    }

    /// The packages to unpack, without those that only data is taken from.
    pub fn unpacked(&self) -> impl Iterator<Item = &SelectedPackage> {
        self.packages
            .iter()
            .filter(|package| package.reason != Reason::Data)
    }

    /// Puts the upstream version of a package (`17.0.21` of `1:17.0.21+9-1~deb12u1`)
    /// in place of `${version:PACKAGE}`, as values of environment, labels and
    /// annotations may have it. A package that is not selected gives nothing.
    #[must_use]
    pub fn expand(&self, value: &str) -> String {
        const OPEN: &str = "${version:";
        let mut expanded = String::with_capacity(value.len());
        let mut rest = value;
        while let Some((before, after)) = rest.split_once(OPEN) {
            expanded.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                expanded.push_str(OPEN);
                rest = after;
                continue;
            };
            if let Some(package) = self.package(name) {
                expanded.push_str(upstream_version(&package.version));
            }
            rest = tail;
        }
        expanded.push_str(rest);
        expanded
    }
}

/// Without epoch, Debian revision and what follows a plus sign or tilde.
fn upstream_version(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    version.split(['+', '~']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests;
