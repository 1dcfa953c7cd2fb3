//! Image names with Docker's short forms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Digest;

const HUB: &str = "docker.io";
const OLD_HUB: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// Longest repository name, registry not counted. Source: distribution/reference, `RepositoryNameTotalLengthMax`.
const MAX_NAME: usize = 255;

/// A full image name: registry, repository, and a tag, a digest, both or neither.
///
/// Parsing completes Docker's short names: `debian` is `docker.io/library/debian`. A missing tag stays
/// missing; [`Reference::or_latest`] adds `latest`. [`fmt::Display`] writes the full name,
/// [`Reference::familiar`] the short one. Source of the rules: github.com/distribution/reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is empty.
    #[error("the image name is empty")]
    Empty,
    /// The text is 64 hex digits: an image ID, which must not be usable as a name.
    #[error("`{0}` is an image ID and cannot be used as a name")]
    ImageId(String),
    /// Repository names are lower case.
    #[error("image name `{name}`: the repository must be lower case, use `{lower}`")]
    Uppercase {
        /// The whole text.
        name: String,
        /// The repository in lower case.
        lower: String,
    },
    /// The registry part is no host name with an optional port.
    #[error("image name `{name}`: `{domain}` is not a valid registry host")]
    Domain {
        /// The whole text.
        name: String,
        /// The part before the first slash.
        domain: String,
    },
    /// A path component is empty or has letters or separators that are not allowed.
    #[error(
        "image name `{name}`: `{repository}` is not a valid repository, \
         use lower-case letters, digits and single `.`, `_`, `__` or `-` between them"
    )]
    Repository {
        /// The whole text.
        name: String,
        /// The part that is wrong.
        repository: String,
    },
    /// The repository has more than 255 letters.
    #[error("image name `{0}` is longer than {MAX_NAME} letters")]
    TooLong(String),
    /// The tag is empty, longer than 128 letters, or has letters that are not allowed.
    #[error(
        "image name `{name}`: `{tag}` is not a valid tag, use up to 128 letters, digits, `_`, `.` and `-`"
    )]
    Tag {
        /// The whole text.
        name: String,
        /// The part after the colon.
        tag: String,
    },
    /// The part after `@` is no sha256 digest.
    #[error("image name `{name}`: {source}")]
    Digest {
        /// The whole text.
        name: String,
        /// What is wrong with it.
        source: crate::DigestError,
    },
}

impl Reference {
    /// The registry's host, with its port if one was given: `docker.io`, `localhost:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path on the registry: `library/debian`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if one was given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Registry and repository without tag and digest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.repository)
    }

    /// The same name with tag `latest` when it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// The same name with this digest, the tag kept.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    /// The same name without its digest.
    #[must_use]
    pub fn without_digest(mut self) -> Self {
        self.digest = None;
        self
    }

    /// The same name with another tag and no digest.
    ///
    /// # Errors
    /// When the tag is not valid.
    pub fn with_tag(mut self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag {
                name: self.to_string(),
                tag: tag.to_owned(),
            });
        }
        self.tag = Some(tag.to_owned());
        self.digest = None;
        Ok(self)
    }

    /// The repository as Docker shows it: without `docker.io/` and `library/`.
    #[must_use]
    pub fn familiar_name(&self) -> String {
        if self.domain != HUB {
            return self.name();
        }
        match self.repository.strip_prefix(OFFICIAL) {
            Some(name) if !name.contains('/') => name.to_owned(),
            _ => self.repository.clone(),
        }
    }

    /// The whole name as Docker shows it: `debian:bookworm`.
    #[must_use]
    pub fn familiar(&self) -> String {
        format!("{}{}", self.familiar_name(), self.suffix())
    }

    fn suffix(&self) -> String {
        let mut suffix = String::new();
        if let Some(tag) = &self.tag {
            suffix.push(':');
            suffix.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            suffix.push('@');
            suffix.push_str(&digest.to_string());
        }
        suffix
    }
}

/// Splits off the registry; without one the name is on Docker Hub, and one word is an official image.
fn split_domain(name: &str) -> (&str, String) {
    let (domain, remainder) = match name.split_once('/') {
        None => (HUB, name),
        Some((OLD_HUB, rest)) => (HUB, rest),
        Some((first, rest)) if is_domain_like(first) => (first, rest),
        Some(_) => (HUB, name),
    };
    if domain == HUB && !remainder.contains('/') {
        return (domain, format!("{OFFICIAL}{remainder}"));
    }
    (domain, remainder.to_owned())
}

/// Upper case is not allowed in a repository, so a first part with it can only be a host.
fn is_domain_like(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.to_lowercase().ne([c]))
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            let fits = !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            (
                if fits { "v6" } else { "" },
                port.strip_prefix(':').or(port.is_empty().then_some("0")),
            )
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, Some("0")),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let port_fits = port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    port_fits && host.split('.').all(label)
}

/// Lower-case letters and digits, with one `.`, `_`, `__` or any number of `-` between runs of them.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_fit =
        bytes.first().copied().is_some_and(alphanumeric) && bytes.last().copied().is_some_and(alphanumeric);
    let separators = component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends_fit
        && separators
            .filter(|separator| !separator.is_empty())
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    bytes.len() <= 128
        && bytes.first().copied().is_some_and(word)
        && bytes.iter().all(|&b| word(b) || b == b'.' || b == b'-')
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let name = text.to_owned();
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        if Digest::from_hex(text).is_ok() {
            return Err(ReferenceError::ImageId(name));
        }
        let (domain, remainder) = split_domain(text);
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|source| ReferenceError::Digest {
                    name: name.clone(),
                    source,
                })?;
                (rest, Some(digest))
            }
            None => (remainder.as_str(), None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !is_domain(domain) {
            return Err(ReferenceError::Domain {
                name,
                domain: domain.to_owned(),
            });
        }
        let lower = repository.to_lowercase();
        if lower != repository {
            let lower = lower.strip_prefix(OFFICIAL).unwrap_or(&lower).to_owned();
            return Err(ReferenceError::Uppercase { name, lower });
        }
        if !repository.split('/').all(is_path_component) {
            return Err(ReferenceError::Repository {
                name,
                repository: repository.to_owned(),
            });
        }
        if repository.len() > MAX_NAME {
            return Err(ReferenceError::TooLong(name));
        }
        if let Some(tag) = tag.as_ref().filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag {
                name,
                tag: tag.clone(),
            });
        }
        Ok(Self {
            domain: domain.to_owned(),
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.repository, self.suffix())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn completes_short_names() {
        let cases = [
            ("debian", "docker.io/library/debian", "debian"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("docker.io/debian", "docker.io/library/debian", "debian"),
            ("index.docker.io/a/b", "docker.io/a/b", "a/b"),
            ("a/b:c", "docker.io/a/b:c", "a/b:c"),
            ("library/x/y", "docker.io/library/x/y", "library/x/y"),
            ("localhost/x", "localhost/x", "localhost/x"),
            (
                "localhost:5000",
                "docker.io/library/localhost:5000",
                "localhost:5000",
            ),
            ("localhost:5000/x", "localhost:5000/x", "localhost:5000/x"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000/x:1"),
            ("ghcr.io/o/r", "ghcr.io/o/r", "ghcr.io/o/r"),
            ("UPPER/x", "UPPER/x", "UPPER/x"),
            ("a__b-c--d.e", "docker.io/library/a__b-c--d.e", "a__b-c--d.e"),
        ];
        for (text, full, familiar) in cases {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.to_string().as_str(), reference.familiar().as_str()),
                (full, familiar)
            );
        }
        let both: Reference = format!("debian:12@{DIGEST}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/debian:12@{DIGEST}"));
        assert_eq!((both.tag(), both.digest()), (Some("12"), DIGEST.parse().ok()));
    }

    #[test]
    fn refuses_bad_names() {
        let long = format!("a/{}", "b".repeat(260));
        type Expected = fn(&ReferenceError) -> bool;
        let cases: &[(&str, Expected)] = &[
            ("", |e| matches!(e, ReferenceError::Empty)),
            (&DIGEST[7..], |e| matches!(e, ReferenceError::ImageId(_))),
            (
                "Debian",
                |e| matches!(e, ReferenceError::Uppercase { lower, .. } if lower == "debian"),
            ),
            ("a/B", |e| matches!(e, ReferenceError::Uppercase { .. })),
            ("-bad.io/x", |e| matches!(e, ReferenceError::Domain { .. })),
            ("x:/y", |e| matches!(e, ReferenceError::Domain { .. })),
            ("a//b", |e| matches!(e, ReferenceError::Repository { .. })),
            ("a..b", |e| matches!(e, ReferenceError::Repository { .. })),
            ("a___b", |e| matches!(e, ReferenceError::Repository { .. })),
            ("-a", |e| matches!(e, ReferenceError::Repository { .. })),
            ("a b", |e| matches!(e, ReferenceError::Repository { .. })),
            (&long, |e| matches!(e, ReferenceError::TooLong(_))),
            ("a:", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a:b:c", |e| matches!(e, ReferenceError::Tag { .. })),
            ("a@sha256:12", |e| matches!(e, ReferenceError::Digest { .. })),
        ];
        for (text, expected) in cases {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(expected(&error), "{text}: {error}");
        }
    }

    #[test]
    fn latest_only_without_tag_and_digest() {
        let parse = |text: &str| text.parse::<Reference>().unwrap();
        assert_eq!(parse("a").or_latest().familiar(), "a:latest");
        assert_eq!(parse("a:b").or_latest().familiar(), "a:b");
        assert_eq!(
            parse("a").with_digest(DIGEST.parse().unwrap()).or_latest().tag(),
            None
        );
        assert_eq!(parse("a:b").with_tag("c").unwrap().familiar(), "a:c");
        assert!(parse("a").with_tag("/").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_parses_stably(text in "[a-zA-Z0-9.:@/_\\[\\]é-]{0,40}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference.clone()));
                prop_assert_eq!(reference.familiar().parse::<Reference>(), Ok(reference));
            }
        }
    }
}
