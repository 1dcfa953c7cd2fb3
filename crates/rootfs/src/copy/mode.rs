//! File modes as `--chmod` gives them.

/// What happens to the mode of a copied file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FileMode {
    /// The source's mode.
    #[default]
    Keep,
    /// These bits (07777), for files and directories alike; created parents get the
    /// permission bits of it.
    Octal(u32),
    /// A change such as `u=rwX,go=rX`; created parents are 0755.
    Symbolic(SymbolicMode),
}

impl FileMode {
    /// The mode of a copy of a file with `mode`.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            FileMode::Keep => mode,
            FileMode::Octal(bits) => bits & 0o7777,
            FileMode::Symbolic(change) => change.apply(mode, is_dir),
        }
    }

    /// The mode of directories that a copy creates on the way.
    pub(crate) fn of_parents(&self) -> u32 {
        match self {
            FileMode::Octal(bits) => bits & 0o777,
            FileMode::Keep | FileMode::Symbolic(_) => 0o755,
        }
    }
}

/// A mode string is malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{mode}` is no file mode: use octal digits such as `644` or changes such as `u=rwX,go=rX`")]
pub struct ModeError {
    /// The string as given.
    pub mode: String,
}

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const STANDARD: u32 = SET_UID | SET_GID | 0o777;
const EXECUTE: u32 = 0o111;

/// A parsed mode change in the syntax of chmod(1), umask 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolicMode {
    steps: Vec<Step>,
}

/// One elementary change, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Set(u32),
    Clear(u32),
    /// `X`: set when it is a directory or was executable by anyone.
    SetIfExecutable(u32),
    /// `u=g`: copy the permissions of the class at shift `from` to the classes in `to`.
    Copy {
        from: u32,
        to: u32,
        op: char,
    },
}

impl SymbolicMode {
    /// Parses octal digits, or `[ugoa]*([-+=][rwxXstugo]*)+` changes separated by commas.
    pub fn parse(text: &str) -> Result<SymbolicMode, ModeError> {
        let bad = || ModeError {
            mode: text.to_owned(),
        };
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let bits = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            if bits > 0o7777 {
                return Err(bad());
            }
            return Ok(SymbolicMode {
                steps: vec![Step::Clear(0o7777), Step::Set(bits)],
            });
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            parse_clause(clause, &mut steps).ok_or_else(bad)?;
        }
        Ok(SymbolicMode { steps })
    }

    /// The mode (07777) of a file whose mode was `mode`.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let executable = is_dir || mode & EXECUTE != 0;
        let mut new = mode & 0o7777;
        for step in &self.steps {
            match *step {
                Step::Set(bits) => new |= bits,
                Step::Clear(bits) => new &= !bits,
                Step::SetIfExecutable(bits) if executable => new |= bits,
                Step::SetIfExecutable(_) => {}
                Step::Copy { from, to, op } => new = copy_class(new, from, to, op),
            }
        }
        new
    }
}

fn copy_class(mode: u32, from: u32, to: u32, op: char) -> u32 {
    let value = (mode >> from) & 0o7;
    let mut new = mode;
    for shift in [6, 3, 0] {
        if to & (0o7 << shift) == 0 {
            continue;
        }
        match op {
            '+' => new |= value << shift,
            '-' => new &= !(value << shift),
            _ => new = (new & !(0o7 << shift)) | (value << shift),
        }
    }
    new
}

fn parse_clause(clause: &str, steps: &mut Vec<Step>) -> Option<()> {
    let ops = clause.find(['+', '-', '='])?;
    let mut who = 0;
    for class in clause[..ops].chars() {
        who |= match class {
            'a' => STANDARD,
            'u' => SET_UID | 0o700,
            'g' => SET_GID | 0o070,
            'o' => 0o007,
            _ => return None,
        };
    }
    let mut rest = &clause[ops..];
    while let Some(op) = rest.chars().next() {
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |at| at + 1);
        parse_change(op, who, &rest[1..end], steps)?;
        rest = &rest[end..];
    }
    Some(())
}

/// One operator with its permissions.
fn parse_change(op: char, who: u32, perms: &str, steps: &mut Vec<Step>) -> Option<()> {
    let mut mask = if who == 0 { STANDARD | STICKY } else { who };
    // For others alone, set-id and sticky mean nothing.
    let special = who == 0 || who & !0o007 != 0;
    let (mut bits, mut if_executable) = (0, 0);
    let mut copies = Vec::new();
    for perm in perms.chars() {
        match perm {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= EXECUTE,
            'X' if op == '-' => bits |= EXECUTE,
            'X' => if_executable |= EXECUTE,
            's' if special => bits |= SET_UID | SET_GID,
            't' if special => {
                bits |= STICKY;
                mask |= STICKY;
            }
            's' | 't' => {}
            'u' => copies.push(6),
            'g' => copies.push(3),
            'o' => copies.push(0),
            _ => return None,
        }
    }
    let set = |bits: u32| bits & mask;
    match op {
        '-' => steps.push(Step::Clear(set(bits))),
        _ => {
            // Copying a class replaces it by itself.
            if op == '=' && (copies.is_empty() || bits != 0) {
                let cleared = if who == 0 { STANDARD } else { who };
                steps.push(Step::Clear(cleared | (bits & STICKY & mask)));
            }
            steps.push(Step::Set(set(bits)));
        }
    }
    if if_executable != 0 {
        steps.push(Step::SetIfExecutable(set(if_executable)));
    }
    let to = if who == 0 { 0o777 } else { who & 0o777 };
    steps.extend(copies.into_iter().map(|from| Step::Copy { from, to, op }));
    Some(())
}
