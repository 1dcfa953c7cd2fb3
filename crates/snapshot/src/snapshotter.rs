//! Snapshots of a store.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distil_layer::{LinkGroups, UnpackOptions};
use distil_oci::DiffId;
use distil_rootfs::{
    IdMap, LayerManifest, MergedTree, Mount, MountError, MountStrategy, NativeOwnership, OpaqueXattr,
    Ownership, UpperOptions,
};
use distil_store::{LayerId, LayerInfo, Resource, Store, StoreError};

use crate::SnapshotError;
use crate::active::{ActiveSnapshot, ReadonlyMount};
use crate::error::{in_layer, io_error};

/// How a root is made for a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SnapshotMode {
    /// Overlay where the kernel mounts one, which is tried once a boot; else native.
    #[default]
    Auto,
    /// Overlay, or an error.
    Overlay,
    /// A full copy for every process: slow, but it needs nothing of the kernel.
    Native,
}

/// How snapshots are made.
#[derive(Clone)]
pub struct SnapshotOptions {
    /// How a root is made for a process.
    pub mode: SnapshotMode,
    /// The user namespace map of this process, from [`describe_id_maps`]; empty for none.
    pub id_map: String,
    /// This process lives in a user namespace: overlay uses `user.overlay.*` attributes.
    pub in_user_namespace: bool,
    /// This process is outside of the user namespace that `id_map` is of: layers can be named and
    /// held, but owners of their files would come out wrong, so no file is read or written.
    pub outside: bool,
    /// How owners and devices are read and written.
    pub ownership: Arc<dyn Ownership>,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            mode: SnapshotMode::Auto,
            id_map: String::new(),
            in_user_namespace: false,
            outside: false,
            ownership: Arc::new(NativeOwnership),
        }
    }
}

/// Text that names the id maps of a user namespace; empty when ids are what they are outside.
pub fn describe_id_maps(users: &IdMap, groups: &IdMap) -> String {
    if users.is_identity() && groups.is_identity() {
        return String::new();
    }
    let lines = |map: &IdMap| {
        let ranges: Vec<String> = map
            .ranges()
            .iter()
            .map(|range| format!("{}:{}:{}", range.inside, range.outside, range.count))
            .collect();
        ranges.join(",")
    };
    format!("{};{}", lines(users), lines(groups))
}

/// Makes and reads snapshots in one store. Cheap to clone.
///
/// Layers that it was given or made are held by the lease of the store handle.
#[derive(Clone)]
pub struct Snapshotter {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    options: SnapshotOptions,
    /// Found out when first needed: whether processes get a full copy.
    native: Mutex<Option<bool>>,
    /// Layers that are held and have the right id map, with those that they add to.
    checked: Mutex<HashMap<LayerId, Option<LayerId>>>,
    /// Of the layer that was made last.
    manifest: Mutex<Option<(LayerId, Arc<LayerManifest>)>>,
}

impl std::fmt::Debug for Snapshotter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshotter")
            .field("root", &self.inner.store.root())
            .finish_non_exhaustive()
    }
}

impl Snapshotter {
    /// Snapshots of `store`, in this process's user namespace.
    pub fn open(store: &Store, options: SnapshotOptions) -> Self {
        let native = match options.mode {
            SnapshotMode::Auto => None,
            SnapshotMode::Overlay => Some(false),
            SnapshotMode::Native => Some(true),
        };
        Self {
            inner: Arc::new(Inner {
                store: store.clone(),
                options,
                native: Mutex::new(native),
                checked: Mutex::default(),
                manifest: Mutex::default(),
            }),
        }
    }

    /// The store handle whose lease holds the layers.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn options(&self) -> &SnapshotOptions {
        &self.inner.options
    }

    /// The user namespace map that layers are written under; see [`describe_id_maps`].
    pub fn id_map(&self) -> &str {
        &self.inner.options.id_map
    }

    pub(crate) fn opaque(&self) -> OpaqueXattr {
        if self.inner.options.in_user_namespace {
            OpaqueXattr::User
        } else {
            OpaqueXattr::Trusted
        }
    }

    pub(crate) fn upper_options(&self) -> UpperOptions {
        UpperOptions {
            opaque: self.opaque(),
            ownership: Arc::clone(&self.inner.options.ownership),
        }
    }

    pub(crate) fn unpack_options(&self) -> UnpackOptions {
        UnpackOptions {
            opaque: self.opaque(),
            ownership: Arc::clone(&self.inner.options.ownership),
        }
    }

    /// Starts a new layer on top of `layers`, lowest first (none: an empty root).
    ///
    /// # Errors
    /// A layer is gone, or was written under another id map.
    pub fn prepare(&self, layers: &[LayerId]) -> Result<ActiveSnapshot, SnapshotError> {
        self.check(layers)?;
        self.check_inside()?;
        ActiveSnapshot::create(self, layers)
    }

    /// Starts a new layer on top of `layers`, which adds to `extended`: that one was made on top of the same
    /// layers, and holds neither deletions nor hard links. To be committed with [`CommitOptions::added`](crate::CommitOptions::added).
    ///
    /// # Errors
    /// As [`Snapshotter::prepare`]; `extended` adds to another layer itself.
    pub fn prepare_addition(
        &self,
        layers: &[LayerId],
        extended: LayerId,
    ) -> Result<ActiveSnapshot, SnapshotError> {
        if self.info(extended)?.extends.is_some() {
            return Err(SnapshotError::TwiceExtended { id: extended });
        }
        let mut active = self.prepare(layers)?;
        active.extend(extended);
        Ok(active)
    }

    /// Whether all layers are here, and under the id map of this snapshotter; those that are stay held.
    #[must_use]
    pub fn has(&self, layers: &[LayerId]) -> bool {
        self.check(layers).is_ok()
    }

    /// Refuses to touch files of layers from outside of their user namespace.
    pub(crate) fn check_inside(&self) -> Result<(), SnapshotError> {
        match self.inner.options.outside {
            true => Err(SnapshotError::OutsideNamespace),
            false => Ok(()),
        }
    }

    /// The merged tree of `layers`, read without a mount.
    pub fn tree(&self, layers: &[LayerId]) -> Result<MergedTree, SnapshotError> {
        self.check(layers)?;
        if !layers.is_empty() {
            self.check_inside()?;
        }
        Ok(MergedTree::open(&self.layer_dirs(layers))?)
    }

    /// A root for a process that changes nothing.
    pub fn mount_readonly(&self, layers: &[LayerId]) -> Result<ReadonlyMount, SnapshotError> {
        self.check(layers)?;
        self.check_inside()?;
        match layers {
            [] => {
                let empty = self.prepare(layers)?;
                let path = empty.upper_dir();
                Ok(ReadonlyMount::of(
                    Mount::Bind { path, readonly: true },
                    Some(empty),
                ))
            }
            // A lowest layer hides nothing, so that its directory is the tree.
            [layer] if self.extended_by(*layer).is_none() => {
                let path = self.layer_dir(*layer);
                Ok(ReadonlyMount::of(Mount::Bind { path, readonly: true }, None))
            }
            _ if self.is_native()? => {
                let copy = self.prepare(layers)?;
                let path = copy.materialize()?;
                Ok(ReadonlyMount::of(
                    Mount::Bind { path, readonly: true },
                    Some(copy),
                ))
            }
            _ => Ok(ReadonlyMount::of(
                Mount::Overlay {
                    lower: self.layer_dirs(layers),
                    upper: None,
                    work: None,
                    userxattr: self.inner.options.in_user_namespace,
                },
                None,
            )),
        }
    }

    /// What is known of a layer, which is held from now on.
    pub fn info(&self, layer: LayerId) -> Result<LayerInfo, SnapshotError> {
        self.check(&[layer])?;
        let info = self.inner.store.layers().get(layer)?;
        Ok(info.ok_or(StoreError::LayerMissing { id: layer })?)
    }

    /// A layer with this diff ID that fits onto `lower`, held from now on.
    pub fn find_by_diff_id(
        &self,
        diff_id: DiffId,
        lower: &[LayerId],
    ) -> Result<Option<LayerInfo>, SnapshotError> {
        let layers = self.inner.store.layers();
        Ok(layers.find_by_diff_id(diff_id, &self.inner.options.id_map, lower)?)
    }

    /// The layer's own directory, in overlayfs format: what it adds, where it extends another. Read-only.
    pub fn layer_dir(&self, layer: LayerId) -> PathBuf {
        self.inner.store.layers().path(layer).join("fs")
    }

    /// The layer that a held layer adds to.
    pub(crate) fn extended_by(&self, layer: LayerId) -> Option<LayerId> {
        locked(&self.inner.checked).get(&layer).copied().flatten()
    }

    /// The directories that held layers are made of, lowest first, each with its layer's place in `layers`.
    pub fn places(&self, layers: &[LayerId]) -> Vec<(usize, PathBuf)> {
        let dirs = layers.iter().enumerate().flat_map(|(place, layer)| {
            let own = [self.extended_by(*layer), Some(*layer)];
            own.into_iter().flatten().map(move |dir| (place, dir))
        });
        dirs.map(|(place, dir)| (place, self.layer_dir(dir))).collect()
    }

    pub(crate) fn layer_dirs(&self, layers: &[LayerId]) -> Vec<PathBuf> {
        self.places(layers).into_iter().map(|(_, dir)| dir).collect()
    }

    /// What was recorded of the regular files when the layer was made; `None` for layers of
    /// processes and of imports, or when it cannot be read.
    pub fn manifest(&self, layer: LayerId) -> Option<Arc<LayerManifest>> {
        match &*locked(&self.inner.manifest) {
            Some((id, manifest)) if *id == layer => Some(Arc::clone(manifest)),
            _ => read_manifest(&self.inner.store.layers().path(layer)),
        }
    }

    pub(crate) fn keep_manifest(&self, layer: LayerId, manifest: Arc<LayerManifest>) {
        *locked(&self.inner.manifest) = Some((layer, manifest));
    }

    /// What [`CommitOptions::listing`](crate::CommitOptions::listing) gave when the layer was made; `None` when it
    /// gave nothing, or that cannot be read.
    pub fn listing(&self, layer: LayerId) -> Option<Vec<u8>> {
        fs::read(self.inner.store.layers().path(layer).join("listing")).ok()
    }

    /// The layer's hard links, as they were recorded when it was made.
    pub fn links(&self, layer: LayerId) -> Result<LinkGroups, SnapshotError> {
        let path = self.inner.store.layers().path(layer).join("links");
        match fs::read(&path) {
            Ok(bytes) => LinkGroups::decode(&bytes).map_err(in_layer(layer)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(LinkGroups::default()),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Holds layers and refuses those that are gone or of another id map.
    pub(crate) fn check(&self, layers: &[LayerId]) -> Result<(), SnapshotError> {
        let new: Vec<LayerId> = {
            let checked = locked(&self.inner.checked);
            layers
                .iter()
                .copied()
                .filter(|layer| !checked.contains_key(layer))
                .collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let store = &self.inner.store;
        let resources: Vec<Resource> = new.iter().copied().map(Resource::Layer).collect();
        let all = store.hold(&resources)?;
        let mut found = Vec::with_capacity(new.len());
        for layer in &new {
            let info = store.layers().get(*layer)?.filter(|_| all || resources.len() > 1);
            let info = info.ok_or(StoreError::LayerMissing { id: *layer })?;
            if info.id_map != self.inner.options.id_map {
                return Err(SnapshotError::OtherIdMap {
                    id: *layer,
                    found: info.id_map,
                    own: self.inner.options.id_map.clone(),
                });
            }
            found.push((*layer, info.extends));
        }
        if let (false, Some(layer)) = (all, new.first()) {
            return Err(StoreError::LayerMissing { id: *layer }.into());
        }
        locked(&self.inner.checked).extend(found);
        Ok(())
    }

    /// Notes a layer that this process made or found itself.
    pub(crate) fn trust(&self, layer: LayerId, extends: Option<LayerId>) {
        locked(&self.inner.checked).insert(layer, extends);
    }

    /// Whether processes get a full copy instead of an overlay.
    pub fn is_native(&self) -> Result<bool, SnapshotError> {
        if let Some(native) = *locked(&self.inner.native) {
            return Ok(native);
        }
        let store = &self.inner.store;
        let key = format!("{} {}", store.boot_id(), self.inner.options.id_map);
        let native = match store.get_value("overlay refused", key.as_bytes())?.as_deref() {
            Some([answer]) => *answer == 1,
            _ => {
                let (refused, sure) = self.try_overlay()?;
                if sure {
                    store.set_value("overlay refused", key.as_bytes(), Some(&[u8::from(refused)]))?;
                }
                refused
            }
        };
        *locked(&self.inner.native) = Some(native);
        Ok(native)
    }

    /// Mounts a small overlay without a place. Says whether it was refused, and whether the
    /// answer holds for the whole boot.
    fn try_overlay(&self) -> Result<(bool, bool), SnapshotError> {
        let dir = self.inner.store.temporary()?;
        let sub = |name: &str| -> Result<PathBuf, SnapshotError> {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
            Ok(path)
        };
        let mount = Mount::Overlay {
            lower: vec![sub("a")?, sub("b")?],
            upper: Some(sub("upper")?),
            work: Some(sub("work")?),
            userxattr: self.inner.options.in_user_namespace,
        };
        let answer = match mount.detached(MountStrategy::Auto) {
            Ok(_) => Ok((false, true)),
            Err(MountError::OverlayRefused { .. }) => Ok((true, true)),
            // Not about overlay: perhaps not allowed to mount at all. A copy may do.
            Err(_) => Ok((true, false)),
        };
        remove(&dir)?;
        answer
    }
}

/// The manifest beside a layer's directory.
pub(crate) fn read_manifest(layer: &Path) -> Option<Arc<LayerManifest>> {
    let bytes = fs::read(layer.join("manifest")).ok()?;
    LayerManifest::decode(&bytes).ok().map(Arc::new)
}

pub(crate) fn remove(path: &Path) -> Result<(), SnapshotError> {
    distil_store::remove_tree(path).map_err(io_error("delete", path))
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
