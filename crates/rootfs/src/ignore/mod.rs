//! Ignore patterns: moby's pattern matcher, `.dockerignore` files, Go's `filepath.Match`.

mod go_match;
mod matcher;
#[cfg(test)]
mod tests;
mod wildcard;

pub use go_match::match_path;
pub use matcher::{MatchInfo, PatternMatcher};
pub(crate) use wildcard::WildcardPath;
pub use wildcard::contains_wildcards;

/// A pattern is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Unclosed bracket, trailing backslash or the like.
    #[error("syntax error in pattern `{pattern}`: escape a literal `[`, `*`, `?` or `\\` with `\\`")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
    /// A lone `!`.
    #[error("illegal exclusion pattern: `!`")]
    LoneExclamation,
    /// A line of an ignore file is too long.
    #[error("line {line} of the ignore file is longer than 65535 bytes")]
    LongLine {
        /// Line number, from 1.
        line: usize,
    },
}

/// The patterns of an ignore file (`.dockerignore`), cleaned, in order: comments only in the
/// first column, a byte order mark skipped, leading `/` dropped. Bytes that are no UTF-8 are
/// replaced.
pub fn read_ignore_file(text: &[u8]) -> Result<Vec<String>, PatternError> {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let mut patterns = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.len() > 65535 {
            return Err(PatternError::LongLine { line: index + 1 });
        }
        if line.starts_with(b"#") {
            continue;
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let (mark, pattern) = match line.strip_prefix('!') {
            Some(rest) => ("!", rest.trim()),
            None => ("", line),
        };
        let mut pattern = match pattern {
            "" => String::new(),
            other => clean(other),
        };
        if pattern.len() > 1 && pattern.starts_with('/') {
            pattern.remove(0);
        }
        patterns.push(format!("{mark}{pattern}"));
    }
    Ok(patterns)
}

/// Go's `filepath.Clean`: the shortest equal path, lexically; empty becomes `.`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") | None if !rooted => parts.push(".."),
                None => {}
                Some(_) => {
                    parts.pop();
                }
            },
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
