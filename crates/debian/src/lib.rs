//! Debian's archive and packages: signed indexes, version order, resolving,
//! `.deb` files and dpkg's database.
//!
//! [`ArchiveSources`] says where the suites of a release are, [`Archive`]
//! downloads and checks their indexes, [`resolve()`] chooses packages.

pub mod deb822;
pub mod fetcher;
pub mod relation;
pub mod version;

mod archive;
mod cache;
mod database;
mod deb;
mod filter;
mod http;
mod index;
mod keyring;
mod package_store;
mod release;
mod resolve;
mod sources;
mod time;
mod unpack;

pub use archive::{AcceptedRelease, Archive, ArchiveError, Indexes, PackageFile, SnapshotMirror};
pub use cache::{CacheError, DownloadCache, Expected, RememberedRelease};
pub use database::write_database;
pub use deb::{ControlFiles, DebError, DebFile, PackageIdentity};
pub use fetcher::{Changed, FetchError, FetchRequest, FetchSink, Fetcher, FileFetcher, Validators};
pub use filter::PathFilter;
pub use index::{IndexError, Package, PackageId, PackageIndex};
pub use keyring::{Keyring, RejectedSignature, SignatureError, VerifiedText};
pub use package_store::{
    PackageEntry, PackageEntryKind, PackageStore, PackageStoreError, SmallContents, StoredPackage,
    WantedPackage,
};
pub use release::{IndexFile, Release, ReleaseError};
pub use resolve::{ResolveError, resolve};
pub use sources::{
    ArchiveSources, DEFAULT_ARCHIVE, DEFAULT_SECURITY_ARCHIVE, Source, SourceOrigin, parse_apt_sources,
};
pub use time::{UnixTime, format_compact, format_rfc3339, format_time, parse_date, parse_rfc3339};
pub use unpack::{UnpackError, UnpackOptions, UnpackedPackage, unpack};
pub use version::{InvalidVersion, Version};
