//! From unpacked packages to the layers of an image, nothing executed.
//!
//! [`compose`] makes the tree of an image in memory: the packages' files, what a
//! recipe adds, what is computed in place of maintainer scripts, and
//! `/var/lib/dpkg/status.d`. [`Composed::write_layer`] writes a layer of it into an
//! empty directory; files of packages are hard links to those of the package store.
//!
//! The same selection gives the same layers on every machine: what is made here has
//! the time 0 and belongs to root, everything else has what the package says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_debian::StoredPackage;
use distil_layer::LayerError;
use distil_oci::{Digest, Digester};
use thiserror::Error;

use crate::content::BundleError;
use crate::recipe::{Derived, ImageSpec, Layout};
use crate::selection::{Reason, Selection};

mod config;
mod contents;
mod derived;
mod listing;
mod packages;
mod recipe;
mod stream;
mod tree;
mod write;

#[cfg(test)]
mod tests;

pub use config::{EXCLUDED_LABEL, INPUTS_ANNOTATION, OMITTED_ANNOTATION, image_config, manifest_annotations};
pub use listing::Listing;
pub use write::WrittenLayer;

use packages::Package;
use tree::{Origin, Tree};

/// An image that cannot be assembled.
#[derive(Debug, Error)]
pub enum AssembleError {
    /// Two packages, or a package and the recipe, bring the same path, and neither
    /// says that it replaces the other.
    #[error("{first} and package `{second}` both contain `{path}`; leave one of them out")]
    Conflict {
        /// One of them.
        first: String,
        /// The other package.
        second: String,
        /// Absolute path.
        path: String,
    },
    /// A path leads through a file.
    #[error("`{path}` cannot be in the image: `{parent}` is no directory")]
    NoDirectory {
        /// Absolute path.
        path: String,
        /// What stands in its way.
        parent: String,
    },
    /// The recipe wants one kind of file where there is another.
    #[error("`{path}` of the recipe: {found} stands in its place")]
    InTheWay {
        /// Absolute path.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// Links that lead to each other.
    #[error("`{path}` leads through too many links")]
    Links {
        /// Absolute path.
        path: String,
    },
    /// A package lacks what is to be made from it.
    #[error("package `{package}` has not {what}")]
    Missing {
        /// Name of the package.
        package: String,
        /// What was looked for.
        what: String,
    },
    /// The certificates cannot be read.
    #[error("the certificates of package `ca-certificates` cannot be used")]
    Certificates(#[from] BundleError),
    /// An archive from elsewhere lacks a member.
    #[error("`{url}` has no file `{member}`")]
    MissingMember {
        /// Where the archive comes from.
        url: String,
        /// Path in it.
        member: String,
    },
    /// The caller did not give the files of a package or of an archive.
    #[error("the files of `{name}` were not given")]
    NotGiven {
        /// Name of the package, or address of the archive.
        name: String,
    },
    /// The tar of a layer cannot be made.
    #[error(transparent)]
    Tar(LayerError),
    /// A file cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read`, `write` and so on.
        action: &'static str,
        /// On the host.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl AssembleError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AssembleError + use<> {
        let path = path.to_owned();
        move |source| AssembleError::Io { action, path, source }
    }
}

/// What an image is made from.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The packages of the selection, in its order, those too that only data is taken
    /// from.
    pub packages: &'a [Arc<StoredPackage>],
    /// The archives of the recipe's inputs, in their order, checked.
    pub inputs: &'a [PathBuf],
}

/// The tree of an image.
#[derive(Debug)]
pub struct Composed {
    tree: Tree,
    /// Who brings each layer; one entry of `None` for a single layer.
    layers: Vec<Option<Origin>>,
    inputs: Vec<write::Archive>,
    kin: Digest,
}

/// Makes the tree of the image.
///
/// # Errors
/// Two packages that bring one file; a package without what is computed from it; see
/// [`AssembleError`].
pub fn compose(selection: &Selection, parts: &Parts<'_>) -> Result<Composed, AssembleError> {
    let spec = &selection.spec;
    let all = packages_of(selection, parts)?;
    let unpacked: Vec<Package<'_>> = all
        .iter()
        .zip(&selection.packages)
        .filter(|(_, selected)| selected.reason != Reason::Data)
        .map(|(package, _)| *package)
        .collect();
    let mut tree = Tree::default();
    packages::unpack(&mut tree, spec, &unpacked)?;
    for derived in &spec.derived {
        derive(&mut tree, derived, &all)?;
    }
    recipe::add(&mut tree, spec)?;
    for package in &unpacked {
        packages::mend_links(&mut tree, package)?;
    }
    if spec.derived.contains(&Derived::LdSoCache) {
        derived::write_loader_cache(&mut tree)?;
    }
    let layers = match spec.layout {
        Layout::Merged => vec![None],
        Layout::PerPackage => {
            let origins = unpacked.iter().map(|package| package.origin);
            origins.chain([Origin::Recipe]).map(Some).collect()
        }
    };
    Ok(Composed {
        tree,
        layers,
        inputs: archives(selection, parts)?,
        kin: kin(spec, &unpacked),
    })
}

/// The packages and what is left out of them.
fn kin(spec: &ImageSpec, unpacked: &[Package<'_>]) -> Digest {
    let mut kin = Digester::new();
    kin.update(format!("{:?} {} {:?}\n", spec.layout, spec.merged_usr, spec.excludes).as_bytes());
    for package in unpacked {
        kin.update(package.files.sha256().as_bytes());
    }
    kin.finish()
}

fn packages_of<'a>(selection: &'a Selection, parts: &Parts<'a>) -> Result<Vec<Package<'a>>, AssembleError> {
    let packages = selection.packages.iter().enumerate();
    packages
        .map(|(number, selected)| {
            let files = parts.packages.get(number);
            Ok(Package {
                name: &selected.name,
                version: &selected.version,
                // What is taken out of a package that is not unpacked is the recipe's.
                origin: match selected.reason {
                    Reason::Data => Origin::Recipe,
                    _ => Origin::Package(number),
                },
                files: files.ok_or_else(|| AssembleError::NotGiven {
                    name: selected.name.clone(),
                })?,
            })
        })
        .collect()
}

fn archives(selection: &Selection, parts: &Parts<'_>) -> Result<Vec<write::Archive>, AssembleError> {
    let inputs = selection.spec.inputs.iter().enumerate();
    inputs
        .map(|(number, input)| {
            let path = parts.inputs.get(number).ok_or_else(|| AssembleError::NotGiven {
                name: input.url.clone(),
            })?;
            Ok(write::Archive {
                url: input.url.clone(),
                path: path.clone(),
                members: input.members.iter().map(|member| member.from.clone()).collect(),
            })
        })
        .collect()
}

fn derive(tree: &mut Tree, derived: &Derived, packages: &[Package<'_>]) -> Result<(), AssembleError> {
    let package = |name: &str| {
        let found = packages.iter().find(|package| package.name == name);
        found.ok_or_else(|| AssembleError::NotGiven {
            name: name.to_owned(),
        })
    };
    match derived {
        Derived::CaBundle { java_keystore } => {
            derived::ca_bundle(tree, package("ca-certificates")?, *java_keystore)
        }
        Derived::CUtf8Locale => derived::c_utf8_locale(tree, package("libc-bin")?),
        Derived::Busybox {
            package: name,
            directory,
        } => derived::busybox(tree, package(name)?, directory),
        // Over the finished tree.
        Derived::LdSoCache => Ok(()),
    }
}
