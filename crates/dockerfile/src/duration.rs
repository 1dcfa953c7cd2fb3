//! Durations in Go's notation: `1h30m`, `1.5s`, `300ms`.

/// Parses a duration to nanoseconds.
///
/// # Errors
/// What is wrong with the text, as part of a sentence.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if body == "0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut total: i128 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (nanoseconds, tail) = component(rest)?;
        total += nanoseconds;
        if total > i128::from(i64::MAX) {
            return Err("it is too long".to_owned());
        }
        rest = tail;
    }
    let total = i64::try_from(total).map_err(|_| "it is too long".to_owned())?;
    Ok(if negative { -total } else { total })
}

/// One number with its unit, in nanoseconds, and what follows.
fn component(text: &str) -> Result<(i128, &str), String> {
    let digits_end = |s: &str| s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
    let (whole, mut rest) = text.split_at(digits_end(text));
    let mut fraction = "";
    if let Some(behind) = rest.strip_prefix('.') {
        (fraction, rest) = behind.split_at(digits_end(behind));
    }
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing".to_owned());
    }
    let unit_end = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_end);
    let scale: i128 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" => return Err("a unit is missing".to_owned()),
        other => return Err(format!("`{other}` is no unit")),
    };
    let number: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| "it is too long".to_owned())?
    };
    let whole = number
        .checked_mul(scale)
        .filter(|total| *total <= i128::from(i64::MAX))
        .ok_or("it is too long")?;
    // Eighteen digits are more than any unit can resolve.
    let fraction = &fraction[..fraction.len().min(18)];
    let part = if fraction.is_empty() {
        0
    } else {
        let digits: i128 = fraction.parse().map_err(|_| "it is too long".to_owned())?;
        digits * scale / 10_i128.pow(u32::try_from(fraction.len()).unwrap_or(18))
    };
    Ok((whole + part, rest))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("1ns", Some(1)),
            ("1us", Some(1_000)),
            ("1µs", Some(1_000)),
            ("1.5ms", Some(1_500_000)),
            (".5s", Some(500_000_000)),
            ("1.s", Some(1_000_000_000)),
            ("1h2m3s", Some(3_723_000_000_000)),
            ("+1m", Some(60_000_000_000)),
            ("-1m", Some(-60_000_000_000)),
            ("0.1234567890123456789s", Some(123_456_789)),
            ("", None),
            ("-", None),
            ("1", None),
            ("s", None),
            (".s", None),
            ("1d", None),
            ("1 s", None),
            ("9999999h", None),
            ("99999999999999999999999999999999999999999s", None),
        ] {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
