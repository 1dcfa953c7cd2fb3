//! Times as image configs write them.

use jiff::Timestamp;

use crate::ExportError;

/// Reads an RFC 3339 time.
pub(crate) fn parse(text: &str) -> Result<Timestamp, ExportError> {
    text.parse().map_err(|_| ExportError::Time(text.to_owned()))
}

/// Writes nanoseconds since 1970 as RFC 3339 in UTC, without zeros at the end of the fraction (as Go does).
///
/// # Errors
/// Beyond the year 9999.
pub(crate) fn format(nanos: i64) -> Result<String, ExportError> {
    let time = Timestamp::from_nanosecond(i128::from(nanos));
    time.map(|time| time.to_string())
        .map_err(|_| ExportError::Time(format!("{nanos} ns")))
}

/// Writes whole seconds since 1970.
///
/// # Errors
/// Beyond the year 9999.
pub(crate) fn format_seconds(seconds: i64) -> Result<String, ExportError> {
    let time = Timestamp::from_second(seconds);
    time.map(|time| time.to_string())
        .map_err(|_| ExportError::Time(format!("{seconds} s")))
}

/// Nanoseconds since 1970 of an RFC 3339 time; 0 when it is missing or unreadable.
pub(crate) fn nanos(text: Option<&str>) -> i64 {
    let time = text.and_then(|text| text.parse::<Timestamp>().ok());
    time.and_then(|time| i64::try_from(time.as_nanosecond()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_go() {
        assert_eq!(format(1_700_000_000_000_000_000).unwrap(), "2023-11-14T22:13:20Z");
        assert_eq!(
            format(1_700_000_000_120_000_000).unwrap(),
            "2023-11-14T22:13:20.12Z"
        );
        assert_eq!(format_seconds(0).unwrap(), "1970-01-01T00:00:00Z");
        assert!(format_seconds(i64::MAX).is_err());
        assert_eq!(
            nanos(Some("2023-11-14T23:13:20.5+01:00")),
            1_700_000_000_500_000_000
        );
        assert_eq!((nanos(None), nanos(Some("yesterday"))), (0, 0));
    }
}
