//! Compressed forms of a layer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    Uncompressed,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// gzip is made in members of this many bytes, so that cores share the work while the bytes do
/// not depend on their number. Every gzip reader takes several members for one stream.
const MEMBER: usize = 1 << 20;

/// libdeflate's level 6: as small as gzip -6, several times faster.
const GZIP_LEVEL: i32 = 6;

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

impl Compression {
    /// Tells by the first bytes of a stream.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // Skippable frames may come before the first real one.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Uncompressed,
        }
    }

    /// Names format, level and method of [`compress`]: equal names, equal bytes. To be changed
    /// whenever a new version of a library changes them.
    pub fn form(self) -> &'static str {
        match self {
            Self::Uncompressed => "uncompressed",
            Self::Gzip => "gzip-6-1m",
            Self::Zstd => "zstd-3",
        }
    }
}

/// Reads a stream of any [`Compression`], found by its first bytes.
///
/// # Errors
/// When the start cannot be read. Damage shows while reading.
pub fn decompress<'r>(reader: impl Read + Send + 'r) -> io::Result<Box<dyn Read + Send + 'r>> {
    let mut reader = BufReader::with_capacity(128 << 10, reader);
    let mut start = [0u8; 4];
    let mut length = 0;
    // A pipe may give the first bytes one by one.
    while length < start.len() {
        match reader.read(&mut start[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let kind = Compression::sniff(&start[..length]);
    let whole = Prefixed {
        start,
        position: 0,
        length,
        reader,
    };
    Ok(match kind {
        Compression::Uncompressed => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
    })
}

/// A reader whose first bytes have been read.
struct Prefixed<R> {
    start: [u8; 4],
    position: usize,
    length: usize,
    reader: BufReader<R>,
}

impl<R: Read> Read for Prefixed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.length {
            return self.reader.read(buffer);
        }
        let count = (&self.start[self.position..self.length]).read(buffer)?;
        self.position += count;
        Ok(count)
    }
}

impl<R: Read> BufRead for Prefixed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.length {
            return self.reader.fill_buf();
        }
        Ok(&self.start[self.position..self.length])
    }

    fn consume(&mut self, amount: usize) {
        if self.position == self.length {
            self.reader.consume(amount);
        } else {
            self.position += amount;
        }
    }
}

/// Compresses a stream with `threads` threads (0: one a core). The bytes are the same for any
/// number of them. Memory stays at a few MiB a thread.
///
/// # Errors
/// What reader or writer return.
pub fn compress(
    reader: impl Read + Send,
    writer: &mut dyn Write,
    compression: Compression,
    threads: usize,
) -> io::Result<()> {
    let threads = match threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    match compression {
        Compression::Uncompressed => {
            let mut reader = reader;
            io::copy(&mut reader, writer).map(drop)
        }
        Compression::Gzip => gzip(reader, writer, threads),
        Compression::Zstd => zstd(reader, writer, threads),
    }
}

fn zstd(mut reader: impl Read, writer: &mut dyn Write, threads: usize) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL)?;
    // One worker gives the same bytes as many, none gives others.
    encoder.multithread(u32::try_from(threads).unwrap_or(1).max(1))?;
    encoder.include_checksum(true)?;
    io::copy(&mut reader, &mut encoder)?;
    encoder.finish().map(drop)
}

type Answer = SyncSender<io::Result<Vec<u8>>>;

fn gzip(reader: impl Read + Send, writer: &mut dyn Write, threads: usize) -> io::Result<()> {
    let (jobs, queue) = sync_channel::<(Vec<u8>, Answer)>(threads);
    // What is written next; its bound limits how far readers may run ahead.
    let (order, members) = sync_channel::<Receiver<io::Result<Vec<u8>>>>(2 * threads);
    let queue = Mutex::new(queue);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| members_of(&queue));
        }
        let feeder = scope.spawn(move || feed(reader, &jobs, &order));
        let mut result = Ok(());
        for member in &members {
            // A worker that died gives nothing.
            let member = member
                .recv()
                .unwrap_or_else(|_| Err(io::Error::other("compressor stopped")));
            result = member.and_then(|member| writer.write_all(&member));
            if result.is_err() {
                break;
            }
        }
        // The feeder stops when nobody takes its members any more.
        drop(members);
        let fed = feeder
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("reader stopped")));
        result.and(fed)
    })
}

/// Cuts the stream into members and hands them out.
fn feed(
    mut reader: impl Read,
    jobs: &SyncSender<(Vec<u8>, Answer)>,
    order: &SyncSender<Receiver<io::Result<Vec<u8>>>>,
) -> io::Result<()> {
    let mut first = true;
    loop {
        let mut chunk = Vec::with_capacity(MEMBER);
        reader.by_ref().take(MEMBER as u64).read_to_end(&mut chunk)?;
        // An empty stream is one empty member.
        if chunk.is_empty() && !first {
            return Ok(());
        }
        let last = chunk.len() < MEMBER;
        first = false;
        let (answer, member) = sync_channel(1);
        if order.send(member).is_err() || jobs.send((chunk, answer)).is_err() || last {
            return Ok(());
        }
    }
}

fn members_of(queue: &Mutex<Receiver<(Vec<u8>, Answer)>>) {
    let level = libdeflater::CompressionLvl::new(GZIP_LEVEL).unwrap_or_default();
    let mut compressor = libdeflater::Compressor::new(level);
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok((chunk, answer)) = job else {
            return;
        };
        let mut member = vec![0; compressor.gzip_compress_bound(chunk.len())];
        let result = compressor
            .gzip_compress(&chunk, &mut member)
            .map_err(|error| io::Error::other(format!("cannot compress: {error}")))
            .map(|length| {
                member.truncate(length);
                member
            });
        // Nobody waits any more after an error.
        let _ = answer.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|place| (place * place / 97) as u8).collect()
    }

    fn compressed(bytes: &[u8], compression: Compression, threads: usize) -> Vec<u8> {
        let mut out = Vec::new();
        compress(bytes, &mut out, compression, threads).expect("compresses");
        out
    }

    #[test]
    fn every_form_round_trips() {
        for length in [0, 1, 3, MEMBER - 1, MEMBER, MEMBER + 1, 3 * MEMBER + 5] {
            let bytes = sample(length);
            for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
                let packed = compressed(&bytes, compression, 2);
                let mut back = Vec::new();
                let mut reader = decompress(&packed[..]).expect("starts");
                reader.read_to_end(&mut back).expect("decompresses");
                assert!(back == bytes, "{compression:?} of {length} bytes");
            }
        }
    }

    #[test]
    fn threads_do_not_change_the_bytes() {
        let bytes = sample(5 * MEMBER + 17);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let one = compressed(&bytes, compression, 1);
            assert!(one == compressed(&bytes, compression, 3), "{compression:?}");
        }
    }

    #[test]
    fn a_failing_reader_or_writer_ends_it() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
        }
        impl Write for Fails {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = sample(20 * MEMBER);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let half = (&bytes[..2 * MEMBER]).chain(Fails);
            assert!(compress(half, &mut Vec::new(), compression, 2).is_err());
            assert!(compress(&bytes[..], &mut Fails, compression, 2).is_err());
        }
    }

    #[test]
    fn gunzip_reads_all_members() {
        let bytes = sample(2 * MEMBER + 9);
        let directory = tempfile::tempdir().expect("temp dir");
        let path = directory.path().join("a.gz");
        std::fs::write(&path, compressed(&bytes, Compression::Gzip, 2)).expect("writes");
        let output = std::process::Command::new("gzip")
            .arg("-dc")
            .arg(&path)
            .output()
            .expect("gzip runs");
        assert!(output.status.success());
        assert!(output.stdout == bytes);
    }
}
