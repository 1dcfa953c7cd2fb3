//! The config file and the environment: everything a command needs from outside its arguments.
//!
//! `/etc/distil/config.toml` is read first, then `$XDG_CONFIG_HOME/distil/config.toml`; a key of the second
//! wins. An argument wins over `DISTIL_*`, and that over both files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::arguments::SnapshotterArg;
use crate::commands::build::preflight::PreflightMode;
use crate::commands::build::{BasesPolicyArg, HostCaKey, ProgressForm};
use crate::error::CliError;

/// Keys of the config file; unknown ones are an error.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ConfigFile {
    /// Store directory.
    pub(crate) root: Option<PathBuf>,
    /// `auto`, `overlay` or `native`.
    pub(crate) snapshotter: Option<SnapshotterArg>,
    /// `auto`, `registry` or `packages`.
    pub(crate) bases: Option<BasesPolicyArg>,
    /// Debian archive for assembled bases.
    pub(crate) mirror: Option<String>,
    /// Archive of old Debian packages, in the layout of snapshot.debian.org.
    pub(crate) snapshot_mirror: Option<String>,
    /// OCI layouts asked before registries.
    pub(crate) image_layouts: Option<Vec<PathBuf>>,
    /// `auto`, `tty`, `plain`, `rawjson` or `quiet`.
    pub(crate) progress: Option<ProgressForm>,
    /// `warn`, `error` or `off`.
    pub(crate) preflight: Option<PreflightMode>,
    /// RUN steps at once.
    pub(crate) jobs: Option<std::num::NonZeroU16>,
    /// Size of the build cache above which the least recently used goes, such as `"20GB"`.
    pub(crate) cache_limit: Option<String>,
    /// `true`, or the path of a bundle: certificate authorities that programs in RUN are to trust.
    pub(crate) host_ca: Option<HostCaKey>,
    /// Registries that may be asked over plain HTTP or with an unknown certificate.
    pub(crate) insecure_registries: Option<Vec<String>>,
    /// Vulnerability databases: files and folders.
    pub(crate) cve_databases: Option<Vec<PathBuf>>,
    /// Where `distil cve --update` finds OSV's archives.
    pub(crate) osv_mirror: Option<String>,
    /// Where `distil cve --update` finds the JSON of Debian's security tracker.
    pub(crate) debian_tracker: Option<String>,
    /// The files that were read.
    #[serde(skip)]
    pub(crate) read: Vec<PathBuf>,
}

impl ConfigFile {
    /// Reads both files; a missing one is empty.
    pub(crate) fn read(environment: &Environment) -> Result<Self, CliError> {
        let mut merged = Self::default();
        for path in environment.config_files() {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(CliError::config(format!(
                        "cannot read `{}`: {error}",
                        path.display()
                    )));
                }
            };
            merged = merged.overlay(Self::parse(&text, &path)?);
            merged.read.push(path);
        }
        Ok(merged.with_variables(environment))
    }

    /// `DISTIL_*` variables of the keys that have no option.
    fn with_variables(mut self, environment: &Environment) -> Self {
        if let Some(limit) = environment.get("DISTIL_CACHE_LIMIT") {
            self.cache_limit = Some(limit.to_owned());
        }
        for (name, value) in [
            ("DISTIL_OSV_MIRROR", &mut self.osv_mirror),
            ("DISTIL_DEBIAN_TRACKER", &mut self.debian_tracker),
        ] {
            *value = environment.get(name).map(str::to_owned).or(value.take());
        }
        if let Some(hosts) = environment.get("DISTIL_INSECURE_REGISTRIES") {
            let hosts = hosts.split(',').map(|host| host.trim().to_owned());
            self.insecure_registries = Some(hosts.filter(|host| !host.is_empty()).collect());
        }
        self
    }

    fn parse(text: &str, path: &Path) -> Result<Self, CliError> {
        toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            CliError::config(format!("`{}` line {line}: {}", path.display(), error.message()))
                .hint("docs/config.md lists the keys")
        })
    }

    fn overlay(self, other: Self) -> Self {
        Self {
            root: other.root.or(self.root),
            snapshotter: other.snapshotter.or(self.snapshotter),
            bases: other.bases.or(self.bases),
            mirror: other.mirror.or(self.mirror),
            snapshot_mirror: other.snapshot_mirror.or(self.snapshot_mirror),
            image_layouts: other.image_layouts.or(self.image_layouts),
            progress: other.progress.or(self.progress),
            preflight: other.preflight.or(self.preflight),
            jobs: other.jobs.or(self.jobs),
            cache_limit: other.cache_limit.or(self.cache_limit),
            host_ca: other.host_ca.or(self.host_ca),
            insecure_registries: other.insecure_registries.or(self.insecure_registries),
            cve_databases: other.cve_databases.or(self.cve_databases),
            osv_mirror: other.osv_mirror.or(self.osv_mirror),
            debian_tracker: other.debian_tracker.or(self.debian_tracker),
            read: self.read,
        }
    }
}

/// The process environment, read once.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    variables: BTreeMap<String, String>,
    /// Whether the process is root where it was started (not in a namespace of its own).
    pub(crate) root_user: bool,
}

impl Environment {
    /// Reads the variables; those that are not UTF-8 are left out.
    pub(crate) fn read() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let root_user = rustix::process::geteuid().is_root() && !distil_sandbox::userns::inside();
        Self { variables, root_user }
    }

    /// A variable that is set and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// All variables.
    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    fn home(&self) -> PathBuf {
        self.get("HOME")
            .map_or_else(|| PathBuf::from("/root"), PathBuf::from)
    }

    fn config_files(&self) -> [PathBuf; 2] {
        let user = self
            .get("XDG_CONFIG_HOME")
            .map_or_else(|| self.home().join(".config"), PathBuf::from);
        [
            PathBuf::from("/etc/distil/config.toml"),
            user.join("distil/config.toml"),
        ]
    }

    /// Where the store is when nothing else is said.
    pub(crate) fn default_root(&self) -> PathBuf {
        if self.root_user {
            return PathBuf::from("/var/lib/distil");
        }
        let data = self
            .get("XDG_DATA_HOME")
            .map_or_else(|| self.home().join(".local/share"), PathBuf::from);
        data.join("distil")
    }

    /// Where downloaded vulnerability databases are.
    pub(crate) fn cve_folder(&self) -> PathBuf {
        let cache = match self.get("XDG_CACHE_HOME") {
            Some(folder) => PathBuf::from(folder),
            None if self.root_user => PathBuf::from("/var/cache"),
            None => self.home().join(".cache"),
        };
        cache.join("distil/cve")
    }

    /// Docker's config folder, which holds the registry credentials.
    pub(crate) fn docker_config(&self) -> PathBuf {
        self.get("DOCKER_CONFIG")
            .map_or_else(|| self.home().join(".docker"), PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_key_is_an_error_with_its_line() {
        let error = ConfigFile::parse("jobs = 4\nmirorr = \"x\"\n", Path::new("c.toml")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 2") && text.contains("mirorr"), "{text}");
    }

    #[test]
    fn every_key_is_documented() {
        let unknown = ConfigFile::parse("unknown-key = 1\n", Path::new("c.toml")).unwrap_err();
        let text = include_str!("../../../docs/config.md");
        let message = unknown.to_string();
        let keys: Vec<&str> = message.split('`').skip(5).step_by(2).collect();
        assert!(keys.contains(&"image-layouts"), "{keys:?}");
        for key in keys {
            assert!(text.contains(&format!("| `{key}` |")), "{key}");
        }
    }

    #[test]
    fn second_file_wins() {
        let first = ConfigFile::parse("jobs = 4\nbases = \"registry\"\n", Path::new("a")).unwrap();
        let second = ConfigFile::parse("jobs = 8\n", Path::new("b")).unwrap();
        let merged = first.overlay(second);
        assert_eq!(merged.jobs.map(std::num::NonZeroU16::get), Some(8));
        assert_eq!(merged.bases, Some(BasesPolicyArg::Registry));
    }
}
