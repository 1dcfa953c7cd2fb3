//! `COPY --closure`: files of a stage with everything that they need to run.

mod packages;
mod place;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use distil_elf::{Closure, Stage};
use distil_llb::{OutputRef, pb};
use distil_oci::Digest;
use distil_rootfs::content::{self, Selector};
use distil_rootfs::ignore::PatternMatcher;
use distil_rootfs::{
    CopyReport, CopySpec, EmptyTree, FileMode, MkdirSpec, MkfileSpec, Placed, SymbolicMode, Timestamp, Tree,
    Upper,
};
use distil_snapshot::CommitOptions;
use distil_solver::{CacheMap, Content, Op, OpContext, OpError, Outputs, Resource, ResultHandle, Stream};

use self::packages::PackageEntry;
use self::place::{Placing, place};
use self::plan::{Plan, PlanTree, Planned};
use super::owner::{Unknown, resolve_owner};
use super::{OpEnvironment, Output, cache_map, with_flag};
use crate::cache_map::OpKey;
use crate::origins::{self, Copies};

/// Copies a closure.
pub(super) struct ClosureOp {
    closure: pb::ClosureOp,
    key: OpKey,
    environment: Arc<OpEnvironment>,
    /// Where the inputs come from.
    sources: Vec<OutputRef>,
    /// What computing the content key found, for running right afterwards.
    found: Mutex<Option<Arc<Found>>>,
}

/// A closure and what is told of the packages that its files are from.
struct Found {
    closure: Closure,
    packages: Vec<PackageEntry>,
}

impl ClosureOp {
    pub(super) fn new(
        closure: pb::ClosureOp,
        key: OpKey,
        environment: Arc<OpEnvironment>,
        sources: Vec<OutputRef>,
    ) -> Self {
        Self {
            closure,
            key,
            environment,
            sources,
            found: Mutex::default(),
        }
    }

    fn remembered(&self) -> MutexGuard<'_, Option<Arc<Found>>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, source: &dyn Tree, cancel: &AtomicBool) -> Result<Found, OpError> {
        let stage = Stage::new(source);
        let mut named = Vec::new();
        for path in &self.closure.paths {
            named.extend(expand(&stage, path)?);
        }
        let mut closure = Closure::of(source, &named, cancel).map_err(OpError::failed)?;
        leave_out(&mut closure, &self.closure.exclude_patterns)?;
        let packages = packages::of(&stage, &closure).map_err(OpError::failed)?;
        Ok(Found { closure, packages })
    }

    /// The digest of everything that would be brought, as if onto nothing.
    fn digest(&self, source: &Arc<dyn Tree>, found: &Found, cancel: &AtomicBool) -> Result<Digest, OpError> {
        let placing = Placing {
            source: &Stage::new(source.as_ref()),
            target: &Stage::new(&EmptyTree),
            closure: &found.closure,
            dest: Path::new("/"),
            owner: None,
            mode: &FileMode::Keep,
        };
        let entries = place(&placing).map_err(OpError::failed)?;
        let tree = PlanTree::new(Arc::clone(source), Arc::new(EmptyTree), entries);
        let files = content::digest_paths(&tree, &Selector::default(), cancel).map_err(OpError::failed)?;
        let mut text = format!("{}\n", Digest::from_bytes(files));
        for (from, to) in found.closure.aliases.iter().chain(&found.closure.added) {
            // Cannot fail on a string.
            let _ = writeln!(text, "{from:?} {to:?}");
        }
        let _ = writeln!(text, "{:?}", found.closure.searched);
        for package in &found.packages {
            let _ = writeln!(text, "{:?} {:?}", package.control, package.md5sums);
        }
        Ok(Digest::sha256(text.as_bytes()))
    }

    fn mode(&self) -> Result<FileMode, OpError> {
        let closure = &self.closure;
        if closure.mode_str.is_empty() {
            return Ok(u32::try_from(closure.mode).map_or(FileMode::Keep, FileMode::Octal));
        }
        let change = SymbolicMode::parse(&closure.mode_str).map_err(OpError::failed)?;
        Ok(FileMode::Symbolic(change))
    }

    fn write(
        &self,
        ctx: &OpContext,
        upper: &Upper,
        source: &Arc<dyn Tree>,
        found: &Found,
    ) -> Result<Vec<Placed>, OpError> {
        let base: Arc<dyn Tree> = Arc::new(upper.lower().clone());
        let accounts = |_input: i64| Ok(Arc::clone(&base));
        let placing = Placing {
            source: &Stage::new(source.as_ref()),
            target: &Stage::new(base.as_ref()),
            closure: &found.closure,
            dest: Path::new(&self.closure.dest),
            owner: resolve_owner(self.closure.owner.as_ref(), Unknown::Refused, accounts)?,
            mode: &self.mode()?,
        };
        let entries = place(&placing).map_err(OpError::failed)?;
        let placed = placed(&entries);
        let tree = PlanTree::new(Arc::clone(source), Arc::clone(&base), entries);
        with_flag(ctx.cancel(), |flag| {
            let spec = CopySpec {
                allow_wildcard: false,
                follow_symlink: false,
                cancel: Some(Arc::clone(flag)),
                ..CopySpec::new("/", "/")
            };
            upper
                .copy(&tree, &spec, &mut CopyReport::default())
                .map_err(OpError::failed)
        })?;
        self.write_packages(upper, &found.packages)?;
        Ok(placed)
    }

    /// `status.d` as distroless images have it, unless the base has a package manager's database.
    fn write_packages(&self, upper: &Upper, packages: &[PackageEntry]) -> Result<(), OpError> {
        let database = Path::new(&self.closure.dest).join("var/lib/dpkg");
        let has_database = upper
            .lookup(&database.join("status"))
            .map_err(OpError::failed)?
            .is_some();
        if packages.is_empty() || has_database {
            return Ok(());
        }
        let directory = database.join("status.d");
        let timestamp = Some(Timestamp::default());
        let mkdir = MkdirSpec {
            path: directory.clone(),
            mode: 0o755,
            make_parents: true,
            owner: None,
            timestamp,
        };
        upper.mkdir(&mkdir).map_err(OpError::failed)?;
        for package in packages {
            if is_told(upper, &directory.join(&package.name), &package.control)? {
                continue;
            }
            let files = [
                (package.name.clone(), &package.control),
                (format!("{}.md5sums", package.name), &package.md5sums),
            ];
            for (name, data) in files {
                let file = MkfileSpec {
                    path: directory.join(name),
                    mode: 0o644,
                    data: data.clone(),
                    owner: None,
                    timestamp,
                };
                upper.mkfile(&file).map_err(OpError::failed)?;
            }
        }
        Ok(())
    }
}

impl Op for ClosureOp {
    fn cache_map(&self, _ctx: &OpContext) -> Result<CacheMap, OpError> {
        Ok(cache_map(&self.key, Content::Computed))
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
        if self.key.inputs.get(input).is_none_or(|key| key.content.is_none()) {
            return Ok(None);
        }
        let tree = Output::of(result).tree(&self.environment.snapshotter)?;
        let (found, digest) = with_flag(ctx.cancel(), |flag| {
            let found = Arc::new(self.find(tree.as_ref(), flag)?);
            let digest = self.digest(&tree, &found, flag)?;
            Ok((found, digest))
        })?;
        *self.remembered() = Some(found);
        Ok(Some(digest))
    }

    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError> {
        let snapshotter = &self.environment.snapshotter;
        let input = |index: i64| usize::try_from(index).ok().and_then(|index| inputs.get(index));
        let Some(source) = input(self.closure.source).map(Output::of) else {
            return Err(OpError::failed("a closure names a source that it does not have"));
        };
        let base = input(self.closure.base).map(Output::of);
        let mut layers = match base {
            Some(base) => base.layers(snapshotter)?,
            None => Vec::new(),
        };
        let tree = source.tree(snapshotter)?;
        let found = match self.remembered().take() {
            Some(found) if matches!(source, Output::Layers(_)) => found,
            _ => with_flag(ctx.cancel(), |flag| self.find(tree.as_ref(), flag).map(Arc::new))?,
        };
        ctx.log(Stream::Stdout, found.closure.summary().to_string().as_bytes());
        let active = snapshotter.prepare(&layers).map_err(OpError::failed)?;
        let upper = active.view().map_err(OpError::failed)?;
        let placed = self.write(ctx, &upper, &tree, &found)?;
        let mut content = Vec::new();
        // A folder of the host may have changed since its digest was computed.
        if let (Output::Context(_), Ok(index)) = (&source, usize::try_from(self.closure.source)) {
            let digest = with_flag(ctx.cancel(), |flag| {
                self.digest(&tree, &self.find(tree.as_ref(), flag)?, flag)
            })?;
            content.resize(index, None);
            content.push(Some(digest));
        }
        drop(upper);
        let layer = active.commit(CommitOptions::default()).map_err(OpError::failed)?;
        let from = usize::try_from(self.closure.source).ok();
        if let Some(from) = from.and_then(|from| self.sources.get(from)) {
            let input = &source;
            origins::remember(&self.environment, layer.id, &[Copies { input, from, placed }]);
        }
        layers.push(layer.id);
        Ok(Outputs {
            results: vec![Some(Output::Layers(layers).into_handle())],
            content,
        })
    }
}

/// Where files of the source go. Directories only hold them.
fn placed(plan: &Plan) -> Vec<Placed> {
    let file = |(target, planned): (&PathBuf, &Planned)| match planned {
        Planned::Source { path, node } if !node.kind.is_dir() => Some(Placed {
            source: path.clone(),
            target: target.clone(),
        }),
        _ => None,
    };
    plan.iter().filter_map(file).collect()
}

/// Whether the base tells of the package already. Its list of files then has more than those of the closure.
fn is_told(upper: &Upper, path: &Path, control: &[u8]) -> Result<bool, OpError> {
    let there = upper.lookup(path).map_err(OpError::failed)?;
    if there.is_none_or(|node| !node.kind.is_file() || node.size != control.len() as u64) {
        return Ok(false);
    }
    let mut bytes = Vec::new();
    let mut file = upper.open(path).map_err(OpError::failed)?;
    file.read_to_end(&mut bytes).map_err(OpError::failed)?;
    Ok(bytes == control)
}

/// The paths that a source of the instruction stands for.
fn expand(stage: &Stage<'_>, path: &str) -> Result<Vec<PathBuf>, OpError> {
    if !distil_rootfs::ignore::contains_wildcards(path) {
        return Ok(vec![PathBuf::from(path)]);
    }
    let found = stage.matches(Path::new(path)).map_err(OpError::failed)?;
    if found.is_empty() {
        return Err(OpError::failed(format!("no file matches `{path}`")));
    }
    Ok(found)
}

/// Takes out what `--exclude` names.
fn leave_out(closure: &mut Closure, patterns: &[String]) -> Result<(), OpError> {
    if patterns.is_empty() {
        return Ok(());
    }
    let matcher = PatternMatcher::new(patterns).map_err(OpError::failed)?;
    let stays = |path: &Path| {
        let relative = path.strip_prefix("/").unwrap_or(path);
        !matcher.matches_or_parent_matches(std::os::unix::ffi::OsStrExt::as_bytes(relative.as_os_str()))
    };
    closure.members.retain(|path, _| stays(path));
    let members = &closure.members;
    closure
        .aliases
        .retain(|path, real| stays(path) && members.contains_key(real));
    closure
        .added
        .retain(|link, real| stays(link) && members.contains_key(real));
    Ok(())
}
