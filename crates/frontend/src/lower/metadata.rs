//! Instructions that change the image config, and WORKDIR.

use std::collections::BTreeSet;
use std::time::Duration;

use distil_dockerfile::{ArgPair, CommandLine, Diagnostic, Healthcheck, Pair, Word};
use distil_llb::{Constraints, FileAction, Owner, pb};

use super::names::command_text;
use super::stages::{StageId, Step};
use super::{Lowering, Result};
use crate::{paths, text, values};

/// Arguments that only tell the builder something and never reach a process.
pub(super) const BUILDER_ARGS: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

impl Lowering<'_> {
    /// Sets the work directory of state and config; an absolute one is kept as
    /// typed.
    pub(super) fn change_directory(&mut self, id: StageId, path: &str) -> String {
        let stage = &mut self.stages[id.0];
        let directory = paths::below(&stage.image.config.working_dir, path, false);
        stage.image.config.working_dir.clone_from(&directory);
        stage.state.dir.clone_from(&directory);
        directory
    }

    pub(super) fn workdir(&mut self, id: StageId, step: &Step<'_>, path: &Word) -> Result<()> {
        let path = self.expand(id, step, path)?;
        self.lint_workdir(id, step, &path);
        let directory = self.change_directory(id, &path);
        let is_layer = directory != "/";
        if is_layer {
            let shown = self.shown_text(id, step);
            let stage = &self.stages[id.0];
            let platform = stage.platform.clone();
            let user = stage.image.config.user.clone();
            let shown = self.step_name(id, &shown, platform.as_ref());
            let mkdir = FileAction::Mkdir {
                mkdir: pb::FileActionMkDir {
                    path: paths::absolute("/", &directory, false),
                    mode: 0o755,
                    make_parents: true,
                    owner: None,
                    timestamp: self
                        .epoch
                        .map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000)),
                },
                owner: (!user.is_empty()).then(|| Owner::parse(&user)),
            };
            let constraints = self.located(Constraints::named(shown), Some(step.span));
            let base = self.stages[id.0].state.output;
            let edge = self.graph.file(base, vec![mkdir], constraints);
            self.stages[id.0].state.output = Some(edge);
        }
        self.record(id, format!("WORKDIR {directory}"), is_layer);
        Ok(())
    }

    /// The instruction's text with variables expanded and quotes removed.
    pub(super) fn shown_text(&self, id: StageId, step: &Step<'_>) -> String {
        let env = &self.stages[id.0].state.env;
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        command_text(self.expander(), &step.instruction.statement.text, &lookup)
    }

    pub(super) fn arg(&mut self, id: StageId, step: &Step<'_>, args: &[ArgPair]) -> Result<()> {
        let mut shown = Vec::with_capacity(args.len());
        for arg in args {
            let key = &arg.key.value;
            self.lint_secret(step, "ARG", key);
            let value = match (self.build_args.get(key), &arg.value) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => Some(self.expand(id, step, default)?),
                (None, None) => self.global_args.get(key).map(str::to_owned),
            };
            self.note_arg(id, step, arg, value.as_deref());
            let stage = &mut self.stages[id.0];
            match &value {
                Some(value) => {
                    if !BUILDER_ARGS.contains(&key.as_str()) {
                        stage.state.env.set(key, value);
                    }
                    shown.push(format!("{key}={value}"));
                }
                None => shown.push(key.clone()),
            }
            stage.args.push((key.clone(), value));
        }
        self.record(id, format!("ARG {}", shown.join(" ")), false);
        Ok(())
    }

    /// Both sides of every pair, expanded before the first one takes effect.
    fn expand_pairs(&self, id: StageId, step: &Step<'_>, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        pairs
            .iter()
            .map(|pair| {
                Ok((
                    self.expand(id, step, &pair.key)?,
                    self.expand(id, step, &pair.value)?,
                ))
            })
            .collect()
    }

    pub(super) fn env(&mut self, id: StageId, step: &Step<'_>, pairs: &[Pair]) -> Result<()> {
        let mut shown = "ENV".to_owned();
        let expanded = self.expand_pairs(id, step, pairs)?;
        for (pair, (key, value)) in pairs.iter().zip(expanded) {
            self.lint_legacy(step, pair);
            self.lint_secret(step, "ENV", &key);
            let stage = &mut self.stages[id.0];
            stage.state.env.set(&key, &value);
            let entry = format!("{key}={value}");
            shown.push(' ');
            shown.push_str(&entry);
            let known = stage
                .image
                .config
                .env
                .iter_mut()
                .find(|known| known.split('=').next() == Some(&key));
            match known {
                Some(known) => *known = entry,
                None => stage.image.config.env.push(entry),
            }
        }
        self.record(id, shown, false);
        Ok(())
    }

    pub(super) fn label(&mut self, id: StageId, step: &Step<'_>, pairs: &[Pair]) -> Result<()> {
        let mut shown = "LABEL".to_owned();
        let expanded = self.expand_pairs(id, step, pairs)?;
        for (pair, (key, value)) in pairs.iter().zip(expanded) {
            self.lint_legacy(step, pair);
            shown.push_str(&format!(" {key}={value}"));
            self.stages[id.0].image.config.labels.insert(key, value);
        }
        self.record(id, shown, false);
        Ok(())
    }

    pub(super) fn expose(&mut self, id: StageId, step: &Step<'_>, words: &[Word]) -> Result<()> {
        let mut ports = Vec::new();
        // BuildKit sorts the words as typed, and its history shows that order.
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by(|a, b| a.value.cmp(&b.value));
        for word in words {
            let place = step.place(word.span);
            let env = &self.stages[id.0].state.env;
            let expansion = self
                .expander()
                .expand(&word.value, &|name: &str| env.get(name).map(str::to_owned));
            for port in expansion
                .map_err(|error| Diagnostic::new(error.to_string(), place))?
                .words
            {
                let exposed =
                    values::exposed_ports(&port).map_err(|message| Diagnostic::new(message, place))?;
                self.lint_port(step, &exposed);
                ports.extend(exposed.ports);
            }
        }
        self.record(id, format!("EXPOSE {}", text::plain_list(&ports)), false);
        self.stages[id.0].image.config.exposed_ports.extend(ports);
        Ok(())
    }

    pub(super) fn user(&mut self, id: StageId, step: &Step<'_>, user: &Word) -> Result<()> {
        let user = self.expand(id, step, user)?;
        self.record(id, format!("USER {user}"), false);
        let stage = &mut self.stages[id.0];
        stage.state.user.clone_from(&user);
        stage.image.config.user = user;
        Ok(())
    }

    pub(super) fn volume(&mut self, id: StageId, step: &Step<'_>, words: &[Word]) -> Result<()> {
        let mut volumes = Vec::with_capacity(words.len());
        for word in words {
            let volume = self.expand(id, step, word)?;
            if volume.is_empty() {
                let place = step.place(word.span);
                return Err(Diagnostic::new(
                    format!("the volume `{}` is an empty path", word.value),
                    place,
                ));
            }
            volumes.push(volume);
        }
        self.record(id, format!("VOLUME {}", text::plain_list(&volumes)), false);
        let known: &mut BTreeSet<String> = &mut self.stages[id.0].image.config.volumes;
        known.extend(volumes);
        Ok(())
    }

    pub(super) fn stop_signal(&mut self, id: StageId, step: &Step<'_>, word: &Word) -> Result<()> {
        let signal = self.expand(id, step, word)?;
        if !values::is_signal(&signal) {
            let message = match signal.as_str() {
                "" => format!("the signal `{}` is empty", word.value),
                signal => format!("`{signal}` is no signal"),
            };
            let error = Diagnostic::new(message, step.place(word.span));
            return Err(error.with_help("use a name such as `SIGTERM`, or a number"));
        }
        self.record(id, format!("STOPSIGNAL {signal}"), false);
        self.stages[id.0].image.config.stop_signal = signal;
        Ok(())
    }

    /// The arguments of a command; shell forms go through the stage's shell.
    pub(super) fn command_args(&self, id: StageId, command: &CommandLine) -> Vec<String> {
        match command {
            CommandLine::Exec(words) => words.iter().map(|word| word.value.clone()).collect(),
            CommandLine::Shell(word) => self.with_shell(id, &word.value),
        }
    }

    pub(super) fn with_shell(&self, id: StageId, script: &str) -> Vec<String> {
        let image = &self.stages[id.0].image;
        let mut args = match image.config.shell.is_empty() {
            false => image.config.shell.clone(),
            true if image.os == "windows" => ["cmd", "/S", "/C"].map(str::to_owned).to_vec(),
            true => ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        };
        args.push(script.to_owned());
        args
    }

    pub(super) fn cmd(&mut self, id: StageId, step: &Step<'_>, command: &CommandLine) {
        self.lint_once(id, step, |last| &mut last.cmd);
        self.lint_command_form(id, step, command);
        let args = self.command_args(id, command);
        self.record(id, format!("CMD {}", text::quoted_list(&args)), false);
        let stage = &mut self.stages[id.0];
        stage.image.config.cmd = args;
        stage.image.config.args_escaped = true;
    }

    /// A new entrypoint also drops a command that came from the base.
    pub(super) fn entrypoint(&mut self, id: StageId, step: &Step<'_>, command: &CommandLine) {
        self.lint_once(id, step, |last| &mut last.entrypoint);
        self.lint_command_form(id, step, command);
        let args = self.command_args(id, command);
        self.record(id, format!("ENTRYPOINT {}", text::quoted_list(&args)), false);
        let stage = &mut self.stages[id.0];
        stage.image.config.entrypoint = args;
        if stage.last_seen.cmd.is_none() {
            stage.image.config.cmd.clear();
        }
    }

    pub(super) fn shell(&mut self, id: StageId, words: &[Word]) {
        let shell: Vec<String> = words.iter().map(|word| word.value.clone()).collect();
        self.record(id, format!("SHELL {}", text::plain_list(&shell)), false);
        self.stages[id.0].image.config.shell = shell;
    }

    pub(super) fn maintainer(&mut self, id: StageId, author: &Word) {
        self.record(id, format!("MAINTAINER {}", author.value), false);
        self.stages[id.0].image.author.clone_from(&author.value);
    }

    pub(super) fn healthcheck(&mut self, id: StageId, step: &Step<'_>, check: &Healthcheck) {
        self.lint_once(id, step, |last| &mut last.healthcheck);
        let (test, times, retries) = match check {
            Healthcheck::None => (vec!["NONE".to_owned()], [Duration::ZERO; 4], 0),
            Healthcheck::Cmd(cmd) => {
                let test = match &cmd.command {
                    CommandLine::Shell(word) => vec!["CMD-SHELL".to_owned(), word.value.clone()],
                    CommandLine::Exec(words) => {
                        let words = words.iter().map(|word| word.value.clone());
                        std::iter::once("CMD".to_owned()).chain(words).collect()
                    }
                };
                let times = [cmd.interval, cmd.timeout, cmd.start_period, cmd.start_interval];
                (test, times, cmd.retries)
            }
        };
        let [interval, timeout, start_period, start_interval] = times.map(text::duration);
        let shown = format!(
            "HEALTHCHECK {{Test:{} Interval:{interval} Timeout:{timeout} StartPeriod:{start_period} \
             StartInterval:{start_interval} Retries:{retries}}}",
            text::plain_list(&test)
        );
        self.record(id, shown, false);
        let [interval, timeout, start_period, start_interval] =
            times.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        self.stages[id.0].image.config.healthcheck = Some(distil_oci::Healthcheck {
            test,
            interval,
            timeout,
            start_period,
            start_interval,
            retries: retries.into(),
        });
    }
}
