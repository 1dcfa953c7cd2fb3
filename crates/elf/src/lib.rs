//! What a dynamic program needs to run, found without running it.
//!
//! [`ElfFile`] reads one file, [`Libraries`] looks for a library as the loader of glibc or musl does, [`closure`]
//! follows everything that named files need through one file tree. Nothing is executed, and files are data of an
//! unknown origin: every number in them is checked.

mod cache;
pub mod closure;
mod conf;
mod error;
mod file;
mod loader;
pub mod machine;
mod notes;
mod read;
mod stage;

pub use cache::{CacheEntry, parse as parse_cache};
pub use closure::{Closure, ClosureError};
pub use error::ElfError;
pub use file::{Abi, Class, Dynamic, ElfFile, GoBuildInfo, Kind, VersionNeed};
pub use loader::{Found, Libraries, Loader, Object, Via, handed_down};
pub use notes::{DlopenNote, Priority};
pub use read::{Endian, ReadAt};
pub use stage::{FactsError, Stage, Trail};
