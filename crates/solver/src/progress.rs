//! What a build tells while it runs.

use std::sync::Arc;

use distil_oci::Digest;

/// A vertex as it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexInfo {
    /// Its identity.
    pub digest: Digest,
    /// Its name as the caller gave it.
    pub name: String,
    /// The vertices that it needs, in order, without repeats.
    pub inputs: Vec<Digest>,
}

/// Which stream a log line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The state of a part of a vertex's work, for example of one download. Sent again whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Identifies the part within the vertex and names it.
    pub id: String,
    /// How much is done, in bytes or in items.
    pub current: u64,
    /// How much there is, 0 when not known.
    pub total: u64,
    /// Nothing more will come for this part.
    pub done: bool,
}

/// Something that happened in a build. An event has no time: the receiver knows the clock.
#[derive(Debug, Clone)]
pub enum Event {
    /// The vertex is part of the build. All are announced, inputs first, before anything else is sent.
    Announced(Arc<VertexInfo>),
    /// Its op runs. Can come after `Cached` when a record that was found could not be loaded.
    Started(Digest),
    /// It does not have to run, or is not needed because what uses it was found in the cache.
    Cached(Digest),
    /// Its op ended well.
    Completed(Digest),
    /// It failed.
    Failed {
        /// Which vertex.
        vertex: Digest,
        /// The message, without the vertex.
        error: String,
    },
    /// It was stopped because no build wants it any more.
    Cancelled(Digest),
    /// Output of the op.
    Log {
        /// Which vertex.
        vertex: Digest,
        /// Which stream.
        stream: Stream,
        /// The bytes as they came, not cut at lines.
        data: Vec<u8>,
    },
    /// A part of the op's work changed.
    Status {
        /// Which vertex.
        vertex: Digest,
        /// The part.
        status: Status,
    },
}

/// Where the events of a build go. Called from several threads; a slow sink slows the build.
pub trait ProgressSink: Send + Sync {
    /// Takes an event.
    fn event(&self, event: &Event);
}

/// Drops all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl ProgressSink for NoProgress {
    fn event(&self, _event: &Event) {}
}
