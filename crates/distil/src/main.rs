//! The `distil` command.
fn main() {}
