//! Files with holes.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Copies the contents of `from` into the empty file `to`, both from their start; what is a hole in `from` is
/// one in `to`, and no byte of it is read. Returns the length of the file.
///
/// # Errors
/// When reading or writing fails, or `from` gets shorter meanwhile.
pub fn copy_with_holes(from: &File, to: &File) -> io::Result<u64> {
    let length = from.metadata()?.len();
    let mut at = 0;
    while at < length {
        let (start, end) = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => {
                let end = rustix::fs::seek(from, SeekFrom::Hole(start))?;
                (start, end.min(length))
            }
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            // A file system that does not tell where holes are.
            Err(_) => (at, length),
        };
        rustix::fs::seek(from, SeekFrom::Start(start))?;
        rustix::fs::seek(to, SeekFrom::Start(start))?;
        let wanted = end.saturating_sub(start);
        if io::copy(&mut from.take(wanted), &mut &*to)? < wanted {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = end;
    }
    to.set_len(length)?;
    Ok(length)
}

/// Bytes compared at once.
const CHUNK: u64 = 256 << 10;

/// Whether two files have the same contents. Stops at the first difference, and reads no byte where both have
/// a hole.
///
/// # Errors
/// When reading fails.
pub fn same_contents(a: &File, b: &File) -> io::Result<bool> {
    let length = a.metadata()?.len();
    if b.metadata()?.len() != length {
        return Ok(false);
    }
    let size = usize::try_from(length.min(CHUNK)).unwrap_or_default();
    let (mut left, mut right) = (vec![0; size], vec![0; size]);
    let mut at = 0;
    loop {
        at = next_data(a, at, length).min(next_data(b, at, length));
        if at >= length {
            return Ok(true);
        }
        let size = usize::try_from((length - at).min(CHUNK)).unwrap_or_default();
        a.read_exact_at(&mut left[..size], at)?;
        b.read_exact_at(&mut right[..size], at)?;
        if left[..size] != right[..size] {
            return Ok(false);
        }
        at += size as u64;
    }
}

/// Where data begins at or after `at`: `length` when there is none, `at` where the file system does not tell.
fn next_data(file: &File, at: u64, length: u64) -> u64 {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => length,
        Err(_) => at,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn holes_stay_holes() {
        let mut from = tempfile::tempfile().unwrap();
        from.set_len(1 << 30).unwrap();
        from.seek(io::SeekFrom::Start(1 << 20)).unwrap();
        from.write_all(b"data").unwrap();
        let to = tempfile::tempfile().unwrap();
        assert_eq!(copy_with_holes(&from, &to).unwrap(), 1 << 30);
        assert_eq!(to.metadata().unwrap().len(), 1 << 30);
        // Where the file system has holes at all.
        let (before, after) = (from.metadata().unwrap().blocks(), to.metadata().unwrap().blocks());
        assert!(after <= before, "{after} blocks of {before}");
        let mut bytes = [0; 6];
        to.read_exact_at(&mut bytes, (1 << 20) - 1).unwrap();
        assert_eq!(&bytes, b"\0data\0");
        assert!(same_contents(&from, &to).unwrap());
        to.write_all_at(b"x", 1 << 29).unwrap();
        assert!(!same_contents(&from, &to).unwrap());
        to.set_len(1).unwrap();
        assert!(!same_contents(&from, &to).unwrap());
        let empty = tempfile::tempfile().unwrap();
        assert!(same_contents(&empty, &empty).unwrap());
        assert_eq!(
            copy_with_holes(&empty, &tempfile::tempfile().unwrap()).unwrap(),
            0
        );
    }
}
