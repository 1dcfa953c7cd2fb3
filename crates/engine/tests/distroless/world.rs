//! A store of its own, and the archive that this machine's apt uses.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_base::recipe::ImageSpec;
use distil_base::selection::Selection;
use distil_engine::{BaseRequest, DebianArchive, Engine, EngineConfig, MadeBase};
use distil_fetch::{Client, ClientConfig};
use distil_oci::{ImageConfig, Platform};
use distil_registry::{DockerConfig, Remote, RemoteConfig};
use distil_snapshot::SnapshotMode;
use distil_solver::CancelToken;
use distil_sources::BasesPolicy;
use distil_store::LayerId;

pub(crate) struct World {
    engine: Engine,
    _directory: tempfile::TempDir,
}

/// Name and text of apt's source files.
fn host_sources() -> Vec<(String, String)> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let parts = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    files.extend(parts.flatten().map(|entry| entry.path()));
    files.sort();
    let named = files.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        Some((name, fs::read_to_string(&path).ok()?))
    });
    named.collect()
}

impl World {
    /// `None` where files of root cannot be made.
    pub(crate) fn new() -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let client = Client::new(ClientConfig::default());
        let remote = Remote::new(
            client.clone(),
            Arc::new(DockerConfig::default()),
            RemoteConfig::default(),
        );
        let config = EngineConfig {
            root: directory.path().join("store"),
            snapshots: SnapshotMode::Native,
            id_map: String::new(),
            in_user_namespace: distil_sandbox::userns::inside(),
            outside_namespace: false,
            exec_slots: 1,
            host: Platform::host(),
            resolv_conf: Vec::new(),
            image_layouts: Vec::new(),
            bases: BasesPolicy::Packages,
            remote: Arc::new(remote),
            fetcher: Arc::new(client),
            debian: DebianArchive {
                mirror: None,
                host_sources: host_sources(),
                // Kept for the next run.
                downloads: Path::new(env!("CARGO_TARGET_TMPDIR")).join("downloads"),
            },
            now: std::time::SystemTime::now().into(),
        };
        Some(World {
            engine: Engine::open(config).unwrap(),
            _directory: directory,
        })
    }

    pub(crate) fn select(&self, spec: &ImageSpec) -> Result<Selection, String> {
        let platform: Platform = format!("linux/{}", spec.architecture).parse().unwrap();
        self.engine
            .select_base(spec, &platform, &CancelToken::new(), &|_| {})
            .map_err(|error| error.to_string())
    }

    pub(crate) fn make(&self, selection: &Selection) -> MadeBase {
        let request = BaseRequest {
            selection,
            names: &[],
            snapshot: None,
            hidden: false,
        };
        match self.engine.make_base(&request, &CancelToken::new(), &|_| {}) {
            Ok(base) => base,
            Err(error) => panic!("{}: {error}", selection.spec.name),
        }
    }

    pub(crate) fn layers(&self, base: &MadeBase) -> Vec<LayerId> {
        let image = self.engine.store().images().get(&base.id).unwrap().unwrap();
        let config = ImageConfig::from_json(&base.config).unwrap();
        assert_eq!(config.rootfs.diff_ids.len(), image.layers.len());
        assert_eq!(config.history.len(), image.layers.len());
        for (layer, diff_id) in image.layers.iter().zip(&config.rootfs.diff_ids) {
            // The diff ID is that of the files as they lie there.
            assert_eq!(self.engine.snapshotter().diff_id(*layer).unwrap(), *diff_id);
        }
        image.layers
    }

    /// The directory of an image of one layer.
    pub(crate) fn root(&self, base: &MadeBase) -> PathBuf {
        self.engine.snapshotter().layer_dir(self.layers(base)[0])
    }

    /// Bytes of all files, in units of 10^6; hard links count once.
    pub(crate) fn size(&self, base: &MadeBase) -> f64 {
        let mut bytes = 0;
        for layer in self.layers(base) {
            bytes += self.engine.snapshotter().info(layer).unwrap().size;
        }
        bytes as f64 / 1e6
    }

    /// All paths, directories with a slash at the end, with mode, owner, time and what links hold.
    pub(crate) fn listing(&self, base: &MadeBase) -> BTreeMap<String, String> {
        let mut listed = BTreeMap::new();
        for (_, directory) in self.engine.snapshotter().places(&self.layers(base)) {
            list(&directory, Path::new(""), &mut listed);
        }
        listed
    }

    /// The paths of the only layer of an image that lie in a directory of its own, and the layer that it adds to.
    pub(crate) fn own(&self, base: &MadeBase) -> (Vec<String>, Option<LayerId>) {
        let layer = self.layers(base)[0];
        let mut listed = BTreeMap::new();
        list(&self.root(base), Path::new(""), &mut listed);
        let info = self.engine.snapshotter().info(layer).unwrap();
        (listed.into_keys().collect(), info.extends)
    }
}

fn list(root: &Path, below: &Path, out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let name = below.join(entry.unwrap().file_name());
        let path = root.join(&name);
        let meta = fs::symlink_metadata(&path).unwrap();
        let owner = format!("{}:{} {}", meta.uid(), meta.gid(), meta.mtime());
        let mode = format!("{:o} {owner}", meta.mode() & 0o7777);
        let shown = name.display().to_string();
        if meta.is_dir() {
            out.insert(format!("{shown}/"), mode);
            list(root, &name, out);
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            out.insert(shown, format!("-> {} {owner}", target.display()));
        } else {
            out.insert(shown, mode);
        }
    }
}
