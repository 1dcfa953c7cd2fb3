//! One ELF file: what the kernel and the loader read of it.
//!
//! Only program headers and what they lead to are read, as a loader does: section headers may be stripped. Layouts
//! are those of the System V ABI, version tables those of the Linux Standard Base.

mod dynamic;
mod go;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

pub use dynamic::{Dynamic, VersionNeed};
pub use go::GoBuildInfo;

use crate::ElfError;
use crate::notes::{self, DlopenNote};
use crate::read::{self, Endian, Numbers, ReadAt};

const MAX_PROGRAM_HEADERS: usize = 4096;
const MAX_NOTES: u64 = 1 << 20;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;

/// Width of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// 32 bits.
    Elf32,
    /// 64 bits.
    Elf64,
}

/// The type in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object file (`.o`) or kernel module.
    Relocatable,
    /// A program at a fixed address.
    Executable,
    /// A library, or a program at any address.
    Shared,
    /// A core dump, or something of an operating system's own.
    Other(u16),
}

/// For what machine a file is; files of different ones never load each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Abi {
    /// Width of addresses.
    pub class: Class,
    /// Byte order.
    pub endian: Endian,
    /// `e_machine`, for example 62 for x86-64 and 183 for aarch64.
    pub machine: u16,
}

/// The facts of one ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElfFile {
    /// For what machine it is.
    pub abi: Abi,
    /// The type in the header.
    pub kind: Kind,
    /// The loader that the kernel starts for a program (`PT_INTERP`).
    pub interpreter: Option<OsString>,
    /// What the loader reads; a static program and an object file have none.
    pub dynamic: Option<Dynamic>,
    /// What it says that it may load later.
    pub dlopen: Vec<DlopenNote>,
}

impl ElfFile {
    /// Reads the facts; `None` when this is no ELF file at all.
    ///
    /// # Errors
    /// A header that is cut short or points outside the file, or a failing read.
    pub fn read(file: &(impl ReadAt + ?Sized)) -> Result<Option<ElfFile>, ElfError> {
        let start = read::some(file, 0, 64)?;
        let Some(header) = Header::parse(&start)? else {
            return Ok(None);
        };
        let segments = header.segments(file)?;
        let image = Image {
            file,
            abi: header.abi,
            segments: &segments,
        };
        let dynamic = match image.first(PT_DYNAMIC) {
            Some(segment) => Some(dynamic::read(&image, segment)?),
            None => None,
        };
        Ok(Some(ElfFile {
            abi: header.abi,
            kind: header.kind,
            interpreter: image.interpreter()?,
            dynamic,
            dlopen: image.dlopen_notes()?,
        }))
    }

    /// Whether it is a program that needs no loader: not dynamic, or dynamic for nothing but its own relocation.
    pub fn is_static_program(&self) -> bool {
        let linked = self
            .dynamic
            .as_ref()
            .is_some_and(|dynamic| !dynamic.needed.is_empty());
        let program = match self.kind {
            Kind::Executable => true,
            Kind::Shared => self.dynamic.as_ref().is_some_and(|dynamic| dynamic.pie),
            _ => false,
        };
        program && self.interpreter.is_none() && !linked
    }

    /// The libraries that it names (`DT_NEEDED`), in order.
    pub fn needed(&self) -> &[OsString] {
        self.dynamic.as_ref().map_or(&[], |dynamic| &dynamic.needed)
    }

    /// The name by which others need it.
    pub fn soname(&self) -> Option<&OsString> {
        self.dynamic.as_ref()?.soname.as_ref()
    }

    /// Whether it takes the function or variable `name` from elsewhere.
    pub fn imports(&self, name: &str) -> bool {
        let dynamic = self.dynamic.as_ref();
        dynamic.is_some_and(|dynamic| {
            dynamic
                .imports
                .binary_search_by(|other| other.as_str().cmp(name))
                .is_ok()
        })
    }
}

struct Header {
    abi: Abi,
    kind: Kind,
    offset: u64,
    entry_size: usize,
    count: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Option<Header>, ElfError> {
        if !bytes.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let class = match bytes.get(4) {
            Some(1) => Class::Elf32,
            Some(2) => Class::Elf64,
            _ => return Err(ElfError::Malformed("its class is neither 32 nor 64 bits")),
        };
        let endian = match bytes.get(5) {
            Some(1) => Endian::Little,
            Some(2) => Endian::Big,
            _ => return Err(ElfError::Malformed("its byte order is unknown")),
        };
        let numbers = Numbers { bytes, endian };
        let wide = class == Class::Elf64;
        let fields = || {
            let kind = match numbers.u16(16)? {
                1 => Kind::Relocatable,
                2 => Kind::Executable,
                3 => Kind::Shared,
                other => Kind::Other(other),
            };
            let (offset, entry, count) = if wide { (32, 54, 56) } else { (28, 42, 44) };
            Some(Header {
                abi: Abi {
                    class,
                    endian,
                    machine: numbers.u16(18)?,
                },
                kind,
                offset: numbers.word(offset, wide)?,
                entry_size: usize::from(numbers.u16(entry)?),
                count: usize::from(numbers.u16(count)?),
            })
        };
        fields()
            .map(Some)
            .ok_or(ElfError::Malformed("its header is cut short"))
    }

    fn segments(&self, file: &(impl ReadAt + ?Sized)) -> Result<Vec<Segment>, ElfError> {
        let wide = self.abi.class == Class::Elf64;
        let least = if wide { 56 } else { 32 };
        if self.count == 0 {
            return Ok(Vec::new());
        }
        if self.entry_size < least || self.count > MAX_PROGRAM_HEADERS {
            return Err(ElfError::Malformed("its program headers have an impossible size"));
        }
        let table = read::some(file, self.offset, self.entry_size * self.count)?;
        let numbers = Numbers {
            bytes: &table,
            endian: self.abi.endian,
        };
        let segment = |at: usize| {
            let (flags, offset, address, size) = if wide { (4, 8, 16, 32) } else { (24, 4, 8, 16) };
            Some(Segment {
                kind: numbers.u32(at)?,
                flags: numbers.u32(at + flags)?,
                offset: numbers.word(at + offset, wide)?,
                address: numbers.word(at + address, wide)?,
                size: numbers.word(at + size, wide)?,
            })
        };
        (0..self.count)
            .map(|index| segment(index * self.entry_size))
            .collect::<Option<_>>()
            .ok_or(ElfError::Malformed("its program headers are cut short"))
    }
}

/// One program header.
#[derive(Clone, Copy)]
struct Segment {
    kind: u32,
    /// Whether it is executable, writable, readable.
    flags: u32,
    offset: u64,
    address: u64,
    /// Bytes in the file.
    size: u64,
}

/// A file with its memory map.
struct Image<'a, F: ReadAt + ?Sized> {
    file: &'a F,
    abi: Abi,
    segments: &'a [Segment],
}

impl<F: ReadAt + ?Sized> Image<'_, F> {
    fn first(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    fn is_wide(&self) -> bool {
        self.abi.class == Class::Elf64
    }

    fn numbers<'b>(&self, bytes: &'b [u8]) -> Numbers<'b> {
        Numbers {
            bytes,
            endian: self.abi.endian,
        }
    }

    /// At most `length` bytes that are loaded at `address`; empty when nothing of the file is.
    fn loaded(&self, address: u64, length: u64) -> Result<Vec<u8>, ElfError> {
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_LOAD) {
            let Some(inside) = address.checked_sub(segment.address) else {
                continue;
            };
            if inside < segment.size {
                let length = length.min(segment.size - inside);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                return read::some(self.file, segment.offset.saturating_add(inside), length);
            }
        }
        Ok(Vec::new())
    }

    fn interpreter(&self) -> Result<Option<OsString>, ElfError> {
        let Some(segment) = self.first(PT_INTERP) else {
            return Ok(None);
        };
        let length = usize::try_from(segment.size.min(4096)).unwrap_or(4096);
        let bytes = read::some(self.file, segment.offset, length)?;
        match read::c_string(&bytes, 0) {
            Some(path) if !path.is_empty() => Ok(Some(OsString::from_vec(path.to_vec()))),
            _ => Err(ElfError::Malformed("the path of its loader is cut short")),
        }
    }

    fn dlopen_notes(&self) -> Result<Vec<DlopenNote>, ElfError> {
        let mut found = Vec::new();
        for segment in self.segments.iter().filter(|segment| segment.kind == PT_NOTE) {
            let length = usize::try_from(segment.size.min(MAX_NOTES)).unwrap_or(0);
            let bytes = read::some(self.file, segment.offset, length)?;
            notes::collect(self.numbers(&bytes), &mut found);
        }
        // One section may stand in several segments.
        found.dedup();
        Ok(found)
    }
}
