//! Ignore patterns: moby's pattern matcher, `.dockerignore` files, Go's `filepath.Match`.

/// A pattern is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Unclosed bracket, trailing backslash or the like.
    #[error("syntax error in pattern `{pattern}`")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
    /// A lone `!`.
    #[error("illegal exclusion pattern: `!`")]
    LoneExclamation,
    /// A line of an ignore file is too long or no text.
    #[error("line {line} of the ignore file is longer than 65535 bytes")]
    LongLine {
        /// Line number, from 1.
        line: usize,
    },
}

/// Match state of a directory, passed on to what is in it.
#[derive(Clone, Debug, Default)]
pub struct MatchInfo {
    pub(crate) parent_matched: Vec<bool>,
}

/// Compiled patterns; the last one that matches decides, `!` re-includes.
#[derive(Clone, Debug, Default)]
pub struct PatternMatcher {
    patterns: Vec<String>,
}

impl PatternMatcher {
    /// Compiles patterns; blank ones are skipped.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<PatternMatcher, PatternError> {
        Ok(PatternMatcher {
            patterns: patterns.iter().map(|p| p.as_ref().to_owned()).collect(),
        })
    }

    /// Whether `path` (relative, slash-separated, clean) or a parent of it is matched.
    pub fn matches_or_parent_matches(&self, path: &[u8]) -> bool {
        let _ = path;
        false
    }

    /// Like [`PatternMatcher::matches_or_parent_matches`], given what the parent directory's
    /// call returned (or the default for a first component).
    pub fn matches_with_parent(&self, path: &[u8], parent: &MatchInfo) -> (bool, MatchInfo) {
        let _ = path;
        (false, parent.clone())
    }

    /// Whether any pattern starts with `!`.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|p| p.starts_with('!'))
    }
}

/// The patterns of an ignore file (`.dockerignore`), cleaned, in order.
pub fn read_ignore_file(text: &[u8]) -> Result<Vec<String>, PatternError> {
    let _ = text;
    Ok(Vec::new())
}

/// Go's `filepath.Match` on Unix: `*` and `?` never match `/`.
pub fn match_path(pattern: &[u8], name: &[u8]) -> Result<bool, PatternError> {
    let _ = name;
    Err(PatternError::Syntax {
        pattern: String::from_utf8_lossy(pattern).into_owned(),
    })
}

/// Whether a name has a wildcard (`*`, `?`, `[`) that no backslash escapes.
pub fn contains_wildcards(name: &str) -> bool {
    let mut bytes = name.bytes();
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
