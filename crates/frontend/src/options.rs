//! What a build is asked for, beside the Dockerfile.

use std::collections::BTreeMap;
use std::net::IpAddr;

use distil_llb::pb;
use distil_oci::Platform;
use thiserror::Error;

use crate::ResolveMode;

/// Whose steps run again although a result is cached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    /// No step.
    #[default]
    Never,
    /// Every step.
    Everywhere,
    /// Steps of the stages of these names, in any case.
    Stages(Vec<String>),
}

impl NoCache {
    pub(crate) fn covers(&self, stage: &str) -> bool {
        match self {
            Self::Never => false,
            Self::Everywhere => true,
            Self::Stages(names) => names.iter().any(|name| name.eq_ignore_ascii_case(stage)),
        }
    }
}

/// Everything that decides the graph, as values of BuildKit's frontend options.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Dockerfile's name, for messages and the source map.
    pub filename: String,
    /// Id of the client's session; part of the digest of local sources.
    pub session: String,
    /// `--build-arg`. Control arguments (`BUILDKIT_*`) are read from here too.
    pub build_args: BTreeMap<String, String>,
    /// `--label`: overrides the Dockerfile's, leaves no history.
    pub labels: BTreeMap<String, String>,
    /// `--target`; `None` is the last stage.
    pub target: Option<String>,
    /// The platform to build for; `None` is that of the builder.
    pub target_platform: Option<Platform>,
    /// The platform that the builder itself runs on.
    pub build_platform: Platform,
    /// Whether step names carry the platform.
    pub multi_platform: bool,
    /// `--no-cache`, `--no-cache-filter`.
    pub no_cache: NoCache,
    /// `--pull` and the like.
    pub resolve_mode: ResolveMode,
    /// `--network`.
    pub network: pb::NetMode,
    /// `--add-host`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Host name of RUN steps; empty takes the builder's.
    pub hostname: String,
    /// Put before the ids of cache mounts.
    pub cache_namespace: String,
    /// `--cgroup-parent`.
    pub cgroup_parent: String,
    /// `--shm-size` in bytes; 0 takes the builder's.
    pub shm_size: i64,
    /// `--ulimit`.
    pub ulimits: Vec<pb::Ulimit>,
    /// Limits of memory and processors.
    pub linux_resources: Option<pb::LinuxResources>,
    /// `--build-context`: name, or `name::platform`, to `docker-image://...`,
    /// `oci-layout://STORE@DIGEST`, `local:NAME`, or a git or http address.
    pub contexts: BTreeMap<String, String>,
    /// Patterns of ignore files by local name (`context` is the main one).
    pub ignore: BTreeMap<String, Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filename: "Dockerfile".to_owned(),
            session: String::new(),
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            target: None,
            target_platform: None,
            build_platform: Platform::host(),
            multi_platform: false,
            no_cache: NoCache::default(),
            resolve_mode: ResolveMode::default(),
            network: pb::NetMode::Unset,
            extra_hosts: Vec::new(),
            hostname: String::new(),
            cache_namespace: String::new(),
            cgroup_parent: String::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            linux_resources: None,
            contexts: BTreeMap::new(),
            ignore: BTreeMap::new(),
        }
    }
}

/// Why frontend attributes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionsError {
    /// A value that its attribute does not take.
    #[error("`{value}` is no value for `{key}`: {reason}")]
    Value {
        /// The attribute.
        key: String,
        /// What was given.
        value: String,
        /// What is wrong.
        reason: String,
    },
}
