//! The table of stages: those of the file, and hidden ones for images that COPY
//! and RUN mounts name.

use std::borrow::Cow;
use std::collections::BTreeSet;

use distil_dockerfile::{self as dockerfile, Command, Diagnostic, Instruction, Span};
use distil_llb::State;
use distil_oci::{ImageConfig, Platform};

use super::contexts::NamedContext;
use super::lint::LastSeen;
use super::outline::Noted;
use super::{Lowering, PathSetId, Result, SCRATCH};
use crate::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StageId(pub(super) usize);

/// An instruction to lower.
#[derive(Clone)]
pub(super) struct Step<'a> {
    pub(super) instruction: Cow<'a, Instruction>,
    /// The stages it reads: one for COPY --from, one per mount of RUN.
    pub(super) sources: Vec<StageId>,
    pub(super) is_trigger: bool,
    /// Its own place; that of FROM for a trigger, whose spans are of another text.
    pub(super) span: Span,
}

impl Step<'_> {
    /// The place of a part of the instruction, in the Dockerfile.
    pub(super) fn place(&self, part: Span) -> Span {
        if self.is_trigger { self.span } else { part }
    }
}

/// A stage on its way.
pub(super) struct Stage<'a> {
    /// The FROM it comes from; hidden stages have none.
    pub(super) origin: Option<&'a dockerfile::Stage>,
    /// The base, expanded; the full image name once it is known to be an image.
    pub(super) base_name: String,
    /// The text of FROM.
    pub(super) code: String,
    /// Where it is used: FROM, or the COPY that names an image.
    pub(super) span: Option<Span>,
    pub(super) name: Option<String>,
    /// The name in step names; empty in a file of one stage.
    pub(super) label: String,
    pub(super) base: Option<StageId>,
    /// The context that replaces the stage.
    pub(super) context: Option<NamedContext>,
    pub(super) platform: Option<Platform>,
    pub(super) state: State,
    pub(super) image: ImageConfig,
    pub(super) base_image: Option<ImageConfig>,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) dependencies: BTreeSet<StageId>,
    /// ARGs in order of appearance, with their values.
    pub(super) args: Vec<(String, Option<String>)>,
    pub(super) paths: PathSetId,
    /// Paths of the main context that it reads.
    pub(super) context_paths: BTreeSet<String>,
    pub(super) ignore_cache: bool,
    pub(super) dispatched: bool,
    pub(super) resolved: bool,
    pub(super) triggers_taken: bool,
    pub(super) step_index: usize,
    pub(super) step_total: usize,
    pub(super) in_trigger: bool,
    /// A WORKDIR of the file, not of the base image, was lowered.
    pub(super) workdir_set: bool,
    pub(super) last_seen: LastSeen,
    pub(super) noted: Noted,
}

impl<'a> Stage<'a> {
    fn new(base_name: String, span: Option<Span>, paths: PathSetId) -> Self {
        Self {
            origin: None,
            base_name,
            code: String::new(),
            span,
            name: None,
            label: String::new(),
            base: None,
            context: None,
            platform: None,
            state: State::scratch(),
            image: ImageConfig::default(),
            base_image: None,
            steps: Vec::new(),
            dependencies: BTreeSet::new(),
            args: Vec::new(),
            paths,
            context_paths: BTreeSet::new(),
            ignore_cache: false,
            dispatched: false,
            resolved: false,
            triggers_taken: false,
            step_index: 0,
            step_total: 0,
            in_trigger: false,
            workdir_set: false,
            last_seen: LastSeen::default(),
            noted: Noted::default(),
        }
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.origin.is_none()
    }

    /// The place of errors that concern the stage as a whole.
    pub(super) fn error(&self, message: impl Into<String>) -> Diagnostic {
        match self.span {
            Some(span) => Diagnostic::new(message, span),
            None => Diagnostic::of_file(message),
        }
    }
}

impl<'a> Lowering<'a> {
    /// Every stage of the file, whether needed or not; their names, bases and
    /// platforms are checked.
    pub(super) fn add_stages(&mut self) -> Result<(), Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let file = self.dockerfile;
        for (number, origin) in file.stages.iter().enumerate() {
            if let Err(error) = self.add_stage(number, origin) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    fn add_stage(&mut self, number: usize, origin: &'a dockerfile::Stage) -> Result<()> {
        let span = origin.statement.span;
        let base_name = self.expand_from(origin, &origin.base)?.text;
        if base_name.is_empty() {
            return Err(Diagnostic::new(
                format!("the base `{}` of the stage is empty", origin.base.value),
                origin.base.span,
            )
            .with_help("give the argument a default before the first FROM, or a value with --build-arg"));
        }
        let paths = self.new_path_set();
        let mut stage = Stage::new(base_name, Some(span), paths);
        stage.origin = Some(origin);
        stage.code.clone_from(&origin.statement.text);
        stage.name = origin.name.as_ref().map(|name| name.value.clone());
        stage.platform = match &origin.platform {
            Some(word) => Some(self.stage_platform(origin, word)?),
            None => None,
        };
        if let Some(name) = &stage.name {
            stage.label.clone_from(name);
            let platform = stage
                .platform
                .clone()
                .or_else(|| self.options.target_platform.clone());
            let context = self.named_context(name, platform).map_err(|message| {
                let place = origin.name.as_ref().map_or(span, |name| name.span);
                Diagnostic::new(message, place)
            })?;
            if context.is_some() {
                stage.context = context;
                let id = self.add(stage);
                self.stages[id.0].base = None;
                return Ok(());
            }
        } else {
            stage.label = format!("stage-{number}");
        }
        stage.ignore_cache = self
            .options
            .no_cache
            .covers(stage.name.as_deref().unwrap_or_default());
        let id = self.add(stage);
        let stage = &mut self.stages[id.0];
        let has_image = stage.base_name != SCRATCH && stage.base.is_none();
        stage.step_total =
            usize::from(has_image) + origin.instructions.iter().filter(|i| is_numbered(i)).count();
        Ok(())
    }

    fn stage_platform(&self, origin: &dockerfile::Stage, word: &dockerfile::Word) -> Result<Platform> {
        let expansion = self.expand_from(origin, word)?;
        self.lint_platform(origin, word, &expansion);
        let text = expansion.text;
        if text.is_empty() {
            return Err(
                Diagnostic::new(format!("the platform `{}` is empty", word.value), word.span).with_help(
                    "arguments in FROM need a default before the first FROM, or a value with --build-arg",
                ),
            );
        }
        let mut platform: Platform = text
            .parse()
            .map_err(|error: distil_oci::PlatformError| Diagnostic::new(error.to_string(), word.span))?;
        // BuildKit reads a platform here without the last step of normalising.
        let parts: Vec<&str> = text.split('/').collect();
        match (platform.architecture.as_str(), parts.as_slice()) {
            ("arm", [_, _]) if platform.variant == "v7" => platform.variant.clear(),
            ("arm64", [_, _, _]) if platform.variant.is_empty() => platform.variant.push_str("v8"),
            _ => {}
        }
        Ok(platform)
    }

    fn add(&mut self, mut stage: Stage<'a>) -> StageId {
        stage.base = self.by_name.get(&stage.base_name).copied();
        let id = StageId(self.stages.len());
        if let Some(name) = &stage.name {
            self.by_name.insert(name.to_lowercase(), id);
        }
        self.stages.push(stage);
        id
    }

    pub(super) fn find_target(&self) -> Result<StageId> {
        let Some(target) = self.options.target.as_deref().filter(|target| !target.is_empty()) else {
            return Ok(StageId(self.stages.len().saturating_sub(1)));
        };
        if let Some(&id) = self.by_name.get(&target.to_lowercase()) {
            return Ok(id);
        }
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        let error = Diagnostic::of_file(format!("there is no stage `{target}` to build"));
        let help = match text::nearest(target, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None if names.is_empty() => "no stage has a name, add `AS name` to its FROM".to_owned(),
            None => format!("stages with a name: {}", names.join(", ")),
        };
        Err(error.with_help(help))
    }

    /// Finds out which stages read from which, adding hidden ones for images.
    pub(super) fn find_dependencies(&mut self) -> Result<()> {
        let file = self.dockerfile;
        for (number, origin) in file.stages.iter().enumerate() {
            for instruction in &origin.instructions {
                let step = Step {
                    instruction: Cow::Borrowed(instruction),
                    sources: Vec::new(),
                    is_trigger: false,
                    span: instruction.statement.span,
                };
                let step = self.add_sources(StageId(number), step)?;
                self.stages[number].steps.push(step);
            }
        }
        self.refuse_cycles()?;
        if let [only] = self.stages.as_mut_slice() {
            only.label.clear();
        }
        Ok(())
    }

    /// Fills in the stages that a step reads, and notes that `id` depends on them.
    pub(super) fn add_sources(&mut self, id: StageId, mut step: Step<'a>) -> Result<Step<'a>> {
        match &step.instruction.command {
            Command::Copy(copy) => {
                if let Some(from) = &copy.from {
                    let span = step.span;
                    step.sources = vec![self.copy_source(&from.value, step.place(from.span), span)?];
                }
            }
            Command::Run(run) => {
                let names: Vec<String> = run
                    .mounts
                    .iter()
                    .map(|mount| {
                        mount
                            .from
                            .as_ref()
                            .map_or_else(String::new, |from| from.value.clone())
                    })
                    .collect();
                for name in names {
                    let name = if name.is_empty() { SCRATCH } else { &name };
                    let source = match self.by_name.get(&name.to_lowercase()) {
                        Some(&known) => known,
                        None => self.add_hidden(name, None),
                    };
                    step.sources.push(source);
                }
            }
            _ => {}
        }
        self.stages[id.0]
            .dependencies
            .extend(step.sources.iter().copied());
        Ok(step)
    }

    fn copy_source(&mut self, from: &str, place: Span, step: Span) -> Result<StageId> {
        let fixed = self
            .expander()
            .expand(from, &|_: &str| None)
            .map_err(|error| Diagnostic::new(error.to_string(), place))?;
        if fixed.text != from {
            return Err(
                Diagnostic::new(format!("variables are not expanded in `--from={from}`"), place).with_help(
                    "add a stage `FROM $NAME AS alias` with an ARG before the first FROM, and copy from it",
                ),
            );
        }
        if let Ok(number) = from.parse::<i64>() {
            return usize::try_from(number)
                .ok()
                .filter(|&number| number < self.stages.len())
                .map(StageId)
                .ok_or_else(|| {
                    Diagnostic::new(format!("there is no stage number {number}"), place)
                        .with_help("stages count from 0; only earlier ones can be copied from")
                });
        }
        Ok(match self.by_name.get(&from.to_lowercase()) {
            Some(&known) => known,
            None => self.add_hidden(from, Some(step)),
        })
    }

    fn add_hidden(&mut self, base_name: &str, span: Option<Span>) -> StageId {
        let paths = self.new_path_set();
        self.add(Stage::new(base_name.to_owned(), span, paths))
    }

    /// Stages that read, over any number of steps, from themselves. Bases come
    /// earlier in the file and cannot be part of a cycle on their own.
    fn refuse_cycles(&self) -> Result<()> {
        let mut visited = vec![false; self.stages.len()];
        for start in 0..self.stages.len() {
            if visited[start] {
                continue;
            }
            visited[start] = true;
            let mut on_path = vec![false; self.stages.len()];
            on_path[start] = true;
            let dependencies = |id: usize| self.stages[id].dependencies.iter().copied();
            let mut stack = vec![(start, dependencies(start))];
            while let Some((id, rest)) = stack.last_mut() {
                let id = *id;
                match rest.next() {
                    None => {
                        on_path[id] = false;
                        stack.pop();
                    }
                    Some(StageId(next)) if on_path[next] => return Err(self.cycle_error(start, id, next)),
                    Some(StageId(next)) if !visited[next] => {
                        visited[next] = true;
                        on_path[next] = true;
                        stack.push((next, dependencies(next)));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// The place is the instruction that closes the cycle.
    fn cycle_error(&self, start: usize, from: usize, to: usize) -> Diagnostic {
        let name = |id: usize| self.stages[id].label.clone();
        let message = match from == to {
            true => format!("stage `{}` copies from itself", name(to)),
            false => format!("the stages `{}` and `{}` need each other", name(from), name(to)),
        };
        let closing = self.stages[from]
            .steps
            .iter()
            .find(|step| step.sources.contains(&StageId(to)));
        let place = closing.map_or(self.stages[start].span, |step| Some(step.span));
        let error = match place {
            Some(span) => Diagnostic::new(message, span),
            None => Diagnostic::of_file(message),
        };
        error.with_help("a stage can only read from stages above it")
    }

    /// The stages that `target` cannot do without.
    pub(super) fn reachable(&self, target: StageId) -> BTreeSet<StageId> {
        let mut found = BTreeSet::from([target]);
        let mut stack = vec![target];
        while let Some(id) = stack.pop() {
            let stage = &self.stages[id.0];
            for next in stage.base.iter().chain(&stage.dependencies) {
                if found.insert(*next) {
                    stack.push(*next);
                }
            }
        }
        found
    }
}

/// Whether an instruction has a number in step names.
fn is_numbered(instruction: &Instruction) -> bool {
    matches!(
        instruction.command,
        Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_)
    )
}
