//! What Go's linker notes in programs.

use std::process::Command;

use distil_elf::GoBuildInfo;
use proptest::prelude::*;

const MODULES: &str = "path\tx\nmod\tx\tv1.0.0\t\n";
const MARK: &str = "0123456789abcdef";

/// A file of one data segment without sections; addresses are offsets and 4096 more.
fn program(wide: bool, big: bool, inline: bool) -> Vec<u8> {
    let number = |value: u64, size: usize| {
        let mut bytes = value.to_le_bytes()[..size].to_vec();
        if big {
            bytes.reverse();
        }
        bytes
    };
    let word = |value: u64| number(value, if wide { 8 } else { 4 });
    let width = if wide { 8 } else { 4 };
    let (header, entry) = if wide { (64, 56) } else { (52, 32) };
    let mut out = vec![0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big), 1];
    out.resize(16, 0);
    out.extend(
        [
            number(2, 2),
            number(62, 2),
            number(1, 4),
            word(0),
            word(header),
            word(0),
        ]
        .concat(),
    );
    out.extend([number(0, 4), number(header, 2), number(entry, 2), number(1, 2)].concat());
    out.resize(header as usize, 0);
    out.extend(number(1, 4));
    if wide {
        out.extend(number(6, 4));
    }
    out.extend([0, 4096, 4096, 1024, 1024].map(word).concat());
    if !wide {
        out.extend(number(6, 4));
    }
    out.resize(256, 0);
    out.extend(b"\xff Go buildinf:");
    out.extend([width as u8, u8::from(big) | (u8::from(inline) << 1)]);
    let modules = format!("{MARK}{MODULES}{MARK}");
    if inline {
        out.resize(256 + 32, 0);
        for text in ["go1.22", &modules] {
            out.push(text.len() as u8);
            out.extend(text.as_bytes());
        }
    } else {
        out.extend([word(4096 + 512), word(4096 + 512 + 2 * width)].concat());
        out.resize(512, 0);
        let text = 4096 + 600;
        out.extend([text, 6, text + 6, modules.len() as u64].map(word).concat());
        out.resize(600, 0);
        out.extend(b"go1.17");
        out.extend(modules.as_bytes());
    }
    out.resize(1024, 0);
    out
}

#[test]
fn both_forms_in_every_class_and_byte_order() {
    for (wide, big, inline) in [
        (true, false, true),
        (true, true, false),
        (true, false, false),
        (false, false, false),
        (false, true, true),
    ] {
        let found = GoBuildInfo::read(&program(wide, big, inline)[..])
            .unwrap()
            .unwrap();
        assert_eq!(found.version, if inline { "go1.22" } else { "go1.17" });
        assert_eq!(found.modules, MODULES);
    }
    assert_eq!(GoBuildInfo::read(&b"#!/bin/sh"[..]).unwrap(), None);
}

#[test]
fn programs_of_this_machine() {
    let shell = std::fs::File::open("/bin/sh").unwrap();
    assert_eq!(GoBuildInfo::read(&shell).unwrap(), None);
    let Ok(go) = std::fs::File::open("/usr/local/go/bin/gofmt") else {
        println!("skipped: there is no program of Go");
        return;
    };
    let found = GoBuildInfo::read(&go).unwrap().unwrap();
    assert!(found.version.starts_with("go1."), "{found:?}");
    let Ok(output) = Command::new("/usr/local/go/bin/go")
        .args(["version", "-m", "/usr/local/go/bin/gofmt"])
        .output()
    else {
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(&found.version));
    for line in found.modules.lines() {
        assert!(text.contains(line), "{line}: {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_ones_never_panic(
        forms: (bool, bool, bool),
        changes in prop::collection::vec((0..700_usize, any::<u8>()), 1..10),
        cut in 0..1024_usize,
    ) {
        let mut bytes = program(forms.0, forms.1, forms.2);
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = GoBuildInfo::read(&bytes[..]);
        let _ = GoBuildInfo::read(&bytes[..cut]);
    }

    #[test]
    fn huge_numbers_never_panic(wide: bool, at in 16..300_usize, value in prop::sample::select(vec![0xff_u8, 0x7f])) {
        let mut bytes = program(wide, false, at % 2 == 0);
        bytes[at..at + 8].fill(value);
        let _ = GoBuildInfo::read(&bytes[..]);
    }
}
