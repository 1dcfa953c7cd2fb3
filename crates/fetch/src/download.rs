//! Large bodies: streamed, checked, and continued where they broke off.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::thread;

use sha2::{Digest as _, Sha256};

use crate::client::is_timeout;
use crate::redact::shown;
use crate::request::{Request, Response};
use crate::{Client, FetchError};

/// What a download must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its length in bytes.
    pub size: Option<u64>,
    /// Its sha256.
    pub sha256: Option<[u8; 32]>,
    /// The most bytes it may have when `size` is not known.
    pub limit: Option<u64>,
}

/// What a download was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// Its length in bytes.
    pub size: u64,
    /// Its sha256.
    pub sha256: [u8; 32],
}

impl Client {
    /// Streams a body into `target`, with its length and digest checked.
    ///
    /// A body that breaks off is continued with a range request; a server that then sends it from the start
    /// is read over what is there already. Nothing that was written may be used unless this returns `Ok`.
    ///
    /// # Errors
    /// Those of [`Client::send`], an answer other than 2xx, a wrong length or digest, or a failure to write.
    pub fn download(
        &self,
        request: &Request<'_>,
        expected: &Expected,
        target: &mut dyn Write,
    ) -> Result<Downloaded, FetchError> {
        self.receive(request, None, expected, target)
    }

    /// [`Client::download`] with the first answer given: for callers that look at its status themselves.
    ///
    /// # Errors
    /// Those of [`Client::download`].
    pub fn receive(
        &self,
        request: &Request<'_>,
        answer: Option<Response>,
        expected: &Expected,
        target: &mut dyn Write,
    ) -> Result<Downloaded, FetchError> {
        let transfer = Transfer {
            hasher: Sha256::new(),
            size: 0,
            expected: *expected,
            target,
        };
        transfer.run(self, request, answer)
    }
}

struct Transfer<'a> {
    hasher: Sha256,
    /// Bytes that were written.
    size: u64,
    expected: Expected,
    target: &'a mut dyn Write,
}

impl Transfer<'_> {
    fn run(
        mut self,
        client: &Client,
        request: &Request<'_>,
        mut answer: Option<Response>,
    ) -> Result<Downloaded, FetchError> {
        let mut attempt = 1;
        loop {
            let before = self.size;
            let error = match self.once(client, request, answer.take()) {
                Ok(()) => break,
                Err(error) => error,
            };
            if self.size > before {
                attempt = 1;
            }
            let broke = matches!(error, FetchError::Interrupted { .. } | FetchError::Timeout { .. });
            let delay = client.config().retry.delay(attempt, None).filter(|_| broke);
            let Some(delay) = delay else {
                return Err(error);
            };
            thread::sleep(delay);
            attempt += 1;
        }
        self.finish(request)
    }

    fn once(
        &mut self,
        client: &Client,
        request: &Request<'_>,
        answer: Option<Response>,
    ) -> Result<(), FetchError> {
        if self.size == 0 {
            let response = answer.map_or_else(|| client.send(request), Ok)?.success()?;
            return self.receive(response, 0);
        }
        let mut rest = Request::new(request.method, request.url.clone());
        rest.headers.clone_from(&request.headers);
        let rest = rest.header("Range", &format!("bytes={}-", self.size));
        let response = client.send(&rest)?.success()?;
        let skip = if response.status() == 206 {
            self.range_start(&response)?
        } else {
            self.size
        };
        self.receive(response, skip)
    }

    /// How many bytes of a partial answer are there already. None, if the server did what it was asked.
    fn range_start(&self, response: &Response) -> Result<u64, FetchError> {
        let range = response.header("content-range").unwrap_or_default();
        let start = range
            .strip_prefix("bytes ")
            .and_then(|range| range.split('-').next()?.parse::<u64>().ok());
        match start.and_then(|start| self.size.checked_sub(start)) {
            Some(skip) => Ok(skip),
            None => {
                let reason = format!("asked for bytes from {}, got the range `{range}`", self.size);
                Err(FetchError::Protocol {
                    url: shown(response.url()),
                    reason,
                })
            }
        }
    }

    /// Copies a body from byte `skip` on; an answer that ends early is an interruption.
    fn receive(&mut self, response: Response, mut skip: u64) -> Result<(), FetchError> {
        let url = shown(response.url());
        self.check_announced(&response, &url)?;
        let mut reader = response.into_reader();
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(interruption(&error, url)),
            };
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(count);
            skip -= known as u64;
            self.add(&buffer[known..count], &url)?;
        }
        match self.expected.size {
            Some(expected) if self.size < expected => {
                let reason = format!("it ended after {} of {expected} bytes", self.size);
                Err(FetchError::Interrupted { url, reason })
            }
            _ => Ok(()),
        }
    }

    fn add(&mut self, bytes: &[u8], url: &str) -> Result<(), FetchError> {
        let size = self.size + bytes.len() as u64;
        if let Some(expected) = self.expected.size.filter(|expected| size > *expected) {
            return Err(FetchError::Length {
                url: url.to_owned(),
                expected,
                found: size,
            });
        }
        if let Some(limit) = self.expected.limit.filter(|limit| size > *limit) {
            return Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit,
            });
        }
        let written = self.target.write_all(bytes);
        written.map_err(|source| FetchError::Write {
            url: url.to_owned(),
            source,
        })?;
        self.hasher.update(bytes);
        self.size = size;
        Ok(())
    }

    /// Fails before anything is written when the announced length cannot be right.
    fn check_announced(&self, response: &Response, url: &str) -> Result<(), FetchError> {
        let Some(announced) = response.content_length().filter(|_| response.status() == 200) else {
            return Ok(());
        };
        if let Some(expected) = self.expected.size.filter(|expected| announced != *expected) {
            return Err(FetchError::Length {
                url: url.to_owned(),
                expected,
                found: announced,
            });
        }
        match self.expected.limit.filter(|limit| announced > *limit) {
            Some(limit) => Err(FetchError::TooLarge {
                url: url.to_owned(),
                limit,
            }),
            None => Ok(()),
        }
    }

    fn finish(self, request: &Request<'_>) -> Result<Downloaded, FetchError> {
        let sha256: [u8; 32] = self.hasher.finalize().into();
        if let Some(expected) = self.expected.sha256.filter(|expected| *expected != sha256) {
            let (expected, found) = (hex(&expected), hex(&sha256));
            return Err(FetchError::Digest {
                url: shown(&request.url),
                expected,
                found,
            });
        }
        Ok(Downloaded {
            size: self.size,
            sha256,
        })
    }
}

fn interruption(error: &std::io::Error, url: String) -> FetchError {
    let reason = if is_timeout(error) {
        "the server fell silent".to_owned()
    } else {
        error.to_string()
    };
    FetchError::Interrupted { url, reason }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
