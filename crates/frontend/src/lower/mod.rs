//! Lowers stages to ops. The order of things follows BuildKit's frontend wherever
//! it shows in digests, names, history or in what is refused.

mod args;
mod bases;
mod contexts;
mod copy;
mod directives;
mod dispatch;
mod epoch;
mod lint;
mod metadata;
mod mounts;
mod names;
mod onbuild;
mod outline;
mod remote;
mod run;
mod stages;

pub use directives::check_frontend;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use distil_dockerfile::expand::Expander;
use distil_dockerfile::lint::{Checks, Linter, Rule, Warning, check_file};
use distil_dockerfile::{Diagnostic, Dockerfile, Span, Word};
use distil_llb::{Constraints, Definition, Edge, EnvList, Graph, SourceMap, SourceMapId, caps, pb};
use distil_oci::Platform;
use distil_rootfs::ignore::PatternMatcher;

use crate::{Conversion, ImageResolver, Options, Outline, StageInfo, paths};
use stages::{Stage, StageId, Step};

/// Name of the local source that is the main build context.
const MAIN_CONTEXT: &str = "context";
/// Name of the empty base.
const SCRATCH: &str = "scratch";
/// Paths that every process finds programs in, unless the image says otherwise.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

type Result<T, E = Diagnostic> = std::result::Result<T, E>;

/// Which paths of a filesystem are read; stages built on each other share one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PathSetId(usize);

/// A local source of a named context, whose paths are known at the end.
struct PendingLocal {
    edge: Edge,
    stage: StageId,
}

pub(crate) struct Lowering<'a> {
    dockerfile: &'a Dockerfile,
    options: &'a Options,
    images: &'a dyn ImageResolver,
    graph: Graph,
    source_map: SourceMapId,
    build_context: Edge,
    /// `options.build_args` with the time stamp resolved.
    build_args: BTreeMap<String, String>,
    global_args: EnvList,
    target_platform: Platform,
    /// `SOURCE_DATE_EPOCH` in seconds.
    epoch: Option<i64>,
    stages: Vec<Stage<'a>>,
    by_name: BTreeMap<String, StageId>,
    path_sets: Vec<BTreeSet<String>>,
    pending_locals: Vec<PendingLocal>,
    /// Sources that are Debian packages.
    package_sources: BTreeSet<Edge>,
    known_images: bases::KnownImages,
    linter: &'a Linter<'a>,
    /// The main context's ignore patterns, compiled when the first source is checked against them.
    ignored: OnceCell<Option<PatternMatcher>>,
}

/// The whole conversion; see [`crate::convert`].
pub(crate) fn lower(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
    warn: &dyn Fn(Warning),
) -> Result<Conversion, Vec<Diagnostic>> {
    let options = &prepared(dockerfile, source, options)?;
    let linter = &linter(dockerfile, options, warn)?;
    let mut lowering = Lowering::new(dockerfile, source, options, images, linter);
    let (target, needed) = lowering.lower_stages(Extent::Target)?;
    refuse_broken_rules(linter)?;
    Ok(lowering.finish(target, &needed))
}

/// The checks alone; see [`crate::check`].
pub(crate) fn check(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
    warn: &dyn Fn(Warning),
) -> Result<(), Vec<Diagnostic>> {
    let options = &prepared(dockerfile, source, options)?;
    let linter = &linter(dockerfile, options, warn)?;
    let mut lowering = Lowering::new(dockerfile, source, options, images, linter);
    let extent = match options.target.as_deref() {
        None | Some("") => Extent::EveryStage,
        Some(_) => Extent::Target,
    };
    lowering.lower_stages(extent).map(|_| ())
}

/// What the target can be given; see [`crate::outline`].
pub(crate) fn outline(
    dockerfile: &Dockerfile,
    source: &[u8],
    options: &Options,
    images: &dyn ImageResolver,
) -> Result<Outline, Vec<Diagnostic>> {
    let options = &prepared(dockerfile, source, options)?;
    let linter = &Linter::new(Checks::default(), &|_| {});
    let mut lowering = Lowering::new(dockerfile, source, options, images, linter);
    let (target, _) = lowering.lower_stages(Extent::Target)?;
    lowering.outline(target).map_err(|error| vec![error])
}

/// Which stages are lowered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// What the target needs.
    Target,
    EveryStage,
}

/// The options with control arguments applied, once they and the file are known to be readable.
fn prepared(dockerfile: &Dockerfile, source: &[u8], options: &Options) -> Result<Options, Vec<Diagnostic>> {
    let one = |diagnostic| vec![diagnostic];
    if dockerfile.stages.is_empty() {
        return Err(one(
            Diagnostic::of_file("the file has no stage to build").with_help("add `FROM IMAGE`")
        ));
    }
    let options = options
        .with_control_args()
        .map_err(|error| one(Diagnostic::of_file(error.to_string())))?;
    check_frontend(source, &options).map_err(one)?;
    check_ignore_patterns(&options).map_err(one)?;
    Ok(options)
}

/// The checks that file and options ask for; what the text alone shows is told at once.
fn linter<'a>(
    dockerfile: &Dockerfile,
    options: &Options,
    warn: &'a dyn Fn(Warning),
) -> Result<Linter<'a>, Vec<Diagnostic>> {
    let checks = directives::checks(dockerfile, options).map_err(|error| vec![error])?;
    let linter = Linter::new(checks, warn);
    check_file(dockerfile, &linter);
    Ok(linter)
}

fn refuse_broken_rules(linter: &Linter<'_>) -> Result<(), Vec<Diagnostic>> {
    let broken: Vec<&str> = linter.refusing().into_iter().map(Rule::name).collect();
    if broken.is_empty() {
        return Ok(());
    }
    let error = Diagnostic::of_file(format!("lint violation found for rules: {}", broken.join(", ")));
    Err(vec![error.with_help(
        "`check=error=true` makes errors of warnings; `skip=Rule` beside it leaves a rule out",
    )])
}

impl<'a> Lowering<'a> {
    fn new(
        dockerfile: &'a Dockerfile,
        source: &[u8],
        options: &'a Options,
        images: &'a dyn ImageResolver,
        linter: &'a Linter<'a>,
    ) -> Self {
        let mut graph = Graph::default();
        let source_map = graph.add_source_map(SourceMap {
            filename: options.filename.clone(),
            language: "Dockerfile".to_owned(),
            data: source.to_vec(),
            definition: Some(dockerfile_definition(options)),
        });
        let ignored = options.ignore.get(MAIN_CONTEXT).map_or(&[][..], Vec::as_slice);
        let name = "[internal] load build context";
        let build_context = local_source(&mut graph, options, MAIN_CONTEXT, MAIN_CONTEXT, ignored, name);
        Self {
            dockerfile,
            options,
            images,
            graph,
            source_map,
            build_context,
            build_args: options.build_args.clone(),
            global_args: EnvList::default(),
            target_platform: options
                .target_platform
                .clone()
                .unwrap_or_else(|| options.build_platform.clone()),
            epoch: None,
            stages: Vec::new(),
            by_name: BTreeMap::new(),
            path_sets: Vec::new(),
            pending_locals: Vec::new(),
            package_sources: BTreeSet::new(),
            known_images: bases::KnownImages::default(),
            linter,
            ignored: OnceCell::new(),
        }
    }

    /// Everything between reading the options and the finished graph. Gives the target and the stages that were
    /// lowered.
    fn lower_stages(&mut self, extent: Extent) -> Result<(StageId, BTreeSet<StageId>), Vec<Diagnostic>> {
        let one = |diagnostic| vec![diagnostic];
        self.lint_default_bases();
        self.global_args().map_err(one)?;
        self.resolve_epoch().map_err(one)?;
        self.add_stages()?;
        let target = self.find_target().map_err(one)?;
        self.find_dependencies().map_err(one)?;
        let needed = self.resolve_bases(target, extent)?;
        self.dispatch_stages(&needed).map_err(one)?;
        Ok((target, needed))
    }

    fn expander(&self) -> Expander {
        Expander::new(self.dockerfile.escape)
    }

    /// Expands a word of an instruction with the stage's environment.
    fn expand(&self, id: StageId, step: &Step<'_>, word: &Word) -> Result<String> {
        self.expand_text(id, step, &word.value, step.place(word.span))
    }

    fn expand_text(&self, id: StageId, step: &Step<'_>, text: &str, place: Span) -> Result<String> {
        let env = &self.stages[id.0].state.env;
        let expansion = self
            .expander()
            .expand(text, &|name: &str| env.get(name).map(str::to_owned))
            .map_err(|error| Diagnostic::new(error.to_string(), place))?;
        self.lint_undefined(id, step, &expansion);
        Ok(expansion.text)
    }

    fn new_path_set(&mut self) -> PathSetId {
        self.path_sets.push(BTreeSet::new());
        PathSetId(self.path_sets.len() - 1)
    }

    /// Notes that `path` of what `stage` stands for is read.
    fn mark_path(&mut self, stage: StageId, path: &str) {
        let set = self.stages[stage.0].paths;
        self.path_sets[set.0].insert(paths::join(&["/", path]));
    }

    fn located(&self, constraints: Constraints, place: Option<Span>) -> Constraints {
        constraints.at(self.source_map, line_ranges(place))
    }

    fn finish(mut self, target: StageId, needed: &BTreeSet<StageId>) -> Conversion {
        self.mark_path(target, "/");
        let mut read = BTreeSet::new();
        for stage in &self.stages {
            read.extend(stage.context_paths.iter().cloned());
        }
        self.follow_paths(self.build_context, &read);
        for local in std::mem::take(&mut self.pending_locals) {
            let set = self.path_sets[self.stages[local.stage.0].paths.0].clone();
            self.follow_paths(local.edge, &set);
        }
        let platform = pb_platform(&self.target_platform);
        let definition = self
            .graph
            .definition(self.stages[target.0].state.output, &platform);
        let stages = self
            .stages
            .iter()
            .enumerate()
            .filter(|(_, stage)| stage.origin.is_some())
            .map(|(at, stage)| StageInfo {
                name: stage.name.clone().unwrap_or_else(|| format!("stage-{at}")),
                needed: needed.contains(&StageId(at)),
                steps: stage.step_total,
            })
            .collect();
        let local_contexts = local_names(&definition);
        let mut stage = self.stages.swap_remove(target.0);
        self.finish_image(&mut stage);
        Conversion {
            definition,
            platform: stage.image.platform(),
            image: stage.image,
            base_image: stage.base_image,
            epoch: self.epoch,
            stages,
            local_contexts,
        }
    }

    /// The platform that was asked for and the options' labels win.
    fn finish_image(&self, stage: &mut Stage<'_>) {
        let image = &mut stage.image;
        image.config.labels.extend(self.options.labels.clone());
        if self.options.target_platform.is_some() {
            let wanted = &self.target_platform;
            let same = wanted.os == image.os && wanted.architecture == image.architecture;
            image.os.clone_from(&wanted.os);
            image.architecture.clone_from(&wanted.architecture);
            if !wanted.variant.is_empty() || !same {
                image.variant.clone_from(&wanted.variant);
            }
            if !wanted.os_version.is_empty() || !same {
                image.os_version.clone_from(&wanted.os_version);
            }
        }
        // A local directory in place of the stage says nothing of a platform.
        if image.architecture.is_empty() || image.os.is_empty() {
            image.set_platform(&self.target_platform);
        }
        let normalized = image.platform().normalized();
        image.set_platform(&normalized);
    }

    /// Limits a local source to the paths that are read, unless that is all of it.
    fn follow_paths(&mut self, edge: Edge, read: &BTreeSet<String>) {
        if read.is_empty() || read.contains("/") {
            return;
        }
        let mut follow: Vec<String> = read.iter().map(|path| paths::join(&[".", path])).collect();
        follow.sort();
        self.graph.set_attr(
            edge,
            "local.followpaths",
            json_list(&follow),
            caps::SOURCE_LOCAL_FOLLOW_PATHS,
        );
    }
}

/// A directory of the client.
fn local_source(
    graph: &mut Graph,
    options: &Options,
    local_name: &str,
    hint: &str,
    excludes: &[String],
    display: &str,
) -> Edge {
    let source = pb::SourceOp {
        identifier: format!("local://{local_name}"),
        ..pb::SourceOp::default()
    };
    let edge = graph.source(source, Constraints::named(display).needs(caps::SOURCE_LOCAL));
    if !options.session.is_empty() {
        let session = options.session.clone();
        graph.set_attr(edge, "local.session", session, caps::SOURCE_LOCAL_SESSION_ID);
    }
    if !excludes.is_empty() {
        let excludes = json_list(excludes);
        graph.set_attr(
            edge,
            "local.excludepatterns",
            excludes,
            caps::SOURCE_LOCAL_EXCLUDE_PATTERNS,
        );
    }
    let hint = hint.to_owned();
    graph.set_attr(
        edge,
        "local.sharedkeyhint",
        hint,
        caps::SOURCE_LOCAL_SHARED_KEY_HINT,
    );
    edge
}

/// The graph that reads the Dockerfile itself, kept in the source map.
fn dockerfile_definition(options: &Options) -> Definition {
    let filename = &options.filename;
    let mut follow = vec![filename.clone(), format!("{filename}.dockerignore")];
    if paths::base(filename) == "Dockerfile" {
        follow.push(paths::join(&[&paths::dir(filename), "dockerfile"]));
    }
    let mut graph = Graph::default();
    let display = format!("[internal] load build definition from {filename}");
    let edge = local_source(&mut graph, options, "dockerfile", "dockerfile", &[], &display);
    let follow = json_list(&follow);
    graph.set_attr(edge, "local.followpaths", follow, caps::SOURCE_LOCAL_FOLLOW_PATHS);
    // Without a capability: builders that compare anyway are right too.
    graph.set_attr(edge, "local.differ", "none".to_owned(), caps::SOURCE_LOCAL);
    graph.definition(Some(edge), &pb_platform(&options.build_platform))
}

/// Compact JSON as Go writes it: also `<`, `>` and `&` are escaped.
fn json_list(items: &[String]) -> String {
    serde_json::Value::from(items)
        .to_string()
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// One range per line, as BuildKit's parser has them.
fn line_ranges(place: Option<Span>) -> Vec<pb::Range> {
    let Some(span) = place else {
        return Vec::new();
    };
    (span.first_line..=span.last_line.max(span.first_line))
        .map(|line| {
            let position = pb::Position {
                line: i32::try_from(line).unwrap_or(i32::MAX),
                character: 0,
            };
            pb::Range {
                start: Some(position),
                end: Some(position),
            }
        })
        .collect()
}

fn pb_platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

fn local_names(definition: &Definition) -> Vec<String> {
    let Ok(graph) = definition.load() else {
        return Vec::new();
    };
    let names: BTreeSet<String> = graph
        .nodes()
        .iter()
        .filter_map(|node| match &node.kind {
            pb::op::Kind::Source(source) => source.identifier.strip_prefix("local://"),
            _ => None,
        })
        .map(str::to_owned)
        .collect();
    names.into_iter().collect()
}

/// A pattern that the builder cannot read is an error even where nothing is
/// copied.
fn check_ignore_patterns(options: &Options) -> Result<()> {
    for pattern in options.ignore.values().flatten() {
        let text = pattern.trim();
        let bare = text.strip_prefix('!').unwrap_or(text);
        if bare.is_empty() && !text.is_empty() {
            return Err(
                Diagnostic::of_file("the ignore file has the pattern `!`, which excepts nothing")
                    .with_help("write what is to be kept behind the `!`"),
            );
        }
        if !is_glob(bare) {
            return Err(Diagnostic::of_file(format!(
                "the ignore file has the malformed pattern `{pattern}`"
            ))
            .with_help("close every `[` with `]` and let no `\\` stand at the end"));
        }
    }
    Ok(())
}

/// Whether brackets are closed and escapes complete, by the rules of Go's
/// `filepath.Match`.
fn is_glob(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    // One character of a class, escape resolved; `None` when there is none.
    fn class_char(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
        match chars.next()? {
            '-' | ']' => None,
            '\\' => chars.next(),
            c => Some(c),
        }
    }
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return false,
            '[' => {
                chars.next_if_eq(&'^');
                let mut count = 0;
                loop {
                    if count > 0 && chars.next_if_eq(&']').is_some() {
                        break;
                    }
                    if class_char(&mut chars).is_none() {
                        return false;
                    }
                    if chars.next_if_eq(&'-').is_some() && class_char(&mut chars).is_none() {
                        return false;
                    }
                    count += 1;
                }
            }
            _ => {}
        }
    }
    true
}
