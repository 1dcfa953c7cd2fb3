//! Where things are below the store's root, and its format version.
//!
//! ```text
//! ROOT/
//!   version            "distil-store N\n", written last when a store is made
//!   distil.db          metadata (SQLite, WAL)
//!   blobs/sha256/HEX   content-addressed files
//!   snapshots/ID/fs    layer directory in overlayfs format
//!   snapshots/ID/work  overlay's work directory, only while the layer is being written
//!   leases/ID          flocked for as long as the holder lives
//!   locks/NAME         flocked for as long as the holder lives
//!   volumes/NAME/      data of programs that `run` starts: see `volumes`
//!   downloads/         indexes and packages of Debian archives, kept for the next base; unpacked ones too
//!   tmp/SESSION/       flocked directory of one store handle: unfinished files, refuse
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{StoreError, io_error};
use crate::netfs::network_filesystem;

/// Version of layout and database that this build writes. See `schema::MIGRATIONS`.
pub const FORMAT_VERSION: u32 = 2;

const MAGIC: &str = "distil-store ";

/// Names of everything that a store puts into its root, in the order of removal: without
/// `distil.db` the rest is refuse, so that an interrupted removal leaves a valid empty store.
pub(crate) const ENTRIES: &[&str] = &[
    "distil.db",
    "distil.db-wal",
    "distil.db-shm",
    "distil.db-journal",
    "snapshots",
    "blobs",
    "tmp",
    "volumes",
    "downloads",
    "leases",
    "locks",
    "version",
];

/// Paths of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    pub(crate) fn version(&self) -> PathBuf {
        self.root.join("version")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("distil.db")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.root.join("leases")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Format version of the store; `None` where there is none yet.
    ///
    /// Refuses a directory that has other files, and a store that is newer than this build.
    pub(crate) fn read_version(&self) -> Result<Option<u32>, StoreError> {
        let path = self.version();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.check_foreign().map(|()| None);
            }
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        let found = text
            .strip_prefix(MAGIC)
            .and_then(|rest| rest.trim_end().parse().ok())
            .ok_or_else(|| StoreError::NotAStore {
                root: self.root.clone(),
            })?;
        if found > FORMAT_VERSION {
            return Err(StoreError::NewerFormat {
                root: self.root.clone(),
                found,
                supported: FORMAT_VERSION,
            });
        }
        Ok(Some(found))
    }

    /// A root without a version may hold the remains of an interrupted start or reset, or the
    /// directory that a fresh filesystem has.
    fn check_foreign(&self) -> Result<(), StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io_error("read", &self.root)(error)),
        };
        for entry in entries {
            let name = entry.map_err(io_error("read", &self.root))?.file_name();
            let known = ENTRIES.iter().any(|entry| name == **entry);
            if !known && name != "lost+found" && !name.as_encoded_bytes().starts_with(b".version-") {
                return Err(StoreError::NotAStore {
                    root: self.root.clone(),
                });
            }
        }
        Ok(())
    }

    /// Makes the root and its directories, readable by the owner alone: layers hold setuid
    /// programs and whatever secrets an image has.
    pub(crate) fn create(&self) -> Result<(), StoreError> {
        self.check_filesystem()?;
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        // Parents keep the usual mode, the root itself does not.
        if let Some(parent) = self.root.parent() {
            builder.create(parent).map_err(io_error("create", parent))?;
        }
        builder.mode(0o700);
        let blobs = self.blobs();
        let dirs = [
            &self.root,
            &blobs,
            &self.snapshots(),
            &self.leases(),
            &self.locks(),
            &self.tmp(),
        ];
        for dir in dirs {
            builder.create(dir).map_err(io_error("create", dir))?;
        }
        Ok(())
    }

    pub(crate) fn check_filesystem(&self) -> Result<(), StoreError> {
        let Some(existing) = self.root.ancestors().find(|path| path.exists()) else {
            return Ok(());
        };
        match network_filesystem(existing).map_err(io_error("examine", existing))? {
            None => Ok(()),
            Some(kind) => Err(StoreError::NetworkFilesystem {
                root: self.root.clone(),
                kind,
            }),
        }
    }

    /// Writes the version file in one step.
    pub(crate) fn write_version(&self, version: u32) -> Result<(), StoreError> {
        let temporary = self.root.join(format!(".version-{}", std::process::id()));
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&temporary)?;
            writeln!(file, "{MAGIC}{version}")?;
            file.sync_all()?;
            fs::rename(&temporary, self.version())
        };
        write().map_err(io_error("write", &self.version()))
    }
}
