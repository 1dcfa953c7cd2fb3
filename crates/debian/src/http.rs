//! Archives over HTTP.

use std::io::{self, Read};

use distil_fetch::{Client, FetchError as HttpError, Request, Response};

use crate::fetcher::{Changed, FetchError, FetchRequest, FetchSink, Fetcher, FileFetcher, Validators};

/// Downloads `http:` and `https:` URLs, and reads `file:` ones.
impl Fetcher for Client {
    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut dyn FetchSink) -> Result<(), FetchError> {
        if request.url.starts_with("file:") {
            return FileFetcher.fetch(request, sink);
        }
        let mut http = Request::get(request.url).map_err(|error| failed(request.url, &error))?;
        if request.offset > 0 {
            http = http.header("Range", &format!("bytes={}-", request.offset));
        }
        let response = self
            .send(&http)
            .and_then(Response::success)
            .map_err(|error| failed(request.url, &error))?;
        let start = if response.status() == 206 {
            request.offset
        } else {
            0
        };
        store(response, start, request, sink)
    }

    fn fetch_changed(
        &self,
        request: &FetchRequest<'_>,
        known: &Validators,
        sink: &mut dyn FetchSink,
    ) -> Result<Changed, FetchError> {
        if request.url.starts_with("file:") {
            FileFetcher.fetch(request, sink)?;
            return Ok(Changed::Whole(Validators::default()));
        }
        let mut http = Request::get(request.url).map_err(|error| failed(request.url, &error))?;
        for (name, value) in [
            ("If-None-Match", &known.etag),
            ("If-Modified-Since", &known.last_modified),
        ] {
            if let Some(value) = value {
                http = http.header(name, value);
            }
        }
        let response = self.send(&http).map_err(|error| failed(request.url, &error))?;
        if response.status() == 304 {
            return Ok(Changed::Unchanged);
        }
        let response = response.success().map_err(|error| failed(request.url, &error))?;
        let header = |name: &str| response.header(name).map(str::to_owned);
        let validators = Validators {
            etag: header("etag"),
            last_modified: header("last-modified"),
        };
        store(response, 0, request, sink)?;
        Ok(Changed::Whole(validators))
    }
}

/// Writes the body of an answer that begins at byte `start` of the file.
fn store(
    response: Response,
    start: u64,
    request: &FetchRequest<'_>,
    sink: &mut dyn FetchSink,
) -> Result<(), FetchError> {
    sink.start_at(start).map_err(|source| FetchError::Sink {
        url: request.url.to_owned(),
        source,
    })?;
    let announced = response.content_length();
    receive(&mut response.into_reader(), announced, start, request, sink)
}

fn receive(
    body: &mut dyn Read,
    announced: Option<u64>,
    start: u64,
    request: &FetchRequest<'_>,
    sink: &mut dyn FetchSink,
) -> Result<(), FetchError> {
    let url = || request.url.to_owned();
    let room = request.limit.saturating_sub(start);
    let mut received = 0;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let interrupted = |reason: String| FetchError::Interrupted {
            url: url(),
            received,
            reason,
        };
        let length = match body.read(&mut buffer) {
            Ok(0) => {
                return match announced {
                    Some(announced) if received < announced => {
                        Err(interrupted(format!("{announced} bytes were announced")))
                    }
                    _ => Ok(()),
                };
            }
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(interrupted(error.to_string())),
        };
        received += length as u64;
        if received > room {
            return Err(FetchError::TooLarge {
                url: url(),
                limit: request.limit,
            });
        }
        let written = sink.write_all(&buffer[..length]);
        written.map_err(|source| FetchError::Sink { url: url(), source })?;
    }
}

/// The error of a request that got no usable answer.
fn failed(url: &str, error: &HttpError) -> FetchError {
    let (url, reason) = (url.to_owned(), error.to_string());
    match error {
        HttpError::Status {
            status: 404 | 410, ..
        } => FetchError::NotFound { url },
        HttpError::Interrupted { .. } | HttpError::Timeout { .. } => FetchError::Interrupted {
            url,
            received: 0,
            reason,
        },
        other if other.is_unreachable() => FetchError::Unreachable { url, reason },
        HttpError::Tls { .. } => FetchError::Unreachable { url, reason },
        _ => FetchError::Refused { url, reason },
    }
}
