//! Why a build has no result.

use distil_dockerfile::Diagnostic;
use distil_oci::Digest;

/// Why a build has no result.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile or the options are not valid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Dockerfile(Vec<Diagnostic>),
    /// The Dockerfile cannot be read.
    #[error("cannot read the Dockerfile `{path}`: {source}")]
    DockerfileUnreadable {
        /// As it was given.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A build context is no folder that can be read.
    #[error("build context `{name}`: `{path}` {problem}")]
    Context {
        /// `context` is the main one.
        name: String,
        /// As it was given.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// An ignore file is not valid.
    #[error("`{path}`: {problem}")]
    IgnoreFile {
        /// Its path.
        path: String,
        /// What is wrong.
        problem: String,
    },
    /// The definition is not valid.
    #[error("invalid definition: {0}")]
    Definition(String),
    /// The engine cannot do this.
    #[error("{problem}")]
    Unsupported {
        /// The operation.
        vertex: Digest,
        /// What it asks for.
        problem: String,
    },
    /// A vertex failed, or the build was cancelled.
    #[error(transparent)]
    Solve(#[from] distil_solver::SolveError),
    /// The graph is not valid.
    #[error(transparent)]
    Graph(#[from] distil_solver::GraphError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] distil_store::StoreError),
    /// A snapshot could not be made or read.
    #[error(transparent)]
    Snapshot(#[from] distil_snapshot::SnapshotError),
    /// A base image could not be had.
    #[error(transparent)]
    Image(#[from] distil_sources::ImageError),
    /// An image is no toolbox.
    #[error(
        "`{name}` is no toolbox: {problem}; name an image with a shell that is linked statically, such as busybox"
    )]
    Toolbox {
        /// Name of the image.
        name: String,
        /// What it lacks.
        problem: String,
    },
    /// The result could not be written.
    #[error(transparent)]
    Export(#[from] distil_export::ExportError),
}

impl BuildError {
    /// The vertex that failed, if it was one.
    pub fn vertex(&self) -> Option<Digest> {
        match self {
            Self::Unsupported { vertex, .. } => Some(*vertex),
            Self::Solve(error) => error.vertex(),
            _ => None,
        }
    }

    /// Whether a build that was only to look at the cache would have to execute something.
    pub fn needs_execution(&self) -> bool {
        matches!(
            self,
            Self::Solve(distil_solver::SolveError::NeedsExecution { .. })
                | Self::Image(distil_sources::ImageError::NotLocal)
        )
    }

    /// Whether the build was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Solve(distil_solver::SolveError::Cancelled))
    }
}
