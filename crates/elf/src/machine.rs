//! Names that depend on the machine.

use crate::file::{Abi, Class};
use crate::read::Endian;

/// What loaders and distributions call a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Debian's directory below `lib`.
    pub triplet: &'static str,
    /// Where glibc's loader stands.
    pub loader: &'static str,
    /// What `$PLATFORM` is at least.
    pub platform: &'static str,
}

const fn machine(triplet: &'static str, loader: &'static str, platform: &'static str) -> Option<Machine> {
    Some(Machine {
        triplet,
        loader,
        platform,
    })
}

/// The names for `abi`, where they are known. The loaders' paths are those of glibc's `shlib-versions`.
pub fn of(abi: Abi) -> Option<Machine> {
    let little = abi.endian == Endian::Little;
    match (abi.machine, abi.class, little) {
        (62, Class::Elf64, true) => machine("x86_64-linux-gnu", "/lib64/ld-linux-x86-64.so.2", "x86_64"),
        (62, Class::Elf32, true) => machine("x86_64-linux-gnux32", "/libx32/ld-linux-x32.so.2", "x86_64"),
        (3, Class::Elf32, true) => machine("i386-linux-gnu", "/lib/ld-linux.so.2", "i686"),
        (183, Class::Elf64, true) => machine("aarch64-linux-gnu", "/lib/ld-linux-aarch64.so.1", "aarch64"),
        (40, Class::Elf32, true) => machine("arm-linux-gnueabihf", "/lib/ld-linux-armhf.so.3", "v7l"),
        (243, Class::Elf64, true) => {
            machine("riscv64-linux-gnu", "/lib/ld-linux-riscv64-lp64d.so.1", "riscv64")
        }
        (21, Class::Elf64, true) => machine("powerpc64le-linux-gnu", "/lib64/ld64.so.2", "power8"),
        (22, Class::Elf64, false) => machine("s390x-linux-gnu", "/lib/ld64.so.1", "z900"),
        (8, Class::Elf64, true) => machine("mips64el-linux-gnuabi64", "/lib64/ld.so.1", "mips64"),
        (258, Class::Elf64, true) => machine(
            "loongarch64-linux-gnu",
            "/lib64/ld-linux-loongarch-lp64d.so.1",
            "loongarch",
        ),
        _ => None,
    }
}
