//! Fetching databases into a folder.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use distil_debian::UnixTime;
use distil_fetch::{Client, Expected, FetchError, Request};
use serde::{Deserialize, Serialize};

use super::CveError;
use super::database::Examined;
use super::index::{self, Index, IndexedFile, Place};

/// Largest database that is fetched.
const LIMIT: u64 = 4 << 30;
/// What is known of the files of a folder.
const SOURCES: &str = ".sources.json";
/// Locked while a process fetches.
const LOCK: &str = ".lock";
/// Downloads that are not done.
const PARTIAL: &str = ".partial";

/// Where databases are fetched from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Address in front of `/ECOSYSTEM/all.zip`.
    pub osv: String,
    /// The JSON of Debian's security tracker.
    pub tracker: String,
}

impl Default for Sources {
    /// OSV's own bucket and Debian's own tracker.
    fn default() -> Self {
        Self {
            osv: "https://storage.googleapis.com/osv-vulnerabilities".to_owned(),
            tracker: "https://security-tracker.debian.org/tracker/data/json".to_owned(),
        }
    }
}

/// A database after [`update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// Its file.
    pub name: String,
    /// Bytes of the file.
    pub size: u64,
    /// The server had another one than was there.
    pub changed: bool,
}

/// Ecosystems of OSV that are fetched: those whose packages are found in images.
const ECOSYSTEMS: [&str; 6] = ["Debian:12", "Debian:13", "Go", "Maven", "PyPI", "npm"];

impl Sources {
    /// Name of the file and address of each database.
    fn files(&self) -> Vec<(String, String)> {
        let osv = self.osv.trim_end_matches('/');
        let zips = ECOSYSTEMS.map(|ecosystem| {
            let name = format!("osv-{}.zip", ecosystem.replace(':', "-"));
            (name, format!("{osv}/{ecosystem}/all.zip"))
        });
        let tracker = ("tracker.json".to_owned(), self.tracker.clone());
        std::iter::once(tracker).chain(zips).collect()
    }
}

/// What is known of a fetched file.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fetched {
    url: String,
    /// When the server last said that this is what it has.
    fetched: UnixTime,
    etag: Option<String>,
    last_modified: Option<String>,
}

/// By name of the file.
type Known = BTreeMap<String, Fetched>;

/// Whether a folder holds fetched databases.
#[must_use]
pub fn is_fetched(folder: &Path) -> bool {
    folder.join(SOURCES).is_file()
}

/// When the files of a folder were fetched, by name; empty for a folder that was not.
pub(super) fn dates(folder: &Path) -> BTreeMap<String, UnixTime> {
    let known = known(folder).into_iter();
    known.map(|(name, fetched)| (name, fetched.fetched)).collect()
}

fn known(folder: &Path) -> Known {
    let text = fs::read(folder.join(SOURCES)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Fetches every database into `folder`, and indexes them. What has not changed is not sent again. All of them are
/// fetched and read before the first is replaced; each is replaced at once, by a rename. Another process that
/// fetches into the folder is waited for. `tell` gets each address before it is asked.
///
/// # Errors
/// When one cannot be fetched, is no database, or the folder cannot be written. The databases are then as before.
pub fn update(
    client: &Client,
    sources: &Sources,
    folder: &Path,
    now: UnixTime,
    tell: &mut dyn FnMut(&str),
) -> Result<Vec<Updated>, CveError> {
    let partial = folder.join(PARTIAL);
    fs::create_dir_all(&partial).map_err(|source| unwritable(&partial, source))?;
    let lock = folder.join(LOCK);
    let locked = File::create(&lock).and_then(|file| file.lock().map(|()| file));
    let _locked = locked.map_err(|source| unwritable(&lock, source))?;
    // What a killed process left.
    fs::remove_dir_all(&partial)
        .and_then(|()| fs::create_dir(&partial))
        .map_err(|source| unwritable(&partial, source))?;
    let result = Update {
        client,
        folder,
        partial: &partial,
        now,
        known: known(folder),
        examined: Vec::new(),
    }
    .run(sources, tell);
    let _ = fs::remove_dir_all(&partial);
    result
}

struct Update<'a> {
    client: &'a Client,
    folder: &'a Path,
    partial: &'a Path,
    now: UnixTime,
    known: Known,
    /// Name of each file with what it holds, in the order in which they were fetched.
    examined: Vec<(String, Examined)>,
}

impl Update<'_> {
    fn run(mut self, sources: &Sources, tell: &mut dyn FnMut(&str)) -> Result<Vec<Updated>, CveError> {
        let mut updated = Vec::new();
        for (name, url) in sources.files() {
            tell(&url);
            let changed = self.fetch(&name, &url)?;
            let path = self.place(&name, changed);
            let size = fs::metadata(&path)
                .map_err(|source| unwritable(&path, source))?
                .len();
            updated.push(Updated { name, size, changed });
        }
        if updated.iter().all(|file| !file.changed) && Index::open(self.folder).is_some() {
            self.write_sources()?;
            return Ok(updated);
        }
        for file in &updated {
            let examined = Examined::of(&self.place(&file.name, file.changed))?;
            self.examined.push((file.name.clone(), examined));
        }
        self.install(&updated)?;
        Ok(updated)
    }

    /// Where a file is, before those that have changed are in their place.
    fn place(&self, name: &str, changed: bool) -> PathBuf {
        if changed { self.partial } else { self.folder }.join(name)
    }

    fn write_sources(&self) -> Result<(), CveError> {
        let sources = self.partial.join(SOURCES);
        let text =
            serde_json::to_vec_pretty(&self.known).map_err(|error| unwritable(&sources, error.into()))?;
        fs::write(&sources, text).map_err(|source| unwritable(&sources, source))?;
        rename(&sources, &self.folder.join(SOURCES))
    }

    /// Downloads a file, unless the server still has the one that is there.
    fn fetch(&mut self, name: &str, url: &str) -> Result<bool, CveError> {
        let failed = |source: FetchError| CveError::Fetch {
            name: name.to_owned(),
            source,
        };
        let there = self.folder.join(name).is_file();
        let known = self.known.get(name).filter(|known| known.url == url && there);
        let mut request = Request::get(url).map_err(failed)?;
        if let Some(etag) = known.and_then(|known| known.etag.as_deref()) {
            request = request.header("If-None-Match", etag);
        }
        if let Some(date) = known.and_then(|known| known.last_modified.as_deref()) {
            request = request.header("If-Modified-Since", date);
        }
        let response = self.client.send(&request).map_err(failed)?;
        if let (304, Some(known)) = (response.status(), self.known.get_mut(name)) {
            known.fetched = self.now;
            return Ok(false);
        }
        let header = |name: &str| response.header(name).map(str::to_owned);
        let fetched = Fetched {
            url: url.to_owned(),
            fetched: self.now,
            etag: header("etag"),
            last_modified: header("last-modified"),
        };
        let path = self.partial.join(name);
        let mut file = File::create(&path).map_err(|source| unwritable(&path, source))?;
        let expected = Expected {
            limit: Some(LIMIT),
            ..Expected::default()
        };
        // A part that is asked for again must not be answered with "not modified".
        let plain = Request::get(url).map_err(failed)?;
        let received = self.client.receive(&plain, Some(response), &expected, &mut file);
        received.map_err(failed)?;
        file.sync_all().map_err(|source| unwritable(&path, source))?;
        self.known.insert(name.to_owned(), fetched);
        Ok(true)
    }

    /// Puts everything in its place: the index first goes, and comes last.
    fn install(self, updated: &[Updated]) -> Result<(), CveError> {
        let index = self.folder.join(index::NAME);
        if updated.iter().any(|file| file.changed) {
            match fs::remove_file(&index) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(unwritable(&index, error));
                }
                _ => {}
            }
        }
        for file in updated.iter().filter(|file| file.changed) {
            rename(&self.partial.join(&file.name), &self.folder.join(&file.name))?;
        }
        self.write_sources()?;
        let (mut files, mut places): (Vec<IndexedFile>, Vec<Place>) = (Vec::new(), Vec::new());
        for (name, examined) in self.examined {
            let path = self.folder.join(&name);
            let number = u16::try_from(files.len()).unwrap_or(u16::MAX);
            let file = IndexedFile::of(&path, examined.releases, &examined.coverage);
            files.push(file.map_err(|source| unwritable(&path, source))?);
            places.extend(examined.places.into_iter().map(|place| Place {
                file: number,
                ..place
            }));
        }
        let made = self.partial.join(index::NAME);
        index::write(&made, files, places).map_err(|source| unwritable(&made, source))?;
        rename(&made, &index)
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), CveError> {
    fs::rename(from, to).map_err(|source| unwritable(to, source))
}

fn unwritable(path: &Path, source: io::Error) -> CveError {
    CveError::Write {
        path: PathBuf::from(path),
        source,
    }
}
