//! The store as other crates and processes use it.

mod basics;
mod cache_mounts;
mod machine;
mod processes;
