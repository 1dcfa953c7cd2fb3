//! Against a small registry that asks for tokens, cuts connections, and sends wrong bytes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use distil_fetch::{Client, ClientConfig, RetryPolicy};
use distil_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use distil_registry::{
    Credentials, DockerConfig, NoCredentials, PullOptions, RegistryError, Remote, RemoteConfig,
};
use distil_store::Store;

/// A request: method, path with query, header lines with lower-case names, body.
struct Seen {
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }
}

/// How the server behaves.
#[derive(Default)]
struct Behaviour {
    /// Wants `Bearer token-N`, where N is the number of tokens given so far.
    tokens: bool,
    /// Tokens stop being accepted after this many requests, whatever their life.
    uses: Option<usize>,
    /// Cuts blob answers after this many bytes.
    cut: Option<usize>,
    /// Damages this many blob answers.
    wrong: AtomicUsize,
    /// Answers this many requests for blobs with 503.
    busy: AtomicUsize,
    /// Answers everything with this status and body.
    refuse: Option<(&'static str, &'static str)>,
    /// Answers HEAD with this status, without telling anything.
    head: Option<&'static str>,
    /// Waits for the end of a line when it is greeted in TLS.
    mute: bool,
    given: AtomicUsize,
    used: AtomicUsize,
    log: Mutex<Vec<String>>,
}

struct Server {
    host: String,
    behaviour: Arc<Behaviour>,
}

fn layer() -> Vec<u8> {
    (0..200_000_u32).map(|number| (number % 253) as u8).collect()
}

fn config() -> Vec<u8> {
    let mut config = ImageConfig::new(&Platform::new("linux", "amd64", ""));
    config
        .rootfs
        .diff_ids
        .push(distil_oci::DiffId(Digest::sha256(&layer())));
    config.to_json()
}

fn manifest() -> Vec<u8> {
    let config = Descriptor::of(media_type::CONFIG, &config());
    Manifest::new(config, vec![Descriptor::of(media_type::LAYER, &layer())]).to_json()
}

fn start(behaviour: Behaviour) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let behaviour = Arc::new(behaviour);
    let (shared, own) = (Arc::clone(&behaviour), host.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, shared, own) = (stream.unwrap(), Arc::clone(&shared), own.clone());
            thread::spawn(move || handle(stream, &shared, &own));
        }
    });
    Server { host, behaviour }
}

fn handle(mut stream: TcpStream, behaviour: &Behaviour, host: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        // Bytes and not text: a TLS greeting comes here too.
        if reader.read_until(b'\n', &mut line).is_err() || line.is_empty() || line[0] == 0x16 {
            if behaviour.mute {
                thread::sleep(Duration::from_secs(20));
            }
            let _ = stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
            return;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let lower = |line: &String| {
        line.split_once(':')
            .map_or(line.clone(), |(name, value)| name.to_lowercase() + ":" + value)
    };
    let mut seen = Seen {
        line: lines[0].clone(),
        headers: lines[1..].iter().map(lower).collect(),
        body: String::new(),
    };
    let length: usize = seen
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    seen.body = String::from_utf8(body).unwrap();
    behaviour.log.lock().unwrap().push(seen.line.clone());
    answer(&mut stream, &seen, behaviour, host);
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8], keep: usize) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    // The client may have hung up, which some tests want.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body[..keep.min(body.len())]));
}

/// Takes one from a counter, if there is one.
fn take(counter: &AtomicUsize) -> bool {
    counter
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok()
}

fn answer(stream: &mut TcpStream, seen: &Seen, behaviour: &Behaviour, host: &str) {
    if let Some((status, body)) = behaviour.refuse {
        return reply(stream, status, "", body.as_bytes(), usize::MAX);
    }
    if seen.path().starts_with("/token") {
        return give_token(stream, seen, behaviour);
    }
    let current = format!("Bearer token-{}", behaviour.given.load(Ordering::SeqCst));
    let worn_out = behaviour
        .uses
        .is_some_and(|uses| behaviour.used.fetch_add(1, Ordering::SeqCst) >= uses);
    if behaviour.tokens && (seen.header("authorization") != Some(&current) || worn_out) {
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:lib/x:pull\"\r\n"
        );
        return reply(stream, "401 Who", &challenge, b"", usize::MAX);
    }
    if let Some(status) = behaviour.head.filter(|_| seen.line.starts_with("HEAD")) {
        return reply(stream, status, "", b"", 0);
    }
    if seen.path().contains("/manifests/") {
        let head = format!(
            "content-type: {}\r\ndocker-content-digest: {}\r\n",
            media_type::MANIFEST,
            Digest::sha256(&manifest())
        );
        let keep = if seen.line.starts_with("HEAD") {
            0
        } else {
            usize::MAX
        };
        return reply(stream, "200 OK", &head, &manifest(), keep);
    }
    give_blob(stream, seen, behaviour);
}

fn give_token(stream: &mut TcpStream, seen: &Seen, behaviour: &Behaviour) {
    let password = seen
        .header("authorization")
        .is_none_or(|login| login == "Basic dTpw");
    let identity = !seen.line.starts_with("POST")
        || (seen.body.contains("grant_type=refresh_token") && seen.body.contains("refresh_token=id+token"));
    let asked =
        seen.path().contains("scope=repository%3Alib%2Fx%3Apull") || seen.body.contains("scope=repository");
    if !(password && identity && asked) {
        return reply(
            stream,
            "401 No",
            "",
            br#"{"details":"incorrect username or password"}"#,
            usize::MAX,
        );
    }
    let number = behaviour.given.fetch_add(1, Ordering::SeqCst) + 1;
    behaviour.used.store(0, Ordering::SeqCst);
    let field = if seen.line.starts_with("POST") {
        "access_token"
    } else {
        "token"
    };
    let body = format!(r#"{{"{field}":"token-{number}","expires_in":300}}"#);
    reply(
        stream,
        "200 OK",
        "content-type: application/json\r\n",
        body.as_bytes(),
        usize::MAX,
    );
}

fn give_blob(stream: &mut TcpStream, seen: &Seen, behaviour: &Behaviour) {
    let blobs = [layer(), config()];
    let found = blobs
        .iter()
        .find(|blob| seen.path().ends_with(&Digest::sha256(blob).to_string()));
    let Some(blob) = found else {
        return reply(
            stream,
            "404 No",
            "",
            br#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#,
            usize::MAX,
        );
    };
    if take(&behaviour.busy) {
        return reply(stream, "503 Busy", "", b"", usize::MAX);
    }
    let mut blob = blob.clone();
    if blob.len() > 1000 && take(&behaviour.wrong) {
        blob[100] ^= 1;
    }
    let from = seen
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let (from, partial) = (from.unwrap_or(0), from.is_some());
    let status = if partial { "206 Partial" } else { "200 OK" };
    let range = format!(
        "content-range: bytes {from}-{}/{}\r\n",
        blob.len() - 1,
        blob.len()
    );
    reply(
        stream,
        status,
        if partial { &range } else { "" },
        &blob[from..],
        behaviour.cut.unwrap_or(usize::MAX),
    );
}

fn remote(credentials: impl Credentials + 'static) -> Remote {
    let retry = RetryPolicy {
        attempts: 3,
        first_delay: Duration::from_millis(5),
        max_delay: Duration::from_secs(1),
    };
    let client = Client::new(ClientConfig {
        retry,
        read_timeout: Duration::from_secs(5),
        ..ClientConfig::default()
    });
    Remote::new(client, Arc::new(credentials), RemoteConfig::default())
}

fn pull_with(server: &Server, remote: &Remote, options: &PullOptions<'_>) -> Result<Vec<u8>, RegistryError> {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    let name: Reference = format!("{}/lib/x:1", server.host).parse().unwrap();
    let target = remote.resolve(&name)?;
    let image = remote.pull_manifest(&name, &target, &Platform::new("linux", "amd64", ""), &store)?;
    remote.pull_blobs(&name, &image.manifest.layers, &store, options)?;
    Ok(store.blobs().read(&image.manifest.layers[0].digest).unwrap())
}

fn pull(server: &Server, credentials: impl Credentials + 'static) -> Result<Vec<u8>, RegistryError> {
    pull_with(server, &remote(credentials), &PullOptions::default())
}

fn docker_config(server: &Server, entry: &str) -> DockerConfig {
    DockerConfig::parse(&format!(
        r#"{{"auths": {{"http://{}/v2/": {entry}}}}}"#,
        server.host
    ))
    .unwrap()
}

#[test]
fn tokens_are_asked_for_once() {
    let server = start(Behaviour {
        tokens: true,
        ..Behaviour::default()
    });
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    assert_eq!(server.behaviour.given.load(Ordering::SeqCst), 1);

    let server = start(Behaviour {
        tokens: true,
        ..Behaviour::default()
    });
    assert_eq!(
        pull(&server, docker_config(&server, r#"{"auth": "dTpw"}"#)).unwrap(),
        layer()
    );

    let server = start(Behaviour {
        tokens: true,
        ..Behaviour::default()
    });
    let identity = r#"{"auth": "dTo=", "identitytoken": "id token"}"#;
    assert_eq!(pull(&server, docker_config(&server, identity)).unwrap(), layer());

    let server = start(Behaviour {
        tokens: true,
        ..Behaviour::default()
    });
    let error = pull(&server, docker_config(&server, r#"{"auth": "dTpx"}"#)).unwrap_err();
    assert!(
        matches!(&error, RegistryError::Unauthorized { logged_in: true, .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .ends_with("the login is not accepted: incorrect username or password"),
        "{error}"
    );
}

#[test]
fn tokens_that_end_early_are_renewed() {
    let server = start(Behaviour {
        tokens: true,
        uses: Some(1),
        ..Behaviour::default()
    });
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    // Each of the requests for manifest (twice), config and layer wore one out.
    assert_eq!(server.behaviour.given.load(Ordering::SeqCst), 4);
}

#[test]
fn cut_connections_are_continued() {
    let server = start(Behaviour {
        cut: Some(30_000),
        tokens: true,
        ..Behaviour::default()
    });
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    let log = server.behaviour.log.lock().unwrap();
    assert!(
        log.iter().filter(|line| line.contains("/blobs/")).count() >= 7,
        "{log:?}"
    );
}

#[test]
fn busy_servers_are_asked_again() {
    let server = start(Behaviour {
        busy: AtomicUsize::new(2),
        ..Behaviour::default()
    });
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
}

#[test]
fn wrong_bytes_are_refused() {
    let server = start(Behaviour {
        wrong: AtomicUsize::new(1),
        ..Behaviour::default()
    });
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    let server = start(Behaviour {
        wrong: AtomicUsize::new(9),
        ..Behaviour::default()
    });
    let error = pull(&server, NoCredentials).unwrap_err();
    assert!(error.to_string().contains("expected sha256"), "{error}");
}

#[test]
fn answers_are_never_taken_for_silence() {
    let cases = [
        (
            "403 No",
            r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#,
            "denies access to `HOST/lib/x:1`: not yours",
        ),
        (
            "429 Slow",
            "toomanyrequests: pull rate limit",
            "no more requests for now: toomanyrequests: pull rate limit",
        ),
        ("500 Bad", "<html>", "answered 500 for `HOST/lib/x:1`"),
        ("401 Who", "", "refuses access to `HOST/lib/x:1`"),
    ];
    for (status, body, expected) in cases {
        let server = start(Behaviour {
            refuse: Some((status, body)),
            ..Behaviour::default()
        });
        let name: Reference = format!("{}/lib/x:1", server.host).parse().unwrap();
        let error = remote(NoCredentials).manifest(&name).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&expected.replace("HOST", &server.host)),
            "{error}"
        );
        assert!(!error.is_unreachable());
        assert_eq!(error.may_lack_image(), status.starts_with("40"), "{error}");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = remote(NoCredentials)
        .resolve(&format!("{free}/lib/x").parse().unwrap())
        .unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    let error = remote(NoCredentials)
        .resolve(&"no-such-host.invalid/x".parse().unwrap())
        .unwrap_err();
    assert!(error.is_unreachable(), "{error}");
}

#[test]
fn registries_without_digest_headers_or_head_work() {
    for head in ["200 OK", "404 No", "405 Not", "501 Unsupported"] {
        let server = start(Behaviour {
            head: Some(head),
            ..Behaviour::default()
        });
        assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    }
}

#[test]
fn servers_that_wait_for_a_line_are_spoken_to_in_plain_http() {
    let server = start(Behaviour {
        mute: true,
        ..Behaviour::default()
    });
    let started = std::time::Instant::now();
    assert_eq!(pull(&server, NoCredentials).unwrap(), layer());
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_wrong_manifest_is_refused() {
    let server = start(Behaviour::default());
    let other = Digest::sha256(b"other");
    let name: Reference = format!("{}/lib/x@{other}", server.host).parse().unwrap();
    let error = remote(NoCredentials).manifest(&name).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { expected, .. } if expected == other));
}

#[test]
fn progress_is_told_and_cancelling_ends() {
    let server = start(Behaviour::default());
    let (most, cancelled) = (Mutex::new(0), AtomicBool::new(false));
    let progress = |_: &Digest, bytes: u64| {
        let mut most = most.lock().unwrap();
        *most = bytes.max(*most);
    };
    let options = PullOptions {
        jobs: 2,
        progress: &progress,
        cancelled: &cancelled,
    };
    pull_with(&server, &remote(NoCredentials), &options).unwrap();
    assert_eq!(*most.lock().unwrap(), 200_000);
    cancelled.store(true, Ordering::Relaxed);
    let error = pull_with(&server, &remote(NoCredentials), &options).unwrap_err();
    assert!(matches!(error, RegistryError::Cancelled));
}

#[test]
fn mirrors_are_asked_first() {
    let server = start(Behaviour::default());
    let mirrors = [("far.invalid".to_owned(), vec![format!("http://{}/", server.host)])].into();
    let config = RemoteConfig {
        mirrors,
        ..RemoteConfig::default()
    };
    let remote = Remote::new(
        Client::new(ClientConfig::default()),
        Arc::new(NoCredentials),
        config,
    );
    let name: Reference = "far.invalid/lib/x:1".parse().unwrap();
    assert_eq!(remote.manifest(&name).unwrap().1, manifest());
    assert_eq!(
        server.behaviour.log.lock().unwrap()[0],
        "GET /v2/lib/x/manifests/1?ns=far.invalid HTTP/1.1"
    );
}
