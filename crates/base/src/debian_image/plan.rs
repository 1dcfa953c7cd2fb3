//! Everything that decides the bytes of an image.

use distil_debian::{IndexError, Indexes, PackageId, ResolveError, UnixTime, resolve};
use distil_oci::{Digest, Platform};
use thiserror::Error;

use crate::debian_image::recipe::DebianRecipe;
use crate::release::debian_architecture;

/// Bump when the same inputs give other bytes than before.
const FORMAT: u32 = 1;

/// A plan that cannot be made.
#[derive(Debug, Error)]
pub enum PlanError {
    /// No recipe for this platform.
    #[error("`{name}` cannot be assembled for platform `{platform}`: linux/amd64 and linux/arm64 can")]
    Platform {
        /// Name of the image.
        name: String,
        /// What was asked for.
        platform: String,
    },
    /// The indexes are of another architecture.
    #[error("the indexes are for `{found}`, the image needs `{wanted}`")]
    Architecture {
        /// Of the image.
        wanted: String,
        /// Of the indexes.
        found: String,
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

/// One package of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPackage {
    /// Where it stands in the indexes that the plan was made from.
    pub id: PackageId,
    /// Package name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Debian's architecture, or `all`.
    pub architecture: String,
    /// sha256 of the `.deb`.
    pub sha256: Digest,
    /// Size of the `.deb` in bytes.
    pub size: u64,
}

/// What an image is made of, exactly.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The recipe.
    pub recipe: DebianRecipe,
    /// The platform, normalised.
    pub platform: Platform,
    /// Debian's name of the architecture.
    pub architecture: String,
    /// Sorted by name.
    pub packages: Vec<PlannedPackage>,
    /// No file is newer: the date of the newest Release file.
    pub epoch: UnixTime,
    /// Content of `/etc/apt/sources.list.d/debian.sources`; empty for none.
    pub apt_sources: String,
    /// Fingerprints of the keys that signed the indexes, sorted.
    pub signers: Vec<String>,
}

impl Plan {
    /// The packages in the form that [`distil_debian::Archive::download`] takes.
    #[must_use]
    pub fn package_ids(&self) -> Vec<PackageId> {
        self.packages.iter().map(|package| package.id).collect()
    }

    /// Bytes to download when nothing is cached.
    #[must_use]
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }

    /// sha256 over all that decides the bytes of the tree: equal keys, equal trees.
    #[must_use]
    pub fn key(&self) -> Digest {
        let mut text = format!(
            "format {FORMAT}\nplatform {}\nepoch {}\nsources {}\n{:?}\n",
            self.platform, self.epoch, self.apt_sources, self.recipe
        );
        for package in &self.packages {
            text.push_str(&format!("{} {}\n", package.name, package.sha256));
        }
        Digest::sha256(text.as_bytes())
    }
}

/// Chooses the packages of `recipe` from `indexes`. `apt_mirror` is written into
/// the image's apt sources in place of the archive that the indexes came from.
///
/// # Errors
/// A platform without recipe, or packages that do not fit together.
pub fn plan(
    recipe: &DebianRecipe,
    platform: &Platform,
    indexes: &Indexes,
    apt_mirror: Option<&str>,
) -> Result<Plan, PlanError> {
    let architecture = debian_architecture(platform).ok_or_else(|| PlanError::Platform {
        name: recipe.name.clone(),
        platform: platform.to_string(),
    })?;
    if indexes.architecture != architecture {
        return Err(PlanError::Architecture {
            wanted: architecture.to_owned(),
            found: indexes.architecture.clone(),
        });
    }
    let mut signers: Vec<String> = indexes
        .releases
        .iter()
        .flat_map(|one| one.signers.iter().cloned())
        .collect();
    signers.sort();
    signers.dedup();
    Ok(Plan {
        recipe: recipe.clone(),
        platform: platform.normalized(),
        architecture: architecture.to_owned(),
        packages: choose(recipe, indexes)?,
        epoch: indexes.date(),
        apt_sources: if recipe.apt_sources {
            apt_sources(recipe, indexes, apt_mirror)
        } else {
            String::new()
        },
        signers,
    })
}

fn choose(recipe: &DebianRecipe, indexes: &Indexes) -> Result<Vec<PlannedPackage>, PlanError> {
    let index = &indexes.packages;
    let mut wanted = recipe.packages.clone();
    if recipe.required {
        let packages = index.newest()?.into_iter().map(|id| index.package(id));
        wanted.extend(
            packages
                .filter(|package| package.is_essential() || package.priority() == "required")
                .map(|package| package.name()),
        );
    }
    let chosen = resolve(index, &wanted).map_err(|source| PlanError::Resolve {
        name: recipe.name.clone(),
        source,
    })?;
    let planned = chosen.into_iter().map(|id| {
        let package = index.package(id);
        Ok(PlannedPackage {
            id,
            name: package.name().to_owned(),
            version: package.version().to_owned(),
            architecture: package.architecture().to_owned(),
            sha256: package.sha256()?,
            size: package.size()?,
        })
    });
    planned.collect()
}

/// apt's sources in deb822 form: a paragraph for each archive, with its suites.
fn apt_sources(recipe: &DebianRecipe, indexes: &Indexes, mirror: Option<&str>) -> String {
    let sources = match mirror {
        Some(mirror) => {
            distil_debian::ArchiveSources::for_release(recipe.codename, Some(mirror), &[]).sources
        }
        None => indexes.releases.iter().map(|one| one.source.clone()).collect(),
    };
    let mut archives: Vec<(String, Vec<String>)> = Vec::new();
    for source in sources {
        match archives.iter_mut().find(|(url, _)| *url == source.url) {
            Some((_, suites)) => suites.push(source.suite),
            None => archives.push((source.url, vec![source.suite])),
        }
    }
    let paragraphs: Vec<String> = archives
        .iter()
        .map(|(url, suites)| {
            format!(
                "Types: deb\nURIs: {url}\nSuites: {}\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
                suites.join(" ")
            )
        })
        .collect();
    paragraphs.join("\n")
}

#[cfg(test)]
mod tests;
