//! The operations of LLB as the solver runs them.

mod closure;
mod context;
mod exec;
mod file;
mod merge;
mod names;
mod owner;
mod package_copy;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use distil_llb::pb::op::Kind;
use distil_llb::{LoadedGraph, OpNode, OutputRef};
use distil_oci::Platform;
use distil_rootfs::{EmptyTree, Tree};
use distil_snapshot::{SnapshotError, Snapshotter};
use distil_solver::{CacheMap, Content, Edge, Graph, InputMap, OpError, ResultHandle, Vertex, VertexIndex};
use distil_sources::ImageProvider;
use distil_store::{LayerId, Store};

use self::context::Context;
pub(crate) use self::exec::forget as forget_cache_mounts;
pub(crate) use self::names::{base_of, step_names};
use crate::cache_map::{self, InputKey, OpKey};
use crate::ephemeral::Ephemeral;
use crate::error::BuildError;
use crate::origins::OwnerLists;
use crate::packages::PackageSources;
use crate::toolbox::FailureShell;

/// What an operation made, as it travels through the solver.
#[derive(Clone)]
pub(crate) enum Output {
    /// A file system: its layers, lowest first.
    Layers(Vec<LayerId>),
    /// A folder of the host that is read in place.
    Context(Arc<Context>),
}

impl Output {
    /// The output behind a handle; the empty file system for anything else.
    pub(crate) fn of(handle: &ResultHandle) -> Self {
        handle
            .downcast_ref::<Self>()
            .cloned()
            .unwrap_or(Self::Layers(Vec::new()))
    }

    /// The handle that carries this output.
    pub(crate) fn into_handle(self) -> ResultHandle {
        ResultHandle::new(self)
    }

    /// The files, readable without a mount.
    fn tree(&self, snapshotter: &Snapshotter) -> Result<Arc<dyn Tree>, OpError> {
        match self {
            Self::Layers(layers) if layers.is_empty() => Ok(Arc::new(EmptyTree)),
            Self::Layers(layers) => match snapshotter.tree(layers) {
                Ok(tree) => Ok(Arc::new(tree)),
                // A look at the cache from outside the namespace ends where files have to be read.
                Err(SnapshotError::OutsideNamespace) => Err(OpError::NeedsExecution),
                Err(error) => Err(OpError::failed(error)),
            },
            Self::Context(context) => Ok(Arc::clone(&context.tree)),
        }
    }

    /// The layers to build on.
    pub(crate) fn layers(&self, snapshotter: &Snapshotter) -> Result<Vec<LayerId>, OpError> {
        match self {
            Self::Layers(layers) => Ok(layers.clone()),
            Self::Context(folder) => Ok(vec![folder.layer(snapshotter)?]),
        }
    }
}

/// What operations of one build share.
pub(crate) struct OpEnvironment {
    pub(crate) store: Store,
    pub(crate) snapshotter: Snapshotter,
    pub(crate) images: Arc<ImageProvider>,
    pub(crate) packages: PackageSources,
    /// Folders by the name of their `local://` source.
    pub(crate) contexts: BTreeMap<String, PathBuf>,
    /// The ignore files of these contexts, where there is one.
    pub(crate) ignore_files: BTreeMap<String, PathBuf>,
    /// Platform of this machine.
    pub(crate) host: Platform,
    /// What RUN sees and nothing keeps.
    pub(crate) ephemeral: Ephemeral,
    /// `/etc/resolv.conf` for RUN.
    pub(crate) resolv_conf: Vec<u8>,
    /// The times in layers of the result are cut off here, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub(crate) epoch: Option<i64>,
    /// Time of the build.
    pub(crate) now: distil_store::Timestamp,
    /// Opens a shell where a RUN fails.
    pub(crate) failure_shell: Option<Arc<dyn FailureShell>>,
    /// All operations of the build.
    pub(crate) graph: Arc<LoadedGraph>,
    /// Which packages own files of stages.
    pub(crate) owners: OwnerLists,
}

/// Builds the solver's graph of a definition; gives the edge of its result, if it has one.
pub(crate) fn graph(
    definition: &LoadedGraph,
    environment: &Arc<OpEnvironment>,
) -> Result<(Graph, Option<Edge>), BuildError> {
    let mut graph = Graph::new();
    let mut places: BTreeMap<distil_llb::OpDigest, VertexIndex> = BTreeMap::new();
    let kept = names::result_steps(definition);
    let edge = |places: &BTreeMap<_, VertexIndex>, output: &OutputRef| {
        places
            .get(&output.op)
            .map(|vertex| Edge::new(*vertex, output.index))
            .ok_or_else(|| {
                BuildError::Definition(format!(
                    "operation `{}` is missing from the definition",
                    output.op
                ))
            })
    };
    for node in definition.nodes() {
        let inputs = node
            .inputs
            .iter()
            .map(|input| edge(&places, input))
            .collect::<Result<Vec<_>, _>>()?;
        let index = graph.add(Vertex {
            digest: node.digest.digest(),
            name: node.display_name(),
            inputs,
            op: op(
                node,
                Place {
                    packages: package_inputs(definition, node),
                    in_result: kept.contains(&node.digest),
                },
                environment,
            )?,
            ignore_cache: node.metadata.ignore_cache,
        })?;
        places.insert(node.digest, index);
    }
    let result = definition
        .result
        .as_ref()
        .map(|result| edge(&places, result))
        .transpose()?;
    Ok((graph, result))
}

/// Numbers of the inputs that are Debian packages as they come from their source.
fn package_inputs(definition: &LoadedGraph, node: &OpNode) -> BTreeSet<i64> {
    let is_packages = |input: &OutputRef| {
        let made_by = definition.get(input.op);
        made_by
            .is_some_and(|other| matches!(&other.kind, Kind::Source(source) if source::is_packages(source)))
    };
    let inputs = node.inputs.iter().zip(0..);
    inputs
        .filter(|(input, _)| is_packages(input))
        .map(|(_, number)| number)
        .collect()
}

/// What the definition says of an operation.
struct Place {
    /// Numbers of its inputs that are Debian packages.
    packages: BTreeSet<i64>,
    /// Its layer is one of the result's.
    in_result: bool,
}

fn op(
    node: &OpNode,
    place: Place,
    environment: &Arc<OpEnvironment>,
) -> Result<Arc<dyn distil_solver::Op>, BuildError> {
    let environment = Arc::clone(environment);
    let unsupported = |problem: String| BuildError::Unsupported {
        vertex: node.digest.digest(),
        problem,
    };
    if let Kind::Source(source) = &node.kind {
        let source = source::SourceOp::new(source, node.platform.as_ref(), environment);
        return Ok(Arc::new(source.map_err(unsupported)?));
    }
    let key = cache_map::of_op(node, &environment.host).map_err(unsupported)?;
    Ok(match &node.kind {
        Kind::Exec(exec) => Arc::new(exec::ExecOp::new(exec.clone(), key, environment, node)?),
        Kind::File(file) => Arc::new(
            file::FileOp::new(file.clone(), node.display_name(), key, environment)
                .reading(node.inputs.clone(), place.packages)
                .in_result(place.in_result),
        ),
        Kind::Closure(closure) => Arc::new(closure::ClosureOp::new(
            closure.clone(),
            key,
            environment,
            node.inputs.clone(),
        )),
        Kind::Merge(_) | Kind::Diff(_) => Arc::new(merge::MergeOp::new(node.kind.clone(), key, environment)),
        Kind::Source(_) | Kind::Build(_) | Kind::Passthrough(_) => {
            return Err(BuildError::Unsupported {
                vertex: node.digest.digest(),
                problem: "this kind of operation cannot be run".into(),
            });
        }
    })
}

/// The solver's form of a key. `content` is how content keys of inputs come about.
fn cache_map(key: &OpKey, content: Content) -> CacheMap {
    let input = |input: &InputKey| InputMap {
        selector: input.selector,
        content: if input.content.is_some() {
            content
        } else {
            Content::Ignored
        },
    };
    CacheMap {
        digests: vec![key.digest],
        inputs: key.inputs.iter().map(input).collect(),
        private: false,
    }
}

/// Runs `work` with a flag that becomes true when `cancel` is set.
fn with_flag<T>(
    cancel: &distil_solver::CancelToken,
    work: impl FnOnce(&Arc<std::sync::atomic::AtomicBool>) -> Result<T, OpError>,
) -> Result<T, OpError> {
    let flag = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let setter = Arc::clone(&flag);
    let registration = cancel.on_cancel(move || setter.store(true, std::sync::atomic::Ordering::SeqCst));
    let result = work(&flag);
    drop(registration);
    if cancel.is_cancelled() {
        Err(OpError::Cancelled)
    } else {
        result
    }
}
