//! Named volumes: directories that programs keep their data in, from one run to the next.
//!
//! ```text
//! ROOT/volumes/NAME/data   what a program sees
//! ROOT/volumes/NAME/ids    the user namespace map that it was made under
//! ```
//! They are in no row of the database and belong to nothing that is collected: only their removal by name, or that of
//! the whole store, deletes one. That a volume is in use is a shared lock, which ends with its process; who makes or
//! removes one has the turn, another lock.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{StoreError, io_error};
use crate::lock::{FileLock, LockMode};
use crate::remove::remove_tree;
use crate::store::Store;

const DATA: &str = "data";
const IDS: &str = "ids";

/// A named volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its name.
    pub name: String,
    /// The directory that programs see.
    pub path: PathBuf,
}

/// A volume in use: nobody removes it until this is dropped.
#[derive(Debug)]
pub struct VolumeUse {
    /// The directory that programs see.
    pub path: PathBuf,
    _lock: FileLock,
}

/// The named volumes of a store; see [`Store::volumes`].
#[derive(Debug, Clone, Copy)]
pub struct Volumes<'s> {
    store: &'s Store,
}

impl Store {
    /// Named volumes.
    pub fn volumes(&self) -> Volumes<'_> {
        Volumes { store: self }
    }
}

impl Volumes<'_> {
    /// All of them, by name.
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub fn list(&self) -> Result<Vec<VolumeInfo>, StoreError> {
        let root = self.root();
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("read", &root)(error)),
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("read", &root))?;
            if let Ok(name) = entry.file_name().into_string()
                && is_volume_name(&name)
            {
                let path = entry.path().join(DATA);
                volumes.push(VolumeInfo { name, path });
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Takes the volume `name`, which is made when there is none. Then, and when it is empty and nobody has it, `fill`
    /// is asked for what it starts as: a directory on the file system of the store that belongs to nothing, and
    /// becomes the volume with its mode and owner; `None` for an empty one. `id_map` is the user namespace map that the
    /// caller's owners are written under.
    ///
    /// # Errors
    /// `name` is no name ([`StoreError::VolumeName`]), the volume was made under another map
    /// ([`StoreError::VolumeForeign`]), what `fill` says, and what the disk answers.
    pub fn take<E: From<StoreError>>(
        &self,
        name: &str,
        id_map: &str,
        fill: impl FnOnce() -> Result<Option<PathBuf>, E>,
    ) -> Result<VolumeUse, E> {
        check_name(name)?;
        let _turn = self.store.lock(&turn(name), LockMode::Exclusive)?;
        let place = self.place(name);
        let path = place.join(DATA);
        match is_empty(&path)? {
            None => self.make(&place, id_map, fill()?.as_deref())?,
            Some(empty) => {
                check_ids(name, &place, id_map)?;
                let alone = self.store.try_lock(&in_use(name), LockMode::Exclusive)?;
                if let (true, Some(_alone)) = (empty, alone)
                    && let Some(start) = fill()?
                {
                    fs::rename(&start, &path).map_err(io_error("make", &path))?;
                }
            }
        }
        let lock = self.store.lock(&in_use(name), LockMode::Shared)?;
        Ok(VolumeUse { path, _lock: lock })
    }

    /// Deletes a volume with all that is in it.
    ///
    /// # Errors
    /// There is none of this name ([`StoreError::VolumeMissing`]), or somebody uses it ([`StoreError::VolumeInUse`]).
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let missing = || StoreError::VolumeMissing {
            name: name.to_owned(),
        };
        let place = self.place(name);
        if !is_volume_name(name) || !place.exists() {
            return Err(missing());
        }
        let _turn = self.store.lock(&turn(name), LockMode::Exclusive)?;
        let alone = self.store.try_lock(&in_use(name), LockMode::Exclusive)?;
        let Some(_alone) = alone else {
            return Err(StoreError::VolumeInUse {
                name: name.to_owned(),
            });
        };
        // Away in one step: killed while it is deleted, there is no half of it.
        let doomed = self.store.temporary()?;
        match fs::rename(&place, &doomed) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(io_error("delete", &place)(error)),
        }
        remove_tree(&doomed).map_err(io_error("delete", &doomed))
    }

    /// Whether somebody uses the volume now.
    ///
    /// # Errors
    /// When the lock cannot be asked for.
    pub fn is_used(&self, name: &str) -> Result<bool, StoreError> {
        let alone = self.store.try_lock(&in_use(name), LockMode::Exclusive)?;
        Ok(alone.is_none())
    }

    /// Bytes of the regular files of all volumes, hard links counted once.
    ///
    /// # Errors
    /// When a directory cannot be read, such as one of a subordinate id from outside of its user namespace.
    pub fn size(&self) -> Result<u64, StoreError> {
        let mut size = 0;
        for volume in self.list()? {
            let mut seen = HashSet::new();
            size += bytes_below(&volume.path, &mut seen).map_err(io_error("read", &volume.path))?;
        }
        Ok(size)
    }

    fn make(&self, place: &Path, id_map: &str, start: Option<&Path>) -> Result<(), StoreError> {
        let new = self.store.temporary()?;
        let path = new.join(DATA);
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().mode(0o700).create(&new)?;
            fs::write(new.join(IDS), id_map)?;
            match start {
                Some(start) => fs::rename(start, &path)?,
                None => {
                    fs::create_dir(&path)?;
                    // Whatever the mask is.
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                }
            }
            fs::DirBuilder::new()
                .mode(0o700)
                .recursive(true)
                .create(self.root())?;
            // What somebody left who took the data alone away.
            remove_tree(place)?;
            fs::rename(&new, place)
        };
        write().map_err(io_error("make", place))
    }

    fn root(&self) -> PathBuf {
        self.store.shared().layout.volumes()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }
}

/// Whether docker would take this for a volume's name: a letter or digit, then at least one letter, digit, `_`, `.` or
/// `-`.
pub fn is_volume_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins && (2..=200).contains(&name.len()) && name.chars().all(rest)
}

fn check_name(name: &str) -> Result<(), StoreError> {
    match is_volume_name(name) {
        true => Ok(()),
        false => Err(StoreError::VolumeName {
            name: name.to_owned(),
        }),
    }
}

fn check_ids(name: &str, place: &Path, id_map: &str) -> Result<(), StoreError> {
    let path = place.join(IDS);
    let found = fs::read_to_string(&path).map_err(io_error("read", &path))?;
    match found == id_map {
        true => Ok(()),
        false => Err(StoreError::VolumeForeign {
            name: name.to_owned(),
        }),
    }
}

fn turn(name: &str) -> String {
    format!("volume turn {name}")
}

fn in_use(name: &str) -> String {
    format!("volume {name}")
}

/// Whether a directory is empty; `None` where there is none.
fn is_empty(path: &Path) -> Result<Option<bool>, StoreError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(Some(entries.next().is_none())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// What is deleted meanwhile counts as nothing: a program may be at work.
fn bytes_below(path: &Path, seen: &mut HashSet<(u64, u64)>) -> io::Result<u64> {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if gone(&error) => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut size = 0;
    for entry in entries {
        let path = entry?.path();
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            size += bytes_below(&path, seen)?;
        } else if metadata.is_file()
            && (metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())))
        {
            size += metadata.len();
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("temp dir");
        let store = Store::open(&folder.path().join("store")).expect("opens");
        (folder, store)
    }

    fn nothing() -> Result<Option<PathBuf>, StoreError> {
        Ok(None)
    }

    #[test]
    fn a_volume_starts_as_what_it_is_given_and_keeps_what_is_written() {
        let (_folder, store) = store();
        let volumes = store.volumes();
        let start = || -> Result<Option<PathBuf>, StoreError> {
            let path = store.temporary()?;
            fs::create_dir(&path).expect("creates");
            fs::write(path.join("first"), "12345").expect("writes");
            Ok(Some(path))
        };
        // One that is empty is filled by the next image that has something.
        drop(volumes.take("data", "map", nothing).expect("made"));
        let one = volumes.take("data", "map", start).expect("filled");
        fs::write(one.path.join("second"), "67").expect("writes");
        fs::remove_file(one.path.join("first")).expect("removes");
        let two = volumes.take("data", "map", start).expect("taken");
        assert!(!two.path.join("first").exists());
        assert_eq!(fs::read_to_string(two.path.join("second")).expect("reads"), "67");
        assert_eq!(volumes.size().expect("walks"), 2);
        let path = one.path.clone();
        assert_eq!(
            volumes.list().expect("lists"),
            [VolumeInfo {
                name: "data".into(),
                path
            }]
        );
    }

    #[test]
    fn one_in_use_is_neither_filled_nor_removed() {
        let (_folder, store) = store();
        let volumes = store.volumes();
        let used = volumes.take("data", "map", nothing).expect("made");
        let second = volumes.take("data", "map", || -> Result<_, StoreError> {
            panic!("it is in use")
        });
        assert!(volumes.is_used("data").expect("asks"));
        assert!(matches!(
            volumes.remove("data"),
            Err(StoreError::VolumeInUse { .. })
        ));
        drop((used, second));
        assert!(!volumes.is_used("data").expect("asks"));
        volumes.remove("data").expect("removes");
        assert!(matches!(
            volumes.remove("data"),
            Err(StoreError::VolumeMissing { .. })
        ));
        assert_eq!(volumes.list().expect("lists"), []);
    }

    #[test]
    fn names_and_maps_are_checked() {
        let (_folder, store) = store();
        let volumes = store.volumes();
        for name in ["", "a", ".", "..", "../x", "a/b", "-a", "ä1", "a b"] {
            let error = volumes.take(name, "map", nothing).expect_err("refused");
            assert!(matches!(error, StoreError::VolumeName { .. }), "{name}: {error}");
            assert!(
                matches!(volumes.remove(name), Err(StoreError::VolumeMissing { .. })),
                "{name}"
            );
        }
        volumes.take("a.b_c-1", "map", nothing).expect("made");
        let error = volumes.take("a.b_c-1", "other", nothing).expect_err("refused");
        assert!(matches!(error, StoreError::VolumeForeign { .. }), "{error}");
    }

    #[test]
    fn nothing_but_the_end_of_the_store_deletes_them() {
        let (folder, store) = store();
        drop(store.volumes().take("data", "map", nothing).expect("made"));
        store
            .collect(crate::Prune::Unused {
                all: true,
                before: None,
            })
            .expect("collects");
        assert_eq!(store.volumes().list().expect("lists").len(), 1);
        drop(store);
        let root = folder.path().join("store");
        Store::destroy(&root).expect("destroys");
        assert!(!root.exists());
    }
}
