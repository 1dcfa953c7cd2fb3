//! Servers on the loopback: one that answers badly, and a proxy.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Reads the head of a request; gives its first line.
fn request_line(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 1 << 16 || stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).lines().next().map(str::to_owned)
}

/// A server that gives every request to `answer`, with the first line of the request; it lives as long as the
/// test process.
pub(crate) fn serve(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            thread::spawn(move || {
                if let Some(line) = request_line(&mut stream) {
                    answer(&line, &mut stream);
                }
            });
        }
    });
    host
}

/// One answer with a body, after which the connection is closed.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

/// A proxy that leads every CONNECT to `target`, whatever name is asked for.
pub(crate) fn proxy_to(target: String) -> String {
    serve(move |line, stream| {
        if !line.starts_with("CONNECT ") {
            return respond(stream, "400 Bad Request", "", b"");
        }
        let Ok(mut there) = TcpStream::connect(&target) else {
            return respond(stream, "502 Bad Gateway", "", b"");
        };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let (Ok(mut up), Ok(mut down)) = (stream.try_clone(), there.try_clone()) else {
            return;
        };
        let upward = thread::spawn(move || {
            let _ = std::io::copy(&mut up, &mut there);
            let _ = there.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut down, stream);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        let _ = upward.join();
    })
}
