//! Buffers on their way to a hashing thread and back.
//!
//! Memory that is used again costs no page faults, which would take as long as hashing what it holds.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are handed over at once.
pub(crate) const CHUNK: usize = 128 << 10;

/// Buffers that were hashed, to be filled again: as many as were under way at once.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn buffers(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty buffer with room for [`CHUNK`].
    pub(crate) fn take(&self) -> Vec<u8> {
        let found = self.buffers().pop();
        found.unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// Keeps a buffer for [`Spare::take`], unless it is a large one, of which few are needed again.
    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= 2 * CHUNK {
            self.buffers().push(buffer);
        }
    }
}
