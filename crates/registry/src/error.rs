//! What can go wrong with a registry.

use distil_fetch::{FetchError, Response};
use distil_oci::{Digest, Platform};
use distil_store::StoreError;
use serde::Deserialize;

use crate::CredentialsError;

/// Longest list of platforms in an error.
const LISTED: usize = 12;

/// Why something on a registry could not be had or put there.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The request failed before the registry could answer, or a transfer broke.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is a login, but it cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// No such image, tag or repository.
    #[error("`{name}` is not on the registry{}", shown(.detail))]
    NotFound {
        /// The image, or the blob.
        name: String,
        /// The registry's words.
        detail: String,
    },
    /// The registry wants a login (401), or another one.
    #[error("`{registry}` refuses access to `{name}`: {}{}", login_advice(*.logged_in), shown(.detail))]
    Unauthorized {
        /// The image, or the blob.
        name: String,
        /// The registry.
        registry: String,
        /// Whether a login was shown.
        logged_in: bool,
        /// The registry's words.
        detail: String,
    },
    /// The login may not do this (403).
    #[error("`{registry}` denies access to `{name}`{}", shown(.detail))]
    Denied {
        /// The image, or the blob.
        name: String,
        /// The registry.
        registry: String,
        /// The registry's words.
        detail: String,
    },
    /// Too many requests (429).
    #[error("`{registry}` allows no more requests for now{}; log in or try again later", shown(.detail))]
    RateLimited {
        /// The registry.
        registry: String,
        /// The registry's words.
        detail: String,
    },
    /// Any other status.
    #[error("`{registry}` answered {status} for `{name}`{}", shown(.detail))]
    Status {
        /// The image, or the blob.
        name: String,
        /// The registry.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// The registry's words.
        detail: String,
    },
    /// The registry asks for a kind of authentication that is not supported, or its challenge lacks a part.
    #[error("`{registry}` asks for authentication in a way that is not supported: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// What it asks.
        reason: String,
    },
    /// The token server's answer makes no sense.
    #[error("the token server of `{registry}` gave no usable token: {reason}")]
    Token {
        /// The registry.
        registry: String,
        /// What is wrong.
        reason: String,
    },
    /// A manifest, index or config is not what it should be.
    #[error("`{name}`: {reason}")]
    Document {
        /// The image.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// What came has another digest than what was asked for.
    #[error("`{name}`: expected `{expected}`, got `{found}`")]
    Digest {
        /// The image.
        name: String,
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The image is not there for the platform.
    #[error("`{name}` has no image for `{wanted}`, only for {}", listed(.available))]
    Platform {
        /// The image.
        name: String,
        /// What was asked for.
        wanted: Box<Platform>,
        /// What it has.
        available: Vec<String>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
}

fn shown(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

fn login_advice(logged_in: bool) -> &'static str {
    if logged_in {
        "the login is not accepted"
    } else {
        "it asks for a login and there is none in the docker config"
    }
}

fn listed(names: &[String]) -> String {
    let mut list: Vec<String> = names
        .iter()
        .take(LISTED)
        .map(|name| format!("`{name}`"))
        .collect();
    if names.len() > LISTED {
        list.push(format!("{} more", names.len() - LISTED));
    }
    if list.is_empty() {
        "no platform at all".to_owned()
    } else {
        list.join(", ")
    }
}

impl RegistryError {
    /// Whether the registry could not be reached at all: no name, no connection. Never true when anything answered.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Fetch(error) if error.is_unreachable())
    }

    /// Whether the registry answered that it has no such image, or nothing for this user: many say the latter of images
    /// that do not exist.
    #[must_use]
    pub fn may_lack_image(&self) -> bool {
        matches!(
            self,
            Self::NotFound { .. } | Self::Unauthorized { .. } | Self::Denied { .. }
        )
    }

    /// The error for an answer other than 2xx.
    pub(crate) fn of(response: Response, registry: &str, name: &str, logged_in: bool) -> Self {
        let status = response.status();
        let (registry, name) = (registry.to_owned(), name.to_owned());
        let detail = match response.into_error() {
            FetchError::Status { body, .. } => decoded(&body),
            _ => String::new(),
        };
        match status {
            404 => Self::NotFound { name, detail },
            401 => Self::Unauthorized {
                name,
                registry,
                logged_in,
                detail,
            },
            403 => Self::Denied {
                name,
                registry,
                detail,
            },
            429 => Self::RateLimited { registry, detail },
            _ => Self::Status {
                name,
                registry,
                status,
                detail,
            },
        }
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: Option<String>,
}

/// The words of an error body: the specification's JSON, the token server's, or plain text.
fn decoded(body: &str) -> String {
    if let Ok(errors) = serde_json::from_str::<Errors>(body) {
        let one = |entry: Entry| match entry.message.filter(|message| !message.is_empty()) {
            Some(message) => message,
            None => entry.code.to_lowercase().replace('_', " "),
        };
        return errors.errors.into_iter().map(one).collect::<Vec<_>>().join("; ");
    }
    let token: Option<serde_json::Value> = serde_json::from_str(body).ok();
    for key in ["details", "error_description", "message", "error"] {
        let text = token
            .as_ref()
            .and_then(|value| value.get(key))
            .and_then(|value| value.as_str());
        if let Some(text) = text {
            return text.to_owned();
        }
    }
    // A page in another form is cut: it is for people with a browser.
    body.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_become_words() {
        let cases = [
            (
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{}}]}"#,
                "manifest unknown",
            ),
            (
                r#"{"errors":[{"code":"TOO_MANY"},{"code":"X","message":"y"}]}"#,
                "too many; y",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                "incorrect username or password",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"expired"}"#,
                "expired",
            ),
            ("toomanyrequests: slow down\nmore", "toomanyrequests: slow down"),
            ("", ""),
        ];
        for (body, expected) in cases {
            assert_eq!(decoded(body), expected);
        }
    }

    #[test]
    fn platforms_are_listed_up_to_a_limit() {
        assert_eq!(listed(&[]), "no platform at all");
        assert_eq!(listed(&["a".into(), "b".into()]), "`a`, `b`");
        assert!(listed(&vec!["a".into(); 20]).ends_with(", 8 more"));
    }
}
