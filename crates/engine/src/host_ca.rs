//! Certificate authorities that RUN steps are lent (`--host-ca`), in the forms that programs read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use distil_base::content::{Certificate, decode_pem, java_keystore};

/// A bundle of certificate authorities. Cheap to clone; read when the first step needs it.
#[derive(Clone)]
pub struct HostCa(Arc<Bundle>);

struct Bundle {
    path: PathBuf,
    text: Vec<u8>,
    forms: OnceLock<Result<Forms, HostCaError>>,
}

/// The files that programs read.
pub(crate) struct Forms {
    /// The certificates in PEM, without the comments of the file they are from.
    pub(crate) pem: Vec<u8>,
    /// The same as a Java keystore (JKS).
    pub(crate) keystore: Vec<u8>,
}

/// A bundle that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HostCaError {
    /// It has no certificate that can be read.
    #[error("`{}` holds no certificate in PEM form: name another file with `--host-ca=FILE`", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("`{}`: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl HostCa {
    /// The bundle with the bytes `text`, which were read from `path`.
    pub fn new(path: &Path, text: Vec<u8>) -> Self {
        Self(Arc::new(Bundle {
            path: path.to_owned(),
            text,
            forms: OnceLock::new(),
        }))
    }

    /// The files that programs read.
    pub(crate) fn forms(&self) -> Result<&Forms, HostCaError> {
        let made = self.0.forms.get_or_init(|| forms(&self.0.path, &self.0.text));
        made.as_ref().map_err(Clone::clone)
    }
}

impl fmt::Debug for HostCa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HostCa({})", self.0.path.display())
    }
}

fn forms(path: &Path, text: &[u8]) -> Result<Forms, HostCaError> {
    let damaged = |reason: String| HostCaError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let mut pem = Vec::with_capacity(text.len());
    for certificate in decode_pem(text).map_err(|error| damaged(error.to_string()))? {
        // One that is malformed is of no use to any program, and would spoil the keystore.
        if Certificate::parse(&certificate).is_ok() {
            write_pem(&mut pem, &certificate);
        }
    }
    if pem.is_empty() {
        return Err(HostCaError::Empty {
            path: path.to_owned(),
        });
    }
    let keystore = java_keystore(&pem).map_err(|error| damaged(error.to_string()))?;
    Ok(Forms { pem, keystore })
}

fn write_pem(out: &mut Vec<u8>, certificate: &[u8]) {
    out.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END CERTIFICATE-----\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_without_certificates_are_refused() {
        for (text, says) in [
            (&b""[..], "holds no certificate"),
            (b"-----BEGIN CERTIFICATE-----\n", "is missing"),
            (
                b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "holds no certificate",
            ),
            (b"\xff\xfe\x00", "holds no certificate"),
        ] {
            let bundle = HostCa::new(Path::new("/a/b.pem"), text.to_vec());
            let error = bundle
                .forms()
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(error.contains(says) && error.contains("`/a/b.pem`"), "{error}");
        }
    }
}
