//! Names of files, which are any bytes, as text that is safe on a terminal.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `name` with everything escaped that would move a cursor, change the direction of text or end the line:
/// `\n`, `\t`, `\r`, `\\`, `\u{1b}`, and `\xff` for a byte that is no UTF-8. Different names give different
/// texts.
#[must_use]
pub fn printable(name: &OsStr) -> String {
    let mut text = String::with_capacity(name.len());
    for chunk in name.as_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\\' => text.push_str("\\\\"),
                _ => push(&mut text, letter),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Text that is no name, such as an instruction or a message, safe on a terminal: as [`printable`], but a
/// backslash stays one.
#[must_use]
pub fn printable_text(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    text.chars().for_each(|letter| push(&mut safe, letter));
    safe
}

fn push(text: &mut String, letter: char) {
    match letter {
        '\n' | '\t' | '\r' => text.extend(letter.escape_default()),
        _ if letter.is_control() || is_invisible(letter) => text.extend(letter.escape_unicode()),
        _ => text.push(letter),
    }
}

/// [`printable`] for a path.
#[must_use]
pub fn printable_path(path: &Path) -> String {
    printable(path.as_os_str())
}

/// Characters without a width or that reorder others (Unicode's marks, embeddings, isolates and separators).
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        for (name, text) in [
            (&b"/usr/bin/\xc3\xa9"[..], "/usr/bin/é"),
            (b"a\nb\tc\\n", "a\\nb\\tc\\\\n"),
            (b"\x1b[31mred\x7f", "\\u{1b}[31mred\\u{7f}"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("x\u{202e}y".as_bytes(), "x\\u{202e}y"),
            ("\u{9b}2J".as_bytes(), "\\u{9b}2J"),
        ] {
            assert_eq!(printable(OsStr::from_bytes(name)), text);
        }
        assert_eq!(printable_text("printf 'a\\n'\u{1b}"), "printf 'a\\n'\\u{1b}");
    }
}
