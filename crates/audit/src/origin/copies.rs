//! What COPY and ADD brought into one layer.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use distil_debian::deb822::Paragraph;
use serde::{Deserialize, Serialize};

use super::path_text;
use super::steps::{Step, VERSION};
use super::{FileOrigin, Place};
use crate::OsRelease;
use crate::inventory::source_of;

/// Where a COPY took files from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// As `--from` would name it: a stage, an image, packages, or a build context.
    pub name: String,
    /// Bytes of file contents in all of its layers, as far as they are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// It is a folder of the host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_context: bool,
}

/// A Debian package that owned copied files in the stage they were taken from.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CopiedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture (`amd64`, `all`).
    pub architecture: String,
    /// Name of the source package that it was built from.
    pub source: String,
    /// Version of that.
    pub source_version: String,
    /// Who maintains it; empty when the record does not say.
    pub maintainer: String,
    /// What system the stage says it is, which decides whose package it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<OsRelease>,
    /// SPDX expression of its licence, from its copyright file in the stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
}

impl CopiedPackage {
    /// Reads dpkg's paragraph about a package, which tells neither its system nor its licence; `None` when it has no name or version.
    #[must_use]
    pub fn of(paragraph: &Paragraph<'_>) -> Option<Self> {
        let field = |name: &str| paragraph.get(name).unwrap_or_default().to_owned();
        let (name, version) = (field("Package"), field("Version"));
        if name.is_empty() || version.is_empty() {
            return None;
        }
        let source = source_of(paragraph.get("Source"), &name, &version);
        Some(Self {
            architecture: field("Architecture"),
            maintainer: field("Maintainer"),
            source: source.name,
            source_version: source.version,
            system: None,
            licence: None,
            name,
            version,
        })
    }
}

/// One place of a [`CopyRecord`]; indices are of its lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRecord {
    /// Index of the stage.
    pub stage: u32,
    /// Path in the stage; for what lies below the entry's path, the same is below this one.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// Index of the step that made it there.
    pub step: Option<u32>,
}

/// What COPY and ADD brought into one layer. A directory stands for everything below it that has no entry of its own,
/// so that the record of a large tree is small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyRecord {
    stages: Vec<Stage>,
    steps: Vec<Step>,
    packages: Vec<CopiedPackage>,
    /// By path in the image: nearest place first, never empty.
    entries: BTreeMap<PathBuf, Vec<PlaceRecord>>,
    /// Path in the image to index of the package.
    owned: BTreeMap<PathBuf, u32>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    stages: Vec<Stage>,
    steps: Vec<Step>,
    packages: Vec<CopiedPackage>,
    entries: Vec<(String, Vec<PlaceRecord>)>,
    /// For each package: directory, and names in it.
    owned: Vec<Vec<(String, Vec<String>)>>,
}

/// Index of `value` in `list`, added where it is missing.
fn intern<T: PartialEq>(list: &mut Vec<T>, value: T) -> u32 {
    let at = list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    });
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn at<T>(list: &[T], index: u32) -> Option<&T> {
    list.get(usize::try_from(index).ok()?)
}

/// `path`, which is at or below `from`, moved to `to`.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() {
        to.to_owned()
    } else {
        to.join(rest)
    })
}

impl CopyRecord {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The stages and contexts that files were taken from, those of earlier copies too.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The packages that files belonged to.
    #[must_use]
    pub fn packages(&self) -> &[CopiedPackage] {
        &self.packages
    }

    /// The files of a package, by its index in [`CopyRecord::packages`], as paths of the image.
    pub fn files_of(&self, package: usize) -> impl Iterator<Item = PathBuf> {
        let owned = self.owned.iter();
        owned
            .filter(move |(_, index)| usize::try_from(**index) == Ok(package))
            .map(|(path, _)| path.clone())
    }

    /// Number of entries, one for each copied path or directory of another origin than the one around it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Where a path of the image comes from.
    #[must_use]
    pub fn file(&self, path: &Path) -> Option<FileOrigin<'_>> {
        let (entry, places) = path
            .ancestors()
            .find_map(|above| self.entries.get_key_value(above))?;
        let places = places.iter().filter_map(|place| {
            Some(Place {
                stage: &at(&self.stages, place.stage)?.name,
                path: moved(path, entry, &place.path)?,
                step: place.step.and_then(|step| at(&self.steps, step)),
            })
        });
        let places: Vec<Place<'_>> = places.collect();
        let package = self.owned.get(path).and_then(|index| at(&self.packages, *index));
        (!places.is_empty()).then_some(FileOrigin { places, package })
    }

    /// Adds a stage and gives its index.
    pub fn add_stage(&mut self, stage: Stage) -> u32 {
        intern(&mut self.stages, stage)
    }

    /// Adds a step and gives its index. Lines are not kept: those of the Dockerfile that an image was built from count.
    pub fn add_step(&mut self, step: Step) -> u32 {
        intern(&mut self.steps, Step { lines: None, ..step })
    }

    /// Says that `path` of the image, and what is below it, was copied from `place`. `earlier` is the record of the layer
    /// that had it there, when a COPY had brought it.
    pub fn add(&mut self, path: &Path, place: PlaceRecord, earlier: Option<&Self>) {
        let Some(earlier) = earlier else {
            self.entries.insert(path.to_owned(), vec![place]);
            return;
        };
        let covering = place
            .path
            .ancestors()
            .find_map(|above| earlier.entries.get_key_value(above));
        let mut places = vec![place.clone()];
        if let Some((entry, behind)) = covering {
            places.extend(self.adopt(earlier, behind, |known| moved(&place.path, entry, known)));
        }
        self.entries.insert(path.to_owned(), places);
        for (inner, behind) in below(&earlier.entries, &place.path) {
            let Some(target) = moved(inner, &place.path, path).filter(|target| target != path) else {
                continue;
            };
            let mut places = vec![PlaceRecord {
                path: inner.clone(),
                ..place.clone()
            }];
            places.extend(self.adopt(earlier, behind, |known| Some(known.to_owned())));
            self.entries.insert(target, places);
        }
        for (inner, package) in below(&earlier.owned, &place.path) {
            if let (Some(target), Some(package)) =
                (moved(inner, &place.path, path), at(&earlier.packages, *package))
            {
                let package = intern(&mut self.packages, package.clone());
                self.owned.insert(target, package);
            }
        }
    }

    /// Places of another record with the indices of this one.
    fn adopt(
        &mut self,
        other: &Self,
        places: &[PlaceRecord],
        path: impl Fn(&Path) -> Option<PathBuf>,
    ) -> Vec<PlaceRecord> {
        let mut adopted = Vec::with_capacity(places.len());
        for place in places {
            let (Some(stage), Some(path)) = (at(&other.stages, place.stage), path(&place.path)) else {
                continue;
            };
            let step = place.step.and_then(|step| at(&other.steps, step));
            adopted.push(PlaceRecord {
                stage: intern(&mut self.stages, stage.clone()),
                path,
                step: step.map(|step| intern(&mut self.steps, step.clone())),
            });
        }
        adopted
    }

    /// Says which paths of the image a package owned where they were copied from. It outdoes what an earlier copy says.
    pub fn add_owned(&mut self, package: CopiedPackage, files: impl IntoIterator<Item = PathBuf>) {
        let package = intern(&mut self.packages, package);
        self.owned.extend(files.into_iter().map(|file| (file, package)));
    }

    /// Gives each step the lines that the same step has in `known`: the same operation, else one of the same name.
    pub(super) fn place_steps(&mut self, known: &[Step]) {
        let by_op: HashMap<_, _> = known.iter().map(|step| (step.op, step.lines)).collect();
        let by_name: HashMap<_, _> = known
            .iter()
            .map(|step| (step.name.as_str(), step.lines))
            .collect();
        for step in &mut self.steps {
            let lines = by_op.get(&step.op).or_else(|| by_name.get(step.name.as_str()));
            step.lines = lines.copied().flatten();
        }
    }

    /// The form that is stored. Equal records have equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut owned: Vec<BTreeMap<String, Vec<String>>> = vec![BTreeMap::new(); self.packages.len()];
        for (path, package) in &self.owned {
            let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let package = usize::try_from(*package).ok();
            if let Some(dirs) = package.and_then(|package| owned.get_mut(package)) {
                let names = dirs.entry(path_text::encode(dir)).or_default();
                names.push(path_text::encode(Path::new(name)));
            }
        }
        let entries = self.entries.iter();
        let stored = Stored {
            version: VERSION,
            stages: self.stages.clone(),
            steps: self.steps.clone(),
            packages: self.packages.clone(),
            entries: entries
                .map(|(path, places)| (path_text::encode(path), places.clone()))
                .collect(),
            owned: owned.into_iter().map(|dirs| dirs.into_iter().collect()).collect(),
        };
        // Lists of text and numbers: nothing that JSON does not have.
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads what [`CopyRecord::to_json`] wrote; `None` for anything else.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        (stored.version == VERSION).then_some(())?;
        let mut entries = BTreeMap::new();
        for (path, places) in stored.entries {
            entries.insert(path_text::decode(&path)?, places);
        }
        let mut owned = BTreeMap::new();
        for (package, dirs) in (0u32..).zip(stored.owned) {
            for (dir, names) in dirs {
                let dir = path_text::decode(&dir)?;
                for name in names {
                    let name: OsString = path_text::decode(&name)?.into();
                    owned.insert(dir.join(name), package);
                }
            }
        }
        Some(Self {
            stages: stored.stages,
            steps: stored.steps,
            packages: stored.packages,
            entries,
            owned,
        })
    }
}

/// The entries at or below a path.
fn below<'m, T>(map: &'m BTreeMap<PathBuf, T>, path: &'m Path) -> impl Iterator<Item = (&'m PathBuf, &'m T)> {
    map.range(path.to_owned()..)
        .take_while(move |(key, _)| key.starts_with(path))
}
