//! Relations between packages: `Depends`, `Provides`, `Conflicts` and the like.
//!
//! Rules: Policy 7.1. Build-time restrictions (`[arch]`, `<profile>`) do not
//! stand in binary packages and are refused.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

use crate::version;

/// How a relation compares versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionOperator {
    /// `<<`
    Earlier,
    /// `<=`, and the obsolete `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the obsolete `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl VersionOperator {
    /// Whether `candidate OPERATOR bound` holds.
    #[must_use]
    pub fn accepts(self, candidate: &str, bound: &str) -> bool {
        let order = version::compare(candidate, bound);
        match self {
            VersionOperator::Earlier => order == Ordering::Less,
            VersionOperator::EarlierOrEqual => order.is_le(),
            VersionOperator::Equal => order.is_eq(),
            VersionOperator::LaterOrEqual => order.is_ge(),
            VersionOperator::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for VersionOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            VersionOperator::Earlier => "<<",
            VersionOperator::EarlierOrEqual => "<=",
            VersionOperator::Equal => "=",
            VersionOperator::LaterOrEqual => ">=",
            VersionOperator::Later => ">>",
        })
    }
}

/// One name with what it demands: `libc6:any (>= 2.36)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Relation<'a> {
    /// Package name, real or virtual.
    pub name: &'a str,
    /// What follows the colon: `any`, `native`, `all` or an architecture.
    pub architecture: Option<&'a str>,
    /// Operator and version.
    pub version: Option<(VersionOperator, &'a str)>,
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(architecture) = self.architecture {
            write!(f, ":{architecture}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(f, " ({operator} {version})")?;
        }
        Ok(())
    }
}

impl Relation<'_> {
    /// Whether a package of this name in `version` is meant.
    #[must_use]
    pub fn accepts_version(&self, version: &str) -> bool {
        self.version
            .is_none_or(|(operator, bound)| operator.accepts(version, bound))
    }

    /// Whether a `Provides` entry for this name meets it: an entry without a
    /// version meets only relations without one (Policy 7.5).
    #[must_use]
    pub fn accepts_provided(&self, provided: Option<&str>) -> bool {
        match (self.version, provided) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((operator, bound)), Some(version)) => operator.accepts(version, bound),
        }
    }
}

/// A relation that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a package relation")]
pub struct InvalidRelation {
    /// The part that cannot be read.
    pub text: String,
}

/// Reads a list: groups separated by commas, each a choice between relations
/// separated by `|`, in the order of preference.
///
/// # Errors
/// The first relation that does not follow the syntax.
pub fn parse(text: &str) -> Result<Vec<Vec<Relation<'_>>>, InvalidRelation> {
    let mut groups = Vec::new();
    for group in text.split(',') {
        if group.trim().is_empty() {
            continue;
        }
        let alternatives: Result<Vec<_>, _> = group.split('|').map(parse_one).collect();
        groups.push(alternatives?);
    }
    Ok(groups)
}

fn parse_one(text: &str) -> Result<Relation<'_>, InvalidRelation> {
    let text = text.trim();
    let invalid = || InvalidRelation {
        text: text.to_owned(),
    };
    let (name, version) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let inside = rest.trim_end().strip_suffix(')').ok_or_else(invalid)?;
            (name.trim(), Some(parse_version(inside).ok_or_else(invalid)?))
        }
    };
    let (name, architecture) = match name.split_once(':') {
        Some((name, architecture)) => (name, Some(architecture)),
        None => (name, None),
    };
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.' | b'_'))
    };
    if !is_word(name) || !architecture.is_none_or(is_word) {
        return Err(invalid());
    }
    Ok(Relation {
        name,
        architecture,
        version,
    })
}

fn parse_version(inside: &str) -> Option<(VersionOperator, &str)> {
    let inside = inside.trim();
    let end = inside.find(|c: char| !matches!(c, '<' | '>' | '='))?;
    let operator = match &inside[..end] {
        "<<" => VersionOperator::Earlier,
        "<=" | "<" => VersionOperator::EarlierOrEqual,
        "=" => VersionOperator::Equal,
        ">=" | ">" => VersionOperator::LaterOrEqual,
        ">>" => VersionOperator::Later,
        _ => return None,
    };
    let version = inside[end..].trim();
    (!version.is_empty() && !version.contains(char::is_whitespace)).then_some((operator, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_groups() {
        let groups = parse("libc6 (>= 2.36), python3:any|perl5-base (=1:2) , x(<<3),").unwrap();
        let shown: Vec<Vec<String>> = groups
            .iter()
            .map(|g| g.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(
            shown,
            [
                vec!["libc6 (>= 2.36)".to_owned()],
                vec!["python3:any".to_owned(), "perl5-base (= 1:2)".to_owned()],
                vec!["x (<< 3)".to_owned()],
            ]
        );
        assert_eq!(parse(" ").unwrap(), Vec::<Vec<_>>::new());
    }

    #[test]
    fn refuses_junk() {
        for text in [
            "a b",
            "a (>= )",
            "a (1)",
            "a (>= 1",
            "|",
            "a |",
            "a [amd64]",
            "a <x>",
            "a:",
            "a (>= 1 2)",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions() {
        let relation = parse("a (>= 2)").unwrap()[0][0];
        assert!(relation.accepts_version("2.1") && !relation.accepts_version("1"));
        assert!(relation.accepts_provided(Some("3")) && !relation.accepts_provided(None));
    }
}
