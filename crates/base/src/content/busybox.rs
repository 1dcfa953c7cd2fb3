//! The commands in a busybox binary, found without running it.
//!
//! busybox keeps the names of its commands in one table of sorted strings, each
//! ended by NUL and the whole by one more NUL. It begins with `[` and, in every
//! build that has a shell, `[[`.

/// Names of all commands in the binary, in its order; empty when it has no table.
#[must_use]
pub fn busybox_commands(binary: &[u8]) -> Vec<String> {
    const START: &[u8] = b"[\0[[\0";
    let mut best = Vec::new();
    for at in memchr::memmem::find_iter(binary, START) {
        let names = table(&binary[at..]);
        if names.len() > best.len() {
            best = names;
        }
    }
    best
}

fn table(bytes: &[u8]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for part in bytes.split(|byte| *byte == 0) {
        let is_name = !part.is_empty()
            && part.len() < 64
            && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"[-_.+".contains(byte));
        let Ok(name) = std::str::from_utf8(part) else {
            break;
        };
        if !is_name || names.last().is_some_and(|last| last.as_str() >= name) {
            break;
        }
        names.push(name.to_owned());
    }
    names
}
