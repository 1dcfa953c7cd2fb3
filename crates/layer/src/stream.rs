//! The diff ID of a layer that is still being written.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use distil_oci::{DiffId, Digester};
use distil_rootfs::{ChangePart, ChangeSink, ChangeStream, Node, Xattrs};

use crate::chunks::{Chunks, Spare};
use crate::header::BLOCK;
use crate::writer::Counts;
use crate::{LinkGroups, TarOptions, TarSummary, TarWriter};

/// Parts that may wait to be hashed; the batch of small files that makes one is not much larger than [`crate::chunks::CHUNK`].
const PARTS: usize = 8;

/// Pieces of one part that may wait: those of any batch, so that only large files wait for their turn.
const PIECES: usize = 16;

/// Hashes the tar of what `tell` tells, in a thread of its own, so that the diff ID of a layer is known when the
/// layer is written. Parts that are ahead of their turn wait in memory, a few MB at most.
///
/// The summary is that of [`crate::write_tree`] for the same entries; `None` when a part was given up. Hard links
/// are not supported.
pub fn hash_told<T>(
    options: TarOptions,
    tell: impl FnOnce(&dyn ChangeStream) -> T,
) -> (T, Option<TarSummary>) {
    let (sender, receiver) = sync_channel(PARTS);
    let spare = Arc::new(Spare::default());
    let stream = TarStream {
        options,
        parts: sender,
        spare: Arc::clone(&spare),
    };
    std::thread::scope(|scope| {
        let hashing = scope.spawn(move || hash(&receiver, &spare));
        let result = tell(&stream);
        // No more parts will come.
        drop(stream);
        (result, hashing.join().ok().flatten())
    })
}

/// Some bytes of a part.
enum Piece {
    Own(Vec<u8>),
    Shared(Arc<Vec<u8>>),
    /// All were sent.
    End(Counts),
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        Piece::Own(bytes)
    }
}

fn hash(parts: &Receiver<Receiver<Piece>>, spare: &Spare) -> Option<TarSummary> {
    let mut digester = Digester::new();
    let mut total = Counts::default();
    for part in parts {
        // Senders that find nobody listening give up too.
        let counts = hash_part(&part, &mut digester, spare)?;
        total.size += counts.size;
        total.contents += counts.contents;
        total.entries += counts.entries;
    }
    let end = [0; 2 * BLOCK];
    digester.update(&end);
    Some(TarSummary {
        diff_id: DiffId(digester.finish()),
        size: total.size + end.len() as u64,
        contents: total.contents,
        entries: total.entries,
        links: LinkGroups::default(),
    })
}

/// `None` for a part that has no end.
fn hash_part(pieces: &Receiver<Piece>, digester: &mut Digester, spare: &Spare) -> Option<Counts> {
    for piece in pieces {
        match piece {
            Piece::Own(bytes) => {
                digester.update(&bytes);
                spare.give_back(bytes);
            }
            Piece::Shared(bytes) => digester.update(&bytes),
            Piece::End(counts) => return Some(counts),
        }
    }
    None
}

struct TarStream {
    options: TarOptions,
    parts: SyncSender<Receiver<Piece>>,
    spare: Arc<Spare>,
}

impl ChangeStream for TarStream {
    fn part(&self) -> Box<dyn ChangePart> {
        let (sender, receiver) = sync_channel(PIECES);
        // After a part was given up nobody listens, as the part itself will find.
        let _ = self.parts.send(receiver);
        let pieces = Chunks::new(sender, Arc::clone(&self.spare));
        Box::new(TarPart(TarWriter::unhashed(pieces, self.options)))
    }
}

struct TarPart(TarWriter<Chunks<Piece>>);

impl ChangeSink for TarPart {
    fn entry(&mut self, path: &Path, node: &Node, link: Option<&OsStr>, xattrs: &Xattrs) -> io::Result<()> {
        self.0.entry(path, node, link, xattrs)
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.data(bytes)
    }
}

impl ChangePart for TarPart {
    fn shared_data(&mut self, bytes: Arc<Vec<u8>>) -> io::Result<()> {
        let pieces = self.0.count_data(bytes.len() as u64)?;
        pieces.flush()?;
        pieces.send(Piece::Shared(bytes))
    }

    fn end(self: Box<Self>) -> io::Result<()> {
        let (mut pieces, counts) = self.0.end_part()?;
        pieces.flush()?;
        pieces.send(Piece::End(counts))
    }
}
