//! Sources of a build: where base images come from, and how their layers reach the store.
//!
//! [`ImageProvider`] answers for image names in this order: OCI layouts that were given, the local store, a
//! registry, and for a base that distil can assemble the [`Assembler`] of the engine.

mod error;
mod image;
mod options;
mod origin;
mod outside;
mod provider;
mod resolved;

pub use error::ImageError;
pub use image::{Image, ImageRequest, Origin, Transfer};
pub use options::{Assembled, Assembler, BasesPolicy, Coverage, ProviderOptions, PullPolicy};
pub use provider::ImageProvider;
pub use resolved::{is_base, mark_base, unmark_base};
