//! Java's keystore of trusted certificates, written without Java.
//!
//! Format: JKS version 2, as the class `sun.security.provider.JavaKeyStore` reads
//! it. Everything is big-endian: `FEEDFEED`, version, count; for each certificate
//! the tag 2, its alias, its creation time, its type and its bytes; a SHA-1 over a
//! password and all of it at the end. The password protects nothing here; it is the
//! one that Java and Debian use.

use distil_debian::UnixTime;
use sha1::{Digest as _, Sha1};

use super::bundle::{BundleError, decode_pem};
use super::certificate::Certificate;

const PASSWORD: &str = "changeit";
const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED: u32 = 2;

/// A keystore with all certificates of a bundle in PEM, in its order.
///
/// An entry is named by the canonical name of its subject, and dated by the begin
/// of its validity, so that the same bundle gives the same bytes. Of two
/// certificates of one subject the second is called `NAME (2)`.
///
/// # Errors
/// When the bundle holds something that is no certificate.
pub fn java_keystore(bundle: &[u8]) -> Result<Vec<u8>, BundleError> {
    let certificates = decode_pem(bundle)?;
    let mut out = Vec::with_capacity(bundle.len());
    out.extend(MAGIC.to_be_bytes());
    out.extend(VERSION.to_be_bytes());
    out.extend(length(certificates.len()).to_be_bytes());
    let mut aliases: Vec<String> = Vec::with_capacity(certificates.len());
    for (index, der) in certificates.iter().enumerate() {
        let certificate = Certificate::parse(der).map_err(|source| BundleError::Certificate {
            number: index + 1,
            source,
        })?;
        let same = aliases
            .iter()
            .filter(|alias| **alias == certificate.subject)
            .count();
        let alias = match same {
            0 => certificate.subject.clone(),
            _ => format!("{} ({})", certificate.subject, same + 1),
        };
        aliases.push(certificate.subject);
        write_entry(&mut out, &alias, certificate.not_before, der);
    }
    let mut hash = Sha1::new();
    for unit in PASSWORD.encode_utf16() {
        hash.update(unit.to_be_bytes());
    }
    hash.update(b"Mighty Aphrodite");
    hash.update(&out);
    out.extend_from_slice(&hash.finalize());
    Ok(out)
}

fn write_entry(out: &mut Vec<u8>, alias: &str, created: UnixTime, der: &[u8]) {
    out.extend(TRUSTED.to_be_bytes());
    write_utf(out, alias);
    out.extend((created * 1000).to_be_bytes());
    write_utf(out, "X.509");
    out.extend(length(der.len()).to_be_bytes());
    out.extend_from_slice(der);
}

/// A length field; a bundle is far below 4 GiB.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// `DataOutput.writeUTF`: a length of two bytes, then UTF-16 units of one to three
/// bytes each. What does not fit into the length is cut off.
fn write_utf(out: &mut Vec<u8>, text: &str) {
    let mut bytes = Vec::with_capacity(text.len());
    for unit in text.encode_utf16() {
        let start = bytes.len();
        match unit {
            0x01..=0x7F => bytes.push(unit as u8),
            0x80..=0x7FF | 0 => {
                bytes.extend([0xC0 | (unit >> 6) as u8, 0x80 | (unit & 0x3F) as u8]);
            }
            _ => bytes.extend([
                0xE0 | (unit >> 12) as u8,
                0x80 | (unit >> 6 & 0x3F) as u8,
                0x80 | (unit & 0x3F) as u8,
            ]),
        }
        if bytes.len() > usize::from(u16::MAX) {
            bytes.truncate(start);
            break;
        }
    }
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend(bytes);
}
