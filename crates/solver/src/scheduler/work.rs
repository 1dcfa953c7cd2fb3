//! What runs on worker threads.

use std::collections::HashSet;
use std::sync::Arc;

use distil_oci::Digest;

use crate::error::StoreError;
use crate::flight::{FlightGuard, SingleFlight};
use crate::op::{CacheMap, Op, OpContext, OpError, Outputs, ResultHandle};
use crate::progress::{Event, Status};
use crate::scheduler::keys::Draft;
use crate::scheduler::lookup::{InputKeys, LoadPlan, Loaded, Stores, follow, known};
use crate::scheduler::task::OutputKeys;
use crate::store::{NodeId, SaveEntry};

/// How a job ended.
pub(super) enum Outcome {
    Mapped(Result<CacheMap, OpError>),
    Content {
        input: usize,
        digest: Result<Option<Digest>, OpError>,
    },
    Loaded {
        loaded: Loaded,
        keys: OutputKeys,
    },
    Executed(Executed),
    /// Nothing waits for it.
    Background,
    /// A panic, or no thread to run on.
    Broken(String),
}

/// How an attempt to run an op ended.
pub(super) enum Executed {
    /// Another process, or another task, is at it: wait without a slot.
    Contended(Box<Execution>),
    /// The waiting is over: take a slot and try again.
    Acquired(Box<Execution>),
    /// Another process has done it meanwhile.
    Found(Loaded),
    Made {
        outputs: Outputs,
        keys: OutputKeys,
        nodes: Vec<(u32, NodeId)>,
    },
    Failed(OpError),
    StoreFailed(StoreError),
}

impl From<OpError> for Executed {
    fn from(error: OpError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Executed {
    fn from(error: StoreError) -> Self {
        Self::StoreFailed(error)
    }
}

/// What a look-up in the first store needs.
pub(super) struct Recheck {
    pub(super) records: Vec<(u32, Digest)>,
    pub(super) inputs: InputKeys,
    pub(super) outputs: Vec<u32>,
    pub(super) dead: HashSet<(usize, i64)>,
}

impl Recheck {
    fn find(&self, stores: &Stores) -> Result<Option<Loaded>, StoreError> {
        let first = &stores[..stores.len().min(1)];
        let mut candidates = known(first, &self.records, self.inputs.keys.is_empty())?;
        if !self.inputs.keys.is_empty() {
            for candidate in &mut candidates {
                follow(first, candidate, &self.inputs)?;
            }
        }
        let plan = LoadPlan::find(first, &candidates, &self.outputs, &self.dead)?;
        Ok(plan.map(|plan| plan.load(first)).filter(|loaded| loaded.complete))
    }
}

/// An op that is going to run.
pub(super) struct Execution {
    pub(super) op: Arc<dyn Op>,
    pub(super) context: OpContext,
    pub(super) inputs: Vec<ResultHandle>,
    pub(super) stores: Stores,
    /// `None` when there is nothing to save it under.
    pub(super) draft: Option<Draft>,
    pub(super) content_allowed: Vec<bool>,
    pub(super) flight: Option<(Arc<dyn SingleFlight>, Digest)>,
    pub(super) recheck: Option<Recheck>,
    pub(super) guard: Option<FlightGuard>,
}

const WAITING: &str = "waiting for another build that runs this step";

impl Execution {
    /// Runs the op, unless another process is at it or has just done it.
    pub(super) fn run(mut self: Box<Self>) -> Executed {
        if self.context.cancel.is_cancelled() {
            return OpError::Cancelled.into();
        }
        if let (Some((flight, key)), None) = (&self.flight, &self.guard) {
            match flight.try_acquire(key) {
                Ok(None) => return Executed::Contended(self),
                Ok(guard) => self.guard = guard,
                Err(error) => return error.into(),
            }
        }
        if let (Some(recheck), Some(_)) = (&self.recheck, &self.guard) {
            match recheck.find(&self.stores) {
                Ok(None) => {}
                Ok(Some(loaded)) => return Executed::Found(loaded),
                Err(error) => return error.into(),
            }
        }
        self.context.sink.event(&Event::Started(self.context.vertex()));
        match self.op.exec(&self.context, &self.inputs) {
            Ok(outputs) => self.save(outputs),
            Err(error) => error.into(),
        }
    }

    /// Waits for the process that is at it.
    pub(super) fn wait(mut self: Box<Self>) -> Executed {
        let Some((flight, key)) = &self.flight else {
            return Executed::Acquired(self);
        };
        let status = |done| Status {
            id: WAITING.to_owned(),
            current: 0,
            total: 0,
            done,
        };
        self.context.status(status(false));
        let guard = flight.acquire(key, &self.context.cancel);
        self.context.status(status(true));
        match guard {
            Ok(Some(guard)) => {
                self.guard = Some(guard);
                Executed::Acquired(self)
            }
            Ok(None) => OpError::Cancelled.into(),
            Err(error) => error.into(),
        }
    }

    fn save(mut self: Box<Self>, outputs: Outputs) -> Executed {
        let Some(mut draft) = self.draft.take() else {
            return Executed::Made {
                outputs,
                keys: Vec::new(),
                nodes: Vec::new(),
            };
        };
        draft.measured(&outputs.content, &self.content_allowed);
        for input in draft.unmeasured(&self.content_allowed) {
            match self.op.content_digest(&self.context, input, &self.inputs[input]) {
                Ok(digest) => draft.set_content(input, digest),
                Err(error) => return error.into(),
            }
        }
        let mut keys = Vec::new();
        let mut entries = Vec::new();
        for (output, result) in (0..).zip(&outputs.results) {
            let Some(result) = result else { continue };
            let of_output = draft.keys(output);
            if !of_output.is_empty() {
                entries.push(SaveEntry {
                    name: self.context.name().to_owned(),
                    keys: of_output.clone(),
                    result: Some(result.clone()),
                });
            }
            keys.push((output, of_output));
        }
        match save(&self.stores, &entries) {
            Ok(()) => {}
            Err(error) => return error.into(),
        }
        let nodes = keys
            .iter()
            .flat_map(|(output, keys)| keys.iter().map(move |key| (*output, key.node())));
        let nodes = nodes.filter_map(|(output, node)| Some((output, node?))).collect();
        Executed::Made { outputs, keys, nodes }
    }
}

/// Saves to the first store and notes the nodes in the keys.
pub(super) fn save(stores: &Stores, entries: &[SaveEntry]) -> Result<(), StoreError> {
    let Some(first) = stores.first().filter(|_| !entries.is_empty()) else {
        return Ok(());
    };
    for (entry, nodes) in entries.iter().zip(first.save(entries)?) {
        for (key, node) in entry.keys.iter().zip(nodes) {
            key.set_node(node);
        }
    }
    Ok(())
}
