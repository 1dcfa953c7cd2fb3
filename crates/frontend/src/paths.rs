//! Slash-separated paths as text, with the rules of Go's `path` package, whose
//! results are part of op digests.

/// The shortest equal path: no empty, `.` and inner `..` parts; `.` when nothing
/// is left.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            _ => parts.push(part),
        }
    }
    let body = parts.join("/");
    match (rooted, body.is_empty()) {
        (true, _) => format!("/{body}"),
        (false, true) => ".".to_owned(),
        (false, false) => body,
    }
}

/// Joins the non-empty parts and cleans the result; empty when all are empty.
pub(crate) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return String::new();
    }
    clean(&parts.join("/"))
}

/// The last element, trailing slashes ignored; `.` of nothing, `/` of a root.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return "/";
    }
    path.rsplit('/').next().unwrap_or(path)
}

/// The part before the last slash, cleaned.
pub(crate) fn dir(path: &str) -> String {
    let end = path.rfind('/').map_or(0, |at| at + 1);
    clean(&path[..end])
}

/// `path` below `parent`; an absolute one stays as typed. Nothing is tidied in an
/// absolute path, so that `WORKDIR /a//b` is kept.
pub(crate) fn below(parent: &str, path: &str, keep_slash: bool) -> String {
    let parent = match parent {
        "" => "/".to_owned(),
        _ if parent.starts_with('/') => parent.to_owned(),
        _ => join(&["/", parent]),
    };
    let mut result = match path {
        "" => parent,
        _ if path.starts_with('/') => path.to_owned(),
        _ => join(&[&parent, path]),
    };
    if keep_slash {
        keep_ending(path, &mut result);
    }
    result
}

/// An absolute, clean path; a trailing `/` or `/.` of the original says "into this
/// directory" and is kept when asked for.
pub(crate) fn absolute(parent: &str, path: &str, keep_slash: bool) -> String {
    let mut result = clean(path);
    if !result.starts_with('/') {
        result = join(&["/", parent, &result]);
    }
    if keep_slash {
        keep_ending(path, &mut result);
    }
    result
}

fn keep_ending(original: &str, result: &mut String) {
    if original.ends_with('/') && !result.ends_with('/') {
        result.push('/');
    } else if original.ends_with("/.") {
        if result != "/" {
            result.push('/');
        }
        result.push('.');
    }
}

/// Whether a path has an unescaped `*`, `?` or `[`.
pub(crate) fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_follows_go() {
        for (path, wanted) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c", "a/b/c"),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("/a/b/..", "/a"),
            ("./", "."),
        ] {
            assert_eq!(clean(path), wanted, "{path}");
        }
    }

    #[test]
    fn endings_are_kept() {
        assert_eq!(below("/w", "d/", true), "/w/d/");
        assert_eq!(below("/w", "d/.", true), "/w/d/.");
        assert_eq!(below("/", "./", true), "/");
        assert_eq!(below("/w", "/a//b/", true), "/a//b/");
        assert_eq!(absolute("/", "/a//b/", true), "/a/b/");
        assert_eq!(absolute("/", "/a/.", true), "/a/.");
        assert_eq!(absolute("/", "/.", true), "/.");
    }

    #[test]
    fn bases() {
        assert_eq!(base("/a/b/"), "b");
        assert_eq!(base("/"), "/");
        assert_eq!(base(""), ".");
        assert_eq!(dir("a/b"), "a");
        assert_eq!(dir("a"), ".");
    }
}
