//! Reading a lockfile.

use distil_debian::{UnixTime, parse_rfc3339};
use distil_oci::Digest;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use toml::Spanned;

use super::text::PER_PACKAGE;
use super::{
    LockedFile, LockedImage, LockedIndex, LockedInput, LockedPackage, LockedSuite, Lockfile, Output,
    PackageUse, VERSION,
};
use crate::recipe::{Layout, Variant};
use crate::release::DebianRelease;
use crate::selection::Reason;

/// A lockfile that cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// It is not TOML of the form that [`Lockfile::to_text`] writes.
    #[error("line {line}: {reason}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Another version of the format.
    #[error("it has version {found} of the format, this distil reads version {VERSION}")]
    Version {
        /// What it says.
        found: u32,
    },
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u32,
    #[serde(default)]
    image: Vec<Image>,
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    suite: Vec<Suite>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Image {
    name: Spanned<String>,
    architecture: String,
    recipe: String,
    release: Spanned<String>,
    variant: Option<Spanned<String>>,
    layers: Option<Spanned<String>>,
    spec: Digest,
    #[serde(deserialize_with = "time")]
    epoch: UnixTime,
    manifest: Option<Digest>,
    #[serde(default)]
    diff_ids: Vec<Digest>,
    #[serde(default)]
    suites: Vec<Spanned<String>>,
    #[serde(default)]
    packages: Vec<Spanned<String>>,
    #[serde(default)]
    left_out: Vec<Spanned<String>>,
    #[serde(default)]
    input: Vec<Input>,
    #[serde(default)]
    file: Vec<ImageFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Input {
    name: String,
    #[serde(default)]
    version: String,
    url: String,
    size: Option<u64>,
    #[serde(deserialize_with = "hash")]
    sha256: Digest,
    #[serde(default)]
    purl: String,
    license: Option<String>,
    supplier: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ImageFile {
    path: String,
    source: String,
    #[serde(deserialize_with = "hash")]
    sha256: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Package {
    name: Spanned<String>,
    version: String,
    architecture: String,
    source: Option<String>,
    source_version: Option<String>,
    suite: String,
    archive: Option<String>,
    filename: String,
    size: u64,
    #[serde(deserialize_with = "hash")]
    sha256: Digest,
    #[serde(default)]
    multi_arch: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Suite {
    name: Spanned<String>,
    archive: Option<String>,
    #[serde(default)]
    components: Vec<String>,
    #[serde(default)]
    version: String,
    #[serde(deserialize_with = "time")]
    date: UnixTime,
    #[serde(default, deserialize_with = "optional_time")]
    valid_until: Option<UnixTime>,
    #[serde(deserialize_with = "hash")]
    in_release: Digest,
    #[serde(default)]
    signed_by: Vec<String>,
    #[serde(default)]
    indexes: Vec<Index>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Index {
    path: String,
    size: u64,
    #[serde(deserialize_with = "hash")]
    sha256: Digest,
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_rfc3339(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is no time of the form `2025-09-06T09:57:03Z`"))
    })
}

fn optional_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixTime>, D::Error> {
    time(deserializer).map(Some)
}

fn hash<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
    let text = String::deserialize(deserializer)?;
    Digest::from_hex(&text)
        .map_err(|_| serde::de::Error::custom(format!("`{text}` is no sha256 in hexadecimal digits")))
}

/// Line of a byte of the text, counted from 1.
fn line_at(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().get(..byte).unwrap_or_default();
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

impl Lockfile {
    /// Reads the text of a lockfile. Lists may stand in any order; the result is sorted.
    ///
    /// # Errors
    /// With the line, when it is not what [`Lockfile::to_text`] writes, or when an
    /// image names a package or a suite that is not there.
    pub fn parse(text: &str) -> Result<Lockfile, ParseError> {
        let syntax = |error: &toml::de::Error| ParseError::Syntax {
            line: line_at(text, error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        };
        match toml::from_str::<File>(text) {
            Ok(file) if file.version == VERSION => Reader { text }.lockfile(file),
            // What is unknown in it may be what another version has.
            other => {
                let head: Head = toml::from_str(text).map_err(|error| syntax(&error))?;
                Err(match other {
                    Err(error) if head.version == VERSION => syntax(&error),
                    _ => ParseError::Version { found: head.version },
                })
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
}

impl Reader<'_> {
    fn wrong<T>(&self, at: &Spanned<T>, reason: String) -> ParseError {
        ParseError::Syntax {
            line: line_at(self.text, at.span().start),
            reason,
        }
    }

    fn unknown(&self, value: &Spanned<String>, what: &str) -> ParseError {
        self.wrong(value, format!("`{}` is no {what}", value.get_ref()))
    }

    fn lockfile(&self, file: File) -> Result<Lockfile, ParseError> {
        let mut lockfile = Lockfile::default();
        for package in file.package {
            let added = self.package(package, &lockfile)?;
            lockfile.packages.push(added);
        }
        for suite in file.suite {
            let added = self.suite(suite, &lockfile)?;
            lockfile.suites.push(added);
        }
        for image in file.image {
            let added = self.image(image, &lockfile)?;
            lockfile.images.push(added);
        }
        lockfile.packages.sort();
        lockfile
            .suites
            .sort_by(|a, b| (&a.name, &a.archive).cmp(&(&b.name, &b.archive)));
        lockfile
            .images
            .sort_by(|a, b| (&a.name, &a.architecture).cmp(&(&b.name, &b.architecture)));
        Ok(lockfile)
    }

    fn package(&self, package: Package, known: &Lockfile) -> Result<LockedPackage, ParseError> {
        let name = package.name.get_ref();
        let twice = known.packages.iter().any(|other| {
            other.name == *name
                && other.version == package.version
                && other.architecture == package.architecture
        });
        if twice {
            let (version, architecture) = (&package.version, &package.architecture);
            return Err(self.wrong(
                &package.name,
                format!("package `{name}` `{version}` for `{architecture}` stands twice"),
            ));
        }
        Ok(LockedPackage {
            name: name.clone(),
            source: package.source.unwrap_or_else(|| name.clone()),
            source_version: package.source_version.unwrap_or_else(|| package.version.clone()),
            version: package.version,
            architecture: package.architecture,
            suite: package.suite,
            archive: package.archive,
            filename: package.filename,
            size: package.size,
            sha256: package.sha256,
            multi_arch: package.multi_arch,
        })
    }

    fn suite(&self, suite: Suite, known: &Lockfile) -> Result<LockedSuite, ParseError> {
        let name = suite.name.get_ref();
        let is_it = |other: &LockedSuite| other.name == *name && other.archive == suite.archive;
        if known.suites.iter().any(is_it) {
            return Err(self.wrong(&suite.name, format!("suite `{name}` stands twice")));
        }
        let mut indexes: Vec<LockedIndex> = suite
            .indexes
            .into_iter()
            .map(|index| LockedIndex {
                path: index.path,
                size: index.size,
                sha256: index.sha256,
            })
            .collect();
        indexes.sort();
        Ok(LockedSuite {
            name: name.clone(),
            archive: suite.archive,
            components: suite.components,
            version: suite.version,
            date: suite.date,
            valid_until: suite.valid_until,
            in_release: suite.in_release,
            signers: suite.signed_by,
            indexes,
        })
    }

    fn image(&self, image: Image, known: &Lockfile) -> Result<LockedImage, ParseError> {
        let name = image.name.get_ref();
        let is_it = |other: &LockedImage| other.name == *name && other.architecture == image.architecture;
        if known.images.iter().any(is_it) {
            let architecture = &image.architecture;
            return Err(self.wrong(
                &image.name,
                format!("image `{name}` for `{architecture}` stands twice"),
            ));
        }
        let suites = image.suites.iter().map(|one| self.suite_of_image(one, known));
        let suites = suites.collect::<Result<Vec<_>, _>>()?;
        let uses = image.packages.iter();
        let uses = uses.map(|one| self.package_use(one, &image.architecture, known));
        let mut packages = uses.collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        for entry in &image.left_out {
            self.left_out(entry, &mut packages)?;
        }
        let inputs = image.input.into_iter().map(|input| LockedInput {
            name: input.name,
            version: input.version,
            url: input.url,
            size: input.size,
            sha256: input.sha256,
            purl: input.purl,
            license: input.license,
            supplier: input.supplier,
        });
        let files = image.file.into_iter().map(|file| LockedFile {
            path: file.path,
            source: file.source,
            sha256: file.sha256,
        });
        let mut files: Vec<LockedFile> = files.collect();
        files.sort();
        let known_release = DebianRelease::from_name(image.release.get_ref());
        let release = known_release.ok_or_else(|| self.unknown(&image.release, "release of Debian"))?;
        let variant = image.variant.as_ref().map(|tag| {
            let variant = Variant::from_tag(tag.get_ref());
            variant.ok_or_else(|| self.unknown(tag, "variant"))
        });
        let layout = match &image.layers {
            None => Layout::Merged,
            Some(text) if text.get_ref() == PER_PACKAGE => Layout::PerPackage,
            Some(text) => return Err(self.unknown(text, "layout of layers")),
        };
        Ok(LockedImage {
            name: name.clone(),
            architecture: image.architecture,
            recipe: image.recipe,
            release,
            variant: variant.transpose()?.unwrap_or_default(),
            layout,
            spec: image.spec,
            epoch: image.epoch,
            suites,
            packages,
            inputs: inputs.collect(),
            files,
            output: image.manifest.map(|manifest| Output {
                manifest,
                layers: image.diff_ids,
            }),
        })
    }

    fn suite_of_image(
        &self,
        entry: &Spanned<String>,
        known: &Lockfile,
    ) -> Result<(String, Option<String>), ParseError> {
        let text = entry.get_ref();
        let (name, archive) = match text.split_once(' ') {
            Some((name, archive)) => (name, Some(archive)),
            None => (text.as_str(), None),
        };
        let is_it = |suite: &LockedSuite| suite.name == name && suite.archive.as_deref() == archive;
        if !known.suites.iter().any(is_it) {
            return Err(self.wrong(entry, format!("there is no `[[suite]]` for `{text}`")));
        }
        Ok((name.to_owned(), archive.map(str::to_owned)))
    }

    /// `NAME`, `NAME=VERSION`, either with ` for OTHER` or ` as data`.
    fn package_use(
        &self,
        entry: &Spanned<String>,
        architecture: &str,
        known: &Lockfile,
    ) -> Result<PackageUse, ParseError> {
        let text = entry.get_ref();
        let (what, reason) = match text.split_once(' ') {
            None => (text.as_str(), Reason::Requested),
            Some((what, "as data")) => (what, Reason::Data),
            Some((what, rest)) => match rest.strip_prefix("for ") {
                Some(other) => (what, Reason::NeededBy(other.to_owned())),
                None => {
                    let reason =
                        format!("`{text}` is not `PACKAGE`, `PACKAGE for PACKAGE` or `PACKAGE as data`");
                    return Err(self.wrong(entry, reason));
                }
            },
        };
        let (name, version) = match what.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (what, None),
        };
        let fits = |package: &&LockedPackage| {
            package.name == name
                && version.is_none_or(|version| package.version == version)
                && (package.architecture == architecture || package.architecture == "all")
        };
        let mut found = known.packages.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(package), None) => Ok(PackageUse {
                name: name.to_owned(),
                version: package.version.clone(),
                reason,
                omitted: Vec::new(),
            }),
            (None, _) => Err(self.wrong(
                entry,
                format!("there is no `[[package]]` for `{what}` on `{architecture}`"),
            )),
            (Some(_), Some(_)) => Err(self.wrong(
                entry,
                format!("several `[[package]]` fit `{what}`; write `{name}=VERSION`"),
            )),
        }
    }

    /// `PACKAGE: RELATION`.
    fn left_out(&self, entry: &Spanned<String>, packages: &mut [PackageUse]) -> Result<(), ParseError> {
        let text = entry.get_ref();
        let parts = text.split_once(": ");
        let package = parts.and_then(|(name, _)| packages.iter_mut().find(|one| one.name == name));
        match (parts, package) {
            (Some((_, relation)), Some(package)) => {
                package.omitted.push(relation.to_owned());
                Ok(())
            }
            _ => {
                let reason = format!("`{text}` is not `PACKAGE: DEPENDENCY` with a package of this image");
                Err(self.wrong(entry, reason))
            }
        }
    }
}
