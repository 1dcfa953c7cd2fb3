//! `WWW-Authenticate`: what a registry wants to see.

use std::collections::BTreeMap;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// Parameters, names in lower case.
    pub(crate) parameters: BTreeMap<String, String>,
}

impl Challenge {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}

/// Reads one header value; it may hold several challenges. Source: RFC 9110, 11.6.1. What does not fit is skipped.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return challenges;
        }
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        if name.is_empty() {
            // No token here: skip the letter that is in the way.
            rest = rest.chars().next().map_or("", |c| &rest[c.len_utf8()..]);
            continue;
        }
        let name = name.to_ascii_lowercase();
        match (tail.trim_start().strip_prefix('='), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                let (value, tail) = parameter_value(value.trim_start());
                challenge.parameters.insert(name, value);
                rest = tail;
            }
            _ => {
                challenges.push(Challenge {
                    scheme: name,
                    parameters: BTreeMap::new(),
                });
                rest = tail;
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

/// A token or a quoted text, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> Vec<String> {
        let one = |challenge: Challenge| {
            let parameters = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!(" {name}={value}"));
            challenge.scheme.clone() + &parameters.collect::<String>()
        };
        parse(header).into_iter().map(one).collect()
    }

    #[test]
    fn reads_what_registries_write() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(
            shown(hub),
            [
                "bearer realm=https://auth.docker.io/token scope=repository:a/b:pull,push service=registry.docker.io"
            ]
        );
        assert_eq!(
            shown("Basic realm=\"a \\\"b\\\"\", charset=UTF-8"),
            ["basic charset=UTF-8 realm=a \"b\""]
        );
        assert_eq!(
            shown("Negotiate, Basic realm=x , BEARER Realm = y"),
            ["negotiate", "basic realm=x", "bearer realm=y"]
        );
    }

    #[test]
    fn garbage_ends() {
        for header in [
            "",
            ",,,",
            "=",
            "\"",
            "Bearer realm=\"open",
            "a=b",
            "é é",
            "Bearer =\"x\"",
            "Basic\u{7f}=",
        ] {
            parse(header);
        }
    }
}
