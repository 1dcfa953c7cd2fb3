//! Schedules a generic graph and matches cache keys.
