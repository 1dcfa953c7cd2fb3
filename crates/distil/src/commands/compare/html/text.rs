//! Text inside a page.

use std::time::Duration;

use crate::units;

/// Text that a browser shows as it is, between tags and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// At most `most` characters: what is in the middle is left out.
pub(super) fn shortened(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    let half = most.saturating_sub(1) / 2;
    let start: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

/// A size: `1.94 MB`, with a blank that does not break.
pub(super) fn amount(bytes: u64) -> String {
    spaced(&units::bytes(bytes))
}

/// A time: `12.3 ms`.
pub(super) fn time(time: Duration) -> String {
    spaced(&units::short_time(time))
}

/// A number with its thousands apart: `41,234`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things: `1 file`, `2 files`.
pub(super) fn plural(count: u64, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        _ => format!("{} {thing}s", number(count)),
    }
}

fn spaced(text: &str) -> String {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    format!("{}\u{a0}{}", &text[..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(
            escape("<a href=\"x\">'&'"),
            "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;"
        );
        assert_eq!(shortened("äbcdefghij", 5), "äb…ij");
        assert_eq!(shortened("abcde", 5), "abcde");
        assert_eq!(amount(1_940_000), "1.94\u{a0}MB");
        assert_eq!(
            (number(1234567), number(999)),
            ("1,234,567".to_owned(), "999".to_owned())
        );
        assert_eq!(
            (plural(1, "file"), plural(2000, "file")),
            ("1 file".to_owned(), "2,000 files".to_owned())
        );
    }
}
