//! Bases: the empty one, images, and named contexts in place of images.

use std::collections::{BTreeSet, HashMap};

use distil_dockerfile::Diagnostic;
use distil_llb::{Constraints, DebSource, Edge, State, caps, pb};
use distil_oci::{Digest, ImageConfig, Platform, Reference};

use super::contexts::{NamedContext, Place};
use super::stages::StageId;
use super::{DEFAULT_PATH, Extent, Lowering, Result, SCRATCH, pb_platform};
use crate::{ImageName, ImageRequest, ResolveError, ResolveMode, ResolvedImage, text};

/// Answers by name and platform.
pub(super) type KnownImages = HashMap<(ImageName, Platform), Result<ResolvedImage, ResolveError>>;

/// How the base of a stage is found.
enum Plan {
    Image {
        name: Reference,
        platform: Platform,
        typed: String,
    },
    /// Debian packages.
    Packages(DebSource, Platform),
    /// A context in place of the stage itself.
    StageContext(NamedContext),
    /// A context in place of the image that FROM names.
    BaseContext(NamedContext, Platform),
}

/// What a name after FROM or `from=` stands for when it is no stage.
enum Base {
    Image(Reference),
    Packages(DebSource),
}

impl Lowering<'_> {
    /// Gives every needed stage its base, and takes over the triggers of bases,
    /// which may need further stages. Returns the needed stages.
    pub(super) fn resolve_bases(
        &mut self,
        target: StageId,
        extent: Extent,
    ) -> Result<BTreeSet<StageId>, Vec<Diagnostic>> {
        loop {
            let needed = match extent {
                Extent::Target => self.reachable(target),
                Extent::EveryStage => (0..self.stages.len()).map(StageId).collect(),
            };
            self.resolve_round(&needed)?;
            let mut found_new = false;
            for &id in &needed {
                found_new |= self.take_triggers(id).map_err(|error| vec![error])?;
            }
            if !found_new {
                return Ok(needed);
            }
        }
    }

    /// Plans every base first, so that all images are asked for at once.
    fn resolve_round(&mut self, needed: &BTreeSet<StageId>) -> Result<(), Vec<Diagnostic>> {
        let mut errors = Vec::new();
        let mut plans = Vec::new();
        for id in (0..self.stages.len()).map(StageId) {
            let stage = &self.stages[id.0];
            if stage.base.is_some() || stage.dispatched || stage.resolved {
                continue;
            }
            match self.plan_base(id, needed.contains(&id)) {
                Ok(plan) => plans.extend(plan.map(|plan| (id, plan))),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        self.ask_images(&plans);
        for (id, plan) in plans {
            if let Err(error) = self.apply_plan(id, plan) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Stages that are not needed are only checked for a name that can be read.
    fn plan_base(&mut self, id: StageId, needed: bool) -> Result<Option<Plan>> {
        let stage = &mut self.stages[id.0];
        stage.resolved = needed;
        if stage.base_name == SCRATCH && stage.context.is_none() {
            stage.state = State::scratch();
            stage.image = empty_image(&self.target_platform);
            stage.platform = Some(self.target_platform.clone());
            stage.dispatched = stage.is_hidden();
            return Ok(None);
        }
        let typed = stage.base_name.clone();
        let named = self.read_base(id, &typed)?;
        let stage = &mut self.stages[id.0];
        stage.base_name = match &named {
            Base::Image(reference) => reference.to_string(),
            Base::Packages(source) => source.to_string(),
        };
        stage.dispatched |= stage.is_hidden();
        let platform = stage
            .platform
            .clone()
            .unwrap_or_else(|| self.target_platform.clone());
        if !needed {
            // It is numbered all the same when a trigger needs it later.
            self.stages[id.0].step_index += usize::from(self.stages[id.0].step_total > 0);
            self.stages[id.0].platform = Some(platform);
            return Ok(None);
        }
        if let Some(context) = stage.context.clone() {
            return Ok(Some(Plan::StageContext(context)));
        }
        let reference = match named {
            Base::Packages(source) => return Ok(Some(Plan::Packages(source, platform))),
            Base::Image(reference) => reference,
        };
        let base_name = stage.base_name.clone();
        let context = self
            .named_context(&base_name, Some(platform.clone()))
            .map_err(|message| self.stages[id.0].error(message))?;
        Ok(Some(match context {
            Some(context) => Plan::BaseContext(context, platform),
            None => Plan::Image {
                name: reference,
                platform,
                typed,
            },
        }))
    }

    /// What the base is by its name.
    fn read_base(&self, id: StageId, typed: &str) -> Result<Base> {
        let stage = &self.stages[id.0];
        if DebSource::is_meant(typed) {
            let source = typed.parse().map(Base::Packages);
            return source.map_err(|error: distil_llb::DebSourceError| stage.error(error.to_string()));
        }
        let parsed: Result<Reference, _> = typed.parse();
        let reference = parsed.map_err(|error| {
            let error = stage.error(error.to_string());
            match self.by_name.get(&typed.to_lowercase()) {
                Some(_) => error.with_help(format!(
                    "for the stage write `{}`, names of stages are in lower case here",
                    typed.to_lowercase()
                )),
                None => error,
            }
        })?;
        Ok(Base::Image(reference.or_latest()))
    }

    fn ask_images(&mut self, plans: &[(StageId, Plan)]) {
        let mut requests: Vec<ImageRequest> = Vec::new();
        for (_, plan) in plans {
            let request = match plan {
                Plan::Image { name, platform, .. } => Some(self.base_request(name, platform)),
                Plan::StageContext(context) | Plan::BaseContext(context, _) => self.context_request(context),
                Plan::Packages(..) => None,
            };
            let Some(request) = request else { continue };
            let same =
                |known: &ImageRequest| known.name == request.name && known.platform == request.platform;
            let key = (request.name.clone(), request.platform.clone());
            if !self.known_images.contains_key(&key) && !requests.iter().any(same) {
                requests.push(request);
            }
        }
        if requests.is_empty() {
            return;
        }
        let mut answers = self.images.resolve(&requests).into_iter();
        for request in requests {
            let answer = answers.next().unwrap_or_else(|| {
                Err(ResolveError {
                    message: format!("no answer for the image of `{}`", request.label),
                    help: None,
                })
            });
            self.known_images.insert((request.name, request.platform), answer);
        }
    }

    fn base_request(&self, name: &Reference, platform: &Platform) -> ImageRequest {
        let shown = match self.options.multi_platform {
            true => format!("{platform} "),
            false => String::new(),
        };
        ImageRequest {
            name: ImageName::Named(name.clone()),
            platform: platform.clone(),
            mode: self.options.resolve_mode,
            label: format!("[{shown}internal] load metadata for {name}"),
        }
    }

    fn context_request(&self, context: &NamedContext) -> Option<ImageRequest> {
        let name = context.image_name().ok().flatten()?;
        let shown = match &name {
            ImageName::Named(reference) => reference.to_string(),
            ImageName::Layout { digest, .. } => format!("{}@{digest}", context.name),
        };
        Some(ImageRequest {
            name,
            platform: context
                .platform
                .clone()
                .unwrap_or_else(|| self.target_platform.clone()),
            mode: self.options.resolve_mode,
            label: format!("[context {}] load metadata for {shown}", context.key),
        })
    }

    /// The answer that [`Self::ask_images`] has got.
    fn image(&self, name: ImageName, platform: &Platform) -> Result<(Digest, ImageConfig), ResolveError> {
        let unreadable = |message: String| ResolveError { message, help: None };
        match self.known_images.get(&(name, platform.clone())) {
            Some(Ok(image)) => match ImageConfig::from_json(&image.config) {
                Ok(config) => Ok((image.digest, config)),
                Err(error) => Err(unreadable(format!("the image config is not readable: {error}"))),
            },
            Some(Err(error)) => Err(error.clone()),
            None => Err(unreadable("the image was not looked up".to_owned())),
        }
    }

    fn apply_plan(&mut self, id: StageId, plan: Plan) -> Result<()> {
        match plan {
            Plan::Image {
                name,
                platform,
                typed,
            } => self.use_image(id, name, platform, &typed),
            Plan::Packages(source, platform) => {
                self.use_packages(id, &source, platform);
                Ok(())
            }
            Plan::StageContext(context) => {
                let (state, image) = self.load_context(id, &context)?;
                let stage = &mut self.stages[id.0];
                stage.dispatched = true;
                stage.state = state;
                if let Some(mut image) = image {
                    image.created = None;
                    if !image.architecture.is_empty() && !image.os.is_empty() {
                        stage.platform = Some(image.platform());
                    }
                    stage.image = image;
                }
                Ok(())
            }
            Plan::BaseContext(context, platform) => {
                let (mut state, image) = self.load_context(id, &context)?;
                state.platform = Some(pb_platform(&platform.normalized()));
                let image = image.unwrap_or_else(|| empty_image(&platform));
                let stage = &mut self.stages[id.0];
                stage.base_image = Some(image.clone());
                stage.image = ImageConfig {
                    created: None,
                    ..image
                };
                stage.state = state;
                stage.platform = Some(platform);
                Ok(())
            }
        }
    }

    fn use_image(&mut self, id: StageId, name: Reference, platform: Platform, typed: &str) -> Result<()> {
        let answer = self.image(ImageName::Named(name.clone()), &platform);
        let (digest, image) = answer.map_err(|error| self.image_error(id, typed, error))?;
        let stage = &mut self.stages[id.0];
        let name = name.with_digest(digest).to_string();
        stage.base_name.clone_from(&name);
        stage.base_image = Some(image.clone());
        stage.image = ImageConfig {
            created: None,
            ..image
        };
        // Images of the oldest format list no layers, but a history.
        let is_empty = stage.image.rootfs.diff_ids.is_empty()
            && stage.image.history.iter().all(|entry| entry.empty_layer);
        if is_empty {
            stage.state = State::scratch();
        } else {
            let (code, span) = (stage.code.clone(), stage.span);
            let shown = self.step_name(id, &format!("FROM {name}"), Some(&platform));
            let constraints = Constraints::named(shown).describe("com.docker.dockerfile.v1.command", code);
            let constraints = self.located(constraints, span);
            let edge = self.image_source(&name, Some(&platform), constraints);
            let stage = &mut self.stages[id.0];
            stage.state = State::new(Some(edge));
            stage.state.platform = Some(pb_platform(&platform.normalized()));
            self.lint_base_platform(id, typed, &platform);
        }
        self.stages[id.0].platform = Some(platform);
        Ok(())
    }

    /// Packages as the base: their files, and the config of an empty image.
    fn use_packages(&mut self, id: StageId, source: &DebSource, platform: Platform) {
        let stage = &self.stages[id.0];
        let (code, span) = (stage.code.clone(), stage.span);
        let shown = self.step_name(id, &format!("FROM {source}"), Some(&platform));
        let constraints = Constraints::named(shown).describe("com.docker.dockerfile.v1.command", code);
        let constraints = self.located(constraints, span);
        let edge = self.deb_source(source, &platform, constraints);
        let stage = &mut self.stages[id.0];
        stage.state = State::new(Some(edge));
        stage.state.platform = Some(pb_platform(&platform.normalized()));
        stage.image = empty_image(&platform);
        stage.platform = Some(platform);
    }

    /// The source op of an image; FROM carries the resolve mode, contexts do not.
    fn image_source(
        &mut self,
        name: &str,
        platform: Option<&Platform>,
        mut constraints: Constraints,
    ) -> Edge {
        constraints = constraints.needs(caps::SOURCE_IMAGE);
        constraints.platform = platform.map(pb_platform);
        let source = pb::SourceOp {
            identifier: format!("docker-image://{name}"),
            ..pb::SourceOp::default()
        };
        let edge = self.graph.source(source, constraints);
        let mode = self.options.resolve_mode;
        if mode != ResolveMode::Default {
            let cap = match mode {
                ResolveMode::Pull => caps::SOURCE_IMAGE_RESOLVE_MODE,
                ResolveMode::Default | ResolveMode::Local => caps::SOURCE_IMAGE,
            };
            self.graph
                .set_attr(edge, "image.resolvemode", mode.name().to_owned(), cap);
        }
        edge
    }

    fn image_error(&self, id: StageId, typed: &str, error: ResolveError) -> Diagnostic {
        let stage = &self.stages[id.0];
        let diagnostic = stage.error(error.message);
        if typed == "scratch:latest" {
            return diagnostic.with_help("the empty base is `scratch`, without a tag");
        }
        if self.by_name.contains_key(&typed.to_lowercase()) {
            return diagnostic.with_help(format!("the stage `{typed}` is defined below, move it above"));
        }
        let names = self.by_name.keys().map(String::as_str);
        if let Some(name) = text::nearest(typed, names) {
            return diagnostic.with_help(format!("did you mean the stage `{name}`?"));
        }
        match error.help {
            Some(help) => diagnostic.with_help(help),
            None if stage.is_hidden() && !typed.contains(['/', ':', '@']) => {
                diagnostic.with_help(format!("no stage above is named `{typed}` either"))
            }
            None => diagnostic,
        }
    }

    /// What a named context stands for: a filesystem, and a config where it is an
    /// image.
    fn load_context(&mut self, id: StageId, context: &NamedContext) -> Result<(State, Option<ImageConfig>)> {
        let place = context
            .place()
            .map_err(|message| self.stages[id.0].error(message))?;
        match place {
            Place::Empty => Ok((State::scratch(), None)),
            Place::Local(local_name) => Ok((self.local_context(id, context, &local_name), None)),
            Place::Git(git) => Ok((
                State::new(Some(self.git_source(&git, &context_label(context)))),
                None,
            )),
            Place::Http(address) => {
                let label = format!("[context {}] {address}", context.key);
                let edge = self.http_source(&address, "context", None, Constraints::named(label));
                Ok((State::new(Some(edge)), None))
            }
            Place::Packages(source) => {
                let platform = context
                    .platform
                    .clone()
                    .unwrap_or_else(|| self.target_platform.clone());
                let constraints = Constraints::named(context_label(context));
                let constraints = self.located(constraints, self.stages[id.0].span);
                let mut state = State::new(Some(self.deb_source(&source, &platform, constraints)));
                state.platform = Some(pb_platform(&platform.normalized()));
                Ok((state, None))
            }
            Place::Image(name) => self.context_image(id, context, &name),
        }
    }

    fn context_image(
        &mut self,
        id: StageId,
        context: &NamedContext,
        name: &ImageName,
    ) -> Result<(State, Option<ImageConfig>)> {
        let platform = context
            .platform
            .clone()
            .unwrap_or_else(|| self.target_platform.clone());
        let answer = self.image(name.clone(), &platform);
        let (_, image) = answer.map_err(|error| self.image_error(id, &context.name, error))?;
        let edge = match name {
            ImageName::Named(reference) => {
                let label = format!("[context {}] {}", context.key, context.typed_image());
                let mut constraints = Constraints::named(label).needs(caps::SOURCE_IMAGE);
                constraints.platform = context.platform.as_ref().map(pb_platform);
                let source = pb::SourceOp {
                    identifier: format!("docker-image://{reference}"),
                    ..pb::SourceOp::default()
                };
                self.graph.source(source, constraints)
            }
            ImageName::Layout { store, digest } => self.layout_source(context, store, *digest),
        };
        let mut state = State::new(Some(edge));
        state.platform = context
            .platform
            .as_ref()
            .map(|platform| pb_platform(&platform.normalized()));
        with_config(&mut state, &image);
        let image = ImageConfig {
            created: None,
            ..image
        };
        Ok((state, Some(image)))
    }
}

fn context_label(context: &NamedContext) -> String {
    format!("[context {}] {}", context.key, context.value)
}

/// Takes over what later steps in an image see of its config.
fn with_config(state: &mut State, image: &ImageConfig) {
    for entry in &image.config.env {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        if !key.is_empty() {
            state.env.set(key, value);
        }
    }
    state.dir = match image.config.working_dir.as_str() {
        dir if dir.starts_with('/') => dir.to_owned(),
        dir => crate::paths::join(&["/", dir]),
    };
    if !image.architecture.is_empty() && !image.os.is_empty() {
        state.platform = Some(pb_platform(&image.platform().normalized()));
    }
}

/// The config that an image without a base starts from.
fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig::new(platform);
    image.config.working_dir = "/".to_owned();
    if platform.os != "windows" {
        image.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    image
}
