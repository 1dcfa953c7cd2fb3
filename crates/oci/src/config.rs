//! Image configs: what Docker and the OCI image specification know of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::json::{canonical_json, name_set, null_is_default};
use crate::{DiffId, Platform};

/// An image config; the sha256 of its JSON is the image ID.
///
/// Empty fields are left out of the JSON and read as empty when they are missing or `null`. Fields that are not
/// listed here are dropped when a config is read, as BuildKit's frontend drops them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    // The order is the alphabet's: BuildKit's exporter writes the top level from a map.
    /// CPU architecture in Go's names.
    #[serde(default)]
    pub architecture: String,
    /// Who made the image (MAINTAINER).
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// How a container of it runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: ContainerConfig,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instructions that made it, first one first.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub history: Vec<History>,
    /// Operating system in Go's names.
    #[serde(default)]
    pub os: String,
    /// Features that it needs of the operating system.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// Version of the operating system (Windows only).
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Its layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
    /// Variant of the CPU.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
}

impl ImageConfig {
    /// An empty config for a platform.
    #[must_use]
    pub fn new(platform: &Platform) -> Self {
        let mut config = Self::default();
        config.set_platform(platform);
        config
    }

    /// What the image runs on, as it is written in the config.
    #[must_use]
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: self.os_features.clone(),
            variant: self.variant.clone(),
        }
    }

    /// Writes the platform into its fields.
    pub fn set_platform(&mut self, platform: &Platform) {
        self.architecture.clone_from(&platform.architecture);
        self.os.clone_from(&platform.os);
        self.os_version.clone_from(&platform.os_version);
        self.os_features.clone_from(&platform.os_features);
        self.variant.clone_from(&platform.variant);
    }

    /// Reads a config.
    ///
    /// # Errors
    /// When the bytes are no JSON of that shape, or a diff ID is no sha256.
    pub fn from_json(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }

    /// The bytes to hash and store: compact, top-level keys sorted, inner keys in Docker's order, Go's escapes.
    /// These are the bytes that BuildKit's exporter writes for the same config.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // All map keys are strings and no `Serialize` of the fields fails.
        canonical_json(self).expect("an image config is always valid JSON")
    }
}

/// How a container of an image runs. Names and order are those of Docker's image specification.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerConfig {
    /// `user[:group]`, names or numbers; empty is root.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Ports with their protocol (`80/tcp`).
    #[serde(with = "name_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<String>,
    /// Environment, `KEY=value`, in order.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// First part of the command line.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Second part of the command line, replaced by arguments of `run`.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Directories for data.
    #[serde(with = "name_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// Directory in which the process starts; empty is `/`.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Free key-value pairs.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
    /// Signal that stops the container (`SIGTERM`).
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// Docker's mark that CMD came from a Dockerfile.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub args_escaped: bool,
    /// How to see whether the container works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Instructions that run when the image is used in FROM.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Shell of the shell forms.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// A health check. Durations are nanoseconds; 0 means the runtime's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a command.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Time between checks.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// When a check counts as hung.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// Time to start, in which failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Time between checks while it starts.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

// serde hands a reference to its predicates.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// One instruction in an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// When it ran, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// Who wrote it.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// What made this entry (`buildkit.dockerfile.v0`).
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// It made no layer.
    #[serde(
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub empty_layer: bool,
}

/// The layers of an image, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers.
    #[serde(deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self {
            kind: "layers".to_owned(),
            diff_ids: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_escapes_are_buildkits() {
        let mut config = ImageConfig::new(&"linux/arm/v7".parse().unwrap());
        config.created = Some("2023-11-14T22:13:20Z".into());
        config.config.env = vec!["PATH=/bin".into()];
        config.config.exposed_ports.insert("80/tcp".into());
        config.config.user = "u".into();
        config.config.args_escaped = true;
        config.config.healthcheck = Some(Healthcheck {
            interval: 3,
            ..Healthcheck::default()
        });
        config.config.on_build = vec!["RUN a && b <c".into()];
        config.history.push(History {
            created_by: "X".into(),
            empty_layer: true,
            ..History::default()
        });
        let expected = concat!(
            r#"{"architecture":"arm","config":{"User":"u","ExposedPorts":{"80/tcp":{}},"Env":["PATH=/bin"],"#,
            r#""ArgsEscaped":true,"Healthcheck":{"Interval":3},"OnBuild":["RUN a \u0026\u0026 b \u003cc"]},"#,
            r#""created":"2023-11-14T22:13:20Z","history":[{"created_by":"X","empty_layer":true}],"os":"linux","#,
            r#""rootfs":{"type":"layers","diff_ids":[]},"variant":"v7"}"#
        );
        assert_eq!(String::from_utf8(config.to_json()).unwrap(), expected);
        assert_eq!(ImageConfig::from_json(expected.as_bytes()).unwrap(), config);
    }

    #[test]
    fn nulls_and_unknown_fields() {
        let text = br#"{"architecture":"amd64","os":"linux","id":"x","container_config":{"A":1},"author":null,
            "config":{"User":null,"Env":null,"Cmd":null,"Volumes":null,"Labels":null,"OnBuild":null,"Shell":null,
            "Healthcheck":null,"ArgsEscaped":null,"Hostname":"h"},"history":null,"rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::from_json(text).unwrap();
        assert_eq!(config, ImageConfig::new(&"linux/amd64".parse().unwrap()));
        let empty = ImageConfig::from_json(b"{}").unwrap();
        assert_eq!(empty.rootfs.kind, "layers");
    }
}
