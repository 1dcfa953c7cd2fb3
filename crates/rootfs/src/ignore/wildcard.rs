//! Paths with wildcards: which part is literal, and where a match can be.

use super::match_path;

/// Whether a name has a wildcard (`*`, `?`, `[`) that no backslash escapes.
pub fn contains_wildcards(name: &str) -> bool {
    has_wildcard(name.as_bytes())
}

fn has_wildcard(name: &[u8]) -> bool {
    let mut bytes = name.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// A cleaned absolute pattern, split before its first component with a wildcard.
pub(crate) struct WildcardPath {
    /// Literal directory, `/` for none.
    pub(crate) prefix: Vec<u8>,
    /// The components from the first wildcard on; empty when there is none.
    pub(crate) pattern: Vec<u8>,
}

impl WildcardPath {
    /// Splits `path`, which starts with `/` and is clean (a root may be empty).
    pub(crate) fn split(path: &[u8]) -> WildcardPath {
        let parts: Vec<&[u8]> = path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .collect();
        let literal = parts
            .iter()
            .position(|part| has_wildcard(part))
            .unwrap_or(parts.len());
        let mut prefix = Vec::new();
        for part in &parts[..literal] {
            prefix.push(b'/');
            prefix.extend_from_slice(part);
        }
        if prefix.is_empty() {
            prefix.push(b'/');
        }
        WildcardPath {
            prefix,
            pattern: parts[literal..].join(&b'/'),
        }
    }

    /// Whether a name below the directory `path` can still match. `path` starts with the
    /// prefix, and is empty for the root.
    pub(crate) fn may_match_below(&self, path: &[u8]) -> bool {
        let prefix = match self.prefix.as_slice() {
            b"/" => &b""[..],
            other => other,
        };
        self.may_match_below_relative(path.strip_prefix(prefix).unwrap_or(path))
    }

    /// [`WildcardPath::may_match_below`] for a directory given relative to the prefix.
    pub(crate) fn may_match_below_relative(&self, rest: &[u8]) -> bool {
        // A class can match a slash, so components do not correspond; and an escape can
        // stand before a slash.
        if self.pattern.iter().any(|byte| matches!(byte, b'[' | b'\\')) {
            return true;
        }
        let mut patterns = self.pattern.split(|byte| *byte == b'/');
        let matches = rest
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
            .all(|part| {
                patterns
                    .next()
                    .is_some_and(|pattern| match_path(pattern, part).unwrap_or(true))
            });
        matches && patterns.next().is_some()
    }
}
