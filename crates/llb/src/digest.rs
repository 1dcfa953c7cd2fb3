//! The identity of an op.

use std::fmt;
use std::str::FromStr;

use distil_oci::{Digest, DigestError};

/// sha256 of an op's encoded bytes: what inputs, metadata and source maps name
/// it by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpDigest(Digest);

impl OpDigest {
    /// The digest of one entry of [`crate::Definition::def`], hashed as it is.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::sha256(bytes))
    }

    /// The plain digest, for stores that keep several kinds.
    pub fn digest(self) -> Digest {
        self.0
    }
}

impl FromStr for OpDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Display for OpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for OpDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpDigest({})", self.0)
    }
}
