//! RUN.

use distil_dockerfile::expand::{Expander, Quotes};
use distil_dockerfile::{self as dockerfile, CommandLine, Diagnostic, Heredoc, Run};
use distil_llb::{Constraints, Edge, Exec, FileAction, Mount, MountKind, pb};

use super::names::command_text;
use super::stages::{StageId, Step};
use super::{Lowering, Result};

/// Where inline scripts are mounted.
const SCRIPT_DIR: &str = "/dev/pipes/";
/// What stands for the value of a secret in a step's name.
const MASK: &str = "****";

/// What a RUN runs, before mounts and options.
struct Process {
    args: Vec<String>,
    /// The script that the arguments start.
    mounts: Vec<Mount>,
    /// The instruction as shown.
    shown: String,
}

impl Lowering<'_> {
    pub(super) fn run(&mut self, id: StageId, step: &Step<'_>, run: &Run) -> Result<()> {
        let mounts = self.expand_mounts(id, step, run)?;
        self.note_mounts(id, step, &mounts);
        // A process may read anything.
        self.mark_path(id, "/");
        let process = self.process(id, step, run)?;
        let mut exec = Exec {
            args: process.args,
            mounts: process.mounts,
            proxy: self.proxy_env(),
            ulimits: self.options.ulimits.clone(),
            cgroup_parent: self.options.cgroup_parent.clone(),
            network: match run.network {
                dockerfile::Network::Default => None,
                dockerfile::Network::None => Some(pb::NetMode::None),
                dockerfile::Network::Host => Some(pb::NetMode::Host),
            },
            security: match run.security {
                dockerfile::Security::Sandbox => None,
                dockerfile::Security::Insecure => Some(pb::SecurityMode::Insecure),
            },
            ..Exec::default()
        };
        self.add_mounts(id, step, &mounts, &mut exec)?;
        exec.devices = run.devices.iter().map(device).collect();
        let hosts = self.options.extra_hosts.iter();
        exec.extra_hosts = hosts
            .map(|(host, ip)| pb::HostIp {
                host: host.clone(),
                // As Go prints it: an IPv4 address in IPv6 clothes is an IPv4 address.
                ip: ip.to_canonical().to_string(),
            })
            .collect();
        if self.options.shm_size > 0 {
            exec.mounts.push(Mount {
                target: "/dev/shm".to_owned(),
                source: None,
                selector: String::new(),
                kind: MountKind::Tmpfs {
                    size: self.options.shm_size,
                },
                readonly: false,
            });
        }
        let secrets: Vec<&str> = mounts
            .iter()
            .filter(|mount| mount.kind == dockerfile::MountKind::Secret)
            .filter_map(|mount| mount.env.as_deref())
            .collect();
        let constraints = self.run_constraints(id, step, &process.shown, &secrets);
        let history = self.run_history(id, &exec.args);
        let state = self.stages[id.0].state.clone();
        let edge = self.graph.exec(&state, exec, constraints);
        self.stages[id.0].state.output = Some(edge);
        self.record(id, history, true);
        Ok(())
    }

    fn process(&mut self, id: StageId, step: &Step<'_>, run: &Run) -> Result<Process> {
        let statement = &step.instruction.statement.text;
        let mut process = Process {
            args: Vec::new(),
            mounts: Vec::new(),
            shown: statement.clone(),
        };
        let text = match &run.command {
            CommandLine::Exec(words) => {
                process.args = words.iter().map(|word| word.value.clone()).collect();
                if process.args.is_empty() {
                    let error = Diagnostic::new("RUN has no command", step.span);
                    return Err(
                        error.with_help("write at least the program: `RUN [\"program\", \"argument\"]`")
                    );
                }
                return Ok(process);
            }
            CommandLine::Shell(text) => &text.value,
        };
        let script = match run.heredocs.as_slice() {
            [] => text.clone(),
            [only, ..] if is_bare_heredoc(text) => {
                process.shown = format!("{statement} ({})", summary(&only.content));
                let body = heredoc_body(only);
                if body.starts_with("#!") && self.stages[id.0].image.os != "windows" {
                    process.mounts.push(script_mount(self.inline_file(
                        &only.name,
                        0o755,
                        body.into_bytes(),
                    )));
                    format!("{SCRIPT_DIR}{}", only.name)
                } else {
                    body
                }
            }
            heredocs => heredocs.iter().fold(text.clone(), |script, heredoc| {
                format!("{script}\n{}{}", heredoc.content, heredoc.name)
            }),
        };
        process.args = self.with_shell(id, &script);
        Ok(process)
    }

    /// A filesystem with one file of a given text.
    pub(super) fn inline_file(&mut self, name: &str, mode: i32, data: Vec<u8>) -> Edge {
        let file = FileAction::Mkfile(pb::FileActionMkFile {
            path: crate::paths::absolute("/", name, false),
            mode,
            data,
            owner: None,
            timestamp: -1,
        });
        let constraints = Constraints::named("[internal] preparing inline document");
        self.graph.file(None, vec![file], constraints)
    }

    fn run_constraints(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        shown: &str,
        secrets: &[&str],
    ) -> Constraints {
        let env = &self.stages[id.0].state.env;
        let lookup = |name: &str| match secrets.contains(&name) {
            true => Some(MASK.to_owned()),
            false => env.get(name).map(str::to_owned),
        };
        let shown = command_text(Expander::display(self.dockerfile.escape), shown, &lookup);
        let platform = self.stages[id.0].state.platform.as_ref().map(oci_platform);
        let shown = self.step_name(id, &shown, platform.as_ref());
        let mut constraints = Constraints::named(shown).describe(
            "com.docker.dockerfile.v1.command",
            step.instruction.statement.text.clone(),
        );
        constraints.metadata.ignore_cache = self.stages[id.0].ignore_cache;
        constraints
            .metadata
            .linux_resources
            .clone_from(&self.options.linux_resources);
        self.located(constraints, Some(step.span))
    }

    /// `RUN |2 A=1 B=2 /bin/sh -c ... # buildkit`: arguments are shown with the
    /// values that they have now.
    fn run_history(&self, id: StageId, args: &[String]) -> String {
        let stage = &self.stages[id.0];
        let mut shown: Vec<(&str, String)> = Vec::new();
        for (key, value) in &stage.args {
            let current = stage.state.env.get(key).map(str::to_owned);
            let entry = format!("{key}={}", current.or_else(|| value.clone()).unwrap_or_default());
            match shown.iter_mut().find(|(known, _)| known == key) {
                Some((_, known)) => *known = entry,
                None => shown.push((key, entry)),
            }
        }
        let mut parts = vec!["RUN".to_owned()];
        if !shown.is_empty() {
            parts.push(format!("|{}", shown.len()));
            parts.extend(shown.into_iter().map(|(_, entry)| entry));
        }
        parts.extend_from_slice(args);
        parts.join(" ") + " # buildkit"
    }
}

fn device(device: &dockerfile::Device) -> pb::CdiDevice {
    pb::CdiDevice {
        name: device.name.clone(),
        optional: !device.required,
    }
}

fn script_mount(source: Edge) -> Mount {
    Mount {
        target: SCRIPT_DIR.to_owned(),
        source: Some(source),
        selector: "/".to_owned(),
        kind: MountKind::Bind,
        readonly: true,
    }
}

/// Whether the command is a heredoc and nothing else, as in `RUN <<EOF`.
fn is_bare_heredoc(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let Some(rest) = rest.strip_prefix("<<") else {
        return false;
    };
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim_start();
    if rest.is_empty() || rest.contains('<') {
        return false;
    }
    let words = Expander {
        escape: '\\',
        quotes: Quotes::Keep,
        keep_escapes: true,
        keep_unset: true,
    };
    let expansion = words.expand(rest, &|_: &str| None);
    expansion.is_ok_and(|expansion| expansion.words.len() == 1)
}

/// The lines, without leading tabs where `<<-` asks for that.
fn heredoc_body(heredoc: &Heredoc) -> String {
    if !heredoc.strip_tabs {
        return heredoc.content.clone();
    }
    let lines = heredoc
        .content
        .split('\n')
        .map(|line| line.trim_start_matches('\t'));
    lines.collect::<Vec<_>>().join("\n")
}

/// The first line, and dots where there are more.
fn summary(content: &str) -> String {
    let content = content.trim();
    match content.split_once('\n') {
        Some((first, _)) => format!("{}...", first.strip_suffix('\r').unwrap_or(first)),
        None => content.to_owned(),
    }
}

fn oci_platform(platform: &pb::Platform) -> distil_oci::Platform {
    distil_oci::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}
