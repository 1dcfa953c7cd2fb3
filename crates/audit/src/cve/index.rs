//! Where in the files of a folder the entries of each package are, so that a look-up reads those alone.
//!
//! The index lies beside the databases as `.index` and is made when they are fetched. It holds the size, inode and
//! time of change of each file; when one is another, the index is not used. `docs/formats.md` has its form.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use distil_debian::UnixTime;
use serde::{Deserialize, Serialize};

use super::component::{Components, Ecosystem};
use super::database::{Answers, Database, DatabaseKind};
use super::osv::{Coverage, Record};
use super::{CveError, tracker};

/// Its name in the folder.
pub(super) const NAME: &str = ".index";
/// The first bytes, with the version.
const MAGIC: &[u8; 16] = b"distil-cve-idx-1";
/// Bytes of one place.
const PLACE: usize = 24;
/// Largest index that is read.
const LIMIT: u64 = 1 << 30;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Of ecosystem and name: [`hash`]. Two names may share one; the entry itself tells.
    pub(super) key: u64,
    /// Index of the file.
    pub(super) file: u16,
    /// Method of the zip that it is compressed by: 0 is none.
    pub(super) method: u16,
    /// Bytes in the file.
    pub(super) length: u32,
    /// First byte in the file.
    pub(super) offset: u64,
}

/// A database that is indexed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexedFile {
    pub(super) name: String,
    #[serde(flatten)]
    identity: Identity,
    /// The tracker's releases; none for records of OSV.
    pub(super) releases: Option<BTreeSet<String>>,
    /// Ecosystem and release, by name.
    coverage: BTreeSet<(String, String)>,
}

/// What tells that a file is the one that was indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    size: u64,
    inode: u64,
    /// Nanoseconds since 1970.
    changed: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    files: Vec<IndexedFile>,
}

/// The key of a package. FNV-1a, 64 bits: it spreads names, nothing rests on it.
pub(super) fn hash(ecosystem: Ecosystem, name: &str) -> u64 {
    let name = ecosystem.normal_name(name);
    let bytes = ecosystem.name().bytes().chain([0]).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl IndexedFile {
    /// A file in its present state, and what it holds.
    pub(super) fn of(
        path: &Path,
        releases: Option<BTreeSet<String>>,
        coverage: &Coverage,
    ) -> io::Result<Self> {
        let identity = Identity::of(&std::fs::metadata(path)?);
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let coverage = coverage.iter();
        Ok(Self {
            name,
            identity,
            releases,
            coverage: coverage
                .map(|(ecosystem, release)| (ecosystem.name().to_owned(), release.clone()))
                .collect(),
        })
    }
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            inode: metadata.ino(),
            changed: metadata
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(metadata.mtime_nsec()),
        }
    }
}

/// Writes the index of `files` to `path`.
pub(super) fn write(path: &Path, files: Vec<IndexedFile>, mut places: Vec<Place>) -> io::Result<()> {
    places.sort_unstable();
    places.dedup();
    let head = serde_json::to_vec(&Head { files })?;
    let mut out = io::BufWriter::new(File::create(path)?);
    out.write_all(MAGIC)?;
    out.write_all(&(head.len() as u64).to_le_bytes())?;
    out.write_all(&head)?;
    for place in places {
        out.write_all(&place.key.to_le_bytes())?;
        out.write_all(&place.file.to_le_bytes())?;
        out.write_all(&place.method.to_le_bytes())?;
        out.write_all(&place.length.to_le_bytes())?;
        out.write_all(&place.offset.to_le_bytes())?;
    }
    out.flush()
}

/// An index whose files are as they were when it was made.
pub(super) struct Index {
    folder: PathBuf,
    files: Vec<IndexedFile>,
    bytes: Vec<u8>,
    /// Where in `bytes` the places begin.
    places: usize,
}

impl Index {
    /// Opens the index of a folder; none when there is none, it is of another version, or a file has changed.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        let file = File::open(folder.join(NAME)).ok()?;
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (head, places) = rest.split_at_checked(length)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let same = head.files.iter().all(|file| {
            let now = std::fs::metadata(folder.join(&file.name));
            now.is_ok_and(|now| Identity::of(&now) == file.identity)
        });
        let (whole, start) = (places.len().is_multiple_of(PLACE), bytes.len() - places.len());
        (same && whole).then(|| Self {
            folder: folder.to_owned(),
            files: head.files,
            bytes,
            places: start,
        })
    }

    /// Adds everything about the components of an image. `date` gives the date of a file.
    pub(super) fn ask(
        &self,
        components: &Components,
        answers: &mut Answers,
        date: impl Fn(&str) -> Option<UnixTime>,
    ) -> Result<(), CveError> {
        let mut wanted: Vec<Place> = Vec::new();
        for component in &components.list {
            wanted.extend(self.places_of(hash(component.ecosystem, &component.name)));
        }
        // A record about several packages is read once.
        wanted.sort_unstable_by_key(|place| (place.file, place.offset));
        wanted.dedup_by_key(|place| (place.file, place.offset));
        for (at, file) in self.files.iter().enumerate() {
            let path = self.folder.join(&file.name);
            file.check_release(&path, components)?;
            let covered = |name: &str| Ecosystem::ALL.into_iter().find(|known| known.name() == name);
            let coverage = file
                .coverage
                .iter()
                .filter_map(|(name, release)| Some((covered(name)?, release.clone())));
            answers.coverage.extend(coverage);
            let mine: Vec<Place> = wanted
                .iter()
                .copied()
                .filter(|place| usize::from(place.file) == at)
                .collect();
            file.read(&path, &mine, components, answers)?;
            let kind = match file.releases {
                Some(_) => DatabaseKind::Tracker,
                None => DatabaseKind::Osv,
            };
            let date = date(&file.name);
            answers.databases.push(Database { path, kind, date });
        }
        Ok(())
    }

    fn place(&self, at: usize) -> Option<Place> {
        let places = self.bytes.get(self.places..)?;
        let bytes = places.get(at * PLACE..(at + 1) * PLACE)?;
        let (key, rest) = bytes.split_first_chunk()?;
        let (file, rest) = rest.split_first_chunk()?;
        let (method, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (offset, _) = rest.split_first_chunk()?;
        Some(Place {
            key: u64::from_le_bytes(*key),
            file: u16::from_le_bytes(*file),
            method: u16::from_le_bytes(*method),
            length: u32::from_le_bytes(*length),
            offset: u64::from_le_bytes(*offset),
        })
    }

    fn places_of(&self, key: u64) -> impl Iterator<Item = Place> {
        let (mut low, mut high) = (0, (self.bytes.len() - self.places) / PLACE);
        while low < high {
            let middle = low.midpoint(high);
            match self.place(middle) {
                Some(place) if place.key < key => low = middle + 1,
                _ => high = middle,
            }
        }
        (low..).map_while(move |at| self.place(at).filter(|place| place.key == key))
    }
}

impl IndexedFile {
    fn check_release(&self, path: &Path, components: &Components) -> Result<(), CveError> {
        match &self.releases {
            Some(known) => tracker::check_release(path, known, components),
            None => Ok(()),
        }
    }

    fn read(
        &self,
        path: &Path,
        places: &[Place],
        components: &Components,
        answers: &mut Answers,
    ) -> Result<(), CveError> {
        if places.is_empty() {
            return Ok(());
        }
        let damaged = |reason: String| CveError::Damaged {
            path: path.to_owned(),
            reason,
        };
        let unreadable = |source| super::database::unreadable(path, source);
        let file = File::open(path).map_err(unreadable)?;
        let now = file.metadata().map_err(unreadable)?;
        if Identity::of(&now) != self.identity {
            return Err(unreadable(io::Error::other(
                "it was replaced meanwhile: try again",
            )));
        }
        for place in places {
            let text = contents(&file, place).map_err(|error| damaged(error.to_string()))?;
            if self.releases.is_some() {
                let text = [b"{", text.as_slice(), b"}"].concat();
                let (matches, _) =
                    tracker::read(&text, components).map_err(|error| damaged(error.to_string()))?;
                answers.matches.extend(matches);
            } else {
                let record: Record<'_> =
                    serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
                record.judge(components, &mut answers.matches);
            }
        }
        Ok(())
    }
}

/// The bytes of an entry, decompressed.
fn contents(file: &File, place: &Place) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if place.offset.saturating_add(u64::from(place.length)) > size {
        return Err(io::Error::other("its index leads behind its end"));
    }
    let mut bytes = vec![0; usize::try_from(place.length).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, place.offset)?;
    if place.method == 0 {
        return Ok(bytes);
    }
    let mut text = Vec::new();
    let limit = super::database::RECORD_LIMIT;
    flate2::read::DeflateDecoder::new(bytes.as_slice())
        .take(limit)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// Where the entries of the tracker's JSON are: name of the package, first byte of the name's quote, bytes up to
/// the end of its value. The text is known to be JSON.
pub(super) fn tracker_entries(text: &[u8]) -> impl Iterator<Item = (&[u8], usize, usize)> {
    let mut at = text
        .iter()
        .position(|byte| *byte == b'{')
        .map_or(text.len(), |at| at + 1);
    std::iter::from_fn(move || {
        let start = at + text.get(at..)?.iter().position(|byte| *byte == b'"')?;
        let end = string_end(text, start)?;
        let mut depth = 0_usize;
        at = end;
        while let Some(byte) = text.get(at) {
            match byte {
                b'"' => {
                    at = string_end(text, at)?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth <= 1 => {
                    at += 1;
                    return Some((text.get(start + 1..end - 1)?, start, at - start));
                }
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            at += 1;
        }
        None
    })
}

/// The byte behind the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests: a panic is how they fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cve::DebianRelease;

    #[test]
    fn entries_of_the_tracker() {
        let text = br#" { "a": {"CVE-1-1": {"d": "}\"{", "releases": {}}}, "b+": {"x": [1, {"y": "\\"}]} , "c":{} }"#;
        let entries: Vec<_> = tracker_entries(text)
            .map(|(name, start, length)| {
                let all = std::str::from_utf8(&text[start..start + length]).unwrap();
                (std::str::from_utf8(name).unwrap(), all)
            })
            .collect();
        let expected = [
            ("a", r#""a": {"CVE-1-1": {"d": "}\"{", "releases": {}}}"#),
            ("b+", r#""b+": {"x": [1, {"y": "\\"}]}"#),
            ("c", r#""c":{}"#),
        ];
        assert_eq!(entries, expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever became of it, an index is not believed, or leads to an error, or to what is there.
        #[test]
        fn a_damaged_index_does_no_harm(at in 0_usize..4096, byte in any::<u8>(), cut in 0_usize..600) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("tracker.json");
            std::fs::write(&path, r#"{"a": {"CVE-1-1": {"releases": {"sid": {"status": "open"}}}}}"#).unwrap();
            let releases = BTreeSet::from(["sid".to_owned()]);
            let file = IndexedFile::of(&path, Some(releases), &Coverage::new()).unwrap();
            let place = Place { key: hash(Ecosystem::Debian, "a"), file: 0, method: 0, length: 60, offset: 1 };
            let index = folder.path().join(NAME);
            write(&index, vec![file], vec![place, Place { key: 1, ..place }]).unwrap();
            let mut bytes = std::fs::read(&index).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().saturating_sub(cut / 100));
            std::fs::write(&index, bytes).unwrap();
            if let Some(index) = Index::open(folder.path()) {
                let release = Some(DebianRelease::named("sid"));
                let components = Components::of_test(&[(Ecosystem::Debian, "a", "1")], release);
                let _ = index.ask(&components, &mut Answers::default(), |_| None);
            }
        }

        #[test]
        fn any_text_has_entries_inside_of_it(text in "[{}\\[\\]\"\\\\a:, ]{0,40}") {
            for (_, start, length) in tracker_entries(text.as_bytes()) {
                prop_assert!(start + length <= text.len());
            }
        }
    }
}
