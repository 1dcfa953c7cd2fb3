//! What is read of one file.

use distil_elf::{Class, ElfFile, Endian, Kind, Priority, parse_cache};

use crate::build::{Build, library, program};

fn everything() -> Build {
    Build {
        soname: Some("libself.so.1"),
        rpath: Some("$ORIGIN/../lib:/opt"),
        runpath: Some("/run"),
        versions_needed: vec![
            ("libc.so.6", "GLIBC_2.34", false),
            ("libc.so.6", "GLIBC_2.99", true),
        ],
        versions_defined: vec!["SELF_1", "SELF_2"],
        imports: vec!["getaddrinfo", "abort"],
        dlopen: Some(
            r#"[{"soname":["libx.so.2","libx.so.1"],"feature":"x","priority":"required"},{"soname":[]},7]"#,
        ),
        ..program(&["libc.so.6", "libm.so.6"])
    }
}

#[test]
fn facts_of_every_class_and_byte_order() {
    for class in [Class::Elf32, Class::Elf64] {
        for endian in [Endian::Little, Endian::Big] {
            let build = Build {
                class,
                endian,
                machine: 8,
                ..everything()
            };
            let elf = ElfFile::read(&build.bytes()[..]).unwrap().unwrap();
            assert_eq!(
                (elf.abi.class, elf.abi.endian, elf.abi.machine),
                (class, endian, 8)
            );
            assert_eq!(elf.kind, Kind::Shared);
            assert_eq!(
                elf.interpreter.as_deref(),
                Some("/lib64/ld-linux-x86-64.so.2".as_ref())
            );
            assert_eq!(elf.needed(), ["libc.so.6", "libm.so.6"]);
            assert_eq!(
                elf.soname().map(|name| name.to_string_lossy()),
                Some("libself.so.1".into())
            );
            let dynamic = elf.dynamic.as_ref().unwrap();
            assert_eq!(dynamic.rpath, ["$ORIGIN/../lib", "/opt"]);
            assert_eq!(dynamic.runpath, ["/run"]);
            assert_eq!(dynamic.versions_defined, ["SELF_1", "SELF_2"]);
            assert_eq!(dynamic.imports, ["abort", "getaddrinfo"]);
            // The weak version may be missing.
            let needs: Vec<_> = dynamic
                .versions_needed
                .iter()
                .map(|need| need.versions.join(" "))
                .collect();
            assert_eq!(needs, ["GLIBC_2.34", ""]);
            assert_eq!(elf.dlopen.len(), 1);
            assert_eq!(elf.dlopen[0].sonames, ["libx.so.2", "libx.so.1"]);
            assert_eq!(elf.dlopen[0].priority, Priority::Required);
            assert!(elf.imports("abort") && !elf.imports("abor"));
        }
    }
}

#[test]
fn what_is_no_elf_file() {
    for bytes in [&b""[..], b"\x7fEL", b"#!/bin/sh\n", b"MZ"] {
        assert!(ElfFile::read(bytes).unwrap().is_none());
    }
}

#[test]
fn damaged_headers_say_what_is_wrong() {
    let good = everything().bytes();
    let broken = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        ElfFile::read(&bytes[..]).unwrap_err().to_string()
    };
    assert!(broken(&|bytes| bytes[4] = 9).contains("its class"));
    assert!(broken(&|bytes| bytes[5] = 9).contains("its byte order"));
    assert!(broken(&|bytes| bytes.truncate(40)).contains("its header is cut short"));
    assert!(broken(&|bytes| bytes.truncate(100)).contains("its program headers are cut short"));
    assert!(broken(&|bytes| bytes[54] = 3).contains("an impossible size"));
}

#[test]
fn static_programs() {
    let fixed = Build {
        kind: 2,
        ..Build::default()
    };
    assert!(
        ElfFile::read(&fixed.bytes()[..])
            .unwrap()
            .unwrap()
            .is_static_program()
    );
    assert!(
        !ElfFile::read(&program(&[]).bytes()[..])
            .unwrap()
            .unwrap()
            .is_static_program()
    );
    assert!(
        !ElfFile::read(&library("libx.so", &[]).bytes()[..])
            .unwrap()
            .unwrap()
            .is_static_program()
    );
}

#[test]
fn a_cache_of_the_loader() {
    let mut cache = b"ld.so-1.7.0\0something old".to_vec();
    let mut new = b"glibc-ld.so.cache1.1".to_vec();
    new.extend(2u32.to_le_bytes());
    new.resize(48, 0);
    let strings = 48 + 2 * 24;
    for (name, path) in [(0u32, 8u32), (25, 33)] {
        new.extend(3u32.to_le_bytes());
        new.extend((strings + name).to_le_bytes());
        new.extend((strings + path).to_le_bytes());
        new.resize(new.len() + 12, 0);
    }
    new.extend(b"libx.so\0/opt/lib/libx.so\0liby.so\0relative\0");
    cache.extend(&new);
    let entries = parse_cache(&cache);
    // The second does not name an absolute path.
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].name, "libx.so");
    assert_eq!(entries[0].path.to_string_lossy(), "/opt/lib/libx.so");
    for cut in 0..cache.len() {
        parse_cache(&cache[..cut]);
    }
    assert!(parse_cache(b"").is_empty());
}
