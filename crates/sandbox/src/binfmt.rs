//! Which programs this machine can execute: by itself or by an emulator that is registered with
//! the kernel's binfmt_misc.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where the kernel lists registered formats.
pub const REGISTRY: &str = "/proc/sys/fs/binfmt_misc";

const EM_386: u16 = 3;
const EM_PPC64: u16 = 21;
const EM_S390: u16 = 22;
const EM_ARM: u16 = 40;
const EM_X86_64: u16 = 62;
const EM_AARCH64: u16 = 183;
const EM_RISCV: u16 = 243;
const EM_LOONGARCH: u16 = 258;
const EM_MIPS: u16 = 8;

/// ELF machine number of this program.
pub const NATIVE_MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    EM_X86_64
} else if cfg!(target_arch = "aarch64") {
    EM_AARCH64
} else if cfg!(target_arch = "riscv64") {
    EM_RISCV
} else {
    0
};

/// An architecture as the ELF header names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElfArchitecture {
    /// `e_machine`.
    pub machine: u16,
    /// Whether addresses have 64 bits.
    pub is_64_bit: bool,
    /// Whether the least significant byte comes first.
    pub is_little_endian: bool,
}

impl ElfArchitecture {
    /// The architecture of an OCI platform (`amd64`, `arm64`, `arm`, `386`, `riscv64`, `ppc64le`,
    /// `s390x`, `loong64`, `mips64le`, `mips64`), if it is known.
    pub fn of_platform(architecture: &str) -> Option<ElfArchitecture> {
        let (machine, is_64_bit, is_little_endian) = match architecture {
            "amd64" => (EM_X86_64, true, true),
            "386" => (EM_386, false, true),
            "arm64" => (EM_AARCH64, true, true),
            "arm" => (EM_ARM, false, true),
            "riscv64" => (EM_RISCV, true, true),
            "ppc64le" => (EM_PPC64, true, true),
            "s390x" => (EM_S390, true, false),
            "loong64" => (EM_LOONGARCH, true, true),
            "mips64le" => (EM_MIPS, true, true),
            "mips64" => (EM_MIPS, true, false),
            _ => return None,
        };
        Some(ElfArchitecture {
            machine,
            is_64_bit,
            is_little_endian,
        })
    }

    /// The first 20 bytes of an executable of this architecture.
    fn header(self) -> [u8; 20] {
        let mut header = [0; 20];
        header[..4].copy_from_slice(b"\x7fELF");
        header[4] = if self.is_64_bit { 2 } else { 1 };
        header[5] = if self.is_little_endian { 1 } else { 2 };
        header[6] = 1;
        let (kind, machine) = match self.is_little_endian {
            true => (2_u16.to_le_bytes(), self.machine.to_le_bytes()),
            false => (2_u16.to_be_bytes(), self.machine.to_be_bytes()),
        };
        header[16..18].copy_from_slice(&kind);
        header[18..20].copy_from_slice(&machine);
        header
    }
}

/// How programs of an architecture run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Execution {
    /// By the processor itself.
    Native,
    /// By an emulator.
    Emulated {
        /// Path of the emulator.
        interpreter: PathBuf,
        /// Whether the kernel holds it open (flag `F`): only then does it work in a root that does
        /// not contain it.
        fixed: bool,
    },
    /// Not at all.
    Impossible,
}

/// How programs of `architecture` run here; `registry` is [`REGISTRY`] (a directory of the same
/// form in tests).
pub fn can_execute(architecture: ElfArchitecture, registry: &Path) -> Execution {
    let native = match architecture.machine {
        EM_386 => NATIVE_MACHINE == EM_X86_64,
        machine => machine == NATIVE_MACHINE,
    };
    if native && architecture.is_little_endian {
        return Execution::Native;
    }
    emulator(&architecture.header(), registry).unwrap_or(Execution::Impossible)
}

fn emulator(header: &[u8], registry: &Path) -> Option<Execution> {
    if std::fs::read_to_string(registry.join("status")).ok()?.trim() != "enabled" {
        return None;
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(registry)
        .ok()?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| !path.ends_with("status") && !path.ends_with("register"))
        .collect();
    entries.sort();
    entries.iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Registration::parse(&text)?.execution(header)
    })
}

/// One file of the registry.
struct Registration {
    interpreter: PathBuf,
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Registration {
    fn parse(text: &str) -> Option<Registration> {
        let mut lines = text.lines();
        if lines.next()? != "enabled" {
            return None;
        }
        let mut registration = Registration {
            interpreter: PathBuf::new(),
            fixed: false,
            offset: 0,
            magic: Vec::new(),
            mask: Vec::new(),
        };
        for line in lines {
            let (key, value) = line.split_once(' ')?;
            match key {
                "interpreter" => registration.interpreter = PathBuf::from(value),
                "flags:" => registration.fixed = value.contains('F'),
                "offset" => registration.offset = value.parse().ok()?,
                "magic" => registration.magic = hexadecimal(value)?,
                "mask" => registration.mask = hexadecimal(value)?,
                _ => {}
            }
        }
        (!registration.magic.is_empty()).then_some(registration)
    }

    fn execution(self, header: &[u8]) -> Option<Execution> {
        let bytes = header.get(self.offset..)?.get(..self.magic.len())?;
        let matches = bytes.iter().enumerate().all(|(index, byte)| {
            let mask = self.mask.get(index).copied().unwrap_or(0xff);
            byte & mask == self.magic[index] & mask
        });
        matches.then_some(Execution::Emulated {
            interpreter: self.interpreter,
            fixed: self.fixed,
        })
    }
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

/// A name people know for an ELF machine number.
pub fn machine_name(machine: u16) -> String {
    let name = match machine {
        EM_386 => "386",
        EM_MIPS => "mips",
        EM_PPC64 => "ppc64",
        EM_S390 => "s390x",
        EM_ARM => "arm",
        EM_X86_64 => "amd64",
        EM_AARCH64 => "arm64",
        EM_RISCV => "riscv64",
        EM_LOONGARCH => "loong64",
        other => return format!("ELF machine {other}"),
    };
    name.to_owned()
}

/// What the header of an ELF file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Elf {
    pub(crate) machine: u16,
    /// `PT_INTERP`: the dynamic loader.
    pub(crate) interpreter: Option<String>,
}

/// The first bytes of a file, at most 256.
pub(crate) fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?.take(256).read_to_end(&mut content)?;
    Ok(content)
}

impl Elf {
    /// Reads the header of `path`; none when it is no ELF file.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Elf>> {
        let header = head(path)?;
        if header.len() < 52 || !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let reader = ElfReader {
            is_64_bit: header[4] == 2,
            is_little_endian: header[5] == 1,
        };
        let machine = u16::try_from(reader.number(&header, 18, 2)).unwrap_or(0);
        let interpreter = reader.interpreter(path, &header).unwrap_or(None);
        Ok(Some(Elf { machine, interpreter }))
    }
}

struct ElfReader {
    is_64_bit: bool,
    is_little_endian: bool,
}

const PT_INTERP: u64 = 3;

impl ElfReader {
    /// The unsigned number of `size` bytes at `offset`, 0 where the file ends before.
    fn number(&self, bytes: &[u8], offset: usize, size: usize) -> u64 {
        let bytes = bytes.get(offset..offset + size).unwrap_or_default();
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        match self.is_little_endian {
            true => bytes.iter().rev().fold(0, fold),
            false => bytes.iter().fold(0, fold),
        }
    }

    fn interpreter(&self, path: &Path, header: &[u8]) -> io::Result<Option<String>> {
        let (offset, entry_size, count) = match self.is_64_bit {
            true => (
                self.number(header, 32, 8),
                self.number(header, 54, 2),
                self.number(header, 56, 2),
            ),
            false => (
                self.number(header, 28, 4),
                self.number(header, 42, 2),
                self.number(header, 44, 2),
            ),
        };
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut table = Vec::new();
        Read::by_ref(&mut file)
            .take(entry_size * count)
            .read_to_end(&mut table)?;
        // At most 65535, the field has two bytes.
        let entry_size = usize::try_from(entry_size).unwrap_or(0).max(1);
        for entry in table.chunks(entry_size) {
            if self.number(entry, 0, 4) != PT_INTERP {
                continue;
            }
            let (start, length) = match self.is_64_bit {
                true => (self.number(entry, 8, 8), self.number(entry, 32, 8)),
                false => (self.number(entry, 4, 4), self.number(entry, 16, 4)),
            };
            file.seek(SeekFrom::Start(start))?;
            let mut name = Vec::new();
            file.take(length.min(4096)).read_to_end(&mut name)?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            return Ok(Some(String::from_utf8_lossy(name).into_owned()));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(entry: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("status"), "enabled\n").unwrap();
        std::fs::write(directory.path().join("qemu-aarch64"), entry).unwrap();
        directory
    }

    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn native_needs_no_registry() {
        let own = ElfArchitecture {
            machine: NATIVE_MACHINE,
            is_64_bit: true,
            is_little_endian: true,
        };
        assert_eq!(can_execute(own, Path::new("/nowhere")), Execution::Native);
    }

    #[test]
    fn a_registered_emulator_is_found_by_its_magic() {
        let directory = registry(AARCH64);
        let emulated = Execution::Emulated {
            interpreter: PathBuf::from("/usr/bin/qemu-aarch64"),
            fixed: true,
        };
        let arm64 = ElfArchitecture::of_platform("arm64").unwrap();
        if NATIVE_MACHINE != arm64.machine {
            assert_eq!(can_execute(arm64, directory.path()), emulated);
        }
        let s390x = ElfArchitecture::of_platform("s390x").unwrap();
        assert_eq!(can_execute(s390x, directory.path()), Execution::Impossible);
    }

    #[test]
    fn a_disabled_emulator_does_not_count() {
        let directory = registry(&AARCH64.replace("enabled\n", "disabled\n"));
        let s390x = ElfArchitecture::of_platform("s390x").unwrap();
        assert_eq!(can_execute(s390x, directory.path()), Execution::Impossible);
    }

    #[test]
    fn reads_its_own_header() {
        let elf = Elf::read(&std::env::current_exe().unwrap()).unwrap().unwrap();
        assert_eq!(elf.machine, NATIVE_MACHINE);
        assert_eq!(Elf::read(Path::new("/etc/passwd")).unwrap(), None);
    }
}
