//! HTTP with retry, limits, redaction and digest-checked bodies.
//!
//! The client is blocking and meant to be shared by threads. It reads no environment variable: proxies, trusted
//! certificates and the offline switch come in through [`ClientConfig`]. A [`FetchError`] names the cause; above all
//! it tells "no answer at all" ([`FetchError::is_unreachable`]) from every answer that a server or proxy gave.
//!
//! ```no_run
//! use distil_fetch::{Client, ClientConfig, Expected, Request};
//!
//! let client = Client::new(ClientConfig::default());
//! let request = Request::get("http://ftp.debian.org/debian/dists/bookworm/InRelease")?;
//! let text = client.send(&request)?.success()?.bytes(1 << 20)?;
//!
//! let mut file = std::fs::File::create("hello.deb").unwrap();
//! let request = Request::get("http://ftp.debian.org/debian/pool/main/h/hello/hello_2.10-3_amd64.deb")?;
//! client.download(&request, &Expected { size: Some(53_080), ..Expected::default() }, &mut file)?;
//! # Ok::<(), distil_fetch::FetchError>(())
//! ```
//!
//! Names are looked up by the C library. In a static glibc binary its lookup modules cannot be loaded, so the
//! program must restrict `hosts` to `files dns` (`__nss_configure_lookup`) before the first request.

mod client;
mod config;
mod connect;
mod download;
mod error;
mod lookup;
mod proxy;
mod redact;
mod request;
mod tls;

pub use client::Client;
pub use config::{ClientConfig, RetryPolicy};
pub use download::{Downloaded, Expected};
pub use error::FetchError;
pub use proxy::{Proxies, ProxyError};
pub use redact::Redacted;
pub use request::{Body, Method, OpenBody, Request, Response};
pub use tls::TrustRoots;
/// The parsed form of the addresses that requests take.
pub use url::Url;
