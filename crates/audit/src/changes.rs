//! What differs between two trees.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering as AtomicOrdering};

use distil_rootfs::{Node, same_contents};

use crate::{AuditError, Entry, ImageView};

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Only the second has it.
    Added,
    /// Both have it, with another type, mode, owner, target or contents.
    Changed,
    /// Only the first has it.
    Removed,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute path.
    pub path: PathBuf,
    /// What the first has there.
    pub before: Option<Node>,
    /// What the second has there.
    pub after: Option<Node>,
}

impl Change {
    /// How it differs.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        match (&self.before, &self.after) {
            (Some(_), Some(_)) => ChangeKind::Changed,
            (Some(_), None) => ChangeKind::Removed,
            (None, _) => ChangeKind::Added,
        }
    }

    /// Bytes of contents of the regular file that the first has there, else 0.
    #[must_use]
    pub fn size_before(&self) -> u64 {
        size(self.before)
    }

    /// Bytes of contents of the regular file that the second has there, else 0.
    #[must_use]
    pub fn size_after(&self) -> u64 {
        size(self.after)
    }
}

fn size(node: Option<Node>) -> u64 {
    node.filter(|node| node.kind.is_file())
        .map_or(0, |node| node.size)
}

/// What the layer `layer` of an image adds, changes and removes of the layers below it, sorted by the bytes of
/// the path. A directory counts when it is new or gets another mode or owner.
#[must_use]
pub fn layer_changes(view: &ImageView, layer: usize) -> Vec<Change> {
    let mut found: BTreeMap<&[u8], Change> = BTreeMap::new();
    let new = |path: &Path| Change {
        path: path.to_owned(),
        before: None,
        after: None,
    };
    for hidden in view.hidden() {
        let key = hidden.path.as_os_str().as_bytes();
        if hidden.by == layer {
            found.entry(key).or_insert_with(|| new(&hidden.path)).before = Some(hidden.node);
        }
        if hidden.layer == layer {
            found.entry(key).or_insert_with(|| new(&hidden.path)).after = Some(hidden.node);
        }
    }
    for entry in view.entries().iter().filter(|entry| entry.layer == layer) {
        let key = entry.path.as_os_str().as_bytes();
        found.entry(key).or_insert_with(|| new(&entry.path)).after = Some(entry.node);
    }
    found.into_values().collect()
}

/// What differs between two images, sorted by the bytes of the path. Times are not compared: they differ
/// between any two builds. Contents are read only of files of the same size that different layers store, with
/// one thread a core.
///
/// # Errors
/// When a file cannot be read.
pub fn changes(before: &ImageView, after: &ImageView) -> Result<Vec<Change>, AuditError> {
    let pairs = pairs(before.entries(), after.entries());
    let mut differ: Vec<bool> = Vec::with_capacity(pairs.len());
    let mut unsure = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        let answer = match pair {
            (Some(a), Some(b)) => by_facts(before, a, after, b),
            _ => Some(true),
        };
        differ.push(answer.unwrap_or(true));
        if let (None, (Some(a), Some(b))) = (answer, pair) {
            unsure.push((at, *a, *b));
        }
    }
    for at in equal_contents(before, after, &unsure)? {
        differ[at] = false;
    }
    let found = pairs.into_iter().zip(differ).filter(|(_, differs)| *differs);
    Ok(found.filter_map(|((a, b), _)| change(a, b)).collect())
}

/// What the first and the second have at a path.
type Pair<'v> = (Option<&'v Entry>, Option<&'v Entry>);

/// Every path of either with what both have there; both lists are sorted by the bytes of the path.
fn pairs<'v>(before: &'v [Entry], after: &'v [Entry]) -> Vec<Pair<'v>> {
    let mut pairs = Vec::with_capacity(before.len().max(after.len()));
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        pairs.push((a, b));
    }
}

fn change(before: Option<&Entry>, after: Option<&Entry>) -> Option<Change> {
    Some(Change {
        path: after.or(before)?.path.clone(),
        before: before.map(|entry| entry.node),
        after: after.map(|entry| entry.node),
    })
}

/// Whether two entries differ, as far as that is known without reading them.
fn by_facts(before: &ImageView, a: &Entry, after: &ImageView, b: &Entry) -> Option<bool> {
    let facts = |entry: &Entry| {
        let node = entry.node;
        (node.kind, node.mode, node.owner(), node.rdev, entry.size())
    };
    if facts(a) != facts(b) || a.target != b.target {
        return Some(true);
    }
    let stored_once = before.layers()[a.layer].id == after.layers()[b.layer].id;
    // An inode is in two layers when a file of one was linked from the other.
    let linked = (a.node.dev, a.node.ino) == (b.node.dev, b.node.ino);
    let same =
        !a.node.kind.is_file() || a.size() == 0 || linked || (stored_once && same_store(before, after));
    same.then_some(false)
}

/// Layer numbers of two stores say nothing about each other.
fn same_store(before: &ImageView, after: &ImageView) -> bool {
    before.store_root() == after.store_root()
}

/// The numbers of those pairs whose contents are equal.
fn equal_contents(
    before: &ImageView,
    after: &ImageView,
    pairs: &[(usize, &Entry, &Entry)],
) -> Result<Vec<usize>, AuditError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut equal = Vec::new();
        while let Some((at, a, b)) = pairs.get(next.fetch_add(1, AtomicOrdering::Relaxed)) {
            let (left, right) = (before.open_file(a)?, after.open_file(b)?);
            let same = same_contents(&left, &right).map_err(|source| AuditError::Read {
                path: a.path.clone(),
                source,
            })?;
            if same {
                equal.push(*at);
            }
        }
        Ok::<_, AuditError>(equal)
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(pairs.len())).map(|_| scope.spawn(work)).collect();
        let mut equal = work()?;
        for other in others {
            // A thread of this scope has no cause to panic; one that does takes the caller with it.
            equal.extend(
                other
                    .join()
                    .unwrap_or_else(|cause| std::panic::resume_unwind(cause))?,
            );
        }
        Ok(equal)
    })
}
