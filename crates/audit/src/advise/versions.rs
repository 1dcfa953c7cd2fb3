//! Versions that a project accepts, as far as one number tells them apart: the minor one of Python 3, the major one
//! of Node.js.

use serde::Serialize;

/// A set of versions: any of several lists of bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// As it was written.
    text: String,
    #[serde(skip)]
    any: Vec<Vec<Bound>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    AtLeast(u32),
    Below(u32),
    Only(u32),
    Not(u32),
}

impl Bound {
    fn accepts(self, version: u32) -> bool {
        match self {
            Self::AtLeast(least) => version >= least,
            Self::Below(limit) => version < limit,
            Self::Only(only) => version == only,
            Self::Not(not) => version != not,
        }
    }
}

impl Versions {
    /// Every version.
    #[must_use]
    pub fn any() -> Self {
        Self {
            text: "any".to_owned(),
            any: vec![Vec::new()],
        }
    }

    /// One version.
    #[must_use]
    pub fn only(version: u32) -> Self {
        Self {
            text: version.to_string(),
            any: vec![vec![Bound::Only(version)]],
        }
    }

    /// Reads Python's version specifiers (PEP 440: `>=3.10,<3.13`) and Poetry's (`^3.11`) as minor numbers of
    /// Python 3. `None` when it is neither.
    #[must_use]
    pub fn python(text: &str) -> Option<Self> {
        let mut any = Vec::new();
        for alternative in text.split("||") {
            let words = alternative
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            let bounds: Option<Vec<Vec<Bound>>> = words.map(python_bounds).collect();
            any.push(bounds?.concat());
        }
        Some(Self {
            text: text.trim().to_owned(),
            any,
        })
    }

    /// Reads a range of npm (`^18 || >=20.1 <23`) as major numbers. `None` when it is none.
    #[must_use]
    pub fn npm(text: &str) -> Option<Self> {
        let mut any = Vec::new();
        for alternative in text.split("||") {
            let alternative = alternative.trim();
            let bounds = match alternative.split_once(" - ") {
                Some((low, high)) => vec![Bound::AtLeast(major(low)?), Bound::Below(major(high)? + 1)],
                None => npm_bounds(alternative)?,
            };
            any.push(bounds);
        }
        Some(Self {
            text: text.trim().to_owned(),
            any,
        })
    }

    /// Whether a version is one of them.
    #[must_use]
    pub fn accepts(&self, version: u32) -> bool {
        self.any
            .iter()
            .any(|bounds| bounds.iter().all(|bound| bound.accepts(version)))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// One specifier, such as `>=3.10`.
fn python_bounds(word: &str) -> Option<Vec<Bound>> {
    let at = word.find(|first: char| first.is_ascii_digit())?;
    let (operator, version) = word.split_at(at);
    let version = version.trim();
    let mut parts = version.split('.');
    let (major, minor): (u32, Option<&str>) = (parts.next()?.parse().ok()?, parts.next());
    let minor: Option<u32> = minor
        .filter(|minor| *minor != "*")
        .map(str::parse)
        .transpose()
        .ok()?;
    let has_patch = parts.next().is_some_and(|patch| patch != "*");
    Some(match (operator.trim(), major, minor) {
        // All of Python 3, or none of it.
        (">=" | ">" | "^" | "~=" | "~" | "==" | "", 3, None) => Vec::new(),
        (">=" | ">", 2, _) | ("<" | "<=", 4.., _) | ("!=", 2 | 4.., _) => Vec::new(),
        ("<", 3, None) | ("<" | "<=", 2, _) => vec![Bound::Below(0)],
        (">=" | ">" | "^", 3, Some(minor)) => vec![Bound::AtLeast(minor)],
        ("~=", 3, Some(minor)) if !has_patch => vec![Bound::AtLeast(minor)],
        ("~=" | "~" | "==" | "===" | "", 3, Some(minor)) => vec![Bound::Only(minor)],
        ("<", 3, Some(minor)) if !has_patch => vec![Bound::Below(minor)],
        ("<" | "<=", 3, Some(minor)) => vec![Bound::Below(minor + 1)],
        ("!=", 3, Some(minor)) if !has_patch => vec![Bound::Not(minor)],
        ("!=", 3, _) => Vec::new(),
        _ => return None,
    })
}

fn npm_bounds(text: &str) -> Option<Vec<Bound>> {
    let mut bounds = Vec::new();
    let mut operator = String::new();
    for word in text.split_whitespace() {
        let at = word
            .find(|first: char| !"<>=^~".contains(first))
            .unwrap_or(word.len());
        operator.push_str(&word[..at]);
        let version = &word[at..];
        if version.is_empty() {
            // The operator stands alone: `>= 18`.
            continue;
        }
        let operator = std::mem::take(&mut operator);
        if ["*", "x", "X", "latest", "node", "lts/*"].contains(&version) {
            continue;
        }
        let number = major(version)?;
        let is_whole = !version.contains('.')
            || version.ends_with(".x")
            || version.trim_end_matches(".0") == number.to_string();
        bounds.push(match operator.as_str() {
            ">=" => Bound::AtLeast(number),
            ">" => Bound::AtLeast(number + u32::from(is_whole)),
            "<" => Bound::Below(number + u32::from(!is_whole)),
            "<=" => Bound::Below(number + 1),
            "" | "=" | "^" | "~" => Bound::Only(number),
            _ => return None,
        });
    }
    Some(bounds)
}

/// 18 of `18`, `v18.2.0` and `18.x`.
fn major(version: &str) -> Option<u32> {
    let version = version.trim();
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_of_python() {
        for (text, accepted) in [
            (">=3.10,<3.13", &[10, 11, 12][..]),
            (">=3.8", &[8, 9, 10, 11, 12, 13, 14]),
            ("^3.11", &[11, 12, 13, 14]),
            ("~=3.11", &[11, 12, 13, 14]),
            ("~=3.11.2", &[11]),
            ("==3.11.*", &[11]),
            ("3.12", &[12]),
            ("<4,>=3.12,!=3.13.*", &[12, 14]),
            ("<=3.9.5", &[8, 9]),
            ("<3", &[]),
            (">=2.7", &[8, 9, 10, 11, 12, 13, 14]),
        ] {
            let versions = Versions::python(text).unwrap();
            let found: Vec<u32> = (8..15).filter(|minor| versions.accepts(*minor)).collect();
            assert_eq!(found, accepted, "{text}");
        }
        assert_eq!(Versions::python("latest"), None);
    }

    #[test]
    fn ranges_of_npm() {
        for (text, accepted) in [
            (">=18", &[18, 19, 20, 21, 22][..]),
            (">= 18", &[18, 19, 20, 21, 22]),
            ("^18.2 || >=20.1 <22", &[18, 20, 21]),
            ("18.x", &[18]),
            ("v20.11.1", &[20]),
            ("16 - 19", &[16, 17, 18, 19]),
            (">18 <=21", &[19, 20, 21]),
            ("<20.5", &[16, 17, 18, 19, 20]),
            ("*", &[16, 17, 18, 19, 20, 21, 22]),
        ] {
            let versions = Versions::npm(text).unwrap();
            let found: Vec<u32> = (16..23).filter(|major| versions.accepts(*major)).collect();
            assert_eq!(found, accepted, "{text}");
        }
        assert_eq!(Versions::npm("hydrogen?"), None);
    }
}
