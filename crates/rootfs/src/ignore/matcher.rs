//! moby's pattern matcher: an ordered list of patterns, the last match decides.

use std::borrow::Cow;

use regex::Regex;

use super::{PatternError, clean, match_path};

/// Match state of a directory, passed on to what is in it.
#[derive(Clone, Debug, Default)]
pub struct MatchInfo {
    parent_matched: Vec<bool>,
}

/// Compiled patterns; the last one that matches decides, `!` re-includes.
#[derive(Clone, Debug, Default)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// Without its `!`.
    text: String,
    exclusion: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The text itself.
    Exact,
    /// A text that ends in `**`: what starts with the rest.
    Prefix,
    /// A text that starts with `**`: what ends with the rest.
    Suffix,
    Regex(Box<Regex>),
}

impl PatternMatcher {
    /// Compiles patterns; blank ones are skipped.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<PatternMatcher, PatternError> {
        let mut compiled = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            let text = pattern.as_ref().trim();
            if text.is_empty() {
                continue;
            }
            let mut text = clean(text);
            let exclusion = text.starts_with('!');
            if exclusion {
                text.remove(0);
                if text.is_empty() {
                    return Err(PatternError::LoneExclamation);
                }
            }
            match_path(text.as_bytes(), b".")?;
            let kind = compile(&text)?;
            compiled.push(Pattern {
                text,
                exclusion,
                kind,
            });
        }
        Ok(PatternMatcher { patterns: compiled })
    }

    /// Whether `path` (relative, slash-separated, clean) or a parent of it is matched.
    pub fn matches_or_parent_matches(&self, path: &[u8]) -> bool {
        self.matches_with_parent(path, &MatchInfo::default()).0
    }

    /// Like [`PatternMatcher::matches_or_parent_matches`], given what the parent directory's
    /// call returned (or the default for a first component).
    pub fn matches_with_parent(&self, path: &[u8], parent: &MatchInfo) -> (bool, MatchInfo) {
        // Go sees a byte that is no UTF-8 as U+FFFD too.
        let path = String::from_utf8_lossy(path);
        let known = &parent.parent_matched;
        let mut info = MatchInfo {
            parent_matched: vec![false; self.patterns.len()],
        };
        let mut matched = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = known.get(index).copied().unwrap_or(false);
            if !hit {
                // An inclusion cannot change a match, an exclusion no miss.
                if pattern.exclusion != matched {
                    continue;
                }
                hit = pattern.matches(&path)
                    || (known.is_empty() && parents(&path).any(|dir| pattern.matches(dir)));
            }
            info.parent_matched[index] = hit;
            if hit {
                matched = !pattern.exclusion;
            }
        }
        (matched, info)
    }

    /// Whether any pattern starts with `!`.
    pub fn has_exclusions(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.exclusion)
    }

    /// Whether an inclusion pattern (or, with `exclusion`, a `!` pattern) could match
    /// something below the directory `dir`. May say yes when it could not.
    pub(crate) fn may_match_below(&self, dir: &[u8], exclusion: bool) -> bool {
        let mut relevant = self
            .patterns
            .iter()
            .filter(|pattern| pattern.exclusion == exclusion);
        let mut below = dir.to_vec();
        below.push(b'/');
        relevant.any(|pattern| {
            let text = pattern.text.as_str();
            let text = text.strip_suffix("/**").unwrap_or(text);
            let text = text.strip_suffix("/*").unwrap_or(text);
            if text.contains(['*', '[', ']', '?', '^', '\\']) {
                return true;
            }
            format!("{text}/").as_bytes().starts_with(&below)
        })
    }
}

/// The directories above `path`, outermost first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        let text = self.text.as_str();
        match &self.kind {
            Kind::Exact => path == text,
            Kind::Prefix => path.starts_with(text.strip_suffix("**").unwrap_or(text)),
            Kind::Suffix => {
                let suffix = text.strip_prefix("**").unwrap_or(text);
                path.ends_with(suffix) || suffix.strip_prefix('/').is_some_and(|rest| path == rest)
            }
            Kind::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Turns a pattern into the fastest test that is equal to moby's regular expression.
fn compile(pattern: &str) -> Result<Kind, PatternError> {
    let mut regex = String::from("^");
    let mut kind = Kind::Exact;
    let mut needs_regex = false;
    let mut chars = pattern.chars().peekable();
    let mut first = true;
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                if chars.peek().is_some() {
                    regex.push_str("(.*/)?");
                    needs_regex = true;
                } else if !needs_regex && matches!(kind, Kind::Exact) {
                    kind = Kind::Prefix;
                } else {
                    regex.push_str(".*");
                    needs_regex = true;
                }
                if first {
                    kind = Kind::Suffix;
                    needs_regex = false;
                }
            }
            '*' => {
                regex.push_str("[^/]*");
                needs_regex = true;
            }
            '?' => {
                regex.push_str("[^/]");
                needs_regex = true;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                regex.push('\\');
                regex.push(char);
            }
            '\\' => {
                regex.push('\\');
                regex.extend(chars.next());
                needs_regex = true;
            }
            '[' | ']' => {
                regex.push(char);
                needs_regex = true;
            }
            other => regex.push(other),
        }
        first = false;
    }
    if !needs_regex {
        return Ok(kind);
    }
    regex.push('$');
    match Regex::new(&from_go(&regex)) {
        Ok(regex) => Ok(Kind::Regex(Box::new(regex))),
        Err(_) => Err(PatternError::Syntax {
            pattern: pattern.to_owned(),
        }),
    }
}

/// Rewrites what Go's regular expressions and Rust's read differently: in a class Rust knows
/// nested classes and set operations, outside of one a lone `]` and escaped letters.
fn from_go(go: &str) -> Cow<'_, str> {
    if !go.contains(['[', ']', '\\']) {
        return Cow::Borrowed(go);
    }
    let chars: Vec<char> = go.chars().collect();
    let mut out = String::with_capacity(go.len() + 8);
    let mut at = 0;
    while at < chars.len() {
        match chars[at] {
            '\\' => {
                push_escape(&mut out, chars.get(at + 1).copied());
                at += 2;
            }
            '[' => at = push_class(&mut out, &chars, at + 1),
            ']' => {
                out.push_str("\\]");
                at += 1;
            }
            other => {
                out.push(other);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

fn push_escape(out: &mut String, escaped: Option<char>) {
    out.push('\\');
    // Letters and digits keep the meaning they have as escapes; Rust refuses to escape a few
    // others, for instance characters that are not ASCII.
    match escaped {
        Some(char) if char.is_ascii() => out.push(char),
        Some(char) => {
            out.pop();
            out.push(char);
        }
        None => {}
    }
}

/// Copies a class whose `[` was at `at - 1`; returns where it ended.
fn push_class(out: &mut String, chars: &[char], mut at: usize) -> usize {
    out.push('[');
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    let start = at;
    while let Some(&char) = chars.get(at) {
        match char {
            ']' if at > start => {
                out.push(']');
                return at + 1;
            }
            '\\' => {
                push_escape(out, chars.get(at + 1).copied());
                at += 1;
            }
            '[' | ']' | '&' | '~' | '^' => {
                out.push('\\');
                out.push(char);
            }
            other => out.push(other),
        }
        at += 1;
    }
    at
}
