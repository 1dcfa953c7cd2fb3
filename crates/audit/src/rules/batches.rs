//! Work on many files, by one thread a core.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::AuditError;

/// Places of a list, given out a batch at a time.
pub(super) struct Batches {
    next: AtomicUsize,
    length: usize,
    size: usize,
}

impl Batches {
    /// The next batch; none when all are given out.
    pub(super) fn take(&self) -> Option<Range<usize>> {
        let start = self.next.fetch_add(self.size, Ordering::Relaxed);
        (start < self.length).then(|| start..self.length.min(start + self.size))
    }
}

/// Runs `work` in every thread, each of which takes batches of `size` of `length` places until none is left.
/// What they found comes in no order.
pub(super) fn share<T: Send>(
    length: usize,
    size: usize,
    work: impl Fn(&Batches) -> Result<Vec<T>, AuditError> + Sync,
) -> Result<Vec<T>, AuditError> {
    let batches = Batches {
        next: AtomicUsize::new(0),
        length,
        size,
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let count = threads.min(length.div_ceil(size));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..count).map(|_| scope.spawn(|| work(&batches))).collect();
        let mut found = work(&batches)?;
        for other in others {
            // A thread of this scope has no cause to panic; one that does takes the caller with it.
            let more = other
                .join()
                .unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            found.extend(more?);
        }
        Ok(found)
    })
}
