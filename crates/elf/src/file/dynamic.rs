//! The dynamic section: libraries, search paths, symbol versions, imported names.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::{Image, Segment};
use crate::ElfError;
use crate::read::{self, ReadAt};

const MAX_DYNAMIC: u64 = 1 << 20;
const MAX_STRINGS: u64 = 64 << 20;
const MAX_VERSIONS: u64 = 4 << 20;
const MAX_SYMBOLS: u64 = 1 << 20;
/// Libraries and search paths of one file.
const MAX_NAMES: usize = 4096;
/// Versions of one file; glibc has about 200.
const MAX_VERSION_NAMES: usize = 16384;
/// Bytes of a path or version.
const MAX_NAME: usize = 4096;
/// Bytes of an imported name that is kept; C++ has longer ones, which nobody asks for.
const MAX_IMPORT: usize = 64;

const DT_NEEDED: u64 = 1;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;
const DF_1_NODEFLIB: u64 = 0x800;
const DF_1_PIE: u64 = 0x0800_0000;
const EM_S390: u16 = 22;

/// What the loader reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// Libraries it needs, in order.
    pub needed: Vec<OsString>,
    /// The name by which others need it.
    pub soname: Option<OsString>,
    /// `DT_RPATH`, split at the colons, variables not expanded.
    pub rpath: Vec<OsString>,
    /// `DT_RUNPATH`, split at the colons, variables not expanded.
    pub runpath: Vec<OsString>,
    /// Default directories and `ld.so.cache` are not searched for what it needs.
    pub no_default_directories: bool,
    /// It says that it is a program.
    pub pie: bool,
    /// Versions of symbols that must be there.
    pub versions_needed: Vec<VersionNeed>,
    /// Versions of symbols that it has, its own name left out.
    pub versions_defined: Vec<String>,
    /// Names (of up to 64 bytes) of symbols that it takes from elsewhere, sorted.
    pub imports: Vec<String>,
}

/// The versions that a file needs from one library, such as `GLIBC_2.34` from `libc.so.6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionNeed {
    /// Name of the library, as in `DT_NEEDED`.
    pub library: OsString,
    /// The versions; weak ones, whose absence is only warned of, are left out.
    pub versions: Vec<String>,
}

/// The entries as they stand: those that name strings, and the others by tag.
#[derive(Default)]
struct Entries {
    strings: Vec<(u64, u64)>,
    single: std::collections::BTreeMap<u64, u64>,
}

pub(super) fn read<F: ReadAt + ?Sized>(image: &Image<'_, F>, segment: &Segment) -> Result<Dynamic, ElfError> {
    let entries = entries(image, segment)?;
    let get = |tag: u64| entries.single.get(&tag).copied();
    let strings = match (get(DT_STRTAB), get(DT_STRSZ)) {
        (Some(address), Some(size)) => image.loaded(address, size.min(MAX_STRINGS))?,
        _ => Vec::new(),
    };
    let string = |offset: u64| {
        usize::try_from(offset)
            .ok()
            .and_then(|offset| read::c_string(&strings, offset))
            .filter(|text| text.len() <= MAX_NAME)
            .ok_or(ElfError::Malformed(
                "its dynamic section names a string outside its table",
            ))
    };
    let flags = get(DT_FLAGS_1).unwrap_or(0);
    let mut dynamic = Dynamic {
        no_default_directories: flags & DF_1_NODEFLIB != 0,
        pie: flags & DF_1_PIE != 0,
        ..Dynamic::default()
    };
    for (tag, offset) in &entries.strings {
        let text = string(*offset)?;
        match *tag {
            DT_NEEDED => dynamic.needed.push(os(text)),
            DT_SONAME => dynamic.soname = Some(os(text)),
            DT_RPATH => dynamic.rpath = text.split(|byte| *byte == b':').map(os).collect(),
            _ => dynamic.runpath = text.split(|byte| *byte == b':').map(os).collect(),
        }
    }
    let table = Table {
        image,
        strings: &strings,
    };
    if let (Some(address), Some(count)) = (get(DT_VERNEED), get(DT_VERNEEDNUM)) {
        dynamic.versions_needed = table.versions_needed(address, count)?;
    }
    if let (Some(address), Some(count)) = (get(DT_VERDEF), get(DT_VERDEFNUM)) {
        dynamic.versions_defined = table.versions_defined(address, count)?;
    }
    if let Some(address) = get(DT_SYMTAB) {
        let count = table.symbol_count(get(DT_GNU_HASH), get(DT_HASH))?;
        dynamic.imports = table.imports(address, count)?;
    }
    Ok(dynamic)
}

fn os(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

fn entries<F: ReadAt + ?Sized>(image: &Image<'_, F>, segment: &Segment) -> Result<Entries, ElfError> {
    let length = usize::try_from(segment.size.min(MAX_DYNAMIC)).unwrap_or(0);
    let bytes = read::some(image.file, segment.offset, length)?;
    let numbers = image.numbers(&bytes);
    let wide = image.is_wide();
    let step = if wide { 16 } else { 8 };
    let mut entries = Entries::default();
    let mut at = 0;
    while let (Some(tag), Some(value)) = (numbers.word(at, wide), numbers.word(at + step / 2, wide)) {
        match tag {
            0 => break,
            DT_NEEDED | DT_SONAME | DT_RPATH | DT_RUNPATH if entries.strings.len() < MAX_NAMES => {
                entries.strings.push((tag, value));
            }
            _ => drop(entries.single.insert(tag, value)),
        }
        at += step;
    }
    Ok(entries)
}

struct Table<'a, 'i, F: ReadAt + ?Sized> {
    image: &'a Image<'i, F>,
    strings: &'a [u8],
}

const VERSIONS: ElfError = ElfError::Malformed("its table of symbol versions is cut short");

impl<F: ReadAt + ?Sized> Table<'_, '_, F> {
    fn text(&self, offset: u32) -> Result<&[u8], ElfError> {
        read::c_string(self.strings, offset as usize)
            .filter(|text| text.len() <= MAX_NAME)
            .ok_or(VERSIONS)
    }

    fn name(&self, offset: u32) -> Result<String, ElfError> {
        Ok(String::from_utf8_lossy(self.text(offset)?).into_owned())
    }

    fn versions_needed(&self, address: u64, count: u64) -> Result<Vec<VersionNeed>, ElfError> {
        let bytes = self.image.loaded(address, MAX_VERSIONS)?;
        let numbers = self.image.numbers(&bytes);
        let mut needs = Vec::new();
        let mut at = 0usize;
        let mut left = MAX_VERSION_NAMES;
        for _ in 0..count {
            let (Some(names), Some(file), Some(first), Some(next)) = (
                numbers.u16(at + 2),
                numbers.u32(at + 4),
                numbers.u32(at + 8),
                numbers.u32(at + 12),
            ) else {
                return Err(VERSIONS);
            };
            let mut need = VersionNeed {
                library: os(self.text(file)?),
                versions: Vec::new(),
            };
            let mut aux = at + first as usize;
            for _ in 0..names {
                left = left.checked_sub(1).ok_or(VERSIONS)?;
                let (Some(flags), Some(name), Some(step)) =
                    (numbers.u16(aux + 4), numbers.u32(aux + 8), numbers.u32(aux + 12))
                else {
                    return Err(VERSIONS);
                };
                if flags & 2 == 0 {
                    need.versions.push(self.name(name)?);
                }
                if step == 0 {
                    break;
                }
                aux += step as usize;
            }
            needs.push(need);
            left = left.checked_sub(1).ok_or(VERSIONS)?;
            if next == 0 {
                break;
            }
            at += next as usize;
        }
        Ok(needs)
    }

    fn versions_defined(&self, address: u64, count: u64) -> Result<Vec<String>, ElfError> {
        let bytes = self.image.loaded(address, MAX_VERSIONS)?;
        let numbers = self.image.numbers(&bytes);
        let mut names = Vec::new();
        let mut at = 0usize;
        for _ in 0..count.min(MAX_VERSION_NAMES as u64) {
            let (Some(flags), Some(aux), Some(next)) =
                (numbers.u16(at + 2), numbers.u32(at + 12), numbers.u32(at + 16))
            else {
                return Err(VERSIONS);
            };
            let name = numbers.u32(at + aux as usize).ok_or(VERSIONS)?;
            // The first one is the library's own name.
            if flags & 1 == 0 {
                names.push(self.name(name)?);
            }
            if next == 0 {
                break;
            }
            at += next as usize;
        }
        Ok(names)
    }

    /// How many symbols to look at for imports: the GNU hash table holds no imported ones, and they come first.
    fn symbol_count(&self, gnu_hash: Option<u64>, hash: Option<u64>) -> Result<u64, ElfError> {
        if let Some(address) = gnu_hash {
            let bytes = self.image.loaded(address, 8)?;
            return Ok(self.image.numbers(&bytes).u32(4).map_or(0, u64::from));
        }
        let Some(address) = hash else { return Ok(0) };
        let wide = self.image.abi.machine == EM_S390 && self.image.is_wide();
        let bytes = self.image.loaded(address, 16)?;
        let at = if wide { 8 } else { 4 };
        Ok(self.image.numbers(&bytes).word(at, wide).unwrap_or(0))
    }

    fn imports(&self, address: u64, count: u64) -> Result<Vec<String>, ElfError> {
        let wide = self.image.is_wide();
        let (size, section) = if wide { (24, 6) } else { (16, 14) };
        let bytes = self.image.loaded(address, count.min(MAX_SYMBOLS) * size as u64)?;
        let numbers = self.image.numbers(&bytes);
        let mut names = Vec::new();
        let mut at = 0;
        while let (Some(name), Some(defined_in)) = (numbers.u32(at), numbers.u16(at + section)) {
            if defined_in == 0
                && let Some(name) = read::c_string(self.strings, name as usize)
                && (1..=MAX_IMPORT).contains(&name.len())
            {
                names.push(String::from_utf8_lossy(name).into_owned());
            }
            at += size;
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}
