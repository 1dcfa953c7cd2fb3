//! Semantic Versioning 2.0.0, section 11, and the leniencies of Go (`v1.2.3`) and npm (`1.2`).

use std::cmp::Ordering;

/// Build metadata is dropped: it has no part in the order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    /// Without zeros at the end.
    core: Vec<Number>,
    pre: Pre,
}

/// Digits without leading zeros, of any length.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number(Box<str>);

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0.len().cmp(&other.0.len())).then_with(|| self.0.cmp(&other.0))
    }
}

/// A version with a pre-release is before the one without.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    Some(Vec<Identifier>),
    None,
}

/// Numbers are before words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(Number),
    Word(Box<str>),
}

impl Version {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['v', 'V', '=']).unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (core, pre) = match text.split_once('-') {
            Some((core, pre)) => (core, Some(pre)),
            None => (text, None),
        };
        let mut core: Vec<Number> = core.split('.').map(number).collect::<Option<_>>()?;
        while core.last().is_some_and(|last| last.0.is_empty()) {
            core.pop();
        }
        let pre = match pre {
            Some(pre) => Pre::Some(pre.split('.').map(identifier).collect::<Option<_>>()?),
            None => Pre::None,
        };
        Some(Self { core, pre })
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Number(text.trim_start_matches('0').into()))
}

fn identifier(text: &str) -> Option<Identifier> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.is_empty() || !text.bytes().all(allowed) {
        return None;
    }
    Some(match number(text) {
        Some(number) => Identifier::Number(number),
        None => Identifier::Word(text.into()),
    })
}
