//! A layer that is being written.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use distil_layer::{LinkGroups, Settled, TarSummary, Unpacked, copy_tree, settle, settle_copy};
use distil_rootfs::{LayerManifest, MergedTree, Mount, Upper};
use distil_store::{LayerId, LayerInfo};

use crate::error::{in_layer, io_error};
use crate::snapshotter::remove;
use crate::{SnapshotError, Snapshotter};

/// A new layer on top of a snapshot. Dropping it without [`ActiveSnapshot::commit`] removes it;
/// if the process dies, garbage collection does.
#[derive(Debug)]
pub struct ActiveSnapshot {
    snapshotter: Snapshotter,
    id: LayerId,
    lower: Vec<LayerId>,
    /// The layer that this one adds to.
    extends: Option<LayerId>,
    dir: PathBuf,
    /// A process got a full copy, in `copy`, instead of an overlay.
    copied: AtomicBool,
    committed: bool,
}

/// What is known already when a layer is committed.
#[derive(Debug, Default)]
pub struct CommitOptions {
    /// The layer's tar, when what alone wrote to it told everything that it wrote
    /// ([`distil_layer::hash_told`]): nothing is walked or hashed again then.
    pub tar: Option<TarSummary>,
    /// Times in `tar` later than this, in seconds since 1970, were cut off: it is not the layer's own, but the one
    /// that [`Snapshotter::clamped_diff_id`] is asked for.
    pub latest_mtime: Option<i64>,
    /// What copies recorded of the regular files, for later links to them. Only for a layer to
    /// which nothing but these copies wrote files: they are not looked at again.
    pub manifest: Option<LayerManifest>,
    /// What the maker of the layer wants to know of it later; see [`Snapshotter::listing`].
    pub listing: Option<Vec<u8>>,
    /// For a layer that adds to another: bytes and number of files and directories of both together.
    pub added: Option<(u64, u64)>,
}

impl ActiveSnapshot {
    pub(crate) fn create(snapshotter: &Snapshotter, lower: &[LayerId]) -> Result<Self, SnapshotError> {
        let layers = snapshotter.store().layers();
        let id = layers.create(&snapshotter.options().id_map)?;
        let active = Self {
            snapshotter: snapshotter.clone(),
            id,
            lower: lower.to_vec(),
            extends: None,
            dir: layers.path(id),
            copied: AtomicBool::new(false),
            committed: false,
        };
        let upper = active.upper_dir();
        fs::create_dir(&upper).map_err(io_error("create", &upper))?;
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(io_error("create", &upper))?;
        Ok(active)
    }

    pub(crate) fn extend(&mut self, extended: LayerId) {
        self.extends = Some(extended);
    }

    /// What is below: the layers, and the one that this one adds to.
    fn below(&self) -> Vec<LayerId> {
        self.lower.iter().copied().chain(self.extends).collect()
    }

    /// The layer that it becomes.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The layers below, lowest first.
    pub fn lower(&self) -> &[LayerId] {
        &self.lower
    }

    /// The new layer's directory, in overlayfs format.
    pub fn upper_dir(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// Where what a process wrote is: the upper directory, or the full copy that it got. Not while it is mounted.
    pub fn written_dir(&self) -> PathBuf {
        match self.copied.load(Ordering::Acquire) {
            true => self.dir.join("copy"),
            false => self.upper_dir(),
        }
    }

    /// The new layer for file operations, on top of what is below. Not while it is mounted.
    pub fn view(&self) -> Result<Upper, SnapshotError> {
        let lower = self.snapshotter.tree(&self.below())?;
        Ok(Upper::open(
            &lower,
            &self.upper_dir(),
            self.snapshotter.upper_options(),
        )?)
    }

    /// What a process wrote, for file operations on [`ActiveSnapshot::written_dir`]; seen through it is what the
    /// process saw. Not while it is mounted.
    pub fn written(&self) -> Result<Upper, SnapshotError> {
        match self.copied.load(Ordering::Acquire) {
            false => self.view(),
            true => {
                let below = self.snapshotter.tree(&[])?;
                let options = self.snapshotter.upper_options();
                Ok(Upper::open(&below, &self.written_dir(), options)?)
            }
        }
    }

    /// A root for a process whose changes go into the new layer. To be unmounted before the
    /// commit.
    ///
    /// Where there is overlay it is one, also with nothing below: it waits for no disk when the
    /// process syncs a file.
    pub fn mount(&self) -> Result<Mount, SnapshotError> {
        if self.snapshotter.is_native()? {
            let path = match self.lower.as_slice() {
                [] => self.upper_dir(),
                _ => self.materialize()?,
            };
            return Ok(Mount::Bind {
                path,
                readonly: false,
            });
        }
        let work = self.dir.join("work");
        fs::create_dir_all(&work).map_err(io_error("create", &work))?;
        let lower = if self.lower.is_empty() {
            let empty = self.dir.join("empty");
            fs::create_dir_all(&empty).map_err(io_error("create", &empty))?;
            vec![empty]
        } else {
            self.inherit_root()?;
            self.snapshotter.layer_dirs(&self.lower)
        };
        Ok(Mount::Overlay {
            lower,
            upper: Some(self.upper_dir()),
            work: Some(work),
            userxattr: self.snapshotter.options().in_user_namespace,
        })
    }

    /// Gives a fresh upper directory the owner, mode and time of the root below, which it is
    /// the new top of.
    fn inherit_root(&self) -> Result<(), SnapshotError> {
        // The root of a merged tree is that of its topmost layer.
        let top = self.lower.last().copied();
        let lower = self.snapshotter.tree(top.as_slice())?;
        Upper::open(&lower, &self.upper_dir(), self.snapshotter.upper_options())?;
        Ok(())
    }

    /// Copies everything, changes so far included, into a directory of its own.
    pub(crate) fn materialize(&self) -> Result<PathBuf, SnapshotError> {
        let copy = self.dir.join("copy");
        if self.copied.load(Ordering::Acquire) {
            return Ok(copy);
        }
        let mut dirs = self.snapshotter.layer_dirs(&self.lower);
        let mut groups = Vec::new();
        for layer in &self.lower {
            groups.extend_from_slice(self.snapshotter.links(*layer)?.groups());
        }
        dirs.push(self.upper_dir());
        self.inherit_root()?;
        let tree = MergedTree::open(&dirs)?;
        remove(&copy)?;
        fs::create_dir(&copy).map_err(io_error("create", &copy))?;
        let ownership = &*self.snapshotter.options().ownership;
        copy_tree(&tree, &LinkGroups::new(groups), &copy, ownership).map_err(in_layer(self.id))?;
        self.copied.store(true, Ordering::Release);
        Ok(copy)
    }

    /// Makes the layer immutable, and nameable by records and images.
    ///
    /// What is the same below is removed first, so that the layer holds changes alone.
    pub fn commit(self, options: CommitOptions) -> Result<LayerInfo, SnapshotError> {
        let CommitOptions {
            tar,
            latest_mtime,
            manifest,
            listing,
            added,
        } = options;
        remove(&self.dir.join("work"))?;
        remove(&self.dir.join("empty"))?;
        let manifest = manifest.map(Arc::new);
        // Nothing is linked from a layer that adds to another, but from that one.
        if let Some(manifest) = manifest.as_ref().filter(|_| self.extends.is_none()) {
            self.write("manifest", &manifest.encode())?;
        }
        if let Some(listing) = listing {
            self.write("listing", &listing)?;
        }
        let hashed = tar.as_ref().map(|tar| (tar.diff_id, tar.size));
        let (diff_id, tar_size) = hashed.filter(|_| latest_mtime.is_none()).unzip();
        let settled = match (tar, added) {
            (Some(tar), _) => Settled {
                size: tar.contents,
                inodes: tar.entries,
                links: tar.links,
            },
            // Directories of the layer may be there for their times alone.
            (None, Some((size, inodes))) => Settled {
                size,
                inodes,
                links: LinkGroups::default(),
            },
            (None, None) => self.settle(manifest.clone())?,
        };
        let info = LayerInfo {
            id: self.id,
            diff_id,
            tar_size,
            size: settled.size,
            inodes: settled.inodes,
            id_map: self.snapshotter.options().id_map.clone(),
            base: None,
            extends: self.extends,
        };
        let snapshotter = self.snapshotter.clone();
        let info = self.finish(info, &settled.links)?;
        match (hashed, latest_mtime) {
            (Some((diff_id, size)), Some(latest)) => {
                let layers = snapshotter.store().layers();
                layers.set_clamped(info.id, latest, diff_id, size)?;
            }
            (Some(_), None) => {}
            // Its diff ID is mostly asked for next.
            (None, _) => manifest
                .into_iter()
                .for_each(|manifest| snapshotter.keep_manifest(info.id, manifest)),
        }
        Ok(info)
    }

    pub(crate) fn commit_imported(
        self,
        unpacked: &Unpacked,
        base: Option<String>,
    ) -> Result<LayerInfo, SnapshotError> {
        let info = LayerInfo {
            id: self.id,
            diff_id: Some(unpacked.diff_id),
            tar_size: Some(unpacked.tar_size),
            size: unpacked.size,
            inodes: unpacked.inodes,
            id_map: self.snapshotter.options().id_map.clone(),
            base,
            extends: None,
        };
        self.finish(info, &unpacked.links)
    }

    fn finish(mut self, info: LayerInfo, links: &LinkGroups) -> Result<LayerInfo, SnapshotError> {
        if !links.is_empty() {
            self.write("links", &links.encode())?;
        }
        self.snapshotter.store().layers().commit(&info)?;
        self.committed = true;
        self.snapshotter.trust(self.id, info.extends);
        Ok(info)
    }

    pub(crate) fn snapshotter(&self) -> &Snapshotter {
        &self.snapshotter
    }

    fn settle(&self, files: Option<Arc<LayerManifest>>) -> Result<Settled, SnapshotError> {
        let lower = self.snapshotter.tree(&self.lower)?;
        let upper = self.upper_dir();
        if !self.copied.load(Ordering::Acquire) {
            return settle(&upper, &lower, None, files).map_err(in_layer(self.id));
        }
        let copy = self.dir.join("copy");
        let settled = settle_copy(&copy, &lower).map_err(in_layer(self.id))?;
        remove(&upper)?;
        fs::rename(&copy, &upper).map_err(io_error("rename", &copy))?;
        Ok(settled)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SnapshotError> {
        let path = self.dir.join(name);
        fs::write(&path, bytes).map_err(io_error("write", &path))
    }
}

impl Drop for ActiveSnapshot {
    fn drop(&mut self) {
        if !self.committed {
            // What cannot be removed now, garbage collection removes later.
            let _ = remove(&self.dir);
            let _ = self.snapshotter.store().layers().discard(self.id);
        }
    }
}

/// A root that cannot be changed, and what it needs while it is mounted.
#[derive(Debug)]
pub struct ReadonlyMount {
    mount: Mount,
    _copy: Option<ActiveSnapshot>,
}

impl ReadonlyMount {
    pub(crate) fn of(mount: Mount, copy: Option<ActiveSnapshot>) -> Self {
        Self { mount, _copy: copy }
    }

    /// What to mount. Valid as long as this value lives.
    pub fn mount(&self) -> &Mount {
        &self.mount
    }
}
