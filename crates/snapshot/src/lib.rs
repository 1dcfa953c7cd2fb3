//! Immutable filesystem snapshots: overlay and native copy.
