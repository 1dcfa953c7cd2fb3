//! Layers on top of each other, as overlayfs shows them, with a record of what is hidden.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use distil_layer::LinkGroups;
use distil_rootfs::{Node, ScannedDir, ScannedEntry};

use super::{Entry, Hidden};

/// What a layer stores.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) files: u64,
    pub(super) size: u64,
    pub(super) wasted: u64,
}

/// The result of [`merge`].
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) entries: Vec<Entry>,
    pub(super) hidden: Vec<Hidden>,
    pub(super) totals: Vec<Totals>,
}

/// Puts together what was found in the directories of each of `count` layers; `places` tells which layer each
/// directory is of, lowest first. In those of one layer there are no deletions.
pub(super) fn by_layer(
    places: &[(usize, PathBuf)],
    scanned: Vec<Vec<ScannedDir>>,
    count: usize,
) -> Vec<Vec<ScannedDir>> {
    let mut layers: Vec<Vec<ScannedDir>> = (0..count).map(|_| Vec::new()).collect();
    for ((layer, _), dirs) in places.iter().zip(scanned) {
        let below = std::mem::take(&mut layers[*layer]);
        layers[*layer] = if below.is_empty() {
            dirs
        } else {
            unite(below, dirs)
        };
    }
    layers
}

/// `below` with `added` on top; directories come before what is in them.
fn unite(below: Vec<ScannedDir>, added: Vec<ScannedDir>) -> Vec<ScannedDir> {
    let mut dirs: BTreeMap<PathBuf, ScannedDir> =
        below.into_iter().map(|dir| (dir.path.clone(), dir)).collect();
    for mut dir in added {
        if let Some(under) = dirs.remove(&dir.path) {
            let names: HashSet<OsString> = dir.entries.iter().map(|entry| entry.name.clone()).collect();
            let kept = under
                .entries
                .into_iter()
                .filter(|entry| !names.contains(&entry.name));
            dir.entries.extend(kept);
        }
        dirs.insert(dir.path.clone(), dir);
    }
    dirs.into_values().collect()
}

/// Puts `layers` on top of each other, lowest first; `links` are the hard links of each.
pub(super) fn merge(layers: &[Vec<ScannedDir>], links: &[LinkGroups]) -> Merged {
    let mut stack = Stack::default();
    let mut totals = Vec::with_capacity(layers.len());
    let mut groups = 0;
    for (index, dirs) in layers.iter().enumerate() {
        let numbers = numbers(links.get(index), &mut groups);
        let mut seen = HashSet::new();
        let mut total = Totals::default();
        stack.layer = index;
        for dir in dirs {
            if dir.opaque {
                stack.hide_below(dir.path.as_os_str().as_bytes());
            }
            for entry in &dir.entries {
                let path = dir.path.join(&entry.name);
                let group = numbers.get(path.as_path()).copied();
                if entry.node.kind.is_file() {
                    total.files += 1;
                    if group.is_none_or(|group| seen.insert(group)) {
                        total.size += entry.node.size;
                    }
                }
                stack.add(path, entry, group);
            }
        }
        totals.push(total);
    }
    stack.finish(totals)
}

/// Number of its group for each hard link of a layer; numbers go on over the layers.
fn numbers(links: Option<&LinkGroups>, next: &mut usize) -> HashMap<PathBuf, usize> {
    let mut numbers = HashMap::new();
    for group in links.iter().flat_map(|links| links.groups()) {
        numbers.extend(group.iter().map(|path| (Path::new("/").join(path), *next)));
        *next += 1;
    }
    numbers
}

/// What is seen so far.
#[derive(Default)]
struct Stack {
    /// By the bytes of the path, so that what is below a directory is one range.
    seen: BTreeMap<Vec<u8>, Entry>,
    hidden: Vec<(Hidden, Option<usize>)>,
    /// The layer that is being added.
    layer: usize,
}

impl Stack {
    fn add(&mut self, path: PathBuf, entry: &ScannedEntry, link_group: Option<usize>) {
        let key = path.as_os_str().as_bytes().to_vec();
        let node = entry.node;
        if node.is_whiteout() {
            self.hide(&key);
            return;
        }
        let mut layer = self.layer;
        let below = self.seen.get(&key).map(|below| (below.node, below.layer));
        match below {
            // Directories merge; one that is only on the way to something else is not a change.
            Some((below, lower)) if below.kind.is_dir() && node.kind.is_dir() => {
                if (below.mode, below.owner()) == (node.mode, node.owner()) {
                    layer = lower;
                } else {
                    self.record(path.clone(), below, lower, None);
                }
            }
            Some(_) => self.hide(&key),
            None => {}
        }
        let entry = Entry {
            path,
            node,
            layer,
            disk: self.layer,
            target: entry.target.clone(),
            link_group,
        };
        self.seen.insert(key, entry);
    }

    /// Hides a path and what is below it.
    fn hide(&mut self, key: &[u8]) {
        if let Some(entry) = self.seen.remove(key) {
            let was_dir = entry.node.kind.is_dir();
            self.record(entry.path, entry.node, entry.layer, entry.link_group);
            if was_dir {
                self.hide_below(key);
            }
        }
    }

    fn hide_below(&mut self, key: &[u8]) {
        let mut prefix = key.to_vec();
        if !prefix.ends_with(b"/") {
            prefix.push(b'/');
        }
        let from = (Bound::Included(prefix.clone()), Bound::Unbounded);
        let range = self.seen.range::<Vec<u8>, _>(from);
        let keys = range
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(&prefix));
        let keys: Vec<Vec<u8>> = keys.cloned().collect();
        for key in keys {
            if let Some(entry) = self.seen.remove(&key) {
                self.record(entry.path, entry.node, entry.layer, entry.link_group);
            }
        }
    }

    fn record(&mut self, path: PathBuf, node: Node, layer: usize, link_group: Option<usize>) {
        let hidden = Hidden {
            path,
            node,
            wasted: if node.kind.is_file() { node.size } else { 0 },
            layer,
            by: self.layer,
            removed: true,
        };
        self.hidden.push((hidden, link_group));
    }

    fn finish(self, mut totals: Vec<Totals>) -> Merged {
        // What a layer stores in the place of something that it hides.
        let stored = self
            .hidden
            .iter()
            .map(|(hidden, _)| (hidden.layer, hidden.path.clone()));
        let mut stored: HashSet<(usize, PathBuf)> = stored.collect();
        for (hidden, _) in &self.hidden {
            let key = hidden.path.as_os_str().as_bytes();
            let seen = self.seen.get(key);
            let seen = seen.filter(|entry| [entry.layer, entry.disk].contains(&hidden.by));
            stored.extend(seen.map(|entry| (hidden.by, entry.path.clone())));
        }
        // A hard link that is hidden wastes nothing while another name of it is seen.
        let mut counted: HashSet<usize> = self.seen.values().filter_map(|entry| entry.link_group).collect();
        let mut hidden = Vec::with_capacity(self.hidden.len());
        for (mut record, link_group) in self.hidden {
            if link_group.is_some_and(|group| !counted.insert(group)) {
                record.wasted = 0;
            }
            let key = (record.by, record.path);
            record.removed = !stored.contains(&key);
            record.path = key.1;
            totals[record.layer].wasted += record.wasted;
            hidden.push(record);
        }
        Merged {
            entries: self.seen.into_values().collect(),
            hidden,
            totals,
        }
    }
}
