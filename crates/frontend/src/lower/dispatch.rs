//! Runs the instructions of needed stages over their states, in file order.

use std::collections::BTreeSet;

use distil_dockerfile::{Command, Diagnostic};
use distil_oci::{History, Platform};

use super::copy::CopyJob;
use super::stages::{StageId, Step};
use super::{DEFAULT_PATH, Lowering, Result};
use crate::text;

const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

impl Lowering<'_> {
    pub(super) fn dispatch_stages(&mut self, needed: &BTreeSet<StageId>) -> Result<()> {
        for &id in needed {
            if self.stages[id.0].dispatched {
                continue;
            }
            self.inherit(id);
            self.stages[id.0].dispatched = true;
            self.start_from_config(id)?;
            let steps = std::mem::take(&mut self.stages[id.0].steps);
            for step in &steps {
                self.dispatch(id, step)?;
            }
        }
        Ok(())
    }

    /// Takes everything over from the stage that it is built on; triggers stay.
    fn inherit(&mut self, id: StageId) {
        let Some(base) = self.stages[id.0].base else {
            return;
        };
        let base = &self.stages[base.0];
        let (state, platform, image) = (base.state.clone(), base.platform.clone(), base.image.clone());
        let (base_image, paths, args) = (base.base_image.clone(), base.paths, base.args.clone());
        let workdir_set = base.workdir_set;
        let stage = &mut self.stages[id.0];
        stage.state = state;
        stage.platform = platform;
        stage.image = image;
        stage.image.config.on_build.clear();
        stage.base_image = base_image;
        // One set: what is read here is read of the base's source too.
        stage.paths = paths;
        stage.args.extend(args);
        stage.workdir_set = workdir_set;
    }

    /// The image's config decides how the first step runs.
    fn start_from_config(&mut self, id: StageId) -> Result<()> {
        let stage = &mut self.stages[id.0];
        let platform = stage.platform.get_or_insert_with(Platform::default);
        let has_path = stage
            .image
            .config
            .env
            .iter()
            .any(|entry| entry.split('=').next() == Some("PATH"));
        if !has_path && platform.os != "windows" {
            stage.image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        for entry in &stage.image.config.env {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            stage.state.env.set(key, value);
        }
        if !self.options.hostname.is_empty() {
            stage.state.hostname.clone_from(&self.options.hostname);
        }
        let directory = stage.image.config.working_dir.clone();
        if !directory.is_empty() {
            self.change_directory(id, &directory);
        }
        let stage = &mut self.stages[id.0];
        if !stage.image.config.user.is_empty() {
            stage.state.user.clone_from(&stage.image.config.user);
        }
        stage.state.network = self.options.network;
        Ok(())
    }

    fn dispatch(&mut self, id: StageId, step: &Step<'_>) -> Result<()> {
        self.stages[id.0].in_trigger = step.is_trigger;
        match &step.instruction.command {
            Command::Add(add) => self.add_files(id, step, CopyJob::of_add(add)),
            Command::Copy(copy) => self.copy_files(id, step, CopyJob::of_copy(copy)),
            Command::Run(run) => self.run(id, step, run),
            Command::Workdir(path) => self.workdir(id, step, path),
            Command::Arg(args) => self.arg(id, step, args),
            Command::Env(pairs) => self.env(id, step, pairs),
            Command::Label(pairs) => self.label(id, step, pairs),
            Command::Expose(words) => self.expose(id, step, words),
            Command::User(user) => self.user(id, step, user),
            Command::Volume(words) => self.volume(id, step, words),
            Command::Stopsignal(signal) => self.stop_signal(id, step, signal),
            Command::Cmd(command) => {
                self.cmd(id, step, command);
                Ok(())
            }
            Command::Entrypoint(command) => {
                self.entrypoint(id, step, command);
                Ok(())
            }
            Command::Healthcheck(check) => {
                self.healthcheck(id, step, check);
                Ok(())
            }
            Command::Shell(words) => {
                self.shell(id, words);
                Ok(())
            }
            Command::Maintainer(author) => {
                self.maintainer(id, author);
                Ok(())
            }
            Command::Onbuild(onbuild) => {
                let triggers = &mut self.stages[id.0].image.config.on_build;
                triggers.push(onbuild.trigger.clone());
                Ok(())
            }
        }
    }

    /// The stage that a step reads, which must be lowered already.
    pub(super) fn earlier_stage(&self, id: StageId, source: StageId, step: &Step<'_>) -> Result<()> {
        if self.stages[source.0].dispatched {
            return Ok(());
        }
        let name = &self.stages[source.0].label;
        let here = &self.stages[id.0].label;
        let error = Diagnostic::new(
            format!("the stage `{name}` is defined after `{here}`, which reads from it"),
            step.span,
        );
        Err(error.with_help("move it above"))
    }

    /// Adds a history entry; `is_layer` where the instruction makes a layer.
    pub(super) fn record(&mut self, id: StageId, created_by: String, is_layer: bool) {
        let created = self.epoch.map(text::timestamp);
        self.stages[id.0].image.history.push(History {
            created,
            created_by,
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer: !is_layer,
            ..History::default()
        });
    }
}
