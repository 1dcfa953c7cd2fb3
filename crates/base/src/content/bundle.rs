//! The file of trusted certificate authorities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::certificate::CertificateError;

/// A bundle that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BundleError {
    /// It is no sequence of PEM certificates.
    #[error("certificate {number} of the bundle is not in PEM: {reason}")]
    Pem {
        /// Which one, counted from 1.
        number: usize,
        /// What is wrong.
        reason: String,
    },
    /// One of them is damaged.
    #[error("certificate {number} of the bundle cannot be used")]
    Certificate {
        /// Which one, counted from 1.
        number: usize,
        /// The cause.
        #[source]
        source: CertificateError,
    },
}

/// Where `ca-certificates` keeps one file for each authority.
const CERTIFICATES: &[u8] = b"usr/share/ca-certificates/";

/// What a file of the package `ca-certificates` is called as a certificate: its path below
/// `usr/share/ca-certificates`. `None` for other files.
///
/// `path` is without a slash before it. A bundle has the certificates in the byte order of their names, as
/// `update-ca-certificates` writes it when none is disabled.
#[must_use]
pub fn certificate_name(path: &[u8]) -> Option<&[u8]> {
    let name = path.strip_prefix(CERTIFICATES)?;
    name.ends_with(b".crt").then_some(name)
}

/// Adds a certificate to a bundle, where each ends with a line feed.
pub fn add_certificate(bundle: &mut Vec<u8>, certificate: &[u8]) {
    bundle.extend_from_slice(certificate);
    if !certificate.ends_with(b"\n") {
        bundle.push(b'\n');
    }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The certificates of a bundle, in DER.
///
/// # Errors
/// When one has no end or is no base64.
pub fn decode_pem(bundle: &[u8]) -> Result<Vec<Vec<u8>>, BundleError> {
    let text = String::from_utf8_lossy(bundle);
    let mut certificates = Vec::new();
    // What stands before the first certificate, or between two, is a comment.
    for part in text.split(BEGIN).skip(1) {
        let number = certificates.len() + 1;
        let wrong = |reason: String| BundleError::Pem { number, reason };
        let (body, _) = part
            .split_once(END)
            .ok_or_else(|| wrong(format!("`{END}` is missing")))?;
        let digits: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let der = STANDARD
            .decode(digits)
            .map_err(|error| wrong(error.to_string()))?;
        certificates.push(der);
    }
    Ok(certificates)
}
