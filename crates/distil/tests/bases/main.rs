//! Bases and package sources that come from the Debian archive, through the program. Where no archive can be reached
//! the tests say so and pass.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests fail by a panic and tell when they are skipped"
)]

mod debian;
mod debug;
mod distroless;
#[path = "../support/ordinary_user.rs"]
mod ordinary_user;
mod packages;
mod world;
