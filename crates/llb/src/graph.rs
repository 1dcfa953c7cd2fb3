//! Builds a graph op by op and encodes what the result needs.

use std::collections::{BTreeMap, HashSet};

use prost::Message;

use crate::pb::{self, file_action, op, user_opt};
use crate::{Definition, OpDigest, OpMetadata, State, caps};

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

/// Owner of a file action's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerId {
    /// By number.
    Id(u32),
    /// By name, resolved in the filesystem that the action changes.
    Name(String),
}

/// `user[:group]` of `--chown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The part before the first `:`.
    pub user: OwnerId,
    /// The part behind it.
    pub group: Option<OwnerId>,
}

impl Owner {
    /// Reads `user[:group]`. What is no 32-bit number is a name, `root` is 0, and
    /// so is an empty part.
    pub fn parse(text: &str) -> Self {
        let id = |part: &str| match part {
            "" | "root" => OwnerId::Id(0),
            _ => match part.parse::<i32>() {
                Ok(number) => OwnerId::Id(number.cast_unsigned()),
                Err(_) => OwnerId::Name(part.to_owned()),
            },
        };
        match text.split_once(':') {
            Some((user, group)) => Self {
                user: id(user),
                group: Some(id(group)),
            },
            None => Self {
                user: id(text),
                group: None,
            },
        }
    }
}

/// One action of a file op. The owner inside the messages is set from `owner`.
#[derive(Clone, Debug)]
pub enum FileAction {
    /// Copies from `source`; `None` is the empty filesystem.
    Copy {
        /// Where files come from.
        source: Option<Edge>,
        /// What and how.
        copy: pb::FileActionCopy,
        /// The new owner.
        owner: Option<Owner>,
    },
    /// Makes a directory.
    Mkdir {
        /// What and how.
        mkdir: pb::FileActionMkDir,
        /// The new owner.
        owner: Option<Owner>,
    },
    /// Makes a file.
    Mkfile(pb::FileActionMkFile),
}

/// A mount of an exec; its root is the state's filesystem and no mount.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where it appears.
    pub target: String,
    /// What appears; `None` is an empty directory.
    pub source: Option<Edge>,
    /// A path inside the source, empty for all of it.
    pub selector: String,
    /// What kind it is.
    pub kind: MountKind,
    /// Written changes are refused.
    pub readonly: bool,
}

/// The kinds of [`Mount`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the source; changes are thrown away.
    Bind,
    /// A directory that outlives the build.
    Cache {
        /// Which one.
        id: String,
        /// How it is shared.
        sharing: pb::CacheSharing,
    },
    /// Memory, at most `size` bytes unless that is 0.
    Tmpfs {
        /// In bytes.
        size: i64,
    },
}

/// A secret of an exec, as a file, a variable or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Path of the file.
    pub target: Option<String>,
    /// Name of the variable.
    pub env: Option<String>,
    /// Which secret, and the file's owner and mode.
    pub options: pb::SecretOpt,
}

/// A forwarded SSH agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSocket {
    /// Path of the socket; empty takes `/run/buildkit/ssh_agent.N`.
    pub target: String,
    /// Which agent, and the socket's owner and mode.
    pub options: pb::SshOpt,
}

/// A process to run.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// Program and arguments; must not be empty.
    pub args: Vec<String>,
    /// Extra mounts in any order.
    pub mounts: Vec<Mount>,
    /// Secrets in declaration order.
    pub secrets: Vec<Secret>,
    /// Agents in declaration order.
    pub ssh: Vec<SshSocket>,
    /// Devices in declaration order.
    pub devices: Vec<pb::CdiDevice>,
    /// Proxies, which never reach a cache key.
    pub proxy: Option<pb::ProxyEnv>,
    /// Extra lines of `/etc/hosts`.
    pub extra_hosts: Vec<pb::HostIp>,
    /// Resource limits.
    pub ulimits: Vec<pb::Ulimit>,
    /// Parent control group.
    pub cgroup_parent: String,
    /// Overrides the state's network.
    pub network: Option<pb::NetMode>,
    /// The confinement.
    pub security: Option<pb::SecurityMode>,
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
}

#[derive(Clone, Debug)]
struct Node {
    kind: NodeKind,
    constraints: Constraints,
}

/// Ops under construction. An op can only use edges that exist, so there is no
/// cycle; nothing is encoded before [`Graph::definition`].
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
        let mut encoder = Encoder {
            graph: self,
            platform,
            digests: vec![None; self.nodes.len()],
            out: Definition::default(),
            locations: BTreeMap::new(),
            written: HashSet::new(),
        };
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

/// The message of an exec with every `input` still open, and the edges of its
/// mounts behind the root's, in the message's order.
fn exec_op(state: &State, mut exec: Exec, constraints: &mut Constraints) -> (pb::ExecOp, Vec<Option<Edge>>) {
    exec.mounts.sort_by(|a, b| a.target.cmp(&b.target));
    let mut env = state.env.clone();
    for (number, socket) in exec.ssh.iter_mut().enumerate() {
        if socket.target.is_empty() {
            socket.target = format!("/run/buildkit/ssh_agent.{number}");
        }
    }
    if let Some(first) = exec.ssh.first()
        && env.get("SSH_AUTH_SOCK").is_none()
    {
        env.set("SSH_AUTH_SOCK", &first.target);
    }
    let network = exec.network.unwrap_or(state.network);
    let security = exec.security.unwrap_or(pb::SecurityMode::Sandbox);
    need_exec_caps(state, &exec, network, security, constraints);

    let mut op = pb::ExecOp {
        meta: Some(pb::Meta {
            args: exec.args,
            env: env.to_strings(),
            cwd: state.dir.clone(),
            user: state.user.clone(),
            proxy_env: exec.proxy,
            extra_hosts: exec.extra_hosts,
            hostname: state.hostname.clone(),
            ulimit: exec.ulimits,
            cgroup_parent: exec.cgroup_parent,
            remove_mount_stubs_recursive: true,
            valid_exit_codes: Vec::new(),
        }),
        network: network.into(),
        security: security.into(),
        cdi_devices: exec.devices,
        ..pb::ExecOp::default()
    };
    op.mounts.push(pb::Mount {
        dest: "/".to_owned(),
        ..pb::Mount::default()
    });
    let mut edges = Vec::with_capacity(exec.mounts.len());
    for mount in exec.mounts {
        edges.push(mount.source);
        op.mounts.push(mount_message(mount));
    }
    push_secrets(&mut op, exec.secrets);
    for socket in exec.ssh {
        op.mounts.push(pb::Mount {
            input: -1,
            dest: socket.target,
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(socket.options),
            ..pb::Mount::default()
        });
    }
    (op, edges)
}

fn push_secrets(op: &mut pb::ExecOp, secrets: Vec<Secret>) {
    for secret in secrets {
        if let Some(name) = secret.env {
            op.secretenv.push(pb::SecretEnv {
                id: secret.options.id.clone(),
                name,
                optional: secret.options.optional,
            });
        }
        if let Some(dest) = secret.target {
            op.mounts.push(pb::Mount {
                input: -1,
                dest,
                mount_type: pb::MountType::Secret.into(),
                secret_opt: Some(secret.options),
                ..pb::Mount::default()
            });
        }
    }
}

fn mount_message(mount: Mount) -> pb::Mount {
    let mut message = pb::Mount {
        selector: mount.selector,
        dest: mount.target,
        // Only the root's changes are kept.
        output: -1,
        readonly: mount.readonly,
        ..pb::Mount::default()
    };
    match mount.kind {
        MountKind::Bind => {}
        MountKind::Cache { id, sharing } => {
            message.mount_type = pb::MountType::Cache.into();
            message.cache_opt = Some(pb::CacheOpt {
                id,
                sharing: sharing.into(),
            });
        }
        MountKind::Tmpfs { size } => {
            message.mount_type = pb::MountType::Tmpfs.into();
            message.tmpfs_opt = Some(pb::TmpfsOpt { size });
        }
    }
    message
}

fn need_exec_caps(
    state: &State,
    exec: &Exec,
    network: pb::NetMode,
    security: pb::SecurityMode,
    constraints: &mut Constraints,
) {
    let mut needed = vec![
        (caps::EXEC_META_BASE, true),
        (caps::EXEC_META_SETS_DEFAULT_PATH, true),
        (caps::EXEC_META_ULIMIT, !exec.ulimits.is_empty()),
        (
            caps::EXEC_META_LINUX_RESOURCES,
            constraints.metadata.linux_resources.is_some(),
        ),
        (caps::EXEC_META_NETWORK, network != pb::NetMode::Unset),
        (caps::EXEC_META_SECURITY, security != pb::SecurityMode::Sandbox),
        (caps::EXEC_META_PROXY, exec.proxy.is_some()),
        (caps::EXEC_MOUNT_BIND, state.output.is_some()),
        (caps::EXEC_MOUNT_SECRET, !exec.secrets.is_empty()),
        (
            caps::EXEC_SECRET_ENV,
            exec.secrets.iter().any(|secret| secret.env.is_some()),
        ),
        (caps::EXEC_MOUNT_SSH, !exec.ssh.is_empty()),
        (caps::EXEC_META_CDI, !exec.devices.is_empty()),
    ];
    for mount in &exec.mounts {
        needed.push((caps::EXEC_MOUNT_SELECTOR, !mount.selector.is_empty()));
        match &mount.kind {
            MountKind::Bind => needed.push((caps::EXEC_MOUNT_BIND, mount.source.is_some())),
            MountKind::Cache { .. } => {
                needed.push((caps::EXEC_MOUNT_CACHE, true));
                needed.push((caps::EXEC_MOUNT_CACHE_SHARING, true));
            }
            MountKind::Tmpfs { size } => {
                needed.push((caps::EXEC_MOUNT_TMPFS, true));
                needed.push((caps::EXEC_MOUNT_TMPFS_SIZE, *size > 0));
            }
        }
    }
    for (cap, needed) in needed {
        if needed {
            constraints.need(cap);
        }
    }
}

struct Encoder<'a> {
    graph: &'a Graph,
    platform: &'a pb::Platform,
    digests: Vec<Option<OpDigest>>,
    out: Definition,
    locations: BTreeMap<OpDigest, Vec<(SourceMapId, Vec<pb::Range>)>>,
    written: HashSet<OpDigest>,
}

impl Encoder<'_> {
    fn encode(&mut self, id: usize) {
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

    fn finish(mut self, target: Edge) -> Definition {
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

/// Only images differ by platform; a context or a download does not.
fn has_platform(identifier: &str) -> bool {
    identifier.starts_with("docker-image://") || identifier.starts_with("oci-layout://")
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
