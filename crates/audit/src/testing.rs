//! Images for tests, made in a store of their own.

use std::path::Path;

use distil_oci::{History, ImageConfig, Platform};
use distil_rootfs::{RmSpec, Upper};
use distil_snapshot::{CommitOptions, LayerId, SnapshotOptions, Snapshotter};
use distil_store::{ImageInfo, NewImage, Store, Timestamp};
use tempfile::TempDir;

use crate::ImageView;

/// A store, and the image that is being made in it.
pub(crate) struct World {
    pub(crate) snapshots: Snapshotter,
    pub(crate) layers: Vec<LayerId>,
    pub(crate) config: ImageConfig,
    _directory: TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        World {
            snapshots: Snapshotter::open(&store, SnapshotOptions::default()),
            layers: Vec::new(),
            config: ImageConfig::new(&Platform::new("linux", "amd64", "")),
            _directory: directory,
        }
    }

    /// The config of the image.
    pub(crate) fn config(&mut self) -> &mut ImageConfig {
        &mut self.config
    }

    /// Adds a layer with what `write` puts into its directory and `change` does on top of what is below.
    pub(crate) fn layer(&mut self, created_by: &str, write: impl FnOnce(&Path), change: impl FnOnce(&Upper)) {
        let active = self.snapshots.prepare(&self.layers).unwrap();
        write(&active.upper_dir());
        change(&active.view().unwrap());
        let layer = active.commit(CommitOptions::default()).unwrap().id;
        let diff_id = self.snapshots.diff_id(layer).unwrap();
        self.layers.push(layer);
        self.config.rootfs.diff_ids.push(diff_id);
        self.config.history.push(History {
            created_by: created_by.to_owned(),
            ..History::default()
        });
    }

    /// Adds a layer of files: path and contents.
    pub(crate) fn files(&mut self, created_by: &str, files: &[(&str, &str)]) {
        let write = |root: &Path| {
            for (path, text) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, text).unwrap();
            }
        };
        self.layer(created_by, write, |_| {});
    }

    /// Stores the image.
    pub(crate) fn image(&self) -> ImageInfo {
        self.image_with(&self.config.to_json())
    }

    /// Stores an image with these bytes as its config.
    pub(crate) fn image_with(&self, config: &[u8]) -> ImageInfo {
        let store = self.snapshots.store();
        let config = store.blobs().put(config).unwrap();
        let image = NewImage {
            config,
            manifest: None,
            platform: "linux/amd64".to_owned(),
            layers: self.layers.clone(),
            blobs: Vec::new(),
            created: Timestamp(0),
        };
        store.images().put(&image, &[], Timestamp(0)).unwrap();
        store.images().get(&config).unwrap().unwrap()
    }

    pub(crate) fn view(&self) -> ImageView {
        ImageView::open(&self.snapshots, &self.image()).unwrap()
    }
}

/// Removes a path of the layers below.
pub(crate) fn rm(upper: &Upper, path: &str) {
    upper
        .rm(&RmSpec {
            path: path.to_owned(),
            allow_not_found: false,
            allow_wildcard: false,
        })
        .unwrap();
}
