//! Which paths of an input an operation depends on.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// One selected path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectorPath {
    /// Absolute path, or a pattern when `wildcard`.
    pub path: String,
    /// `path` has unescaped wildcards and they count (`allowWildcard` of the action and
    /// [`crate::ignore::contains_wildcards`]).
    pub wildcard: bool,
    /// Follow a link at the end of the path.
    pub follow_links: bool,
    /// Only paths below that match.
    pub include_patterns: Vec<String>,
    /// No paths below that match.
    pub exclude_patterns: Vec<String>,
    /// Prefixes that at least one included path must have (checked with wildcards or
    /// patterns only).
    pub required_paths: Vec<String>,
}

impl SelectorPath {
    /// Whether more than a literal path is selected.
    pub fn has_wildcard_or_filters(&self) -> bool {
        self.wildcard || !self.include_patterns.is_empty() || !self.exclude_patterns.is_empty()
    }
}

/// The paths of one input that an operation depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The paths, in any order; empty means the whole root.
    pub paths: Vec<SelectorPath>,
}

impl Selector {
    /// The digest that names this selector in a file op's cache key: sha256 of the paths,
    /// sorted descending, joined by NUL. Computed before [`Selector::deduplicated`].
    pub fn id(&self) -> [u8; 32] {
        let mut paths: Vec<&str> = self.paths.iter().map(|path| path.path.as_str()).collect();
        paths.sort_unstable();
        paths.reverse();
        Sha256::digest(paths.join("\0").as_bytes()).into()
    }

    /// Without duplicates and without literal paths that lie below another one (each of the
    /// followed and the unfollowed for themselves), sorted by path: the order in which
    /// [`super::digest_paths`] joins a file op's digests.
    pub fn deduplicated(&self) -> Selector {
        let literal = |follow: bool| {
            let all: BTreeSet<&str> = self
                .paths
                .iter()
                .filter(|path| !path.has_wildcard_or_filters() && path.follow_links == follow)
                .map(|path| path.path.as_str())
                .collect();
            let kept: Vec<SelectorPath> = all
                .iter()
                .filter(|path| !all.iter().any(|other| is_below(path, other)))
                .map(|path| SelectorPath {
                    path: (*path).to_owned(),
                    follow_links: follow,
                    ..SelectorPath::default()
                })
                .collect();
            kept
        };
        let mut paths = literal(false);
        paths.extend(literal(true));
        paths.extend(
            self.paths
                .iter()
                .filter(|path| path.has_wildcard_or_filters())
                .cloned(),
        );
        paths.sort_by(|a, b| a.path.cmp(&b.path));
        Selector { paths }
    }
}

/// Whether `path` is a different path inside the directory `other`.
fn is_below(path: &str, other: &str) -> bool {
    path != other
        && path
            .strip_prefix(other)
            .is_some_and(|rest| other.ends_with('/') || rest.starts_with('/'))
}
