//! A whole graph in its exchangeable form, and the checked view that an engine
//! walks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use prost::Message;
use thiserror::Error;

use crate::pb::{self, op::Kind};
use crate::{OpDigest, OpMetadata};

/// Why a definition is not one that can be run.
#[derive(Debug, Error)]
pub enum DefinitionError {
    /// The bytes are no protobuf of a definition.
    #[error("malformed definition: {0}")]
    Malformed(#[source] prost::DecodeError),
    /// One op's bytes are no protobuf of an op.
    #[error("malformed op `{digest}`: {source}")]
    MalformedOp {
        /// The op.
        digest: OpDigest,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// A metadata key is no sha256 digest.
    #[error("metadata names `{0}`, which is not a sha256 digest")]
    MetadataKey(String),
    /// A definition needs an op and the terminal one.
    #[error("a definition needs at least two ops, it has {0}")]
    TooFewOps(usize),
    /// The last op must have one input and nothing else.
    #[error("the last op must name exactly one result, it has {0} inputs")]
    Terminal(usize),
    /// An input names an op that is not there.
    #[error("op `{op}` has the input `{input}`, which the definition does not hold")]
    UnknownInput {
        /// The op.
        op: OpDigest,
        /// The digest as written.
        input: String,
    },
    /// Inputs that lead back to the op itself.
    #[error("op `{0}` depends on itself")]
    Cycle(OpDigest),
    /// An op that lacks what its kind needs.
    #[error("op `{op}` {what}")]
    Incomplete {
        /// The op.
        op: OpDigest,
        /// What is missing or out of range.
        what: &'static str,
    },
}

/// A graph: the encoded ops, what is known beside them, and where they come from.
///
/// The last entry of `def` is the terminal op, whose one input is the result.
/// An empty `def` is the empty filesystem.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Definition {
    /// Encoded [`pb::Op`]s, inputs before the ops that use them.
    pub def: Vec<Vec<u8>>,
    /// Names, capabilities and the like; not part of any digest.
    pub metadata: BTreeMap<OpDigest, OpMetadata>,
    /// Places in the files that the ops were made from.
    pub source: Option<pb::Source>,
}

/// One output of one op.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutputRef {
    /// The op.
    pub op: OpDigest,
    /// Which of its outputs, from 0.
    pub index: u32,
}

/// A decoded op of a [`LoadedGraph`].
#[derive(Clone, Debug, PartialEq)]
pub struct OpNode {
    /// Its identity.
    pub digest: OpDigest,
    /// What it does.
    pub kind: Kind,
    /// The platform of an exec or an image.
    pub platform: Option<pb::Platform>,
    /// Filters on the workers that may run it.
    pub worker_filter: Vec<String>,
    /// The op's inputs, in order; each is in the same graph.
    pub inputs: Vec<OutputRef>,
    /// Metadata, default where the definition has none.
    pub metadata: OpMetadata,
}

/// A definition whose ops are decoded and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedGraph {
    nodes: Vec<OpNode>,
    index: HashMap<OpDigest, usize>,
    /// What the build asks for; `None` is the empty filesystem.
    pub result: Option<OutputRef>,
}

impl LoadedGraph {
    /// The op of this digest.
    pub fn get(&self, digest: OpDigest) -> Option<&OpNode> {
        self.index.get(&digest).map(|&i| &self.nodes[i])
    }

    /// Every op (the terminal one left out), inputs before their users.
    pub fn nodes(&self) -> &[OpNode] {
        &self.nodes
    }
}

impl Definition {
    /// Decodes the wire form. Ops stay as received; [`Self::load`] looks inside.
    pub fn decode(bytes: &[u8]) -> Result<Self, DefinitionError> {
        Self::from_pb(pb::Definition::decode(bytes).map_err(DefinitionError::Malformed)?)
    }

    /// Takes over a wire message, for instance one inside a larger message.
    pub fn from_pb(message: pb::Definition) -> Result<Self, DefinitionError> {
        let mut metadata = BTreeMap::new();
        for (key, value) in message.metadata {
            let Ok(digest) = key.parse() else {
                return Err(DefinitionError::MetadataKey(key));
            };
            metadata.insert(digest, value);
        }
        Ok(Self {
            def: message.def,
            metadata,
            source: message.source,
        })
    }

    /// The wire message.
    pub fn to_pb(&self) -> pb::Definition {
        pb::Definition {
            def: self.def.clone(),
            metadata: self
                .metadata
                .iter()
                .map(|(digest, metadata)| (digest.to_string(), metadata.clone()))
                .collect(),
            source: self.source.clone(),
        }
    }

    /// The wire form; the same definition always gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        self.to_pb().encode_to_vec()
    }

    /// The first and the last line that an op was written on, from 1; `None` where
    /// the source map does not say.
    pub fn lines(&self, op: OpDigest) -> Option<(u32, u32)> {
        let places = self.source.as_ref()?.locations.get(&op.to_string())?;
        let lines = places
            .locations
            .iter()
            .flat_map(|place| &place.ranges)
            .flat_map(|range| {
                let position = |position: Option<pb::Position>| u32::try_from(position?.line).ok();
                [position(range.start), position(range.end)]
            });
        let lines: Vec<u32> = lines.flatten().collect();
        Some((lines.iter().copied().min()?, lines.iter().copied().max()?))
    }

    /// The result that the terminal op names; `None` for the empty filesystem.
    pub fn result(&self) -> Result<Option<OutputRef>, DefinitionError> {
        let Some(last) = self.def.last() else {
            return Ok(None);
        };
        let digest = OpDigest::of(last);
        let op = decode_op(digest, last)?;
        let [input] = op.inputs.as_slice() else {
            return Err(DefinitionError::Terminal(op.inputs.len()));
        };
        if op.op.is_some() {
            return Err(DefinitionError::Incomplete {
                op: digest,
                what: "is the terminal one and must only name the result",
            });
        }
        output_ref(digest, input).map(Some)
    }

    /// Decodes and checks every op: inputs known, no cycle, and for each kind the
    /// parts without which it cannot run.
    pub fn load(&self) -> Result<LoadedGraph, DefinitionError> {
        let result = self.result()?;
        let count = self.def.len();
        if count == 1 {
            return Err(DefinitionError::TooFewOps(count));
        }
        let mut graph = LoadedGraph {
            nodes: Vec::with_capacity(count.saturating_sub(1)),
            index: HashMap::with_capacity(count),
            result,
        };
        let mut pending = Vec::new();
        for bytes in &self.def[..count.saturating_sub(1)] {
            pending.push(self.load_op(bytes)?);
        }
        place_in_order(&mut graph, pending)?;
        if let (Some(result), Some(last)) = (result, self.def.last())
            && graph.get(result.op).is_none()
        {
            return Err(DefinitionError::UnknownInput {
                op: OpDigest::of(last),
                input: result.op.to_string(),
            });
        }
        Ok(graph)
    }

    fn load_op(&self, bytes: &[u8]) -> Result<OpNode, DefinitionError> {
        let digest = OpDigest::of(bytes);
        let op = decode_op(digest, bytes)?;
        let inputs = op
            .inputs
            .iter()
            .map(|input| output_ref(digest, input))
            .collect::<Result<Vec<_>, _>>()?;
        let Some(kind) = op.op else {
            return Err(DefinitionError::Incomplete {
                op: digest,
                what: "has no operation that this version knows",
            });
        };
        check_kind(&kind, inputs.len()).map_err(|what| DefinitionError::Incomplete { op: digest, what })?;
        Ok(OpNode {
            digest,
            kind,
            platform: op.platform,
            worker_filter: op.constraints.map(|c| c.filter).unwrap_or_default(),
            inputs,
            metadata: self.metadata.get(&digest).cloned().unwrap_or_default(),
        })
    }
}

impl OpNode {
    /// The name shown to users: the one given, else one made of what it does.
    pub fn display_name(&self) -> String {
        if let Some(name) = self.metadata.description.get("llb.customname") {
            return name.clone();
        }
        match &self.kind {
            Kind::Source(source) => source.identifier.clone(),
            Kind::Exec(exec) => exec
                .meta
                .as_ref()
                .map(|meta| meta.args.join(" "))
                .unwrap_or_default(),
            Kind::File(file) => file
                .actions
                .iter()
                .map(action_name)
                .collect::<Vec<_>>()
                .join(", "),
            Kind::Merge(merge) => {
                let inputs: Vec<_> = merge.inputs.iter().map(|i| self.input_name(i.input)).collect();
                format!("merge ({})", inputs.join(", "))
            }
            Kind::Diff(diff) => format!(
                "diff ({}) -> ({})",
                self.input_name(diff.lower.map_or(-1, |l| l.input)),
                self.input_name(diff.upper.map_or(-1, |u| u.input)),
            ),
            Kind::Build(_) => "build".to_owned(),
            Kind::Closure(closure) => format!("closure of {} {}", closure.paths.join(" "), closure.dest),
            Kind::Passthrough(pass) => format!("passthrough {}", pass.id),
        }
    }

    fn input_name(&self, input: i64) -> String {
        usize::try_from(input)
            .ok()
            .and_then(|i| self.inputs.get(i))
            .map_or_else(|| "scratch".to_owned(), |input| input.op.to_string())
    }
}

fn action_name(action: &pb::FileAction) -> String {
    use pb::file_action::Kind as Action;
    match &action.action {
        Some(Action::Copy(copy)) => format!("copy {} {}", copy.src, copy.dest),
        Some(Action::Mkfile(file)) => format!("mkfile {}", file.path),
        Some(Action::Mkdir(dir)) => format!("mkdir {}", dir.path),
        Some(Action::Rm(rm)) => format!("rm {}", rm.path),
        Some(Action::Symlink(link)) => format!("symlink {} -> {}", link.newpath, link.oldpath),
        None => String::new(),
    }
}

fn decode_op(digest: OpDigest, bytes: &[u8]) -> Result<pb::Op, DefinitionError> {
    pb::Op::decode(bytes).map_err(|source| DefinitionError::MalformedOp { digest, source })
}

fn output_ref(op: OpDigest, input: &pb::Input) -> Result<OutputRef, DefinitionError> {
    let unknown = || DefinitionError::UnknownInput {
        op,
        input: input.digest.clone(),
    };
    Ok(OutputRef {
        op: input.digest.parse().map_err(|_| unknown())?,
        index: u32::try_from(input.index).map_err(|_| DefinitionError::Incomplete {
            op,
            what: "names an output below 0",
        })?,
    })
}

/// What each kind cannot do without, and indexes in range, so that the engine may
/// index freely.
fn check_kind(kind: &Kind, inputs: usize) -> Result<(), &'static str> {
    let in_range =
        |index: i64, limit: usize| index == -1 || usize::try_from(index).is_ok_and(|index| index < limit);
    match kind {
        Kind::Exec(exec) => {
            let meta = exec.meta.as_ref().ok_or("has no process to run")?;
            if meta.args.is_empty() {
                return Err("has no arguments to run");
            }
            if !exec.mounts.iter().any(|mount| mount.dest == "/") {
                return Err("has no mount at `/`");
            }
            if !exec.mounts.iter().all(|mount| in_range(mount.input, inputs)) {
                return Err("has a mount of an input it does not have");
            }
        }
        Kind::File(file) => {
            if file.actions.is_empty() {
                return Err("has no file action");
            }
            for (position, action) in file.actions.iter().enumerate() {
                let limit = inputs + position;
                if !in_range(action.input, limit) || !in_range(action.secondary_input, limit) {
                    return Err("has a file action on an input it does not have");
                }
                if action.action.is_none() {
                    return Err("has a file action that this version does not know");
                }
            }
        }
        Kind::Merge(merge) => {
            if !merge.inputs.iter().all(|i| in_range(i.input, inputs)) {
                return Err("merges an input it does not have");
            }
        }
        Kind::Diff(diff) => {
            let sides = [
                diff.lower.map_or(-1, |side| side.input),
                diff.upper.map_or(-1, |side| side.input),
            ];
            if !sides.iter().all(|&side| in_range(side, inputs)) {
                return Err("compares an input it does not have");
            }
        }
        Kind::Source(source) => {
            if source.identifier.is_empty() {
                return Err("has no source identifier");
            }
        }
        Kind::Closure(closure) => {
            if !in_range(closure.base, inputs) || !in_range(closure.source, inputs) || closure.source < 0 {
                return Err("copies from or onto an input it does not have");
            }
            if closure.paths.is_empty() {
                return Err("has no path to copy");
            }
        }
        Kind::Build(_) | Kind::Passthrough(_) => {}
    }
    Ok(())
}

/// Puts inputs before their users without recursion: graphs may be long chains.
fn place_in_order(graph: &mut LoadedGraph, pending: Vec<OpNode>) -> Result<(), DefinitionError> {
    let mut positions: HashMap<OpDigest, usize> = HashMap::with_capacity(pending.len());
    let mut unique: Vec<OpNode> = Vec::with_capacity(pending.len());
    for node in pending {
        if let Entry::Vacant(free) = positions.entry(node.digest) {
            free.insert(unique.len());
            unique.push(node);
        }
    }
    let mut waiting = vec![0usize; unique.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); unique.len()];
    for (at, node) in unique.iter().enumerate() {
        for input in &node.inputs {
            let Some(&from) = positions.get(&input.op) else {
                return Err(DefinitionError::UnknownInput {
                    op: node.digest,
                    input: input.op.to_string(),
                });
            };
            users[from].push(at);
            waiting[at] += 1;
        }
    }
    let mut order: Vec<usize> = (0..unique.len()).filter(|&at| waiting[at] == 0).collect();
    let mut next = 0;
    while let Some(&at) = order.get(next) {
        next += 1;
        for &user in &users[at] {
            waiting[user] -= 1;
            if waiting[user] == 0 {
                order.push(user);
            }
        }
    }
    if let Some(stuck) = waiting.iter().position(|&count| count > 0) {
        return Err(DefinitionError::Cycle(unique[stuck].digest));
    }
    let mut slots: Vec<Option<OpNode>> = unique.into_iter().map(Some).collect();
    for at in order {
        if let Some(node) = slots[at].take() {
            graph.index.insert(node.digest, graph.nodes.len());
            graph.nodes.push(node);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
