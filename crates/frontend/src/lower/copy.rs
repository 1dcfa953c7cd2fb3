//! COPY and ADD.

use distil_dockerfile::expand::Expander;
use distil_dockerfile::{Add, Copy, Diagnostic, Sources, Word};
use distil_llb::{ClosureCopy, Constraints, Edge, FileAction, Owner, pb};
use distil_oci::Digest;

use super::remote::{download_name, is_http};
use super::stages::{StageId, Step};
use super::{Lowering, Result};
use crate::values::FileMode;
use crate::{git, paths, values};

/// What COPY and ADD have in common.
#[derive(Clone, Copy)]
pub(super) struct CopyJob<'c> {
    sources: &'c Sources,
    chown: Option<&'c Word>,
    chmod: Option<&'c Word>,
    checksum: Option<&'c Word>,
    exclude: &'c [Word],
    link: bool,
    parents: bool,
    closure: bool,
    keep_git_dir: Option<bool>,
    unpack: Option<bool>,
    is_add: bool,
}

impl<'c> CopyJob<'c> {
    pub(super) fn of_copy(copy: &'c Copy) -> Self {
        Self {
            sources: &copy.sources,
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            checksum: None,
            exclude: &copy.exclude,
            link: copy.link,
            parents: copy.parents,
            closure: copy.closure,
            keep_git_dir: None,
            unpack: None,
            is_add: false,
        }
    }

    pub(super) fn of_add(add: &'c Add) -> Self {
        Self {
            sources: &add.sources,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            checksum: add.checksum.as_ref(),
            exclude: &add.exclude,
            link: add.link,
            parents: false,
            closure: false,
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
            is_add: true,
        }
    }
}

/// The job with its words expanded.
struct Expanded<'c> {
    job: CopyJob<'c>,
    chown: String,
    chmod: String,
    checksum: String,
    paths: Vec<String>,
    dest: String,
    contents: Vec<String>,
}

impl Expanded<'_> {
    fn mode(&self, step: &Step<'_>) -> Result<Option<FileMode>> {
        if self.chmod.is_empty() {
            return Ok(None);
        }
        let place = self.job.chmod.map_or(step.span, |word| step.place(word.span));
        let mode = values::file_mode(&self.chmod).map_err(|message| Diagnostic::new(message, place))?;
        Ok(Some(mode))
    }

    /// The destination below the working directory.
    fn destination(&self, directory: &str) -> String {
        let directory = if self.dest.starts_with('/') {
            "/"
        } else {
            directory
        };
        let dest = match self.dest.as_str() {
            "." | "" => "./",
            dest => dest,
        };
        paths::below(directory, dest, true)
    }
}

/// What every copy action of one instruction shares.
struct Common {
    dest: String,
    owner: Option<Owner>,
    mode: Option<FileMode>,
    exclude: Vec<String>,
    /// The step's name, which downloads carry too.
    shown: String,
}

impl Common {
    fn action(&self, source: Option<Edge>, src: &str, copy: pb::FileActionCopy) -> FileAction {
        let (mode, mode_str) = mode_fields(self.mode.as_ref());
        let copy = pb::FileActionCopy {
            src: paths::join(&["/", &paths::clean(src)]),
            dest: paths::absolute("/", &self.dest, true),
            mode,
            mode_str,
            create_dest_path: true,
            timestamp: -1,
            exclude_patterns: self.exclude.clone(),
            ..copy
        };
        FileAction::Copy {
            source,
            copy,
            owner: self.owner.clone(),
        }
    }
}

impl Lowering<'_> {
    pub(super) fn add_files(&mut self, id: StageId, step: &Step<'_>, job: CopyJob<'_>) -> Result<()> {
        let expanded = self.expand_copy(id, step, job)?;
        self.copy(id, step, &expanded, Some(self.build_context))?;
        let local = expanded
            .paths
            .iter()
            .filter(|path| !path.starts_with("http://") && !path.starts_with("https://"));
        let local = local.map(|path| paths::join(&["/", path]));
        self.stages[id.0].context_paths.extend(local);
        Ok(())
    }

    pub(super) fn copy_files(&mut self, id: StageId, step: &Step<'_>, job: CopyJob<'_>) -> Result<()> {
        if job.closure {
            return self.copy_closure(id, step, job);
        }
        let expanded = self.expand_copy(id, step, job)?;
        let source = match step.sources.first() {
            None => Some(self.build_context),
            Some(&stage) => {
                self.earlier_stage(id, stage, step)?;
                self.stages[stage.0].state.output
            }
        };
        self.copy(id, step, &expanded, source)?;
        for path in &expanded.paths {
            match step.sources.first() {
                None => {
                    self.stages[id.0].context_paths.insert(paths::join(&["/", path]));
                }
                Some(&stage) => self.mark_path(stage, path),
            }
        }
        Ok(())
    }

    /// `COPY --closure`: one op of its own, for what it reads is only known from the files.
    fn copy_closure(&mut self, id: StageId, step: &Step<'_>, job: CopyJob<'_>) -> Result<()> {
        let Some(&from) = step.sources.first() else {
            let error = Diagnostic::new(
                "`--closure` needs `--from`: libraries are looked for in a stage",
                step.span,
            );
            return Err(error.with_help("name the stage that the program was built or installed in"));
        };
        check_closure(job).map_err(|message| Diagnostic::new(message, step.span))?;
        let expanded = self.expand_copy(id, step, job)?;
        self.earlier_stage(id, from, step)?;
        let Some(source) = self.stages[from.0].state.output else {
            let name = &self.stages[from.0].label;
            return Err(Diagnostic::new(format!("the stage `{name}` is empty"), step.span));
        };
        let (mode, mode_str) = mode_fields(expanded.mode(step)?.as_ref());
        let stage = &self.stages[id.0];
        let closure = ClosureCopy {
            paths: expanded
                .paths
                .iter()
                .map(|path| paths::below("/", path, false))
                .collect(),
            dest: paths::absolute("/", &expanded.destination(&stage.state.dir), true),
            owner: (!expanded.chown.is_empty()).then(|| Owner::parse(&expanded.chown)),
            mode,
            mode_str,
            exclude: job.exclude.iter().map(|word| word.value.clone()).collect(),
        };
        let platform = stage.platform.clone();
        let base = stage.state.output;
        let text = self.shown_text(id, step);
        let shown = self.step_name(id, &text, platform.as_ref());
        let mut constraints = self.located(Constraints::named(&shown), Some(step.span));
        constraints.metadata.ignore_cache = self.stages[id.0].ignore_cache;
        let edge = self.graph.closure(base, source, closure, constraints);
        self.stages[id.0].state.output = Some(edge);
        self.record(id, copy_history(&expanded), true);
        self.mark_path(from, "/");
        Ok(())
    }

    fn expand_copy<'c>(&self, id: StageId, step: &Step<'_>, job: CopyJob<'c>) -> Result<Expanded<'c>> {
        let optional = |word: Option<&Word>| match word {
            Some(word) => self.expand(id, step, word),
            None => Ok(String::new()),
        };
        let env = &self.stages[id.0].state.env;
        let contents = job.sources.inline.iter().map(|file| {
            if !file.expand {
                return Ok(file.content.clone());
            }
            let lookup = |name: &str| env.get(name).map(str::to_owned);
            match Expander::heredoc_body().expand(&file.content, &lookup) {
                Ok(expansion) => {
                    self.lint_undefined(id, step, &expansion);
                    Ok(expansion.text)
                }
                Err(error) => {
                    let message = format!("cannot expand the text of `<<{}`: {}", file.name, error.reason);
                    Err(Diagnostic::new(message, step.place(file.span)))
                }
            }
        });
        Ok(Expanded {
            job,
            chown: optional(job.chown)?,
            chmod: optional(job.chmod)?,
            checksum: optional(job.checksum)?,
            paths: job
                .sources
                .paths
                .iter()
                .map(|word| self.expand(id, step, word))
                .collect::<Result<_>>()?,
            dest: self.expand(id, step, &job.sources.dest)?,
            contents: contents.collect::<Result<_>>()?,
        })
    }

    fn copy(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        copy: &Expanded<'_>,
        source: Option<Edge>,
    ) -> Result<()> {
        let place = |word: Option<&Word>| word.map_or(step.span, |word| step.place(word.span));
        let mode = copy.mode(step)?;
        check_checksum(copy).map_err(|message| Diagnostic::new(message, place(copy.job.checksum)))?;
        let stage = &self.stages[id.0];
        let dest = copy.destination(&stage.state.dir);
        let platform = stage.platform.clone();
        let text = self.shown_text(id, step);
        let shown = self.step_name(id, &text, platform.as_ref());
        let common = Common {
            dest,
            owner: (!copy.chown.is_empty()).then(|| Owner::parse(&copy.chown)),
            mode,
            exclude: copy.job.exclude.iter().map(|word| word.value.clone()).collect(),
            shown,
        };
        let mut actions = Vec::new();
        for (path, word) in copy.paths.iter().zip(&copy.job.sources.paths) {
            let is_local = !is_http(path) && git::parse(path).is_none();
            if is_local && step.sources.is_empty() {
                self.lint_ignored(step, copy.job.is_add, path);
            }
            let action = self.source_action(copy, &common, source, path);
            actions.push(action.map_err(|message| Diagnostic::new(message, step.place(word.span)))?);
        }
        for (file, content) in copy.job.sources.inline.iter().zip(&copy.contents) {
            let edge = self.inline_file(&file.name, 0o644, content.clone().into_bytes());
            actions.push(common.action(Some(edge), &file.name, pb::FileActionCopy::default()));
        }
        // Packages go through the links of the stage's files, which a layer of its own cannot see.
        let is_packages = source.is_some_and(|source| self.package_sources.contains(&source));
        let linked = copy.job.link && copy.chmod.is_empty() && !is_packages;
        self.add_copy_op(id, step, actions, &common.shown, linked.then_some(text.as_str()));
        self.record(id, copy_history(copy), true);
        Ok(())
    }

    /// Puts the actions on the stage's filesystem; a link is made on an empty one
    /// and laid over it, `link` being its text.
    fn add_copy_op(
        &mut self,
        id: StageId,
        step: &Step<'_>,
        actions: Vec<FileAction>,
        shown: &str,
        link: Option<&str>,
    ) {
        let mut constraints = self.located(Constraints::named(shown), Some(step.span));
        constraints.metadata.ignore_cache = self.stages[id.0].ignore_cache;
        let base = self.stages[id.0].state.output;
        let Some(text) = link else {
            let edge = self.graph.file(base, actions, constraints);
            self.stages[id.0].state.output = Some(edge);
            return;
        };
        let group = |weak: bool| pb::ProgressGroup {
            id: group_id(id, step, shown),
            name: shown.to_owned(),
            weak,
        };
        let mut copy = constraints.clone();
        copy.metadata.progress_group = Some(group(true));
        let copied = self.graph.file(None, actions, copy);
        // The merge has the copy's number.
        let stage = &mut self.stages[id.0];
        stage.step_index -= usize::from(stage.step_total > 0);
        let platform = stage.platform.clone();
        let merged = self.step_name(id, &format!("LINK {text}"), platform.as_ref());
        let mut merge = constraints.describe("llb.customname", merged);
        merge.metadata.progress_group = Some(group(false));
        self.stages[id.0].state.output = self.graph.merge(&[base, Some(copied)], merge);
    }

    fn source_action(
        &mut self,
        copy: &Expanded<'_>,
        common: &Common,
        source: Option<Edge>,
        path: &str,
    ) -> Result<FileAction, String> {
        if let Some(address) = git::parse(path) {
            let address = address?;
            if !copy.job.is_add {
                return Err(format!("COPY does not take the git address `{path}`, use ADD"));
            }
            return self.git_action(copy, common, address);
        }
        if is_http(path) {
            if !copy.job.is_add {
                return Err(format!("COPY does not download `{path}`, use ADD"));
            }
            let name = download_name(path);
            let checksum = match copy.checksum.as_str() {
                "" => None,
                text => Some(
                    text.parse::<Digest>()
                        .map_err(|error| error.to_string())?
                        .to_string(),
                ),
            };
            let constraints = Constraints::named(common.shown.clone())
                .describe("com.docker.dockerfile.v1.command", String::new());
            let edge = self.http_source(path, &name, checksum, constraints);
            let options = pb::FileActionCopy {
                attempt_unpack_docker_compatibility: copy.job.unpack == Some(true),
                ..pb::FileActionCopy::default()
            };
            return Ok(common.action(Some(edge), &name, options));
        }
        Ok(file_action(copy.job, common, source, path))
    }

    fn git_action(
        &mut self,
        copy: &Expanded<'_>,
        common: &Common,
        mut address: git::GitAddress,
    ) -> Result<FileAction, String> {
        if let (Some(flag), Some(query)) = (copy.job.keep_git_dir, address.keep_git_dir)
            && flag != query
        {
            return Err("`--keep-git-dir` and the address's query `keep-git-dir` differ".to_owned());
        }
        address.keep_git_dir = address.keep_git_dir.or(copy.job.keep_git_dir);
        if !copy.checksum.is_empty() && !address.checksum.is_empty() && copy.checksum != address.checksum {
            return Err(format!(
                "`--checksum={}` and the address's `{}` differ",
                copy.checksum, address.checksum
            ));
        }
        if address.checksum.is_empty() {
            address.checksum.clone_from(&copy.checksum);
        }
        let edge = self.git_source(&address, &common.shown);
        Ok(common.action(Some(edge), "/", pb::FileActionCopy::default()))
    }
}

/// A copy of files of the context or a stage.
fn file_action(job: CopyJob<'_>, common: &Common, source: Option<Edge>, path: &str) -> FileAction {
    let mut options = pb::FileActionCopy {
        follow_symlink: true,
        dir_copy_contents: true,
        attempt_unpack_docker_compatibility: job.unpack.unwrap_or(job.is_add),
        allow_wildcard: true,
        allow_empty_wildcard: true,
        ..pb::FileActionCopy::default()
    };
    let mut src = path;
    if job.parents {
        // What stands before `/./` is left out at the destination.
        let (root, pattern) = path.split_once("/./").unwrap_or(("/", path));
        let pattern = paths::below("/", pattern, false);
        options.include_patterns = vec![pattern.strip_prefix('/').unwrap_or(&pattern).to_owned()];
        if !paths::has_wildcard(root) && !paths::has_wildcard(&pattern) {
            let required = paths::join(&[root, &pattern]);
            options.required_paths = vec![paths::below("/", &required, false)];
        }
        src = root;
    }
    let src = paths::below("/", src, false);
    common.action(source, &src, options)
}

/// The two fields of a mode on the wire.
fn mode_fields(mode: Option<&FileMode>) -> (i32, String) {
    match mode {
        None => (-1, String::new()),
        Some(FileMode::Bits(bits)) => (*bits, String::new()),
        Some(FileMode::Symbolic(text)) => (0, text.clone()),
    }
}

/// What a closure cannot be combined with.
fn check_closure(job: CopyJob<'_>) -> Result<(), &'static str> {
    if job.link {
        return Err(
            "`--closure` and `--link` exclude each other: files go through the links of what they are put on",
        );
    }
    if job.parents {
        return Err("`--closure` keeps every path as it is; leave `--parents` out");
    }
    if !job.sources.inline.is_empty() {
        return Err("a heredoc needs nothing from another stage; copy it without `--closure`");
    }
    Ok(())
}

fn check_checksum(copy: &Expanded<'_>) -> Result<(), String> {
    if copy.checksum.is_empty() {
        return Ok(());
    }
    match copy.paths.as_slice() {
        [only] if is_http(only) || matches!(git::parse(only), Some(Ok(_))) => Ok(()),
        [only] => Err(format!(
            "`--checksum` is for downloads, and `{only}` is a file of the context"
        )),
        _ => Err("`--checksum` is for one source".to_owned()),
    }
}

/// `COPY --chown=1:2 a b /c # buildkit`
fn copy_history(copy: &Expanded<'_>) -> String {
    let mut parts = vec![if copy.job.is_add { "ADD" } else { "COPY" }.to_owned()];
    for (flag, given) in [("--parents", copy.job.parents), ("--closure", copy.job.closure)] {
        if given {
            parts.push(flag.to_owned());
        }
    }
    for (flag, value) in [("--chown=", &copy.chown), ("--chmod=", &copy.chmod)] {
        if !value.is_empty() {
            parts.push(format!("{flag}{value}"));
        }
    }
    parts.extend(copy.paths.iter().cloned());
    parts.extend(
        copy.job
            .sources
            .inline
            .iter()
            .map(|file| format!("<<{}", file.name)),
    );
    parts.push(copy.dest.clone());
    parts.join(" ") + " # buildkit"
}

/// Joins the two ops of a link in progress; any text will do that is unique in
/// the build, and the same text for the same step keeps the graph reproducible.
fn group_id(id: StageId, step: &Step<'_>, shown: &str) -> String {
    let key = format!("{}\0{}\0{shown}", id.0, step.span.start);
    let mut hex = Digest::sha256(key.as_bytes()).hex();
    hex.truncate(25);
    hex
}
