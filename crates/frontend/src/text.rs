//! Texts in the form that Go's formatting gives them: history and names show it.

use std::time::Duration;

/// `["a" "b"]`: `%q` of a list.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(" "))
}

/// `[a b]`: `%v` of a list.
pub(crate) fn plain_list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            '\0'..='\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            _ if is_printable(c) => out.push(c),
            _ if u32::from(c) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation and symbols, by the standard library's
/// table; a letter in front keeps it from escaping combining marks.
fn is_printable(c: char) -> bool {
    let text = String::from_iter(['a', c]);
    text.escape_debug().eq(text.chars())
}

/// `1h2m3.5s`: a duration as Go prints it.
pub(crate) fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let with_fraction = |whole: u128, unit: u128, name: &str| {
        let mut text = format!("{}", whole / unit);
        let fraction = whole % unit;
        if fraction > 0 {
            let width = unit.ilog10() as usize;
            let digits = format!("{fraction:0width$}");
            text = format!("{text}.{}", digits.trim_end_matches('0'));
        }
        text + name
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(nanos, 1_000_000, "ms"),
        _ => {
            let (minutes, seconds) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let mut text = String::new();
            if minutes >= 60 {
                text = format!("{}h", minutes / 60);
            }
            if minutes > 0 {
                text = format!("{text}{}m", minutes % 60);
            }
            text + &with_fraction(seconds, 1_000_000_000, "s")
        }
    }
}

/// Seconds since 1970 as `2009-02-13T23:31:30Z`, years 1 to 9999.
pub(crate) fn timestamp(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    // Civil date of a day number, counted from 0000-03-01 in eras of 400 years.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The nearest of `options` to a mistyped word, if one is near enough: at most a
/// third of the word's letters away.
pub(crate) fn nearest<'a>(word: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = word.chars().count().div_ceil(3);
    options
        .into_iter()
        .map(|option| (distance(&word, &option.to_lowercase()), option))
        .filter(|(far, option)| *far > 0 && *far <= limit && *far < option.chars().count())
        .min_by_key(|(far, _)| *far)
        .map(|(_, option)| option)
}

/// Edits that turn one word into the other; a swap of neighbours counts as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        let items = ["a\"b".to_owned(), "é\u{a0}\u{1}\t".to_owned()];
        assert_eq!(quoted_list(&items), "[\"a\\\"b\" \"é\\u00a0\\x01\\t\"]");
    }

    #[test]
    fn durations_like_go() {
        for (millis, wanted) in [
            (0, "0s"),
            (1, "1ms"),
            (1_500, "1.5s"),
            (60_000, "1m0s"),
            (5_400_000, "1h30m0s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), wanted);
        }
        assert_eq!(duration(Duration::from_nanos(1_500)), "1.5µs");
    }

    #[test]
    fn timestamps() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00Z");
        assert_eq!(timestamp(1_234_567_890), "2009-02-13T23:31:30Z");
        assert_eq!(timestamp(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(timestamp(-1), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn suggestions() {
        assert_eq!(nearest("relaese", ["build", "release"]), Some("release"));
        assert_eq!(nearest("tset", ["build", "test"]), Some("test"));
        assert_eq!(nearest("0", ["build", "release"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
