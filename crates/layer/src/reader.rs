//! Reading tar streams of anyone: ustar, PAX and GNU long names.
//!
//! The `tar` crate splits PAX records at line ends, which breaks attributes with binary values
//! and reads extension headers of any length into memory, so this reader is our own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;

use distil_rootfs::{Timestamp, Xattrs};

use crate::header::{BLOCK, padding};

/// Longest extension header: names are below 4 KiB and attributes below 64 KiB each.
const MAX_EXTENSION: u64 = 4 << 20;

/// What a member is, from its `typeflag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    Other,
}

/// Header of one member, extensions applied.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) kind: MemberKind,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: Timestamp,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Xattrs,
}

/// The members of a tar stream. As a reader it gives the contents of the last one.
pub(crate) struct Members<R> {
    reader: R,
    remaining: u64,
    padding: usize,
}

/// What extension headers said about the next member.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn bad(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl<R: Read> Members<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            remaining: 0,
            padding: 0,
        }
    }

    /// The next member, the rest of the last one skipped.
    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.header()? else {
                return Ok(None);
            };
            let size = number(&block[124..136]).ok_or_else(|| bad("a header has a bad size"))?;
            self.remaining = size;
            self.padding = padding(size);
            match block[156] {
                b'x' => parse_pax(&self.extension()?, &mut extensions.records)?,
                // Applies to everything that follows; nobody puts more than a comment there.
                b'g' => drop(self.extension()?),
                b'L' => extensions.path = Some(until_nul(&self.extension()?).to_vec()),
                b'K' => extensions.link = Some(until_nul(&self.extension()?).to_vec()),
                flag => return self.member(&block, flag, extensions).map(Some),
            }
        }
    }

    /// A header block whose checksum is right; `None` at the end of the archive.
    fn header(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        self.skip()?;
        let mut block = [0u8; BLOCK];
        let mut length = 0;
        while length < BLOCK {
            match self.reader.read(&mut block[length..]) {
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let byte = |place: usize| {
            if (148..156).contains(&place) {
                b' '
            } else {
                block[place]
            }
        };
        let unsigned: u64 = (0..BLOCK).map(|place| u64::from(byte(place))).sum();
        // Very old programs summed signed bytes.
        let signed: i64 = (0..BLOCK).map(|place| i64::from(byte(place).cast_signed())).sum();
        match number(&block[148..156]) {
            Some(sum) if sum == unsigned || i64::try_from(sum) == Ok(signed) => Ok(Some(block)),
            _ => Err(bad("a header has a wrong checksum")),
        }
    }

    fn skip(&mut self) -> io::Result<()> {
        let rest = self.remaining + self.padding as u64;
        self.remaining = 0;
        self.padding = 0;
        if io::copy(&mut self.reader.by_ref().take(rest), &mut io::sink())? < rest {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.remaining > MAX_EXTENSION {
            return Err(bad("an extension header is longer than 4 MiB"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn member(&mut self, block: &[u8; BLOCK], flag: u8, extensions: Extensions) -> io::Result<Member> {
        let Extensions {
            path,
            link,
            mut records,
        } = extensions;
        let field = |range: std::ops::Range<usize>, what| number(&block[range]).ok_or_else(|| bad(what));
        if let Some(size) = decimal(&records, b"size")? {
            self.remaining = size;
            self.padding = padding(size);
        }
        if flag == b'S' || records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(bad("it has sparse files, which layers do not have"));
        }
        let path = records
            .remove(&b"path"[..])
            .or(path)
            .unwrap_or_else(|| header_path(block));
        let link = records.remove(&b"linkpath"[..]).or(link);
        let kind = kind_of(flag, &path);
        if !matches!(kind, MemberKind::File | MemberKind::Other) {
            // Some writers give links and directories a size, but no contents.
            self.remaining = 0;
            self.padding = 0;
        }
        let seconds = signed(&block[136..148]).ok_or_else(|| bad("a header has a bad time"))?;
        let mtime = match records.get(&b"mtime"[..]) {
            Some(text) => parse_time(text).ok_or_else(|| bad("a header has a bad time"))?,
            None => Timestamp {
                secs: seconds,
                nanos: 0,
            },
        };
        let device = |range| {
            number(&block[range])
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        Ok(Member {
            kind,
            link: link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec()),
            path,
            // Only the twelve lowest bits are used, so that cutting off is right.
            mode: field(100..108, "a header has a bad mode")? as u32 & 0o7777,
            uid: decimal(&records, b"uid")?
                .map_or_else(|| field(108..116, "a header has a bad user id"), Ok)?,
            gid: decimal(&records, b"gid")?
                .map_or_else(|| field(116..124, "a header has a bad group id"), Ok)?,
            mtime,
            device: (device(329..337), device(337..345)),
            xattrs: xattrs(records),
        })
    }
}

impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.remaining)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..want])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.remaining -= count as u64;
        Ok(count)
    }
}

fn kind_of(flag: u8, path: &[u8]) -> MemberKind {
    match flag {
        // Before there was a flag, a slash at the end made a directory.
        0 | b'0' if path.ends_with(b"/") => MemberKind::Directory,
        0 | b'0' | b'7' => MemberKind::File,
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::Symlink,
        b'3' => MemberKind::CharDevice,
        b'4' => MemberKind::BlockDevice,
        b'5' => MemberKind::Directory,
        b'6' => MemberKind::Fifo,
        _ => MemberKind::Other,
    }
}

/// Name and, in POSIX headers, the prefix before it.
fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let (name, prefix) = (until_nul(&block[..100]), until_nul(&block[345..500]));
    if block[257..263] != *b"ustar\0" || prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}

/// Octal digits, or GNU's big-endian binary after a set highest bit. Empty is 0.
fn signed(field: &[u8]) -> Option<i64> {
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (place, byte) in field.iter().enumerate() {
            let byte = if place == 0 && !negative {
                byte & 0x7f
            } else {
                *byte
            };
            value = value.checked_shl(8)? | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let text: Vec<u8> = until_nul(field)
        .iter()
        .copied()
        .filter(|byte| *byte != b' ')
        .collect();
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(&text).ok()?, 8)
        .ok()
        .filter(|value| *value >= 0)
}

fn number(field: &[u8]) -> Option<u64> {
    signed(field).and_then(|value| u64::try_from(value).ok())
}

fn decimal(records: &BTreeMap<Vec<u8>, Vec<u8>>, key: &[u8]) -> io::Result<Option<u64>> {
    let Some(value) = records.get(key) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let value = text.and_then(|value| u64::try_from(value).ok());
    value
        .map(Some)
        .ok_or_else(|| bad("a PAX record has a bad number"))
}

/// Records `LENGTH KEY=VALUE\n`, where the length counts the whole record.
fn parse_pax(mut bytes: &[u8], records: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<()> {
    let broken = || bad("a PAX record is damaged");
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ').ok_or_else(broken)?;
        let digits = std::str::from_utf8(&bytes[..space]).map_err(|_| broken())?;
        let length: usize = digits.parse().map_err(|_| broken())?;
        let record = bytes.get(space + 1..length).ok_or_else(broken)?;
        let record = record.strip_suffix(b"\n").ok_or_else(broken)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(broken)?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Ok(())
}

fn xattrs(records: BTreeMap<Vec<u8>, Vec<u8>>) -> Xattrs {
    let attribute = |(key, value): (Vec<u8>, Vec<u8>)| {
        let name = key.strip_prefix(b"SCHILY.xattr.")?;
        (!is_overlay(name)).then(|| (OsString::from_vec(name.to_vec()), value))
    };
    records.into_iter().filter_map(attribute).collect()
}

/// Attributes that would speak to the overlay that the layer is later part of.
fn is_overlay(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// PAX time: seconds, possibly negative, with any number of decimals.
pub(crate) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let secs: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u32 = digits.parse().ok()?;
    if !whole.starts_with('-') || nanos == 0 {
        return Some(Timestamp { secs, nanos });
    }
    Some(Timestamp {
        secs: secs.checked_sub(1)?,
        nanos: 1_000_000_000 - nanos,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_binary() {
        let table: &[(&[u8], Option<i64>)] = &[
            (b"0000755\0", Some(0o755)),
            (b"    755 ", Some(0o755)),
            (b"\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\0\0\x05", Some(5)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"-0000001", None),
            (b"9", None),
            (b"\xc0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ];
        for (field, expected) in table {
            assert_eq!(signed(field), *expected, "{field:?}");
        }
    }

    #[test]
    fn pax_records_may_have_line_ends_in_values() {
        let mut records = BTreeMap::new();
        parse_pax(b"12 path=a\nb\n9 uid=10\n", &mut records).expect("parses");
        assert_eq!(records[&b"path"[..]], b"a\nb");
        assert_eq!(records[&b"uid"[..]], b"10");
        for damaged in [
            &b"99 path=a\n"[..],
            b"x path=a\n",
            b"7 path\n\n",
            b"3 a",
            b"0 ",
            b"1 ",
        ] {
            assert!(parse_pax(damaged, &mut BTreeMap::new()).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn pax_times_have_any_number_of_decimals() {
        let time = |secs, nanos| Some(Timestamp { secs, nanos });
        let table: &[(&[u8], Option<Timestamp>)] = &[
            (b"0", time(0, 0)),
            (b"12.5", time(12, 500_000_000)),
            (b"12.1234567891", time(12, 123_456_789)),
            (b"-1.25", time(-2, 750_000_000)),
            (b"-1", time(-1, 0)),
            (b"-0.5", time(-1, 500_000_000)),
            (b"x", None),
            (b"1.x", None),
            (b"", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_time(text), *expected, "{}", String::from_utf8_lossy(text));
        }
    }
}
