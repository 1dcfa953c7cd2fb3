//! Threads that are started when they are needed and end with the pool.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job or have just been started for one.
    idle: usize,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                queue.idle -= 1;
                drop(queue);
                job();
                queue = self.lock();
                queue.idle += 1;
            } else if queue.closed {
                return;
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

/// Runs every job at once: there are as many threads as jobs have been running at the same time.
#[derive(Default)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Runs `job`, which must not panic, on a thread of the pool. Fails, and drops the job, when there is no thread
    /// and the system refuses one.
    pub(crate) fn submit(&mut self, job: Job) -> Result<(), std::io::Error> {
        let mut queue = self.shared.lock();
        queue.jobs.push_back(job);
        if queue.idle >= queue.jobs.len() {
            drop(queue);
            self.shared.changed.notify_one();
            return Ok(());
        }
        queue.idle += 1;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        match std::thread::Builder::new()
            .name("solver-worker".to_owned())
            .spawn(move || shared.work())
        {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                let mut queue = self.shared.lock();
                queue.idle -= 1;
                // With at least one thread the job only waits; without any it would wait for ever.
                if self.threads.is_empty() {
                    queue.jobs.clear();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A job does not panic; were it to, the panic has been printed by its thread.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn all_jobs_run_at_the_same_time() {
        let mut pool = Pool::default();
        let barrier = Arc::new(Barrier::new(9));
        for _ in 0..2 {
            for _ in 0..8 {
                let barrier = Arc::clone(&barrier);
                let job = move || {
                    barrier.wait();
                };
                pool.submit(Box::new(job)).unwrap();
            }
            barrier.wait();
        }
    }
}
