//! RUN: one process in the sandbox.

mod cache_mount;
mod host_ca;
mod mounts;
mod secrets;
mod ssh_agent;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use distil_llb::{OpNode, pb};
use distil_oci::Digest;
use distil_sandbox::exit::ExitStatus;
use distil_sandbox::{Captured, Network, ProcessSpec, Rlimit, Sandbox, SandboxError, Stdio, network_files};
use distil_snapshot::CommitOptions;
use distil_solver::{CacheMap, Content, Op, OpContext, OpError, Outputs, Resource, ResultHandle, Stream};

use self::cache_mount::CacheMounts;
pub(crate) use self::cache_mount::forget;
use self::host_ca::Lent;
use self::mounts::{Actives, Mounts, OutputPlaces, Root};
use super::{OpEnvironment, Output, cache_map, with_flag};
use crate::cache_map::OpKey;
use crate::error::BuildError;

/// A process did not end well.
#[derive(Debug, thiserror::Error)]
#[error("process `{command}` did not complete successfully: {reason}")]
pub(super) struct ProcessFailed {
    /// The arguments, joined by spaces.
    pub command: String,
    /// Its exit code, or why it could not run.
    pub reason: String,
    /// The exit code, as a shell would see it; 1 when the program could not be started.
    pub code: u8,
}

/// A process with its mounts.
pub(super) struct ExecOp {
    exec: pb::ExecOp,
    meta: pb::Meta,
    key: OpKey,
    environment: Arc<OpEnvironment>,
    architecture: Option<String>,
}

impl ExecOp {
    /// Refuses what distil cannot give to a process, by name.
    pub(super) fn new(
        exec: pb::ExecOp,
        key: OpKey,
        environment: Arc<OpEnvironment>,
        node: &OpNode,
    ) -> Result<Self, BuildError> {
        let refuse = |problem: &str| {
            Err(BuildError::Unsupported {
                vertex: node.digest.digest(),
                problem: problem.into(),
            })
        };
        if exec.security == pb::SecurityMode::Insecure as i32 {
            return refuse(
                "`--security=insecure` is not allowed: distil never runs a step outside its sandbox",
            );
        }
        if !exec.cdi_devices.is_empty() {
            return refuse("`--device` is not supported yet");
        }
        for mount in &exec.mounts {
            match pb::MountType::try_from(mount.mount_type) {
                Ok(_) => {}
                Err(_) => return refuse("a mount of an unknown kind"),
            }
        }
        let meta = exec.meta.clone().unwrap_or_default();
        let architecture = node
            .platform
            .as_ref()
            .map(|platform| platform.architecture.clone());
        Ok(Self {
            exec,
            meta,
            key,
            environment,
            architecture,
        })
    }

    fn work_directory(&self) -> PathBuf {
        Path::new("/").join(&self.meta.cwd)
    }

    fn command(&self) -> String {
        self.meta.args.join(" ")
    }

    fn failed(&self, reason: String, code: u8) -> OpError {
        OpError::failed(ProcessFailed {
            command: self.command(),
            reason,
            code,
        })
    }

    /// An image of another architecture needs an emulator that the kernel knows of.
    fn check_architecture(&self) -> Result<(), OpError> {
        let Some(wanted) = &self.architecture else {
            return Ok(());
        };
        if crate::foreign::runs(wanted) {
            return Ok(());
        }
        Err(OpError::failed(format!(
            "this machine ({}) cannot run programs for {wanted}: install qemu-user-static and binfmt-support",
            self.environment.host.architecture
        )))
    }

    fn environment_variables(&self) -> Result<Vec<OsString>, OpError> {
        let mut env: Vec<OsString> = self.meta.env.iter().map(OsString::from).collect();
        if let Some(proxy) = &self.meta.proxy_env {
            let pairs = [
                ("http_proxy", &proxy.http_proxy),
                ("https_proxy", &proxy.https_proxy),
                ("ftp_proxy", &proxy.ftp_proxy),
                ("no_proxy", &proxy.no_proxy),
                ("all_proxy", &proxy.all_proxy),
            ];
            for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
                env.push(format!("{}={value}", name.to_uppercase()).into());
                env.push(format!("{name}={value}").into());
            }
        }
        if !self.meta.env.iter().any(|pair| pair.starts_with("PATH=")) {
            env.insert(0, format!("PATH={}", distil_sandbox::DEFAULT_PATH).into());
        }
        for secret in &self.exec.secretenv {
            env.push(self.secret_variable(secret)?);
        }
        Ok(env)
    }

    fn spec(&self, mounts: Mounts, actives: &Actives) -> Result<ProcessSpec, OpError> {
        let root = match mounts.root {
            Root::Active(at) => actives.writable[at].mount().map_err(OpError::failed)?,
            Root::ReadOnly(mount) => mount,
        };
        let hostname = if self.meta.hostname.is_empty() {
            distil_sandbox::DEFAULT_HOSTNAME.to_owned()
        } else {
            self.meta.hostname.clone()
        };
        let extra: Vec<(String, String)> = self
            .meta
            .extra_hosts
            .iter()
            .map(|host| (host.host.clone(), host.ip.clone()))
            .collect();
        let isolated = self.exec.network == pb::NetMode::None as i32;
        let mut rlimits = Vec::new();
        for limit in &self.meta.ulimit {
            let Some(resource) = Rlimit::resource(&limit.name) else {
                return Err(OpError::failed(format!("`{}` is no resource limit", limit.name)));
            };
            let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
            rlimits.push(Rlimit {
                resource,
                soft: value(limit.soft),
                hard: value(limit.hard),
            });
        }
        let mut spec = ProcessSpec::new(root, self.meta.args.iter().map(OsString::from).collect());
        spec.env = self.environment_variables()?;
        spec.cwd = self.work_directory();
        spec.user.clone_from(&self.meta.user);
        spec.mounts = mounts.further;
        spec.hosts = Some(network_files::hosts(&hostname, &extra));
        spec.resolv_conf = Some(network_files::resolv_conf(
            &self.environment.resolv_conf,
            isolated,
        ));
        spec.hostname = hostname;
        spec.network = if isolated { Network::None } else { Network::Host };
        spec.shm_size = mounts.shm_size.unwrap_or(distil_sandbox::DEFAULT_SHM_SIZE);
        spec.rlimits = rlimits;
        Ok(spec)
    }

    /// Runs the process; its output goes to the progress display.
    fn run(&self, ctx: &OpContext, spec: &ProcessSpec) -> Result<(), OpError> {
        let mut process = Sandbox::spawn(spec, Stdio::captured()).map_err(OpError::failed)?;
        let signaller = process.signaller();
        let registration = ctx.cancel().on_cancel(move || signaller.kill());
        let outcome = process.wait_with_output(|stream, data| {
            let stream = match stream {
                Captured::Stdout => Stream::Stdout,
                Captured::Stderr => Stream::Stderr,
            };
            ctx.log(stream, data);
        });
        drop(registration);
        if ctx.cancel().is_cancelled() {
            return Err(OpError::Cancelled);
        }
        match outcome {
            Ok(ExitStatus::Code(code)) if self.accepts(code) => Ok(()),
            Ok(ExitStatus::Code(code)) => Err(self.failed(format!("exit code: {code}"), code)),
            Ok(status @ ExitStatus::Signal(signal)) => {
                Err(self.failed(format!("ended by signal {signal}"), status.code()))
            }
            Err(SandboxError::Start(error)) => Err(self.failed(format!("exit code: 1: {error}"), 1)),
            Err(error) => Err(OpError::failed(error)),
        }
    }

    /// What the process gets of the authorities that are lent to RUN.
    fn lend(&self, inputs: &[Output]) -> Result<Lent, OpError> {
        if self.environment.ephemeral.host_ca.is_none() {
            return Ok(Lent::default());
        }
        let root = self.exec.mounts.iter().find(|mount| mount.dest == "/");
        let input = root.and_then(|root| inputs.get(usize::try_from(root.input).ok()?));
        let empty = Output::Layers(Vec::new());
        let tree = input.unwrap_or(&empty).tree(&self.environment.snapshotter)?;
        let variables = self.meta.env.iter().filter_map(|pair| pair.split('=').next());
        let secrets = self.exec.secretenv.iter().map(|secret| secret.name.as_str());
        self.lent(tree.as_ref(), &variables.chain(secrets).collect())
    }

    fn accepts(&self, code: u8) -> bool {
        match self.meta.valid_exit_codes.as_slice() {
            [] => code == 0,
            codes => codes.contains(&i32::from(code)),
        }
    }
}

impl Op for ExecOp {
    fn cache_map(&self, _ctx: &OpContext) -> Result<CacheMap, OpError> {
        Ok(cache_map(&self.key, Content::Computed))
    }

    fn maps_inline(&self) -> bool {
        true
    }

    fn resource(&self) -> Resource {
        Resource::Exec
    }

    fn content_digest(
        &self,
        ctx: &OpContext,
        input: usize,
        result: &ResultHandle,
    ) -> Result<Option<Digest>, OpError> {
        let Some(key) = self.key.inputs.get(input) else {
            return Ok(None);
        };
        let Some(selector) = &key.content else {
            return Ok(None);
        };
        let tree = Output::of(result).tree(&self.environment.snapshotter)?;
        with_flag(ctx.cancel(), |flag| {
            distil_rootfs::content::digest_paths(tree.as_ref(), selector, flag)
                .map(|digest| Some(Digest::from_bytes(digest)))
                .map_err(OpError::failed)
        })
    }

    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        self.check_architecture()?;
        let inputs: Vec<Output> = inputs.iter().map(Output::of).collect();
        let mut actives = Actives::default();
        let mut outputs = OutputPlaces::new();
        let caches = CacheMounts::take(self, ctx, &inputs)?;
        let mut mounts = self.mounts(&inputs, &caches, &mut actives, &mut outputs)?;
        let lent = self.lend(&inputs)?;
        mounts.further.extend(lent.mounts);
        let authorities = self.environment.ephemeral.host_ca.as_ref();
        let authorities = authorities.filter(|_| !lent.truststores.is_empty());
        if let Some(authorities) = authorities {
            let layer = match mounts.root {
                Root::Active(at) => actives.writable.get(at),
                Root::ReadOnly(_) => None,
            };
            let further = host_ca::place(authorities, &lent.truststores, layer)?;
            mounts.further.extend(further);
        }
        let mut spec = self.spec(mounts, &actives)?;
        spec.env.extend(lent.variables);
        let ran = self.run(ctx, &spec);
        if let Err(error) = &ran {
            crate::toolbox::after_failure(&self.environment, ctx, &spec, error);
        }
        caches.measure(&self.environment);
        drop(caches);
        ran?;
        let count = outputs.iter().map(|(output, _)| output + 1).max().unwrap_or(0);
        let mut results = vec![None; count];
        for (at, active) in actives.writable.into_iter().enumerate() {
            // A snapshot that is no output is thrown away when it is dropped.
            let Some((output, _)) = outputs.iter().find(|(_, index)| *index == at) else {
                continue;
            };
            if let Some(authorities) = authorities {
                host_ca::scrub(authorities, &lent.truststores, &active)?;
            }
            let mut layers = active.lower().to_vec();
            layers.push(
                active
                    .commit(CommitOptions::default())
                    .map_err(OpError::failed)?
                    .id,
            );
            results[*output] = Some(Output::Layers(layers).into_handle());
        }
        Ok(Outputs {
            results,
            content: Vec::new(),
        })
    }
}
