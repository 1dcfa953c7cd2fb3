//! Bytes of tar headers: POSIX ustar, with PAX records for what does not fit.

use std::path::Path;

use std::os::unix::ffi::OsStrExt;

pub(crate) const BLOCK: usize = 512;

/// Type of an entry, its `typeflag`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryType {
    File,
    Link,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl EntryType {
    fn flag(self) -> u8 {
        match self {
            Self::File => b'0',
            Self::Link => b'1',
            Self::Symlink => b'2',
            Self::CharDevice => b'3',
            Self::BlockDevice => b'4',
            Self::Directory => b'5',
            Self::Fifo => b'6',
        }
    }
}

/// What a header says. User and group names are never written: ids are what an image has.
#[derive(Debug, Clone)]
pub(crate) struct Header<'a> {
    /// Without leading `/`; directories end with `/`.
    pub(crate) path: &'a [u8],
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) link: &'a [u8],
    pub(crate) device: (u32, u32),
    /// Attribute names and values, in any order.
    pub(crate) xattrs: &'a [(std::ffi::OsString, Vec<u8>)],
}

/// Appends the header of one entry, with a PAX header before it where one is needed.
pub(crate) fn encode(header: &Header<'_>, out: &mut Vec<u8>) {
    let records = pax_records(header);
    if !records.is_empty() {
        pax_header(header.path, records.len(), out);
        out.extend_from_slice(&records);
        pad(out, records.len());
    }
    out.extend_from_slice(&ustar(header));
}

/// Zero bytes up to the next block after `length` bytes of data.
pub(crate) fn padding(length: u64) -> usize {
    let over = (length % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}

fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + padding(length as u64), 0);
}

/// Records for what ustar cannot say, sorted by key.
fn pax_records(header: &Header<'_>) -> Vec<u8> {
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &str, value: &[u8]| records.push((key.as_bytes().to_vec(), value.to_vec()));
    if header.path.len() > 100 || !header.path.is_ascii() {
        add("path", header.path);
    }
    if header.link.len() > 100 || !header.link.is_ascii() {
        add("linkpath", header.link);
    }
    if !fits(i64::from(header.uid), 7) {
        add("uid", header.uid.to_string().as_bytes());
    }
    if !fits(i64::from(header.gid), 7) {
        add("gid", header.gid.to_string().as_bytes());
    }
    let size = i64::try_from(header.size).unwrap_or(i64::MAX);
    if !fits(size, 11) {
        add("size", size.to_string().as_bytes());
    }
    if !fits(header.mtime, 11) {
        add("mtime", header.mtime.to_string().as_bytes());
    }
    for (name, value) in header.xattrs {
        let key = [b"SCHILY.xattr.", name.as_bytes()].concat();
        records.push((key, value.clone()));
    }
    records.sort();
    records
        .iter()
        .flat_map(|(key, value)| pax_record(key, value))
        .collect()
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn pax_record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    // The number of digits grows at most once or twice.
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn pax_header(path: &[u8], size: usize, out: &mut Vec<u8>) {
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let base = Path::new(std::ffi::OsStr::from_bytes(trimmed))
        .file_name()
        .unwrap_or_default();
    let mut name = b"PaxHeaders.0/".to_vec();
    name.extend(base.as_bytes().iter().filter(|byte| byte.is_ascii()));
    name.truncate(100);
    let mut block = [0u8; BLOCK];
    block[..name.len()].copy_from_slice(&name);
    octal(&mut block[100..108], 0);
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], size as u64);
    octal(&mut block[136..148], 0);
    block[156] = b'x';
    seal(&mut block);
    out.extend_from_slice(&block);
}

fn ustar(header: &Header<'_>) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    text(&mut block[..100], header.path);
    octal(&mut block[100..108], u64::from(header.mode & 0o7777));
    octal(&mut block[108..116], number(i64::from(header.uid), 7));
    octal(&mut block[116..124], number(i64::from(header.gid), 7));
    octal(
        &mut block[124..136],
        number(i64::try_from(header.size).unwrap_or(i64::MAX), 11),
    );
    octal(&mut block[136..148], number(header.mtime, 11));
    block[156] = header.kind.flag();
    text(&mut block[157..257], header.link);
    let (major, minor) = header.device;
    octal(&mut block[329..337], u64::from(major) & 0o777_7777);
    octal(&mut block[337..345], u64::from(minor) & 0o777_7777);
    seal(&mut block);
    block
}

/// Magic and checksum.
fn seal(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum);
}

/// Whether a number fits into so many octal digits.
fn fits(number: i64, digits: u32) -> bool {
    number >= 0 && number < 1 << (3 * digits)
}

/// What the ustar field has for a number: 0 when a PAX record says it.
fn number(value: i64, digits: u32) -> u64 {
    if fits(value, digits) {
        value.unsigned_abs()
    } else {
        0
    }
}

/// The start of a name that is too long; a PAX record has it whole.
fn text(field: &mut [u8], value: &[u8]) {
    let length = value.len().min(field.len());
    field[..length].copy_from_slice(&value[..length]);
}

/// Zero-padded octal digits, ended by NUL.
fn octal(field: &mut [u8], value: u64) {
    let last = field.len() - 1;
    let mut value = value;
    for byte in field[..last].iter_mut().rev() {
        *byte = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[last] = 0;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_record_counts_its_own_digits() {
        assert_eq!(pax_record(b"path", b"a"), b"9 path=a\n");
        assert_eq!(pax_record(b"path", &[b'x'; 2]), b"11 path=xx\n");
        let long = pax_record(b"path", &[b'x'; 90]);
        assert!(
            long.starts_with(b"99 path="),
            "{}",
            String::from_utf8_lossy(&long)
        );
        let longer = pax_record(b"path", &[b'x'; 91]);
        assert!(
            longer.starts_with(b"101 path="),
            "{}",
            String::from_utf8_lossy(&longer)
        );
        assert_eq!(longer.len(), 101);
    }

    #[test]
    fn octal_fields_end_with_nul() {
        let mut field = [b'?'; 8];
        octal(&mut field, 0o755);
        assert_eq!(&field, b"0000755\0");
    }
}
