//! Files that lie.

use distil_elf::{Class, ElfFile, Endian, parse_cache};
use proptest::prelude::*;

use crate::build::{Build, program};

fn sample(class: Class, endian: Endian) -> Vec<u8> {
    let build = Build {
        class,
        endian,
        rpath: Some("$ORIGIN"),
        soname: Some("libself.so"),
        versions_needed: vec![("libc.so.6", "GLIBC_2.34", false)],
        versions_defined: vec!["SELF_1"],
        imports: vec!["abort"],
        dlopen: Some(r#"[{"soname":["libx.so"]}]"#),
        ..program(&["libc.so.6"])
    };
    build.bytes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_never_panic(
        wide: bool,
        little: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(),
    ) {
        let class = if wide { Class::Elf64 } else { Class::Elf32 };
        let endian = if little { Endian::Little } else { Endian::Big };
        let mut bytes = sample(class, endian);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = ElfFile::read(&bytes[..]);
        let _ = ElfFile::read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn huge_numbers_never_panic(at in any::<prop::sample::Index>(), value in prop::sample::select(vec![0xffu8, 0x7f, 0x80])) {
        let mut bytes = sample(Class::Elf64, Endian::Little);
        let at = at.index(bytes.len());
        let end = (at + 8).min(bytes.len());
        // The class and byte order stay, so that something is read.
        if at >= 16 {
            bytes[at..end].fill(value);
        }
        let _ = ElfFile::read(&bytes[..]);
    }

    #[test]
    fn any_cache_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(bytes);
        parse_cache(&cache);
    }
}
