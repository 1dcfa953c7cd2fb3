//! Answers to challenges, and the tokens that came of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distil_fetch::{Body, Client, Method, Redacted, Request, Url};
use serde::Deserialize;

use crate::challenge::{self, Challenge};
use crate::endpoint::{Endpoint, is_loopback};
use crate::{Credentials, Login, RegistryError};

/// Largest token answer, in bytes.
const MAX_TOKEN_ANSWER: u64 = 1 << 20;
/// A token's life when the server does not tell. Source: distribution specification, token authentication.
const DEFAULT_LIFE: u64 = 60;
/// Longest life that is believed, so that the clock cannot overflow.
const MAX_LIFE: u64 = 24 * 3600;

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope {
    pub(crate) repository: String,
    pub(crate) push: bool,
}

impl Scope {
    fn text(&self) -> String {
        let actions = if self.push { "pull,push" } else { "pull" };
        format!("repository:{}:{actions}", self.repository)
    }
}

/// The value of an `Authorization` header, and until when it holds.
#[derive(Debug, Clone)]
struct Grant {
    value: Redacted<String>,
    until: Option<Instant>,
}

/// Logs in where a registry asks for it.
#[derive(Debug)]
pub(crate) struct Auth {
    client: Client,
    credentials: Arc<dyn Credentials>,
    grants: Mutex<BTreeMap<(String, Scope), Grant>>,
    logins: Mutex<BTreeMap<String, Option<Login>>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The maps are only read and replaced whole, so a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Auth {
    pub(crate) fn new(client: Client, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            client,
            credentials,
            grants: Mutex::default(),
            logins: Mutex::default(),
        }
    }

    /// The header that worked last for this scope, unless it ran out.
    pub(crate) fn known(&self, endpoint: &Endpoint, scope: &Scope) -> Option<Redacted<String>> {
        let grants = locked(&self.grants);
        let grant = grants.get(&(endpoint.base.clone(), scope.clone()))?;
        let holds = grant.until.is_none_or(|until| until > Instant::now());
        holds.then(|| grant.value.clone())
    }

    /// Whether a login is used for this endpoint. Known only after a challenge was answered.
    pub(crate) fn logged_in(&self, endpoint: &Endpoint) -> bool {
        matches!(locked(&self.logins).get(&endpoint.login), Some(Some(_)))
    }

    /// The header that answers these challenges; `None` when there is no login and none is given without.
    pub(crate) fn answer(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: &[String],
    ) -> Result<Option<Redacted<String>>, RegistryError> {
        let challenges: Vec<Challenge> = headers
            .iter()
            .flat_map(|header| challenge::parse(header))
            .collect();
        let find = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let login = self.login(endpoint)?;
        let grant = match (find("bearer"), find("basic")) {
            (Some(challenge), _) => Some(self.bearer(endpoint, scope, challenge, login.as_ref())?),
            (None, Some(_)) => basic(endpoint, login.as_ref())?,
            (None, None) => {
                let offered: Vec<&str> = challenges
                    .iter()
                    .map(|challenge| challenge.scheme.as_str())
                    .collect();
                let reason = format!(
                    "it offers `{}`, supported are Basic and Bearer",
                    offered.join(", ")
                );
                return Err(RegistryError::Challenge {
                    registry: endpoint.login.clone(),
                    reason,
                });
            }
        };
        let Some(grant) = grant else {
            return Ok(None);
        };
        locked(&self.grants).insert((endpoint.base.clone(), scope.clone()), grant.clone());
        Ok(Some(grant.value))
    }

    fn login(&self, endpoint: &Endpoint) -> Result<Option<Login>, RegistryError> {
        if let Some(login) = locked(&self.logins).get(&endpoint.login) {
            return Ok(login.clone());
        }
        let login = self.credentials.find(&endpoint.login)?;
        locked(&self.logins).insert(endpoint.login.clone(), login.clone());
        Ok(login)
    }

    fn bearer(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        challenge: &Challenge,
        login: Option<&Login>,
    ) -> Result<Grant, RegistryError> {
        if let Some(Login::RegistryToken(token)) = login {
            return Ok(Grant {
                value: format!("Bearer {}", token.reveal()).into(),
                until: None,
            });
        }
        let request = token_request(endpoint, scope, challenge, login)?;
        let sent = Instant::now();
        let response = self.client.send(&request)?;
        if !(200..300).contains(&response.status()) {
            let name = format!("{}/{}", endpoint.login, scope.repository);
            return Err(RegistryError::of(
                response,
                &endpoint.login,
                &name,
                login.is_some(),
            ));
        }
        let wrong = |reason: String| RegistryError::Token {
            registry: endpoint.login.clone(),
            reason,
        };
        let bytes = response.bytes(MAX_TOKEN_ANSWER)?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let token = answer
            .token
            .filter(|token| !token.is_empty())
            .or(answer.access_token);
        let token = token
            .filter(|token| !token.is_empty())
            .ok_or_else(|| wrong("its answer has none".to_owned()))?;
        let life = answer.expires_in.unwrap_or(DEFAULT_LIFE).min(MAX_LIFE);
        // A tenth is kept back for the way there and for clocks that differ.
        let until = sent + Duration::from_secs(life) * 9 / 10;
        Ok(Grant {
            value: format!("Bearer {token}").into(),
            until: Some(until),
        })
    }
}

fn basic(endpoint: &Endpoint, login: Option<&Login>) -> Result<Option<Grant>, RegistryError> {
    match login {
        Some(Login::Password { username, password }) => Ok(Some(Grant {
            value: basic_value(username, password),
            until: None,
        })),
        Some(_) => {
            let reason = "it asks for a password, the docker config has a token".to_owned();
            Err(RegistryError::Challenge {
                registry: endpoint.login.clone(),
                reason,
            })
        }
        None => Ok(None),
    }
}

fn basic_value(username: &str, password: &Redacted<String>) -> Redacted<String> {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{}", password.reveal()))
    )
    .into()
}

/// Asks for a token: by GET with the password if there is one, by POST with an identity token.
/// Source: distribution's `docs/spec/auth/{token,oauth}.md`.
fn token_request(
    endpoint: &Endpoint,
    scope: &Scope,
    challenge: &Challenge,
    login: Option<&Login>,
) -> Result<Request<'static>, RegistryError> {
    let wrong = |reason: String| RegistryError::Challenge {
        registry: endpoint.login.clone(),
        reason,
    };
    let realm = challenge
        .parameter("realm")
        .ok_or_else(|| wrong("its Bearer challenge has no realm".to_owned()))?;
    let mut url = Url::parse(realm).map_err(|error| wrong(format!("realm `{realm}`: {error}")))?;
    check_realm(endpoint, &url).map_err(wrong)?;
    let mut fields: Vec<(&str, String)> = Vec::new();
    fields.extend(
        challenge
            .parameter("service")
            .map(|service| ("service", service.to_owned())),
    );
    // The own scope is asked for too: some registries' challenges name less than the request needs.
    let asked = challenge
        .parameter("scope")
        .map_or_else(|| scope.text(), str::to_owned);
    fields.extend(asked.split(' ').map(|scope| ("scope", scope.to_owned())));
    if let Some(Login::IdentityToken(token)) = login {
        fields.push(("grant_type", "refresh_token".to_owned()));
        fields.push(("client_id", "distil".to_owned()));
        fields.push(("refresh_token", token.reveal().clone()));
        let mut form = Url::parse("form:").map_err(|error| wrong(error.to_string()))?;
        form.query_pairs_mut().extend_pairs(&fields);
        let body = form.query().unwrap_or_default().as_bytes().to_vec();
        let request = Request::new(Method::Post, url)
            .body(Body::Bytes(body))
            .repeatable(true);
        return Ok(request.header("Content-Type", "application/x-www-form-urlencoded"));
    }
    if let Some(Login::Password { username, .. }) = login {
        fields.push(("account", username.clone()));
    }
    url.query_pairs_mut().extend_pairs(&fields);
    let request = Request::new(Method::Get, url);
    Ok(match login {
        Some(Login::Password { username, password }) => {
            request.header("Authorization", basic_value(username, password).reveal())
        }
        _ => request,
    })
}

/// A registry that is reached by https must not send a login over plain http.
fn check_realm(endpoint: &Endpoint, realm: &Url) -> Result<(), String> {
    let plain = realm.scheme() == "http";
    let local = is_loopback(realm.host_str().unwrap_or_default());
    if !matches!(realm.scheme(), "http" | "https") {
        return Err(format!("realm `{realm}` is no http or https address"));
    }
    if plain && !local && endpoint.base.starts_with("https:") {
        return Err(format!("its token server `{realm}` is not protected by TLS"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str) -> Endpoint {
        Endpoint {
            base: base.into(),
            login: "r.example".into(),
            namespace: None,
        }
    }

    #[test]
    fn logins_are_not_sent_in_the_clear() {
        let url = |text: &str| Url::parse(text).unwrap();
        let secure = endpoint("https://r.example");
        assert!(check_realm(&secure, &url("http://auth.example/token")).is_err());
        assert!(check_realm(&secure, &url("ftp://auth.example/token")).is_err());
        assert!(check_realm(&secure, &url("https://auth.example/token")).is_ok());
        assert!(check_realm(&endpoint("http://127.0.0.1:1"), &url("http://127.0.0.1:2/token")).is_ok());
    }

    #[test]
    fn token_requests() {
        let scope = Scope {
            repository: "a/b".into(),
            push: true,
        };
        let challenge = |text: &str| challenge::parse(text).remove(0);
        let plain = challenge(r#"Bearer realm="https://a.example/t?x=1",service="s v""#);
        let request = token_request(&endpoint("https://r.example"), &scope, &plain, None).unwrap();
        let expected = "https://a.example/t?x=1&service=s+v&scope=repository%3Aa%2Fb%3Apull%2Cpush";
        assert_eq!(request.url().as_str(), expected);

        let several = challenge(r#"Bearer realm="https://a.example/t",scope="one two""#);
        let login = Login::Password {
            username: "u".into(),
            password: "p".to_owned().into(),
        };
        let request = token_request(&endpoint("https://r.example"), &scope, &several, Some(&login)).unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://a.example/t?scope=one&scope=two&account=u"
        );

        let none = challenge("Bearer service=x");
        assert!(token_request(&endpoint("https://r.example"), &scope, &none, None).is_err());
    }
}
