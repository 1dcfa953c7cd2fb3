//! How many jobs of a kind run at once.

use std::collections::VecDeque;

use crate::op::Resource;
use crate::scheduler::Work;
use crate::scheduler::task::Slot;

/// A job that waits for its turn.
pub(super) struct Waiting {
    pub(super) slot: Slot,
    pub(super) job: Work,
}

struct Kind {
    free: usize,
    waiting: VecDeque<Waiting>,
}

impl Kind {
    fn new(limit: usize) -> Self {
        Self {
            free: limit.max(1),
            waiting: VecDeque::new(),
        }
    }
}

pub(super) struct Slots {
    exec: Kind,
    cpu: Kind,
}

impl Slots {
    pub(super) fn new(exec: usize, cpu: usize) -> Self {
        Self {
            exec: Kind::new(exec),
            cpu: Kind::new(cpu),
        }
    }

    fn kind(&mut self, resource: Resource) -> Option<&mut Kind> {
        match resource {
            Resource::Exec => Some(&mut self.exec),
            Resource::Cpu => Some(&mut self.cpu),
            Resource::Light => None,
        }
    }

    /// Gives the job back when it can run now, and keeps it otherwise.
    pub(super) fn take(&mut self, resource: Resource, job: Waiting) -> Option<Waiting> {
        let Some(kind) = self.kind(resource) else {
            return Some(job);
        };
        if kind.free == 0 {
            kind.waiting.push_back(job);
            return None;
        }
        kind.free -= 1;
        Some(job)
    }

    /// Ends a job's use of `resource`; gives the one whose turn it is, which has it from now on.
    pub(super) fn release(&mut self, resource: Resource) -> Option<Waiting> {
        let kind = self.kind(resource)?;
        let next = kind.waiting.pop_front();
        if next.is_none() {
            kind.free += 1;
        }
        next
    }

    /// Takes out the waiting jobs for which `unwanted` holds and gives their slots.
    pub(super) fn purge(&mut self, unwanted: impl Fn(Slot) -> bool) -> Vec<Slot> {
        let mut purged = Vec::new();
        for kind in [&mut self.exec, &mut self.cpu] {
            kind.waiting.retain(|waiting| {
                let keep = !unwanted(waiting.slot);
                if !keep {
                    purged.push(waiting.slot);
                }
                keep
            });
        }
        purged
    }
}
