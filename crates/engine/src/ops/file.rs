//! File operations: COPY, ADD, WORKDIR and the like.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distil_layer::{TarOptions, TarSummary, hash_told};
use distil_llb::pb::file_action::Kind;
use distil_llb::{OutputRef, pb};
use distil_oci::Digest;
use distil_rootfs::content::FileDigests;
use distil_rootfs::{
    Conflict, CopyReport, CopySpec, FileMode, LinkSource, ListedTree, MkdirSpec, MkfileSpec, Owner, Placed,
    RmSpec, SymbolicMode, SymlinkSpec, Timestamp, Tree, TreeError, Upper, UpperError, content,
};
use distil_snapshot::{ActiveSnapshot, CommitOptions};
use distil_solver::{CacheMap, Content, Op, OpContext, OpError, Outputs, Resource, ResultHandle, Stream};

use super::owner::{Unknown, resolve_owner};
use super::{OpEnvironment, Output, cache_map, package_copy, with_flag};
use crate::cache_map::OpKey;
use crate::links::{self, Earlier};
use crate::origins;

/// A chain or tree of file actions, each chain of which becomes one layer.
pub(super) struct FileOp {
    file: pb::FileOp,
    /// Shown to users; has the instruction as it was written.
    name: String,
    key: OpKey,
    environment: Arc<OpEnvironment>,
    /// Where the inputs come from.
    sources: Vec<OutputRef>,
    /// Numbers of the inputs that are Debian packages.
    packages: BTreeSet<i64>,
    /// Its layer is one of the result's, whose diff IDs are asked for.
    in_result: bool,
    /// What is known of the inputs while the operation is looked at and run.
    seen: Mutex<BTreeMap<usize, Seen>>,
}

/// What is known of an input.
#[derive(Clone)]
struct Seen {
    /// Its files, which are listed once.
    tree: ListedTree,
    /// Digests of its files, from computing its content key: what is linked from an earlier layer need not be
    /// read again.
    files: Option<Arc<FileDigests>>,
    /// The content key, of an input that cannot change.
    digest: Option<Digest>,
}

impl FileOp {
    pub(super) fn new(file: pb::FileOp, name: String, key: OpKey, environment: Arc<OpEnvironment>) -> Self {
        Self {
            file,
            name,
            key,
            environment,
            sources: Vec::new(),
            packages: BTreeSet::new(),
            in_result: false,
            seen: Mutex::default(),
        }
    }

    /// Says where the inputs come from, and which are Debian packages: those are copied as dpkg would unpack them.
    pub(super) fn reading(self, sources: Vec<OutputRef>, packages: BTreeSet<i64>) -> Self {
        Self {
            sources,
            packages,
            ..self
        }
    }

    /// Says whether its layer is one of the result's.
    pub(super) fn in_result(self, in_result: bool) -> Self {
        Self { in_result, ..self }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeMap<usize, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of input `index`, which is `output`.
    fn input(&self, index: usize, output: &Output) -> Result<Seen, OpError> {
        if let Some(seen) = self.seen().get(&index) {
            return Ok(seen.clone());
        }
        let tree = output.tree(&self.environment.snapshotter)?;
        let new = Seen {
            tree: ListedTree::new(tree),
            files: None,
            digest: None,
        };
        Ok(self.seen().entry(index).or_insert(new).clone())
    }

    /// Base and source of an operation that only copies from one source, besides making directories, in one
    /// chain; `inputs` is the number of its inputs.
    fn single_copy(&self, inputs: usize) -> Option<(i64, i64)> {
        let actions = &self.file.actions;
        let mut sources = Vec::new();
        for (at, action) in actions.iter().enumerate() {
            let chained = at == 0 || action.input == (inputs + at - 1) as i64;
            let last = at + 1 == actions.len();
            if !chained || action.output != if last { 0 } else { -1 } {
                return None;
            }
            match action.action {
                Some(Kind::Copy(_)) => sources.push(action.secondary_input),
                Some(Kind::Mkdir(_)) => {}
                _ => return None,
            }
        }
        let (first, [source]) = (actions.first()?, sources.as_slice()) else {
            return None;
        };
        let known = |input: i64| input < inputs as i64;
        (known(first.input) && known(*source) && !self.packages.contains(source))
            .then_some((first.input, *source))
    }
}

impl Op for FileOp {
    fn cache_map(&self, _ctx: &OpContext) -> Result<CacheMap, OpError> {
        Ok(cache_map(&self.key, Content::Measured))
    }

    fn maps_inline(&self) -> bool {
        true
    }

    fn resource(&self) -> Resource {
        Resource::Cpu
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
        let output = Output::of(result);
        let tree = self.input(input, &output)?.tree;
        let (digest, files) = with_flag(ctx.cancel(), |flag| {
            // Digests of files are of use only where an earlier run left something to link.
            if links::exists(&self.environment.store, &self.key.digest) {
                return content::digest_paths_recording(&tree, selector, flag)
                    .map(|(digest, files)| (digest, Some(Arc::new(files))))
                    .map_err(OpError::failed);
            }
            let digest = content::digest_paths(&tree, selector, flag).map_err(OpError::failed)?;
            Ok((digest, None))
        })?;
        let digest = Digest::from_bytes(digest);
        if let Some(seen) = self.seen().get_mut(&input) {
            seen.files = files;
            seen.digest = matches!(output, Output::Layers(_)).then_some(digest);
        }
        Ok(Some(digest))
    }

    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        let run = Run {
            op: self,
            ctx,
            inputs: inputs.iter().map(Output::of).collect(),
            reports: BTreeMap::new(),
            only_copies: true,
            unfit: false,
            tar: None,
        };
        let outputs = run.all();
        self.seen().clear();
        outputs
    }
}

/// The result of one action while the others run.
enum State {
    /// Still being written by the chain that it belongs to.
    Open(ActiveSnapshot),
    Done(Output),
    /// Went on into the next action.
    Moved,
}

struct Run<'a> {
    op: &'a FileOp,
    ctx: &'a OpContext,
    inputs: Vec<Output>,
    /// What was copied from each source; -1 is the empty root.
    reports: BTreeMap<i64, CopyReport>,
    /// Nothing but copies of files wrote files to the layer.
    only_copies: bool,
    /// What is copied cannot be added to the layer of an earlier run.
    unfit: bool,
    /// The tar of the layer, where it was hashed while its files were copied.
    tar: Option<TarSummary>,
}

impl Run<'_> {
    fn all(mut self) -> Result<Outputs, OpError> {
        let found = links::find(&self.op.environment.snapshotter, &self.op.key.digest);
        if let Some((earlier, source)) = &found {
            let below = LinkSource {
                below: true,
                ..source.clone()
            };
            if let Some(layers) = self.add(earlier.clone(), &below)? {
                return self.outputs(vec![Some(layers.into_handle())]);
            }
            self.reports.clear();
            self.only_copies = true;
        }
        let results = self.write(found.map(|(_, source)| source).as_ref())?;
        self.outputs(results)
    }

    fn outputs(&self, results: Vec<Option<ResultHandle>>) -> Result<Outputs, OpError> {
        let content = (0..self.inputs.len())
            .map(|input| self.measured(input))
            .collect::<Result<_, _>>()?;
        Ok(Outputs { results, content })
    }

    /// Adds to the layer of an earlier run what is new or changed since; `None` where that does not give what a
    /// layer of its own would be.
    fn add(&mut self, earlier: Earlier, previous: &LinkSource) -> Result<Option<Output>, OpError> {
        let snapshotter = &self.op.environment.snapshotter;
        let Some((base, source)) = self.op.single_copy(self.inputs.len()) else {
            return Ok(None);
        };
        let mut layers = match usize::try_from(base) {
            Ok(input) => self.inputs[input].layers(snapshotter)?,
            Err(_) => Vec::new(),
        };
        let Some(entries) = earlier.entries_on(&layers) else {
            return Ok(None);
        };
        let before = snapshotter.info(earlier.layer).map_err(OpError::failed)?;
        let active = snapshotter.prepare_addition(&layers, earlier.layer);
        let active = active.map_err(OpError::failed)?;
        for action in &self.op.file.actions {
            self.apply(action, &active, &[], Some(previous))?;
        }
        let mut report = self.reports.remove(&source).unwrap_or_default();
        // What is gone from the source would still be in the earlier layer.
        let tree = report.tree.filter(|tree| tree.found == entries);
        let Some(tree) = tree.filter(|_| self.only_copies && !self.unfit) else {
            return Ok(None);
        };
        let inodes = before.inodes.saturating_sub(entries).saturating_add(tree.entries);
        let options = CommitOptions {
            manifest: Some(std::mem::take(&mut report.manifest)),
            added: Some((report.bytes, inodes)),
            ..CommitOptions::default()
        };
        let layer = active.commit(options).map_err(OpError::failed)?;
        layers.push(layer.id);
        let placed = vec![(source, std::mem::take(&mut report.placed))];
        origins::remember(&self.op.environment, layer.id, &self.copies(placed));
        let (store, copy) = (&self.op.environment.store, &self.op.key.digest);
        links::remember(store, copy, &earlier.after(&tree));
        self.reports.insert(source, report);
        Ok(Some(Output::Layers(layers)))
    }

    /// Runs the actions, each chain into a layer of its own.
    fn write(&mut self, previous: Option<&LinkSource>) -> Result<Vec<Option<ResultHandle>>, OpError> {
        let actions = &self.op.file.actions;
        let mut states: Vec<State> = Vec::with_capacity(actions.len());
        let mut results: Vec<Option<ResultHandle>> = Vec::new();
        for (at, action) in actions.iter().enumerate() {
            let active = self.start(action.input, &mut states)?;
            // What was copied belongs to a layer each only as long as one is written at a time.
            self.only_copies &= !states.iter().any(|state| matches!(state, State::Open(_)));
            self.apply(action, &active, &states, previous)?;
            let output = usize::try_from(action.output).ok();
            if output.is_none() && self.goes_on(at) {
                states.push(State::Open(active));
                continue;
            }
            let layers = self.commit(active)?;
            if let Some(output) = output {
                if results.len() <= output {
                    results.resize(output + 1, None);
                }
                results[output] = Some(layers.clone().into_handle());
            }
            states.push(State::Done(layers));
        }
        Ok(results)
    }

    /// The content digest of what the operation read of an input: of the bytes that were copied, and of what
    /// was read besides, such as account files.
    fn measured(&self, input: usize) -> Result<Option<Digest>, OpError> {
        let Some(selector) = self.op.key.inputs.get(input).and_then(|key| key.content.as_ref()) else {
            return Ok(None);
        };
        let seen = self.op.input(input, &self.inputs[input])?;
        if seen.digest.is_some() {
            return Ok(seen.digest);
        }
        let copied = self.reports.get(&(input as i64)).map(|report| &report.digests);
        with_flag(self.ctx.cancel(), |flag| {
            match copied {
                Some(copied) => content::digest_paths_known(&seen.tree, selector, copied, flag),
                None => content::digest_paths(&seen.tree, selector, flag),
            }
            .map(|digest| Some(Digest::from_bytes(digest)))
            .map_err(OpError::failed)
        })
    }

    /// Whether the result of action `at` is only the base of one later action, which then goes on in the
    /// same layer.
    fn goes_on(&self, at: usize) -> bool {
        let index = (self.inputs.len() + at) as i64;
        let mut as_base = 0;
        for action in &self.op.file.actions {
            as_base += usize::from(action.input == index);
            if action.secondary_input == index {
                return false;
            }
        }
        as_base == 1
    }

    fn start(&self, input: i64, states: &mut [State]) -> Result<ActiveSnapshot, OpError> {
        let snapshotter = &self.op.environment.snapshotter;
        let Ok(index) = usize::try_from(input) else {
            return snapshotter.prepare(&[]).map_err(OpError::failed);
        };
        if let Some(output) = self.inputs.get(index) {
            return snapshotter
                .prepare(&output.layers(snapshotter)?)
                .map_err(OpError::failed);
        }
        let state = states.get_mut(index - self.inputs.len());
        match state.map(|state| std::mem::replace(state, State::Moved)) {
            Some(State::Open(active)) => Ok(active),
            Some(State::Done(output)) => {
                let active = snapshotter
                    .prepare(&output.layers(snapshotter)?)
                    .map_err(OpError::failed)?;
                states[index - self.inputs.len()] = State::Done(output);
                Ok(active)
            }
            Some(State::Moved) | None => Err(OpError::failed("a file action names a result out of order")),
        }
    }

    fn commit(&mut self, active: ActiveSnapshot) -> Result<Output, OpError> {
        let mut layers = active.lower().to_vec();
        let placed: Vec<_> = (self.reports.iter_mut())
            .map(|(input, report)| (*input, std::mem::take(&mut report.placed)))
            .collect();
        let tree = match self.op.single_copy(self.inputs.len()) {
            Some((_, source)) if self.only_copies => self.reports.get(&source).and_then(|report| report.tree),
            _ => None,
        };
        // Files of several sources have several manifests: such a layer is not linked from.
        let taken = self
            .reports
            .values_mut()
            .map(|report| std::mem::take(&mut report.manifest));
        let mut manifests: Vec<_> = taken.filter(|manifest| !manifest.is_empty()).collect();
        let manifest = manifests
            .pop()
            .filter(|_| manifests.is_empty() && self.only_copies);
        self.only_copies = true;
        let copied = manifest.is_some();
        let options = CommitOptions {
            manifest,
            tar: self.tar.take(),
            latest_mtime: self.op.environment.epoch,
            ..CommitOptions::default()
        };
        let layer = active.commit(options).map_err(OpError::failed)?;
        origins::remember(&self.op.environment, layer.id, &self.copies(placed));
        if copied {
            let earlier = Earlier::new(layer.id, tree, &layers);
            links::remember(&self.op.environment.store, &self.op.key.digest, &earlier);
        }
        layers.push(layer.id);
        Ok(Output::Layers(layers))
    }

    /// What was copied from which input.
    fn copies(&self, placed: Vec<(i64, Vec<Placed>)>) -> Vec<origins::Copies<'_>> {
        let of_input = |(input, placed): (i64, Vec<Placed>)| {
            let input = usize::try_from(input).ok()?;
            Some(origins::Copies {
                input: self.inputs.get(input)?,
                from: self.op.sources.get(input)?,
                placed,
            })
        };
        placed.into_iter().filter_map(of_input).collect()
    }

    fn apply(
        &mut self,
        action: &pb::FileAction,
        active: &ActiveSnapshot,
        states: &[State],
        previous: Option<&LinkSource>,
    ) -> Result<(), OpError> {
        let upper = active.view().map_err(OpError::failed)?;
        self.only_copies &= matches!(action.action, Some(Kind::Copy(_) | Kind::Mkdir(_)));
        match &action.action {
            Some(Kind::Mkdir(mkdir)) => upper.mkdir(&MkdirSpec {
                path: PathBuf::from(&mkdir.path),
                mode: bits(mkdir.mode),
                make_parents: mkdir.make_parents,
                owner: self.owner(mkdir.owner.as_ref(), Unknown::Root)?,
                timestamp: timestamp(mkdir.timestamp),
            }),
            Some(Kind::Mkfile(mkfile)) => upper.mkfile(&MkfileSpec {
                path: PathBuf::from(&mkfile.path),
                mode: bits(mkfile.mode),
                data: mkfile.data.clone(),
                owner: self.owner(mkfile.owner.as_ref(), Unknown::Refused)?,
                timestamp: timestamp(mkfile.timestamp),
            }),
            Some(Kind::Symlink(link)) => upper.symlink(&SymlinkSpec {
                target: link.oldpath.clone(),
                path: PathBuf::from(&link.newpath),
                owner: self.owner(link.owner.as_ref(), Unknown::Refused)?,
                timestamp: timestamp(link.timestamp),
            }),
            Some(Kind::Rm(rm)) => upper.rm(&RmSpec {
                path: rm.path.clone(),
                allow_not_found: rm.allow_not_found,
                allow_wildcard: rm.allow_wildcard,
            }),
            Some(Kind::Copy(copy)) => {
                let source = self.tree(action.secondary_input, states)?;
                let mut spec = self.copy_spec(copy)?;
                spec.link_from = previous.cloned();
                return self.copy(action.secondary_input, source.as_ref(), spec, &upper);
            }
            None => return Err(OpError::failed("a file action of an unknown kind")),
        }
        .map_err(OpError::failed)
    }

    fn copy(
        &mut self,
        number: i64,
        source: &dyn Tree,
        mut spec: CopySpec,
        upper: &Upper,
    ) -> Result<(), OpError> {
        let input = usize::try_from(number).unwrap_or(usize::MAX);
        spec.known = self.op.seen().get(&input).and_then(|seen| seen.files.clone());
        let specs = match self.op.packages.contains(&number) {
            true => package_copy::through_links(upper.tree(), source, spec).map_err(OpError::failed)?,
            false => vec![spec],
        };
        let report = self.reports.entry(number).or_default();
        // Of several actions none writes the layer alone.
        let hashed = self.op.in_result && self.op.file.actions.len() == 1 && specs.len() == 1;
        let options = TarOptions {
            latest_mtime: self.op.environment.epoch,
            ..TarOptions::default()
        };
        let copied = with_flag(self.ctx.cancel(), |flag| {
            specs.into_iter().try_for_each(|mut spec| {
                spec.cancel = Some(Arc::clone(flag));
                let copied = match hashed && spec.can_be_told() {
                    true => {
                        let (copied, tar) =
                            hash_told(options, |stream| upper.copy_told(source, &spec, report, stream));
                        self.tar = tar.filter(|_| report.told);
                        copied
                    }
                    false => upper.copy(source, &spec, report),
                };
                match copied {
                    Err(UpperError::NotBelow { .. }) => {
                        self.unfit = true;
                        Ok(())
                    }
                    other => other.map_err(|error| copy_failed(self.inputs.get(input), &self.op.name, error)),
                }
            })
        });
        self.only_copies &= !report.unpacked;
        if let Some(text) = left_out(&std::mem::take(&mut report.left_out)) {
            self.ctx.log(Stream::Stderr, text.as_bytes());
        }
        copied
    }

    fn tree(&self, input: i64, states: &[State]) -> Result<Arc<dyn Tree>, OpError> {
        let snapshotter = &self.op.environment.snapshotter;
        let Ok(index) = usize::try_from(input) else {
            return Output::Layers(Vec::new()).tree(snapshotter);
        };
        if let Some(output) = self.inputs.get(index) {
            return Ok(Arc::new(self.op.input(index, output)?.tree));
        }
        match states.get(index - self.inputs.len()) {
            Some(State::Done(output)) => output.tree(snapshotter),
            _ => Err(OpError::failed("a file action names a result out of order")),
        }
    }

    fn copy_spec(&self, copy: &pb::FileActionCopy) -> Result<CopySpec, OpError> {
        let mode = if copy.mode_str.is_empty() {
            u32::try_from(copy.mode).map_or(FileMode::Keep, FileMode::Octal)
        } else {
            FileMode::Symbolic(SymbolicMode::parse(&copy.mode_str).map_err(OpError::failed)?)
        };
        Ok(CopySpec {
            owner: self.owner(copy.owner.as_ref(), Unknown::Refused)?,
            mode,
            timestamp: timestamp(copy.timestamp),
            follow_symlink: copy.follow_symlink,
            dir_copy_contents: copy.dir_copy_contents,
            attempt_unpack: copy.attempt_unpack_docker_compatibility,
            create_destination_path: copy.create_dest_path,
            allow_wildcard: copy.allow_wildcard,
            allow_empty_wildcard: copy.allow_empty_wildcard,
            include_patterns: copy.include_patterns.clone(),
            exclude_patterns: copy.exclude_patterns.clone(),
            conflict: if copy.always_replace_existing_dest_paths {
                Conflict::Replace
            } else {
                Conflict::Fail
            },
            required_paths: copy.required_paths.clone(),
            ..CopySpec::new(copy.src.clone(), copy.dest.clone())
        })
    }

    fn owner(&self, owner: Option<&pb::ChownOpt>, unknown: Unknown) -> Result<Option<Owner>, OpError> {
        resolve_owner(owner, unknown, |input| self.tree(input, &[]))
    }
}

/// What is told of device nodes that could not be made.
fn left_out(devices: &[PathBuf]) -> Option<String> {
    let first = devices.first()?.display();
    let others = match devices.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "WARNING: device `{first}`{others} of the archive left out: an ordinary user cannot make device nodes; \
         build as root to have them\n"
    ))
}

/// What is missing in a context is missing for a reason.
fn copy_failed(source: Option<&Output>, instruction: &str, error: UpperError) -> OpError {
    let path = match &error {
        UpperError::Tree(TreeError::NotFound { path } | TreeError::NotADirectory { path }) => path.as_path(),
        UpperError::NoMatch { source_path } => std::path::Path::new(source_path),
        _ => return OpError::failed(error),
    };
    match source {
        Some(Output::Context(context)) => OpError::failed(context.explain_missing(path, instruction)),
        _ => OpError::failed(error),
    }
}

fn bits(mode: i32) -> u32 {
    u32::try_from(mode).unwrap_or(0o755) & 0o7777
}

/// LLB writes -1 for "not given".
fn timestamp(nanos: i64) -> Option<Timestamp> {
    (nanos >= 0).then(|| Timestamp::from_nanos(nanos))
}
