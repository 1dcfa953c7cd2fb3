//! Java archives: Maven's `pom.properties`, the manifest, and archives inside archives.

use std::io;

use distil_debian::deb822::{Paragraph, paragraphs};
use distil_elf::ReadAt;

use super::zip::{Archive, Bytes, ZipError};
use super::{Candidate, Draft, Drafts};
use crate::ImageView;
use crate::inventory::{Ecosystem, OwnedFile};

/// Ends of names of files that are zip archives with Java's layout.
const ENDS: [&str; 9] = [
    ".jar", ".war", ".ear", ".par", ".sar", ".nar", ".rar", ".jpi", ".hpi",
];
/// Archives in archives: a war in an ear with jars has three.
const MAX_DEPTH: usize = 4;
/// Largest text that is read of an archive.
const MAX_TEXT: u64 = 4 << 20;
/// Largest inner archive that is decompressed, in memory.
const MAX_INNER: u64 = 256 << 20;

/// Whether a name is that of a Java archive.
pub(super) fn is_archive(name: &[u8]) -> bool {
    let ends = |end: &str| {
        let at = name.len().checked_sub(end.len()).filter(|at| *at > 0);
        at.is_some_and(|at| name[at..].eq_ignore_ascii_case(end.as_bytes()))
    };
    ENDS.iter().any(|end| ends(end))
}

pub(super) fn read(view: &ImageView, candidate: &Candidate<'_>) -> Drafts {
    let file = view.open_file(candidate.entry)?;
    let mut drafts = Vec::new();
    let name = candidate
        .entry
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let outer = Place {
        name: &name,
        inside: None,
        depth: 0,
    };
    match outer.read(&file, candidate.entry.size(), &mut drafts) {
        Ok(()) => {}
        Err(ZipError::Io(source)) => return Err(candidate.failed(source)),
        // RAR archives end like resource adapters, and jars may be empty files of a test.
        Err(ZipError::Malformed(_)) => {}
    }
    for draft in &mut drafts {
        draft.files.push(OwnedFile {
            path: candidate.entry.path.clone(),
            md5: None,
        });
    }
    Ok(drafts)
}

/// The bytes of an archive that lies in others; `path` is as in [`crate::Package::member`]. None where it is not
/// there any more or is damaged.
pub(super) fn member(source: &dyn ReadAt, length: u64, path: &str) -> io::Result<Option<Vec<u8>>> {
    match find_member(source, length, path) {
        Ok(bytes) => Ok(bytes),
        Err(ZipError::Io(error)) => Err(error),
        Err(ZipError::Malformed(_)) => Ok(None),
    }
}

fn find_member(source: &dyn ReadAt, length: u64, path: &str) -> Result<Option<Vec<u8>>, ZipError> {
    let archive = Archive::open(source, length)?;
    let (first, rest) = path
        .split_once("!/")
        .map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(member) = archive.find(first) else {
        return Ok(None);
    };
    let bytes = archive.read(member, MAX_INNER)?;
    match rest {
        None => Ok(Some(bytes)),
        Some(rest) => {
            let length = bytes.len() as u64;
            find_member(&Bytes(bytes), length, rest)
        }
    }
}

/// An archive, as it is named.
struct Place<'p> {
    /// Name of the file without folders.
    name: &'p str,
    /// Its path in the outer archives, each after `!/`; none for the outermost.
    inside: Option<String>,
    depth: usize,
}

impl Place<'_> {
    fn read(&self, source: &dyn ReadAt, length: u64, drafts: &mut Vec<Draft>) -> Result<(), ZipError> {
        let archive = Archive::open(source, length)?;
        let facts = Facts::read(&archive, self.name)?;
        for mut draft in facts.drafts() {
            draft.member.clone_from(&self.inside);
            drafts.push(draft);
        }
        if self.depth + 1 < MAX_DEPTH {
            self.inner(&archive, drafts)?;
        }
        Ok(())
    }

    fn inner(&self, archive: &Archive<'_>, drafts: &mut Vec<Draft>) -> Result<(), ZipError> {
        for member in archive
            .members
            .iter()
            .filter(|member| is_archive(member.name.as_bytes()))
        {
            let inside = match &self.inside {
                Some(outer) => format!("{outer}!/{}", member.name),
                None => member.name.clone(),
            };
            let place = Place {
                name: member.name.rsplit('/').next().unwrap_or_default(),
                inside: Some(inside),
                depth: self.depth + 1,
            };
            let result = match archive.part(member) {
                Ok(Some(part)) => place.read(&part, member.size, drafts),
                Ok(None) => archive.read(member, MAX_INNER).and_then(|bytes| {
                    let length = bytes.len() as u64;
                    place.read(&Bytes(bytes), length, drafts)
                }),
                Err(error) => Err(error),
            };
            // A damaged inner archive says nothing about the others.
            if let Err(ZipError::Io(error)) = result {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Group, artifact, version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Coordinates {
    group: String,
    artifact: String,
    version: String,
    licence: Option<String>,
}

/// What an archive says about itself.
struct Facts {
    /// From each `pom.properties`.
    coordinates: Vec<Coordinates>,
    manifest: String,
    /// Artifact and version of the file's name.
    named: (String, Option<String>),
}

impl Facts {
    fn read(archive: &Archive<'_>, name: &str) -> Result<Self, ZipError> {
        let text = |name: &str| -> Result<String, ZipError> {
            let Some(member) = archive.find(name) else {
                return Ok(String::new());
            };
            match archive.read(member, MAX_TEXT) {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(ZipError::Io(error)) => Err(error.into()),
                Err(_) => Ok(String::new()),
            }
        };
        let mut coordinates = Vec::new();
        for member in &archive.members {
            let inner = member.name.strip_prefix("META-INF/maven/");
            let Some(folder) = inner.and_then(|inner| inner.strip_suffix("/pom.properties")) else {
                continue;
            };
            let Some(mut found) = properties(&text(&member.name)?) else {
                continue;
            };
            found.licence = licence(&text(&format!("META-INF/maven/{folder}/pom.xml"))?);
            coordinates.push(found);
        }
        coordinates.sort();
        coordinates.dedup();
        Ok(Self {
            coordinates,
            manifest: text("META-INF/MANIFEST.MF")?,
            named: split_name(name),
        })
    }

    fn drafts(&self) -> Vec<Draft> {
        let draft = |found: &Coordinates| {
            let mut draft = Draft::new(Ecosystem::Maven, found.artifact.as_str(), found.version.as_str());
            draft.group.clone_from(&found.group);
            draft.licence.clone_from(&found.licence);
            draft
        };
        let mut drafts: Vec<Draft> = self.coordinates.iter().map(draft).collect();
        let known = |found: &Coordinates| self.named.0.starts_with(&found.artifact);
        if drafts.len() != 1 && !self.coordinates.iter().any(known) {
            drafts.extend(self.of_manifest());
        }
        drafts
    }

    /// The archive itself where no `pom.properties` is about it.
    fn of_manifest(&self) -> Option<Draft> {
        let manifest = unfolded(&self.manifest);
        let fields = paragraphs(&manifest).next();
        let field = |name: &str| {
            let text = fields
                .as_ref()
                .and_then(|fields: &Paragraph<'_>| fields.get(name));
            text.map(str::trim)
                .filter(|text| !text.is_empty() && !text.contains("${"))
        };
        let symbolic = field("Bundle-SymbolicName").and_then(|text| text.split(';').next());
        let (artifact, named_version) = &self.named;
        let version = named_version.as_deref().or_else(|| {
            [
                "Implementation-Version",
                "Bundle-Version",
                "Specification-Version",
            ]
            .into_iter()
            .find_map(field)
        })?;
        let mut draft = Draft::new(Ecosystem::Maven, artifact.as_str(), version);
        let of_symbol = symbolic.map(|name| {
            let end = format!(".{artifact}");
            name.strip_suffix(&end).unwrap_or(name).to_owned()
        });
        let vendor = field("Implementation-Vendor-Id").map(str::to_owned);
        draft.group = vendor.or(of_symbol).unwrap_or_default();
        if draft.group.contains(char::is_whitespace) {
            draft.group.clear();
        }
        draft.licence = field("Bundle-License").map(str::to_owned);
        Some(draft)
    }
}

/// Java's properties: `name=value` a line.
fn properties(text: &str) -> Option<Coordinates> {
    let field = |wanted: &str| {
        let mut values = text.lines().filter_map(|line| {
            let (name, value) = line.split_once(['=', ':'])?;
            (name.trim() == wanted).then(|| value.trim())
        });
        values
            .next_back()
            .filter(|value| !value.is_empty() && !value.contains("${"))
    };
    Some(Coordinates {
        group: field("groupId").unwrap_or_default().to_owned(),
        artifact: field("artifactId")?.to_owned(),
        version: field("version")?.to_owned(),
        licence: None,
    })
}

/// The names in `<licenses>` of a `pom.xml`. Its own, that is: a parent's are in another file.
fn licence(pom: &str) -> Option<String> {
    let (_, rest) = pom.split_once("<licenses>")?;
    let (inside, _) = rest.split_once("</licenses>")?;
    let names: Vec<&str> = inside
        .split("<license>")
        .skip(1)
        .filter_map(|part| part.split_once("<name>")?.1.split_once("</name>"))
        .map(|(name, _)| name.trim())
        .filter(|name| !name.is_empty() && name.len() <= 200)
        .collect();
    (!names.is_empty()).then(|| names.join(" OR "))
}

/// A manifest with its folded lines (72 bytes each) put together.
fn unfolded(manifest: &str) -> String {
    manifest.replace("\r\n", "\n").replace("\n ", "")
}

/// `log4j-core-2.17.1.jar` is `log4j-core` and `2.17.1`: a version begins at the first digit after a dash.
fn split_name(name: &str) -> (String, Option<String>) {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let dash = stem
        .match_indices('-')
        .find(|(at, _)| *at > 0 && stem[at + 1..].starts_with(|letter: char| letter.is_ascii_digit()));
    match dash {
        Some((at, _)) => (stem[..at].to_owned(), Some(stem[at + 1..].to_owned())),
        None => (stem.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, artifact, version) in [
            ("log4j-core-2.17.1.jar", "log4j-core", Some("2.17.1")),
            ("app.jar", "app", None),
            ("guava-31.1-jre.jar", "guava", Some("31.1-jre")),
            ("-1.jar", "-1", None),
            ("a-.jar", "a-", None),
        ] {
            let (found, number) = split_name(name);
            assert_eq!((found.as_str(), number.as_deref()), (artifact, version), "{name}");
        }
        assert!(is_archive(b"x.JAR") && !is_archive(b".jar") && !is_archive(b"jar"));
    }
}
