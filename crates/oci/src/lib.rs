//! Digests, OCI and Docker types and names, OCI layout reading and writing.
