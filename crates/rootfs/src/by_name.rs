//! What is known of the files of one directory.

use std::ffi::{OsStr, OsString};

/// Names and values in the order in which they were found.
pub(crate) type Found<T> = Vec<(OsString, T)>;

/// Values by file name. Made from sorted parts, as walks give them, it costs no more than a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByName<T> {
    /// Sorted by name.
    items: Found<T>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T> ByName<T> {
    /// The value of `name`.
    pub fn get(&self, name: &OsStr) -> Option<&T> {
        let at = self.place(name)?;
        self.items.get(at).map(|(_, value)| value)
    }

    fn place(&self, name: &OsStr) -> Option<usize> {
        let found = self.items.binary_search_by(|(own, _)| own.as_os_str().cmp(name));
        found.ok()
    }

    /// Number of names.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no names.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &T)> {
        self.items.iter().map(|(name, value)| (name.as_os_str(), value))
    }

    /// Adds values; a name that is there already, or comes twice, gets the last one.
    pub(crate) fn extend(&mut self, items: Found<T>) {
        let before = self.items.len();
        self.items.extend(items);
        let sorted = |pair: &[(OsString, T)]| matches!(pair, [a, b] if a.0 < b.0);
        if self.items[before.saturating_sub(1)..].windows(2).all(sorted) {
            return;
        }
        // Stable, so that of equal names the one added last is last.
        self.items.sort_by(|a, b| a.0.cmp(&b.0));
        self.items.reverse();
        self.items.dedup_by(|a, b| a.0 == b.0);
        self.items.reverse();
    }

    pub(crate) fn remove(&mut self, name: &OsStr) {
        if let Some(at) = self.place(name) {
            self.items.remove(at);
        }
    }
}
