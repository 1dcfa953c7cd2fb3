//! Whether an image can run, found without running it.

mod libraries;
mod packages;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
pub(crate) mod testing;

pub use libraries::{Depth, Lack, Linkage, Linked};
pub use packages::{Release, package_of};
