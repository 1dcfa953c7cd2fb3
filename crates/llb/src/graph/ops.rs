//! Ops as they are described to a [`Graph`](super::Graph).

use super::Edge;
use crate::pb;

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

/// What [`Graph::closure`](super::Graph::closure) copies; the fields of [`pb::ClosureOp`].
#[derive(Clone, Debug, Default)]
pub struct ClosureCopy {
    /// Absolute paths or patterns in the source.
    pub paths: Vec<String>,
    /// Absolute path of a directory.
    pub dest: String,
    /// New owner of the named files.
    pub owner: Option<Owner>,
    /// New mode of the named files; -1 leaves it.
    pub mode: i32,
    /// As `mode`, in symbols.
    pub mode_str: String,
    /// Patterns of paths that stay behind.
    pub exclude: Vec<String>,
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
