//! Builds a graph op by op and encodes what the result needs.

mod encode;
mod exec;
mod ops;

use encode::Encoder;
use exec::exec_op;
pub use ops::{ClosureCopy, Exec, FileAction, Mount, MountKind, Owner, OwnerId, Secret, SshSocket};

use crate::{Definition, OpMetadata, State, caps, pb};

/// An output of an op in a [`Graph`]. Every op made here has one output, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge(usize);

/// A file that ops are made from; see [`Graph::add_source_map`].
#[derive(Clone, Debug, PartialEq)]
pub struct SourceMap {
    /// The file's name as the user gave it.
    pub filename: String,
    /// Its language in linguist's spelling.
    pub language: String,
    /// Its text.
    pub data: Vec<u8>,
    /// The graph that loads it.
    pub definition: Option<Definition>,
}

/// A [`SourceMap`] in a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceMapId(usize);

/// What an op has beside its operation.
#[derive(Clone, Debug, Default)]
pub struct Constraints {
    /// For sources of images and execs; other ops have no platform.
    pub platform: Option<pb::Platform>,
    /// Names and progress group; capabilities are added when the op is made.
    pub metadata: OpMetadata,
    /// Where the op was written.
    pub locations: Vec<(SourceMapId, Vec<pb::Range>)>,
}

impl Constraints {
    /// Constraints that give the op a name to show.
    pub fn named(name: impl Into<String>) -> Self {
        Self::default().describe("llb.customname", name)
    }

    /// Adds a description.
    #[must_use]
    pub fn describe(mut self, key: &str, value: impl Into<String>) -> Self {
        self.metadata.description.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, map: SourceMapId, ranges: Vec<pb::Range>) -> Self {
        self.locations.push((map, ranges));
        self
    }

    /// Adds a capability that the builder must have.
    #[must_use]
    pub fn needs(mut self, cap: &str) -> Self {
        self.need(cap);
        self
    }

    fn need(&mut self, cap: &str) {
        self.metadata.caps.insert(cap.to_owned(), true);
    }
}

#[derive(Clone, Debug)]
enum NodeKind {
    Source(pb::SourceOp),
    Exec {
        root: Option<Edge>,
        op: Box<pb::ExecOp>,
        /// Root first, then sorted by target: the edges of `op.mounts`.
        mounts: Vec<Option<Edge>>,
    },
    File {
        base: Option<Edge>,
        actions: Vec<FileAction>,
    },
    Merge(Vec<Edge>),
    Closure {
        base: Option<Edge>,
        source: Edge,
        closure: ClosureCopy,
    },
}

#[derive(Clone, Debug)]
struct Node {
    kind: NodeKind,
    constraints: Constraints,
}

/// Ops under construction. An op can only use edges that exist, so there is no
/// cycle; nothing is encoded before [`Graph::definition`]. Edges and source maps
/// belong to the graph that made them.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    source_maps: Vec<SourceMap>,
}

impl Graph {
    /// Registers a file that ops may be located in.
    pub fn add_source_map(&mut self, map: SourceMap) -> SourceMapId {
        self.source_maps.push(map);
        SourceMapId(self.source_maps.len() - 1)
    }

    /// Adds a source. Capabilities that depend on attributes are the caller's.
    pub fn source(&mut self, source: pb::SourceOp, constraints: Constraints) -> Edge {
        self.add(NodeKind::Source(source), constraints)
    }

    /// Sets an attribute of a source that could not be known when it was added,
    /// with the capability that it needs. Other ops are left alone.
    pub fn set_attr(&mut self, edge: Edge, key: &str, value: String, cap: &str) {
        let node = &mut self.nodes[edge.0];
        if let NodeKind::Source(source) = &mut node.kind {
            source.attrs.insert(key.to_owned(), value);
            node.constraints.need(cap);
        }
    }

    /// Adds a process that runs in `state`; the edge is the changed filesystem.
    pub fn exec(&mut self, state: &State, exec: Exec, mut constraints: Constraints) -> Edge {
        constraints.platform = constraints.platform.or_else(|| state.platform.clone());
        let (op, mounts) = exec_op(state, exec, &mut constraints);
        let kind = NodeKind::Exec {
            root: state.output,
            op: Box::new(op),
            mounts,
        };
        self.add(kind, constraints)
    }

    /// Adds file actions on `base`, each on the result of the one before; the
    /// edge is the result of the last.
    pub fn file(
        &mut self,
        base: Option<Edge>,
        actions: Vec<FileAction>,
        mut constraints: Constraints,
    ) -> Edge {
        constraints.need(caps::FILE_BASE);
        self.add(NodeKind::File { base, actions }, constraints)
    }

    /// Copies files with all that they need from `source` onto `base`. distil's own.
    pub fn closure(
        &mut self,
        base: Option<Edge>,
        source: Edge,
        closure: ClosureCopy,
        mut constraints: Constraints,
    ) -> Edge {
        constraints.need(caps::FILE_CLOSURE);
        let kind = NodeKind::Closure {
            base,
            source,
            closure,
        };
        self.add(kind, constraints)
    }

    /// Lays filesystems on top of each other, lowest first. Empty ones are left
    /// out, and a single one needs no op.
    pub fn merge(&mut self, inputs: &[Option<Edge>], mut constraints: Constraints) -> Option<Edge> {
        let inputs: Vec<Edge> = inputs.iter().flatten().copied().collect();
        if inputs.len() < 2 {
            return inputs.first().copied();
        }
        constraints.need(caps::MERGE_OP);
        Some(self.add(NodeKind::Merge(inputs), constraints))
    }

    fn add(&mut self, kind: NodeKind, constraints: Constraints) -> Edge {
        self.nodes.push(Node { kind, constraints });
        Edge(self.nodes.len() - 1)
    }

    /// Encodes `target` and everything it needs. `platform` is that of ops that
    /// have none of their own.
    pub fn definition(&self, target: Option<Edge>, platform: &pb::Platform) -> Definition {
        let Some(target) = target else {
            return Definition::default();
        };
        let mut encoder = Encoder::new(self, platform);
        for id in self.needed_in_order(target) {
            encoder.encode(id);
        }
        encoder.finish(target)
    }

    /// Depth first, inputs before users, in the order in which BuildKit visits
    /// them: when equal ops have different names, the last one visited wins.
    fn needed_in_order(&self, target: Edge) -> Vec<usize> {
        let mut order = Vec::new();
        let mut seen = vec![false; self.nodes.len()];
        let mut stack = vec![(target.0, self.inputs(target.0), 0)];
        seen[target.0] = true;
        while let Some((id, inputs, next)) = stack.last_mut() {
            match inputs.get(*next) {
                Some(input) => {
                    *next += 1;
                    let input = input.0;
                    if !seen[input] {
                        seen[input] = true;
                        let inputs = self.inputs(input);
                        stack.push((input, inputs, 0));
                    }
                }
                None => {
                    order.push(*id);
                    stack.pop();
                }
            }
        }
        order
    }

    fn inputs(&self, id: usize) -> Vec<Edge> {
        match &self.nodes[id].kind {
            NodeKind::Source(_) => Vec::new(),
            NodeKind::Exec { root, mounts, .. } => {
                root.iter().chain(mounts.iter().flatten()).copied().collect()
            }
            NodeKind::Merge(inputs) => inputs.clone(),
            NodeKind::Closure { base, source, .. } => base.iter().chain([source]).copied().collect(),
            NodeKind::File { base, actions } => {
                let sources = actions.iter().rev().filter_map(|action| match action {
                    FileAction::Copy { source, .. } => *source,
                    FileAction::Mkdir { .. } | FileAction::Mkfile(_) => None,
                });
                base.iter().copied().chain(sources).collect()
            }
        }
    }
}
