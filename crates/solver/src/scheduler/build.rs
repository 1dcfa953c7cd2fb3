//! Builds: joining tasks, ending, and what is left of them.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use distil_oci::Digest;

use crate::cancel::CancelRegistration;
use crate::error::SolveError;
use crate::graph::{Edge, Graph, Vertex, VertexIndex};
use crate::op::OpError;
use crate::progress::{Event, ProgressSink, VertexInfo};
use crate::scheduler::task::{BuildId, ContentKey, Level, Reported, Slot, State, Task, keys_for};
use crate::scheduler::work::{Executed, Outcome};
use crate::scheduler::{Ended, Message, Scheduler};
use crate::solver::{Mode, SolveOptions, Solved};

type Answer = Result<Vec<Solved>, SolveError>;

/// A build that is to start.
pub(crate) struct BuildRequest {
    pub(crate) graph: Graph,
    /// The vertices that the targets need, inputs first.
    pub(crate) reachable: Vec<VertexIndex>,
    pub(crate) targets: Vec<Edge>,
    pub(crate) options: SolveOptions,
    pub(crate) reply: Sender<Answer>,
}

/// A build that runs.
pub(super) struct Build {
    pub(super) id: BuildId,
    targets: Vec<(Slot, u32)>,
    slots: Vec<Slot>,
    mode: Mode,
    reply: Sender<Answer>,
    /// Its token's way to the event loop.
    _cancel: Option<CancelRegistration>,
}

/// A build whose answer is known, and whose jobs have to end before it is given.
pub(super) struct Ending {
    build: Build,
    answer: Answer,
}

impl Scheduler {
    pub(super) fn start(&mut self, request: BuildRequest) {
        let BuildRequest {
            graph,
            reachable,
            targets,
            options,
            reply,
        } = request;
        let id = self.next_build;
        self.next_build += 1;
        // By place in the graph; only reachable places are read.
        let mut slots = vec![Slot::MAX; graph.len()];
        for &index in &reachable {
            let Some(vertex) = graph.get(index) else { continue };
            slots[index.0 as usize] = self.join(id, vertex, &slots);
        }
        let place = |edge: &Edge| (slots[edge.vertex.0 as usize], edge.output);
        let targets: Vec<_> = targets.iter().map(place).collect();
        let slots: Vec<_> = reachable.iter().map(|index| slots[index.0 as usize]).collect();
        self.announce(id, &slots, &options.progress);
        let mailbox = self.mailbox.clone();
        let cancel = options.cancel.on_cancel(move || {
            // Without a listener the build is over.
            let _ = mailbox.send(Message::Cancel(id));
        });
        let mode = options.mode;
        self.builds.push(Build {
            id,
            targets: targets.clone(),
            slots,
            mode,
            reply,
            _cancel: Some(cancel),
        });
        for (slot, output) in targets {
            self.need_output(slot, output);
            self.demand(slot, Level::Result, mode == Mode::Full);
        }
    }

    /// The task of a vertex, made when no build has it yet.
    fn join(&mut self, build: BuildId, vertex: &Vertex, slots: &[Slot]) -> Slot {
        let identity = (vertex.digest, vertex.ignore_cache);
        let slot = match self.index.get(&identity) {
            Some(&slot) => slot,
            None => self.add(vertex, slots),
        };
        self.tasks[slot].builds.push(build);
        for at in 0..self.tasks[slot].inputs.len() {
            let (input, output) = self.tasks[slot].inputs[at];
            self.need_output(input, output);
        }
        slot
    }

    fn add(&mut self, vertex: &Vertex, slots: &[Slot]) -> Slot {
        let inputs: Vec<_> = vertex
            .inputs
            .iter()
            .map(|edge| (slots[edge.vertex.0 as usize], edge.output))
            .collect();
        let mut digests: Vec<Digest> = Vec::new();
        for &(input, _) in &inputs {
            let digest = self.tasks[input].info.digest;
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        let info = VertexInfo {
            digest: vertex.digest,
            name: vertex.name.clone(),
            inputs: digests,
        };
        let mut task = Task::new(Arc::new(info), Arc::clone(&vertex.op), vertex.ignore_cache);
        task.inputs.clone_from(&inputs);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.tasks[slot] = task;
                slot
            }
            None => {
                self.tasks.push(task);
                self.tasks.len() - 1
            }
        };
        for (input, _) in inputs {
            let users = &mut self.tasks[input].users;
            if users.last() != Some(&slot) {
                users.push(slot);
            }
        }
        self.index.insert((vertex.digest, vertex.ignore_cache), slot);
        slot
    }

    /// Has a task give an output that no build has used before.
    fn need_output(&mut self, slot: Slot, output: u32) {
        let task = &mut self.tasks[slot];
        if let Err(at) = task.outputs.binary_search(&output) {
            task.outputs.insert(at, output);
            task.looked_up = None;
            self.touch(slot);
        }
    }

    fn announce(&mut self, build: BuildId, slots: &[Slot], sink: &Arc<dyn ProgressSink>) {
        for &slot in slots {
            sink.event(&Event::Announced(Arc::clone(&self.tasks[slot].info)));
        }
        for &slot in slots {
            if let Some(missed) = self.tasks[slot].last_event() {
                sink.event(&missed);
            }
            self.tasks[slot].sinks.add(build, Arc::clone(sink));
        }
    }

    /// Ends the builds whose targets are all there, or of which one has failed.
    pub(super) fn finish_builds(&mut self) {
        let answers: Vec<_> = self
            .builds
            .iter()
            .filter_map(|build| Some((build.id, self.answer(build)?)))
            .collect();
        for (build, answer) in answers {
            self.end_build(build, answer);
        }
    }

    fn answer(&self, build: &Build) -> Option<Answer> {
        let mut solved = Vec::with_capacity(build.targets.len());
        for &(slot, output) in &build.targets {
            match &self.tasks[slot].state {
                State::Failed(error) => return Some(Err(error.clone())),
                State::Done(done) => {
                    let result = self.tasks[slot].result(output)?.clone();
                    let keys = keys_for(&done.keys, output).to_vec();
                    solved.push(Solved {
                        result,
                        keys,
                        cached: done.cached,
                    });
                }
                _ => return None,
            }
        }
        Some(Ok(solved))
    }

    /// A vertex has to run that none of its builds may run.
    pub(super) fn needs_execution(&mut self, slot: Slot) {
        let task = &self.tasks[slot];
        let (digest, name) = (task.info.digest, task.info.name.clone());
        let having = self.builds.iter().filter(|build| build.mode == Mode::CacheOnly);
        let having: Vec<_> = having
            .map(|build| build.id)
            .filter(|id| task.builds.contains(id))
            .collect();
        for build in having {
            self.end_build(
                build,
                Err(SolveError::NeedsExecution {
                    digest,
                    name: name.clone(),
                }),
            );
        }
    }

    /// Decides a build's answer and forgets what it alone had asked for.
    pub(super) fn end_build(&mut self, id: BuildId, answer: Answer) {
        let Some(at) = self.builds.iter().position(|build| build.id == id) else {
            return;
        };
        let mut build = self.builds.swap_remove(at);
        build._cancel = None;
        self.ending.push(Ending { build, answer });
        for task in &mut self.tasks {
            task.wanted = Level::Nothing;
            task.may_execute = false;
        }
        for at in 0..self.builds.len() {
            let may_execute = self.builds[at].mode == Mode::Full;
            for target in 0..self.builds[at].targets.len() {
                self.demand(self.builds[at].targets[target].0, Level::Result, may_execute);
            }
        }
        self.sweep = true;
    }

    /// Stops the jobs of tasks that no build wants any more.
    pub(super) fn cancel_unwanted(&mut self) {
        let wanted = |task: &Task| match task.state {
            State::Running | State::Loading => task.wanted == Level::Result,
            _ => task.wanted > Level::Nothing,
        };
        let unwanted: Vec<bool> = self
            .tasks
            .iter()
            .map(|task| task.jobs > 0 && !wanted(task))
            .collect();
        for (task, _) in self
            .tasks
            .iter()
            .zip(&unwanted)
            .filter(|(_, unwanted)| **unwanted)
        {
            task.cancel.cancel();
        }
        for slot in self.slots.purge(|slot| unwanted[slot]) {
            let outcome = match self.tasks[slot].state {
                State::Running => Outcome::Executed(Executed::Failed(OpError::Cancelled)),
                _ => Outcome::Background,
            };
            self.restore_content(slot);
            let _ = self.mailbox.send(Message::Job(Ended {
                slot,
                resource: None,
                outcome,
            }));
        }
    }

    /// A content key whose computing was taken back has to be asked for again.
    fn restore_content(&mut self, slot: Slot) {
        for key in &mut self.tasks[slot].content {
            if *key == ContentKey::Computing {
                *key = ContentKey::Unknown;
            }
        }
    }

    /// Answers the ended builds that have no job left, and drops the tasks that no build has.
    pub(super) fn release_ended(&mut self) {
        let mut at = 0;
        while at < self.ending.len() {
            let idle = |&slot: &Slot| {
                let task = &self.tasks[slot];
                task.jobs == 0 || self.builds.iter().any(|build| task.builds.contains(&build.id))
            };
            if !self.ending[at].build.slots.iter().all(idle) {
                at += 1;
                continue;
            }
            let Ending { build, answer } = self.ending.swap_remove(at);
            self.forget(&build);
            // Whoever asked may be gone; the answer is then of no use.
            let _ = build.reply.send(answer);
        }
    }

    fn forget(&mut self, build: &Build) {
        for &slot in &build.slots {
            let task = &mut self.tasks[slot];
            task.builds.retain(|id| *id != build.id);
            task.sinks.remove(build.id);
            if task.builds.is_empty() && task.jobs == 0 {
                self.drop_task(slot);
            }
        }
    }

    fn drop_task(&mut self, slot: Slot) {
        let task = &mut self.tasks[slot];
        let identity = (task.info.digest, task.ignore_cache);
        let inputs = std::mem::take(&mut task.inputs);
        task.state = State::Idle;
        task.reported = Reported::Announced;
        task.wanted = Level::Nothing;
        task.candidates = Vec::new();
        task.map = None;
        if self.index.get(&identity) == Some(&slot) {
            self.index.remove(&identity);
        }
        for (input, _) in inputs {
            self.tasks[input].users.retain(|user| *user != slot);
        }
        self.free.push(slot);
    }
}
