//! Docker's default seccomp profile as a BPF program.
//!
//! Calls on the list are allowed; `socket`, `personality` and `clone` depend on an argument;
//! `clone3` is "not implemented", so that the C library falls back to `clone`, whose flags can be
//! looked at. Other calls get EPERM, and those that are newer than the list "not implemented", as
//! runc does, so that programs fall back to older ones. The instruction sets that the machine also
//! executes have the same rules with their own numbers; anything else is killed.

mod bpf;
mod table;

use std::io;
use std::sync::LazyLock;

use self::bpf::{Action, Assembler, Check, Rule};
use self::table::{Abi, NO, SYSCALLS};
use crate::sys;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

/// Set in the number of every x32 call.
const X32_BIT: u32 = 0x4000_0000;

/// Numbers from here on are ARM's private calls, far above the others.
const ARM_PRIVATE: u32 = 0xf_0000;

/// The namespace flags that `clone` may not have.
const CLONE_NAMESPACES: u32 = 0x7e02_0000;

const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;

/// Values of `personality` that are allowed: Linux, 32-bit uname, both of these with
/// UNAME26, and asking.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The bytes of the profile's program for this machine; made once per process.
pub(crate) fn docker_default() -> &'static [u8] {
    static PROGRAM: LazyLock<Vec<u8>> = LazyLock::new(|| bpf::bytes(&program()));
    &PROGRAM
}

/// (audit number, columns: the plain one and the x32 one).
type Architecture = (u32, Abi, Option<Abi>);

fn architectures() -> Vec<Architecture> {
    if cfg!(target_arch = "x86_64") {
        vec![
            (AUDIT_ARCH_X86_64, Abi::X86_64, Some(Abi::X32)),
            (AUDIT_ARCH_I386, Abi::I386, None),
        ]
    } else {
        vec![
            (AUDIT_ARCH_AARCH64, Abi::Aarch64, None),
            (AUDIT_ARCH_ARM, Abi::Arm, None),
        ]
    }
}

fn program() -> Vec<libc::sock_filter> {
    let mut assembler = Assembler::default();
    for (audit, abi, x32) in architectures() {
        let mut rules = rules(abi, 0);
        if let Some(x32) = x32 {
            rules.extend(self::rules(x32, X32_BIT));
        }
        assembler.architecture(audit, &rules);
    }
    assembler.finish()
}

/// The rules of one column, in order of number, up to and with the one for newer calls.
fn rules(abi: Abi, bit: u32) -> Vec<Rule> {
    let mut calls: Vec<(u32, Action)> = SYSCALLS
        .iter()
        .map(|(name, numbers)| (numbers[abi as usize], action(name)))
        .filter(|(number, _)| *number != NO)
        .collect();
    calls.sort_by_key(|(number, _)| *number);
    let ordinary = calls
        .iter()
        .map(|(number, _)| *number)
        .filter(|&n| n < ARM_PRIVATE);
    let newest = ordinary.max().unwrap_or(0);
    let mut rules = Vec::new();
    let mut next = 0;
    for (number, action) in calls {
        if number > next {
            push_gap(&mut rules, next, newest, bit);
        }
        rules.push(Rule::new(number | bit, action));
        next = number + 1;
    }
    push_gap(&mut rules, next, newest, bit);
    rules
}

/// What holds for the numbers from `start` that are not on the list.
fn push_gap(rules: &mut Vec<Rule>, start: u32, newest: u32, bit: u32) {
    let action = if start > newest {
        Action::NotImplemented
    } else {
        Action::Refuse
    };
    rules.push(Rule::new(start | bit, action));
}

fn action(name: &str) -> Action {
    match name {
        "clone3" => Action::NotImplemented,
        "clone" => Action::Argument(Check::NoneOf(CLONE_NAMESPACES)),
        "personality" => Action::Argument(Check::OneOf(&PERSONALITIES)),
        "socket" => Action::Argument(Check::Neither(AF_ALG, AF_VSOCK)),
        _ => Action::Allow,
    }
}

/// Installs a program for this thread and all that it starts. Needs CAP_SYS_ADMIN in the user
/// namespace, as no_new_privs stays as it is.
pub(crate) fn install(program: &[u8]) -> io::Result<()> {
    let filter = bpf::from_bytes(program);
    let length =
        libc::c_ushort::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog {
        len: length,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: `program` points to `len` instructions that live through the call; the kernel only
    // reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    sys::check(result)
}

#[cfg(test)]
mod tests;
