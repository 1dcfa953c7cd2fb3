//! `/etc/ld.so.cache`, written without `ldconfig`.
//!
//! The loader finds the libraries of its default directories without it; programs
//! that list libraries by `ldconfig -p` (Python's `ctypes.util.find_library`) do
//! not. Format: `glibc-ld.so.cache1.1` (glibc's `dl-cache.h`): a header of 48 bytes,
//! entries of 24 bytes in descending order of their names, strings ended by NUL;
//! offsets count from the header. The note that names the glibc version is left
//! out: the cache does not depend on it.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;

use distil_elf::{ElfFile, Kind, ReadAt};

const MAGIC: &[u8; 20] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const LITTLE_ENDIAN: u8 = 2;
/// `e_machine` of x86-64 and of `AArch64`.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// `FLAG_ELF_LIBC6`.
const LIBC6: u32 = 3;

/// A library as the cache lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedLibrary {
    /// Name that programs ask for.
    pub name: Vec<u8>,
    /// Absolute path of a file or link with that name.
    pub path: Vec<u8>,
    /// `e_machine` of the library.
    pub machine: u16,
}

/// What the cache says of a library file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedLibrary {
    /// `DT_SONAME`; the file's own name counts when it has none.
    pub soname: Option<Vec<u8>>,
    /// `e_machine`.
    pub machine: u16,
}

impl SharedLibrary {
    /// Reads a file; `None` when it is no library or damaged, which the loader would
    /// not take either.
    #[must_use]
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Option<SharedLibrary> {
        let elf = ElfFile::read(file).ok().flatten()?;
        (elf.kind == Kind::Shared && elf.dynamic.is_some()).then(|| SharedLibrary {
            soname: elf.soname().map(|name| name.as_bytes().to_vec()),
            machine: elf.abi.machine,
        })
    }
}

/// Name under which `ldconfig` lists a library file, or `None` when it does not.
///
/// That is its soname; for a link such as `libx.so`, made for the linker, the link's
/// own name.
#[must_use]
pub fn listed_name(file_name: &[u8], is_link: bool, library: &SharedLibrary) -> Option<Vec<u8>> {
    if !is_library_name(file_name) {
        return None;
    }
    let Some(soname) = &library.soname else {
        return Some(file_name.to_vec());
    };
    let for_linker = is_link && file_name.ends_with(b".so") && soname.starts_with(file_name);
    Some(if for_linker { file_name } else { soname }.to_vec())
}

/// `libNAME.so`, `libNAME.so.VERSION` and the loader.
#[must_use]
pub fn is_library_name(name: &[u8]) -> bool {
    let starts = name.starts_with(b"lib") || name.starts_with(b"ld-") || name.starts_with(b"ld.so.");
    let text = String::from_utf8_lossy(name);
    starts && (text.ends_with(".so") || text.contains(".so."))
}

/// The cache of these libraries. Of several with one name, the first given comes
/// first, as the first directory does for `ldconfig`.
#[must_use]
pub fn loader_cache(libraries: &[CachedLibrary]) -> Vec<u8> {
    let mut entries: Vec<(&CachedLibrary, u32)> = libraries
        .iter()
        .filter_map(|library| Some((library, flags(library.machine)?)))
        .collect();
    entries.sort_by(|(a, _), (b, _)| compare_names(&b.name, &a.name));
    let mut strings = Vec::new();
    let mut table = Vec::with_capacity(entries.len() * ENTRY);
    let first_string = HEADER + entries.len() * ENTRY;
    for (library, flags) in &entries {
        table.extend(flags.to_le_bytes());
        for text in [&library.name, &library.path] {
            table.extend(offset(first_string + strings.len()).to_le_bytes());
            strings.extend_from_slice(text);
            strings.push(0);
        }
        // No least kernel version, no hardware capabilities.
        table.extend([0; 12]);
    }
    let mut out = Vec::with_capacity(first_string + strings.len());
    out.extend_from_slice(MAGIC);
    out.extend(offset(entries.len()).to_le_bytes());
    out.extend(offset(strings.len()).to_le_bytes());
    out.push(LITTLE_ENDIAN);
    out.resize(HEADER, 0);
    out.extend(table);
    out.extend(strings);
    out
}

/// A cache is some 100 KB long.
fn offset(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// glibc's `FLAG_X8664_LIB64` and `FLAG_AARCH64_LIB64` of libraries for libc 6.
fn flags(machine: u16) -> Option<u32> {
    match machine {
        X86_64 => Some(0x0300 | LIBC6),
        AARCH64 => Some(0x0a00 | LIBC6),
        _ => None,
    }
}

/// The order in which the loader searches: digits as numbers, and after all else.
fn compare_names(a: &[u8], b: &[u8]) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(x), Some(y)) = (a.first(), b.first()) else {
            return a.len().cmp(&b.len());
        };
        match (x.is_ascii_digit(), y.is_ascii_digit()) {
            (true, true) => {
                let (number_a, rest_a) = take_number(a);
                let (number_b, rest_b) = take_number(b);
                if number_a != number_b {
                    return number_a.cmp(&number_b);
                }
                (a, b) = (rest_a, rest_b);
            }
            (true, false) => return Ordering::Greater,
            (false, true) => return Ordering::Less,
            (false, false) if x != y => return x.cmp(y),
            (false, false) => (a, b) = (&a[1..], &b[1..]),
        }
    }
}

fn take_number(text: &[u8]) -> (u64, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0_u64, |value, digit| {
        value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
    });
    (value, &text[digits..])
}
