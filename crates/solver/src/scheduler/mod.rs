//! The event loop. One thread owns all state; ops and slow steps run on worker threads and report back by message.

mod build;
mod keys;
mod lookup;
mod probe;
mod slots;
mod task;
mod work;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use distil_oci::Digest;

use crate::cancel::CancelToken;
use crate::error::{SolveError, StoreError};
use crate::flight::SingleFlight;
use crate::op::{CacheMap, OpError, Outputs, Resource};
use crate::pool::Pool;
use crate::progress::{Event, ProgressSink};
use crate::solver::SolverConfig;
use crate::store::NodeId;

pub(crate) use build::BuildRequest;
use build::{Build, Ending};
use lookup::{Loaded, Stores};
use slots::{Slots, Waiting};
use task::{BuildId, ContentKey, Done, Level, OutputKeys, Reported, Slot, State, Task};
use work::{Executed, Outcome};

/// What wakes the event loop.
pub(crate) enum Message {
    Start(Box<BuildRequest>),
    Cancel(BuildId),
    Job(Ended),
    Quit,
}

/// A job that is over.
pub(crate) struct Ended {
    slot: Slot,
    /// What it held.
    resource: Option<Resource>,
    outcome: Outcome,
}

pub(crate) struct Scheduler {
    mailbox: Sender<Message>,
    stores: Stores,
    flight: Option<Arc<dyn SingleFlight>>,
    pool: Pool,
    slots: Slots,
    tasks: Vec<Task>,
    free: Vec<Slot>,
    index: HashMap<(Digest, bool), Slot>,
    dirty: VecDeque<Slot>,
    builds: Vec<Build>,
    ending: Vec<Ending>,
    next_build: BuildId,
    /// A build has ended: jobs may run that nobody wants.
    sweep: bool,
}

impl Scheduler {
    pub(crate) fn new(config: &SolverConfig, mailbox: Sender<Message>) -> Self {
        Self {
            mailbox,
            stores: config.stores.clone().into(),
            flight: config.flight.clone(),
            pool: Pool::default(),
            slots: Slots::new(config.exec_slots, config.cpu_slots),
            tasks: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            dirty: VecDeque::new(),
            builds: Vec::new(),
            ending: Vec::new(),
            next_build: 1,
            sweep: false,
        }
    }

    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            match message {
                Message::Start(request) => self.start(*request),
                Message::Cancel(build) => self.end_build(build, Err(SolveError::Cancelled)),
                Message::Job(ended) => self.job_ended(ended),
                Message::Quit => return,
            }
            self.settle();
        }
    }

    /// Advances tasks until each of them waits for a message.
    fn settle(&mut self) {
        loop {
            while let Some(slot) = self.dirty.pop_front() {
                self.tasks[slot].dirty = false;
                self.advance(slot);
            }
            self.finish_builds();
            if self.dirty.is_empty() {
                break;
            }
        }
        if std::mem::take(&mut self.sweep) {
            self.cancel_unwanted();
        }
        self.release_ended();
    }

    /// Has a task looked at again.
    fn touch(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        if !task.dirty {
            task.dirty = true;
            self.dirty.push_back(slot);
        }
    }

    fn touch_users(&mut self, slot: Slot) {
        for at in 0..self.tasks[slot].users.len() {
            let user = self.tasks[slot].users[at];
            if self.tasks[user].wanted > Level::Nothing {
                self.touch(user);
            }
        }
    }

    /// Makes sure that at least `level` of a task is worked on.
    fn demand(&mut self, slot: Slot, level: Level, may_execute: bool) {
        let task = &mut self.tasks[slot];
        if level > task.wanted || (may_execute && !task.may_execute) {
            task.wanted = task.wanted.max(level);
            task.may_execute |= may_execute;
            self.touch(slot);
        }
    }

    fn advance(&mut self, slot: Slot) {
        if self.tasks[slot].wanted == Level::Nothing {
            return;
        }
        match &self.tasks[slot].state {
            State::Idle => {
                self.demand_inputs(slot, Level::Fast);
                self.map(slot);
            }
            State::Mapping => self.demand_inputs(slot, Level::Fast),
            State::Probing(_) => self.probe(slot),
            State::Done(_) if self.lacks_output(slot).is_some() => {
                let task = &mut self.tasks[slot];
                task.looked_up = None;
                task.state = State::Probing(Level::Slow);
                self.probe(slot);
            }
            State::Loading | State::Running | State::Done(_) | State::Failed(_) => {}
        }
    }

    fn demand_inputs(&mut self, slot: Slot, level: Level) {
        let may_execute = self.tasks[slot].may_execute;
        for input in 0..self.tasks[slot].inputs.len() {
            self.demand(self.tasks[slot].inputs[input].0, level, may_execute);
        }
    }

    fn map(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        task.state = State::Mapping;
        let (op, context) = (Arc::clone(&task.op), task.context());
        let inline = op.maps_inline();
        let job = move || Outcome::Mapped(op.cache_map(&context));
        if inline {
            self.tasks[slot].jobs += 1;
            let outcome = guarded(job);
            self.job_ended(Ended {
                slot,
                resource: None,
                outcome,
            });
        } else {
            self.spawn(slot, None, Box::new(job));
        }
    }

    /// Runs a job at once on a worker thread.
    fn spawn(&mut self, slot: Slot, resource: Option<Resource>, job: Work) {
        self.tasks[slot].jobs += 1;
        self.launch(slot, resource, job);
    }

    /// Runs a job as soon as its resource allows.
    fn spawn_limited(&mut self, slot: Slot, resource: Resource, job: Work) {
        self.tasks[slot].jobs += 1;
        if let Some(job) = self.slots.take(resource, Waiting { slot, job }) {
            self.launch(slot, Some(resource), job.job);
        }
    }

    fn launch(&mut self, slot: Slot, resource: Option<Resource>, job: Work) {
        let mailbox = self.mailbox.clone();
        let job = move || {
            let outcome = guarded(job);
            // The loop ends after its jobs, so somebody listens.
            let _ = mailbox.send(Message::Job(Ended {
                slot,
                resource,
                outcome,
            }));
        };
        if let Err(error) = self.pool.submit(Box::new(job)) {
            let outcome = Outcome::Broken(format!("has no thread to run on: {error}"));
            let _ = self.mailbox.send(Message::Job(Ended {
                slot,
                resource,
                outcome,
            }));
        }
    }

    fn job_ended(&mut self, ended: Ended) {
        let Ended {
            slot,
            resource,
            outcome,
        } = ended;
        self.tasks[slot].jobs -= 1;
        if let Some(resource) = resource
            && let Some(next) = self.slots.release(resource)
        {
            self.launch(next.slot, Some(resource), next.job);
        }
        match outcome {
            Outcome::Mapped(Ok(map)) => self.mapped(slot, map),
            Outcome::Mapped(Err(error)) => self.op_failed(slot, error, State::Idle),
            Outcome::Content {
                input,
                digest: Ok(digest),
            } => {
                self.tasks[slot].content[input] = ContentKey::Known(digest);
                self.touch(slot);
            }
            Outcome::Content {
                input,
                digest: Err(error),
            } => {
                self.tasks[slot].content[input] = ContentKey::Unknown;
                let reached = self.tasks[slot].reached();
                self.op_failed(slot, error, State::Probing(reached));
            }
            Outcome::Loaded { loaded, keys } => self.loaded(slot, loaded, keys),
            Outcome::Executed(executed) => self.executed(slot, executed),
            Outcome::Background => {}
            Outcome::Broken(problem) => {
                let error = self.tasks[slot].contract(problem);
                self.fail(slot, error);
            }
        }
        self.renew_token(slot);
    }

    /// Lets a task start again that was stopped, once the last of its jobs has ended.
    fn renew_token(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        if task.jobs == 0 && task.cancel.is_cancelled() {
            task.cancel = CancelToken::new();
            self.touch(slot);
        }
    }

    fn mapped(&mut self, slot: Slot, map: CacheMap) {
        let task = &mut self.tasks[slot];
        let (want, have) = (task.inputs.len(), map.inputs.len());
        if map.digests.is_empty() || want != have {
            let problem = format!(
                "gave a cache map with `{}` digests for `{have}` inputs, expected at least `1` for `{want}`",
                map.digests.len()
            );
            let error = task.contract(problem);
            return self.fail(slot, error);
        }
        task.content = vec![ContentKey::Unknown; have];
        task.map = Some(map);
        task.state = State::Probing(Level::Nothing);
        self.touch(slot);
    }

    /// Raises the level at which the keys of a task are final.
    fn set_reached(&mut self, slot: Slot, level: Level) {
        if let State::Probing(reached) = &mut self.tasks[slot].state
            && *reached < level
        {
            *reached = level;
            self.touch_users(slot);
        }
    }

    fn loaded(&mut self, slot: Slot, loaded: Loaded, keys: OutputKeys) {
        self.tasks[slot].dead.extend(loaded.dead);
        if !loaded.complete {
            self.tasks[slot].state = State::Probing(Level::Slow);
            return self.touch(slot);
        }
        self.report_cached(slot);
        self.set_done(
            slot,
            Done {
                results: loaded.results,
                keys,
                cached: true,
            },
        );
    }

    fn executed(&mut self, slot: Slot, executed: Executed) {
        match executed {
            Executed::Contended(execution) => {
                self.spawn(slot, None, Box::new(move || Outcome::Executed(execution.wait())));
            }
            Executed::Acquired(execution) => self.queue_execution(slot, execution),
            Executed::Found(loaded) => {
                let task = &mut self.tasks[slot];
                task.looked_up = None;
                if let Err(error) = self.look_up(slot) {
                    return self.store_failed(slot, error);
                }
                let draft = self.draft(slot);
                let keys = self.output_keys(slot, &draft);
                self.loaded(slot, loaded, keys);
            }
            Executed::Made { outputs, keys, nodes } => self.made(slot, outputs, keys, nodes),
            Executed::Failed(error) => self.op_failed(slot, error, State::Probing(Level::Slow)),
            Executed::StoreFailed(error) => self.store_failed(slot, error),
        }
    }

    fn made(&mut self, slot: Slot, outputs: Outputs, keys: OutputKeys, nodes: Vec<(u32, NodeId)>) {
        let task = &mut self.tasks[slot];
        if !task.ignore_cache {
            // A user must not find a record through a vertex that was told to run anew.
            task.saved = nodes;
            task.version += 1;
        }
        let results = (0..)
            .zip(outputs.results)
            .filter_map(|(output, result)| Some((output, result?)));
        let done = Done {
            results: results.collect(),
            keys,
            cached: false,
        };
        task.tell(Reported::Completed);
        self.set_done(slot, done);
        if let Some(output) = self.lacks_output(slot) {
            let error = self.tasks[slot].contract(format!("made no output `{output}`, which is needed"));
            self.fail(slot, error);
        }
    }

    fn set_done(&mut self, slot: Slot, done: Done) {
        self.tasks[slot].state = State::Done(done);
        self.touch(slot);
        self.touch_users(slot);
    }

    /// A needed output that a finished task does not have.
    fn lacks_output(&self, slot: Slot) -> Option<u32> {
        let task = &self.tasks[slot];
        task.outputs
            .iter()
            .copied()
            .find(|&output| task.result(output).is_none())
    }

    /// Reports a task as cached, after those of its inputs that are settled by it.
    fn report_cached(&mut self, slot: Slot) {
        let mut stack = vec![slot];
        while let Some(&top) = stack.last() {
            if self.tasks[top].reported == Reported::Cached {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for at in 0..self.tasks[top].inputs.len() {
                let input = self.tasks[top].inputs[at].0;
                let task = &self.tasks[input];
                let running = matches!(task.state, State::Running | State::Failed(_));
                if task.reported == Reported::Announced && !running {
                    stack.push(input);
                }
            }
            if stack.len() == before {
                stack.pop();
                self.tasks[top].tell(Reported::Cached);
            }
        }
    }

    fn op_failed(&mut self, slot: Slot, error: OpError, back: State) {
        let task = &mut self.tasks[slot];
        if task.cancel.is_cancelled() {
            task.state = back;
            if task.reported == Reported::Started {
                task.reported = Reported::Announced;
                task.sinks.event(&Event::Cancelled(task.info.digest));
            }
            return;
        }
        match error {
            OpError::NeedsExecution if !task.may_execute => {
                task.state = back;
                self.needs_execution(slot);
            }
            OpError::Failed(source) => {
                let (digest, name) = (task.info.digest, task.info.name.clone());
                self.fail(
                    slot,
                    SolveError::Vertex {
                        digest,
                        name,
                        source: source.into(),
                    },
                );
            }
            error => {
                let (digest, name) = (task.info.digest, task.info.name.clone());
                self.fail(
                    slot,
                    SolveError::Vertex {
                        digest,
                        name,
                        source: Arc::new(error),
                    },
                );
            }
        }
    }

    fn store_failed(&mut self, slot: Slot, error: StoreError) {
        let info = &self.tasks[slot].info;
        let (digest, name) = (info.digest, info.name.clone());
        self.fail(
            slot,
            SolveError::Store {
                digest,
                name,
                source: Arc::new(error),
            },
        );
    }

    fn fail(&mut self, slot: Slot, error: SolveError) {
        let task = &mut self.tasks[slot];
        let message = match &error {
            SolveError::Vertex { source, .. } => source.to_string(),
            SolveError::Store { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        task.sinks.event(&Event::Failed {
            vertex: task.info.digest,
            error: message,
        });
        self.set_failed(slot, error.clone());
        // A build that has the task alone has certainly asked for it. Otherwise only those fail that get here by their
        // own demands.
        let mut having = self
            .builds
            .iter()
            .filter(|build| self.tasks[slot].builds.contains(&build.id));
        if let (Some(build), None) = (having.next().map(|build| build.id), having.next()) {
            self.end_build(build, Err(error));
        }
    }

    /// Marks a task as failed; new builds make a new one in its place.
    fn set_failed(&mut self, slot: Slot, error: SolveError) {
        let task = &mut self.tasks[slot];
        let identity = (task.info.digest, task.ignore_cache);
        task.state = State::Failed(error);
        if self.index.get(&identity) == Some(&slot) {
            self.index.remove(&identity);
        }
        self.touch_users(slot);
    }
}

/// A job for a worker thread.
type Work = Box<dyn FnOnce() -> Outcome + Send>;

fn guarded(job: impl FnOnce() -> Outcome) -> Outcome {
    catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Outcome::Broken(format!("panicked: `{text}`"))
    })
}
