//! The door to the scheduler.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::cancel::CancelToken;
use crate::error::SolveError;
use crate::flight::SingleFlight;
use crate::graph::{Edge, Graph};
use crate::key::CacheKey;
use crate::op::ResultHandle;
use crate::progress::{NoProgress, ProgressSink};
use crate::scheduler::{BuildRequest, Message, Scheduler};
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

/// The event loop while builds run.
struct Running {
    mailbox: Sender<Message>,
    thread: JoinHandle<()>,
    builds: usize,
}

/// Solves graphs. Builds that run at the same time share equal vertices.
pub struct Solver {
    config: SolverConfig,
    running: Mutex<Option<Running>>,
}

impl Solver {
    /// A solver without builds. It has no threads while none runs.
    #[must_use]
    pub fn new(config: SolverConfig) -> Self {
        Self {
            config,
            running: Mutex::new(None),
        }
    }

    /// Makes `targets` of `graph` and gives them in the same order. When it returns, nothing that it alone had started
    /// is running any more, and when no other build runs, no thread of the solver.
    ///
    /// # Errors
    /// The first error of a vertex that the targets need, or [`SolveError::Cancelled`].
    pub fn solve(
        &self,
        graph: &Graph,
        targets: &[Edge],
        options: &SolveOptions,
    ) -> Result<Vec<Solved>, SolveError> {
        let reachable = graph.reachable(targets)?;
        let (reply, answer) = channel();
        let (graph, targets, options) = (graph.clone(), targets.to_vec(), options.clone());
        let request = BuildRequest {
            graph,
            reachable,
            targets,
            options,
            reply,
        };
        self.enter(Message::Start(Box::new(request)))?;
        let answer = answer.recv();
        self.leave();
        // The event loop has no panic that is known of.
        answer.unwrap_or_else(|_| Err(SolveError::Thread("the scheduler ended early".to_owned())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a build to the event loop, which is started by the first.
    fn enter(&self, start: Message) -> Result<(), SolveError> {
        let mut running = self.lock();
        let running = match &mut *running {
            Some(running) => running,
            none => none.insert(self.launch()?),
        };
        running.builds += 1;
        // A loop that is gone drops the request, and with it the way of the answer.
        let _ = running.mailbox.send(start);
        Ok(())
    }

    fn launch(&self) -> Result<Running, SolveError> {
        let (mailbox, messages) = channel();
        let scheduler = Scheduler::new(&self.config, mailbox.clone());
        let thread = std::thread::Builder::new().name("solver".to_owned());
        let thread = thread.spawn(move || scheduler.run(&messages));
        let thread = thread.map_err(|error| SolveError::Thread(error.to_string()))?;
        Ok(Running {
            mailbox,
            thread,
            builds: 0,
        })
    }

    /// Ends the event loop after the last build.
    fn leave(&self) {
        let mut guard = self.lock();
        let Some(running) = &mut *guard else { return };
        running.builds -= 1;
        if running.builds > 0 {
            return;
        }
        let ended = guard.take();
        drop(guard);
        if let Some(Running { mailbox, thread, .. }) = ended {
            let _ = mailbox.send(Message::Quit);
            // A panic has been printed by its thread.
            let _ = thread.join();
        }
    }
}
