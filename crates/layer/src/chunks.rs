//! Bytes on their way to a hashing thread, and their buffers on the way back.
//!
//! Memory that is used again costs no page faults, which would take as long as hashing what it holds.

use std::io::{self, Write};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// Collects bytes and hands them over as pieces `P`, between others that are sent as they are.
#[derive(Debug)]
pub(crate) struct Chunks<P> {
    sender: SyncSender<P>,
    chunk: Vec<u8>,
    spare: Arc<Spare>,
}

impl<P> Chunks<P> {
    pub(crate) fn new(sender: SyncSender<P>, spare: Arc<Spare>) -> Self {
        Self {
            sender,
            chunk: Vec::new(),
            spare,
        }
    }

    /// Sends a piece at once: what was collected before it must be [flushed](Write::flush) first.
    ///
    /// # Errors
    /// `BrokenPipe` when nobody listens any more.
    pub(crate) fn send(&self, piece: P) -> io::Result<()> {
        self.sender
            .send(piece)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl<P: From<Vec<u8>>> Write for Chunks<P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A chunk that does not grow stays where it is in memory.
        if self.chunk.len() + bytes.len() > CHUNK {
            self.flush()?;
        }
        if self.chunk.capacity() == 0 {
            self.chunk = self.spare.take();
        }
        self.chunk.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.chunk) {
            chunk if chunk.is_empty() => Ok(()),
            chunk => self.send(chunk.into()),
        }
    }
}
