//! Dates of Release files.

/// Seconds since 1970-01-01 00:00:00 UTC.
pub type UnixTime = i64;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads a date as Release files hold it, `Sat, 06 Sep 2025 09:57:03 UTC`;
/// the weekday is optional and not checked, the zone must be UTC.
#[must_use]
pub fn parse_date(text: &str) -> Option<UnixTime> {
    let text = text.split_once(',').map_or(text, |(_, rest)| rest);
    let mut words = text.split_ascii_whitespace();
    let day: i64 = words.next()?.parse().ok()?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|m| m.eq_ignore_ascii_case(month_name))?;
    let year: i64 = words.next()?.parse().ok()?;
    let clock = words.next()?;
    let zone = words.next()?;
    if !matches!(zone, "UTC" | "GMT" | "UT" | "Z" | "+0000") || words.next().is_some() {
        return None;
    }
    let mut parts = clock.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let in_range = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range || parts.next().is_some() {
        return None;
    }
    let days = days_from_civil(year, month as i64 + 1, day);
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Writes a time as `2025-09-06 09:57:03 UTC`.
#[must_use]
pub fn format_time(time: UnixTime) -> String {
    let (days, seconds) = (time.div_euclid(86_400), time.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// Writes a time as `2025-09-06T09:57:03Z` (RFC 3339).
#[must_use]
pub fn format_rfc3339(time: UnixTime) -> String {
    format_time(time).replacen(' ', "T", 1).replace(" UTC", "Z")
}

/// Reads a time as [`format_rfc3339`] writes it, and in no other form.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<UnixTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = number(11, 13)? * 3_600 + number(14, 16)? * 60 + number(17, 19)?;
    let time = days * 86_400 + seconds;
    (format_rfc3339(time) == text).then_some(time)
}

/// Writes a time as `20250906T095703Z`, as snapshots of archives are named.
#[must_use]
pub fn format_compact(time: UnixTime) -> String {
    let text = format_rfc3339(time);
    text.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, with years that
/// start in March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(parse_date("Thu, 01 Jan 1970 00:00:00 UTC"), Some(0));
        assert_eq!(parse_date("Sat, 06 Sep 2025 09:57:03 UTC"), Some(1_757_152_623));
        assert_eq!(parse_date("29 Feb 2024 23:59:59 UTC"), Some(1_709_251_199));
        for bad in [
            "",
            "x",
            "1 Foo 2024 0:0:0 UTC",
            "1 Jan 2024 0:0:0",
            "1 Jan 2024 0:0 UTC",
            "1 Jan 2024 0:0:0 CET",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn refuses_other_forms() {
        for bad in [
            "",
            "2025-02-30T00:00:00Z",
            "2025-09-06T09:57:03+00:00",
            "2025-09-06 09:57:03Z",
            "+025-09-06T09:57:03Z",
            "2025-09-06T09:57:03Zé",
            "999999-09-06T09:57:03Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
        assert_eq!(format_compact(1_757_152_623), "20250906T095703Z");
    }

    #[test]
    fn writing() {
        assert_eq!(format_time(1_757_152_623), "2025-09-06 09:57:03 UTC");
        for time in [0, 951_782_400, 1_709_251_199, 4_102_444_800] {
            let shown = format_time(time);
            let (date, rest) = shown.split_once(' ').unwrap();
            let mut parts = date.split('-');
            let (y, m, d) = (
                parts.next().unwrap(),
                parts.next().unwrap(),
                parts.next().unwrap(),
            );
            let month = MONTHS[m.parse::<usize>().unwrap() - 1];
            assert_eq!(parse_date(&format!("{d} {month} {y} {rest}")), Some(time));
            assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
        }
    }
}
