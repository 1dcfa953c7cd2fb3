//! A small work-sharing loop: jobs that make more jobs, run by as many threads as help.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

struct State<J, E> {
    waiting: Vec<J>,
    /// Jobs that are waiting or running.
    open: usize,
    /// Threads that wait for a job: only they have to be woken.
    idle: usize,
    error: Option<E>,
}

/// Where running jobs put further ones.
pub(crate) struct Queue<J, E> {
    state: Mutex<State<J, E>>,
    changed: Condvar,
}

impl<J, E> Queue<J, E> {
    fn lock(&self) -> MutexGuard<'_, State<J, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds jobs; the last one runs first, which keeps the number of open directories small.
    pub(crate) fn push(&self, jobs: impl IntoIterator<Item = J>) {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.extend(jobs);
        let added = state.waiting.len() - before;
        state.open += added;
        let wake = added > 0 && state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// The next job, once there is one; `None` when all are done or one failed.
    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.error.is_some() || state.open == 0 {
                return None;
            }
            if let Some(job) = state.waiting.pop() {
                return Some(job);
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Counts a job as done; returns how many are waiting.
    fn done(&self, result: Result<(), E>) -> usize {
        let mut state = self.lock();
        state.open -= 1;
        if let Err(err) = result {
            state.error.get_or_insert(err);
        }
        let waiting = state.waiting.len();
        if state.open == 0 || state.error.is_some() {
            drop(state);
            self.changed.notify_all();
        }
        waiting
    }
}

/// Number of worker threads for a `threads` setting of which 0 means one a core.
pub(crate) fn thread_count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    }
}

/// Runs `jobs` and what they push; returns the first error. Threads are started only when
/// jobs wait, so that small work stays on the caller's thread.
pub(crate) fn run<J, E, F>(threads: usize, jobs: impl IntoIterator<Item = J>, work: F) -> Result<(), E>
where
    J: Send,
    E: Send,
    F: Fn(J, &Queue<J, E>) -> Result<(), E> + Sync,
{
    let waiting: Vec<J> = jobs.into_iter().collect();
    let queue = Queue {
        state: Mutex::new(State {
            open: waiting.len(),
            idle: 0,
            waiting,
            error: None,
        }),
        changed: Condvar::new(),
    };
    let limit = thread_count(threads);
    std::thread::scope(|scope| {
        let (queue, work) = (&queue, &work);
        let mut running = 1;
        while let Some(job) = queue.next() {
            let waiting = queue.done(work(job, queue));
            while running < limit && running <= waiting {
                running += 1;
                scope.spawn(move || {
                    while let Some(job) = queue.next() {
                        queue.done(work(job, queue));
                    }
                });
            }
        }
    });
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.error.map_or(Ok(()), Err)
}
