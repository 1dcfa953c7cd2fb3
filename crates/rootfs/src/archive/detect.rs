//! What kind of archive a file is.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// By the first bytes of a file.
    pub fn sniff(head: &[u8]) -> Compression {
        let skippable = head.len() >= 4 && head[0] & 0xF0 == 0x50 && head[1..4] == [0x2A, 0x4D, 0x18];
        if head.starts_with(b"BZh") {
            Compression::Bzip2
        } else if head.starts_with(&[0x1F, 0x8B, 0x08]) {
            Compression::Gzip
        } else if head.starts_with(&[0xFD, b'7', b'z', b'X', b'Z', 0]) {
            Compression::Xz
        } else if head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) || skippable {
            Compression::Zstd
        } else {
            Compression::None
        }
    }
}

/// Decompresses `reader`.
pub fn decoder<'r>(reader: impl Read + 'r, compression: Compression) -> io::Result<Box<dyn Read + 'r>> {
    let reader = BufReader::with_capacity(64 * 1024, reader);
    Ok(match compression {
        Compression::None => Box::new(reader),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(reader)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(u64::MAX, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(reader, stream))
        }
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(reader)?),
    })
}

/// Whether `file` is a tar, by its contents, and how it is compressed. The offset of `file`
/// is at the start afterwards. Like BuildKit this needs one readable header: an empty tar and
/// a compressed file of another kind are `None`.
pub fn detect(file: &mut File) -> io::Result<Option<Compression>> {
    let mut head = Vec::with_capacity(10);
    file.rewind()?;
    Read::by_ref(file).take(10).read_to_end(&mut head)?;
    let compression = Compression::sniff(&head);
    file.rewind()?;
    let is_tar = match decoder(&*file, compression) {
        Ok(reader) => has_entry(reader),
        Err(_) => false,
    };
    file.rewind()?;
    Ok(is_tar.then_some(compression))
}

fn has_entry(reader: impl Read) -> bool {
    let mut archive = tar::Archive::new(reader);
    let Ok(mut entries) = archive.entries() else {
        return false;
    };
    matches!(entries.next(), Some(Ok(_)))
}
