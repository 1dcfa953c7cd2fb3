//! One line of CSV, as in the values of `--mount` and `--device`.

use std::ops::Range;

/// A field's text without quotes, and its byte range in the line, quotes included.
pub type Field = (String, Range<usize>);

/// Splits a line. Quotes count only at the start of a field; `""` inside stands for one.
///
/// # Errors
/// What is wrong, as part of a sentence, and the offset.
pub fn fields(line: &str) -> Result<Vec<Field>, (&'static str, usize)> {
    if line.is_empty() {
        return Err(("it is empty", 0));
    }
    let mut out = Vec::new();
    let mut start = 0;
    loop {
        let (text, end) = if line[start..].starts_with('"') {
            quoted(line, start)?
        } else {
            bare(line, start)?
        };
        out.push((text, start..end));
        // Behind a field stands a comma or nothing.
        if end >= line.len() {
            return Ok(out);
        }
        start = end + 1;
    }
}

fn bare(line: &str, start: usize) -> Result<(String, usize), (&'static str, usize)> {
    let end = line[start..]
        .find(',')
        .map_or(line.len(), |length| start + length);
    match line[start..end].find('"') {
        Some(at) => Err((
            "a quote stands inside a field that does not start with one",
            start + at,
        )),
        None => Ok((line[start..end].to_owned(), end)),
    }
}

fn quoted(line: &str, start: usize) -> Result<(String, usize), (&'static str, usize)> {
    let mut text = String::new();
    let mut at = start + 1;
    loop {
        let Some(length) = line[at..].find('"') else {
            return Err(("a quoted field is not closed", start));
        };
        text.push_str(&line[at..at + length]);
        at += length + 1;
        match line[at..].chars().next() {
            Some('"') => {
                text.push('"');
                at += 1;
            }
            Some(',') | None => return Ok((text, at)),
            Some(_) => return Err(("text stands behind the closing quote of a field", at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn quotes_count_at_the_start_of_a_field() {
        let texts = |line: &str| {
            fields(line).map(|fields| fields.into_iter().map(|(text, _)| text).collect::<Vec<_>>())
        };
        for (line, expected) in [
            ("a", vec!["a"]),
            ("a,b=c,", vec!["a", "b=c", ""]),
            (",", vec!["", ""]),
            (r#""a,b",c"#, vec!["a,b", "c"]),
            (r#""a""b""#, vec![r#"a"b"#]),
            (r#""","#, vec!["", ""]),
        ] {
            assert_eq!(texts(line).expect(line), expected, "{line}");
        }
        for line in ["", r#"a"b"#, r#""a"#, r#""a"b"#, r#"a,""#] {
            assert!(texts(line).is_err(), "{line}");
        }
    }
}
