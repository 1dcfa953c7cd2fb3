//! Debian version numbers and their order.
//!
//! Rules: deb-version(7) and Policy 5.6.12: `[epoch:]upstream[-revision]`.
//! Digits compare as numbers (an absent one equals 0), everything else by
//! letters before other characters, and `~` before even the end.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A text that is no version number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{version}` is not a Debian version: {reason}")]
pub struct InvalidVersion {
    /// The rejected text.
    pub version: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A Debian version number, kept as written and ordered by Debian's rules.
///
/// Two versions that are written differently may be equal (`1.0` and
/// `0:1.00-0`), so equality is not that of the text.
#[derive(Debug, Clone)]
pub struct Version(Box<str>);

impl Version {
    /// The version as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;

    /// Accepts what dpkg accepts.
    ///
    /// # Errors
    /// An empty version or part, an epoch that is no number, or a character
    /// that versions cannot hold.
    fn from_str(text: &str) -> Result<Self, InvalidVersion> {
        check(text).map_err(|reason| InvalidVersion {
            version: text.to_owned(),
            reason,
        })?;
        Ok(Version(text.into()))
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    let rest = match text.split_once(':') {
        None => text,
        Some((epoch, rest)) => {
            // dpkg keeps the epoch in an int.
            if !epoch.bytes().all(|b| b.is_ascii_digit()) || epoch.parse::<i32>().is_err() {
                return Err("its epoch is not a small number");
            }
            rest
        }
    };
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((upstream, revision)) => (upstream, Some(revision)),
        None => (rest, None),
    };
    if upstream.is_empty() {
        return Err("the part before the revision is empty");
    }
    if revision == Some("") {
        return Err("its revision is empty");
    }
    let allowed = |b: u8, extra: &[u8]| b.is_ascii_alphanumeric() || extra.contains(&b);
    if !upstream.as_bytes()[0].is_ascii_digit() {
        return Err("it does not start with a digit");
    }
    if !upstream.bytes().all(|b| allowed(b, b".-+~:"))
        || !revision.unwrap_or("").bytes().all(|b| allowed(b, b".+~"))
    {
        return Err("it holds a character that versions cannot have");
    }
    Ok(())
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        compare(&self.0, &other.0).is_eq()
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

/// Compares two version texts by Debian's rules. Total for any text: what is
/// not a version gets some fixed place, and never panics.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_upstream, a_revision) = split(a);
    let (b_epoch, b_upstream, b_revision) = split(b);
    compare_part(a_epoch, b_epoch)
        .then_with(|| compare_part(a_upstream, b_upstream))
        .then_with(|| compare_part(a_revision, b_revision))
}

fn split(version: &str) -> (&[u8], &[u8], &[u8]) {
    let (epoch, rest) = version.split_once(':').unwrap_or(("", version));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch.as_bytes(), upstream.as_bytes(), revision.as_bytes())
}

/// The rank of the first byte of a non-digit run; a digit or the end is 0.
fn rank(part: &[u8]) -> i32 {
    match part.first() {
        None => 0,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
    }
}

fn starts_with_digit(part: &[u8]) -> bool {
    part.first().is_some_and(u8::is_ascii_digit)
}

fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        while (!a.is_empty() && !starts_with_digit(a)) || (!b.is_empty() && !starts_with_digit(b)) {
            match rank(a).cmp(&rank(b)) {
                Ordering::Equal => {
                    a = a.get(1..).unwrap_or(&[]);
                    b = b.get(1..).unwrap_or(&[]);
                }
                unequal => return unequal,
            }
        }
        let (a_number, a_rest) = take_number(a);
        let (b_number, b_rest) = take_number(b);
        let numbers = (a_number.len().cmp(&b_number.len())).then_with(|| a_number.cmp(b_number));
        if numbers.is_ne() {
            return numbers;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

/// Splits off the leading digits, without their leading zeros.
fn take_number(part: &[u8]) -> (&[u8], &[u8]) {
    let end = part
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(part.len());
    let zeros = part[..end].iter().position(|b| *b != b'0').unwrap_or(end);
    (&part[zeros..end], &part[end..])
}

#[cfg(test)]
mod tests;
