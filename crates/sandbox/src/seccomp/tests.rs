//! The program is run by an interpreter here; `tests/` runs it in the kernel.

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL: u32 = 0x8000_0000;

fn number(name: &str, abi: Abi) -> Option<u32> {
    SYSCALLS
        .iter()
        .find(|(other, _)| *other == name)
        .map(|(_, numbers)| numbers[abi as usize])
        .filter(|&number| number != NO)
}

#[test]
fn allows_every_listed_call_of_every_instruction_set() {
    let program = program();
    for (audit, abi, x32) in architectures() {
        for (column, bit) in [(Some(abi), 0), (x32, X32_BIT)] {
            let Some(column) = column else { continue };
            for (name, numbers) in SYSCALLS {
                let number = numbers[column as usize];
                if number == NO {
                    continue;
                }
                let expected = if *name == "clone3" { ENOSYS } else { ALLOW };
                let result = bpf::interpret(&program, audit, number | bit, 0);
                assert_eq!(result, expected, "{name} {column:?}");
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn refuses_what_is_not_listed() {
    let program = program();
    let run = |number| bpf::interpret(&program, AUDIT_ARCH_X86_64, number, 0);
    // mount, umount2, unshare, keyctl, bpf, setns, reboot, io_uring_setup
    for number in [165, 166, 272, 250, 321, 308, 169, 425] {
        assert_eq!(run(number), EPERM, "{number}");
        assert_eq!(run(number | X32_BIT), EPERM, "x32 {number}");
    }
    assert_eq!(run(467), ENOSYS);
    assert_eq!(run(5000), ENOSYS);
    assert_eq!(run(548 | X32_BIT), ENOSYS);
    // i386: mount, keyctl
    for number in [21, 288] {
        assert_eq!(bpf::interpret(&program, AUDIT_ARCH_I386, number, 0), EPERM);
    }
    assert_eq!(bpf::interpret(&program, AUDIT_ARCH_AARCH64, 0, 0), KILL);
}

#[test]
fn looks_at_arguments() {
    let program = program();
    for (audit, abi, _) in architectures() {
        let run = |name: &str, argument: u64| {
            number(name, abi).map(|number| bpf::interpret(&program, audit, number, argument))
        };
        let cases: &[(&str, u64, u32)] = &[
            ("clone", 0x0000_0011, ALLOW),
            ("clone", 0x003d_0f00, ALLOW),
            ("clone", 0x1000_0011, EPERM),
            ("clone", 0x0002_0011, EPERM),
            ("personality", 0, ALLOW),
            ("personality", 0xffff_ffff, ALLOW),
            ("personality", 0x0004_0000, EPERM),
            ("personality", 0x1_0000_0000, EPERM),
            ("socket", 2, ALLOW),
            ("socket", 39, ALLOW),
            ("socket", 38, EPERM),
            ("socket", 40, EPERM),
            ("socket", 41, ALLOW),
        ];
        for (name, argument, expected) in cases {
            let result = run(name, *argument).expect(name);
            assert_eq!(result, *expected, "{name} {argument:#x} {abi:?}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn numbers_agree_with_the_c_library() {
    let known = [
        ("read", libc::SYS_read),
        ("execve", libc::SYS_execve),
        ("openat2", libc::SYS_openat2),
        ("close_range", libc::SYS_close_range),
        ("statx", libc::SYS_statx),
        ("prlimit64", libc::SYS_prlimit64),
        ("fchmodat2", libc::SYS_fchmodat2),
    ];
    for (name, expected) in known {
        assert_eq!(number(name, Abi::X86_64).map(i64::from), Some(expected), "{name}");
    }
}

#[test]
fn is_small_and_survives_the_way_to_the_helper() {
    let program = program();
    assert!(program.len() < 2000, "{}", program.len());
    let back = bpf::from_bytes(&bpf::bytes(&program));
    assert_eq!(bpf::bytes(&back), docker_default());
}
