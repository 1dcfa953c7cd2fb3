//! The two facts of an X.509 certificate that a Java keystore needs: whose it is,
//! in Java's spelling, and since when it is valid.
//!
//! Java names an entry by `X500Principal.getName(CANONICAL)`: RFC 2253 with the
//! components of a name from the last to the first, in lower case, white space
//! folded, in Unicode's form NFKD; what is no printable or UTF-8 string, or has an
//! attribute that RFC 2253 gives no name, is written as `#` and its DER in hex.

use std::fmt::Write as _;

use der::asn1::ObjectIdentifier;
use der::{AnyRef, Decode, Encode, Reader, SliceReader, Tag, Tagged};
use distil_debian::UnixTime;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;

/// A certificate that is not X.509 in DER.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it is no X.509 certificate: {reason}")]
pub struct CertificateError {
    reason: String,
}

impl CertificateError {
    fn new(reason: &(impl ToString + ?Sized)) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> Self {
        Self::new(&error)
    }
}

/// What is read of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Canonical name of the subject.
    pub subject: String,
    /// Begin of its validity, in seconds since 1970.
    pub not_before: UnixTime,
}

/// Attributes that RFC 2253 (section 2.3) has a name for.
const NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "cn"),
    ("2.5.4.6", "c"),
    ("2.5.4.7", "l"),
    ("2.5.4.8", "st"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "o"),
    ("2.5.4.11", "ou"),
    ("0.9.2342.19200300.100.1.25", "dc"),
    ("0.9.2342.19200300.100.1.1", "uid"),
];

impl Certificate {
    /// Reads a certificate in DER (RFC 5280, section 4.1).
    ///
    /// # Errors
    /// When it does not have that structure.
    pub fn parse(bytes: &[u8]) -> Result<Certificate, CertificateError> {
        let certificate = AnyRef::from_der(bytes)?;
        let signed = *elements(certificate)?
            .first()
            .ok_or_else(|| CertificateError::new("it is empty"))?;
        let fields = elements(signed)?;
        // The version is optional and the only field with a tag of its own here.
        let first = usize::from(
            fields
                .first()
                .is_some_and(|field| field.tag().is_context_specific()),
        );
        let field = |index: usize| {
            let field = fields.get(first + index).copied();
            field.ok_or_else(|| CertificateError::new("fields are missing"))
        };
        let validity = elements(field(3)?)?;
        let not_before = validity
            .first()
            .ok_or_else(|| CertificateError::new("it has no validity"))?;
        Ok(Certificate {
            subject: canonical_name(field(4)?)?,
            not_before: time(*not_before)?,
        })
    }
}

/// The elements of a constructed value.
fn elements(value: AnyRef<'_>) -> Result<Vec<AnyRef<'_>>, CertificateError> {
    let mut reader = SliceReader::new(value.value())?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.decode()?);
    }
    Ok(elements)
}

fn canonical_name(name: AnyRef<'_>) -> Result<String, CertificateError> {
    let mut components = Vec::new();
    for component in elements(name)? {
        let mut attributes: Vec<String> = elements(component)?
            .into_iter()
            .map(canonical_attribute)
            .collect::<Result<_, _>>()?;
        attributes.sort();
        components.push(attributes.join("+"));
    }
    components.reverse();
    Ok(components.join(","))
}

fn canonical_attribute(attribute: AnyRef<'_>) -> Result<String, CertificateError> {
    let [kind, value] = elements(attribute)?[..] else {
        return Err(CertificateError::new("an attribute of its name is no pair"));
    };
    let kind = kind.decode_as::<ObjectIdentifier>()?.to_string();
    let known = NAMES.iter().find(|(id, _)| *id == kind);
    let is_text = matches!(value.tag(), Tag::PrintableString | Tag::Utf8String);
    let text = match (known, is_text) {
        (Some((_, name)), true) => {
            let text = std::str::from_utf8(value.value()).map_err(|error| CertificateError::new(&error))?;
            format!("{name}={}", canonical_text(text))
        }
        _ => {
            let mut text = format!("{}=#", known.map_or(kind.as_str(), |(_, name)| name));
            for byte in value.to_der()? {
                // Writing into a string does not fail.
                let _ = write!(text, "{byte:02x}");
            }
            text
        }
    };
    Ok(text.to_uppercase().to_lowercase().nfkd().collect())
}

/// Escapes, and folds white space as Java does.
fn canonical_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut after_space = false;
    for (index, c) in text.chars().enumerate() {
        if (index == 0 && c == '#') || ",+<>;\"\\".contains(c) {
            out.push('\\');
        }
        if !(c == ' ' && after_space) {
            out.push(c);
        }
        after_space = c == ' ';
    }
    // Java's `trim`: everything up to a space.
    out.trim_matches(|c| c <= ' ').to_owned()
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` (RFC 5280, section 4.1.2.5).
fn time(value: AnyRef<'_>) -> Result<UnixTime, CertificateError> {
    let wrong = || CertificateError::new("its validity is no time");
    let text = std::str::from_utf8(value.value()).map_err(|_| wrong())?;
    let digits = text
        .strip_suffix('Z')
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(wrong)?;
    let (year_digits, short) = match (value.tag(), digits.len()) {
        (Tag::UtcTime, 12) => (2, true),
        (Tag::GeneralizedTime, 14) => (4, false),
        _ => return Err(wrong()),
    };
    let number = |from: usize, length: usize| digits[from..from + length].parse::<i64>().map_err(|_| wrong());
    let mut year = number(0, year_digits)?;
    if short {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let field = |index: usize| number(year_digits + 2 * index, 2);
    let (month, day) = (field(0)?, field(1)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(wrong());
    }
    let seconds = field(2)? * 3600 + field(3)? * 60 + field(4)?;
    Ok(days_since_1970(year, month, day) * 86_400 + seconds)
}

/// Days in the Gregorian calendar, counted in years that begin in March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}
