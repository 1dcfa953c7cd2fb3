//! The outer structure of a `.deb`: the members of an `ar` archive.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Real packages have three members; more than this is no package.
const MAX_MEMBERS: usize = 64;

/// One file in the archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    /// Of its first byte.
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The members of the archive `file`, which is `length` bytes long.
///
/// # Errors
/// `InvalidData` with a reason when the structure is wrong, `UnexpectedEof` when
/// the file ends in a member; else reading failed.
pub(super) fn read_members(file: &mut File, length: u64) -> io::Result<Vec<Member>> {
    let mut magic = [0; 8];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut magic)?;
    if &magic != b"!<arch>\n" {
        return Err(wrong("it is no ar archive"));
    }
    let mut members = Vec::new();
    let mut offset = 8;
    while offset < length {
        if members.len() == MAX_MEMBERS {
            return Err(wrong("it has too many members"));
        }
        let member = read_member(file, offset)?;
        let end = member.offset.checked_add(member.size);
        let end = end
            .filter(|end| *end <= length)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        // Members start at even places.
        offset = end + end % 2;
        members.push(member);
    }
    Ok(members)
}

fn read_member(file: &mut File, offset: u64) -> io::Result<Member> {
    let mut header = [0; 60];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut header)?;
    let (fields, end) = header.split_at(58);
    let text = |range: std::ops::Range<usize>| {
        let field = fields.get(range)?;
        std::str::from_utf8(field).ok().map(str::trim_end)
    };
    let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let size: Option<u64> = text(48..58).filter(digits).and_then(|text| text.parse().ok());
    let (b"`\n", Some(size), Some(name)) = (end, size, text(0..16)) else {
        return Err(wrong("its ar header is damaged"));
    };
    // GNU ar ends names with a slash.
    let name = name.strip_suffix('/').unwrap_or(name).to_owned();
    Ok(Member {
        name,
        offset: offset + 60,
        size,
    })
}

fn wrong(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}
