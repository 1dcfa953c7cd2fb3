//! The command line as its users see it: every command run as a process, on a store and a home of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests: a panic is how they fail"
)]

mod audit;
mod builds;
mod checks;
mod debug;
mod images;
mod inside;
mod mounts;
mod origins;
mod outputs;
mod recipes;
mod run;
mod terminal;
mod usage;
mod world;
