//! Images of Docker's `debian` repository, assembled from packages and configured
//! by dpkg itself, without a registry.
//!
//! A [`DebianImage`] is a name like `debian:bookworm-slim` that a [`DebianRecipe`]
//! covers. From the recipe and the archive's indexes comes a [`Plan`]: the exact
//! packages and everything else that decides the bytes. The plan is carried out
//! in three steps, of which the caller runs the second in its sandbox:
//!
//! 1. [`unpack`] writes the packages into an empty directory, ready for dpkg.
//! 2. [`ConfigureStep`] is the process to run with that directory as its root.
//! 3. [`normalise`] removes what differs from run to run.
//!
//! A recipe's package set is that of debootstrap's `minbase`: `Essential: yes`,
//! `Priority: required` and apt. apt inside finds its packages where the image's
//! own came from, or at the mirror given to [`plan()`]; since that address stands
//! in the tree, images from different mirrors differ.
//!
//! The same plan gives the same tree, byte for byte, as root and in a user
//! namespace. [`image_config`] is the config to go with it.

mod config;
mod configure;
mod name;
mod normalise;
mod plan;
mod recipe;
mod unpack;

pub use config::image_config;
pub use configure::ConfigureStep;
pub use name::DebianImage;
pub use normalise::{NormaliseError, normalise};
pub use plan::{Plan, PlanError, PlannedPackage, plan};
pub use recipe::DebianRecipe;
pub use unpack::{UnpackError, unpack};
