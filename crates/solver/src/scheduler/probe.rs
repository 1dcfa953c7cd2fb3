//! Deciding what a task does next while its keys are looked up.

use std::sync::Arc;

use crate::error::{SolveError, StoreError};
use crate::op::{Content, Resource, ResultHandle};
use crate::scheduler::Scheduler;
use crate::scheduler::keys::records;
use crate::scheduler::lookup::{Candidate, LoadPlan, follow, known};
use crate::scheduler::task::{ContentKey, Level, Reported, Slot, State};
use crate::scheduler::work::{Execution, Outcome, Recheck, save};
use crate::store::SaveEntry;

impl Scheduler {
    /// Takes a task as far as it gets with what is known, cheapest way first.
    pub(super) fn probe(&mut self, slot: Slot) {
        if let Some(error) = self.failed_input(slot) {
            return self.set_failed(slot, error);
        }
        if self.uses_cache(slot) {
            match self.probe_cache(slot) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => return self.store_failed(slot, error),
            }
        }
        self.set_reached(slot, Level::Slow);
        if self.tasks[slot].wanted == Level::Result {
            self.prepare_execution(slot);
        }
    }

    fn failed_input(&self, slot: Slot) -> Option<SolveError> {
        self.tasks[slot]
            .inputs
            .iter()
            .find_map(|&(input, _)| match &self.tasks[input].state {
                State::Failed(error) => Some(error.clone()),
                _ => None,
            })
    }

    fn uses_cache(&self, slot: Slot) -> bool {
        let task = &self.tasks[slot];
        !(task.ignore_cache || task.private() || self.stores.is_empty())
    }

    /// Says whether the task waits, or is content with what it has; if not, no record can match.
    fn probe_cache(&mut self, slot: Slot) -> Result<bool, StoreError> {
        self.demand_inputs(slot, Level::Fast);
        let inputs = &self.tasks[slot].inputs;
        if inputs
            .iter()
            .any(|&(input, _)| self.tasks[input].reached() < Level::Fast)
        {
            return Ok(true);
        }
        self.look_up(slot)?;
        if self.tasks[slot].wanted == Level::Result && self.load(slot)? {
            return Ok(true);
        }
        self.set_reached(slot, Level::Fast);
        if self.tasks[slot].wanted <= Level::Fast {
            return Ok(true);
        }
        if self.tasks[slot].wanted == Level::Slow && self.has_keys(slot) {
            self.set_reached(slot, Level::Slow);
            return Ok(true);
        }
        Ok(self.pursue(slot))
    }

    /// Looks the keys of a task up, unless nothing is new.
    pub(super) fn look_up(&mut self, slot: Slot) -> Result<(), StoreError> {
        let task = &self.tasks[slot];
        let known_content = task
            .content
            .iter()
            .filter(|key| matches!(key, ContentKey::Known(_)))
            .count() as u64;
        // All terms only grow.
        let version: u64 = task
            .inputs
            .iter()
            .map(|&(input, _)| self.tasks[input].version)
            .sum::<u64>()
            + known_content;
        if task.looked_up == Some(version) {
            return Ok(());
        }
        let roots = task.inputs.is_empty();
        if task.looked_up.is_none() {
            let candidates = known(&self.stores, &records(task), roots)?;
            self.tasks[slot].candidates = candidates;
        }
        let mut candidates = std::mem::take(&mut self.tasks[slot].candidates);
        let mut changed = roots;
        if !roots {
            for candidate in &mut candidates {
                let before = std::mem::take(&mut candidate.nodes);
                follow(&self.stores, candidate, &self.query_keys(slot, candidate.store))?;
                changed |= candidate.nodes != before;
            }
        }
        let task = &mut self.tasks[slot];
        task.looked_up = Some(version);
        task.candidates = candidates;
        if changed {
            task.version += 1;
            if task.reached() > Level::Nothing {
                self.touch_users(slot);
            }
            self.relink(slot);
        }
        Ok(())
    }

    /// Whether every needed output has a key.
    fn has_keys(&self, slot: Slot) -> bool {
        let task = &self.tasks[slot];
        let has = |output| {
            task.candidates
                .iter()
                .any(|found| found.output == output && !found.nodes.is_empty())
        };
        task.outputs.iter().all(|&output| has(output))
    }

    /// Starts to load when every needed output has a record.
    fn load(&mut self, slot: Slot) -> Result<bool, StoreError> {
        let task = &self.tasks[slot];
        let Some(plan) = LoadPlan::find(&self.stores, &task.candidates, &task.outputs, &task.dead)? else {
            return Ok(false);
        };
        let keys = self.output_keys(slot, &self.draft(slot));
        let (stores, info) = (Arc::clone(&self.stores), Arc::clone(&task.info));
        self.tasks[slot].state = State::Loading;
        self.touch_users(slot);
        let job = move || {
            let loaded = plan.load(&stores);
            if loaded.complete && loaded.foreign {
                let result = |output| {
                    loaded
                        .results
                        .iter()
                        .find(|(of, _)| *of == output)
                        .map(|(_, res)| res.clone())
                };
                let with_keys = keys.iter().filter(|(_, keys)| !keys.is_empty());
                let entries: Vec<_> = with_keys
                    .map(|(output, keys)| SaveEntry {
                        name: info.name.clone(),
                        keys: keys.clone(),
                        result: result(*output),
                    })
                    .collect();
                // Only the next build is slower without it.
                let _ = save(&stores, &entries);
            }
            Outcome::Loaded { loaded, keys }
        };
        self.spawn(slot, None, Box::new(job));
        Ok(true)
    }

    /// Notes keys that were found to be equal, so that the next look-up needs only one of them.
    fn relink(&mut self, slot: Slot) {
        let task = &self.tasks[slot];
        let unlinked = |found: &&Candidate| found.store == 0 && !found.linked;
        let outputs: Vec<_> = task
            .candidates
            .iter()
            .filter(unlinked)
            .map(|found| found.output)
            .collect();
        if outputs.is_empty() || !task.may_execute {
            return;
        }
        let keys = self.output_keys(slot, &self.draft(slot));
        let keys = keys
            .into_iter()
            .filter(|(output, keys)| outputs.contains(output) && !keys.is_empty());
        let entries: Vec<_> = keys
            .map(|(_, keys)| SaveEntry {
                name: self.tasks[slot].info.name.clone(),
                keys,
                result: None,
            })
            .collect();
        for found in &mut self.tasks[slot].candidates {
            found.linked = true;
        }
        let stores = Arc::clone(&self.stores);
        let job = move || {
            // Only the next build is slower without it.
            let _ = save(&stores, &entries);
            Outcome::Background
        };
        self.spawn(slot, None, Box::new(job));
    }

    /// Whether an input may still get keys that it does not have.
    fn can_gain(&self, slot: Slot, input: usize) -> bool {
        let task = &self.tasks[slot];
        let content = task.content_of(input) != Content::Ignored;
        self.tasks[task.inputs[input].0].reached() < Level::Slow
            || (content && !matches!(task.content[input], ContentKey::Known(_)))
    }

    /// Asks for more keys of inputs where they can decide; says whether there are any to wait for.
    fn pursue(&mut self, slot: Slot) -> bool {
        let task = &self.tasks[slot];
        let can_gain: Vec<_> = (0..task.inputs.len())
            .map(|input| self.can_gain(slot, input))
            .collect();
        let possible: Vec<_> = task
            .candidates
            .iter()
            .filter(|found| found.possible(&can_gain))
            .collect();
        if !task
            .outputs
            .iter()
            .all(|&output| possible.iter().any(|found| found.output == output))
        {
            return false;
        }
        let unmatched = |input: usize| possible.iter().any(|found| found.inputs[input].is_empty());
        let gaining = || (0..can_gain.len()).filter(|&input| can_gain[input]);
        // First the inputs that nothing is known to match, then the others.
        let mut ask: Vec<_> = gaining().filter(|&input| unmatched(input)).collect();
        if ask.is_empty() {
            ask = gaining().collect();
        }
        for &input in &ask {
            self.pursue_input(slot, input);
        }
        !ask.is_empty()
    }

    fn pursue_input(&mut self, slot: Slot, input: usize) {
        let task = &self.tasks[slot];
        let (from, _) = task.inputs[input];
        let may_execute = task.may_execute;
        if self.tasks[from].reached() < Level::Slow {
            self.demand(from, Level::Slow, may_execute);
        } else if task.content[input] == ContentKey::Unknown {
            self.compute_content(slot, input);
        }
    }

    /// Starts to compute the content key of an input, once the input is there.
    fn compute_content(&mut self, slot: Slot, input: usize) {
        let task = &self.tasks[slot];
        let (from, output) = task.inputs[input];
        let may_execute = task.may_execute;
        let Some(result) = self.tasks[from].result(output).cloned() else {
            return self.demand(from, Level::Result, may_execute);
        };
        let (op, context) = (Arc::clone(&task.op), task.context());
        self.tasks[slot].content[input] = ContentKey::Computing;
        let job = move || Outcome::Content {
            input,
            digest: op.content_digest(&context, input, &result),
        };
        self.spawn_limited(slot, Resource::Cpu, Box::new(job));
    }

    /// Makes the inputs real and runs the op on them.
    fn prepare_execution(&mut self, slot: Slot) {
        let task = &self.tasks[slot];
        if !task.may_execute && task.op.resource() != Resource::Light {
            return self.needs_execution(slot);
        }
        self.demand_inputs(slot, Level::Result);
        let task = &self.tasks[slot];
        let results = task
            .inputs
            .iter()
            .map(|&(input, output)| self.tasks[input].result(output).cloned());
        let Some(inputs) = results.collect::<Option<Vec<_>>>() else {
            return;
        };
        let saves = !task.private() && !self.stores.is_empty();
        if saves {
            let computed = (0..inputs.len()).filter(|&input| task.content_of(input) == Content::Computed);
            let missing: Vec<_> = computed
                .filter(|&at| !matches!(task.content[at], ContentKey::Known(_)))
                .collect();
            for &input in &missing {
                if self.tasks[slot].content[input] == ContentKey::Unknown {
                    self.compute_content(slot, input);
                }
            }
            if !missing.is_empty() {
                return;
            }
        }
        // A content key may still be under way that a look-up asked for before it became pointless.
        if self.tasks[slot].content.contains(&ContentKey::Computing) {
            return;
        }
        self.execute(slot, inputs, saves);
    }

    fn execute(&mut self, slot: Slot, inputs: Vec<ResultHandle>, saves: bool) {
        let draft = saves.then(|| self.draft(slot));
        let key = draft.as_ref().and_then(super::keys::Draft::flight);
        // Two builds that both ignore the cache both want a run of their own.
        let flight = self
            .flight
            .clone()
            .zip(key)
            .filter(|_| !self.tasks[slot].ignore_cache);
        let content_allowed = self.content_allowed(slot);
        let recheck = (self.uses_cache(slot) && flight.is_some()).then(|| {
            let task = &self.tasks[slot];
            let (outputs, dead) = (task.outputs.clone(), task.dead.clone());
            Recheck {
                records: records(task),
                inputs: self.query_keys(slot, 0),
                outputs,
                dead,
            }
        });
        let task = &mut self.tasks[slot];
        task.state = State::Running;
        let execution = Execution {
            op: Arc::clone(&task.op),
            context: task.context(),
            inputs,
            stores: Arc::clone(&self.stores),
            draft,
            content_allowed,
            flight,
            recheck,
            guard: None,
        };
        self.queue_execution(slot, Box::new(execution));
    }

    pub(super) fn queue_execution(&mut self, slot: Slot, execution: Box<Execution>) {
        let task = &mut self.tasks[slot];
        task.reported = Reported::Started;
        let resource = task.op.resource();
        self.spawn_limited(
            slot,
            resource,
            Box::new(move || Outcome::Executed(execution.run())),
        );
    }
}
