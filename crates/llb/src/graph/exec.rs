//! The message of an exec.

use super::{Constraints, Edge, Exec, Mount, MountKind, Secret};
use crate::{State, caps, pb};

/// The message of an exec with every `input` still open, and the edges of its
/// mounts behind the root's, in the message's order.
pub(super) fn exec_op(
    state: &State,
    mut exec: Exec,
    constraints: &mut Constraints,
) -> (pb::ExecOp, Vec<Option<Edge>>) {
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
