//! What is told of one image.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use distil_audit::origin::Origins;
use distil_audit::policy::Policy;
use distil_audit::{
    Ecosystem, Entry, Finding, Inventory, Layer, Share, by_directory, by_package, package_sizes,
    printable_path, printable_text, rules,
};
use distil_store::Store;
use serde::Serialize;

use super::start_up::StartUp;
use super::vulnerabilities::Vulnerabilities;
use crate::error::CliError;
use crate::session::store_error;
use crate::view::{OpenedImage, failed, mode_text, one_line};

/// The rules whose findings are programs: name of the rule, name in JSON, name for people.
pub(super) const PROGRAMS: [(&str, &str, &str); 6] = [
    ("shell", "Shells", "Shells"),
    ("package-manager", "PackageManagers", "Package managers"),
    ("system-tool", "SystemTools", "System tools"),
    ("network-tool", "NetworkTools", "Network tools"),
    ("interpreter", "Interpreters", "Other interpreters"),
    ("compiler", "Compilers", "Compilers, build tools"),
];

/// How images are looked at.
pub(super) struct Look<'l> {
    /// What counts as a finding.
    pub(super) policy: &'l Policy,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// Vulnerability databases; none where there are none.
    pub(super) databases: Option<&'l [PathBuf]>,
    /// Knows how images were built.
    pub(super) store: &'l Store,
    /// Parts of an image that are smaller than one in this many are put together.
    pub(super) detail: u64,
}

/// Everything that is told of an image, safe to print.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ImageFacts {
    /// As the user named it.
    pub(super) name: String,
    pub(super) id: String,
    pub(super) platform: String,
    /// User of the program; empty is root.
    pub(super) user: String,
    pub(super) size: Sizes,
    /// Regular files that are seen.
    pub(super) files: u64,
    pub(super) layers: Vec<LayerFacts>,
    /// What files were copied from; empty where the store does not know how the image was built.
    pub(super) stages: Vec<StageFacts>,
    pub(super) packages: Vec<PackageFacts>,
    /// Paths of shells and tools by the rule that finds them, whatever the policy accepts.
    pub(super) programs: BTreeMap<&'static str, Vec<String>>,
    pub(super) set_id: Vec<SetIdFile>,
    /// What the audit finds and the policy does not accept.
    pub(super) findings: Vec<Finding>,
    /// None without a database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vulnerabilities: Option<Vulnerabilities>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_up: Option<StartUp>,
    #[serde(skip)]
    pub(super) shares: Shares,
}

/// Bytes of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Sizes {
    /// Contents of all layers.
    pub(super) stored: u64,
    /// Contents of those that are seen.
    pub(super) seen: u64,
    /// Contents of those that a later layer replaces or removes.
    pub(super) wasted: u64,
    /// What a registry stores and a machine without any of its layers pulls.
    pub(super) compressed: u64,
}

/// A layer of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LayerFacts {
    #[serde(rename = "DiffID")]
    pub(super) diff_id: Option<String>,
    /// Empty where the history does not tell.
    pub(super) instruction: String,
    pub(super) files: u64,
    pub(super) size: u64,
    pub(super) wasted: u64,
    pub(super) compressed: u64,
}

/// A stage, image or context that files of an image were copied from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StageFacts {
    /// As `--from` names it.
    pub(super) name: String,
    /// Bytes of contents of all of its layers, where they are known.
    pub(super) size: Option<u64>,
    /// Bytes of its files that are seen in the image.
    pub(super) brought: u64,
    /// How many files that are.
    pub(super) files: u64,
}

/// A package of an image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PackageFacts {
    #[serde(rename = "Type")]
    pub(super) ecosystem: Ecosystem,
    pub(super) name: String,
    pub(super) version: String,
    /// Bytes of its files that are in the image.
    pub(super) size: u64,
}

/// A file that runs with the rights of its owner or group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetIdFile {
    pub(super) path: String,
    pub(super) mode: String,
    pub(super) owner: String,
}

/// Where the bytes of an image are.
#[derive(Debug)]
pub(super) struct Shares {
    pub(super) directories: Share,
    pub(super) packages: Share,
}

impl ImageFacts {
    /// Looks into an image; `compressed` are the sizes of its layers.
    pub(super) fn of(image: &OpenedImage, compressed: &[u64], look: &Look<'_>) -> Result<Self, CliError> {
        let inventory = Inventory::read_all(image).map_err(failed)?;
        let (config, least) = (image.config(), image.size() / look.detail.max(1));
        let set_id = image.entries().iter().filter(|entry| is_set_id(entry));
        // An audit looks at the system's packages alone.
        let system = Inventory::read(image).map_err(failed)?;
        let findings = rules::audit(image, &system, look.now).map_err(failed)?;
        let mut tools: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
        for (rule, _, _) in PROGRAMS {
            let found = findings.iter().filter(|finding| finding.id == rule);
            let paths = found.filter_map(|finding| finding.path.as_deref());
            tools.insert(rule, paths.map(printable_path).collect());
        }
        let layers = image.layers().iter().zip(compressed);
        let judge = |paths| Vulnerabilities::of(image, &inventory, paths, look.now);
        let origins = Origins::read(look.store, &image.id()).map_err(store_error)?;
        Ok(Self {
            name: printable_path(Path::new(&image.name)),
            id: image.id().to_string(),
            platform: printable_text(&config.platform().to_string()),
            user: printable_text(&config.config.user),
            size: Sizes {
                stored: image.layers().iter().map(|layer| layer.size).sum(),
                seen: image.size(),
                wasted: image.layers().iter().map(|layer| layer.wasted).sum(),
                compressed: compressed.iter().sum(),
            },
            files: count(image.entries().iter().filter(|entry| entry.node.kind.is_file())),
            layers: layers
                .map(|(layer, compressed)| LayerFacts::of(layer, *compressed))
                .collect(),
            stages: origins.map_or_else(Vec::new, |origins| stages(image, &origins)),
            packages: packages(image, &inventory),
            programs: tools,
            set_id: set_id.map(SetIdFile::of).collect(),
            findings: look.policy.apply(findings).findings,
            vulnerabilities: look.databases.map(judge).transpose()?,
            start_up: None,
            shares: Shares {
                directories: by_directory(image, least),
                packages: by_package(image, &inventory, least),
            },
        })
    }

    /// Paths of the programs that a rule finds.
    pub(super) fn programs(&self, rule: &str) -> &[String] {
        self.programs.get(rule).map_or(&[], Vec::as_slice)
    }

    /// Whether the program runs as root.
    pub(super) fn is_root(&self) -> bool {
        let user = self.user.split(':').next().unwrap_or_default();
        user.is_empty() || user == "root" || user.parse() == Ok(0)
    }
}

impl LayerFacts {
    fn of(layer: &Layer, compressed: u64) -> Self {
        let instruction = layer.instruction.as_ref();
        Self {
            diff_id: layer.diff_id.map(|diff_id| diff_id.to_string()),
            instruction: instruction.map_or_else(String::new, |text| one_line(text, 300)),
            files: layer.files,
            size: layer.size,
            wasted: layer.wasted,
            compressed,
        }
    }
}

impl SetIdFile {
    fn of(entry: &Entry) -> Self {
        Self {
            path: printable_path(&entry.path),
            mode: mode_text(&entry.node),
            owner: format!("{}:{}", entry.node.uid, entry.node.gid),
        }
    }
}

fn is_set_id(entry: &Entry) -> bool {
    entry.node.kind.is_file() && entry.node.mode & 0o6000 != 0
}

/// What each stage brought. A file that went through several stages counts in each.
fn stages(image: &OpenedImage, origins: &Origins) -> Vec<StageFacts> {
    let mut found: BTreeMap<&str, StageFacts> = BTreeMap::new();
    for stage in origins.copies().flat_map(|(_, record)| record.stages()) {
        let facts = found.entry(&stage.name).or_insert_with(|| StageFacts {
            name: printable_text(&stage.name),
            size: None,
            brought: 0,
            files: 0,
        });
        facts.size = facts.size.max(stage.size);
    }
    let mut groups = HashSet::new();
    for entry in image.entries().iter().filter(|entry| entry.node.kind.is_file()) {
        let first = entry.link_group.is_none_or(|group| groups.insert(group));
        let bytes = if first { entry.size() } else { 0 };
        let origin = origins.file(entry.layer, &entry.path);
        let mut passed: Vec<&str> = origin
            .iter()
            .flat_map(|origin| &origin.places)
            .map(|place| place.stage)
            .collect();
        passed.sort_unstable();
        passed.dedup();
        for stage in passed {
            if let Some(facts) = found.get_mut(stage) {
                facts.brought += bytes;
                facts.files += 1;
            }
        }
    }
    found.into_values().collect()
}

fn packages(image: &OpenedImage, inventory: &Inventory) -> Vec<PackageFacts> {
    let found = inventory.packages().iter().zip(package_sizes(image, inventory));
    let facts = found.map(|(package, size)| PackageFacts {
        ecosystem: package.ecosystem,
        name: printable_text(&package.name),
        version: printable_text(&package.version),
        size,
    });
    facts.collect()
}

/// How many there are.
pub(super) fn count(items: impl Iterator) -> u64 {
    items.fold(0, |count, _| count + 1)
}
