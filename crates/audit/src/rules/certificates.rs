//! The certificates that programs trust.

use std::collections::HashSet;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::catalog::CA_BUNDLE;
use super::{Image, command, quoted};
use crate::{AuditError, Entry, Finding, Severity, printable_text};

/// Where programs look, the usual place first.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// Mozilla's list has some 140.
const ENOUGH: usize = 100;
/// Largest bundle that is read. Mozilla's has 0.2 MB.
const LIMIT: u64 = 8 << 20;

pub(super) fn check(image: &Image<'_>, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let named = command::variable(image.view.config(), "SSL_CERT_FILE");
    let find = |path: &str| {
        let entry = image.view.find(Path::new(path), true);
        entry.filter(|entry| entry.node.kind.is_file())
    };
    if let Some(path) = named.filter(|path| !path.is_empty() && find(path).is_none()) {
        let message = format!(
            "SSL_CERT_FILE names `{}`, which is not there",
            printable_text(path)
        );
        found.push(CA_BUNDLE.of_config(image, "ENV", message));
    }
    match named
        .and_then(find)
        .or_else(|| BUNDLES.iter().find_map(|path| find(path)))
    {
        Some(entry) => bundle(image, entry, found),
        None if named.is_none() => {
            let message = format!("there is no `{}`", BUNDLES[0]);
            found.push(CA_BUNDLE.missing(image, BUNDLES[0], message));
            Ok(())
        }
        None => Ok(()),
    }
}

fn bundle(image: &Image<'_>, entry: &Entry, found: &mut Vec<Finding>) -> Result<(), AuditError> {
    let bytes = image.view.read_start(entry, LIMIT)?;
    let text = String::from_utf8_lossy(&bytes);
    let all = certificates(&text);
    let (mut seen, mut twice, mut expired, mut damaged) = (HashSet::new(), 0, 0, 0);
    for certificate in &all {
        let Some(bytes) = certificate else {
            damaged += 1;
            continue;
        };
        twice += usize::from(!seen.insert(bytes));
        match not_after(bytes) {
            Some(end) => expired += usize::from(end < image.now),
            None => damaged += 1,
        }
    }
    let path = quoted(&entry.path);
    let mut wrong = Vec::new();
    if all.len() < ENOUGH {
        wrong.push(format!("has {} certificates, fewer than {ENOUGH}", all.len()));
    }
    if expired > 0 {
        // Programs leave them out; whoever publishes the list removes them in time.
        let message = format!("{path}: {expired} of its {} certificates have expired", all.len());
        let mut finding = CA_BUNDLE.at(image, entry, message);
        finding.severity = Severity::Note;
        found.push(finding);
    }
    for (count, what) in [(twice, "are there twice"), (damaged, "are damaged")] {
        if count > 0 {
            wrong.push(format!("{count} of its {} certificates {what}", all.len()));
        }
    }
    if !wrong.is_empty() {
        found.push(CA_BUNDLE.at(image, entry, format!("{path}: {}", wrong.join("; "))));
    }
    Ok(())
}

/// The certificates of a PEM file in DER; none for one that is no base64.
fn certificates(text: &str) -> Vec<Option<Vec<u8>>> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks
        .map(|block| {
            let (inner, _) = block.split_once("-----END CERTIFICATE-----")?;
            let packed: String = inner.split_ascii_whitespace().collect();
            BASE64_STANDARD.decode(packed).ok()
        })
        .collect()
}

/// When a certificate ends, in seconds since 1970. None for one that is damaged. (RFC 5280, 4.1: a certificate is
/// SEQUENCE { tbs SEQUENCE { [0] version, serial, algorithm, issuer, validity SEQUENCE { begin, end } ... } ... }.)
fn not_after(der: &[u8]) -> Option<i64> {
    let (_, certificate, _) = element(der)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, end) = element(validity)?;
    let (tag, time, _) = element(end)?;
    seconds(tag, std::str::from_utf8(time).ok()?)
}

/// Tag and contents of the first element of DER, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let mut length = usize::from(*first);
    if length & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(length & 0x7f)?;
        if digits.len() > 4 {
            return None;
        }
        length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        rest = after;
    }
    let (contents, after) = rest.split_at_checked(length)?;
    Some((*tag, contents, after))
}

/// UTCTime (23: two digits of the year, from 1950) or GeneralizedTime (24).
fn seconds(tag: u8, text: &str) -> Option<i64> {
    let (year, rest) = match tag {
        23 => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        24 => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    let time = part(4)? * 3600 + part(6)? * 60 + part(8).unwrap_or(0);
    // Days since 1970 with years that begin in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * month + 2) / 5
        + day
        - 1
        - 719_468;
    Some(days * 86_400 + time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_certificates() {
        for (tag, text, expected) in [
            (23, "700101000000Z", Some(0)),
            (23, "491231235959Z", Some(2_524_607_999)),
            (24, "20200229120000Z", Some(1_582_977_600)),
            (24, "2020", None),
            (23, "é", None),
            (4, "700101000000Z", None),
        ] {
            assert_eq!(seconds(tag, text), expected, "{text}");
        }
    }

    #[test]
    fn damaged_certificates_have_no_end() {
        for bytes in [
            &b""[..],
            b"\x30",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x03\x30\x01\xa0",
        ] {
            assert_eq!(not_after(bytes), None);
        }
        assert_eq!(
            certificates("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----"),
            [None]
        );
    }
}
