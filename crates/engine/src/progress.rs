//! What a build tells while it runs: the same facts as BuildKit's status stream.

use std::sync::Arc;
use std::time::SystemTime;

use distil_dockerfile::lint::Warning;
use distil_oci::Digest;

use crate::contexts::DockerfileText;

/// One fact about a running build, in the order it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressEvent {
    /// A vertex became known or changed its state.
    Vertex(VertexStatus),
    /// Output of a running vertex.
    Log {
        /// The vertex that wrote it.
        vertex: Digest,
        /// Where it wrote it.
        stream: LogStream,
        /// The bytes as written; may end in the middle of a line.
        data: Vec<u8>,
        /// When it was read.
        at: SystemTime,
    },
    /// A part of a vertex's work, such as one download.
    Task {
        /// The vertex it belongs to.
        vertex: Digest,
        /// What it is; the same text again is the same task.
        name: String,
        /// Bytes or items done so far.
        current: u64,
        /// Bytes or items in all; 0 when not known.
        total: u64,
        /// When it began.
        started: SystemTime,
        /// When it ended.
        completed: Option<SystemTime>,
    },
    /// Something the user should know although the build goes on.
    Warning {
        /// The vertex it belongs to, if any.
        vertex: Option<Digest>,
        /// The text, one line.
        message: String,
    },
    /// A build check found something in the Dockerfile.
    Check {
        /// The vertex that reads the Dockerfile.
        vertex: Digest,
        /// The rule and the place.
        warning: Warning,
        /// What the place is in.
        dockerfile: Arc<DockerfileText>,
    },
}

/// The state of one vertex; a later one of the same digest replaces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexStatus {
    /// Digest of the operation; of the name, for work that is no operation.
    pub digest: Digest,
    /// What users see, such as `[build 2/4] RUN make`.
    pub name: String,
    /// The vertices it needs.
    pub inputs: Vec<Digest>,
    /// When its work began.
    pub started: Option<SystemTime>,
    /// When it ended, also with an error.
    pub completed: Option<SystemTime>,
    /// No work was needed.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
}

impl VertexStatus {
    /// What [`VertexStatus::error`] says of a vertex that was stopped because of something else.
    pub const CANCELLED: &'static str = "cancelled";

    /// Whether it was stopped because of something else: another vertex failed, or the user stopped the build.
    pub fn is_cancelled(&self) -> bool {
        self.error.as_deref() == Some(Self::CANCELLED)
    }
}

/// Where a line of output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Receives events; called from many threads at once.
pub trait ProgressSink: Send + Sync {
    /// Takes one event. It must not block for long: the build waits for it.
    fn event(&self, event: ProgressEvent);
}

impl<F: Fn(ProgressEvent) + Send + Sync> ProgressSink for F {
    fn event(&self, event: ProgressEvent) {
        self(event);
    }
}
