//! Files that maintainer scripts would make, computed instead: nothing is run.

mod accounts;
mod bundle;
mod busybox;
mod certificate;
mod keystore;
mod loader_cache;

#[cfg(test)]
mod tests;

pub use accounts::{group_file, passwd_file};
pub use bundle::{BundleError, add_certificate, certificate_name, decode_pem};
pub use busybox::busybox_commands;
pub use certificate::{Certificate, CertificateError};
pub use keystore::java_keystore;
pub use loader_cache::{CachedLibrary, SharedLibrary, is_library_name, listed_name, loader_cache};
