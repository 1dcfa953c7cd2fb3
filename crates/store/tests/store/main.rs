//! The store as other crates and processes use it.

mod basics;
mod machine;
mod processes;
