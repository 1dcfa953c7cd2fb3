//! What this crate needs of the network, as a trait.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use thiserror::Error;

/// A download that failed.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The server has no such file.
    #[error("`{url}` does not exist")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// No answer: name look-up, connection or TLS failed.
    #[error("`{url}` cannot be reached: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why, without secrets.
        reason: String,
    },
    /// An answer that is no success.
    #[error("`{url}` cannot be downloaded: {reason}")]
    Refused {
        /// What was asked for.
        url: String,
        /// Status or the like.
        reason: String,
    },
    /// The body ended early or the connection broke.
    #[error("the download of `{url}` was interrupted after {received} bytes: {reason}")]
    Interrupted {
        /// What was asked for.
        url: String,
        /// Bytes received in this request.
        received: u64,
        /// Why.
        reason: String,
    },
    /// The body is longer than the caller allows.
    #[error("`{url}` is larger than the {limit} bytes that are expected")]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The sink cannot be written.
    #[error("`{url}` cannot be stored")]
    Sink {
        /// What was asked for.
        url: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Downloads files by URL. Retries of what passes by itself are its affair;
/// resuming is the caller's.
pub trait Fetcher: Send + Sync {
    /// Writes the body of `url`, from byte `offset` on, to `sink`, and gives the
    /// position that the body really started at: `offset`, or 0 where the server
    /// sends only whole files. `start` is called with that position before the
    /// first byte is written, so that the sink can be put there.
    ///
    /// # Errors
    /// See [`FetchError`]; `TooLarge` as soon as the end would lie past `limit`
    /// bytes of the whole file.
    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut dyn FetchSink) -> Result<(), FetchError>;

    /// As [`Fetcher::fetch`], unless the server says that the file is still the one
    /// that it described by `known`: then nothing is written. Without support for
    /// such requests the file is downloaded.
    ///
    /// # Errors
    /// See [`FetchError`].
    fn fetch_changed(
        &self,
        request: &FetchRequest<'_>,
        known: &Validators,
        sink: &mut dyn FetchSink,
    ) -> Result<Changed, FetchError> {
        let _ = known;
        self.fetch(request, sink)?;
        Ok(Changed::Whole(Validators::default()))
    }
}

/// How a server described one version of a file (RFC 9110, 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// The `ETag` header as it came.
    pub etag: Option<String>,
    /// The `Last-Modified` header as it came.
    pub last_modified: Option<String>,
}

/// Outcome of a conditional download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The server still has the version that is known.
    Unchanged,
    /// The whole file was written; the server describes it like this.
    Whole(Validators),
}

/// What to download.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// Absolute URL.
    pub url: &'a str,
    /// Bytes of the file that the caller holds already.
    pub offset: u64,
    /// Largest size of the whole file in bytes.
    pub limit: u64,
}

/// Where a download goes.
pub trait FetchSink: Write {
    /// The body starts at this byte of the file: `offset` of the request or 0.
    ///
    /// # Errors
    /// When the sink cannot be put there.
    fn start_at(&mut self, position: u64) -> io::Result<()>;
}

impl FetchSink for File {
    fn start_at(&mut self, position: u64) -> io::Result<()> {
        self.set_len(position)?;
        self.seek(SeekFrom::Start(position)).map(drop)
    }
}

impl FetchSink for Vec<u8> {
    fn start_at(&mut self, position: u64) -> io::Result<()> {
        self.truncate(usize::try_from(position).unwrap_or(usize::MAX));
        Ok(())
    }
}

/// Reads `file:` URLs, for archives on a local disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileFetcher;

impl Fetcher for FileFetcher {
    fn fetch(&self, request: &FetchRequest<'_>, sink: &mut dyn FetchSink) -> Result<(), FetchError> {
        let url = request.url.to_owned();
        let rest = request
            .url
            .strip_prefix("file:")
            .ok_or_else(|| FetchError::Refused {
                url: url.clone(),
                reason: "it is not a `file:` URL".to_owned(),
            })?;
        let path = PathBuf::from(rest.strip_prefix("//").unwrap_or(rest));
        let mut file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FetchError::NotFound { url: url.clone() },
            _ => FetchError::Unreachable {
                url: url.clone(),
                reason: error.to_string(),
            },
        })?;
        let interrupted = |error: io::Error| FetchError::Interrupted {
            url: url.clone(),
            received: 0,
            reason: error.to_string(),
        };
        file.seek(SeekFrom::Start(request.offset)).map_err(interrupted)?;
        let room = request.limit.saturating_sub(request.offset);
        let store = |source| FetchError::Sink {
            url: url.clone(),
            source,
        };
        sink.start_at(request.offset).map_err(store)?;
        let copied = io::copy(&mut (&file).take(room.saturating_add(1)), sink).map_err(store)?;
        if copied > room {
            return Err(FetchError::TooLarge {
                url,
                limit: request.limit,
            });
        }
        Ok(())
    }
}
