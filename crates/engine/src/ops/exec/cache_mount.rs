//! `RUN --mount=type=cache`: directories that outlive builds.
//!
//! A cache mount is named by its id and by what it starts with: nothing, or the content of a path of another
//! stage. That content is copied when the directory is made, never linked, for a process writes to it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use distil_llb::pb;
use distil_llb::pb::op::Kind;
use distil_llb::{LoadedGraph, OpNode};
use distil_oci::Digest;
use distil_rootfs::content::{self, Selector, SelectorPath};
use distil_rootfs::{CopyReport, CopySpec, MkdirSpec, Owner, scan_layers};
use distil_snapshot::CommitOptions;
use distil_solver::{CancelToken, OpContext, OpError};
use distil_store::{CacheMount, CacheMountTurn, LayerId, Sharing, Taken};

use super::ExecOp;
use crate::error::BuildError;
use crate::ops::{OpEnvironment, Output, with_flag};

/// Name of the mounted directory (or file) in the layer of a cache mount.
const CONTENT: &str = "cache";

/// Pauses between attempts to get a cache mount that another process has grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What one mount of the process asks for.
struct Wanted<'a> {
    /// Id, and digest of what it starts with (empty for nothing).
    name: (String, String),
    sharing: Sharing,
    /// Where a new one comes from.
    mount: &'a pb::Mount,
}

/// The cache mounts of one process, which others get once this is dropped.
pub(super) struct CacheMounts {
    /// Directory of each mount that is a cache, by its number.
    directories: BTreeMap<usize, PathBuf>,
    held: Vec<CacheMount>,
}

impl CacheMounts {
    /// Takes all cache mounts of `op`, waiting for those that another process has alone.
    pub(super) fn take(op: &ExecOp, ctx: &OpContext, inputs: &[Output]) -> Result<Self, OpError> {
        let mut wanted: BTreeMap<(String, String), (Wanted<'_>, Vec<usize>)> = BTreeMap::new();
        for (at, mount) in op.exec.mounts.iter().enumerate() {
            if mount.mount_type == pb::MountType::Cache as i32 {
                let one = op.wanted(ctx, mount, inputs)?;
                // The same one twice in a process is the same directory, whatever its sharing.
                let entry = wanted.entry(one.name.clone()).or_insert((one, Vec::new()));
                entry.1.push(at);
            }
        }
        let mut taken = Self {
            directories: BTreeMap::new(),
            held: Vec::new(),
        };
        // In the order of their names, the same everywhere: processes never wait for each other.
        for (one, places) in wanted.into_values() {
            let mount = op.cache_mount(ctx, &one, inputs)?;
            let directory = op.environment.snapshotter.layer_dir(mount.layer).join(CONTENT);
            taken
                .directories
                .extend(places.into_iter().map(|at| (at, directory.clone())));
            taken.held.push(mount);
        }
        Ok(taken)
    }

    /// The directory of mount number `at`, which is a cache.
    pub(super) fn directory(&self, at: usize) -> Result<PathBuf, OpError> {
        let found = self.directories.get(&at).cloned();
        found.ok_or_else(|| OpError::failed("a cache mount has no directory"))
    }

    /// Notes how big the directories are now. Not knowing it is no failure: the next process that uses them
    /// tries again.
    pub(super) fn measure(&self, environment: &OpEnvironment) {
        for mount in &self.held {
            let directory = environment.snapshotter.layer_dir(mount.layer);
            if let Some((size, inodes)) = measure(&directory) {
                let _ = environment.store.layers().set_size(mount.layer, size, inodes);
            }
        }
    }
}

/// Bytes of regular files, hard links counted once, and the number of files and directories below `directory`.
fn measure(directory: &Path) -> Option<(u64, u64)> {
    let layers = scan_layers(&[directory], 0).ok()?;
    let (mut size, mut inodes) = (0u64, 0u64);
    let mut seen = HashSet::new();
    for entry in layers.iter().flatten().flat_map(|dir| &dir.entries) {
        let node = &entry.node;
        inodes += 1;
        if node.kind.is_file() && (node.nlink < 2 || seen.insert((node.dev, node.ino))) {
            size = size.saturating_add(node.size);
        }
    }
    Some((size, inodes))
}

impl ExecOp {
    fn wanted<'a>(
        &self,
        ctx: &OpContext,
        mount: &'a pb::Mount,
        inputs: &[Output],
    ) -> Result<Wanted<'a>, OpError> {
        let cache = mount.cache_opt.clone().unwrap_or_default();
        let sharing = match pb::CacheSharing::try_from(cache.sharing) {
            Ok(pb::CacheSharing::Shared) => Sharing::Shared,
            Ok(pb::CacheSharing::Private) => Sharing::Private,
            Ok(pb::CacheSharing::Locked) => Sharing::Locked,
            Err(_) => {
                return Err(OpError::failed(format!(
                    "cache mount `{}` is shared in a way that is not known: `{}`",
                    mount.dest, cache.sharing
                )));
            }
        };
        let origin = match self.start_of(mount, inputs) {
            Some(output) => self.origin(ctx, mount, output)?.to_string(),
            None => String::new(),
        };
        Ok(Wanted {
            name: (cache.id, origin),
            sharing,
            mount,
        })
    }

    /// The output that a new directory is a copy from.
    fn start_of<'a>(&self, mount: &pb::Mount, inputs: &'a [Output]) -> Option<&'a Output> {
        usize::try_from(mount.input).ok().and_then(|at| inputs.get(at))
    }

    /// Digest of what a cache mount starts with: the same content of a stage that was built anew is the same
    /// cache mount.
    fn origin(&self, ctx: &OpContext, mount: &pb::Mount, output: &Output) -> Result<Digest, OpError> {
        let tree = output.tree(&self.environment.snapshotter)?;
        let paths = match mount.selector.as_str() {
            "" | "/" => Vec::new(),
            path => vec![SelectorPath {
                path: path.to_owned(),
                follow_links: true,
                ..SelectorPath::default()
            }],
        };
        with_flag(ctx.cancel(), |flag| {
            content::digest_paths(tree.as_ref(), &Selector { paths }, flag)
                .map(Digest::from_bytes)
                .map_err(|error| start_failed(mount, &error))
        })
    }

    /// Gets a cache mount, making it where there is none that is free.
    fn cache_mount(
        &self,
        ctx: &OpContext,
        wanted: &Wanted<'_>,
        inputs: &[Output],
    ) -> Result<CacheMount, OpError> {
        let environment = &self.environment;
        let (id, origin) = &wanted.name;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(turn) = turn(environment, id)? {
                let taken = turn
                    .take(origin, wanted.sharing, environment.now)
                    .map_err(OpError::failed)?;
                match taken {
                    Taken::Mount(mount) => return Ok(mount),
                    Taken::Busy => {}
                    Taken::Missing => {
                        let layer = self.new_directory(ctx, wanted.mount, inputs)?;
                        let description = self.description(wanted);
                        return turn
                            .add(origin, wanted.sharing, layer, description, environment.now)
                            .map_err(OpError::failed);
                    }
                }
            }
            if ctx.cancel().wait(pause) {
                return Err(OpError::Cancelled);
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What `du` shows.
    fn description(&self, wanted: &Wanted<'_>) -> String {
        let (dest, id) = (&wanted.mount.dest, &wanted.name.0);
        let mut text = format!("cached mount {dest} from exec {}", self.command());
        if id != dest {
            text.push_str(&format!(" with id \"{id}\""));
        }
        text
    }

    /// A layer with the directory that a cache mount starts as.
    fn new_directory(
        &self,
        ctx: &OpContext,
        mount: &pb::Mount,
        inputs: &[Output],
    ) -> Result<LayerId, OpError> {
        let snapshotter = &self.environment.snapshotter;
        let active = snapshotter.prepare(&[]).map_err(OpError::failed)?;
        let upper = active.view().map_err(OpError::failed)?;
        let destination = format!("/{CONTENT}");
        match self.start_of(mount, inputs) {
            None => upper
                .mkdir(&MkdirSpec {
                    path: PathBuf::from(destination),
                    mode: 0o755,
                    make_parents: false,
                    owner: Some(Owner::default()),
                    timestamp: None,
                })
                .map_err(OpError::failed)?,
            Some(output) => {
                let tree = output.tree(snapshotter)?;
                let source = match mount.selector.as_str() {
                    "" => "/",
                    path => path,
                };
                with_flag(ctx.cancel(), |flag| {
                    let spec = CopySpec {
                        // The directory itself, with its owner and mode.
                        dir_copy_contents: false,
                        allow_wildcard: false,
                        allow_empty_wildcard: false,
                        cancel: Some(std::sync::Arc::clone(flag)),
                        ..CopySpec::new(source, destination)
                    };
                    upper
                        .copy(tree.as_ref(), &spec, &mut CopyReport::default())
                        .map_err(|error| start_failed(mount, &error))
                })?;
            }
        }
        drop(upper);
        let layer = active.commit(CommitOptions::default()).map_err(OpError::failed)?;
        Ok(layer.id)
    }
}

fn start_failed(mount: &pb::Mount, error: &dyn std::error::Error) -> OpError {
    OpError::failed(format!(
        "cache mount `{}` cannot start with `{}`: {error}",
        mount.dest, mount.selector
    ))
}

fn turn<'e>(environment: &'e OpEnvironment, id: &str) -> Result<Option<CacheMountTurn<'e>>, OpError> {
    environment
        .store
        .cache_mount_turn(id, environment.snapshotter.id_map())
        .map_err(OpError::failed)
}

/// Forgets the cache mounts of steps that are to use no cache, before any of them runs.
pub(crate) fn forget(
    definition: &LoadedGraph,
    environment: &OpEnvironment,
    cancel: &CancelToken,
) -> Result<(), BuildError> {
    let ids: BTreeSet<&str> = definition
        .nodes()
        .iter()
        .filter(|node| node.metadata.ignore_cache)
        .flat_map(cache_ids)
        .collect();
    for id in ids {
        let map = environment.snapshotter.id_map();
        loop {
            if let Some(turn) = environment.store.cache_mount_turn(id, map)? {
                turn.forget()?;
                break;
            }
            if cancel.wait(LONGEST_PAUSE) {
                return Err(distil_solver::SolveError::Cancelled.into());
            }
        }
    }
    Ok(())
}

fn cache_ids(node: &OpNode) -> Vec<&str> {
    let Kind::Exec(exec) = &node.kind else {
        return Vec::new();
    };
    let options = exec.mounts.iter().filter_map(|mount| mount.cache_opt.as_ref());
    options.map(|cache| cache.id.as_str()).collect()
}
