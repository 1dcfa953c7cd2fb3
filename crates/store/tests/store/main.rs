//! The store as other crates and processes use it.

mod basics;
mod cache_mounts;
mod images;
mod machine;
mod processes;
mod pruning;
mod setup;
