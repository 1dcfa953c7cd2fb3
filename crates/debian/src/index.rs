//! The packages that an archive offers.
//!
//! A `Packages` file is decoded as a stream and only the fields that resolving,
//! downloading and unpacking need are kept, one per line, so that the whole of
//! Debian takes some 20 MB. A missing field is an empty line. Sorted and in blocks
//! they are stored, so that the next time only what is asked for is read.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use distil_oci::Digest;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use thiserror::Error;

use crate::deb822::{self, Paragraph};
use crate::relation::{self, InvalidRelation, Relation};
use crate::version;

mod stored;

use stored::Place;
pub(crate) use stored::{StoredIndex, encode};

/// Memory that decoding an index may take: a dictionary of 64 MiB, which is the largest that xz presets make, and some.
const MAX_MEMORY: u64 = 96 << 20;

/// The fields kept, in the order of their lines.
const FIELDS: [&str; 17] = [
    "Package",
    "Version",
    "Architecture",
    "Filename",
    "Size",
    "SHA256",
    "Priority",
    "Essential",
    "Multi-Arch",
    "Source",
    "Pre-Depends",
    "Depends",
    "Provides",
    "Conflicts",
    "Breaks",
    "Replaces",
    "Installed-Size",
];

/// Names [`FIELDS`] and the stored form; a cached index of another format is not read.
pub(crate) const FORMAT: &str = "fields-2";

/// Decoded indexes larger than this are refused.
const MAX_DECODED: u64 = 1 << 30;
/// A paragraph longer than this is no package.
const MAX_PARAGRAPH: usize = 1 << 20;

/// A field of the compact form, as the index of its line.
#[derive(Debug, Clone, Copy)]
enum Field {
    Package,
    Version,
    Architecture,
    Filename,
    Size,
    Sha256,
    Priority,
    Essential,
    MultiArch,
    Source,
    PreDepends,
    Depends,
    Provides,
    Conflicts,
    Breaks,
    Replaces,
    InstalledSize,
}

/// An index that cannot be read.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The compressed file is damaged.
    #[error("the package index cannot be decoded: {reason}")]
    Decode {
        /// What the decoder says.
        reason: String,
    },
    /// A paragraph lacks a field that every package has, or it cannot be read.
    #[error("package `{package}` in the index has no usable field `{field}`")]
    Field {
        /// Name of the package, or empty.
        package: String,
        /// Name of the field.
        field: &'static str,
    },
    /// A relation cannot be read.
    #[error("package `{package}` in the index has an invalid relation")]
    Relation {
        /// Name of the package.
        package: String,
        /// The relation.
        #[source]
        source: InvalidRelation,
    },
    /// More than any real index holds.
    #[error("the package index is larger than {MAX_DECODED} bytes or holds an endless paragraph")]
    TooLarge,
    /// The disk gives other bytes than were written.
    #[error("the kept package index `{}` was damaged and is removed: run the command again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Decodes the packed index `file` into its compact form; its format is told by
/// the end of `name`.
pub(crate) fn decode(file: &Path, name: &str) -> Result<String, IndexError> {
    let opened = File::open(file).map_err(|error| IndexError::Decode {
        reason: error.to_string(),
    })?;
    let reader = BufReader::with_capacity(256 << 10, opened);
    match name.rsplit_once('.') {
        Some((_, "gz")) => compact(flate2::read::MultiGzDecoder::new(reader)),
        Some((_, "xz")) => {
            let stream = Stream::new_stream_decoder(MAX_MEMORY, CONCATENATED);
            let stream = stream.map_err(|error| IndexError::Decode {
                reason: error.to_string(),
            })?;
            compact(XzDecoder::new_stream(reader, stream))
        }
        _ => compact(reader),
    }
}

/// Decodes a `Packages` text into its compact form.
pub(crate) fn compact(mut reader: impl Read) -> Result<String, IndexError> {
    let mut compact = String::new();
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let length = reader.read(&mut chunk).map_err(|error| IndexError::Decode {
            reason: error.to_string(),
        })?;
        total += length as u64;
        if total > MAX_DECODED || pending.len() > MAX_PARAGRAPH + chunk.len() {
            return Err(IndexError::TooLarge);
        }
        pending.extend_from_slice(&chunk[..length]);
        let whole = if length == 0 {
            pending.len()
        } else {
            memchr::memmem::rfind(&pending, b"\n\n").map_or(0, |at| at + 2)
        };
        append_paragraphs(&pending[..whole], &mut compact)?;
        pending.drain(..whole);
        if length == 0 {
            compact.shrink_to_fit();
            return Ok(compact);
        }
    }
}

fn append_paragraphs(text: &[u8], compact: &mut String) -> Result<(), IndexError> {
    let text = std::str::from_utf8(text).map_err(|error| IndexError::Decode {
        reason: error.to_string(),
    })?;
    for paragraph in deb822::paragraphs(text) {
        append_paragraph(&paragraph, compact)?;
    }
    Ok(())
}

fn append_paragraph(paragraph: &Paragraph<'_>, compact: &mut String) -> Result<(), IndexError> {
    let mut values = [""; FIELDS.len()];
    for (name, value) in paragraph.fields() {
        let known = FIELDS
            .iter()
            .position(|field| field.len() == name.len() && field.eq_ignore_ascii_case(name));
        if let Some(at) = known {
            values[at] = value;
        }
    }
    for field in [
        Field::Package,
        Field::Version,
        Field::Architecture,
        Field::Filename,
    ] {
        if values[field as usize].is_empty() {
            return Err(IndexError::Field {
                package: values[0].to_owned(),
                field: FIELDS[field as usize],
            });
        }
    }
    for value in values {
        if value.contains('\n') {
            compact.extend(value.chars().map(|c| if c == '\n' { ' ' } else { c }));
        } else {
            compact.push_str(value);
        }
        compact.push('\n');
    }
    Ok(())
}

/// Where in [`PackageIndex`] a package stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageId {
    part: u16,
    place: Place,
}

/// The packages of several suites, found by name and by what they provide. Names are looked up in stored indexes
/// when they are asked for.
#[derive(Debug, Default)]
pub struct PackageIndex {
    /// Each with the number of its suite.
    parts: Vec<(usize, StoredIndex)>,
}

impl PackageIndex {
    /// The indexes of the suites, the more trusted suite first where two hold the same version.
    pub(crate) fn new(suites: Vec<Vec<StoredIndex>>) -> PackageIndex {
        let numbered = suites.into_iter().enumerate();
        let parts = numbered.flat_map(|(suite, parts)| parts.into_iter().map(move |part| (suite, part)));
        PackageIndex {
            parts: parts.collect(),
        }
    }

    /// Reads `Packages` texts as they are, for tests and small archives.
    ///
    /// # Errors
    /// When a text cannot be read.
    pub fn from_texts(texts: &[&str]) -> Result<PackageIndex, IndexError> {
        let stored = texts
            .iter()
            .map(|text| Ok(vec![in_memory(encode(&compact(text.as_bytes())?)?)?]));
        Ok(PackageIndex::new(stored.collect::<Result<_, IndexError>>()?))
    }

    /// Reads one packed `Packages` file; its compression is told by the end of `name`.
    ///
    /// # Errors
    /// When it cannot be read or decoded.
    pub fn from_packed(file: &Path, name: &str) -> Result<PackageIndex, IndexError> {
        let stored = in_memory(encode(&decode(file, name)?)?)?;
        Ok(PackageIndex::new(vec![vec![stored]]))
    }

    /// How many packages it holds, all versions counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|(_, part)| part.len()).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The package at a place that this index gave.
    #[must_use]
    pub fn package(&self, id: PackageId) -> Package<'_> {
        match self.parts.get(usize::from(id.part)) {
            Some((suite, part)) => Package {
                record: part.record(id.place),
                suite: *suite,
            },
            None => Package { record: "", suite: 0 },
        }
    }

    fn numbered(&self) -> impl Iterator<Item = (u16, &StoredIndex)> {
        (0..).zip(self.parts.iter().map(|(_, part)| part))
    }

    /// The newest version of the package `name`.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<PackageId>, IndexError> {
        Ok(self.versions(name)?.first().copied())
    }

    /// All versions of the package `name`, the newest first.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<PackageId>, IndexError> {
        let mut versions = Vec::new();
        for (part, index) in self.numbered() {
            let places = index.versions(name)?;
            versions.extend(places.into_iter().map(|place| PackageId { part, place }));
        }
        // Stable: of equal versions that of the more trusted suite stays the first.
        versions.sort_by(|a, b| version::compare(self.package(*b).version(), self.package(*a).version()));
        Ok(versions)
    }

    /// The newest version of every package, in the order of the names. Reads the whole index.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn newest(&self) -> Result<Vec<PackageId>, IndexError> {
        let mut all = Vec::with_capacity(self.len());
        for (part, index) in self.numbered() {
            all.extend(index.all()?.into_iter().map(|place| PackageId { part, place }));
        }
        all.sort_by(|a, b| self.order(*a, *b));
        all.dedup_by(|later, first| self.package(*later).name() == self.package(*first).name());
        Ok(all)
    }

    /// By name, then the newest first, then in the order of the suites.
    fn order(&self, a: PackageId, b: PackageId) -> Ordering {
        let (first, second) = (self.package(a), self.package(b));
        first
            .name()
            .cmp(second.name())
            .then_with(|| version::compare(second.version(), first.version()))
            .then(a.cmp(&b))
    }

    /// Who provides the virtual package `name` in the newest version, in the order of the names.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn providers(&self, name: &str) -> Result<Vec<PackageId>, IndexError> {
        let mut names = BTreeSet::new();
        for (_, part) in &self.parts {
            names.extend(part.providers(name)?);
        }
        let mut providers = Vec::new();
        for provider in names {
            if let Some(id) = self.find(provider)?
                && self.package(id).provides()?.iter().any(|one| one.name == name)
            {
                providers.push(id);
            }
        }
        Ok(providers)
    }
}

fn in_memory(bytes: Vec<u8>) -> Result<StoredIndex, IndexError> {
    // Only more than the form can tell is not read again.
    StoredIndex::from_bytes(bytes).ok_or(IndexError::TooLarge)
}

/// One package of an index. Empty texts stand for fields that it does not have.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    record: &'a str,
    suite: usize,
}

impl<'a> Package<'a> {
    fn field(&self, field: Field) -> &'a str {
        self.record.split('\n').nth(field as usize).unwrap_or("")
    }

    /// All values, one a line.
    fn lines(&self) -> &'a str {
        let mut ends = memchr::memchr_iter(b'\n', self.record.as_bytes());
        let end = ends
            .nth(FIELDS.len() - 1)
            .map_or(self.record.len(), |end| end + 1);
        self.record.get(..end).unwrap_or_default()
    }

    fn relations(&self, field: Field) -> Result<Vec<Vec<Relation<'a>>>, IndexError> {
        relation::parse(self.field(field)).map_err(|source| IndexError::Relation {
            package: self.name().to_owned(),
            source,
        })
    }

    fn list(&self, field: Field) -> Result<Vec<Relation<'a>>, IndexError> {
        Ok(self.relations(field)?.into_iter().flatten().collect())
    }

    fn unusable(&self, field: Field) -> IndexError {
        IndexError::Field {
            package: self.name().to_owned(),
            field: FIELDS[field as usize],
        }
    }

    /// Position of its suite among the texts or sources of the index.
    #[must_use]
    pub fn suite(&self) -> usize {
        self.suite
    }

    /// Package name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.field(Field::Package)
    }

    /// Version.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.field(Field::Version)
    }

    /// Debian's name of the architecture, or `all`.
    #[must_use]
    pub fn architecture(&self) -> &'a str {
        self.field(Field::Architecture)
    }

    /// Path of the `.deb`, relative to the root of the archive.
    #[must_use]
    pub fn filename(&self) -> &'a str {
        self.field(Field::Filename)
    }

    /// Size of the `.deb` in bytes.
    ///
    /// # Errors
    /// When the index gives none.
    pub fn size(&self) -> Result<u64, IndexError> {
        let size = self.field(Field::Size).parse();
        size.map_err(|_| self.unusable(Field::Size))
    }

    /// sha256 of the `.deb`.
    ///
    /// # Errors
    /// When the index gives none.
    pub fn sha256(&self) -> Result<Digest, IndexError> {
        let digest = Digest::from_hex(self.field(Field::Sha256));
        digest.map_err(|_| self.unusable(Field::Sha256))
    }

    /// `required`, `important`, `standard`, `optional` and so on.
    #[must_use]
    pub fn priority(&self) -> &'a str {
        self.field(Field::Priority)
    }

    /// Whether no system goes without it.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.field(Field::Essential) == "yes"
    }

    /// `same`, `foreign`, `allowed` or empty.
    #[must_use]
    pub fn multi_arch(&self) -> &'a str {
        self.field(Field::MultiArch)
    }

    /// Source package, where it has another name or version: `NAME` or `NAME (VERSION)`.
    #[must_use]
    pub fn source(&self) -> &'a str {
        self.field(Field::Source)
    }

    /// Disk space in KiB that it takes according to its maker, 0 when not given.
    #[must_use]
    pub fn installed_size(&self) -> u64 {
        self.field(Field::InstalledSize).parse().unwrap_or(0)
    }

    /// `Pre-Depends` and `Depends`: each group needs one of its alternatives.
    ///
    /// # Errors
    /// When a relation cannot be read.
    pub fn depends(&self) -> Result<Vec<Vec<Relation<'a>>>, IndexError> {
        let mut groups = self.relations(Field::PreDepends)?;
        groups.extend(self.relations(Field::Depends)?);
        Ok(groups)
    }

    /// `Pre-Depends` alone.
    ///
    /// # Errors
    /// When a relation cannot be read.
    pub fn pre_depends(&self) -> Result<Vec<Vec<Relation<'a>>>, IndexError> {
        self.relations(Field::PreDepends)
    }

    /// Virtual packages that it stands for, each with the version it claims, if any.
    ///
    /// # Errors
    /// When a relation cannot be read.
    pub fn provides(&self) -> Result<Vec<Relation<'a>>, IndexError> {
        self.list(Field::Provides)
    }

    /// `Conflicts` and `Breaks`: what cannot be installed beside it.
    ///
    /// # Errors
    /// When a relation cannot be read.
    pub fn conflicts(&self) -> Result<Vec<Relation<'a>>, IndexError> {
        let mut list = self.list(Field::Conflicts)?;
        list.extend(self.list(Field::Breaks)?);
        Ok(list)
    }

    /// Packages whose files it may overwrite.
    ///
    /// # Errors
    /// When a relation cannot be read.
    pub fn replaces(&self) -> Result<Vec<Relation<'a>>, IndexError> {
        self.list(Field::Replaces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: b\nVersion: 1\nArchitecture: all\nFilename: pool/b.deb\nDepends: a,\n c\nDescription: x\n y\n\nPackage: a\nVersion: 1.9\nArchitecture: amd64\nFilename: pool/a9.deb\nSize: 3\nProvides: v (= 2), w\n";
    const UPDATES: &str =
        "Package: a\nVersion: 1.10\nArchitecture: amd64\nFilename: pool/a10.deb\nProvides: v\n";

    #[test]
    fn finds_the_newest() {
        let index = PackageIndex::from_texts(&[TEXT, UPDATES]).unwrap();
        assert_eq!(index.len(), 3);
        let a = index.package(index.find("a").unwrap().unwrap());
        assert_eq!((a.version(), a.suite()), ("1.10", 1));
        assert!(a.sha256().is_err() && a.size().is_err());
        assert_eq!(index.newest().unwrap().len(), 2);
        assert_eq!(index.providers("v").unwrap().len(), 1);
        assert!(index.providers("w").unwrap().is_empty());
        let b = index.package(index.find("b").unwrap().unwrap());
        assert_eq!(b.depends().unwrap().len(), 2);
        assert_eq!(index.find("c").unwrap(), None);
        let versions = index.versions("a").unwrap();
        let versions: Vec<&str> = versions.iter().map(|id| index.package(*id).version()).collect();
        assert_eq!(versions, ["1.10", "1.9"]);
        assert!(index.versions("c").unwrap().is_empty());
    }

    #[test]
    fn refuses_what_is_no_package() {
        for text in [
            "Package: a\n",
            "x\n",
            "Package: a\nVersion: 1\nArchitecture: all\n",
        ] {
            assert!(PackageIndex::from_texts(&[text]).is_err(), "{text}");
        }
    }
}
