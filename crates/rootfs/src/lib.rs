//! File operations confined to one root.
