//! Tar diff and apply, whiteouts, compression.
