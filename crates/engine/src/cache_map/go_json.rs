//! JSON as Go's `encoding/json` writes structs: fields in declared order, empty ones left out, `<`, `>`
//! and `&` escaped. Cache keys are hashes of such text, so it must be exact.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A JSON object under construction.
#[derive(Debug)]
pub(super) struct Object {
    text: String,
}

impl Object {
    pub(super) fn new() -> Self {
        Self { text: "{".into() }
    }

    /// Adds a field whose value is JSON already.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if self.text.len() > 1 {
            self.text.push(',');
        }
        push_string(&mut self.text, name);
        self.text.push(':');
        self.text.push_str(json);
        self
    }

    /// A string; left out when empty.
    pub(super) fn string(self, name: &str, value: &str) -> Self {
        if value.is_empty() {
            self
        } else {
            self.always_string(name, value)
        }
    }

    /// A string, also an empty one.
    pub(super) fn always_string(self, name: &str, value: &str) -> Self {
        let json = quoted(value);
        self.raw(name, &json)
    }

    /// A number; left out when 0.
    pub(super) fn number(self, name: &str, value: impl Into<i64>) -> Self {
        let value = value.into();
        if value == 0 {
            self
        } else {
            self.raw(name, &value.to_string())
        }
    }

    /// A boolean; left out when false.
    pub(super) fn boolean(self, name: &str, value: bool) -> Self {
        if value { self.raw(name, "true") } else { self }
    }

    /// Bytes in base64; left out when there are none.
    pub(super) fn bytes(self, name: &str, value: &[u8]) -> Self {
        if value.is_empty() {
            self
        } else {
            self.raw(name, &base64_json(value))
        }
    }

    /// An array of strings; left out when empty.
    pub(super) fn strings(self, name: &str, values: &[String]) -> Self {
        self.list(name, values, |value| quoted(value))
    }

    /// An array; left out when empty.
    pub(super) fn list<T>(self, name: &str, values: &[T], json: impl Fn(&T) -> String) -> Self {
        if values.is_empty() {
            self
        } else {
            self.raw(name, &array(values.iter().map(json)))
        }
    }

    /// A nested object; left out when absent.
    pub(super) fn optional<T>(self, name: &str, value: Option<&T>, json: impl FnOnce(&T) -> String) -> Self {
        match value {
            Some(value) => {
                let json = json(value);
                self.raw(name, &json)
            }
            None => self,
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

/// A JSON array of values that are JSON already.
pub(super) fn array(values: impl Iterator<Item = String>) -> String {
    let mut text = String::from("[");
    for (index, value) in values.enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&value);
    }
    text.push(']');
    text
}

/// Bytes as Go writes `[]byte`.
pub(super) fn base64_json(bytes: &[u8]) -> String {
    format!("\"{}\"", BASE64_STANDARD.encode(bytes))
}

fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    push_string(&mut text, value);
    text
}

fn push_string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (value, json) in [
            ("a<b>&c", r#""a\u003cb\u003e\u0026c""#),
            ("tab\tnew\nline", r#""tab\tnew\nline""#),
            ("\u{1}\u{7f}é\u{2028}", "\"\\u0001\u{7f}é\\u2028\""),
            ("q\"b\\", r#""q\"b\\""#),
        ] {
            assert_eq!(quoted(value), json);
        }
    }

    #[test]
    fn empty_fields_are_left_out() {
        let text = Object::new()
            .string("a", "")
            .number("b", 0)
            .boolean("c", false)
            .number("d", -1)
            .finish();
        assert_eq!(text, r#"{"d":-1}"#);
    }
}
