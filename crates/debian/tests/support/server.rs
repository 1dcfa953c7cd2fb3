//! Files of a folder over HTTP, with faults on request.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use distil_oci::Digest;

/// What the server does with a request.
pub(crate) enum Answer {
    /// The file, or what the client's conditions ask for.
    File,
    /// These bytes instead of the file.
    Bytes(Vec<u8>),
    /// The file, broken off after so many bytes.
    Broken(usize),
    /// Another place.
    Redirect(String),
    /// A status and nothing else.
    Status(u16),
}

/// A request: its path, and its header lines with names in lower case.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
    /// Status of the answer.
    pub(crate) status: u16,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Serves as long as the process lives.
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves the files below `root`. `answer` sees each request and how many of the
    /// same path came before.
    pub(crate) fn start(
        root: &Path,
        answer: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::<Mutex<Vec<Seen>>>::default();
        let (kept, answer, root) = (Arc::clone(&log), Arc::new(answer), root.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer, root) = (Arc::clone(&kept), Arc::clone(&answer), root.clone());
                thread::spawn(move || serve(stream.unwrap(), &root, &log, answer.as_ref()));
            }
        });
        Server { url, log }
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.log.lock().unwrap().clear();
    }
}

fn serve(
    mut stream: TcpStream,
    root: &Path,
    log: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen, usize) -> Answer + Send + Sync),
) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let Some(Ok(line)) = lines.next() else { return };
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
    let headers = headers.map(|line| match line.split_once(':') {
        Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
        None => line,
    });
    let mut seen = Seen {
        path,
        headers: headers.collect(),
        status: 0,
    };
    let before = {
        let log = log.lock().unwrap();
        log.iter().filter(|other| other.path == seen.path).count()
    };
    let (status, head, body) = respond(&seen, root, answer(&seen, before));
    seen.status = status;
    log.lock().unwrap().push(seen);
    // A client that has gone does not matter.
    let _ = write!(stream, "HTTP/1.1 {status} x\r\nConnection: close\r\n{head}\r\n");
    let _ = stream.write_all(&body);
}

fn respond(seen: &Seen, root: &Path, answer: Answer) -> (u16, String, Vec<u8>) {
    let file = PathBuf::from(format!("{}{}", root.display(), seen.path));
    let whole = match answer {
        Answer::Redirect(to) => {
            return (
                302,
                format!("Location: {to}\r\nContent-Length: 0\r\n"),
                Vec::new(),
            );
        }
        Answer::Status(status) => return (status, "Content-Length: 0\r\n".to_owned(), Vec::new()),
        Answer::Bytes(bytes) => bytes,
        Answer::Broken(length) => {
            let bytes = fs::read(file).unwrap();
            let head = format!("Content-Length: {}\r\n", bytes.len());
            return (200, head, bytes[..length.min(bytes.len())].to_vec());
        }
        Answer::File => match fs::read(file) {
            Ok(bytes) => bytes,
            Err(_) => return (404, "Content-Length: 0\r\n".to_owned(), Vec::new()),
        },
    };
    let tag = format!("\"{}\"", &Digest::sha256(&whole).hex()[..16]);
    if seen.header("if-none-match") == Some(&tag) {
        return (304, format!("ETag: {tag}\r\n"), Vec::new());
    }
    let from = seen.header("range").and_then(|range| {
        range
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let (status, body) = match from {
        Some(from) if from < whole.len() => (206, whole[from..].to_vec()),
        _ => (200, whole),
    };
    (
        status,
        format!("ETag: {tag}\r\nContent-Length: {}\r\n", body.len()),
        body,
    )
}
