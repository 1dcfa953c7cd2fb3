//! Digest of what a wildcard or include and exclude patterns select.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::file::{digest_dir_header, digest_entry};
use super::header::digest_text;
use super::recursive::BUFFER;
use super::{ContentError, Context, SelectorPath};
use crate::ignore::{MatchInfo, PatternMatcher, WildcardPath, match_path};
use crate::node::Node;
use crate::pool::{self, Queue};
use crate::tree::{Dir, Tree, TreeError};

/// One selected file or directory header.
struct Included {
    /// Path as selected (before links of the prefix were followed), no trailing slash; empty
    /// for the root.
    path: Vec<u8>,
    /// Real path in the tree.
    real: PathBuf,
    node: Node,
    /// A link whose target counts instead of itself.
    follow: bool,
}

/// A directory above what is looked at now.
struct Above {
    /// Its place in the list once it is included.
    included: bool,
    entry: Option<Included>,
    include: MatchInfo,
    exclude: MatchInfo,
}

struct Selection<'a> {
    path: &'a SelectorPath,
    /// Cleaned path or pattern, empty for the root.
    pattern: Vec<u8>,
    wildcard: Option<WildcardPath>,
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
    found: Vec<Included>,
    above: Vec<Above>,
    context: &'a Context<'a>,
}

/// The digest of `path`, which has a wildcard or patterns.
pub(super) fn digest_filtered(context: &Context<'_>, path: &SelectorPath) -> Result<[u8; 32], ContentError> {
    let tree = context.tree;
    let pattern = super::key_path(&path.path);
    let matcher = |patterns: &[String]| {
        if patterns.is_empty() {
            Ok(None)
        } else {
            PatternMatcher::new(patterns).map(Some)
        }
    };
    let mut selection = Selection {
        path,
        include: matcher(&path.include_patterns).map_err(TreeError::from)?,
        exclude: matcher(&path.exclude_patterns).map_err(TreeError::from)?,
        wildcard: path.wildcard.then(|| WildcardPath::split(&pattern)),
        pattern,
        found: Vec::new(),
        above: Vec::new(),
        context,
    };
    let prefix = selection.collect(tree)?;
    selection.check_required()?;
    selection.combine(&prefix)
}

impl Selection<'_> {
    /// Fills `found` and returns the prefix that names are relative to.
    fn collect(&mut self, tree: &dyn Tree) -> Result<Vec<u8>, ContentError> {
        let (prefix, real) = match &self.wildcard {
            Some(wildcard) if wildcard.prefix == b"/" => (Vec::new(), PathBuf::from("/")),
            Some(wildcard) => {
                let prefix = Path::new(std::ffi::OsStr::from_bytes(&wildcard.prefix));
                let real = if wildcard.pattern.is_empty() {
                    tree.resolve_parent(prefix)?
                } else {
                    tree.resolve(prefix)?
                };
                (wildcard.prefix.clone(), real)
            }
            None => {
                let given = PathBuf::from(OsString::from_vec(self.pattern.clone()));
                (self.pattern.clone(), tree.resolve_parent(&given)?)
            }
        };
        let Some(node) = tree.lookup(&real)? else {
            return Ok(prefix);
        };
        if node.kind.is_dir() {
            let dir = tree.open_dir(&real)?;
            self.visit_dir(dir.as_ref(), &prefix, None)?;
        } else {
            self.visit_file(prefix.clone(), real, node, None)?;
        }
        Ok(prefix)
    }

    /// The path that patterns see, or `None` when the wildcard does not select it. `matched`
    /// is the directory above that the wildcard matched.
    fn candidate(&self, path: &[u8], matched: Option<&[u8]>) -> Result<Option<Vec<u8>>, ContentError> {
        let base = match (&self.wildcard, matched) {
            (None, _) => self.pattern.as_slice(),
            (Some(_), Some(matched)) => matched,
            (Some(_), None) => {
                // Without a slash only the root itself is no candidate.
                let full = if path.is_empty() { b"" } else { path };
                return Ok(match_path(&self.pattern, full)
                    .map_err(TreeError::from)?
                    .then(Vec::new));
            }
        };
        let rest = path.get(base.len()..).unwrap_or_default();
        Ok(Some(rest.strip_prefix(b"/").unwrap_or(rest).to_vec()))
    }

    fn selects(&self, candidate: &[u8]) -> (bool, MatchInfo, MatchInfo) {
        let above = self.above.last();
        let mut infos = (MatchInfo::default(), MatchInfo::default());
        if let Some(include) = &self.include {
            let parent = above.map(|above| above.include.clone()).unwrap_or_default();
            let (matched, info) = include.matches_with_parent(candidate, &parent);
            infos.0 = info;
            if !matched {
                return (false, infos.0, infos.1);
            }
        }
        if let Some(exclude) = &self.exclude {
            let parent = above.map(|above| above.exclude.clone()).unwrap_or_default();
            let (matched, info) = exclude.matches_with_parent(candidate, &parent);
            infos.1 = info;
            if matched {
                return (false, infos.0, infos.1);
            }
        }
        (true, infos.0, infos.1)
    }

    fn visit_file(
        &mut self,
        path: Vec<u8>,
        real: PathBuf,
        node: Node,
        matched: Option<&[u8]>,
    ) -> Result<(), ContentError> {
        let Some(candidate) = self.candidate(&path, matched)? else {
            return Ok(());
        };
        let follow = self.above.is_empty() && self.path.follow_links;
        if self.selects(&candidate).0 {
            self.push(Included {
                path,
                real,
                node,
                follow,
            });
        }
        Ok(())
    }

    fn push(&mut self, entry: Included) {
        for above in &mut self.above {
            if !above.included {
                above.included = true;
                self.found.extend(above.entry.take());
            }
        }
        self.found.push(entry);
    }

    fn visit_dir(&mut self, dir: &dyn Dir, path: &[u8], matched: Option<&[u8]>) -> Result<(), ContentError> {
        self.context.check()?;
        let candidate = self.candidate(path, matched)?;
        let skipped_root = path.is_empty() && self.pattern.is_empty();
        let mut entered = false;
        if let (Some(candidate), false) = (&candidate, skipped_root) {
            let (selected, include, exclude) = self.selects(candidate);
            let entry = Included {
                path: path.to_vec(),
                real: dir.path().to_owned(),
                node: dir.node(),
                follow: false,
            };
            let mut above = Above {
                included: selected,
                entry: None,
                include,
                exclude,
            };
            if selected {
                self.push(entry);
            } else {
                above.entry = Some(entry);
            }
            self.above.push(above);
            entered = true;
        }
        let matched = match (candidate.is_some(), matched) {
            (true, None) => Some(path.to_vec()),
            (_, matched) => matched.map(<[u8]>::to_vec),
        };
        self.visit_children(dir, path, matched.as_deref())?;
        if entered {
            self.above.pop();
        }
        Ok(())
    }

    fn visit_children(
        &mut self,
        dir: &dyn Dir,
        path: &[u8],
        matched: Option<&[u8]>,
    ) -> Result<(), ContentError> {
        if let (Some(wildcard), None) = (&self.wildcard, matched)
            && !wildcard.may_match_below(path)
        {
            return Ok(());
        }
        for entry in dir.entries()? {
            let mut child = path.to_vec();
            child.push(b'/');
            child.extend_from_slice(entry.name.as_bytes());
            if entry.node.kind.is_dir() {
                let below = dir.open_dir(&entry.name)?;
                self.visit_dir(below.as_ref(), &child, matched)?;
            } else {
                let real = dir.path().join(&entry.name);
                self.visit_file(child, real, entry.node, matched)?;
            }
        }
        Ok(())
    }

    fn check_required(&self) -> Result<(), ContentError> {
        for required in &self.path.required_paths {
            let found = self
                .found
                .iter()
                .any(|entry| entry.path.starts_with(required.as_bytes()));
            if !found {
                let path = PathBuf::from(required);
                return Err(TreeError::NotFound { path }.into());
            }
        }
        Ok(())
    }

    fn combine(&self, prefix: &[u8]) -> Result<[u8; 32], ContentError> {
        let digests = digest_included(self.context, &self.found)?;
        if self.found.is_empty() {
            return Ok(Sha256::digest(b"").into());
        }
        let base = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
        if let ([entry], [digest]) = (&self.found[..], &digests[..])
            && base(&self.pattern) == base(&entry.path)
        {
            return Ok(*digest);
        }
        let mut hash = Sha256::new();
        for (entry, digest) in self.found.iter().zip(&digests) {
            let path = entry.path.strip_prefix(prefix).unwrap_or(&entry.path);
            let mut key: Vec<u8> = path.to_vec();
            for byte in &mut key {
                if *byte == b'/' {
                    *byte = 0;
                }
            }
            if key.is_empty() {
                key.push(0);
            }
            hash.update(&key);
            hash.update(digest_text(digest));
        }
        Ok(hash.finalize().into())
    }
}

/// Hashes the entries of a list, files of one directory together.
fn digest_included(context: &Context<'_>, found: &[Included]) -> Result<Vec<[u8; 32]>, ContentError> {
    let results = std::sync::Mutex::new(vec![[0u8; 32]; found.len()]);
    let mut jobs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, entry) in found.iter().enumerate() {
        match jobs.last_mut() {
            Some(last)
                if last.len() < super::recursive::CHUNK
                    && found[last.start].real.parent() == entry.real.parent() =>
            {
                last.end = index + 1;
            }
            _ => jobs.push(index..index + 1),
        }
    }
    pool::run(context.threads, jobs, |range, _: &Queue<_, ContentError>| {
        context.check()?;
        let mut done = Vec::with_capacity(range.len());
        let mut dir: Option<Box<dyn Dir>> = None;
        for entry in &found[range.clone()] {
            done.push(digest_one(context, entry, &mut dir)?);
        }
        let mut results = results.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        results[range].copy_from_slice(&done);
        Ok(())
    })?;
    Ok(results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn digest_one(
    context: &Context<'_>,
    entry: &Included,
    dir: &mut Option<Box<dyn Dir>>,
) -> Result<[u8; 32], ContentError> {
    if entry.node.kind.is_symlink() && entry.follow {
        return super::digest_plain(context, &entry.path, true);
    }
    if entry.node.kind.is_dir() {
        let dir = context.tree.open_dir(&entry.real)?;
        return digest_dir_header(dir.as_ref(), context.transferred);
    }
    let (Some(parent), Some(name)) = (entry.real.parent(), entry.real.file_name()) else {
        let path = entry.real.clone();
        return Err(TreeError::NotFound { path }.into());
    };
    if entry.node.kind.is_file()
        && let Some(known) = context.known(parent).and_then(|dir| dir.get(name))
    {
        return Ok(*known);
    }
    let dir = match dir {
        Some(dir) => dir,
        None => dir.insert(context.tree.open_dir(parent)?),
    };
    let digest = BUFFER.with_borrow_mut(|buffer| {
        digest_entry(dir.as_ref(), name, &entry.node, context.transferred, buffer)
    })?;
    if entry.node.kind.is_file() {
        context.record(parent, vec![(name.to_owned(), digest)]);
    }
    Ok(digest)
}
