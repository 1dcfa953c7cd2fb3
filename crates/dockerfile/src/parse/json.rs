//! JSON arrays of strings, read so that each string keeps its place.
//!
//! Text counts as JSON exactly where Go's `encoding/json` takes it; all else is shell form.

use std::ops::Range;

/// Deeper nesting is refused by Go's decoder.
const MAX_DEPTH: usize = 10_000;

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Array {
    /// An array of strings, with the byte range of each in the text, quotes included.
    Strings(Vec<(String, Range<usize>)>),
    /// A valid array in which something is no string; its place.
    NotStrings(Range<usize>),
    /// Not a valid JSON array.
    No,
}

pub(super) fn array(text: &str) -> Array {
    let mut reader = Reader {
        bytes: text.as_bytes(),
        text,
        at: 0,
    };
    reader.blank();
    if reader.peek() != Some(b'[') {
        return Array::No;
    }
    match reader.strings() {
        Some((_, Some(other))) => Array::NotStrings(other),
        Some((strings, None)) => Array::Strings(strings),
        None => Array::No,
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

/// The strings of an array, and the place of the first element that is none.
type Elements = (Vec<(String, Range<usize>)>, Option<Range<usize>>);

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// The whole text as one array; `None` where it is not valid.
    fn strings(&mut self) -> Option<Elements> {
        self.at += 1;
        let (mut strings, mut other) = (Vec::new(), None);
        self.blank();
        if !self.take(b']') {
            loop {
                self.blank();
                let start = self.at;
                if self.peek() == Some(b'"') {
                    let value = self.string()?;
                    strings.push((value, start..self.at));
                } else {
                    self.value()?;
                    other.get_or_insert(start..self.at);
                }
                self.blank();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
            }
        }
        self.blank();
        (self.at == self.bytes.len()).then_some((strings, other))
    }

    /// Skips any value. A stack of open brackets instead of recursion, so that no input can exhaust the stack.
    fn value(&mut self) -> Option<()> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blank();
            match self.peek()? {
                bracket @ (b'[' | b'{') => {
                    self.at += 1;
                    open.push(bracket);
                    if open.len() >= MAX_DEPTH {
                        return None;
                    }
                    self.blank();
                    let close = if bracket == b'[' { b']' } else { b'}' };
                    if self.peek() != Some(close) {
                        if bracket == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => self.number()?,
            }
            if self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// Behind a value: closes what ends here. True when the outermost value has ended.
    fn close(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        loop {
            let Some(&bracket) = open.last() else {
                return Some(true);
            };
            self.blank();
            if self.take(if bracket == b'[' { b']' } else { b'}' }) {
                open.pop();
                continue;
            }
            if !self.take(b',') {
                return None;
            }
            if bracket == b'{' {
                self.key()?;
            }
            return Some(false);
        }
    }

    fn key(&mut self) -> Option<()> {
        self.blank();
        self.string()?;
        self.blank();
        self.take(b':').then_some(())
    }

    fn literal(&mut self, word: &str) -> Option<()> {
        let found = self.text[self.at..].starts_with(word);
        self.at += word.len();
        found.then_some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        // A number that no `f64` holds is an error, as in Go.
        self.text[start..self.at]
            .parse::<f64>()
            .is_ok_and(f64::is_finite)
            .then_some(())
    }

    /// A string, from its opening quote to behind its closing one.
    fn string(&mut self) -> Option<String> {
        if !self.take(b'"') {
            return None;
        }
        let mut out = String::new();
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            {
                self.at += 1;
            }
            // Both ends are next to ASCII bytes, so they are character boundaries.
            out.push_str(&self.text[start..self.at]);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(out);
                }
                b'\\' => {
                    self.at += 1;
                    out.push(self.escaped()?);
                }
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                self.surrogate(unit)
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.bytes.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Joins a surrogate pair. A lone half becomes U+FFFD, as in Go.
    fn surrogate(&mut self, unit: u32) -> char {
        if let Some(c) = char::from_u32(unit) {
            return c;
        }
        let back = self.at;
        if (0xd800..0xdc00).contains(&unit)
            && self.take(b'\\')
            && self.take(b'u')
            && let Some(low @ 0xdc00..0xe000) = self.hex()
        {
            let joined = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER);
        }
        self.at = back;
        char::REPLACEMENT_CHARACTER
    }
}
