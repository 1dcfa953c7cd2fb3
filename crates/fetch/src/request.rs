//! Requests and answers.

use std::fmt;
use std::io::{self, Read};

use url::Url;

use crate::redact::shown;
use crate::{FetchError, Redacted};

/// How much of an error's text is kept.
const ERROR_TEXT: u64 = 16 << 10;

/// The HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE.
    Delete,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Opens a request's body; called again for every try.
pub type OpenBody<'a> = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'a;

/// What is sent along.
#[derive(Default)]
pub enum Body<'a> {
    /// Nothing.
    #[default]
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// A stream of known length.
    Stream {
        /// How many bytes it has.
        length: u64,
        /// Opens it.
        open: Box<OpenBody<'a>>,
    },
}

impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Bodies may hold passwords (token requests), so only their length is shown.
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Stream { length, .. } => write!(f, "Stream({length} bytes)"),
        }
    }
}

/// A request. Header values count as secrets and are never shown.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(String, Redacted<String>)>,
    pub(crate) body: Body<'a>,
    pub(crate) repeatable: bool,
}

impl<'a> Request<'a> {
    /// A request of any method. GET and HEAD may be repeated after transient errors, the others only when
    /// [`Request::repeatable`] says so.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        let repeatable = matches!(method, Method::Get | Method::Head);
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
            repeatable,
        }
    }

    /// A GET request.
    ///
    /// # Errors
    /// When the text is no http or https address.
    pub fn get(url: &str) -> Result<Self, FetchError> {
        Ok(Self::new(Method::Get, parse_url(url)?))
    }

    /// A HEAD request.
    ///
    /// # Errors
    /// When the text is no http or https address.
    pub fn head(url: &str) -> Result<Self, FetchError> {
        Ok(Self::new(Method::Head, parse_url(url)?))
    }

    /// Adds a header. `Authorization` is dropped when a redirect leads to another host.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_owned(), Redacted::new(value.to_owned())));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Body<'a>) -> Self {
        self.body = body;
        self
    }

    /// Allows or forbids to send the request again after a transient error.
    #[must_use]
    pub fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// Where it goes.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }
}

pub(crate) fn parse_url(text: &str) -> Result<Url, FetchError> {
    let wrong = |url: String, reason: &str| FetchError::Url {
        url,
        reason: reason.to_owned(),
    };
    // A text that does not parse may still hold a password before the `@`.
    let hidden = || text.rsplit('@').next().unwrap_or_default().to_owned();
    let url = Url::parse(text).map_err(|error| wrong(hidden(), &error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(shown(&url), "the scheme is another"));
    }
    Ok(url)
}

/// A server's answer, of whatever status; redirects were followed.
pub struct Response {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Box<dyn Read + Send>,
}

impl Response {
    /// The address that answered, after redirects.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All values of a header.
    pub fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
    }

    /// The length that the server announced, in bytes.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// Turns a status other than 2xx into an error that carries the start of the answer's text.
    ///
    /// # Errors
    /// [`FetchError::Status`].
    pub fn success(self) -> Result<Self, FetchError> {
        if (200..300).contains(&self.status) {
            Ok(self)
        } else {
            Err(self.into_error())
        }
    }

    /// The error for this answer, with the start of its text.
    #[must_use]
    pub fn into_error(self) -> FetchError {
        let (url, status) = (shown(&self.url), self.status);
        let mut text = Vec::new();
        // The status is the error; a text that breaks off is shown as far as it came.
        let _ = self.body.take(ERROR_TEXT).read_to_end(&mut text);
        let html = text.trim_ascii_start().starts_with(b"<");
        let body = if html {
            String::new()
        } else {
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        FetchError::Status { url, status, body }
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it has more than `limit` bytes or breaks off.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>, FetchError> {
        let url = shown(&self.url);
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge { url, limit });
        }
        let mut bytes = Vec::new();
        let read = self.body.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| FetchError::Interrupted {
            url: url.clone(),
            reason: error.to_string(),
        })?;
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge { url, limit });
        }
        Ok(bytes)
    }

    /// The body as a stream, unlimited. An answer that breaks off is an error at its end.
    #[must_use]
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        self.body
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shape = f.debug_struct("Response");
        shape
            .field("url", &shown(&self.url))
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
