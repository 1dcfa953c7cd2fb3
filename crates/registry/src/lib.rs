//! Registry client: resolve, pull, push, auth.
//!
//! Speaks the OCI distribution specification, which Docker's registries share. Blobs are checked against their
//! digests while they stream into the store; manifests are kept as the bytes that came.
//!
//! ```no_run
//! use std::sync::Arc;
//! use distil_fetch::{Client, ClientConfig};
//! use distil_oci::{Platform, Reference};
//! use distil_registry::{DockerConfig, PullOptions, Remote, RemoteConfig};
//! use distil_store::Store;
//!
//! let store = Store::open(std::path::Path::new("/var/lib/distil"))?;
//! let logins = DockerConfig::parse(r#"{"auths": {}}"#)?;
//! let remote = Remote::new(Client::new(ClientConfig::default()), Arc::new(logins), RemoteConfig::default());
//!
//! let name: Reference = "debian:bookworm".parse()?;
//! let pinned = remote.resolve(&name)?;
//! let image = remote.pull_manifest(&name, &pinned, &Platform::host(), &store)?;
//! remote.pull_blobs(&name, &image.manifest.layers, &store, &PullOptions::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod auth;
mod challenge;
mod credentials;
mod docker_config;
mod endpoint;
mod error;
mod pull;
mod push;
mod remote;

pub use credentials::{Credentials, CredentialsError, Login, NoCredentials};
pub use docker_config::DockerConfig;
pub use error::RegistryError;
pub use pull::{PullOptions, PulledImage};
pub use push::PushImage;
pub use remote::{Remote, RemoteConfig};
