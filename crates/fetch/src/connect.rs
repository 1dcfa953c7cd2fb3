//! Connections: name look-up, proxies, TLS. Ours and not ureq's, for three reasons: every failure keeps its kind,
//! the certificates come from the caller, and plain http goes through proxies by absolute address (ureq tunnels it,
//! which most proxies refuse for port 80).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};
use url::Url;

use crate::lookup::ask;
use crate::proxy::{Proxy, is_loopback};
use crate::redact::shown;
use crate::tls::LazyTls;
use crate::{FetchError, Proxies, ProxyError};

/// Bytes read and written at once.
const BUFFER: usize = 128 << 10;
/// Longest wait during a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The same on this machine, where a server that speaks plain http may wait for the end of a line for ever.
const LOCAL_HANDSHAKE: Duration = Duration::from_secs(1);
/// Longest answer to CONNECT.
const MAX_CONNECT_ANSWER: usize = 16 << 10;

/// Carries a [`FetchError`] through ureq.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) FetchError);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

fn carry(error: FetchError) -> ureq::Error {
    ureq::Error::Other(Box::new(Carried(error)))
}

/// Looks nothing up: the connector does, and with a proxy nothing is looked up at all.
#[derive(Debug)]
pub(crate) struct NoResolver;

impl Resolver for NoResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(SocketAddr::from(([0, 0, 0, 0], 0)));
        Ok(addresses)
    }
}

/// Makes connections.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) tls: LazyTls,
    pub(crate) proxies: Proxies,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Duration,
    /// Hosts that could not be reached, so that nobody waits for them twice.
    unreachable: Mutex<BTreeMap<String, Unreachable>>,
}

/// What is remembered of a host that could not be reached: a [`FetchError`] cannot be cloned.
#[derive(Debug, Clone)]
enum Unreachable {
    Lookup {
        host: String,
        reason: String,
    },
    Connect {
        host: String,
        address: Option<SocketAddr>,
        reason: String,
    },
    Timeout {
        host: String,
        after: Duration,
    },
}

impl From<Unreachable> for FetchError {
    fn from(cause: Unreachable) -> Self {
        match cause {
            Unreachable::Lookup { host, reason } => Self::Lookup { host, reason },
            Unreachable::Connect {
                host,
                address,
                reason,
            } => Self::Connect {
                host,
                address,
                reason,
            },
            Unreachable::Timeout { host, after } => Self::ConnectTimeout { host, after },
        }
    }
}

impl Dialer {
    pub(crate) fn new(
        tls: LazyTls,
        proxies: Proxies,
        connect_timeout: Duration,
        read_timeout: Duration,
    ) -> Self {
        Self {
            tls,
            proxies,
            connect_timeout,
            read_timeout,
            unreachable: Mutex::default(),
        }
    }

    fn dial(&self, url: &Url) -> Result<Pipe, FetchError> {
        match self.proxies.find(url) {
            None => {
                let wire = Wire::Tcp(self.tcp(url)?);
                let wire = if url.scheme() == "https" {
                    self.secure(wire, url)?
                } else {
                    wire
                };
                Ok(Pipe::new(wire, None))
            }
            Some(proxy) => self.dial_proxy(proxy, url),
        }
    }

    fn dial_proxy(&self, proxy: &Proxy, url: &Url) -> Result<Pipe, FetchError> {
        let mut wire = Wire::Tcp(self.tcp(&proxy.url)?);
        if proxy.url.scheme() == "https" {
            wire = self.secure(wire, &proxy.url)?;
        }
        if url.scheme() == "https" {
            tunnel(&mut wire, proxy, url)?;
            let wire = self.secure(wire, url)?;
            return Ok(Pipe::new(wire, None));
        }
        let mut lines = String::new();
        if let Some(value) = &proxy.authorization {
            lines = format!("Proxy-Authorization: {}\r\n", value.reveal());
        }
        Ok(Pipe::new(
            wire,
            Some(Absolute {
                prefix: format!("http://{}", authority(url)),
                lines,
            }),
        ))
    }

    /// Looks up and connects, within the limit for both.
    fn tcp(&self, url: &Url) -> Result<TcpStream, FetchError> {
        let key = authority(url);
        let known = self
            .unreachable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(cause) = known {
            return Err(cause.into());
        }
        let deadline = Instant::now() + self.connect_timeout;
        let result = self
            .lookup(url, deadline)
            .and_then(|addresses| self.connect(&key, &addresses, deadline));
        let stream = result.map_err(|cause| {
            let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
            unreachable.insert(key.clone(), cause.clone());
            FetchError::from(cause)
        })?;
        let prepared = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(self.read_timeout)))
            .and_then(|()| stream.set_write_timeout(Some(self.read_timeout)));
        prepared.map_err(|error| FetchError::Connect {
            host: key,
            address: None,
            reason: error.to_string(),
        })?;
        Ok(stream)
    }

    fn lookup(&self, url: &Url, deadline: Instant) -> Result<Vec<SocketAddr>, Unreachable> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let port = url.port_or_known_default().unwrap_or(80);
        if let Some(address) = literal(url) {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let question = host.clone();
        let answer = ask(deadline, move || {
            (question.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect::<Vec<_>>)
        });
        let reason = match answer {
            Ok(Some(addresses)) if !addresses.is_empty() => return Ok(addresses),
            Ok(Some(_)) => "it has no address".to_owned(),
            Ok(None) => format!("no answer within {} s", self.connect_timeout.as_secs_f32()),
            Err(error) => error.to_string(),
        };
        Err(Unreachable::Lookup { host, reason })
    }

    /// Tries one address after the other; each gets an equal share of the time that is left.
    fn connect(
        &self,
        host: &str,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, Unreachable> {
        let timeout = Unreachable::Timeout {
            host: host.to_owned(),
            after: self.connect_timeout,
        };
        let mut last = timeout.clone();
        for (tried, address) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let waiting = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = left / waiting;
            if share.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(address, share) {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => last = timeout.clone(),
                Err(error) => {
                    let (host, reason) = (host.to_owned(), error.to_string());
                    last = Unreachable::Connect {
                        host,
                        address: Some(*address),
                        reason,
                    };
                }
            }
        }
        Err(last)
    }

    fn secure(&self, wire: Wire, url: &Url) -> Result<Wire, FetchError> {
        let host = authority(url);
        let failed = |reason: String| FetchError::Tls {
            host: host.clone(),
            reason,
        };
        let bare = url
            .host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let name = ServerName::try_from(bare).map_err(|error| failed(error.to_string()))?;
        let connection =
            ClientConnection::new(self.tls.get()?, name).map_err(|error| failed(error.to_string()))?;
        let limit = if is_loopback(url) {
            LOCAL_HANDSHAKE
        } else {
            HANDSHAKE
        }
        .min(self.read_timeout);
        let set_limit = |wire: &Wire, limit| {
            let set = wire.socket().set_read_timeout(Some(limit));
            set.map_err(|error| failed(error.to_string()))
        };
        set_limit(&wire, limit)?;
        let mut stream = StreamOwned::new(connection, wire);
        // The handshake is done now, so that its failures are told from those of the transfer.
        while stream.conn.is_handshaking() {
            stream
                .conn
                .complete_io(&mut stream.sock)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => FetchError::Timeout {
                        url: shown(url),
                        after: limit,
                    },
                    _ if is_about_certificate(&error) => FetchError::Certificate {
                        host: host.clone(),
                        reason: error.to_string(),
                    },
                    _ => failed(error.to_string()),
                })?;
        }
        set_limit(&stream.sock, self.read_timeout)?;
        Ok(Wire::Tls(Box::new(stream)))
    }
}

fn is_about_certificate(error: &io::Error) -> bool {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// The host as an address, if it is one.
fn literal(url: &Url) -> Option<std::net::IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

/// Host and port, the default port too.
fn authority(url: &Url) -> String {
    format!(
        "{}:{}",
        url.host_str().unwrap_or_default(),
        url.port_or_known_default().unwrap_or(80)
    )
}

/// Asks the proxy for a tunnel.
fn tunnel(wire: &mut Wire, proxy: &Proxy, url: &Url) -> Result<(), FetchError> {
    let target = authority(url);
    let refused = |reason: String| {
        FetchError::Proxy(ProxyError::Refused {
            proxy: shown(&proxy.url),
            target: target.clone(),
            reason,
        })
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(value) = &proxy.authorization {
        request.push_str("Proxy-Authorization: ");
        request.push_str(value.reveal());
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    wire.write_all(request.as_bytes())
        .map_err(|error| refused(error.to_string()))?;
    // Byte by byte: what follows the answer belongs to the server.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        wire.read_exact(&mut byte)
            .map_err(|error| refused(error.to_string()))?;
        answer.push(byte[0]);
        if answer.len() > MAX_CONNECT_ANSWER {
            return Err(refused("its answer is too long".to_owned()));
        }
    }
    let first = String::from_utf8_lossy(&answer)
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned();
    match first.split_once(' ') {
        Some((_, status)) if status.starts_with('2') => Ok(()),
        Some((_, status)) => Err(refused(format!("it answered {status}"))),
        None => Err(refused(format!("it answered `{first}`"))),
    }
}

impl Connector<()> for Dialer {
    type Out = Pipe;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<Pipe>, ureq::Error> {
        let text = details.uri.to_string();
        let url = crate::request::parse_url(&text).map_err(carry)?;
        self.dial(&url).map(Some).map_err(carry)
    }
}

/// A TCP connection, in TLS, in a proxy's TLS, or both.
enum Wire {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Wire {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.sock.socket(),
        }
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// What turns a request into one for a proxy.
struct Absolute {
    /// Put before the path of the request line.
    prefix: String,
    /// Header lines put after the request line.
    lines: String,
}

/// A connection as ureq wants it.
pub(crate) struct Pipe {
    wire: Wire,
    buffers: LazyBuffers,
    /// Set until the first request of a connection to a proxy went out.
    absolute: Option<Absolute>,
    /// Connections to proxies serve one request: only its first line is rewritten.
    reusable: bool,
}

impl Pipe {
    fn new(wire: Wire, absolute: Option<Absolute>) -> Self {
        let reusable = absolute.is_none();
        Self {
            wire,
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            absolute,
            reusable,
        }
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("peer", &self.wire.socket().peer_addr().ok())
            .finish_non_exhaustive()
    }
}

/// `GET /path HTTP/1.1` becomes `GET http://host/path HTTP/1.1`, with the proxy's header lines after it.
fn rewritten(request: &[u8], absolute: &Absolute) -> Vec<u8> {
    let method = request.iter().position(|&b| b == b' ').map_or(0, |at| at + 1);
    let line = request
        .windows(2)
        .position(|pair| pair == b"\r\n")
        .map_or(request.len(), |at| at + 2);
    let (method, line) = (method.min(line), line);
    let parts = [
        &request[..method],
        absolute.prefix.as_bytes(),
        &request[method..line],
        absolute.lines.as_bytes(),
        &request[line..],
    ];
    parts.concat()
}

impl Transport for Pipe {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _: NextTimeout) -> Result<(), ureq::Error> {
        let output = &self.buffers.output()[..amount];
        match self.absolute.take() {
            Some(absolute) => self.wire.write_all(&rewritten(output, &absolute))?,
            None => self.wire.write_all(output)?,
        }
        self.wire.flush()?;
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> Result<bool, ureq::Error> {
        let buffer = self.buffers.input_append_buf();
        let count = loop {
            match self.wire.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        if !self.reusable {
            return false;
        }
        // An idle connection has nothing to say: readable means closed, or out of step.
        let socket = self.wire.socket();
        let quiet = socket.set_nonblocking(true).is_ok()
            && matches!(socket.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        socket.set_nonblocking(false).is_ok() && quiet
    }

    fn is_tls(&self) -> bool {
        matches!(self.wire, Wire::Tls(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_rewritten_for_proxies() {
        let absolute = Absolute {
            prefix: "http://h:80".into(),
            lines: "P: 1\r\n".into(),
        };
        let request = b"GET /a?b HTTP/1.1\r\nhost: h\r\n\r\nbody\r\n";
        let expected = b"GET http://h:80/a?b HTTP/1.1\r\nP: 1\r\nhost: h\r\n\r\nbody\r\n";
        assert_eq!(rewritten(request, &absolute), expected);
    }
}
