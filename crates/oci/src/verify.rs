//! Reading with the digest checked.

use std::io::{self, Read};

use crate::{Descriptor, Digest, Digester};

/// The bytes that were read are not those that were asked for.
///
/// [`VerifyingReader`] puts it into an [`io::Error`] of kind `InvalidData`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another digest.
    #[error("blob `{expected}` is damaged: its content has the digest `{found}`")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Too few or too many bytes; reading stopped at the first byte too many.
    #[error("blob `{digest}` is damaged: expected {expected} bytes, found {found}")]
    Length {
        /// What was asked for.
        digest: Digest,
        /// The length that the descriptor names.
        expected: u64,
        /// How many came.
        found: u64,
    },
}

/// Passes bytes through and fails at their end when digest or length are not the expected ones.
///
/// What was read is trustworthy only after `read` returned 0: act on it then.
#[derive(Debug)]
pub struct VerifyingReader<R> {
    inner: R,
    digester: Option<Digester>,
    digest: Digest,
    size: Option<u64>,
}

impl<R: Read> VerifyingReader<R> {
    /// Checks the digest, and the length if one is given.
    #[must_use]
    pub fn new(inner: R, digest: Digest, size: Option<u64>) -> Self {
        Self {
            inner,
            digester: Some(Digester::new()),
            digest,
            size,
        }
    }

    /// Checks digest and length of a descriptor.
    #[must_use]
    pub fn of(inner: R, descriptor: &Descriptor) -> Self {
        Self::new(inner, descriptor.digest, Some(descriptor.size))
    }

    fn check(&self, digester: Digester) -> Result<(), Mismatch> {
        let found = digester.length();
        if let Some(expected) = self.size.filter(|expected| *expected != found) {
            return Err(Mismatch::Length {
                digest: self.digest,
                expected,
                found,
            });
        }
        let found = digester.finish();
        if found != self.digest {
            return Err(Mismatch::Digest {
                expected: self.digest,
                found,
            });
        }
        Ok(())
    }
}

impl<R: Read> Read for VerifyingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.inner.read(buffer)?;
        let Some(digester) = &mut self.digester else {
            return Ok(count);
        };
        digester.update(&buffer[..count]);
        let too_long = self.size.is_some_and(|size| digester.length() > size);
        if count == 0 || too_long {
            let digester = self.digester.take().unwrap_or_default();
            self.check(digester)
                .map_err(|mismatch| io::Error::new(io::ErrorKind::InvalidData, mismatch))?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], expected: &[u8], size: Option<u64>) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let mut reader = VerifyingReader::new(bytes, Digest::sha256(expected), size);
        reader
            .read_to_end(&mut out)
            .map(|_| out)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn checks_digest_and_length() {
        assert_eq!(read(b"abc", b"abc", None), Ok(b"abc".to_vec()));
        assert_eq!(read(b"abc", b"abc", Some(3)), Ok(b"abc".to_vec()));
        assert!(
            read(b"abd", b"abc", Some(3))
                .unwrap_err()
                .contains("has the digest")
        );
        assert!(
            read(b"ab", b"abc", Some(3))
                .unwrap_err()
                .contains("expected 3 bytes, found 2")
        );
        assert!(
            read(b"abcd", b"abc", Some(3))
                .unwrap_err()
                .contains("expected 3 bytes, found 4")
        );
        assert_eq!(read(b"", b"", Some(0)), Ok(Vec::new()));
    }
}
