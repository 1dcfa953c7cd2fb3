//! `--filter` of `du` and `prune`, with buildx's words.

use std::str::FromStr;

use distil_store::{RecordKind, RecordUsage, Timestamp};
use regex::Regex;

use crate::error::CliError;

/// What records have to be, all of it.
#[derive(Debug, Default)]
pub(crate) struct RecordFilter(Vec<Condition>);

#[derive(Debug)]
enum Condition {
    Text(Field, Test),
    Flag(Flag, bool),
    /// Last used before this moment.
    Before(Timestamp),
}

#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    Type,
    Description,
}

#[derive(Debug)]
enum Test {
    Equal(String),
    Other(String),
    Pattern(Regex),
}

#[derive(Debug, Clone, Copy)]
enum Flag {
    InUse,
    Mutable,
    Shared,
}

impl RecordFilter {
    /// Reads the values of `--filter`; ages count back from `now`.
    pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Self, CliError> {
        texts
            .iter()
            .map(|text| Condition::parse(text, now))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether every record matches.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the record is all that was asked for.
    pub(crate) fn matches(&self, record: &RecordUsage) -> bool {
        self.0.iter().all(|condition| condition.matches(record))
    }
}

impl Condition {
    fn parse(text: &str, now: Timestamp) -> Result<Self, CliError> {
        let wrong = |problem: &str| {
            CliError::usage(format!("`--filter {text}`: {problem}")).hint(
                "there are type, id and description with =, != or ~=, until=24h, and inuse, mutable, immutable, \
                 shared and private",
            )
        };
        let end = text.find(['=', '!', '~']).unwrap_or(text.len());
        let (key, rest) = text.split_at(end);
        let operators = ["==", "!=", "~=", "="];
        let operator = operators.into_iter().find(|operator| rest.starts_with(operator));
        let value = rest.get(operator.map_or(0, str::len)..).unwrap_or_default();
        let field = match key {
            "id" => Field::Id,
            "type" => Field::Type,
            "description" => Field::Description,
            "until" => {
                let age = duration(value).filter(|_| matches!(operator, Some("=" | "==")));
                let age =
                    age.ok_or_else(|| wrong(&format!("`{value}` is no duration such as 24h or 1h30m")))?;
                return Ok(Self::Before(Timestamp(now.0.saturating_sub(age))));
            }
            _ => {
                let (flag, meaning) = match key {
                    "inuse" => (Flag::InUse, true),
                    "mutable" => (Flag::Mutable, true),
                    "immutable" => (Flag::Mutable, false),
                    "shared" => (Flag::Shared, true),
                    "private" => (Flag::Shared, false),
                    _ => return Err(wrong(&format!("there is no `{key}`"))),
                };
                let value = match (operator, value) {
                    (None, "") => true,
                    (Some("=" | "=="), value) => bool::from_str(value)
                        .map_err(|_| wrong(&format!("`{value}` is neither true nor false")))?,
                    _ => return Err(wrong("it is true or false")),
                };
                return Ok(Self::Flag(flag, value == meaning));
            }
        };
        if matches!(field, Field::Type) && operator != Some("~=") && RecordKind::named(value).is_none() {
            return Err(wrong(&format!("there are no records of type `{value}`")));
        }
        let test = match operator {
            Some("!=") => Test::Other(value.to_owned()),
            Some("~=") => Test::Pattern(Regex::new(value).map_err(|error| wrong(&error.to_string()))?),
            Some(_) => Test::Equal(value.to_owned()),
            None => return Err(wrong("it needs a value")),
        };
        Ok(Self::Text(field, test))
    }

    fn matches(&self, record: &RecordUsage) -> bool {
        match self {
            Self::Text(field, test) => test.holds(&match field {
                Field::Id => record.id.0.to_string(),
                Field::Type => record.kind.as_str().to_owned(),
                Field::Description => record.description.clone(),
            }),
            Self::Flag(flag, wanted) => {
                let is = match flag {
                    Flag::InUse => record.in_use,
                    Flag::Mutable => record.kind == RecordKind::ExecCacheMount,
                    Flag::Shared => record.shared,
                };
                is == *wanted
            }
            Self::Before(moment) => record.last_used < *moment,
        }
    }
}

impl Test {
    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Equal(wanted) => text == wanted,
            Self::Other(refused) => text != refused,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// Nanoseconds of a duration as Go writes it: `24h`, `1h30m`, `90s`, `1.5h`.
fn duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[end..];
    }
    // The cast saturates.
    (!text.is_empty()).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use distil_store::RecordId;

    const HOUR: i64 = 3_600_000_000_000;

    fn record() -> RecordUsage {
        RecordUsage {
            id: RecordId(7),
            kind: RecordKind::ExecCacheMount,
            description: "cached mount /root/.m2".into(),
            size: 1,
            created: Timestamp(0),
            last_used: Timestamp(10 * HOUR),
            uses: 1,
            in_use: false,
            shared: false,
        }
    }

    #[test]
    fn filters_are_read_and_applied() {
        let now = Timestamp(12 * HOUR);
        for (text, matches) in [
            ("type=exec.cachemount", Some(true)),
            ("type==regular", Some(false)),
            ("type!=regular", Some(true)),
            ("type~=^exec", Some(true)),
            ("id=7", Some(true)),
            ("id!=7", Some(false)),
            ("description~=\\.m2$", Some(true)),
            ("description=cached mount", Some(false)),
            ("until=1h", Some(true)),
            ("until=1h30m", Some(true)),
            ("until=3h", Some(false)),
            ("inuse", Some(false)),
            ("inuse=false", Some(true)),
            ("mutable", Some(true)),
            ("immutable", Some(false)),
            ("immutable=false", Some(true)),
            ("shared", Some(false)),
            ("private", Some(true)),
            ("", None),
            ("parents=x", None),
            ("type", None),
            ("type=exec", None),
            ("until=2", None),
            ("until=", None),
            ("until!=2h", None),
            ("inuse=maybe", None),
            ("id~=(", None),
            ("size>3", None),
        ] {
            let filter = RecordFilter::parse(&[text.to_owned()], now);
            assert_eq!(
                filter.ok().map(|filter| filter.matches(&record())),
                matches,
                "{text}"
            );
        }
        let both = ["mutable".to_owned(), "until=3h".to_owned()];
        assert!(!RecordFilter::parse(&both, now).unwrap().matches(&record()));
    }
}
