//! Members of zip archives, found through the central directory alone, also of archives inside archives.

use std::io::Read;

use distil_elf::ReadAt;

/// Largest central directory that is read; 200,000 members take some 20 MB.
const MAX_DIRECTORY: u64 = 64 << 20;
/// The record at the end with the longest comment.
const MAX_END: u64 = 22 + 65_535;
const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const LOCATOR_64: [u8; 4] = *b"PK\x06\x07";
const MEMBER: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Why an archive or a member cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZipError {
    #[error("{0}")]
    Malformed(&'static str),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// One member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// Its path, as bytes that need not be UTF-8 made text.
    pub(crate) name: String,
    method: u16,
    stored: u64,
    /// Bytes once decompressed, by its own account.
    pub(crate) size: u64,
    /// Where its local header is, from the start of the source.
    header: u64,
}

/// A part of another source: an archive that is stored in an archive.
pub(super) struct Part<'s> {
    source: &'s dyn ReadAt,
    start: u64,
    length: u64,
}

impl ReadAt for Part<'_> {
    fn read_some_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        self.source
            .read_some_at(self.start.saturating_add(offset), &mut buffer[..length])
    }
}

/// The bytes of an archive that was decompressed.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl ReadAt for Bytes {
    fn read_some_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_some_at(offset, buffer)
    }
}

/// An archive with its list of members.
pub(crate) struct Archive<'s> {
    source: &'s dyn ReadAt,
    pub(crate) members: Vec<Member>,
}

impl<'s> Archive<'s> {
    /// Reads the list of a source of `length` bytes. What stands before the archive (a start script) is skipped.
    pub(crate) fn open(source: &'s dyn ReadAt, length: u64) -> Result<Self, ZipError> {
        let end = End::find(source, length)?;
        let bytes = exactly(source, end.directory, end.size)?;
        let mut members = Vec::new();
        let mut rest = &bytes[..];
        while rest.starts_with(&MEMBER) {
            let (member, length) =
                member(rest, end.base).ok_or(ZipError::Malformed("its list of members is cut short"))?;
            members.push(member);
            rest = &rest[length..];
        }
        Ok(Self { source, members })
    }

    /// The member called `name`.
    pub(super) fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The contents of a member of at most `limit` bytes.
    pub(crate) fn read(&self, member: &Member, limit: u64) -> Result<Vec<u8>, ZipError> {
        if member.size > limit || member.stored > limit {
            return Err(ZipError::Malformed("a member is too large"));
        }
        let start = self.data(member)?;
        let stored = exactly(self.source, start, member.stored)?;
        match member.method {
            0 => Ok(stored),
            8 => {
                let mut bytes = Vec::new();
                let inflater = flate2::read::DeflateDecoder::new(&stored[..]);
                // It reads from memory, so that it can only fail on what the bytes are.
                let inflated = inflater.take(limit + 1).read_to_end(&mut bytes);
                inflated.map_err(|_| ZipError::Malformed("a member is damaged"))?;
                if bytes.len() as u64 > limit {
                    return Err(ZipError::Malformed("a member is larger than it says"));
                }
                Ok(bytes)
            }
            _ => Err(ZipError::Malformed("a member is compressed in an unknown way")),
        }
    }

    /// An archive whose members were listed before.
    pub(crate) fn of(source: &'s dyn ReadAt, members: Vec<Member>) -> Self {
        Self { source, members }
    }

    /// Where the stored bytes of a member begin, how many they are, and the method they are compressed by.
    pub(crate) fn place(&self, member: &Member) -> Result<(u64, u64, u16), ZipError> {
        Ok((self.data(member)?, member.stored, member.method))
    }

    /// A member that is not compressed, in place.
    pub(super) fn part(&self, member: &Member) -> Result<Option<Part<'s>>, ZipError> {
        if member.method != 0 {
            return Ok(None);
        }
        Ok(Some(Part {
            source: self.source,
            start: self.data(member)?,
            length: member.stored,
        }))
    }

    /// Where the contents of a member begin.
    fn data(&self, member: &Member) -> Result<u64, ZipError> {
        let header = exactly(self.source, member.header, 30)?;
        match (
            header.starts_with(&LOCAL),
            u16_at(&header, 26),
            u16_at(&header, 28),
        ) {
            (true, Some(name), Some(extra)) => Ok(member
                .header
                .saturating_add(30 + u64::from(name) + u64::from(extra))),
            _ => Err(ZipError::Malformed("a member is not where the list says")),
        }
    }
}

/// What the record at the end says.
struct End {
    /// Where the list begins, from the start of the source.
    directory: u64,
    size: u64,
    /// Bytes before the archive.
    base: u64,
}

impl End {
    fn find(source: &dyn ReadAt, length: u64) -> Result<Self, ZipError> {
        // Few archives have a comment, so the whole range is rarely read.
        for reach in [1024, MAX_END] {
            let start = length.saturating_sub(reach);
            let bytes = exactly(source, start, length - start)?;
            let mut at = bytes.len().checked_sub(22);
            while let Some(place) = at {
                let comment = u16_at(&bytes, place + 20).map(usize::from);
                // What ends earlier is an archive inside of this one, which was cut short.
                if bytes[place..].starts_with(&END) && comment == Some(bytes.len() - place - 22) {
                    let end = Self::parse(source, &bytes[place..], start + place as u64)?;
                    if let Some(end) = end {
                        return Ok(end);
                    }
                }
                at = place.checked_sub(1);
            }
        }
        Err(ZipError::Malformed("it is no zip archive, or is cut short"))
    }

    /// `at` is the offset of the record.
    fn parse(source: &dyn ReadAt, record: &[u8], at: u64) -> Result<Option<Self>, ZipError> {
        let (Some(size), Some(offset)) = (u32_at(record, 12), u32_at(record, 16)) else {
            return Ok(None);
        };
        let (mut size, mut offset, mut after) = (u64::from(size), u64::from(offset), at);
        if size == u64::from(u32::MAX) || offset == u64::from(u32::MAX) {
            let Some((size_64, offset_64, place)) = end_64(source, at)? else {
                return Ok(None);
            };
            (size, offset, after) = (size_64, offset_64, place);
        }
        let Some(directory) = after.checked_sub(size) else {
            return Ok(None);
        };
        let Some(base) = directory.checked_sub(offset) else {
            return Ok(None);
        };
        if size > MAX_DIRECTORY {
            return Err(ZipError::Malformed("its list of members is too large"));
        }
        Ok(Some(Self {
            directory,
            size,
            base,
        }))
    }
}

/// Size and offset of the list, and the place of the record, of an archive with 64-bit numbers.
fn end_64(source: &dyn ReadAt, end: u64) -> Result<Option<(u64, u64, u64)>, ZipError> {
    // The locator has 20 bytes, the record that it leads to 56 right before it in all but strange archives.
    let Some(start) = end.checked_sub(76) else {
        return Ok(None);
    };
    let bytes = exactly(source, start, 76)?;
    if !bytes.starts_with(&END_64) || !bytes[56..].starts_with(&LOCATOR_64) {
        return Ok(None);
    }
    Ok(u64_at(&bytes, 40)
        .zip(u64_at(&bytes, 48))
        .map(|(size, offset)| (size, offset, start)))
}

/// A member of the list and the bytes that it takes there.
fn member(bytes: &[u8], base: u64) -> Option<(Member, usize)> {
    let (name, extra) = (usize::from(u16_at(bytes, 28)?), usize::from(u16_at(bytes, 30)?));
    let comment = usize::from(u16_at(bytes, 32)?);
    let text = bytes.get(46..46 + name)?;
    let mut extra_fields = bytes.get(46 + name..46 + name + extra)?;
    let end = 46 + name + extra + comment;
    bytes.get(..end)?;
    let mut numbers = [u32_at(bytes, 24)?, u32_at(bytes, 20)?, u32_at(bytes, 42)?].map(u64::from);
    while let (Some(id), Some(length)) = (u16_at(extra_fields, 0), u16_at(extra_fields, 2)) {
        let field = extra_fields.get(4..4 + usize::from(length))?;
        if id == 1 {
            let mut at = 0;
            for number in numbers
                .iter_mut()
                .filter(|number| **number == u64::from(u32::MAX))
            {
                *number = u64_at(field, at)?;
                at += 8;
            }
        }
        extra_fields = &extra_fields[4 + usize::from(length)..];
    }
    let [size, stored, header] = numbers;
    let member = Member {
        name: String::from_utf8_lossy(text).into_owned(),
        method: u16_at(bytes, 10)?,
        stored,
        size,
        header: base.checked_add(header)?,
    };
    Some((member, end))
}

/// Exactly `length` bytes; nothing is reserved for what is not there.
fn exactly(source: &dyn ReadAt, offset: u64, length: u64) -> Result<Vec<u8>, ZipError> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < length {
        let from = bytes.len();
        let piece = usize::try_from(length - from as u64)
            .unwrap_or(usize::MAX)
            .min(1 << 20);
        bytes.resize(from + piece, 0);
        let count = source.read_some_at(offset.saturating_add(from as u64), &mut bytes[from..])?;
        if count < piece {
            return Err(ZipError::Malformed("it is cut short"));
        }
    }
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
