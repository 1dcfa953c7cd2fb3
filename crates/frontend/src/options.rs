//! What a build is asked for, beside the Dockerfile.

use std::collections::BTreeMap;
use std::net::IpAddr;

use distil_llb::pb;
use distil_oci::Platform;
use thiserror::Error;

use crate::ResolveMode;
use crate::git::parse_bool;

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
    /// `oci-layout://STORE@DIGEST`, `local:NAME`, `deb:SUITE/PACKAGE,...`, or a
    /// git or http address.
    pub contexts: BTreeMap<String, String>,
    /// Patterns of ignore files by local name (`context` is the main one).
    pub ignore: BTreeMap<String, Vec<String>>,
    /// Whether the frontend that `# syntax=` names is already this one, so that
    /// the directive is not looked at.
    pub syntax_served: bool,
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
            syntax_served: false,
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

impl Options {
    /// Reads BuildKit's frontend attributes (`target`, `build-arg:K`, `label:K`,
    /// `context:NAME`, `add-hosts`, ...). Attributes that do not concern the graph
    /// are passed over.
    ///
    /// # Errors
    /// A value that its attribute does not take.
    pub fn from_attrs(attrs: &BTreeMap<String, String>) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for (key, value) in attrs {
            options
                .set_attr(key, value)
                .map_err(|reason| OptionsError::Value {
                    key: key.clone(),
                    value: value.clone(),
                    reason,
                })?;
        }
        Ok(options)
    }

    /// The options with what control arguments (`BUILDKIT_*`) say, which win over
    /// the fields of the same meaning.
    pub(crate) fn with_control_args(&self) -> Result<Self, OptionsError> {
        let mut options = self.clone();
        let given = |key: &str| self.build_args.get(key);
        if let Some(name) = given("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty()) {
            options.hostname.clone_from(name);
        }
        if let Some(namespace) = given("BUILDKIT_CACHE_MOUNT_NS") {
            options.cache_namespace.clone_from(namespace);
        }
        if let Some(value) = given("BUILDKIT_MULTI_PLATFORM").filter(|value| !value.is_empty()) {
            options.multi_platform = parse_bool(value).ok_or_else(|| OptionsError::Value {
                key: "BUILDKIT_MULTI_PLATFORM".to_owned(),
                value: value.clone(),
                reason: "use true or false".to_owned(),
            })?;
        }
        Ok(options)
    }

    fn set_attr(&mut self, key: &str, value: &str) -> Result<(), String> {
        let named: [(&str, &mut BTreeMap<String, String>); 3] = [
            ("build-arg:", &mut self.build_args),
            ("label:", &mut self.labels),
            ("context:", &mut self.contexts),
        ];
        for (prefix, map) in named {
            if let Some(name) = key.strip_prefix(prefix) {
                map.insert(name.to_owned(), value.to_owned());
                return Ok(());
            }
        }
        match key {
            "filename" => value.clone_into(&mut self.filename),
            "target" => self.target = Some(value.to_owned()).filter(|target| !target.is_empty()),
            "hostname" => value.clone_into(&mut self.hostname),
            "cgroup-parent" => value.clone_into(&mut self.cgroup_parent),
            "cmdline" => self.syntax_served = true,
            "no-cache" if value.is_empty() => self.no_cache = NoCache::Everywhere,
            "no-cache" => self.no_cache = NoCache::Stages(value.split(',').map(str::to_owned).collect()),
            "platform" if !value.is_empty() => {
                let platform: Platform = value
                    .parse()
                    .map_err(|error: distil_oci::PlatformError| error.to_string())?;
                self.target_platform = Some(platform);
            }
            "multi-platform" if !value.is_empty() => {
                self.multi_platform = parse_bool(value).ok_or("use true or false")?;
            }
            "image-resolve-mode" => {
                self.resolve_mode = match value {
                    "" | "default" => ResolveMode::Default,
                    "pull" => ResolveMode::Pull,
                    "local" => ResolveMode::Local,
                    _ => return Err("use default, pull or local".to_owned()),
                }
            }
            "force-network-mode" => {
                self.network = match value {
                    "" | "sandbox" => pb::NetMode::Unset,
                    "host" => pb::NetMode::Host,
                    "none" => pb::NetMode::None,
                    _ => return Err("use sandbox, host or none".to_owned()),
                }
            }
            "shm-size" if !value.is_empty() => {
                self.shm_size = value.parse().map_err(|_| "use a number of bytes")?;
            }
            "add-hosts" => self.extra_hosts = fields(value).map(extra_host).collect::<Result<_, _>>()?,
            "ulimit" => self.ulimits = fields(value).map(ulimit).collect::<Result<_, _>>()?,
            "memory" | "memswap" | "cpushares" | "cpuperiod" | "cpuquota" | "cpusetcpus" | "cpusetmems"
                if !value.is_empty() =>
            {
                self.set_resource(key, value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn set_resource(&mut self, key: &str, value: &str) -> Result<(), String> {
        let resources = self.linux_resources.get_or_insert_default();
        let positive = || {
            value
                .parse::<i64>()
                .ok()
                .filter(|number| *number > 0)
                .ok_or("use a number above 0")
        };
        match key {
            "memory" => resources.memory = positive()?,
            "memswap" if value == "-1" => resources.memory_swap = -1,
            "memswap" => resources.memory_swap = positive()?,
            "cpushares" => resources.cpu_shares = positive()?.unsigned_abs(),
            "cpuperiod" => resources.cpu_period = positive()?.unsigned_abs(),
            "cpuquota" => resources.cpu_quota = positive()?,
            "cpusetcpus" => value.clone_into(&mut resources.cpuset_cpus),
            _ => value.clone_into(&mut resources.cpuset_mems),
        }
        Ok(())
    }
}

/// Comma-separated parts, double quotes around one resolved.
fn fields(value: &str) -> impl Iterator<Item = &str> {
    let unquote = |field: &'_ str| field.len() > 1 && field.starts_with('"') && field.ends_with('"');
    let parts = value.split(',').filter(|field| !field.is_empty());
    parts.map(move |field| {
        if unquote(field) {
            &field[1..field.len() - 1]
        } else {
            field
        }
    })
}

/// `host=address`
fn extra_host(field: &str) -> Result<(String, IpAddr), String> {
    let (host, ip) = field
        .split_once('=')
        .ok_or_else(|| format!("`{field}` is not `host=address`"))?;
    match ip.parse() {
        Ok(ip) => Ok((host.to_lowercase(), ip)),
        Err(_) => Err(format!("`{ip}` is no IP address")),
    }
}

/// `name=soft[:hard]`; -1 is unlimited.
fn ulimit(field: &str) -> Result<pb::Ulimit, String> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = field
        .split_once('=')
        .filter(|(name, _)| NAMES.contains(name))
        .ok_or_else(|| format!("`{field}` is not `name=soft[:hard]` of a known limit"))?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| text.parse::<i64>().map_err(|_| format!("`{text}` is no number"));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(format!("the soft limit {soft} is above the hard limit {hard}"));
    }
    Ok(pb::Ulimit {
        name: name.to_owned(),
        soft,
        hard,
    })
}
