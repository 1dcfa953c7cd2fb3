//! Known vulnerabilities of the packages of an image, from databases in files: records of the OSV schema and the
//! JSON of Debian's security tracker. Only [`update`] asks over the network.
//!
//! [`Components`] is what of an image advisories can name, [`Report`] what databases say of it.

mod advisory;
mod component;
mod database;
mod error;
mod ignore;
mod index;
mod merge;
mod osv;
mod release;
mod report;
mod severity;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
mod tests;
mod tracker;
mod update;
mod version;
mod vex;

pub use advisory::State;
pub use component::{Components, Ecosystem, Installed};
pub use database::{Database, DatabaseKind};
pub use error::CveError;
pub use ignore::{IgnoreRule, read_ignore_file};
pub use merge::Vulnerability;
pub use release::DebianRelease;
pub use report::{Counts, Report, SetAside, SetAsideBy, Statements};
pub use severity::Severity;
pub use update::{Sources, Updated, is_fetched, update};
pub use vex::{ImageNames, Vex, VexVerdict, read_vex};
