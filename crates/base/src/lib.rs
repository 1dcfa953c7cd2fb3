//! Images assembled from Debian packages, without a registry.
//!
//! Two kinds. [`debian_image`] makes Docker's `debian:*`, which dpkg configures
//! in a sandbox. Everything else here makes *distroless* images: the packages'
//! files and what a [`recipe`] adds to them, nothing executed.
//!
//! 1. A [`recipe::Recipe`] is a YAML file; [`recipe::builtins`] are those that
//!    distil brings along, and [`names`] says which image names they cover.
//! 2. A [`recipe::RecipeChain`] composes it and what it extends, for one release,
//!    variant and architecture, to an [`recipe::ImageSpec`].
//! 3. [`selection::select`] chooses the exact packages from signed indexes, or a
//!    [`lock::Lockfile`] gives those that were chosen before.

pub mod assemble;
pub mod content;
pub mod debian_image;
pub mod lock;
pub mod names;
pub mod recipe;
pub mod selection;

mod nearest;
mod release;

pub use release::{DebianRelease, debian_architecture};

/// Label that says an image was assembled from packages; its value is the digest
/// of all that decides the bytes: [`debian_image::Plan::key`] or
/// [`selection::Selection::key`].
pub const ASSEMBLED_LABEL: &str = "distil.base.assembled";
