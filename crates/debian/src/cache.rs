//! Downloads on disk.
//!
//! ```text
//! DIR/sha256/<hex>          complete, checked files
//! DIR/sha256/<hex>.partial  the first bytes of one, continued by the next try
//! DIR/release/<name>        InRelease files as they were last accepted
//! DIR/release/<name>.http   how the server described them, for conditional requests
//! DIR/index/<hex>           decoded indexes, named by the hash of the packed one
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use distil_oci::{Digest, Digester};
use thiserror::Error;

use crate::fetcher::{FetchError, FetchRequest, Fetcher, Validators};

/// How often a broken download is continued before it counts as failed.
const ATTEMPTS: usize = 3;

/// A file that cannot be had.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file is not the one of this hash.
    #[error("`{url}` is not the file that is wanted: its sha256 is `{actual}`, expected `{expected}`")]
    OtherFile {
        /// Where it is from.
        url: String,
        /// The hash wanted.
        expected: String,
        /// The hash of what came.
        actual: String,
    },
    /// The content is not what the signed index promises.
    #[error(
        "`{url}` is not the file that the index names: sha256 is `{actual}` with {actual_size} bytes, expected `{expected}` with {expected_size} bytes"
    )]
    Mismatch {
        /// Where it came from.
        url: String,
        /// sha256 of the index.
        expected: String,
        /// sha256 of what came.
        actual: String,
        /// Size of the index in bytes.
        expected_size: u64,
        /// Size of what came in bytes.
        actual_size: u64,
    },
    /// The cache directory cannot be read or written.
    #[error("the download cache `{}` cannot be used", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A directory of downloads. Several processes may share one.
#[derive(Debug, Clone)]
pub struct DownloadCache {
    root: PathBuf,
}

/// The file wanted: what the signed index says of it.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// sha256 of the whole file.
    pub sha256: Digest,
    /// Size in bytes.
    pub size: u64,
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CacheError + '_ {
    move |source| CacheError::Io {
        path: path.to_owned(),
        source,
    }
}

impl DownloadCache {
    /// Uses (and creates) the directory `root`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn open(root: &Path) -> Result<DownloadCache, CacheError> {
        for name in ["sha256", "release", "index"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(failed(&path))?;
        }
        Ok(DownloadCache {
            root: root.to_owned(),
        })
    }

    /// The path of a complete file, when the cache holds it. Its bytes are
    /// checked: one that was damaged on the disk counts as absent.
    #[must_use]
    pub fn find(&self, expected: &Expected) -> Option<PathBuf> {
        let path = self.path(&expected.sha256);
        if fs::metadata(&path).ok()?.len() != expected.size {
            return None;
        }
        let (actual, _) = hash_file(&path).ok()?;
        (actual == expected.sha256).then_some(path)
    }

    fn path(&self, sha256: &Digest) -> PathBuf {
        self.root.join("sha256").join(sha256.hex())
    }

    /// The file from the cache, or downloaded into it. An interrupted download
    /// is continued where it stopped; the file gets its name only when size and
    /// hash are right.
    ///
    /// # Errors
    /// When it cannot be downloaded, or is another file.
    pub fn get(&self, fetcher: &dyn Fetcher, url: &str, expected: &Expected) -> Result<PathBuf, CacheError> {
        if let Some(path) = self.find(expected) {
            return Ok(path);
        }
        let path = self.path(&expected.sha256);
        let partial = path.with_extension("partial");
        let mut file = open_locked(&partial).map_err(failed(&partial))?;
        if let Some(path) = self.find(expected) {
            return Ok(path);
        }
        download(fetcher, url, expected, &mut file)?;
        let (actual, actual_size) = hash_file(&partial).map_err(failed(&partial))?;
        if actual != expected.sha256 || actual_size != expected.size {
            fs::remove_file(&partial).map_err(failed(&partial))?;
            return Err(CacheError::Mismatch {
                url: url.to_owned(),
                expected: expected.sha256.hex(),
                actual: actual.hex(),
                expected_size: expected.size,
                actual_size,
            });
        }
        fs::rename(&partial, &path).map_err(failed(&path))?;
        Ok(path)
    }

    /// The file with this hash, whose size is not known, from the cache or
    /// downloaded into it. More than `limit` bytes are refused. A download that
    /// an earlier process began is begun anew.
    ///
    /// # Errors
    /// When it cannot be downloaded, or is another file.
    pub fn get_by_hash(
        &self,
        fetcher: &dyn Fetcher,
        url: &str,
        sha256: &Digest,
        limit: u64,
    ) -> Result<PathBuf, CacheError> {
        let path = self.path(sha256);
        let held = || hash_file(&path).is_ok_and(|(actual, _)| actual == *sha256);
        if held() {
            return Ok(path);
        }
        let partial = path.with_extension("partial");
        let mut file = open_locked(&partial).map_err(failed(&partial))?;
        if held() {
            return Ok(path);
        }
        file.set_len(0).map_err(failed(&partial))?;
        download_all(fetcher, url, limit, &mut file)?;
        let (actual, _) = hash_file(&partial).map_err(failed(&partial))?;
        if actual != *sha256 {
            fs::remove_file(&partial).map_err(failed(&partial))?;
            return Err(CacheError::OtherFile {
                url: url.to_owned(),
                expected: sha256.hex(),
                actual: actual.hex(),
            });
        }
        fs::rename(&partial, &path).map_err(failed(&path))?;
        Ok(path)
    }

    /// The InRelease file that was last accepted under `name`, if any.
    ///
    /// # Errors
    /// When the file exists and cannot be read.
    pub fn read_release(&self, name: &str) -> Result<Option<RememberedRelease>, CacheError> {
        let path = self.root.join("release").join(name);
        let Some(bytes) = read_optional(&path)? else {
            return Ok(None);
        };
        let described = read_optional(&described_path(&path))?.unwrap_or_default();
        let validators = parse_validators(&described, &bytes).unwrap_or_default();
        Ok(Some(RememberedRelease { bytes, validators }))
    }

    /// Stores an accepted InRelease file under `name`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_release(&self, name: &str, release: &RememberedRelease) -> Result<(), CacheError> {
        let path = self.root.join("release").join(name);
        write_whole(&path, &[&release.bytes])?;
        let digest = Digest::sha256(&release.bytes).hex();
        let line = |value: &Option<String>| value.clone().unwrap_or_default();
        let validators = &release.validators;
        let text = format!(
            "{digest}\n{}\n{}\n",
            line(&validators.etag),
            line(&validators.last_modified)
        );
        write_whole(&described_path(&path), &[text.as_bytes()])
    }

    /// Where the stored form of the index is whose packed form has this hash.
    pub(crate) fn index_path(&self, packed: &Digest, format: &str) -> PathBuf {
        self.root.join("index").join(format!("{}.{format}", packed.hex()))
    }

    /// Stores the form of an index at its [`DownloadCache::index_path`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write_index(&self, packed: &Digest, format: &str, bytes: &[u8]) -> Result<(), CacheError> {
        write_whole(&self.index_path(packed, format), &[bytes])
    }
}

/// An InRelease file of an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedRelease {
    /// The file.
    pub bytes: Vec<u8>,
    /// How the server described it, as far as it did.
    pub validators: Validators,
}

fn described_path(release: &Path) -> PathBuf {
    release.with_extension("http")
}

/// Two processes may write file and description at once, so the description says
/// which file it belongs to; that of another one says nothing.
fn parse_validators(text: &[u8], release: &[u8]) -> Option<Validators> {
    let mut lines = std::str::from_utf8(text).ok()?.lines();
    if lines.next()? != Digest::sha256(release).hex() {
        return None;
    }
    let mut value = || lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
    Some(Validators {
        etag: value(),
        last_modified: value(),
    })
}

/// Opens a partial file; one process at a time has it, and the lock dies with it.
fn open_locked(path: &Path) -> io::Result<File> {
    loop {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        // Who held the lock before may have renamed or removed the file.
        let same = |named: fs::Metadata| {
            let opened = file.metadata()?;
            io::Result::Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
        };
        match fs::metadata(path).map(same) {
            Ok(Ok(true)) => return Ok(file),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(false)) | Err(_) => {}
        }
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, CacheError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

/// Writes a file under a temporary name and renames it.
fn write_whole(path: &Path, parts: &[&[u8]]) -> Result<(), CacheError> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{number}.tmp", std::process::id()));
    let write = || {
        let mut file = File::create(&temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed(path))
}

fn download(
    fetcher: &dyn Fetcher,
    url: &str,
    expected: &Expected,
    file: &mut File,
) -> Result<(), FetchError> {
    let mut attempt = 1;
    loop {
        let held = file.metadata().map_or(0, |meta| meta.len());
        if held == expected.size {
            return Ok(());
        }
        let offset = if held > expected.size { 0 } else { held };
        let request = FetchRequest {
            url,
            offset,
            limit: expected.size,
        };
        match fetcher.fetch(&request, file) {
            Ok(()) => {
                let received = file.metadata().map_or(0, |meta| meta.len());
                if received == expected.size || attempt == ATTEMPTS {
                    return Ok(());
                }
            }
            Err(FetchError::Interrupted { .. }) if attempt < ATTEMPTS => {}
            Err(error) => return Err(error),
        }
        attempt += 1;
    }
}

/// Downloads what there is, at most `limit` bytes.
fn download_all(fetcher: &dyn Fetcher, url: &str, limit: u64, file: &mut File) -> Result<(), FetchError> {
    let mut attempt = 1;
    loop {
        let offset = file.metadata().map_or(0, |meta| meta.len());
        let request = FetchRequest { url, offset, limit };
        match fetcher.fetch(&request, file) {
            Err(FetchError::Interrupted { .. }) if attempt < ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut digester = Digester::new();
    let size = io::copy(&mut File::open(path)?, &mut digester)?;
    Ok((digester.finish(), size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetcher::FileFetcher;

    #[test]
    fn a_file_of_unknown_size_is_had_by_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DownloadCache::open(&folder.path().join("cache")).unwrap();
        let file = folder.path().join("node.tar");
        fs::write(&file, b"content").unwrap();
        let url = format!("file://{}", file.display());
        let get = |sha256: &Digest, limit| cache.get_by_hash(&FileFetcher, &url, sha256, limit);
        let right = Digest::sha256(b"content");
        assert!(matches!(
            get(&Digest::sha256(b"other"), 100),
            Err(CacheError::OtherFile { .. })
        ));
        assert!(matches!(get(&right, 3), Err(CacheError::Fetch(_))));
        // What a process that was killed left is not continued: it may be of another file.
        fs::write(cache.path(&right).with_extension("partial"), b"junk").unwrap();
        let path = get(&right, 100).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        fs::remove_file(&file).unwrap();
        assert_eq!(get(&right, 100).unwrap(), path);
        fs::write(&path, b"damaged").unwrap();
        assert!(get(&right, 100).is_err());
    }
}
