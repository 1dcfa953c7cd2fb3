//! What can go wrong.

use std::sync::Arc;

use distil_oci::Digest;

/// A graph that cannot be solved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A vertex's input is not in the graph, or was added after it.
    #[error("vertex `{vertex}` needs vertex number `{index}`, which was not added before it")]
    UnknownInput {
        /// The name of the vertex.
        vertex: String,
        /// What its input names.
        index: u32,
    },
    /// A target is not in the graph.
    #[error("target vertex number `{index}` is not in the graph")]
    UnknownTarget {
        /// What the target names.
        index: u32,
    },
    /// There are more vertices than can be numbered.
    #[error("the graph has more than `4294967295` vertices")]
    TooLarge,
}

/// A cache store or lock that does not work, in the words of whoever implements it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StoreError(Box<dyn std::error::Error + Send + Sync>);

impl StoreError {
    /// Wraps an error of the implementation.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }

    /// The error of the implementation.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self.0.as_ref()
    }
}

/// Why a build has no result. Clones share the cause: one failed vertex can end several builds.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SolveError {
    /// The graph or its targets are not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A vertex failed.
    #[error("`{name}`: {source}")]
    Vertex {
        /// Which vertex.
        digest: Digest,
        /// Its name.
        name: String,
        /// What its op said.
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// A cache store or the lock of a cache key failed while a vertex was solved.
    #[error("`{name}`: the build cache does not work: {source}")]
    Store {
        /// Which vertex.
        digest: Digest,
        /// Its name.
        name: String,
        /// What the store said.
        source: Arc<StoreError>,
    },
    /// An op gave another number of something than its vertex or its users need.
    #[error("`{name}`: its operation {problem}")]
    Contract {
        /// Which vertex.
        digest: Digest,
        /// Its name.
        name: String,
        /// What it did.
        problem: String,
    },
    /// [`crate::Mode::CacheOnly`]: the vertex is not in the cache.
    #[error("`{name}` is not in the build cache and has to be executed")]
    NeedsExecution {
        /// Which vertex.
        digest: Digest,
        /// Its name.
        name: String,
    },
    /// The system gives no thread, or it ended.
    #[error("no thread for the build: {0}")]
    Thread(String),
    /// The build's token was set.
    #[error("the build was cancelled")]
    Cancelled,
}

impl SolveError {
    /// The vertex that ended the build, if it was one.
    #[must_use]
    pub fn vertex(&self) -> Option<Digest> {
        match self {
            Self::Vertex { digest, .. }
            | Self::Store { digest, .. }
            | Self::Contract { digest, .. }
            | Self::NeedsExecution { digest, .. } => Some(*digest),
            Self::Graph(_) | Self::Thread(_) | Self::Cancelled => None,
        }
    }
}
