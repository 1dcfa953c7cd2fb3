//! Decoding in a thread of its own, while another one writes what came before.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Scope;

/// Bytes handed over at once.
const PIECE: usize = 256 << 10;
/// Pieces that may wait, so that memory stays bounded.
const AHEAD: usize = 4;

/// Reads what the thread has decoded.
pub(super) struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    /// What of it was read.
    read: usize,
}

impl Ahead {
    /// Starts the thread, which ends at the end of `from`, at its first error, or when this value goes.
    pub(super) fn start<'scope>(scope: &'scope Scope<'scope, '_>, from: impl Read + Send + 'scope) -> Ahead {
        let (sender, pieces) = sync_channel(AHEAD);
        scope.spawn(move || decode(from, &sender));
        Ahead {
            pieces,
            piece: Vec::new(),
            read: 0,
        }
    }
}

fn decode(mut from: impl Read, pieces: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let result = from.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let more = result.as_ref().is_ok_and(|count| *count > 0);
        // Nobody listens any more after an error on the other side.
        let heard = match result {
            Ok(0) => return,
            Ok(_) => pieces.send(Ok(piece)).is_ok(),
            Err(error) => pieces.send(Err(error)).is_ok(),
        };
        if !(more && heard) {
            return;
        }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.read) = (piece?, 0),
                // The thread is at the end.
                Err(_) => return Ok(0),
            }
        }
        let count = self.piece.get(self.read..).unwrap_or_default().read(buffer)?;
        self.read += count;
        Ok(count)
    }
}
