//! What a vertex does, as the caller implements it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use distil_oci::Digest;

use crate::cancel::CancelToken;
use crate::progress::{Event, ProgressSink, Status, Stream, VertexInfo};

/// A result of an op or a cache store: opaque, cheap to clone, and as lazy as its maker likes.
///
/// The solver asks for one only when an op is about to run on it, when its content decides about the cache, or when
/// the caller asked for it.
#[derive(Clone)]
pub struct ResultHandle(Arc<dyn Any + Send + Sync>);

impl ResultHandle {
    /// Wraps a result.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(result: T) -> Self {
        Self(Arc::new(result))
    }

    /// The result, when it is a `T`.
    #[must_use]
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for ResultHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultHandle")
    }
}

/// Whether an input's content can identify it, beside the key of what made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It cannot.
    Ignored,
    /// [`Op::content_digest`] gives the digest; it is always known before the op runs.
    Computed,
    /// As [`Content::Computed`], but when no record can match, the op runs at once and says the digest of what it
    /// read in [`Outputs::content`]. Where it does not, the digest is computed afterwards, which is right only for an
    /// input that cannot have changed meanwhile.
    Measured,
}

/// How one input takes part in the key of a vertex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputMap {
    /// Digest of the part of the input that is used. Goes with the input's definition key, never with its content.
    pub selector: Option<Digest>,
    /// Whether the content can be a key, too.
    pub content: Content,
}

/// The cache identity of an op, without its inputs' keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMap {
    /// Digests of what is done, each of which alone identifies it. At least one.
    pub digests: Vec<Digest>,
    /// One for each input of the vertex.
    pub inputs: Vec<InputMap>,
    /// The digests mean nothing outside this build (a local directory): nothing is looked up or stored under them, and
    /// a user of the result needs its content as the key.
    pub private: bool,
}

/// What limits how many ops of a kind run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Runs a process: as many at once as [`crate::SolverConfig::exec_slots`].
    Exec,
    /// Busy with processor or disk: as many at once as [`crate::SolverConfig::cpu_slots`].
    Cpu,
    /// Waits or returns at once: not limited, and run even in [`crate::Mode::CacheOnly`] (it may then still answer
    /// [`OpError::NeedsExecution`]).
    Light,
}

/// What an op made.
#[derive(Debug, Default)]
pub struct Outputs {
    /// The result of each output; an output that has none cannot be the input of a vertex.
    pub results: Vec<Option<ResultHandle>>,
    /// The content digest of what was read from each input while it ran, where it was measured. Wins over one that was
    /// computed before. May be shorter than the inputs.
    pub content: Vec<Option<Digest>>,
}

/// Why an op did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// It would have to do something that [`crate::Mode::CacheOnly`] forbids.
    #[error("it has to be executed")]
    NeedsExecution,
    /// [`OpContext::cancel`] told it to stop.
    #[error("it was cancelled")]
    Cancelled,
    /// It went wrong.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl OpError {
    /// Wraps an error of the caller's own.
    pub fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(error.into())
    }
}

/// What an op's functions are given beside their inputs.
pub struct OpContext {
    pub(crate) info: Arc<VertexInfo>,
    pub(crate) cancel: CancelToken,
    pub(crate) cache_only: bool,
    pub(crate) sink: Arc<dyn ProgressSink>,
}

impl OpContext {
    /// The digest of the vertex.
    #[must_use]
    pub fn vertex(&self) -> Digest {
        self.info.digest
    }

    /// The name of the vertex.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Set when no build wants the result any more: stop soon and return [`OpError::Cancelled`].
    #[must_use]
    pub fn cancel(&self) -> &CancelToken {
        &self.cancel
    }

    /// Whether every build that wants the vertex runs in [`crate::Mode::CacheOnly`].
    #[must_use]
    pub fn cache_only(&self) -> bool {
        self.cache_only
    }

    /// Sends output of the op to every build that has the vertex.
    pub fn log(&self, stream: Stream, data: &[u8]) {
        self.sink.event(&Event::Log {
            vertex: self.info.digest,
            stream,
            data: data.to_vec(),
        });
    }

    /// Sends the state of a part of the work to every build that has the vertex.
    pub fn status(&self, status: Status) {
        self.sink.event(&Event::Status {
            vertex: self.info.digest,
            status,
        });
    }
}

/// What a vertex does. Functions run on worker threads, several at once.
pub trait Op: Send + Sync {
    /// Says what identifies the op. Called once for a vertex.
    ///
    /// # Errors
    /// An error fails the vertex.
    fn cache_map(&self, ctx: &OpContext) -> Result<CacheMap, OpError>;

    /// Whether [`Op::cache_map`] only computes (well under a millisecond): it is then called by the scheduling thread
    /// itself, which saves a change of threads.
    fn maps_inline(&self) -> bool {
        false
    }

    /// What limits [`Op::exec`].
    fn resource(&self) -> Resource;

    /// The digest of the part of `result` that is used as input `input`; called only when its [`InputMap::content`]
    /// is not [`Content::Ignored`]. `None` when this result has no content key after all.
    ///
    /// # Errors
    /// An error fails the vertex.
    fn content_digest(
        &self,
        ctx: &OpContext,
        input: usize,
        result: &ResultHandle,
    ) -> Result<Option<Digest>, OpError> {
        let _ = (ctx, input, result);
        Ok(None)
    }

    /// Does it. `inputs` has one result for each input of the vertex.
    ///
    /// # Errors
    /// An error fails the vertex and every build that waits for it.
    fn exec(&self, ctx: &OpContext, inputs: &[ResultHandle]) -> Result<Outputs, OpError>;
}
