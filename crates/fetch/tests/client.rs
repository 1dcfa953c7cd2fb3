//! The client against real sockets: a small server that can misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use distil_fetch::{
    Body, Client, ClientConfig, Expected, FetchError, Method, Proxies, Request, RetryPolicy, Url,
};

/// What a handler sees: the request's number (from 0), its first line, its header lines in lower case.
struct Seen {
    number: usize,
    line: String,
    headers: Vec<String>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

type Log = Arc<Mutex<Vec<String>>>;

/// Serves one request per connection with the raw bytes that `answer` gives, then closes.
fn serve(answer: impl Fn(&Seen, &mut TcpStream) + Send + Sync + 'static) -> (String, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let log = Log::default();
    let (count, answer, kept) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer), Arc::clone(&log));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, count, answer, log) = (
                stream.unwrap(),
                Arc::clone(&count),
                Arc::clone(&answer),
                Arc::clone(&kept),
            );
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(line)) = lines.next() else { return };
                let headers: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .map(lower_name)
                    .collect();
                log.lock().unwrap().push(line.clone());
                answer(
                    &Seen {
                        number: count.fetch_add(1, Ordering::SeqCst),
                        line,
                        headers,
                    },
                    &mut stream,
                );
            });
        }
    });
    (address, log)
}

fn lower_name(line: String) -> String {
    match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
        None => line,
    }
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    // The client may have hung up, which some tests want.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(body));
}

fn client() -> Client {
    Client::new(config())
}

fn config() -> ClientConfig {
    let retry = RetryPolicy {
        attempts: 3,
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_secs(1),
    };
    ClientConfig {
        retry,
        read_timeout: Duration::from_millis(300),
        ..ClientConfig::default()
    }
}

fn get(url: &str) -> Result<Vec<u8>, FetchError> {
    client().send(&Request::get(url)?)?.success()?.bytes(1 << 20)
}

#[test]
fn transient_statuses_are_tried_again_others_not() {
    let (address, log) = serve(|seen, stream| match seen.number {
        0 => reply(stream, "503 Busy", "", b"wait"),
        1 => reply(stream, "429 Slow", "retry-after: 0\r\n", b""),
        _ => reply(stream, "200 OK", "", b"fine"),
    });
    assert_eq!(get(&format!("http://{address}/a?secret")).unwrap(), b"fine");
    assert_eq!(log.lock().unwrap().len(), 3);

    let (address, log) = serve(|_, stream| reply(stream, "404 No", "", b" nothing here "));
    let error = get(&format!("http://u:secret@{address}/a?secret")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("`http://{address}/a?...`: the server answered 404: nothing here")
    );
    assert_eq!(
        (error.status(), error.is_unreachable(), log.lock().unwrap().len()),
        (Some(404), false, 1)
    );

    let (address, log) = serve(|_, stream| reply(stream, "500 Bad", "", b""));
    assert_eq!(
        get(&format!("http://{address}/")).unwrap_err().status(),
        Some(500)
    );
    assert_eq!(log.lock().unwrap().len(), 3);

    let (address, log) = serve(|_, stream| reply(stream, "429 Slow", "retry-after: 3600\r\n", b""));
    assert_eq!(
        get(&format!("http://{address}/")).unwrap_err().status(),
        Some(429)
    );
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[test]
fn posts_are_not_repeated_unless_allowed() {
    let (address, log) = serve(|_, stream| reply(stream, "503 Busy", "", b""));
    let url = Url::parse(&format!("http://{address}/")).unwrap();
    let request = Request::new(Method::Post, url).body(Body::Bytes(b"x".to_vec()));
    assert_eq!(client().send(&request).unwrap().status(), 503);
    assert_eq!(log.lock().unwrap().len(), 1);
    assert_eq!(client().send(&request.repeatable(true)).unwrap().status(), 503);
    assert_eq!(log.lock().unwrap().len(), 4);
}

#[test]
fn bodies_are_sent() {
    let (address, _) = serve(|seen, stream| {
        let mut body = vec![0; seen.header("content-length").unwrap().parse().unwrap()];
        // The reader of the head may have taken the body already; then it is what the buffer held.
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.read(&mut body);
        reply(stream, "201 Made", "", seen.line.as_bytes());
    });
    let url = Url::parse(&format!("http://{address}/up")).unwrap();
    let open = || Ok(Box::new(&b"hello"[..]) as Box<dyn Read + Send>);
    let body = Body::Stream {
        length: 5,
        open: Box::new(open),
    };
    let response = client().send(&Request::new(Method::Put, url).body(body)).unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.bytes(100).unwrap(), b"PUT /up HTTP/1.1");
}

#[test]
fn redirects_keep_secrets_at_home() {
    let (target, _) = serve(|seen, stream| {
        let secret = seen.header("authorization").unwrap_or("none").to_owned();
        reply(stream, "200 OK", "", secret.as_bytes());
    });
    let (address, _) = serve(move |seen, stream| match seen.line.split(' ').nth(1) {
        Some("/away") => reply(stream, "307 T", &format!("location: http://{target}/x\r\n"), b""),
        Some("/home") => reply(stream, "302 F", "location: who\r\n", b""),
        Some("/loop") => reply(stream, "301 M", "location: /loop\r\n", b""),
        Some("/file") => reply(stream, "301 M", "location: file:///etc/passwd\r\n", b""),
        _ => reply(
            stream,
            "200 OK",
            "",
            seen.header("authorization").unwrap_or("none").as_bytes(),
        ),
    });
    let fetch = |path: &str| {
        let request = Request::get(&format!("http://{address}{path}"))
            .unwrap()
            .header("Authorization", "Bearer s");
        client().send(&request).and_then(|response| response.bytes(100))
    };
    assert_eq!(fetch("/away").unwrap(), b"none");
    assert_eq!(fetch("/home").unwrap(), b"Bearer s");
    assert!(
        fetch("/loop")
            .unwrap_err()
            .to_string()
            .contains("more than 10 redirects")
    );
    assert!(matches!(fetch("/file"), Err(FetchError::Redirect { .. })));
}

#[test]
fn unreachable_hosts_are_told_from_answers_and_asked_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = client();
    let send = |url: String| client.send(&Request::get(&url).unwrap()).unwrap_err();
    let refused = send(format!("http://{free}/"));
    assert!(
        matches!(refused, FetchError::Connect { .. }) && refused.is_unreachable(),
        "{refused}"
    );
    // A server that appears now is not noticed: the host was asked.
    let _listener = TcpListener::bind(free).unwrap();
    assert!(send(format!("http://{free}/")).is_unreachable());

    let lookup = send("http://no-such-host.invalid/".to_owned());
    assert!(
        matches!(&lookup, FetchError::Lookup { host, .. } if host == "no-such-host.invalid"),
        "{lookup}"
    );

    // Speaks no TLS.
    let (address, _) = serve(|_, stream| reply(stream, "200 OK", "", b""));
    let tls = send(format!("https://{address}/"));
    assert!(
        matches!(tls, FetchError::Tls { .. }) && !tls.is_unreachable(),
        "{tls}"
    );
}

#[test]
fn silence_has_a_limit() {
    let (address, log) = serve(|_, stream| {
        thread::sleep(Duration::from_secs(2));
        reply(stream, "200 OK", "", b"");
    });
    let started = Instant::now();
    let error = get(&format!("http://{address}/")).unwrap_err();
    assert!(
        matches!(error, FetchError::Timeout { .. }) && !error.is_unreachable(),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    assert_eq!(log.lock().unwrap().len(), 2);
}

#[test]
fn offline_opens_no_socket() {
    let (address, log) = serve(|_, stream| reply(stream, "200 OK", "", b""));
    let client = Client::new(ClientConfig {
        offline: true,
        ..config()
    });
    let error = client
        .send(&Request::get(&format!("http://{address}/")).unwrap())
        .unwrap_err();
    assert!(matches!(error, FetchError::Offline { .. }));
    assert!(log.lock().unwrap().is_empty());
}

/// 300,000 bytes that differ along the way.
fn large() -> Vec<u8> {
    (0..300_000_u32).map(|number| (number % 251) as u8).collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn download(address: &str, expected: &Expected) -> (Result<u64, FetchError>, Vec<u8>) {
    let mut bytes = Vec::new();
    let request = Request::get(&format!("http://{address}/blob")).unwrap();
    let result = client()
        .download(&request, expected, &mut bytes)
        .map(|downloaded| downloaded.size);
    (result, bytes)
}

fn exactly(bytes: &[u8]) -> Expected {
    Expected {
        size: Some(bytes.len() as u64),
        sha256: Some(sha256(bytes)),
        limit: None,
    }
}

/// Sends the head for everything from `from` on, but breaks off after `count` bytes.
fn break_off(stream: &mut TcpStream, from: usize, count: usize, partial: bool) {
    let body = &large()[from..];
    let status = if partial { "206 Partial" } else { "200 OK" };
    let range = format!(
        "content-range: bytes {from}-{}/{}\r\n",
        large().len() - 1,
        large().len()
    );
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{range}\r\n",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body[..count.min(body.len())]))
        .unwrap();
}

#[test]
fn broken_downloads_are_continued() {
    let (address, log) = serve(|seen, stream| {
        let from = seen
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let from: usize = from.map_or(0, |from| from.parse().unwrap());
        break_off(stream, from, 40_000, seen.number > 0);
    });
    let (result, bytes) = download(&address, &exactly(&large()));
    assert_eq!(result.unwrap(), 300_000);
    assert!(bytes == large());
    assert_eq!(log.lock().unwrap().len(), 8);
}

#[test]
fn servers_without_ranges_are_read_from_the_start_again() {
    let (address, _) = serve(|seen, stream| match seen.number {
        0 => break_off(stream, 0, 100_000, false),
        _ => break_off(stream, 0, usize::MAX, false),
    });
    let (result, bytes) = download(&address, &exactly(&large()));
    assert_eq!(result.unwrap(), 300_000);
    assert!(bytes == large());
}

#[test]
fn wrong_bodies_are_refused() {
    let (address, _) = serve(|_, stream| reply(stream, "200 OK", "", b"abc"));
    assert!(matches!(
        download(&address, &exactly(b"abd")).0,
        Err(FetchError::Digest { .. })
    ));
    assert!(matches!(
        download(&address, &exactly(b"ab")).0,
        Err(FetchError::Length { found: 3, .. })
    ));
    let limited = Expected {
        limit: Some(2),
        ..Expected::default()
    };
    assert!(matches!(
        download(&address, &limited).0,
        Err(FetchError::TooLarge { limit: 2, .. })
    ));
    assert_eq!(download(&address, &Expected::default()).0.unwrap(), 3);

    // Breaks off for ever without a byte more.
    let (address, log) = serve(|seen, stream| {
        let from = if seen.number == 0 { 0 } else { 10 };
        break_off(stream, from, 10 * usize::from(seen.number == 0), seen.number > 0);
    });
    assert!(matches!(
        download(&address, &exactly(&large())).0,
        Err(FetchError::Interrupted { .. })
    ));
    assert_eq!(log.lock().unwrap().len(), 3);

    // A server that sends another part than asked for.
    let (address, _) = serve(|seen, stream| match seen.number {
        0 => break_off(stream, 0, 10, false),
        _ => break_off(stream, 50, usize::MAX, true),
    });
    assert!(matches!(
        download(&address, &exactly(&large())).0,
        Err(FetchError::Protocol { .. })
    ));
}

#[test]
fn plain_http_goes_through_a_proxy_by_absolute_address() {
    let (proxy, log) = serve(|seen, stream| {
        let answer = seen.header("proxy-authorization").unwrap_or("none").to_owned();
        reply(stream, "200 OK", "", answer.as_bytes());
    });
    let proxies = Proxies::new(Some(&format!("http://user:pass@{proxy}")), None, None).unwrap();
    let client = Client::new(ClientConfig { proxies, ..config() });
    for _ in 0..2 {
        let request = Request::get("http://archive.invalid/debian/x").unwrap();
        assert_eq!(
            client.send(&request).unwrap().bytes(100).unwrap(),
            b"Basic dXNlcjpwYXNz"
        );
    }
    assert_eq!(
        log.lock().unwrap()[0],
        "GET http://archive.invalid:80/debian/x HTTP/1.1"
    );
}

#[test]
fn https_goes_through_a_tunnel() {
    let (proxy, log) = serve(|_, stream| reply(stream, "403 Forbidden", "", b""));
    let proxies = Proxies::new(None, Some(&proxy), None).unwrap();
    let client = Client::new(ClientConfig { proxies, ..config() });
    let error = client
        .send(&Request::get("https://registry.invalid/v2/").unwrap())
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Proxy(_)) && !error.is_unreachable(),
        "{error}"
    );
    assert!(error.to_string().contains("it answered 403 Forbidden"), "{error}");
    assert_eq!(log.lock().unwrap()[0], "CONNECT registry.invalid:443 HTTP/1.1");
}

#[test]
fn connections_are_reused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    thread::spawn(move || {
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if line.is_empty() {
                    stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .unwrap();
                }
            }
        }
    });
    let client = client();
    for _ in 0..3 {
        let request = Request::get(&format!("http://{address}/")).unwrap();
        assert_eq!(client.send(&request).unwrap().bytes(10).unwrap(), b"ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// A TLS server of OpenSSL's with a certificate for 127.0.0.1, as `openssl req -x509` makes it; ended when dropped.
struct TlsServer {
    server: std::process::Child,
    url: String,
    certificate: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn tls_server(extensions: &[&str]) -> Option<TlsServer> {
    use std::process::{Command, Stdio};
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (
        directory.path().join("key.pem"),
        directory.path().join("cert.pem"),
    );
    let mut command = Command::new("openssl");
    command.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-days", "2", "-keyout",
    ]);
    command.arg(&key).arg("-out").arg(&certificate);
    for extension in extensions {
        command.args(["-addext", extension]);
    }
    let Ok(output) = command.output() else {
        println!("skipped: `openssl` is not installed");
        return None;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let mut command = Command::new("openssl");
    command
        .args(["s_server", "-quiet", "-www", "-accept", &address, "-key"])
        .arg(&key)
        .arg("-cert")
        .arg(&certificate);
    let server = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if TcpStream::connect(&address).is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Some(TlsServer {
        server,
        url: format!("https://{address}/"),
        certificate,
        _directory: directory,
    })
}

fn fetch_tls(server: &TlsServer, trusted: bool) -> Result<u16, FetchError> {
    let roots = if trusted {
        distil_fetch::TrustRoots {
            bundle: Some(server.certificate.clone()),
            extra: vec![],
        }
    } else {
        distil_fetch::TrustRoots::default()
    };
    let client = Client::new(ClientConfig { roots, ..config() });
    client
        .send(&Request::get(&server.url).unwrap())
        .map(|response| response.status())
}

#[test]
fn only_trusted_certificates_are_taken() {
    // Marked as an authority, which is what `openssl req -x509` does by itself, and not so marked.
    for mark in [
        "basicConstraints=critical,CA:TRUE",
        "basicConstraints=critical,CA:FALSE",
    ] {
        let Some(server) = tls_server(&["subjectAltName=IP:127.0.0.1", mark]) else {
            return;
        };
        assert_eq!(fetch_tls(&server, true).unwrap(), 200, "{mark}");
        let error = fetch_tls(&server, false).unwrap_err();
        assert!(
            matches!(error, FetchError::Certificate { .. } | FetchError::Roots { .. })
                && !error.is_unreachable(),
            "{error}"
        );
    }
    let Some(server) = tls_server(&["subjectAltName=DNS:other.example"]) else {
        return;
    };
    assert!(matches!(
        fetch_tls(&server, true),
        Err(FetchError::Certificate { .. })
    ));
}
