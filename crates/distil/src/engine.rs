//! Opens the engine from arguments, config file and environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_engine::{DebianArchive, Engine, EngineConfig};
use distil_fetch::{Client, ClientConfig, Proxies, TrustRoots};
use distil_oci::Platform;
use distil_registry::{DockerConfig, Remote, RemoteConfig};
use distil_rootfs::{IdMap, IdRange};
use distil_sandbox::network_files;
use distil_snapshot::{SnapshotMode, SnapshotOptions, Snapshotter, describe_id_maps};
use distil_sources::BasesPolicy;
use distil_store::Store;

use crate::arguments::SnapshotterArg;
use crate::commands::build::{BasesArgs, BasesPolicyArg};
use crate::error::{CliError, chain};
use crate::session::Session;
use crate::units;

impl Session {
    /// Opens the engine. `jobs` is the number of RUN steps at once.
    pub(crate) fn engine(&self, bases: &BasesArgs, jobs: Option<u16>) -> Result<Engine, CliError> {
        let policy = match bases.bases.or(self.config.bases).unwrap_or(BasesPolicyArg::Auto) {
            BasesPolicyArg::Auto => BasesPolicy::Auto,
            BasesPolicyArg::Registry => BasesPolicy::Registry,
            BasesPolicyArg::Packages => BasesPolicy::Packages,
        };
        let image_layouts = match bases.image_layout.as_slice() {
            [] => self.config.image_layouts.clone().unwrap_or_default(),
            given => given.to_vec(),
        };
        let client = self.client()?;
        let config = EngineConfig {
            root: self.root(),
            snapshots: self.snapshot_mode(),
            id_map: id_map()?,
            in_user_namespace: distil_sandbox::userns::inside(),
            outside_namespace: distil_sandbox::userns::needed(),
            exec_slots: usize::from(jobs.or(self.config.jobs.map(Into::into)).unwrap_or(64)),
            host: Platform::host(),
            resolv_conf: resolv_conf(),
            image_layouts,
            bases: policy,
            remote: Arc::new(self.remote(client.clone())?),
            fetcher: Arc::new(client),
            debian: DebianArchive {
                mirror: bases.mirror.clone().or_else(|| self.config.mirror.clone()),
                host_sources: apt_sources(Path::new("/etc/apt")),
                downloads: self.root().join("downloads"),
            },
            now: self.now(),
        };
        Engine::open(config).map_err(|error| CliError::failed(chain(&error)))
    }

    /// The HTTP client, with the proxies and certificates that the environment names.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let variable = |name: &str| {
            self.environment
                .get(name)
                .or_else(|| self.environment.get(&name.to_uppercase()))
        };
        let proxies = Proxies::new(
            variable("http_proxy"),
            variable("https_proxy"),
            variable("no_proxy"),
        )
        .map_err(|error| CliError::config(chain(&error)))?;
        let roots = TrustRoots {
            bundle: self.environment.get("SSL_CERT_FILE").map(PathBuf::from),
            ..TrustRoots::default()
        };
        Ok(Client::new(ClientConfig {
            proxies,
            roots,
            ..ClientConfig::default()
        }))
    }

    /// The registry client, with the logins of docker's config.
    fn remote(&self, client: Client) -> Result<Remote, CliError> {
        let path = self.environment.docker_config().join("config.json");
        let logins = match std::fs::read_to_string(&path) {
            Ok(text) => DockerConfig::parse(&text)
                .map_err(|error| CliError::config(format!("`{}`: {}", path.display(), chain(&error))))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => DockerConfig::default(),
            Err(error) => {
                return Err(CliError::config(format!(
                    "cannot read `{}`: {error}",
                    path.display()
                )));
            }
        };
        let config = RemoteConfig {
            insecure: self.config.insecure_registries.clone().unwrap_or_default(),
            ..RemoteConfig::default()
        };
        Ok(Remote::new(client, Arc::new(logins), config))
    }

    /// The snapshots of a store, without an engine.
    pub(crate) fn snapshots(&self, store: &Store) -> Result<Snapshotter, CliError> {
        let options = SnapshotOptions {
            mode: self.snapshot_mode(),
            id_map: id_map()?,
            in_user_namespace: distil_sandbox::userns::inside(),
            outside: distil_sandbox::userns::needed(),
            ..SnapshotOptions::default()
        };
        Ok(Snapshotter::open(store, options))
    }

    /// How snapshots are made.
    pub(crate) fn snapshot_mode(&self) -> SnapshotMode {
        match self
            .global
            .snapshotter
            .or(self.config.snapshotter)
            .unwrap_or(SnapshotterArg::Auto)
        {
            SnapshotterArg::Auto => SnapshotMode::Auto,
            SnapshotterArg::Overlay => SnapshotMode::Overlay,
            SnapshotterArg::Native => SnapshotMode::Native,
        }
    }

    /// Size above which the build cache gives up its least recently used records.
    pub(crate) fn cache_limit(&self, store: &Store) -> Result<u64, CliError> {
        match &self.config.cache_limit {
            Some(text) => units::parse_bytes(text).ok_or_else(|| {
                CliError::config(format!("`cache-limit = \"{text}\"` is no size"))
                    .hint("write it like \"20GB\"")
            }),
            None => store.default_size_limit().map_err(crate::session::store_error),
        }
    }
}

/// The user namespace map that files of layers are written under: that of this process, or for an ordinary
/// user outside of a namespace that of the one which would be entered.
fn id_map() -> Result<String, CliError> {
    if distil_sandbox::userns::needed()
        && let Ok(mapping) = distil_sandbox::userns::probe()
    {
        let (users, groups) = mapping.maps();
        return Ok(describe_id_maps(&map_of(users), &map_of(groups)));
    }
    let read = |path: &str| {
        let text = std::fs::read_to_string(path)
            .map_err(|error| CliError::failed(format!("cannot read `{path}`: {error}")))?;
        let ranges = text.lines().map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            match (numbers.next(), numbers.next(), numbers.next()) {
                (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) => Ok(IdRange {
                    inside,
                    outside,
                    count,
                }),
                _ => Err(CliError::failed(format!("`{path}`: `{line}` is no range of ids"))),
            }
        });
        Ok::<_, CliError>(IdMap::new(ranges.collect::<Result<_, _>>()?))
    };
    Ok(describe_id_maps(
        &read("/proc/self/uid_map")?,
        &read("/proc/self/gid_map")?,
    ))
}

fn map_of(ranges: Vec<(u32, u32, u32)>) -> IdMap {
    let range = |(inside, outside, count)| IdRange {
        inside,
        outside,
        count,
    };
    IdMap::new(ranges.into_iter().map(range).collect())
}

/// What RUN sees as `/etc/resolv.conf`; a host without one has no servers.
fn resolv_conf() -> Vec<u8> {
    let host = std::fs::read("/etc/resolv.conf").unwrap_or_default();
    match network_files::resolv_conf_path(&host) {
        "/etc/resolv.conf" => host,
        other => std::fs::read(other).unwrap_or(host),
    }
}

/// Name and text of apt's source files; what cannot be read is left out, for another archive will do.
fn apt_sources(etc: &Path) -> Vec<(String, String)> {
    let mut paths = vec![etc.join("sources.list")];
    let parts = std::fs::read_dir(etc.join("sources.list.d"))
        .into_iter()
        .flatten();
    let mut parts: Vec<PathBuf> = parts.flatten().map(|entry| entry.path()).collect();
    parts.sort();
    paths.extend(parts);
    paths
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            (name.ends_with(".list") || name.ends_with(".sources")).then_some(())?;
            Some((name, std::fs::read_to_string(&path).ok()?))
        })
        .collect()
}
