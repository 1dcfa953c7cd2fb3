//! Which paths of packages are unpacked: dpkg's `path-exclude` and `path-include`.

/// Patterns in dpkg's sense (dpkg(1), `--path-exclude`): `*` and `?` match `/`
/// too, and of all patterns that match the last one decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PathFilter {
    rules: Vec<(bool, String)>,
}

impl PathFilter {
    /// Leaves out what `excludes` match, save what `includes` match.
    #[must_use]
    pub fn new(excludes: &[&str], includes: &[&str]) -> PathFilter {
        let excludes = excludes.iter().map(|pattern| (false, (*pattern).to_owned()));
        let includes = includes.iter().map(|pattern| (true, (*pattern).to_owned()));
        PathFilter {
            rules: excludes.chain(includes).collect(),
        }
    }

    /// Whether the entry at the absolute `path` is left out. A directory or
    /// symlink (`is_parent`) stays when an include may match something below it.
    #[must_use]
    pub fn skips(&self, path: &[u8], is_parent: bool) -> bool {
        let decisive = self
            .rules
            .iter()
            .rev()
            .find(|(_, pattern)| matches(pattern.as_bytes(), path));
        let skipped = matches!(decisive, Some((false, _)));
        let may_hold_included = || {
            self.rules
                .iter()
                .any(|(include, pattern)| *include && path.starts_with(literal_prefix(pattern.as_bytes())))
        };
        skipped && !(is_parent && may_hold_included())
    }
}

/// The part of a pattern before its first wildcard, without slashes at the end.
fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern
        .iter()
        .position(|b| b"*?[\\".contains(b))
        .unwrap_or(pattern.len());
    let mut prefix = &pattern[..end];
    while let Some(shorter) = prefix.strip_suffix(b"/") {
        prefix = shorter;
    }
    prefix
}

/// fnmatch(3) without flags, without bracket expressions: `[` is itself.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let (wanted, width) = match pattern.get(p) {
            Some(b'\\') if p + 1 < pattern.len() => (Some(pattern[p + 1]), 2),
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some(b'?') => (Some(text[t]), 1),
            other => (other.copied(), 1),
        };
        if wanted == Some(text[t]) {
            (p, t) = (p + width, t + 1);
        } else if let Some((after, from)) = star {
            star = Some((after, from + 1));
            (p, t) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("/a/*", "/a/b/c", true),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("/a/*/c", "/a/x/y/c", true),
            ("/a/*/c", "/a/c", false),
            ("*.gz", "/x.gz", true),
            ("/a?c", "/a/c", true),
            ("/a\\*", "/a*", true),
            ("/a\\*", "/ab", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }

    #[test]
    fn last_rule_wins_and_parents_stay() {
        let filter = PathFilter::new(
            &["/usr/share/doc/*", "/usr/share/man/*"],
            &["/usr/share/doc/*/copyright"],
        );
        for (path, is_parent, expected) in [
            ("/usr/share/doc/a/copyright", false, false),
            ("/usr/share/doc/a/changelog.gz", false, true),
            ("/usr/share/doc/a", true, false),
            ("/usr/share/doc", true, false),
            ("/usr/share/man/man1", true, true),
            ("/usr/share/man", true, false),
            ("/bin/sh", false, false),
        ] {
            assert_eq!(filter.skips(path.as_bytes(), is_parent), expected, "{path}");
        }
    }
}
