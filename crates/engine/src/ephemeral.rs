//! What RUN steps are given that nothing keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::host_ca::HostCa;

/// What RUN steps of a build may see. No cache key, layer, history, image config or record knows of it.
#[derive(Debug, Clone, Default)]
pub struct Ephemeral {
    /// Values for `--mount=type=secret`, by id.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of agents for `--mount=type=ssh`, by id.
    pub ssh_agents: BTreeMap<String, PathBuf>,
    /// Certificate authorities that programs in RUN are to trust; absent leaves the image's own.
    pub host_ca: Option<HostCa>,
}

/// The bytes of a secret, which are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes as they are.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(...)")
    }
}
