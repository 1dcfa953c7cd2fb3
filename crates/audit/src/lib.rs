//! What is in an image: its files with the layer and instruction of each, its packages, and findings about
//! them. Reads images, never builds them, and runs nothing of them.
//!
//! [`ImageView`] is an image as one tree, listed in one walk over the layer directories without a mount.
//! [`Inventory`] is what package records in that tree say. A [`Finding`] is one thing that a check has to say
//! about an image.

mod additions;
pub mod advise;
mod changes;
pub mod cve;
mod error;
mod finding;
mod instruction;
mod inventory;
mod licence;
mod manifests;
pub mod origin;
mod os_release;
pub mod policy;
pub mod preflight;
mod printable;
pub mod rules;
mod sbom;
mod share;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
mod testing;
mod view;

pub use additions::{Addition, largest_additions};
pub use changes::{Change, ChangeKind, changes, layer_changes};
pub use error::AuditError;
pub use finding::{Finding, Severity};
pub use instruction::Instruction;
pub use inventory::{Ecosystem, Inventory, OwnedFile, Package, SourcePackage, normal_python_name};
pub use licence::Licence;
pub use os_release::OsRelease;
pub use printable::{printable, printable_path, printable_text};
pub use sbom::{FileDigests, PackageDigest, Sbom, SbomOptions};
pub use share::{Share, ShareKind, by_directory, by_package, package_sizes};
pub use view::{Entry, Hidden, ImageView, Layer, RealPaths};
