//! What Go's linker notes in a program about how it was built.
//!
//! The layout is that of the Go standard library's package `debug/buildinfo`: a header of 32 bytes in the section
//! `.go.buildinfo`. Since Go 1.18 two strings follow it, each after its length; before, it had the addresses of two
//! string headers.

use super::{Class, Header, Image, PT_LOAD};
use crate::ElfError;
use crate::read::{self, Numbers, ReadAt};

const SECTION: &[u8] = b".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: u64 = 16;
const HEADER: u64 = 32;
const INLINE: u8 = 2;
const BIG_ENDIAN: u8 = 1;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const MAX_SECTIONS: usize = 4096;
const MAX_NAMES: u64 = 1 << 20;
/// Bytes of a data segment that are searched when a file has no sections.
const MAX_SEARCH: u64 = 64 << 20;
const CHUNK: u64 = 1 << 20;
/// Longest string; the modules of the largest programs take some 100 kB.
const MAX_STRING: u64 = 16 << 20;
/// The linker puts 16 bytes of a mark before and after the list of modules.
const MARK: usize = 16;

/// The version and the modules with the linker's marks.
type Strings = (Vec<u8>, Vec<u8>);

/// What Go's linker notes in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoBuildInfo {
    /// The toolchain: `go1.22.3`, with a blank and experiments after it where there are some.
    pub version: String,
    /// The modules and settings, a line each, columns parted by tabs (`runtime/debug.BuildInfo.String`); empty
    /// for a program that was built without modules.
    pub modules: String,
}

impl GoBuildInfo {
    /// Reads it; `None` when this is no ELF file, or none that Go linked. Little is read of a file with sections.
    ///
    /// # Errors
    /// A header that is cut short or points outside the file, or a failing read.
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Option<GoBuildInfo>, ElfError> {
        let start = read::some(file, 0, 64)?;
        let Some(header) = Header::parse(&start)? else {
            return Ok(None);
        };
        let sections = Sections::parse(&header, &start);
        let range = match &sections {
            Some(sections) => match sections.find(file, &header)? {
                Some(range) => Some(range),
                None => return Ok(None),
            },
            None => None,
        };
        let segments = header.segments(file)?;
        let image = Image {
            file,
            abi: header.abi,
            segments: &segments,
        };
        let range = range.or_else(|| {
            let data = segments
                .iter()
                .find(|segment| segment.kind == PT_LOAD && segment.flags & (PF_X | PF_W) == PF_W);
            data.map(|data| (data.address, data.size.min(MAX_SEARCH)))
        });
        match range {
            Some((address, size)) => image.go_build_info(address, size),
            None => Ok(None),
        }
    }
}

/// Where the section headers are.
struct Sections {
    offset: u64,
    entry_size: usize,
    count: usize,
    /// The section that has the names.
    names: usize,
}

impl Sections {
    /// `None` when they were stripped.
    fn parse(header: &Header, start: &[u8]) -> Option<Sections> {
        let numbers = Numbers {
            bytes: start,
            endian: header.abi.endian,
        };
        let wide = header.abi.class == Class::Elf64;
        let (offset, entry, count, names, least) = if wide {
            (40, 58, 60, 62, 64)
        } else {
            (32, 46, 48, 50, 40)
        };
        let sections = Sections {
            offset: numbers.word(offset, wide)?,
            entry_size: usize::from(numbers.u16(entry)?),
            count: usize::from(numbers.u16(count)?),
            names: usize::from(numbers.u16(names)?),
        };
        let usable = sections.offset != 0
            && sections.entry_size >= least
            && (1..=MAX_SECTIONS).contains(&sections.count)
            && sections.names < sections.count;
        usable.then_some(sections)
    }

    /// Address and size of Go's section.
    fn find(&self, file: &(impl ReadAt + ?Sized), header: &Header) -> Result<Option<(u64, u64)>, ElfError> {
        let table = read::some(file, self.offset, self.entry_size * self.count)?;
        let numbers = Numbers {
            bytes: &table,
            endian: header.abi.endian,
        };
        let wide = header.abi.class == Class::Elf64;
        let (address, offset, size) = if wide { (16, 24, 32) } else { (12, 16, 20) };
        let names = self.names * self.entry_size;
        let (Some(from), Some(length)) = (
            numbers.word(names + offset, wide),
            numbers.word(names + size, wide),
        ) else {
            return Ok(None);
        };
        let length = usize::try_from(length.min(MAX_NAMES)).unwrap_or(0);
        let text = read::some(file, from, length)?;
        for at in (0..self.count).map(|index| index * self.entry_size) {
            let name = numbers.u32(at).and_then(|name| usize::try_from(name).ok());
            if name.and_then(|name| read::c_string(&text, name)) == Some(SECTION) {
                let range = (numbers.word(at + address, wide), numbers.word(at + size, wide));
                return Ok(range.0.zip(range.1));
            }
        }
        Ok(None)
    }
}

impl<F: ReadAt + ?Sized> Image<'_, F> {
    fn go_build_info(&self, address: u64, size: u64) -> Result<Option<GoBuildInfo>, ElfError> {
        let Some(at) = self.magic(address, size)? else {
            return Ok(None);
        };
        let header = self.loaded(at, HEADER)?;
        let (Some(width), Some(flags)) = (header.get(14), header.get(15)) else {
            return Ok(None);
        };
        let strings = if flags & INLINE == 0 {
            self.pointed_strings(&header, *width, flags & BIG_ENDIAN != 0)?
        } else {
            self.inline_strings(at)?
        };
        Ok(strings
            .filter(|(version, _)| !version.is_empty())
            .map(|(version, modules)| GoBuildInfo {
                version: String::from_utf8_lossy(&version).into_owned(),
                modules: String::from_utf8_lossy(without_marks(&modules)).into_owned(),
            }))
    }

    /// Address of the header, which is aligned.
    fn magic(&self, start: u64, size: u64) -> Result<Option<u64>, ElfError> {
        let end = start.saturating_add(size);
        let mut at = start.checked_next_multiple_of(ALIGN).unwrap_or(end);
        while at < end {
            let length = CHUNK.min(end - at);
            let bytes = self.loaded(at, length)?;
            let found = bytes.chunks(16).position(|part| part.starts_with(MAGIC));
            if let Some(found) = found {
                return Ok(Some(at + found as u64 * ALIGN));
            }
            if (bytes.len() as u64) < length {
                break;
            }
            at = at.saturating_add(length);
        }
        Ok(None)
    }

    fn inline_strings(&self, header: u64) -> Result<Option<Strings>, ElfError> {
        let Some((version, next)) = self.inline_string(header.saturating_add(HEADER))? else {
            return Ok(None);
        };
        let modules = self.inline_string(next)?;
        Ok(Some((version, modules.map(|(text, _)| text).unwrap_or_default())))
    }

    /// A string after its length in base 128, and the address of what follows.
    fn inline_string(&self, at: u64) -> Result<Option<(Vec<u8>, u64)>, ElfError> {
        let bytes = self.loaded(at, 10)?;
        let mut length = 0_u64;
        for (index, byte) in bytes.iter().enumerate() {
            length |= u64::from(byte & 0x7f).checked_shl(7 * index as u32).unwrap_or(0);
            if byte & 0x80 == 0 {
                let start = at.saturating_add(index as u64 + 1);
                let text = self.exactly(start, length)?;
                return Ok(text.map(|text| (text, start.saturating_add(length))));
            }
        }
        Ok(None)
    }

    fn pointed_strings(&self, header: &[u8], width: u8, big: bool) -> Result<Option<Strings>, ElfError> {
        if !matches!(width, 4 | 8) {
            return Ok(None);
        }
        let width = usize::from(width);
        let endian = if big {
            read::Endian::Big
        } else {
            read::Endian::Little
        };
        let word = |bytes: &[u8], at: usize| Numbers { bytes, endian }.word(at, width == 8);
        let string = |at: usize| -> Result<Option<Vec<u8>>, ElfError> {
            let Some(pointer) = word(header, at) else {
                return Ok(None);
            };
            let pair = self.loaded(pointer, 2 * width as u64)?;
            match (word(&pair, 0), word(&pair, width)) {
                (Some(address), Some(length)) => self.exactly(address, length),
                _ => Ok(None),
            }
        };
        let version = string(16)?;
        let modules = string(16 + width)?.unwrap_or_default();
        Ok(version.map(|version| (version, modules)))
    }

    fn exactly(&self, address: u64, length: u64) -> Result<Option<Vec<u8>>, ElfError> {
        if length > MAX_STRING {
            return Ok(None);
        }
        let bytes = self.loaded(address, length)?;
        Ok(Some(bytes).filter(|bytes| bytes.len() as u64 == length))
    }
}

/// The list of modules between the linker's marks; nothing when there are none, for then there is no list.
fn without_marks(text: &[u8]) -> &[u8] {
    let end = text.len().saturating_sub(MARK);
    if text.len() > 2 * MARK && text.get(end.wrapping_sub(1)) == Some(&b'\n') {
        &text[MARK..end]
    } else {
        &[]
    }
}
