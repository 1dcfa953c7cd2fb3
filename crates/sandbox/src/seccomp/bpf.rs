//! A small assembler for seccomp programs: a binary search over call numbers, so that loading and
//! running it stays cheap with hundreds of calls.

use libc::sock_filter;

const LOAD_WORD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Low half of the first argument (all our machines are little-endian).
const ARGUMENT_LOW: u32 = 16;
const ARGUMENT_HIGH: u32 = 20;

const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// A condition on the first argument under which a call is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// None of these bits is set.
    NoneOf(u32),
    /// The 64-bit argument is one of these.
    OneOf(&'static [u32]),
    /// The 64-bit argument is neither of these.
    Neither(u32, u32),
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    /// EPERM.
    Refuse,
    /// ENOSYS.
    NotImplemented,
    /// Allowed when the condition holds, else EPERM.
    Argument(Check),
}

/// The action for call numbers from `start` up to the next rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    start: u32,
    action: Action,
}

impl Rule {
    pub(super) fn new(start: u32, action: Action) -> Rule {
        Rule { start, action }
    }
}

/// Collects the program.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<sock_filter>,
}

impl Assembler {
    /// The rules of one instruction set, in order of number, the first from 0.
    pub(super) fn architecture(&mut self, audit: u32, rules: &[Rule]) {
        let mut merged: Vec<Rule> = Vec::new();
        for rule in rules {
            if merged.last().is_none_or(|last| last.action != rule.action) {
                merged.push(*rule);
            }
        }
        let mut body = vec![statement(LOAD_WORD, NUMBER)];
        body.extend(search(&merged));
        self.code.push(statement(LOAD_WORD, ARCHITECTURE));
        self.code.push(jump(JUMP_EQUAL, audit, 1, 0));
        self.code.push(statement(JUMP, length(&body)));
        self.code.extend(body);
    }

    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.code.push(statement(RETURN, RET_KILL_PROCESS));
        self.code
    }
}

/// Every path of the result returns.
fn search(rules: &[Rule]) -> Vec<sock_filter> {
    match rules {
        [] => vec![statement(RETURN, RET_ERRNO | EPERM)],
        [rule] => act(rule.action),
        _ => {
            let (low, high) = rules.split_at(rules.len() / 2);
            let low_code = search(low);
            let mut code = vec![
                jump(JUMP_AT_LEAST, high[0].start, 0, 1),
                statement(JUMP, length(&low_code)),
            ];
            code.extend(low_code);
            code.extend(search(high));
            code
        }
    }
}

fn act(action: Action) -> Vec<sock_filter> {
    match action {
        Action::Allow => vec![statement(RETURN, RET_ALLOW)],
        Action::Refuse => vec![statement(RETURN, RET_ERRNO | EPERM)],
        Action::NotImplemented => vec![statement(RETURN, RET_ERRNO | ENOSYS)],
        Action::Argument(check) => examine(check),
    }
}

fn examine(check: Check) -> Vec<sock_filter> {
    let allow = statement(RETURN, RET_ALLOW);
    let refuse = statement(RETURN, RET_ERRNO | EPERM);
    match check {
        Check::NoneOf(bits) => vec![
            statement(LOAD_WORD, ARGUMENT_LOW),
            jump(JUMP_ANY_BIT, bits, 0, 1),
            refuse,
            allow,
        ],
        Check::OneOf(values) => {
            let mut code = high_half_is_zero(refuse);
            for value in values {
                code.extend([jump(JUMP_EQUAL, *value, 0, 1), allow]);
            }
            code.push(refuse);
            code
        }
        Check::Neither(first, second) => {
            let mut code = high_half_is_zero(allow);
            for value in [first, second] {
                code.extend([jump(JUMP_EQUAL, value, 0, 1), refuse]);
            }
            code.push(allow);
            code
        }
    }
}

/// Returns `otherwise` when the high half of the argument is set, else loads the low half.
fn high_half_is_zero(otherwise: sock_filter) -> Vec<sock_filter> {
    vec![
        statement(LOAD_WORD, ARGUMENT_HIGH),
        jump(JUMP_EQUAL, 0, 1, 0),
        otherwise,
        statement(LOAD_WORD, ARGUMENT_LOW),
    ]
}

fn statement(code: u16, k: u32) -> sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// A program has at most 4096 instructions.
fn length(code: &[sock_filter]) -> u32 {
    u32::try_from(code.len()).unwrap_or(u32::MAX)
}

/// The instructions as bytes, for the way to the helper.
pub(super) fn bytes(program: &[sock_filter]) -> Vec<u8> {
    let encode = |instruction: &sock_filter| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&instruction.code.to_ne_bytes());
        bytes[2] = instruction.jt;
        bytes[3] = instruction.jf;
        bytes[4..].copy_from_slice(&instruction.k.to_ne_bytes());
        bytes
    };
    program.iter().flat_map(encode).collect()
}

/// The opposite of [`bytes`].
pub(super) fn from_bytes(bytes: &[u8]) -> Vec<sock_filter> {
    let decode = |bytes: &[u8]| sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.chunks_exact(8).map(decode).collect()
}

/// Runs a program as the kernel would; tests only.
#[cfg(test)]
pub(super) fn interpret(program: &[sock_filter], audit: u32, number: u32, argument: u64) -> u32 {
    let mut at = 0;
    let mut accumulator = 0;
    loop {
        let instruction = program[at];
        at += 1;
        let mut branch = |taken: bool| {
            at += usize::from(if taken { instruction.jt } else { instruction.jf });
        };
        match instruction.code {
            LOAD_WORD => {
                accumulator = match instruction.k {
                    NUMBER => number,
                    ARCHITECTURE => audit,
                    ARGUMENT_LOW => argument as u32,
                    _ => (argument >> 32) as u32,
                }
            }
            JUMP => at += instruction.k as usize,
            JUMP_EQUAL => branch(accumulator == instruction.k),
            JUMP_AT_LEAST => branch(accumulator >= instruction.k),
            JUMP_ANY_BIT => branch(accumulator & instruction.k != 0),
            _ => return instruction.k,
        }
    }
}
