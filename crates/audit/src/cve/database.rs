//! Databases as files: what each one is, by its contents, and everything in it about an image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use distil_debian::UnixTime;
use serde::Serialize;

use super::advisory::Match;
use super::component::{Components, Ecosystem};
use super::index::{self, Index, Place};
use super::osv::{Coverage, Record};
use super::{CveError, tracker, update};
use crate::inventory::path_text;
use crate::manifests::zip::{Archive, Member};
use crate::printable_path;

/// Largest JSON file that is read. The tracker's has some 70 MB.
const FILE_LIMIT: u64 = 1 << 30;
/// Largest record of a zip. The largest that OSV publishes have some MB, with every version listed.
pub(super) const RECORD_LIMIT: u64 = 64 << 20;
/// Folders in a folder, at most.
const MAX_DEPTH: usize = 8;

/// What a database is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DatabaseKind {
    /// Records of the OSV schema.
    Osv,
    /// The JSON of Debian's security tracker.
    Tracker,
}

/// A database that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Database {
    /// The file, or the folder of records.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// What it is.
    pub kind: DatabaseKind,
    /// Of what time it is: when it was fetched, or else when the newest of its records was changed, or else when
    /// the file was. None where nothing tells.
    pub date: Option<UnixTime>,
}

/// What databases say about an image.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) matches: Vec<Match>,
    pub(super) databases: Vec<Database>,
    pub(super) coverage: Coverage,
}

impl Answers {
    /// Reads every database of `path`: a file, or a folder with any number of them.
    pub(super) fn read(&mut self, path: &Path, components: &Components) -> Result<(), CveError> {
        let metadata = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
        if !metadata.is_dir() {
            return self.read_file(path, components);
        }
        let dates = update::dates(path);
        if let Some(index) = Index::open(path) {
            return index.ask(components, self, |name| dates.get(name).copied());
        }
        let first = self.databases.len();
        self.read_folder(path, &dates, components)?;
        for database in &mut self.databases[first..] {
            let name = database.path.file_name().unwrap_or_default();
            database.date = dates.get(&*name.to_string_lossy()).copied().or(database.date);
        }
        Ok(())
    }

    fn read_folder(
        &mut self,
        path: &Path,
        dates: &BTreeMap<String, UnixTime>,
        components: &Components,
    ) -> Result<(), CveError> {
        let mut files = Vec::new();
        list(path, 0, &mut files)?;
        if files.is_empty() {
            return Err(foreign(path, "a folder without a JSON or zip file"));
        }
        let (records, whole): (Vec<PathBuf>, Vec<PathBuf>) = files.into_iter().partition(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            is_small(file) && !dates.contains_key(&*name)
        });
        for file in &whole {
            self.read_file(file, components)?;
        }
        self.read_records(path, &records, components)
    }

    /// A folder of many small files: they are read side by side and told as one database.
    fn read_records(
        &mut self,
        folder: &Path,
        files: &[PathBuf],
        components: &Components,
    ) -> Result<(), CveError> {
        let parts: Vec<Answers> =
            on_all_cores(files, |part: &mut Answers, file| part.read_file(file, components))?;
        let mut newest: [Option<Option<UnixTime>>; 2] = [None; 2];
        for part in parts {
            for database in part.databases {
                let at = usize::from(database.kind == DatabaseKind::Tracker);
                newest[at] = newest[at].max(Some(database.date));
            }
            self.matches.extend(part.matches);
            self.coverage.extend(part.coverage);
        }
        for (kind, date) in [DatabaseKind::Osv, DatabaseKind::Tracker].into_iter().zip(newest) {
            let path = folder.to_owned();
            self.databases
                .extend(date.map(|date| Database { path, kind, date }));
        }
        Ok(())
    }

    fn read_file(&mut self, path: &Path, components: &Components) -> Result<(), CveError> {
        let failed = |source| unreadable(path, source);
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut start = [0; 2];
        if file.read_exact_at(&mut start, 0).is_ok() && start == *b"PK" {
            return self.read_zip(path, &file, components);
        }
        if metadata.len() > FILE_LIMIT {
            return Err(foreign(path, &format!("a file of {} bytes", metadata.len())));
        }
        let text = read_text(&file).map_err(failed)?;
        self.read_text(path, &text, Some(metadata.mtime()), components)
    }

    fn read_text(
        &mut self,
        path: &Path,
        text: &[u8],
        changed: Option<UnixTime>,
        components: &Components,
    ) -> Result<(), CveError> {
        let mut database = Database {
            path: path.to_owned(),
            kind: DatabaseKind::Osv,
            date: changed,
        };
        match Form::of(text) {
            Form::Tracker => {
                database.kind = DatabaseKind::Tracker;
                self.add_tracker(path, text, components)?;
            }
            Form::Record => {
                let record: Record<'_> = parse(path, text)?;
                database.date = self.add_record(&record, components);
            }
            Form::List => {
                let records: List<'_> = parse(path, text)?;
                let dates = records
                    .vulns
                    .iter()
                    .map(|record| self.add_record(record, components));
                database.date = dates.max().ok_or_else(|| foreign(path, "an empty list"))?;
            }
            Form::Other(what) => return Err(foreign(path, what)),
        }
        self.databases.push(database);
        Ok(())
    }

    /// Adds what a record says; gives when it was changed.
    fn add_record(&mut self, record: &Record<'_>, components: &Components) -> Option<UnixTime> {
        record.cover(&mut self.coverage);
        record.judge(components, &mut self.matches);
        record.modified()
    }

    fn add_tracker(&mut self, path: &Path, text: &[u8], components: &Components) -> Result<(), CveError> {
        let (matches, known) = tracker::read(text, components).map_err(|error| broken(path, &error))?;
        if known.is_empty() {
            return Err(foreign(path, "an object without packages"));
        }
        tracker::check_release(path, &known, components)?;
        self.matches.extend(matches);
        self.coverage.insert((Ecosystem::Debian, String::new()));
        Ok(())
    }

    /// A zip of records, as OSV publishes one for each ecosystem.
    fn read_zip(&mut self, path: &Path, file: &File, components: &Components) -> Result<(), CveError> {
        let parts = each_member(path, file, |part: &mut (Answers, Option<UnixTime>), record, _| {
            part.1 = part.1.max(part.0.add_record(record, components));
        })?;
        let mut database = Database {
            path: path.to_owned(),
            kind: DatabaseKind::Osv,
            date: None,
        };
        for (part, newest) in parts {
            self.matches.extend(part.matches);
            self.coverage.extend(part.coverage);
            database.date = database.date.max(newest);
        }
        self.databases.push(database);
        Ok(())
    }
}

/// Reads every record of a zip, on all cores. `add` puts one into a part of the result, with the place of its bytes:
/// the first, how many, compressed by which method.
fn each_member<P: Default + Send>(
    path: &Path,
    file: &File,
    add: impl Fn(&mut P, &Record<'_>, (u64, u64, u16)) + Sync,
) -> Result<Vec<P>, CveError> {
    let damaged = |reason: String| CveError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let length = file.metadata().map_err(|source| unreadable(path, source))?.len();
    let archive = Archive::open(file, length).map_err(|error| damaged(error.to_string()))?;
    let mut members = archive.members;
    members.retain(|member| member.name.ends_with(".json"));
    if members.is_empty() {
        return Err(foreign(path, "a zip without JSON files"));
    }
    on_all_cores(&members, |part: &mut P, member: &Member| {
        let inside = |reason: String| damaged(format!("`{}`: {reason}", member.name));
        let archive = Archive::of(file, Vec::new());
        let place = archive.place(member).map_err(|error| inside(error.to_string()))?;
        let text = archive
            .read(member, RECORD_LIMIT)
            .map_err(|error| inside(error.to_string()))?;
        let record: Record<'_> = serde_json::from_slice(&text).map_err(|error| inside(error.to_string()))?;
        add(part, &record, place);
        Ok(())
    })
}

/// Gives each item to one of several threads, which puts what it finds into a part of its own. The first error ends
/// all of them.
fn on_all_cores<T: Sync, P: Default + Send>(
    items: &[T],
    add: impl Fn(&mut P, &T) -> Result<(), CveError> + Sync,
) -> Result<Vec<P>, CveError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut part = P::default();
        while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
            if let Err(error) = add(&mut part, item) {
                next.store(items.len(), Relaxed);
                return Err(error);
            }
        }
        Ok(part)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(work)).collect();
        let own = work();
        let joined = workers.into_iter().map(|worker| match worker.join() {
            Ok(part) => part,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(joined).collect()
    })
}

/// What a whole database holds, for its index.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) releases: Option<tracker::Releases>,
    pub(super) coverage: Coverage,
    pub(super) places: Vec<Place>,
}

impl Examined {
    /// Reads a fetched database to its end: the tracker's JSON, or a zip of records.
    pub(super) fn of(path: &Path) -> Result<Self, CveError> {
        let failed = |source| unreadable(path, source);
        let file = File::open(path).map_err(failed)?;
        let mut start = [0; 2];
        if file.read_exact_at(&mut start, 0).is_ok() && start == *b"PK" {
            return Self::of_zip(path, &file);
        }
        let text = read_text(&file).map_err(failed)?;
        if let Form::Other(what) = Form::of(&text) {
            return Err(foreign(path, what));
        }
        let (_, releases) =
            tracker::read(&text, &Components::none()).map_err(|error| broken(path, &error))?;
        if releases.is_empty() {
            return Err(foreign(path, "an object without packages"));
        }
        let mut examined = Self {
            releases: Some(releases),
            coverage: Coverage::from([(Ecosystem::Debian, String::new())]),
            places: Vec::new(),
        };
        for (name, offset, length) in index::tracker_entries(&text) {
            // Names of Debian packages have no character that JSON escapes.
            let key = index::hash(Ecosystem::Debian, &String::from_utf8_lossy(name));
            examined.add(key, (offset as u64, length as u64, 0));
        }
        Ok(examined)
    }

    fn of_zip(path: &Path, file: &File) -> Result<Self, CveError> {
        let parts = each_member(path, file, |part: &mut Self, record, place| {
            record.cover(&mut part.coverage);
            for (ecosystem, name) in record.subjects() {
                part.add(index::hash(ecosystem, name), place);
            }
        })?;
        let mut examined = Self::default();
        for part in parts {
            examined.coverage.extend(part.coverage);
            examined.places.extend(part.places);
        }
        Ok(examined)
    }

    /// Places too long for the index are of no use to it; no database has one, for files have less.
    fn add(&mut self, key: u64, (offset, length, method): (u64, u64, u16)) {
        if let Ok(length) = u32::try_from(length) {
            self.places.push(Place {
                key,
                file: 0,
                method,
                length,
                offset,
            });
        }
    }
}

fn read_text(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut text = Vec::with_capacity(usize::try_from(length.min(FILE_LIMIT)).unwrap_or(0) + 1);
    file.take(FILE_LIMIT).read_to_end(&mut text)?;
    Ok(text)
}

/// Records in one file, as OSV's service answers.
#[derive(serde::Deserialize)]
struct List<'a> {
    #[serde(borrow)]
    vulns: Vec<Record<'a>>,
}

/// What a JSON text is by its beginning.
enum Form {
    Tracker,
    Record,
    List,
    Other(&'static str),
}

impl Form {
    /// The first key and the first character of its value decide: keys of the tracker are packages, whose values
    /// are objects; a record begins with a text or a number.
    fn of(text: &[u8]) -> Self {
        let text = text.trim_ascii_start();
        let Some(rest) = text.strip_prefix(b"{") else {
            return Self::Other(if text.is_empty() {
                "an empty file"
            } else {
                "no JSON object"
            });
        };
        let rest = rest.trim_ascii_start();
        let Some(rest) = rest.strip_prefix(b"\"") else {
            return Self::Other(if rest.starts_with(b"}") {
                "an empty object"
            } else {
                "no JSON"
            });
        };
        let end = rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
        let (key, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest).trim_ascii_start();
        let value = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
        match (key, value.first()) {
            (b"@context" | b"@id", _) => Self::Other("an OpenVEX document, which `--vex` takes"),
            (b"vulns", Some(b'[')) => Self::List,
            (b"database_specific" | b"ecosystem_specific", Some(b'{')) => Self::Record,
            (_, Some(b'{')) => Self::Tracker,
            _ => Self::Record,
        }
    }
}

fn parse<'a, T: serde::Deserialize<'a>>(path: &Path, text: &'a [u8]) -> Result<T, CveError> {
    serde_json::from_slice(text).map_err(|error| broken(path, &error))
}

/// Wrong JSON is damage; other JSON is something else.
fn broken(path: &Path, error: &serde_json::Error) -> CveError {
    if error.is_data() {
        return foreign(path, &format!("JSON of another form ({error})"));
    }
    CveError::Damaged {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn foreign(path: &Path, what: &str) -> CveError {
    CveError::Foreign {
        path: path.to_owned(),
        reason: format!("it is {what}"),
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> CveError {
    CveError::Read {
        path: path.to_owned(),
        source,
    }
}

/// The JSON and zip files of a folder, sorted; hidden ones are left out.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), CveError> {
    if depth > MAX_DEPTH {
        let limit = format!(
            "folders in folders, more than {MAX_DEPTH}: `{}`",
            printable_path(folder)
        );
        return Err(foreign(folder, &limit));
    }
    let entries = std::fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|source| unreadable(folder, source))?.path());
    }
    paths.sort();
    for path in paths {
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let wanted = path
            .extension()
            .is_some_and(|name| name == "json" || name == "zip");
        if hidden {
            continue;
        }
        // A link is what it leads to, but a folder is entered by its own name alone: no circles.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            list(&path, depth + 1, files)?;
        } else if wanted && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// Whether a file is one record rather than a whole database.
fn is_small(path: &Path) -> bool {
    let json = path.extension().is_some_and(|name| name == "json");
    json && std::fs::metadata(path).is_ok_and(|metadata| metadata.len() < RECORD_LIMIT / 16)
}
