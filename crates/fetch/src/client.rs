//! The client.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ureq::http;
use url::Url;

use crate::connect::{Carried, Dialer, NoResolver};
use crate::error::is_transient_status;
use crate::redact::shown;
use crate::request::{Body, Method, Request, Response};
use crate::tls::LazyTls;
use crate::{ClientConfig, FetchError, Redacted};

/// Sends requests. Cheap to clone; clones share connections.
///
/// A host that could not be reached is not asked again by the same client: every later request fails at once with
/// the same error. Programs that live long should make a client per task.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    config: Arc<ClientConfig>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. Nothing is read or connected yet.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        let tls = LazyTls::new(config.roots.clone());
        let dialer = Dialer::new(
            tls,
            config.proxies.clone(),
            config.connect_timeout,
            config.read_timeout,
        );
        let settings = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(config.user_agent.as_str())
            .max_idle_connections_per_host(8)
            .build();
        let agent = ureq::Agent::with_parts(settings, dialer, NoResolver);
        Self {
            agent,
            config: Arc::new(config),
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Sends a request and follows redirects. Any status of the last answer is a success; see
    /// [`Response::success`].
    ///
    /// Transient errors are tried again as [`crate::RetryPolicy`] says, if the request may be repeated.
    ///
    /// # Errors
    /// When no answer comes. Statuses that were tried again in vain are returned as answers.
    pub fn send(&self, request: &Request<'_>) -> Result<Response, FetchError> {
        let mut attempt = 1;
        loop {
            let result = self.follow(request);
            let (again, asked) = match &result {
                Ok(response) => (is_transient_status(response.status), retry_after(response)),
                // Unreachable hosts are remembered, so asking again would fail at once.
                Err(error) => (error.is_transient() && !error.is_unreachable(), None),
            };
            // Silence is waited for twice at most: each time takes long.
            let silent = attempt > 1 && matches!(result, Err(FetchError::Timeout { .. }));
            let delay = self
                .config
                .retry
                .delay(attempt, asked)
                .filter(|_| again && !silent && request.repeatable);
            let Some(delay) = delay else {
                return result;
            };
            drop(result);
            thread::sleep(delay);
            attempt += 1;
        }
    }

    /// Follows redirects; each hop counts as one of the allowed.
    fn follow(&self, request: &Request<'_>) -> Result<Response, FetchError> {
        let mut hop = Hop {
            url: request.url.clone(),
            method: request.method,
            drop_secrets: false,
        };
        for _ in 0..=self.config.max_redirects {
            let response = self.once(request, &hop)?;
            let Some(next) = hop.after(request, &response)? else {
                return Ok(response);
            };
            hop = next;
        }
        let reason = format!("more than {} redirects", self.config.max_redirects);
        Err(FetchError::Redirect {
            url: shown(&request.url),
            reason,
        })
    }

    fn once(&self, request: &Request<'_>, hop: &Hop) -> Result<Response, FetchError> {
        let url = shown(&hop.url);
        if self.config.offline {
            return Err(FetchError::Offline { url });
        }
        let mut builder = http::Request::builder()
            .method(hop.method.name())
            .uri(uri(&hop.url)?);
        for (name, value) in &request.headers {
            if hop.drop_secrets && is_secret(name) {
                continue;
            }
            builder = builder.header(name, header_value(value, name, &url)?);
        }
        let failed = |error| self.failure(error, &hop.url);
        let broken = |error: http::Error| FetchError::Url {
            url: url.clone(),
            reason: error.to_string(),
        };
        let keeps_body = hop.method == request.method;
        let answer = match &request.body {
            Body::Bytes(bytes) if keeps_body => self
                .agent
                .run(builder.body(bytes.as_slice()).map_err(broken)?)
                .map_err(failed)?,
            Body::Stream { length, open } if keeps_body => {
                let mut reader = open().map_err(|source| FetchError::Write {
                    url: url.clone(),
                    source,
                })?;
                let builder = builder.header("content-length", *length);
                let body = ureq::SendBody::from_reader(&mut reader);
                self.agent
                    .run(builder.body(body).map_err(broken)?)
                    .map_err(failed)?
            }
            _ => self
                .agent
                .run(builder.body(()).map_err(broken)?)
                .map_err(failed)?,
        };
        let (parts, body) = answer.into_parts();
        let body = Box::new(body.into_reader());
        Ok(Response {
            url: hop.url.clone(),
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    /// Gives an error of ureq its kind.
    fn failure(&self, error: ureq::Error, url: &Url) -> FetchError {
        let url = shown(url);
        match error {
            ureq::Error::Other(inner) => match inner.downcast::<Carried>() {
                Ok(carried) => carried.0,
                Err(other) => FetchError::Interrupted {
                    url,
                    reason: other.to_string(),
                },
            },
            ureq::Error::Io(error) if is_timeout(&error) => FetchError::Timeout {
                url,
                after: self.config.read_timeout,
            },
            ureq::Error::Timeout(_) => FetchError::Timeout {
                url,
                after: self.config.read_timeout,
            },
            ureq::Error::Io(error) => FetchError::Interrupted {
                url,
                reason: error.to_string(),
            },
            other => FetchError::Protocol {
                url,
                reason: other.to_string(),
            },
        }
    }
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn is_secret(header: &str) -> bool {
    ["authorization", "cookie", "proxy-authorization"]
        .iter()
        .any(|name| header.eq_ignore_ascii_case(name))
}

fn uri(url: &Url) -> Result<http::Uri, FetchError> {
    let mut url = url.clone();
    url.set_fragment(None);
    url.as_str()
        .parse()
        .map_err(|error: http::uri::InvalidUri| FetchError::Url {
            url: shown(&url),
            reason: error.to_string(),
        })
}

fn header_value(value: &Redacted<String>, name: &str, url: &str) -> Result<http::HeaderValue, FetchError> {
    let value = http::HeaderValue::from_str(value.reveal());
    value.map_err(|_| FetchError::Header {
        url: url.to_owned(),
        name: name.to_owned(),
    })
}

/// What the server asks for, in seconds; the form with a date is not used by the servers that matter.
fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.header("retry-after")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// One request of a chain of redirects.
struct Hop {
    url: Url,
    method: Method,
    /// Some hop so far led to another host.
    drop_secrets: bool,
}

impl Hop {
    /// The next hop, if the answer is a redirect. Source: RFC 9110, 15.4.
    fn after(&self, request: &Request<'_>, response: &Response) -> Result<Option<Self>, FetchError> {
        let refuse = |reason: String| FetchError::Redirect {
            url: shown(&self.url),
            reason,
        };
        if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = response.header("location") else {
            return Ok(None);
        };
        let url = self
            .url
            .join(location)
            .map_err(|error| refuse(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refuse(format!("it leads to the scheme `{}`", url.scheme())));
        }
        let safe = matches!(self.method, Method::Get | Method::Head);
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(refuse(format!("it leads from https to `{}`", shown(&url))));
        }
        let method = match response.status {
            _ if safe => self.method,
            301..=303 => Method::Get,
            _ if request.repeatable => self.method,
            status => {
                return Err(refuse(format!(
                    "a {} request got the status {status}",
                    self.method.name()
                )));
            }
        };
        let other = url.host_str() != self.url.host_str()
            || url.port_or_known_default() != self.url.port_or_known_default();
        Ok(Some(Self {
            url,
            method,
            drop_secrets: self.drop_secrets || other,
        }))
    }
}
