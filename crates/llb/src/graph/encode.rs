//! From nodes to bytes.

use std::collections::{BTreeMap, HashSet};

use prost::Message;

use super::{ClosureCopy, Constraints, Edge, FileAction, Graph, Node, NodeKind, Owner, OwnerId, SourceMapId};
use crate::pb::{self, file_action, op, user_opt};
use crate::{Definition, OpDigest, OpMetadata, caps};

/// Encodes nodes, inputs before their users, into a definition.
pub(super) struct Encoder<'a> {
    graph: &'a Graph,
    platform: &'a pb::Platform,
    digests: Vec<Option<OpDigest>>,
    out: Definition,
    locations: BTreeMap<OpDigest, Vec<(SourceMapId, Vec<pb::Range>)>>,
    written: HashSet<OpDigest>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(graph: &'a Graph, platform: &'a pb::Platform) -> Self {
        Self {
            graph,
            platform,
            digests: vec![None; graph.nodes.len()],
            out: Definition::default(),
            locations: BTreeMap::new(),
            written: HashSet::new(),
        }
    }
}

impl Encoder<'_> {
    pub(super) fn encode(&mut self, id: usize) {
        let node = &self.graph.nodes[id];
        let mut op = pb::Op {
            constraints: Some(pb::WorkerConstraints::default()),
            ..pb::Op::default()
        };
        match &node.kind {
            NodeKind::Source(source) => {
                if has_platform(&source.identifier) {
                    op.platform = Some(self.platform_of(node));
                }
                op.op = Some(op::Kind::Source(source.clone()));
            }
            NodeKind::Exec {
                root,
                op: exec,
                mounts,
            } => {
                op.platform = Some(self.platform_of(node));
                let mut exec = exec.as_ref().clone();
                let edges = std::iter::once(root).chain(mounts);
                for (mount, edge) in exec.mounts.iter_mut().zip(edges) {
                    mount.input = self.input_index(&mut op.inputs, *edge);
                }
                op.op = Some(op::Kind::Exec(exec));
            }
            NodeKind::Merge(inputs) => {
                let mut merge = pb::MergeOp::default();
                for (position, input) in inputs.iter().enumerate() {
                    merge.inputs.push(pb::MergeInput {
                        input: wide(position),
                    });
                    op.inputs.extend(self.input(*input));
                }
                op.op = Some(op::Kind::Merge(merge));
            }
            NodeKind::File { base, actions } => self.encode_file(&mut op, *base, actions),
            NodeKind::Closure {
                base,
                source,
                closure,
            } => self.encode_closure(&mut op, *base, *source, closure),
        }
        self.keep(id, &op, &node.constraints);
    }

    fn platform_of(&self, node: &Node) -> pb::Platform {
        node.constraints
            .platform
            .clone()
            .unwrap_or_else(|| self.platform.clone())
    }

    fn encode_file(&self, op: &mut pb::Op, base: Option<Edge>, actions: &[FileAction]) {
        let base = self.input_index(&mut op.inputs, base);
        let sources: Vec<i64> = actions
            .iter()
            .map(|action| match action {
                FileAction::Copy { source, .. } => self.input_index(&mut op.inputs, *source),
                FileAction::Mkdir { .. } | FileAction::Mkfile(_) => -1,
            })
            .collect();
        let mut file = pb::FileOp::default();
        for (position, (action, source)) in actions.iter().zip(sources).enumerate() {
            let input = match position.checked_sub(1) {
                None => base,
                Some(previous) => wide(op.inputs.len() + previous),
            };
            let last = position + 1 == actions.len();
            file.actions.push(pb::FileAction {
                input,
                secondary_input: source,
                output: if last { 0 } else { -1 },
                action: Some(action_kind(action, base)),
            });
        }
        op.op = Some(op::Kind::File(file));
    }

    fn encode_closure(&self, op: &mut pb::Op, base: Option<Edge>, source: Edge, closure: &ClosureCopy) {
        let base = self.input_index(&mut op.inputs, base);
        let source = self.input_index(&mut op.inputs, Some(source));
        op.op = Some(op::Kind::Closure(pb::ClosureOp {
            base,
            source,
            paths: closure.paths.clone(),
            dest: closure.dest.clone(),
            owner: closure.owner.as_ref().map(|owner| owner_message(owner, base)),
            mode: closure.mode,
            mode_str: closure.mode_str.clone(),
            exclude_patterns: closure.exclude.clone(),
        }));
    }

    /// The edge as a message; every needed op is encoded before its users.
    fn input(&self, edge: Edge) -> Option<pb::Input> {
        let digest = self.digests[edge.0]?;
        Some(pb::Input {
            digest: digest.to_string(),
            index: 0,
        })
    }

    /// The index of an input, equal inputs sharing one slot; -1 for none.
    fn input_index(&self, inputs: &mut Vec<pb::Input>, edge: Option<Edge>) -> i64 {
        let Some(input) = edge.and_then(|edge| self.input(edge)) else {
            return -1;
        };
        let known = inputs.iter().position(|known| *known == input);
        wide(known.unwrap_or_else(|| {
            inputs.push(input);
            inputs.len() - 1
        }))
    }

    fn keep(&mut self, id: usize, op: &pb::Op, constraints: &Constraints) {
        let bytes = op.encode_to_vec();
        let digest = OpDigest::of(&bytes);
        self.digests[id] = Some(digest);
        let metadata = self.out.metadata.entry(digest).or_default();
        merge_metadata(metadata, &constraints.metadata);
        self.locations
            .entry(digest)
            .or_default()
            .extend(constraints.locations.iter().cloned());
        if self.written.insert(digest) {
            self.out.def.push(bytes);
        }
    }

    pub(super) fn finish(mut self, target: Edge) -> Definition {
        let terminal = pb::Op {
            inputs: self.input(target).into_iter().collect(),
            ..pb::Op::default()
        };
        let bytes = terminal.encode_to_vec();
        let mut needed = vec![caps::CONSTRAINTS, caps::PLATFORM];
        for metadata in self.out.metadata.values() {
            if metadata.ignore_cache {
                needed.push(caps::META_IGNORE_CACHE);
            }
            if !metadata.description.is_empty() {
                needed.push(caps::META_DESCRIPTION);
            }
            if metadata.export_cache.is_some() {
                needed.push(caps::META_EXPORT_CACHE);
            }
        }
        let caps = needed.into_iter().map(|cap| (cap.to_owned(), true)).collect();
        let metadata = OpMetadata {
            caps,
            ..OpMetadata::default()
        };
        self.out.metadata.insert(OpDigest::of(&bytes), metadata);
        self.out.def.push(bytes);
        self.out.source = Some(self.source());
        self.out
    }

    fn source(&self) -> pb::Source {
        let mut used: Vec<SourceMapId> = Vec::new();
        let mut source = pb::Source::default();
        for (digest, places) in &self.locations {
            let mut locations = pb::Locations::default();
            for (map, ranges) in places {
                let index = used.iter().position(|known| known == map).unwrap_or_else(|| {
                    used.push(*map);
                    used.len() - 1
                });
                locations.locations.push(pb::Location {
                    source_index: i32::try_from(index).unwrap_or(i32::MAX),
                    ranges: ranges.clone(),
                });
            }
            source.locations.insert(digest.to_string(), locations);
        }
        for id in used {
            let map = &self.graph.source_maps[id.0];
            source.infos.push(pb::SourceInfo {
                filename: map.filename.clone(),
                data: map.data.clone(),
                definition: map.definition.as_ref().map(|d| Box::new(d.to_pb())),
                language: map.language.clone(),
            });
        }
        source
    }
}

/// Only images and packages differ by platform; a context or a download does not.
fn has_platform(identifier: &str) -> bool {
    let schemes = ["docker-image://", "oci-layout://", crate::deb::SCHEME];
    schemes.iter().any(|scheme| identifier.starts_with(scheme))
}

fn action_kind(action: &FileAction, base: i64) -> file_action::Kind {
    match action {
        FileAction::Copy { copy, owner, .. } => file_action::Kind::Copy(pb::FileActionCopy {
            owner: owner.as_ref().map(|owner| owner_message(owner, base)),
            ..copy.clone()
        }),
        FileAction::Mkdir { mkdir, owner } => file_action::Kind::Mkdir(pb::FileActionMkDir {
            owner: owner.as_ref().map(|owner| owner_message(owner, base)),
            ..mkdir.clone()
        }),
        FileAction::Mkfile(mkfile) => file_action::Kind::Mkfile(mkfile.clone()),
    }
}

fn owner_message(owner: &Owner, base: i64) -> pb::ChownOpt {
    let side = |id: &OwnerId| pb::UserOpt {
        user: Some(match id {
            OwnerId::Id(id) => user_opt::User::ById(*id),
            OwnerId::Name(name) => user_opt::User::ByName(pb::NamedUserOpt {
                name: name.clone(),
                input: base,
            }),
        }),
    };
    pb::ChownOpt {
        user: Some(side(&owner.user)),
        group: owner.group.as_ref().map(side),
    }
}

fn merge_metadata(known: &mut OpMetadata, new: &OpMetadata) {
    known.ignore_cache |= new.ignore_cache;
    known.description.extend(new.description.clone());
    known.caps.extend(new.caps.clone());
    if new.export_cache.is_some() {
        known.export_cache = new.export_cache;
    }
    if new.progress_group.is_some() {
        known.progress_group.clone_from(&new.progress_group);
    }
    if new.linux_resources.is_some() {
        known.linux_resources.clone_from(&new.linux_resources);
    }
}

/// Counts of ops and inputs fit, whatever the machine.
fn wide(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
