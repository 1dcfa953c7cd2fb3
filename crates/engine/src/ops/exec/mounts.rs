//! What a process of RUN sees: its root and what is mounted below it.

use std::path::PathBuf;

use distil_llb::pb;
use distil_sandbox::{MountSource, ProcessMount, TmpfsOptions};
use distil_snapshot::{ActiveSnapshot, ReadonlyMount};
use distil_solver::OpError;
use distil_store::LayerId;

use super::ExecOp;
use super::cache_mount::CacheMounts;
use super::ssh_agent::SshAgent;
use crate::ops::Output;

/// What has to live while the process runs.
#[derive(Default)]
pub(super) struct Actives {
    pub(super) writable: Vec<ActiveSnapshot>,
    /// Agents that answer.
    agents: Vec<SshAgent>,
    readonly: Vec<ReadonlyMount>,
}

/// The root of a process.
pub(super) enum Root {
    /// The snapshot being written at this place.
    Active(usize),
    ReadOnly(distil_rootfs::Mount),
}

/// The file hierarchy of a process.
pub(super) struct Mounts {
    pub(super) root: Root,
    /// Below the root, in this order.
    pub(super) further: Vec<ProcessMount>,
    /// Bytes of `/dev/shm`, where a mount says so.
    pub(super) shm_size: Option<u64>,
}

/// Number of an output of the operation, and the place of its snapshot in [`Actives::writable`].
pub(super) type OutputPlaces = Vec<(usize, usize)>;

impl ExecOp {
    /// Prepares what the process sees. New snapshots go to `actives`; `outputs` pairs the number of an
    /// output with the place of its snapshot.
    pub(super) fn mounts(
        &self,
        inputs: &[Output],
        caches: &CacheMounts,
        actives: &mut Actives,
        outputs: &mut OutputPlaces,
    ) -> Result<Mounts, OpError> {
        let mut root = None;
        let mut further = Vec::new();
        let mut shm_size = None;
        for (at, mount) in self.exec.mounts.iter().enumerate() {
            let kind = pb::MountType::try_from(mount.mount_type).unwrap_or(pb::MountType::Bind);
            let source = match kind {
                pb::MountType::Tmpfs => {
                    let size = mount.tmpfs_opt.as_ref().map_or(0, |tmpfs| tmpfs.size);
                    let size = u64::try_from(size).ok().filter(|size| *size > 0);
                    if mount.dest == "/dev/shm" {
                        shm_size = size;
                        continue;
                    }
                    MountSource::Tmpfs(TmpfsOptions {
                        size,
                        ..TmpfsOptions::default()
                    })
                }
                pb::MountType::Secret => match self.secret_file(mount)? {
                    Some(source) => source,
                    None => continue,
                },
                pb::MountType::Ssh => match self.ssh_socket(mount, &mut actives.agents)? {
                    Some(source) => source,
                    None => continue,
                },
                pb::MountType::Cache => MountSource::Bind {
                    path: caches.directory(at)?,
                    readonly: mount.readonly,
                },
                _ if mount.dest == "/" => {
                    root = Some(self.root(mount, inputs, actives, outputs)?);
                    continue;
                }
                _ => self.bind(mount, inputs, actives, outputs)?,
            };
            further.push(ProcessMount {
                // The target of a secret may be relative.
                target: self.work_directory().join(&mount.dest),
                source,
            });
        }
        let root = root.ok_or_else(|| OpError::failed("the process has no root"))?;
        Ok(Mounts {
            root,
            further,
            shm_size,
        })
    }

    fn root(
        &self,
        mount: &pb::Mount,
        inputs: &[Output],
        actives: &mut Actives,
        outputs: &mut OutputPlaces,
    ) -> Result<Root, OpError> {
        let layers = self.layers(inputs, mount.input)?;
        if mount.readonly {
            return Ok(Root::ReadOnly(self.readonly(&layers, actives)?));
        }
        Ok(Root::Active(self.prepare(&layers, mount, actives, outputs)?))
    }

    fn readonly(&self, layers: &[LayerId], actives: &mut Actives) -> Result<distil_rootfs::Mount, OpError> {
        let readonly = self
            .environment
            .snapshotter
            .mount_readonly(layers)
            .map_err(OpError::failed)?;
        let mount = readonly.mount().clone();
        actives.readonly.push(readonly);
        Ok(mount)
    }

    fn prepare(
        &self,
        layers: &[LayerId],
        mount: &pb::Mount,
        actives: &mut Actives,
        outputs: &mut OutputPlaces,
    ) -> Result<usize, OpError> {
        let at = actives.writable.len();
        actives.writable.push(
            self.environment
                .snapshotter
                .prepare(layers)
                .map_err(OpError::failed)?,
        );
        if let Ok(output) = usize::try_from(mount.output) {
            outputs.push((output, at));
        }
        Ok(at)
    }

    fn bind(
        &self,
        mount: &pb::Mount,
        inputs: &[Output],
        actives: &mut Actives,
        outputs: &mut OutputPlaces,
    ) -> Result<MountSource, OpError> {
        let subpath = PathBuf::from(if mount.selector.is_empty() {
            "/"
        } else {
            &mount.selector
        });
        let layers = self.layers(inputs, mount.input)?;
        let tree = if mount.readonly {
            self.readonly(&layers, actives)?
        } else {
            let at = self.prepare(&layers, mount, actives, outputs)?;
            actives.writable[at].mount().map_err(OpError::failed)?
        };
        Ok(MountSource::Tree {
            mount: tree,
            subpath,
            readonly: mount.readonly,
        })
    }

    /// The layers of an input; none for an index that names nothing, which is the empty root.
    fn layers(&self, inputs: &[Output], index: i64) -> Result<Vec<LayerId>, OpError> {
        match usize::try_from(index).ok().and_then(|index| inputs.get(index)) {
            Some(output) => output.layers(&self.environment.snapshotter),
            None => Ok(Vec::new()),
        }
    }
}
