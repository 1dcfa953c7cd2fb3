//! Decoding the members of a `.deb`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Take};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{MtStreamBuilder, Stream};

/// Memory that decoding one package may take: a dictionary of 64 MiB, which is the
/// largest that xz presets make, and some.
const MAX_MEMORY: u64 = 96 << 20;
/// Memory for blocks decoded side by side: two of those that dpkg makes, with their dictionaries.
const MAX_THREADING: u64 = 80 << 20;
/// Packed members from this size on are worth a thread for each block: blocks hold 24 MiB
/// as dpkg makes them, and smaller members have only one.
const LARGE: u64 = 4 << 20;

/// The packed bytes of a member.
pub(super) type Packed = BufReader<Take<File>>;

/// Packed bytes being decoded. Bytes behind the packed ones are an error, for other readers might not
/// overlook them.
pub(crate) struct Decoder {
    format: Format,
    ended: bool,
}

enum Format {
    Plain(Packed),
    Xz(XzDecoder<Packed>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Packed>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<Packed>),
    Zstd(zstd::stream::read::Decoder<'static, Packed>),
}

impl Decoder {
    /// Decodes a member of `size` bytes whose name ends in `suffix`, with up to `threads`
    /// threads; `None` when the compression is not known.
    pub(super) fn new(
        suffix: &str,
        packed: Packed,
        size: u64,
        threads: usize,
    ) -> io::Result<Option<Decoder>> {
        let format = match suffix {
            "" => Format::Plain(packed),
            ".xz" => Format::Xz(XzDecoder::new_stream(packed, xz(size, threads)?)),
            ".lzma" => Format::Xz(XzDecoder::new_stream(
                packed,
                Stream::new_lzma_decoder(MAX_MEMORY)?,
            )),
            ".gz" => Format::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(packed))),
            ".bz2" => Format::Bzip2(bzip2::bufread::MultiBzDecoder::new(packed)),
            ".zst" => Format::Zstd(zstd::stream::read::Decoder::with_buffer(packed)?),
            _ => return Ok(None),
        };
        Ok(Some(Decoder { format, ended: false }))
    }

    /// The bytes that are not decoded yet.
    fn packed(&mut self) -> &mut Packed {
        match &mut self.format {
            Format::Plain(packed) => packed,
            Format::Xz(decoder) => decoder.get_mut(),
            Format::Gzip(decoder) => decoder.get_mut(),
            Format::Bzip2(decoder) => decoder.get_mut(),
            Format::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        let count = match &mut self.format {
            Format::Plain(packed) => packed.read(buffer)?,
            Format::Xz(decoder) => decoder.read(buffer)?,
            Format::Gzip(decoder) => decoder.read(buffer)?,
            Format::Bzip2(decoder) => decoder.read(buffer)?,
            Format::Zstd(decoder) => decoder.read(buffer)?,
        };
        if count == 0 {
            self.ended = true;
            if !self.packed().fill_buf()?.is_empty() {
                let reason = "bytes follow its compressed data";
                return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
            }
        }
        Ok(count)
    }
}

/// Blocks of large members are decoded side by side, as far as memory goes.
fn xz(size: u64, threads: usize) -> io::Result<Stream> {
    if size < LARGE || threads < 2 {
        return Ok(Stream::new_stream_decoder(MAX_MEMORY, 0)?);
    }
    let threads = u32::try_from(threads).unwrap_or(u32::MAX).min(16);
    let stream = MtStreamBuilder::new()
        .threads(threads)
        .memlimit_threading(MAX_THREADING)
        .memlimit_stop(MAX_MEMORY)
        .decoder()?;
    Ok(stream)
}
