//! What makes an image large.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::ImageView;

/// A file or directory that a layer adds to the size of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// Absolute path. What is told apart below it is not part of it.
    pub path: PathBuf,
    /// Bytes of contents that the layer stores there, hard links counted once.
    pub bytes: u64,
    /// Regular files among them.
    pub files: u64,
    /// Index of the layer.
    pub layer: usize,
    /// How many of the bytes later layers replace or remove. They are stored and pulled all the same.
    pub wasted: u64,
}

/// The `count` largest additions of all layers, the largest first. A directory stands for what is in it, unless one
/// thing in it has most of the bytes: then that is told.
#[must_use]
pub fn largest_additions(view: &ImageView, count: usize) -> Vec<Addition> {
    let mut trees: Vec<Tree> = view.layers().iter().map(|_| Tree::default()).collect();
    let mut groups = HashSet::new();
    for entry in view.entries().iter().filter(|entry| entry.node.kind.is_file()) {
        let first = entry.link_group.is_none_or(|group| groups.insert(group));
        if let Some(tree) = trees.get_mut(entry.layer) {
            tree.add(&entry.path, if first { entry.size() } else { 0 }, 0);
        }
    }
    for hidden in view.hidden().iter().filter(|hidden| hidden.wasted > 0) {
        if let Some(tree) = trees.get_mut(hidden.layer) {
            tree.add(&hidden.path, hidden.wasted, hidden.wasted);
        }
    }
    let mut heap: BinaryHeap<Candidate> = BinaryHeap::new();
    for (layer, tree) in trees.iter().enumerate() {
        heap.extend(tree.candidate(Path::new("/"), layer));
    }
    let mut found = Vec::new();
    while let Some(largest) = heap.pop().filter(|_| found.len() < count) {
        let Some(tree) = trees.get(largest.0.layer) else {
            continue;
        };
        match tree.parts(&largest.0.path) {
            Some(parts) => {
                let candidates = parts
                    .iter()
                    .filter_map(|part| tree.candidate(part, largest.0.layer));
                heap.extend(candidates);
            }
            None => found.push(largest.0),
        }
    }
    found
}

/// Ordered by size, then so that equal ones come by layer and path.
#[derive(Debug, PartialEq, Eq)]
struct Candidate(Addition);

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |one: &Self| (one.0.bytes, std::cmp::Reverse((one.0.layer, one.0.path.clone())));
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The files of one layer, summed by directory.
#[derive(Debug, Default)]
struct Tree {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Default)]
struct Node {
    bytes: u64,
    files: u64,
    wasted: u64,
    children: Vec<PathBuf>,
}

impl Tree {
    fn add(&mut self, path: &Path, bytes: u64, wasted: u64) {
        let mut below: Option<&Path> = None;
        for at in path.ancestors() {
            let known = self.nodes.contains_key(at);
            let node = self.nodes.entry(at.to_owned()).or_default();
            (node.bytes, node.files, node.wasted) =
                (node.bytes + bytes, node.files + 1, node.wasted + wasted);
            node.children.extend(below.take().map(Path::to_owned));
            if !known {
                below = Some(at);
            }
        }
    }

    fn candidate(&self, path: &Path, layer: usize) -> Option<Candidate> {
        let node = self.nodes.get(path).filter(|node| node.bytes > 0)?;
        Some(Candidate(Addition {
            path: path.to_owned(),
            bytes: node.bytes,
            files: node.files,
            layer,
            wasted: node.wasted,
        }))
    }

    /// What a directory is told apart into; none when it stands for itself. `/` and what is directly in it say too
    /// little.
    fn parts(&self, path: &Path) -> Option<&[PathBuf]> {
        let node = self.nodes.get(path).filter(|node| !node.children.is_empty())?;
        let bytes = |child: &PathBuf| self.nodes.get(child).map_or(0, |child| child.bytes);
        let largest = node.children.iter().map(bytes).max()?;
        let shallow = path
            .as_os_str()
            .as_bytes()
            .iter()
            .filter(|byte| **byte == b'/')
            .count()
            < 2;
        (shallow || largest.saturating_mul(2) >= node.bytes).then_some(&node.children)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, rm};

    #[test]
    fn the_largest_are_told_with_their_layers() {
        let mut world = World::new();
        let many: Vec<(String, String)> = (0..20)
            .map(|at| (format!("usr/lib/many/{at}"), "x".repeat(100)))
            .collect();
        let large = "y".repeat(5000);
        let gone = "z".repeat(3000);
        let files: Vec<(&str, &str)> = many
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        world.files("COPY many /", &files);
        world.files(
            "COPY large /",
            &[
                ("opt/x/deep/large", &large),
                ("opt/x/deep/small", "1"),
                ("src/gone", &gone),
            ],
        );
        world.layer("RUN rm", |_| {}, |upper| rm(upper, "/src/gone"));
        let found: Vec<_> = largest_additions(&world.view(), 3)
            .into_iter()
            .map(|one| {
                (
                    one.path.display().to_string(),
                    one.bytes,
                    one.files,
                    one.layer,
                    one.wasted,
                )
            })
            .collect();
        let expected = [
            ("/opt/x/deep/large".to_owned(), 5000, 1, 1, 0),
            ("/src/gone".to_owned(), 3000, 1, 1, 3000),
            ("/usr/lib/many".to_owned(), 2000, 20, 0, 0),
        ];
        assert_eq!(found, expected);
    }
}
