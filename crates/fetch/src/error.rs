//! What can go wrong with a request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ProxyError;

/// Why a request failed. Addresses in it are without passwords and queries.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The text is no http or https address.
    #[error("`{url}` is not an http or https address: {reason}")]
    Url {
        /// The text.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A header has letters that HTTP does not allow.
    #[error("`{url}`: header `{name}` has a value that HTTP does not allow")]
    Header {
        /// The address.
        url: String,
        /// The header.
        name: String,
    },
    /// Requests are switched off.
    #[error("`{url}` is not fetched: working offline")]
    Offline {
        /// The address.
        url: String,
    },
    /// The host's name has no address, or nobody answered the question in time.
    #[error("cannot look up host `{host}`: {reason}")]
    Lookup {
        /// The host.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// The host did not accept the connection.
    #[error("cannot connect to `{host}`{}: {reason}", shown_address(.address))]
    Connect {
        /// Host and port.
        host: String,
        /// The address tried last.
        address: Option<SocketAddr>,
        /// The system's words.
        reason: String,
    },
    /// The host did not accept the connection in time.
    #[error("cannot connect to `{host}`: no answer within {} s", .after.as_secs_f32())]
    ConnectTimeout {
        /// Host and port.
        host: String,
        /// The limit.
        after: Duration,
    },
    /// A proxy setting is wrong, or the proxy refused to connect.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// No certificates to trust.
    #[error("cannot read trusted certificates from `{}`: {reason}", .path.display())]
    Roots {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The server's certificate is not trusted, has run out, or is for another name.
    #[error(
        "the certificate of `{host}` is not accepted: {reason}; if it should be, add its authority to the bundle that SSL_CERT_FILE names"
    )]
    Certificate {
        /// Host and port.
        host: String,
        /// The TLS library's words.
        reason: String,
    },
    /// The TLS handshake failed.
    #[error("TLS with `{host}` failed: {reason}")]
    Tls {
        /// Host and port.
        host: String,
        /// The TLS library's words.
        reason: String,
    },
    /// The server fell silent.
    #[error("`{url}`: no answer within {} s", .after.as_secs_f32())]
    Timeout {
        /// The address.
        url: String,
        /// The limit.
        after: Duration,
    },
    /// The connection broke, or the answer broke off.
    #[error("`{url}`: the connection broke: {reason}")]
    Interrupted {
        /// The address.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The answer is not HTTP.
    #[error("`{url}`: the server's answer is not valid HTTP: {reason}")]
    Protocol {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Redirected too often, or to where no redirect may lead.
    #[error("`{url}`: redirect refused: {reason}")]
    Redirect {
        /// The address that redirected.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The server answered with an error.
    #[error("`{url}`: the server answered {status}{}", shown_body(.body))]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
        /// The start of the answer's text.
        body: String,
    },
    /// The answer is larger than allowed.
    #[error("`{url}`: the answer is larger than {limit} bytes")]
    TooLarge {
        /// The address.
        url: String,
        /// The limit.
        limit: u64,
    },
    /// The answer has another length than expected.
    #[error("`{url}`: expected {expected} bytes, got {found}")]
    Length {
        /// The address.
        url: String,
        /// What was asked for.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The answer has another sha256 than expected.
    #[error("`{url}`: expected sha256 {expected}, got {found}")]
    Digest {
        /// The address.
        url: String,
        /// What was asked for, in hex.
        expected: String,
        /// What came, in hex.
        found: String,
    },
    /// Writing the body to its place failed.
    #[error("cannot store `{url}`: {source}")]
    Write {
        /// The address.
        url: String,
        /// The cause.
        source: io::Error,
    },
}

fn shown_address(address: &Option<SocketAddr>) -> String {
    address.map(|address| format!(" ({address})")).unwrap_or_default()
}

fn shown_body(body: &str) -> String {
    if body.is_empty() {
        String::new()
    } else {
        format!(": {body}")
    }
}

impl FetchError {
    /// Whether the host could not be reached at all: its name not looked up, or no connection to it.
    ///
    /// False for every answer that a server or proxy gave, whatever its status, and for TLS errors.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Lookup { .. } | Self::Connect { .. } | Self::ConnectTimeout { .. }
        )
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => is_transient_status(*status),
            other => other.is_unreachable(),
        }
    }

    /// The HTTP status, if the server answered with an error.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// Statuses that say "later" or "the server's fault", and no others.
pub(crate) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}
