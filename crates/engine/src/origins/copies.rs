//! What copies brought into a layer, told when they have run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_audit::OsRelease;
use distil_audit::origin::{self, CopyRecord, PlaceRecord, Stage};
use distil_base::DebianRelease;
use distil_llb::pb::op::Kind;
use distil_llb::{DebSource, OpNode, OutputRef};
use distil_rootfs::{LayerFinder, Placed, RootDir};
use distil_snapshot::SnapshotError;
use distil_store::LayerId;

use super::{chain, step};
use crate::MAIN_CONTEXT;
use crate::ops::{OpEnvironment, Output};

/// Paths of one instruction that are told of, and directories and files of one that are told apart: so many that only
/// copies of whole systems with their packages removed come near it.
const MAX_PATHS: usize = 8192;
/// A copy of a whole stage that has one of these brought its packages' records with it.
const DATABASES: [&str; 2] = ["/var/lib/dpkg/status", "/var/lib/dpkg/status.d"];

/// What an operation copied from one of its inputs.
pub(crate) struct Copies<'a> {
    pub(crate) input: &'a Output,
    /// The operation whose result that is.
    pub(crate) from: &'a OutputRef,
    pub(crate) placed: Vec<Placed>,
}

/// Writes down what came into `layer`. Failing to do so costs the answer to where its files come from, not the build.
pub(crate) fn remember(environment: &OpEnvironment, layer: LayerId, copies: &[Copies<'_>]) {
    let mut record = CopyRecord::default();
    for copies in copies {
        match copies.input {
            Output::Context(context) => of_context(&mut record, context.name(), &copies.placed),
            Output::Layers(layers) => {
                // What was found before something could not be read is true all the same.
                let _ = of_stage(environment, &mut record, layer, layers, copies);
            }
        }
    }
    if !record.is_empty() {
        let _ = origin::write_layer(&environment.store, layer, &record);
    }
}

fn of_context(record: &mut CopyRecord, name: &str, placed: &[Placed]) {
    let name = match name {
        MAIN_CONTEXT => "build context",
        other => other,
    };
    let stage = record.add_stage(Stage {
        name: name.to_owned(),
        size: None,
        is_context: true,
    });
    for placed in placed.iter().take(MAX_PATHS) {
        let place = PlaceRecord {
            stage,
            path: placed.source.clone(),
            step: None,
        };
        record.add(&placed.target, place, None);
    }
}

fn of_stage(
    environment: &OpEnvironment,
    record: &mut CopyRecord,
    layer: LayerId,
    layers: &[LayerId],
    copies: &Copies<'_>,
) -> Result<(), SnapshotError> {
    let tree = environment.snapshotter.tree(layers)?;
    let places = environment.snapshotter.places(layers);
    let makers = chain::makers(&environment.graph, copies.from, layers.len());
    let stage = record.add_stage(stage(environment, copies.from, layers)?);
    let mut finder = LayerFinder::new(&tree);
    let dirs = environment.snapshotter.places(&[layer]);
    let roots = dirs.iter().map(|(_, dir)| RootDir::open(dir));
    let roots: Vec<RootDir> = roots.collect::<Result<_, _>>()?;
    let node = |path: &Path| roots.iter().find_map(|root| root.lookup(path).ok().flatten());
    let mut earlier: HashMap<LayerId, Option<CopyRecord>> = HashMap::new();
    for placed in copies.placed.iter().take(MAX_PATHS) {
        let room = MAX_PATHS.saturating_sub(record.len()).max(1);
        for found in finder.layers_of(&placed.source, room)? {
            // What patterns left out needs no entry.
            let target = moved(&found.path, placed).filter(|target| node(target).is_some());
            let Some(target) = target else {
                continue;
            };
            // A layer may have two directories.
            let Some((at, _)) = places.get(found.layer) else {
                continue;
            };
            let maker = makers.get(*at).copied().flatten();
            let place = PlaceRecord {
                stage,
                path: found.path,
                step: maker.map(|node| record.add_step(step(node))),
            };
            let from = layers.get(*at).copied();
            let known = from.and_then(|from| {
                let read = || origin::read_layer(&environment.store, from).ok().flatten();
                earlier.entry(from).or_insert_with(read).as_ref()
            });
            record.add(&target, place, known);
        }
    }
    let brought = |path: &Path| node(path).is_some_and(|node| !node.kind.is_dir());
    let tells = |database: &&str| node(Path::new(database)).is_some();
    let whole = |placed: &Placed| placed.source == Path::new("/") && placed.target == Path::new("/");
    if copies.placed.iter().any(whole) && DATABASES.iter().any(tells) {
        return Ok(());
    }
    let system = environment.graph.get(copies.from.op).and_then(system_of_packages);
    let Some(owners) = environment.owners.of(layers, Arc::new(tree), system)? else {
        return Ok(());
    };
    for (package, files) in owners.owned(&copies.placed, brought)? {
        record.add_owned(package, files);
    }
    Ok(())
}

/// Where a path at or below the source of a copy went.
pub(super) fn moved(path: &Path, placed: &Placed) -> Option<PathBuf> {
    let rest = path.strip_prefix(&placed.source).ok()?;
    Some(match rest.as_os_str().is_empty() {
        true => placed.target.clone(),
        false => placed.target.join(rest),
    })
}

/// The stage as `--from` names it, and how large it is.
fn stage(environment: &OpEnvironment, from: &OutputRef, layers: &[LayerId]) -> Result<Stage, SnapshotError> {
    let mut size = 0;
    for layer in layers {
        size += environment.snapshotter.info(*layer)?.size;
    }
    Ok(Stage {
        name: environment
            .graph
            .get(from.op)
            .map_or_else(String::new, stage_name),
        size: Some(size),
        is_context: false,
    })
}

/// The release that a source of packages names; it has no file that tells.
fn system_of_packages(node: &OpNode) -> Option<OsRelease> {
    let Kind::Source(source) = &node.kind else {
        return None;
    };
    let packages = DebSource::from_identifier(&source.identifier).ok()?;
    let mut releases = DebianRelease::ALL.into_iter();
    let release = releases.find(|release| release.codename() == packages.suite())?;
    Some(OsRelease {
        id: "debian".to_owned(),
        version_id: release.number().to_owned(),
        codename: release.codename().to_owned(),
        ..OsRelease::default()
    })
}

fn stage_name(node: &OpNode) -> String {
    if let Some(name) = step(node).stage() {
        return name.to_owned();
    }
    match &node.kind {
        Kind::Source(source) => {
            let identifier = source.identifier.as_str();
            let image = identifier.strip_prefix("docker-image://");
            image.unwrap_or(identifier).replacen("deb://", "deb:", 1)
        }
        _ => node.display_name(),
    }
}
