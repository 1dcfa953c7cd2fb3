//! What the built-in images have.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use super::{Library, Need};

/// Made of the images themselves; a test compares it with them.
const TABLE: &str = include_str!("images.toml");

/// A built-in image, as far as programs care.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseImage {
    /// Name without registry and tag: `cc-debian12`.
    pub name: String,
    /// What it runs, with version: `Python 3.11`.
    pub version: String,
    /// Bytes of its files, on amd64. It changes a little with every update.
    pub size: u64,
    /// Bytes of the files of its `slim` variant.
    pub slim: u64,
    /// Minor number of its Python 3.
    pub python: Option<u32>,
    /// Its Java.
    pub java: Option<u32>,
    /// Major number of its Node.js.
    pub node: Option<u32>,
    /// Newest version of symbols by family: `GLIBC` is `2.36`.
    #[serde(default)]
    pub symbols: BTreeMap<String, String>,
    /// Names of its shared libraries in the directories that the loader searches.
    #[serde(default)]
    pub libraries: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    image: Vec<BaseImage>,
}

/// All built-in images that start programs, in the order of `distil base list`. A test proves that the table is read.
#[must_use]
pub fn images() -> &'static [BaseImage] {
    static IMAGES: LazyLock<Vec<BaseImage>> =
        LazyLock::new(|| toml::from_str(TABLE).map_or_else(|_| Vec::new(), |table: Table| table.image));
    &IMAGES
}

impl BaseImage {
    /// The interpreter that it has, if it has one.
    #[must_use]
    pub fn program(&self) -> Option<String> {
        match (self.python, self.java, self.node) {
            (Some(minor), ..) => Some(format!("/usr/bin/python3.{minor}")),
            (_, Some(_), _) => Some("/usr/bin/java".to_owned()),
            (.., Some(_)) => Some("/nodejs/bin/node".to_owned()),
            _ => None,
        }
    }

    /// What it lacks of a need, for "has ...": `no libssl.so.3`.
    pub(crate) fn lacks(&self, need: &Need) -> Option<String> {
        match need {
            Need::Nothing => None,
            Need::Libraries(libraries) => self.lacks_library(libraries),
            Need::Python(versions) => match self.python {
                Some(minor) if versions.accepts(minor) => None,
                Some(minor) => Some(format!("Python 3.{minor}")),
                None => Some("no Python".to_owned()),
            },
            Need::Java(least) => match self.java {
                Some(version) if version >= *least => None,
                Some(version) => Some(format!("Java {version}")),
                None => Some("no Java".to_owned()),
            },
            Need::Node(versions) => match self.node {
                Some(version) if versions.accepts(version) => None,
                Some(version) => Some(format!("Node.js {version}")),
                None => Some("no Node.js".to_owned()),
            },
        }
    }

    fn lacks_library(&self, libraries: &[Library]) -> Option<String> {
        if self.libraries.is_empty() {
            return Some("no C library".to_owned());
        }
        let missing = libraries.iter().find(|library| !self.has(&library.name));
        if let Some(library) = missing {
            return Some(format!("no `{}`", library.name));
        }
        let versions = libraries.iter().flat_map(|library| &library.versions);
        let newer = versions
            .into_iter()
            .find(|version| self.is_too_old_for(version))?;
        let family = newer
            .rsplit_once('_')
            .map_or(newer.as_str(), |(family, _)| family);
        let own = self.symbols.get(family).map_or("", String::as_str);
        Some(format!("`{family}_{own}`, not `{newer}`"))
    }

    fn has(&self, library: &str) -> bool {
        self.libraries.iter().any(|own| own == library)
    }

    /// Whether a version is newer than the newest of its family here. A family that is not listed has no numbers.
    fn is_too_old_for(&self, version: &str) -> bool {
        let Some((family, number)) = version.rsplit_once('_') else {
            return false;
        };
        let Some(own) = self.symbols.get(family) else {
            return false;
        };
        match (numbers(number), numbers(own)) {
            (Some(wanted), Some(own)) => wanted > own,
            _ => false,
        }
    }
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    text.split('.').map(|part| part.parse().ok()).collect()
}

/// The libraries, or else the versions, that no image has, for a message.
pub(crate) fn nowhere(libraries: &[Library]) -> String {
    let names = libraries.iter().map(|library| &library.name);
    let missing: Vec<String> = names
        .filter(|name| !images().iter().any(|image| image.has(name)))
        .map(|name| format!("`{name}`"))
        .collect();
    if !missing.is_empty() {
        return missing.join(" and ");
    }
    let versions = libraries.iter().flat_map(|library| &library.versions);
    let newer: Vec<String> = versions
        .filter(|version| images().iter().all(|image| image.is_too_old_for(version)))
        .map(|version| format!("`{version}`"))
        .collect();
    match newer.as_slice() {
        [] => "all of these libraries".to_owned(),
        newer => newer.join(" and "),
    }
}
