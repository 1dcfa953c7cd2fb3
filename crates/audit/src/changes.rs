//! What differs between two trees.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
    /// How it differs.
    pub kind: ChangeKind,
    /// What the first has there.
    pub before: Option<Entry>,
    /// What the second has there.
    pub after: Option<Entry>,
}

impl Change {
    /// Bytes that the second has more than the first here; negative for less.
    #[must_use]
    pub fn growth(&self) -> i128 {
        let size = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| i128::from(entry.size()));
        size(&self.after) - size(&self.before)
    }
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
    let kind = match (before, after) {
        (Some(_), Some(_)) => ChangeKind::Changed,
        (Some(_), None) => ChangeKind::Removed,
        (None, _) => ChangeKind::Added,
    };
    Some(Change {
        path: after.or(before)?.path.clone(),
        kind,
        before: before.cloned(),
        after: after.cloned(),
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
