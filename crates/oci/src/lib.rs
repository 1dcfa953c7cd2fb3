//! Digests, OCI and Docker types and names, OCI layout reading and writing.
//!
//! The crate knows no network and no tar. Everything that is hashed is written by the functions here,
//! so that the same value always gives the same bytes:
//!
//! ```
//! use distil_oci::{Digest, Platform, Reference};
//!
//! let name: Reference = "debian:bookworm".parse()?;
//! assert_eq!(name.to_string(), "docker.io/library/debian:bookworm");
//! assert_eq!(name.familiar(), "debian:bookworm");
//!
//! let platform: Platform = "linux/aarch64".parse()?;
//! assert_eq!(platform.to_string(), "linux/arm64");
//!
//! assert!(Digest::sha256(b"{}").to_string().starts_with("sha256:44136fa355b3678a"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod digest;
mod json;
mod layout;
mod manifest;
mod platform;
mod reference;
mod verify;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{ChainId, DiffId, Digest, DigestError, Digester};
pub use json::{canonical_json, indented_json};
pub use layout::{Layout, LayoutError, LayoutWriter};
pub use manifest::{Descriptor, Index, Manifest, annotation, media_type};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use verify::{Mismatch, VerifyingReader};
