//! The engine: operations, build life, build cache, progress.
