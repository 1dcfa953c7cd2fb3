//! Which files of a layer are names of one inode.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::LayerError;

/// Groups of hard links of a layer.
///
/// Recorded when the layer is made, and kept beside it: layer directories may share inodes with
/// each other, so that afterwards inode numbers say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkGroups {
    /// Paths without a leading `/`, in tar order. A group has two or more.
    groups: Vec<Vec<PathBuf>>,
}

impl LinkGroups {
    /// From any groups of paths without leading `/`; those of less than two are left out.
    pub fn new(groups: impl IntoIterator<Item = Vec<PathBuf>>) -> Self {
        let mut groups: Vec<_> = groups.into_iter().filter(|group| group.len() > 1).collect();
        for group in &mut groups {
            // `Path` compares by components: a directory's subtree comes right after it, as in
            // the tar.
            group.sort();
        }
        groups.sort();
        Self { groups }
    }

    /// The groups.
    pub fn groups(&self) -> &[Vec<PathBuf>] {
        &self.groups
    }

    /// Whether the layer has no hard links.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// For every path that is not the first of its group: the first.
    pub(crate) fn targets(&self) -> HashMap<&Path, &Path> {
        let mut targets = HashMap::new();
        for group in &self.groups {
            if let Some((first, others)) = group.split_first() {
                targets.extend(others.iter().map(|path| (path.as_path(), first.as_path())));
            }
        }
        targets
    }

    /// Number of its group for every linked path.
    pub(crate) fn numbers(&self) -> HashMap<&Path, usize> {
        let numbered = self.groups.iter().enumerate();
        numbered
            .flat_map(|(number, group)| group.iter().map(move |path| (path.as_path(), number)))
            .collect()
    }

    /// Bytes to be kept: a version, then each path ended by NUL and each group by another.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![1];
        for group in &self.groups {
            for path in group {
                bytes.extend_from_slice(path.as_os_str().as_bytes());
                bytes.push(0);
            }
            bytes.push(0);
        }
        bytes
    }

    /// Reads what [`LinkGroups::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayerError> {
        let (1, rest) = bytes
            .split_first()
            .map_or((0, bytes), |(version, rest)| (*version, rest))
        else {
            return Err(LayerError::DamagedLinks);
        };
        if !rest.is_empty() && !rest.ends_with(&[0, 0]) {
            return Err(LayerError::DamagedLinks);
        }
        let mut groups = Vec::new();
        let mut group = Vec::new();
        for path in rest.split_inclusive(|byte| *byte == 0) {
            match path {
                [0] => groups.push(std::mem::take(&mut group)),
                [path @ .., _] => group.push(PathBuf::from(OsStr::from_bytes(path))),
                [] => {}
            }
        }
        Ok(Self { groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_survive_encoding() {
        let groups = LinkGroups::new([
            vec![PathBuf::from("b/x"), PathBuf::from("a")],
            vec![PathBuf::from("alone")],
            vec![PathBuf::from("c"), PathBuf::from("d"), PathBuf::from("e\n")],
        ]);
        assert_eq!(groups.groups().len(), 2);
        assert_eq!(groups.groups()[0][0], Path::new("a"));
        assert_eq!(LinkGroups::decode(&groups.encode()).expect("decodes"), groups);
        let empty = LinkGroups::default();
        assert_eq!(LinkGroups::decode(&empty.encode()).expect("decodes"), empty);
    }

    #[test]
    fn damage_is_told() {
        for bytes in [&b""[..], b"\x02", b"\x01abc", b"\x01abc\0"] {
            assert!(LinkGroups::decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
