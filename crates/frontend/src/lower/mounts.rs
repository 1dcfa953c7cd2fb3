//! Mounts of RUN.

use distil_dockerfile::{self as dockerfile, Diagnostic, MountKind as Kind, Run, Sharing};
use distil_llb::{
    Constraints, Edge, Exec, FileAction, Mount, MountKind, Owner, OwnerId, Secret, SshSocket, pb,
};

use super::stages::{StageId, Step};
use super::{Lowering, Result};
use crate::paths;

impl Lowering<'_> {
    /// The mounts with their values expanded and checked.
    pub(super) fn expand_mounts(
        &self,
        id: StageId,
        step: &Step<'_>,
        run: &Run,
    ) -> Result<Vec<dockerfile::Mount>> {
        let resolved = run.mounts.iter().map(|flag| {
            let place = step.place(flag.span);
            let mount = flag.resolve(&mut |text| self.expand_text(id, step, text, place));
            mount.map_err(|error| match step.is_trigger {
                true => Diagnostic {
                    span: Some(place),
                    ..error
                },
                false => error,
            })
        });
        resolved.collect()
    }

    pub(super) fn add_mounts(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        mounts: &[dockerfile::Mount],
        exec: &mut Exec,
    ) -> Result<()> {
        for (mount, &source) in mounts.iter().zip(&step.sources) {
            let is_own = mount.from.is_empty() && mount.kind != Kind::Cache;
            let mut edge = Some(self.build_context);
            if !is_own {
                self.earlier_stage(id, source, step)?;
                edge = self.stages[source.0].state.output;
            }
            match mount.kind {
                Kind::Secret => exec.secrets.push(secret(mount)),
                Kind::Ssh => exec.ssh.push(ssh_socket(mount)),
                Kind::Tmpfs | Kind::Bind | Kind::Cache => {
                    let edge = edge.filter(|_| mount.kind != Kind::Tmpfs);
                    exec.mounts.push(self.file_mount(id, step, mount, edge)?);
                    self.mark_mount(id, is_own, source, &mount.source);
                }
            }
        }
        Ok(())
    }

    /// Notes which path of the context or the source is read.
    fn mark_mount(&mut self, id: StageId, is_own: bool, source: StageId, path: &str) {
        if is_own {
            let path = paths::join(&["/", path]);
            self.stages[id.0].context_paths.insert(path);
        } else {
            self.mark_path(source, path);
        }
    }

    fn file_mount(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        mount: &dockerfile::Mount,
        mut source: Option<Edge>,
    ) -> Result<Mount> {
        let directory = &self.stages[id.0].state.dir;
        let target = match mount.target.starts_with('/') {
            true => mount.target.clone(),
            false => paths::join(&["/", directory, &mount.target]),
        };
        if target == "/" {
            return Err(
                Diagnostic::new("a mount cannot cover the whole filesystem", step.span)
                    .with_help("give `target=` a path below `/`"),
            );
        }
        let mut selector = paths::join(&["/", &mount.source]);
        if selector == "/" {
            selector.clear();
            if mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some() {
                source = Some(self.owned_cache(mount, source));
                selector = "/cache".to_owned();
            }
        }
        let kind = match mount.kind {
            Kind::Cache => MountKind::Cache {
                id: self.cache_id(mount),
                sharing: match mount.sharing {
                    None | Some(Sharing::Shared) => pb::CacheSharing::Shared,
                    Some(Sharing::Private) => pb::CacheSharing::Private,
                    Some(Sharing::Locked) => pb::CacheSharing::Locked,
                },
            },
            Kind::Tmpfs => MountKind::Tmpfs { size: mount.size },
            Kind::Bind | Kind::Secret | Kind::Ssh => MountKind::Bind,
        };
        Ok(Mount {
            target,
            source,
            selector,
            kind,
            readonly: mount.readonly,
        })
    }

    /// The path as typed, tidied, where no id is given.
    fn cache_id(&self, mount: &dockerfile::Mount) -> String {
        let id = match mount.id.as_str() {
            "" => paths::clean(&mount.target),
            id => id.to_owned(),
        };
        format!("{}/{id}", self.options.cache_namespace)
    }

    /// A directory with the owner and mode that the cache starts with.
    fn owned_cache(&mut self, mount: &dockerfile::Mount, source: Option<Edge>) -> Edge {
        let mode = mount.mode.unwrap_or(0o755) & 0o777;
        let mkdir = FileAction::Mkdir {
            mkdir: pb::FileActionMkDir {
                path: "/cache".to_owned(),
                mode: mode.cast_signed(),
                make_parents: false,
                owner: None,
                timestamp: -1,
            },
            owner: Some(Owner {
                user: OwnerId::Id(mount.uid.unwrap_or(0)),
                group: Some(OwnerId::Id(mount.gid.unwrap_or(0))),
            }),
        };
        let constraints = Constraints::named("[internal] setting cache mount permissions");
        self.graph.file(source, vec![mkdir], constraints)
    }
}

/// The id of a secret: of `source=`, of `id=`, or the target's name.
pub(super) fn secret_id(mount: &dockerfile::Mount) -> String {
    match (mount.source.as_str(), mount.id.as_str()) {
        ("", "") => paths::base(&mount.target).to_owned(),
        ("", id) => id.to_owned(),
        (source, _) => source.to_owned(),
    }
}

/// The id is that of `source=`, `id=` or the target's name; without `env=` the
/// file is made in any case.
fn secret(mount: &dockerfile::Mount) -> Secret {
    let id = secret_id(mount);
    let target = match (mount.target.as_str(), &mount.env) {
        ("", Some(_)) => None,
        ("", None) => Some(format!("/run/secrets/{}", paths::base(&id))),
        (target, _) => Some(target.to_owned()),
    };
    Secret {
        target,
        env: mount.env.clone(),
        options: pb::SecretOpt {
            id,
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o400),
            optional: !mount.required,
        },
    }
}

fn ssh_socket(mount: &dockerfile::Mount) -> SshSocket {
    SshSocket {
        target: mount.target.clone(),
        options: pb::SshOpt {
            id: mount.id.clone(),
            uid: mount.uid.unwrap_or(0),
            gid: mount.gid.unwrap_or(0),
            mode: mount.mode.unwrap_or(0o600),
            optional: !mount.required,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_take_their_id_from_what_is_given() {
        let mount = |source: &str, id: &str, target: &str, env: Option<&str>| dockerfile::Mount {
            kind: Kind::Secret,
            source: source.to_owned(),
            id: id.to_owned(),
            target: target.to_owned(),
            env: env.map(str::to_owned),
            ..dockerfile::Mount::default()
        };
        let made = secret(&mount("", "token", "", None));
        assert_eq!(made.target.as_deref(), Some("/run/secrets/token"));
        let made = secret(&mount("", "", "/a/key", None));
        assert_eq!((made.options.id.as_str(), made.options.mode), ("key", 0o400));
        let made = secret(&mount("", "t", "", Some("TOKEN")));
        assert_eq!((made.target, made.env.as_deref()), (None, Some("TOKEN")));
    }
}
