//! JSON as Go's encoder writes it, because digests of configs and manifests must not depend on who wrote them.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Compact JSON; `<`, `>`, `&`, U+2028 and U+2029 are written as `\u` escapes, like Go's `json.Marshal`.
///
/// Object keys come in the order that the type writes them: structs in field order, maps as they iterate
/// (use `BTreeMap`).
///
/// # Errors
/// Only when the type's own `Serialize` fails, as for a map with keys that are not strings.
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    write(value, Escaping(CompactFormatter))
}

/// JSON indented by two spaces, with the same escapes, like Go's `json.MarshalIndent(v, "", "  ")`.
///
/// # Errors
/// As [`canonical_json`].
pub fn indented_json<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    write(value, Escaping(PrettyFormatter::new()))
}

fn write<T: Serialize + ?Sized, F: Formatter>(value: &T, formatter: F) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter))?;
    Ok(bytes)
}

/// A formatter that adds Go's escapes to another.
struct Escaping<F>(F);

fn needs_escape(c: char) -> bool {
    matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}')
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl<F: Formatter> Formatter for Escaping<F> {
    delegate! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(needs_escape) {
            let (plain, from) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Reads `null` as the type's default, as Go's decoder does.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

/// A set of names that JSON shows as an object with empty objects as values (`{"80/tcp":{}}`).
pub(crate) mod name_set {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::{Deserialize, Deserializer, Serializer};
    use serde_json::Value;

    pub(crate) fn serialize<S: Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(set.iter().map(|name| (name, BTreeMap::<String, ()>::new())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let names = Option::<BTreeMap<String, Value>>::deserialize(deserializer)?;
        Ok(names.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_go() {
        let text = canonical_json("a<b>&\u{2028}é\"\u{1}\n").unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#""a\u003cb\u003e\u0026\u2028é\"\u0001\n""#
        );
    }

    #[test]
    fn indents_by_two_spaces() {
        let value = serde_json::json!({"a": [1, {"b": "<"}], "c": {}, "d": []});
        let text = String::from_utf8(indented_json(&value).unwrap()).unwrap();
        let expected = "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"\\u003c\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}";
        assert_eq!(text, expected);
    }
}
