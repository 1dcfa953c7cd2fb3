//! Control-file paragraphs (deb822) without copying.
//!
//! Rules: Debian Policy 5.1 and deb822(5). A paragraph ends at a line that is
//! empty or only blanks; a line that starts with a blank continues the field
//! above it; `#` in the first column is a comment; field names compare without
//! regard to case.

/// An iterator over the paragraphs of a text.
#[derive(Debug, Clone)]
pub struct Paragraphs<'a> {
    rest: &'a str,
}

/// Iterates over the paragraphs of `text`.
pub fn paragraphs(text: &str) -> Paragraphs<'_> {
    Paragraphs { rest: text }
}

impl<'a> Iterator for Paragraphs<'a> {
    type Item = Paragraph<'a>;

    fn next(&mut self) -> Option<Paragraph<'a>> {
        loop {
            let line = first_line(self.rest)?;
            if !is_blank(line) {
                break;
            }
            self.rest = &self.rest[line.len()..];
        }
        let start = self.rest;
        let mut length = 0;
        while let Some(line) = first_line(&start[length..]) {
            if is_blank(line) {
                break;
            }
            length += line.len();
        }
        self.rest = &start[length..];
        Some(Paragraph {
            text: &start[..length],
        })
    }
}

/// The first line with its newline, or `None` at the end of the text.
fn first_line(text: &str) -> Option<&str> {
    if text.is_empty() {
        return None;
    }
    let end = memchr::memchr(b'\n', text.as_bytes()).map_or(text.len(), |at| at + 1);
    Some(&text[..end])
}

fn is_blank(line: &str) -> bool {
    line.bytes().all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
}

/// One paragraph: a run of fields.
#[derive(Debug, Clone, Copy)]
pub struct Paragraph<'a> {
    text: &'a str,
}

impl<'a> Paragraph<'a> {
    /// The paragraph as it was written, with the newline of its last line.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Iterates over the fields in their order: name, and raw value with inner
    /// newlines and the leading blanks of continuation lines kept, the ends
    /// trimmed. A line that is neither a field nor a continuation is skipped.
    pub fn fields(&self) -> Fields<'a> {
        Fields { rest: self.text }
    }

    /// The value of the field `name`, the first one when it stands twice.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// An iterator over the fields of a paragraph, see [`Paragraph::fields`].
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = first_line(self.rest)?;
            let text = self.rest;
            let mut length = line.len();
            let head = (!line.starts_with(['#', ' ', '\t']))
                .then(|| memchr::memchr(b':', line.as_bytes()))
                .flatten();
            let Some(colon) = head else {
                self.rest = &text[length..];
                continue;
            };
            while let Some(next) = first_line(&text[length..]) {
                if !next.starts_with([' ', '\t', '#']) {
                    break;
                }
                length += next.len();
            }
            self.rest = &text[length..];
            return Some((text[..colon].trim(), text[colon + 1..length].trim()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_paragraphs_and_fields() {
        let text = "\n\nPackage: a\nDepends: b,\n c (>= 1)\n# note\nSize: 3\n \t\nPackage: b\n";
        let all: Vec<_> = paragraphs(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].get("package"), Some("a"));
        assert_eq!(all[0].get("Depends"), Some("b,\n c (>= 1)\n# note"));
        assert_eq!(all[0].get("SIZE"), Some("3"));
        assert_eq!(all[0].get("Missing"), None);
        assert_eq!(all[1].get("Package"), Some("b"));
    }

    #[test]
    fn survives_junk() {
        for text in [
            "",
            "\n",
            ":",
            ":\n:",
            " x\n y",
            "no colon\nA: b",
            "A:",
            "\u{e9}: \u{e9}\n \u{e9}",
        ] {
            for paragraph in paragraphs(text) {
                let _ = paragraph.fields().count();
            }
        }
        assert_eq!(
            paragraphs("no colon\nA: b").next().and_then(|p| p.get("A")),
            Some("b")
        );
    }
}
