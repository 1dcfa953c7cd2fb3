//! A vertex while it is solved.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use distil_oci::Digest;

use crate::cancel::CancelToken;
use crate::error::SolveError;
use crate::key::CacheKey;
use crate::op::{CacheMap, Content, Op, OpContext, ResultHandle};
use crate::progress::{Event, ProgressSink, VertexInfo};
use crate::scheduler::lookup::Candidate;
use crate::store::NodeId;

/// A task's place in the scheduler.
pub(super) type Slot = usize;

/// Identifies a build within its scheduler.
pub(super) type BuildId = u64;

/// How much is wanted, or known, of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Level {
    /// Nothing.
    #[default]
    Nothing,
    /// The keys that follow from definitions alone.
    Fast,
    /// Also the keys that follow from the contents of its inputs.
    Slow,
    /// The result.
    Result,
}

/// What is known about the content of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKey {
    Unknown,
    Computing,
    Known(Option<Digest>),
}

/// The keys of each output of a task.
pub(super) type OutputKeys = Vec<(u32, Vec<Arc<CacheKey>>)>;

/// The keys of `output`; none when it has none that mean anything outside the build.
pub(super) fn keys_for(keys: &OutputKeys, output: u32) -> &[Arc<CacheKey>] {
    keys.iter()
        .find(|(of, _)| *of == output)
        .map_or(&[], |(_, keys)| keys)
}

/// A finished task.
pub(super) struct Done {
    /// By output. A task that was loaded has only the outputs that were needed.
    pub(super) results: Vec<(u32, ResultHandle)>,
    /// By output.
    pub(super) keys: OutputKeys,
    pub(super) cached: bool,
}

/// Where a task stands. Each state has one way on, taken by `Scheduler::advance` or when its job ends.
pub(super) enum State {
    /// Nobody has asked for it.
    Idle,
    /// Its cache map is on the way.
    Mapping,
    /// Its keys are looked up. The level says which of them are final.
    Probing(Level),
    /// A record is being loaded.
    Loading,
    /// It is going to run: waits for a slot, for another process, or runs.
    Running,
    Done(Done),
    Failed(SolveError),
}

/// What the builds of a task were told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reported {
    Announced,
    Started,
    Cached,
    Completed,
}

/// Sends events to all builds that have a task.
#[derive(Default)]
pub(super) struct Fanout(RwLock<Vec<(BuildId, Arc<dyn ProgressSink>)>>);

impl Fanout {
    pub(super) fn add(&self, build: BuildId, sink: Arc<dyn ProgressSink>) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push((build, sink));
    }

    pub(super) fn remove(&self, build: BuildId) {
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(id, _)| *id != build);
    }
}

impl ProgressSink for Fanout {
    fn event(&self, event: &Event) {
        for (_, sink) in self.0.read().unwrap_or_else(PoisonError::into_inner).iter() {
            sink.event(event);
        }
    }
}

pub(super) struct Task {
    pub(super) info: Arc<VertexInfo>,
    pub(super) op: Arc<dyn Op>,
    pub(super) ignore_cache: bool,
    pub(super) inputs: Vec<(Slot, u32)>,
    /// The tasks that have it as an input.
    pub(super) users: Vec<Slot>,
    pub(super) builds: Vec<BuildId>,
    /// The outputs that any of its builds uses, sorted.
    pub(super) outputs: Vec<u32>,
    pub(super) wanted: Level,
    /// Whether a build that may execute wants it.
    pub(super) may_execute: bool,
    pub(super) state: State,
    pub(super) map: Option<CacheMap>,
    /// What is known of each input's content.
    pub(super) content: Vec<ContentKey>,
    /// What the last look-up found.
    pub(super) candidates: Vec<Candidate>,
    /// What the last look-up was made with; `None` before the first.
    pub(super) looked_up: Option<u64>,
    /// Nodes in the first store under which its own run was saved, by output.
    pub(super) saved: Vec<(u32, NodeId)>,
    /// Counts the changes of its keys.
    pub(super) version: u64,
    /// Records that could not be loaded, by store.
    pub(super) dead: HashSet<(usize, i64)>,
    /// Set to stop its jobs.
    pub(super) cancel: CancelToken,
    /// How many of its jobs are running or waiting.
    pub(super) jobs: u32,
    pub(super) sinks: Arc<Fanout>,
    pub(super) reported: Reported,
    /// Whether it waits to be advanced.
    pub(super) dirty: bool,
}

impl Task {
    pub(super) fn new(info: Arc<VertexInfo>, op: Arc<dyn Op>, ignore_cache: bool) -> Self {
        Self {
            info,
            op,
            ignore_cache,
            inputs: Vec::new(),
            users: Vec::new(),
            builds: Vec::new(),
            outputs: Vec::new(),
            wanted: Level::Nothing,
            may_execute: false,
            state: State::Idle,
            map: None,
            content: Vec::new(),
            candidates: Vec::new(),
            looked_up: None,
            saved: Vec::new(),
            version: 0,
            dead: HashSet::new(),
            cancel: CancelToken::new(),
            jobs: 0,
            sinks: Arc::default(),
            reported: Reported::Announced,
            dirty: false,
        }
    }

    /// Which keys are final.
    pub(super) fn reached(&self) -> Level {
        match &self.state {
            State::Idle | State::Mapping => Level::Nothing,
            State::Probing(level) => *level,
            State::Loading | State::Running => Level::Slow,
            State::Done(_) | State::Failed(_) => Level::Result,
        }
    }

    pub(super) fn done(&self) -> Option<&Done> {
        match &self.state {
            State::Done(done) => Some(done),
            _ => None,
        }
    }

    pub(super) fn result(&self, output: u32) -> Option<&ResultHandle> {
        self.done()?
            .results
            .iter()
            .find(|(of, _)| *of == output)
            .map(|(_, result)| result)
    }

    pub(super) fn private(&self) -> bool {
        self.map.as_ref().is_some_and(|map| map.private)
    }

    pub(super) fn content_of(&self, input: usize) -> Content {
        self.map
            .as_ref()
            .map_or(Content::Ignored, |map| map.inputs[input].content)
    }

    pub(super) fn selector(&self, input: usize) -> Option<Digest> {
        self.map.as_ref().and_then(|map| map.inputs[input].selector)
    }

    /// The keys of an output as nodes of one store.
    pub(super) fn nodes(&self, output: u32, store: usize) -> impl Iterator<Item = NodeId> + '_ {
        let found = self
            .candidates
            .iter()
            .filter(move |found| found.output == output && found.store == store);
        let saved = self
            .saved
            .iter()
            .filter(move |(of, _)| *of == output && store == 0);
        found
            .flat_map(|found| found.nodes.iter().copied())
            .chain(saved.map(|&(_, node)| node))
    }

    pub(super) fn context(&self) -> OpContext {
        OpContext {
            info: Arc::clone(&self.info),
            cancel: self.cancel.clone(),
            cache_only: !self.may_execute,
            sink: Arc::clone(&self.sinks) as Arc<dyn ProgressSink>,
        }
    }

    pub(super) fn tell(&mut self, reported: Reported) {
        self.reported = reported;
        if let Some(event) = self.last_event() {
            self.sinks.event(&event);
        }
    }

    /// The event that a build which joins late has missed.
    pub(super) fn last_event(&self) -> Option<Event> {
        let digest = self.info.digest;
        match self.reported {
            Reported::Announced => None,
            Reported::Started => Some(Event::Started(digest)),
            Reported::Cached => Some(Event::Cached(digest)),
            Reported::Completed => Some(Event::Completed(digest)),
        }
    }

    pub(super) fn contract(&self, problem: String) -> SolveError {
        SolveError::Contract {
            digest: self.info.digest,
            name: self.info.name.clone(),
            problem,
        }
    }
}
