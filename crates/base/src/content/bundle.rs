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
pub const CERTIFICATES: &[u8] = b"usr/share/ca-certificates/";

/// All certificate files in one, as `update-ca-certificates` writes it when none is
/// disabled: in the byte order of their paths below `usr/share/ca-certificates`,
/// each ended by a line feed.
///
/// `files` are paths without a leading slash, with their contents; those that are no
/// certificates of `ca-certificates` are passed over.
#[must_use]
pub fn certificate_bundle(files: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut chosen: Vec<(&[u8], &[u8])> = files
        .iter()
        .filter_map(|(path, content)| {
            let name = path.strip_prefix(CERTIFICATES)?;
            name.ends_with(b".crt").then_some((name, content.as_slice()))
        })
        .collect();
    chosen.sort_unstable();
    let mut out = Vec::with_capacity(chosen.iter().map(|(_, content)| content.len() + 1).sum());
    for (_, content) in chosen {
        out.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out
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
