//! What differs between two trees.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_rootfs::Node;

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
/// between any two builds. Contents are read only of files of the same size that different layers store.
///
/// # Errors
/// When a file cannot be read.
pub fn changes(before: &ImageView, after: &ImageView) -> Result<Vec<Change>, AuditError> {
    let mut found = Vec::new();
    let (mut old, mut new) = (
        before.entries().iter().peekable(),
        after.entries().iter().peekable(),
    );
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        let same = match (a, b) {
            (Some(a), Some(b)) => same(before, a, after, b)?,
            _ => false,
        };
        if !same {
            found.extend(change(a, b));
        }
    }
}

fn change(before: Option<&Entry>, after: Option<&Entry>) -> Option<Change> {
    Some(Change {
        path: after.or(before)?.path.clone(),
        before: before.map(|entry| entry.node),
        after: after.map(|entry| entry.node),
    })
}

fn same(before: &ImageView, a: &Entry, after: &ImageView, b: &Entry) -> Result<bool, AuditError> {
    let facts = |entry: &Entry| {
        let node = entry.node;
        (node.kind, node.mode, node.owner(), node.rdev, entry.size())
    };
    if facts(a) != facts(b) || a.target != b.target {
        return Ok(false);
    }
    let stored_once = before.layers()[a.layer].id == after.layers()[b.layer].id;
    if !a.node.kind.is_file() || a.size() == 0 || stored_once {
        return Ok(true);
    }
    // The same inode shows in two layers when one was linked from the other.
    if (a.node.dev, a.node.ino) == (b.node.dev, b.node.ino) {
        return Ok(true);
    }
    Ok(before.digest(a)? == after.digest(b)?)
}
