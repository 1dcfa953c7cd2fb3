//! Which proxy a request goes through.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::{Host, Url};

use crate::Redacted;
use crate::redact::shown;

/// A proxy setting that cannot be used, or a proxy that refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The setting is no address.
    #[error("proxy setting `{0}` is not an address like `http://proxy:3128`")]
    Malformed(String),
    /// Neither http nor https.
    #[error("proxy `{proxy}` has the scheme `{scheme}`, only http and https proxies are supported")]
    Scheme {
        /// The setting without its password.
        proxy: String,
        /// Its scheme.
        scheme: String,
    },
    /// The proxy answered, but would not connect.
    #[error("proxy `{proxy}` refused to connect to `{target}`: {reason}")]
    Refused {
        /// The proxy without its password.
        proxy: String,
        /// Host and port of the server.
        target: String,
        /// The proxy's answer.
        reason: String,
    },
}

/// The proxies for http and https, and the hosts that are asked directly.
///
/// The three texts are the values of `http_proxy`, `https_proxy` and `no_proxy`. Loopback hosts are always asked
/// directly.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    direct: Vec<Exception>,
}

impl Proxies {
    /// Reads the settings; `None` and empty texts mean no proxy.
    ///
    /// # Errors
    /// When a proxy setting is malformed. Entries of `no_proxy` that make no sense are skipped, as curl and Go do.
    pub fn new(http: Option<&str>, https: Option<&str>, no_proxy: Option<&str>) -> Result<Self, ProxyError> {
        let parse = |text: Option<&str>| {
            text.filter(|text| !text.trim().is_empty())
                .map(Proxy::parse)
                .transpose()
        };
        let direct = no_proxy
            .unwrap_or_default()
            .split(',')
            .filter_map(|entry| entry.trim().parse().ok())
            .collect();
        Ok(Self {
            http: parse(http)?,
            https: parse(https)?,
            direct,
        })
    }

    /// The proxy for an address.
    pub(crate) fn find(&self, url: &Url) -> Option<&Proxy> {
        let proxy = if url.scheme() == "https" {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        };
        proxy.filter(|_| !is_loopback(url) && !self.direct.iter().any(|entry| entry.covers(url)))
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |proxy: &Option<Proxy>| proxy.as_ref().map(|proxy| shown(&proxy.url));
        f.debug_struct("Proxies")
            .field("http", &name(&self.http))
            .field("https", &name(&self.https))
            .field("direct", &self.direct)
            .finish()
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// One proxy.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Its address without user and password.
    pub(crate) url: Url,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<Redacted<String>>,
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        let full = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        // The setting may hold a password, so only what follows it is shown.
        let malformed = || ProxyError::Malformed(text.rsplit('@').next().unwrap_or_default().to_owned());
        let mut url = Url::parse(&full).map_err(|_| malformed())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ProxyError::Scheme {
                proxy: shown(&url),
                scheme: url.scheme().to_owned(),
            });
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(malformed());
        }
        let authorization = authorization(&url);
        // Neither fails for an address with a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(Self { url, authorization })
    }
}

fn authorization(url: &Url) -> Option<Redacted<String>> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let user = percent_decoded(url.username());
    let password = percent_decoded(url.password().unwrap_or_default());
    let mut both = user;
    both.push(b':');
    both.extend(password);
    Some(Redacted::new(format!("Basic {}", STANDARD.encode(both))))
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let decoded = hex
            .filter(|_| first == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    bytes
}

/// One entry of `no_proxy`. Rules: golang.org/x/net/http/httpproxy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    /// `*`.
    All,
    /// A name and all below it; with a leading dot only those below it.
    Name {
        name: String,
        only_below: bool,
        port: Option<u16>,
    },
    /// An address, or a block of them.
    Block {
        address: IpAddr,
        bits: u8,
        port: Option<u16>,
    },
}

impl FromStr for Exception {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let (address, bits): (IpAddr, u8) = (address.parse().map_err(drop)?, bits.parse().map_err(drop)?);
            let most = if address.is_ipv4() { 32 } else { 128 };
            return if bits <= most {
                Ok(Self::Block {
                    address,
                    bits,
                    port: None,
                })
            } else {
                Err(())
            };
        }
        let (host, port) = split_port(&text);
        if host.is_empty() {
            return Err(());
        }
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return Ok(Self::Block { address, bits, port });
        }
        let host = host.strip_prefix('*').unwrap_or(host);
        let only_below = host.starts_with('.');
        Ok(Self::Name {
            name: host.trim_matches('.').to_owned(),
            only_below,
            port,
        })
    }
}

fn split_port(text: &str) -> (&str, Option<u16>) {
    // More than one colon outside brackets is a bare IPv6 address.
    let bare_v6 = !text.starts_with('[') && text.matches(':').count() > 1;
    match text.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.ends_with(']') => (host, port.parse().ok()),
        _ => (text, None),
    }
}

impl Exception {
    fn covers(&self, url: &Url) -> bool {
        let port_fits =
            |port: &Option<u16>| port.is_none_or(|port| url.port_or_known_default() == Some(port));
        match self {
            Self::All => true,
            Self::Name {
                name,
                only_below,
                port,
            } => {
                let host = url
                    .host_str()
                    .unwrap_or_default()
                    .trim_end_matches('.')
                    .to_ascii_lowercase();
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|front| front.ends_with('.'));
                port_fits(port) && (below || (!only_below && host == *name))
            }
            Self::Block { address, bits, port } => {
                port_fits(port) && host_address(url).is_some_and(|host| in_block(host, *address, *bits))
            }
        }
    }
}

fn host_address(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn in_block(host: IpAddr, block: IpAddr, bits: u8) -> bool {
    let (host, block, width) = match (host, block) {
        (IpAddr::V4(host), IpAddr::V4(block)) => {
            (u128::from(host.to_bits()), u128::from(block.to_bits()), 32)
        }
        (IpAddr::V6(host), IpAddr::V6(block)) => (host.to_bits(), block.to_bits(), 128),
        _ => return false,
    };
    let shift = width - u32::from(bits);
    host.checked_shr(shift).unwrap_or(0) == block.checked_shr(shift).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn picks_by_scheme_and_exception() {
        let no_proxy =
            "example.com, .sub.test ,10.0.0.0/8,[fd00::1]:8080,1.2.3.4,port.test:99,bad/entry,,*.wild";
        let proxies = Proxies::new(Some("p:3128"), Some("http://u:p%40w@q:1"), Some(no_proxy)).unwrap();
        let host = |text: &str| proxies.find(&url(text)).map(|proxy| proxy.url.to_string());
        let (http, https) = (Some("http://p:3128/".to_owned()), Some("http://q:1/".to_owned()));
        assert_eq!(host("http://a.test/"), http);
        assert_eq!(host("https://a.test/"), https);
        for direct in [
            "http://example.com/",
            "http://x.example.com/",
            "http://EXAMPLE.com./",
            "http://a.sub.test/",
            "http://10.9.8.7/",
            "http://[fd00::1]:8080/",
            "http://1.2.3.4/",
            "http://port.test:99/",
            "http://x.wild/",
            "http://localhost:5000/",
            "http://127.1.2.3/",
            "https://[::1]/",
        ] {
            assert_eq!(host(direct), None, "{direct}");
        }
        for proxied in [
            "http://myexample.com/",
            "http://sub.test/",
            "http://11.0.0.1/",
            "http://port.test/",
        ] {
            assert_eq!(host(proxied), http, "{proxied}");
        }
        let proxy = proxies.find(&url("https://a.test/")).unwrap();
        assert_eq!(
            proxy.authorization.as_ref().unwrap().reveal(),
            &format!("Basic {}", STANDARD.encode("u:p@w"))
        );
        assert!(!format!("{proxies:?}{proxy:?}").contains("p%40w"));
    }

    #[test]
    fn star_means_all() {
        let proxies = Proxies::new(Some("p"), None, Some("*")).unwrap();
        assert!(proxies.find(&url("http://a.test/")).is_none());
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text| Proxies::new(Some(text), None, None).unwrap_err();
        assert!(matches!(error("socks5://h:1"), ProxyError::Scheme { .. }));
        assert!(
            matches!(error("http://u:secret@:1"), ProxyError::Malformed(text) if !text.contains("secret"))
        );
        assert!(Proxies::new(Some(""), Some(" "), None).is_ok());
    }
}
